"""The loader: every batch a pure function of (seed, index)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genarena.data import Dataset, Field, ImageSpec, LabelSpec, Loader, open_dataset
from genarena.errors import UsageError


def _dataset(count):
    """Images whose pixels, and labels whose value, are the row number; the last two rows are not trained on."""
    rows = np.arange(count + 2)
    values = np.broadcast_to(rows.astype(np.uint8)[:, None, None, None], (count + 2, 1, 8, 8)).copy()
    return Dataset(
        "rows",
        {
            "image": Field(ImageSpec(1, 8, 8), "target", values),
            "label": Field(LabelSpec.of(tuple(map(str, rows)), rows), "label", rows),
        },
        {"train": rows[:-2], "val": rows[-2:-1], "test": rows[-1:]},
    )


def _loader(count=23, batch_size=5, seed=0, **options):
    return Loader(_dataset(count), batch_size=batch_size, seed=seed, normalise=lambda codes, spec: codes, **options)


def _rows(batch):
    return batch.label.tolist()


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), share=st.floats(0.01, 1), seed=st.integers(0, 2**63))
def test_every_epoch_is_a_permutation(count, share, seed):
    loader = _loader(count, max(1, int(share * count)), seed)
    epochs = 3
    batches = -(-epochs * count // loader.batch_size)
    stream = [row for i in range(batches) for row in _rows(loader.batch(i))]
    for epoch in range(epochs):
        assert sorted(stream[epoch * count : (epoch + 1) * count]) == list(range(count))


@settings(max_examples=40, deadline=None)
@given(order=st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_a_batch_depends_on_its_index_alone(order):
    used = _loader()
    for index in order:
        assert _rows(used.batch(index)) == _rows(_loader().batch(index))


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 30), world=st.sampled_from([2, 3, 4]))
def test_the_slices_of_all_ranks_make_the_global_batch(index, world):
    whole = _rows(_loader(batch_size=12).batch(index))
    parts = [_rows(_loader(batch_size=12, rank=rank, world=world).batch(index)) for rank in range(world)]
    assert [row for part in parts for row in part] == whole


def test_epochs_and_seeds_differ():
    loader = _loader(20, 20)
    assert len({tuple(_rows(loader.batch(i))) for i in range(5)} | {tuple(_rows(_loader(20, 20, 1).batch(0)))}) == 6


def test_order_is_pinned():
    """Resuming a run with a newer version must see the same order."""
    assert _rows(_loader(10, 10, seed=3).batch(0)) == [6, 8, 4, 1, 3, 5, 9, 7, 0, 2]


def test_only_the_split_is_drawn_and_fields_stay_together():
    batch = _loader(23, 23).batch(0)
    assert sorted(_rows(batch)) == list(range(23)) and len(batch) == 23
    assert batch.label.dtype == torch.int64
    assert batch.x[:, 0, 4, 4].tolist() == _rows(batch)
    assert _rows(Loader(_dataset(5), "test", batch_size=1, seed=0, normalise=lambda c, s: c).batch(7)) == [6]


def test_normalise_sees_codes_and_spec():
    seen = []
    data = open_dataset("digits")
    loader = Loader(data, batch_size=4, seed=0, normalise=lambda codes, spec: seen.append((codes, spec)) or codes / 8)
    assert loader.batch(0).x.dtype == torch.float32 and len(loader) == len(data.splits["train"])
    [(codes, spec)] = seen
    assert codes.dtype == torch.uint8 and codes.shape == (4, 1, 8, 8) and spec.levels == 17


def test_half_of_the_images_are_mirrored_and_which_is_a_function_of_the_batch():
    def make(**options):
        ramp = torch.arange(8.0)  # from left to right, so that a mirrored image shows
        return Loader(_dataset(12), batch_size=12, seed=3, normalise=lambda codes, spec: codes + ramp, **options)

    plain, mirrored = make(), make(mirror=True)
    turned = []
    for index in range(40):
        batch, straight = mirrored.batch(index), plain.batch(index)
        assert _rows(batch) == _rows(straight)
        assert torch.equal(batch.x, mirrored.batch(index).x)
        for image, original in zip(batch.x, straight.x, strict=True):
            turned.append(not torch.equal(image, original))
            assert torch.equal(image, original.flip(2) if turned[-1] else original)
    assert 0.4 < np.mean(turned) < 0.6
    parts = [make(mirror=True, rank=rank, world=2).batch(5).x for rank in range(2)]
    assert torch.equal(torch.cat(parts), mirrored.batch(5).x)


def test_rows_of_numbers_have_no_mirror_image(vectors):
    with pytest.raises(UsageError, match="mirror=true turns images around"):
        Loader(vectors, batch_size=4, seed=0, normalise=lambda c, s: c, mirror=True)


def test_read_only_arrays_are_taken():
    data = _dataset(4)
    data.fields["image"].values.flags.writeable = False
    assert len(Loader(data, batch_size=2, seed=0, normalise=lambda c, s: c).batch(0)) == 2


@pytest.mark.parametrize("size", [24, 0, -1])
def test_batch_larger_than_the_split(size):
    with pytest.raises(UsageError, match=f"batch size {size} does not fit the 23 examples"):
        _loader(23, size)


def test_batch_must_be_shared_equally():
    with pytest.raises(UsageError, match="shared equally by 2"):
        _loader(23, 5, world=2)
