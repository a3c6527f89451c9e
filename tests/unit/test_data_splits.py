"""Splits by content, and labels of every form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genarena.data.labels import encode_labels
from genarena.data.splits import content_hashes, make_splits
from genarena.errors import DataError


def _contents(values, splits):
    return {name: sorted(row.tobytes() for row in values[rows]) for name, rows in splits.items()}


def test_shares_and_disjointness():
    values = np.arange(1000, dtype=np.int32)[:, None]
    splits, notes = make_splits(values, {})
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 720, "val": 80, "test": 200}
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(1000))
    assert all((np.diff(rows) > 0).all() and rows.dtype == np.int64 for rows in splits.values())
    assert len(notes) == 2


def test_no_more_than_five_thousand_are_set_apart():
    splits, _ = make_splits(np.arange(80_000)[:, None], {})
    assert len(splits["test"]) == len(splits["val"]) == 5000


def test_order_does_not_move_examples():
    values = np.random.default_rng(0).normal(size=(300, 4))
    shuffled = np.random.default_rng(1).permutation(values)
    assert _contents(values, make_splits(values, {})[0]) == _contents(shuffled, make_splits(shuffled, {})[0])


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(3, 60), st.just(1)), elements=st.integers(0, 12)))
def test_always_non_empty_disjoint_and_complete(values):
    splits, _ = make_splits(values, {})
    assert all(len(rows) for rows in splits.values())
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(len(values)))


def test_duplicates_stay_together():
    values = np.repeat(np.arange(100), 3)[:, None]
    splits, _ = make_splits(values, {})
    contents = [set(values[rows, 0]) for rows in splits.values()]
    assert sum(map(len, contents)) == 100


def test_given_splits_are_kept_and_only_missing_ones_made():
    values = np.arange(100)[:, None]
    splits, notes = make_splits(values, {"train": np.arange(80), "test": np.arange(80, 100)})
    assert splits["test"].tolist() == list(range(80, 100))
    assert set(splits["train"]) | set(splits["val"]) == set(range(80)) and len(splits["val"]) == 8
    assert notes == ["val: 8 of 80 examples, set apart by a hash of their content"]


def test_a_lone_test_split_is_pooled_with_a_note():
    splits, notes = make_splits(np.arange(100)[:, None], {"test": np.arange(100)})
    assert len(splits["train"]) == 72 and "pooled" in notes[0]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_examples(count):
    with pytest.raises(DataError, match="too few"):
        make_splits(np.arange(count)[:, None], {})


def test_hash_depends_on_content_alone():
    values = np.asfortranarray(np.arange(12).reshape(4, 3))
    assert content_hashes(values).tolist() == content_hashes(np.ascontiguousarray(values)).tolist()
    assert len(set(content_hashes(values).tolist())) == 4


def test_strings_are_sorted_by_bytes():
    indices, classes, _ = encode_labels(np.array(["b", "Z", "a", "é", "b"]), 5)
    assert classes == ("Z", "a", "b", "é") and indices.tolist() == [2, 0, 1, 3, 2]


def test_integers_keep_their_values():
    indices, classes, notes = encode_labels(np.array([2, 0, 1, 2], dtype=np.uint8), 4)
    assert indices.tolist() == [2, 0, 1, 2] and classes == ("0", "1", "2") and not notes


def test_integers_with_gaps_are_numbered():
    indices, classes, notes = encode_labels(np.array([[10], [3], [10]]), 3)
    assert indices.tolist() == [1, 0, 1] and classes == ("3", "10") and "numbered" in notes[0]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.array([0, 1]), (), "2 labels for 3"),
        (np.array([0, -1, 1]), (), "label -1 in row 1 is negative"),
        (np.array([0, 1, 7]), ("a", "b"), "label 7 in row 2 is out of range"),
        (np.array([0.0, 0.5, 1.0]), (), r"row 1 is 0\.5"),
        (np.array([0.0, 1.0, np.nan]), (), "row 2 is nan"),
        (np.full((3, 3), 0.5), (), r"shape \(3, 3\)"),
        (np.array([-1, 0, 1]), (), "label -1 in row 0 is negative"),
        (np.array([None, 1, 2]), (), r"type object \(row 0 is None\)"),
    ],
)
def test_bad_labels(labels, classes, message):
    with pytest.raises(DataError, match=message):
        encode_labels(labels, 3, classes)


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        (np.array([1.0, 2.0, 1.0]), [0, 1, 0], ("1", "2")),
        (np.array([-1, 1, 1]), [0, 1, 1], ("-1", "1")),
        (np.array([-1.0, 1.0, 1.0]), [0, 1, 1], ("-1", "1")),
        (np.array([[0, 1], [1, 0], [0, 1]]), [1, 0, 1], ("0", "1")),
        (np.eye(3, dtype=np.float32)[[2, 0, 1]], [2, 0, 1], ("0", "1", "2")),
        (np.array([True, False, True]), [1, 0, 1], ("0", "1")),
        (np.array(["b", "a", "b"], dtype=object), [1, 0, 1], ("a", "b")),
        (np.array([b"b", b"a", b"b"]), [1, 0, 1], ("a", "b")),
        (np.array(["caf\u00e9", "cafe\u0301", "bar"]), [1, 1, 0], ("bar", "caf\u00e9")),
    ],
)
def test_labels_of_every_form(labels, expected, classes):
    indices, found, _ = encode_labels(labels, 3)
    assert (indices.tolist(), found) == (expected, classes)


def test_several_labels_an_example_are_no_classes():
    lists = np.empty(2, object)
    lists[:] = [[1, 2], [1]]
    for labels in (np.array([[1, 1], [1, 0]]), np.array([[0, 0], [1, 0]]), lists):
        _, classes, [note] = encode_labels(labels, 2)
        assert classes == () and "1 of 2 examples have several labels or none (first row 0)" in note


def test_copies_in_two_splits_are_counted():
    values = np.arange(40)[:, None]
    values[30:33] = values[:3]
    splits, notes = make_splits(values, {"train": np.arange(30), "test": np.arange(30, 40)})
    assert [note for note in notes if note.startswith("warning: 3 of the 10 test examples are also in train")]
    assert not any("warning" in note for note in make_splits(values, {})[1])
    assert {len(rows) for rows in splits.values()} == {27, 3, 10}


def test_duplicates_stay_together_where_only_as_many_as_needed_are_left():
    values = np.repeat(np.array([[1.0], [2.0]], np.float32), 2, axis=0)
    splits, _ = make_splits(values, {})
    assert len(splits["test"]) == 2 and len(np.unique(values[splits["test"]])) == 1
