"""What paths and tables say of pictures: splits by any usual name, nested classes, masks, labels in a CSV file."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genarena.data import Dataset, open_dataset
from genarena.data.layout import read_layout, split_of
from genarena.errors import DataError


def _files(folders: dict[str, int]) -> list[str]:
    return [f"{folder}/{i:02d}.png".removeprefix("./") for folder, count in folders.items() for i in range(count)]


def _found(folders: dict[str, int]) -> Counter[tuple[str, str]]:
    layout = read_layout(_files(folders))
    return Counter(zip(layout.splits, layout.classes, strict=True))


def _write(root: Path, paths: list[str], **tables: str | bytes) -> Path:
    for i, path in enumerate(paths):
        stream = io.BytesIO()
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(stream, "PNG")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(stream.getvalue())
    for name, text in tables.items():
        (root / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def _labels(data: Dataset) -> dict[str, str | None]:
    """File -> class, or None without a label."""
    spec = data.schema.label
    assert spec is not None
    return {
        file: spec.classes[index] if index >= 0 else None
        for file, index in zip(data.files, data.fields["label"].values, strict=True)
    }


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            "train TRAIN Training train_set trainset seg_train train2017 train-images trainval mnist_train tRaIn",
        ),
        ("val", "val valid Validation dev eval ValSet validation_data dev-set"),
        ("test", "test Testing test_images holdout hold-out held_out TestData t10k test-imgs"),
        ("", "good cat trains steam protest devices contest values 0 train_test_split caf\u00e9"),
    ],
)
def test_names_of_splits(split: str, names: str) -> None:
    assert {name: split_of(name)[0] for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (
            {"Training/cat": 2, "Training/dog": 2, "Testing/cat": 1},
            {("train", "cat"): 2, ("train", "dog"): 2, ("test", "cat"): 1},
        ),
        (
            {"in/seg_train/seg_train/a": 3, "in/seg_train/seg_train/b": 3, "in/seg_test/seg_test/a": 2, "in/seg_pred": 9},
            {("train", "a"): 3, ("train", "b"): 3, ("test", "a"): 2},
        ),
        ({"trainA": 2, "trainB": 2, "testA": 1, "testB": 1},
         {("train", "A"): 2, ("train", "B"): 2, ("test", "A"): 1, ("test", "B"): 1}),
        ({"train": 3, "dev": 2, "holdout": 2}, {("train", ""): 3, ("val", ""): 2, ("test", ""): 2}),
        (
            {"cat/train": 3, "dog/train": 3, "cat/test": 2, "dog/test": 2},
            {("train", "cat"): 3, ("train", "dog"): 3, ("test", "cat"): 2, ("test", "dog"): 2},
        ),
        (
            {"train/good": 5, "test/good": 3, "test/crack": 3, "ground_truth/crack": 3},
            {("train", "good"): 5, ("test", "good"): 3, ("test", "crack"): 3},
        ),
        ({"train": 4, "bus": 4}, {("", "train"): 4, ("", "bus"): 4}),
        ({"steam_train": 4, "pregnancy_test": 4, "car": 4}, {("", c): 4 for c in ("steam_train", "pregnancy_test", "car")}),
        ({"train/train": 4, "train/bus": 4, "test/train": 4},
         {("train", "train"): 4, ("train", "bus"): 4, ("test", "train"): 4}),
        ({"train/a": 4, "train/b": 4, "unlabeled": 9}, {("train", "a"): 4, ("train", "b"): 4}),
        ({"train/a": 4, "train/b": 4}, {("", "a"): 4, ("", "b"): 4}),
        ({"train/images/a": 4, "train/images/b": 4, "test": 2}, {("train", "a"): 4, ("train", "b"): 4, ("test", ""): 2}),
        # masks
        ({"images": 4, "masks": 4}, {("", ""): 4}),
        ({"images/a": 4, "images/b": 4, "masks/a": 4, "masks/b": 4}, {("", "a"): 4, ("", "b"): 4}),
        ({"train_images": 4, "train_masks": 4, "test_images": 2}, {("train", ""): 4, ("test", ""): 2}),
        ({"train/images": 4, "train/masks": 4, "test/images": 2}, {("train", ""): 4, ("test", ""): 2}),
        ({"images/train": 4, "images/val": 2, "labels/train": 4, "labels/val": 2}, {("train", ""): 4, ("val", ""): 2}),
        ({"p1/images": 1, "p1/masks": 3, "p2/images": 1, "p2/masks": 3}, {("", ""): 2}),
        # nested classes, numbers, and folders that are none
        ({"animals/cat": 3, "animals/dog": 3, "cars": 3}, {("", "animals/cat"): 3, ("", "animals/dog"): 3, ("", "cars"): 3}),
        ({f"cat/{i}": 1 for i in range(9)} | {f"dog/{i}": 1 for i in range(9)}, {("", "cat"): 9, ("", "dog"): 9}),
        ({"007": 3, "7": 3}, {("", "007"): 3, ("", "7"): 3}),
        ({"in/a": 3, "in/b": 1, ".": 1}, {("", "a"): 3, ("", "b"): 1, ("", ""): 1}),
    ],
)  # fmt: skip
def test_layouts(folders: dict[str, int], expected: dict[tuple[str, str], int]) -> None:
    assert _found(folders) == Counter(expected)


def test_masks_beside_their_images() -> None:
    layout = read_layout(
        ["a/1.png", "a/1_mask.png", "a/1_mask_1.png", "a/2.png", "b/3_mask.png", "b/3.jpg", "b/4_gt.png"]
    )
    assert layout.rows == [0, 3, 5, 6] and layout.notes[0].startswith("3 mask(s)")


def test_what_was_decided_by_names_is_said(tmp_path: Path) -> None:
    notes = read_layout(_files({"Training": 2, "Testing": 2, "x": 1})).notes
    assert "splits by folder: 'Testing' is test, 'Training' is train" in notes
    assert notes[0].startswith("1 image(s) outside the folders of splits")
    [note] = read_layout(_files({"train": 2, "bus": 2})).notes
    assert note.startswith("'train': such names look like splits and were taken as classes")


def test_one_class_in_two_unicode_forms(tmp_path: Path) -> None:
    data = open_dataset(_write(tmp_path, _files({"caf\u00e9": 4, "cafe\u0301": 4, "x": 4})))
    assert data.schema.label is not None and data.schema.label.classes == ("caf\u00e9", "x")


def test_backslashes_separate_in_zips(tmp_path: Path) -> None:
    root = _write(tmp_path / "set", _files({"train/a": 4, "train/b": 4, "test/a": 2}))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(root.rglob("*.png")):
            archive.writestr(str(path.relative_to(tmp_path)).replace("/", "\\"), path.read_bytes())
    assert open_dataset(tmp_path / "set.zip").fingerprint == open_dataset(root).fingerprint


def test_a_test_split_without_labels_is_left_out_with_its_count(tmp_path: Path) -> None:
    root = _write(tmp_path, _files({"train/a": 10, "train/b": 10, "test": 7}))
    data = open_dataset(root)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 14, "val": 2, "test": 4}
    assert any(note.startswith("7 of 7 test examples have no label and were left out") for note in data.notes)
    assert len(data.files) == 27 and set(_labels(data).values()) == {"a", "b", None}
    assert len(open_dataset(root, labels=False).splits["test"]) == 7


def test_a_test_split_of_nothing_but_unseen_classes_gets_some_of_train(tmp_path: Path) -> None:
    data = open_dataset(_write(tmp_path, _files({"train/good": 40, "test/crack": 5, "test/dent": 5})))
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 29, "val": 3, "test": 18}
    assert Counter(data.schema.label.classes[i] for i in data.labels("test")) == {"good": 8, "crack": 5, "dent": 5}  # type: ignore
    assert "10 given test examples are of classes that train has none of: they were added to these" in data.notes


def test_labels_of_the_train_arrays_alone(tmp_path: Path) -> None:
    images = np.arange(30 * 64, dtype=np.uint16).reshape(30, 8, 8).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images[:20], y_train=np.arange(20) % 2, x_test=images[20:] // 2)
    data = open_dataset(tmp_path / "a.npz")
    assert sum(len(rows) for rows in data.splits.values()) == 20
    assert any(note.startswith("10 of 10 test examples have no label") for note in data.notes)


def test_labels_of_the_train_idx_files_alone(tmp_path: Path) -> None:
    for split, count in (("train", 20), ("t10k", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, count * 64, dtype=np.uint8).tobytes()
        header = bytes((0, 0, 8, 3)) + struct.pack(">3I", count, 8, 8)
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(header + pixels)
    marks = bytes(i % 2 for i in range(20))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes((0, 0, 8, 1)) + struct.pack(">I", 20) + marks)
    data = open_dataset(tmp_path)
    assert data.schema.label is not None and data.schema.label.classes == ("0", "1")
    assert any(note.startswith("10 of 10 test examples have no label") for note in data.notes)


# ---- tables

PICTURES = _files({".": 12})


def _table(line: str, count: int = 12, header: str = "file,label", end: str = "\n") -> str:
    return end.join([header, *(line.format(f"{i:02d}", "cat" if i % 3 else "dog, big") for i in range(count))]) + end


@pytest.mark.parametrize(
    "table",
    [
        _table('{0}.png,"{1}"'),
        _table('{0}.png,"{1}"', header="File Name,LABEL"),
        _table('"{0}.png","{1}"', end="\r\n"),
        b"\xef\xbb\xbf" + _table('{0}.png,"{1}"').encode(),
        _table('{0}.png,"{1}"').encode("utf-16"),
        _table("{1};a text;./{0}.png", header="class;text;image_path"),
        _table("{0}\t{1}", header="id\tbreed"),
        _table('{0}.png,"{1}"').split("\n", 1)[1],
        _table('C:\\photos\\{0}.PNG,"{1}"'),
    ],
    ids=["plain", "headers", "crlf", "bom", "utf16", "semicolons", "stems", "headless", "absolute"],
)
def test_tables_of_every_form(tmp_path: Path, table: str | bytes) -> None:
    data = open_dataset(_write(tmp_path, PICTURES, metadata=table))
    assert _labels(data) == {path: "cat" if i % 3 else "dog, big" for i, path in enumerate(PICTURES)}
    assert any(note.startswith("labels are read from 'metadata.csv'") for note in data.notes)


def test_rows_without_a_file_and_files_without_a_row(tmp_path: Path) -> None:
    data = open_dataset(
        _write(tmp_path, PICTURES, labels=_table('{0}.png,"{1}"', 10) + "lost.png,cat\nno.png,cat\n11.png,\n")
    )
    notes = " / ".join(data.notes)
    assert "2 row(s) of 'labels.csv' name no image that is there: 'lost.png', 'no.png'" in notes
    assert (
        "2 image(s) have no row with a label" in notes and "2 of 12 examples have no label and were left out" in notes
    )
    assert [file for file, label in _labels(data).items() if label is None] == ["10.png", "11.png"]


def test_a_table_of_one_split_names_its_images(tmp_path: Path) -> None:
    root = _write(tmp_path, _files({"train": 12, "test": 4}), train=_table('{0}.png,"{1}"'))
    data = open_dataset(root)
    assert {file for file, label in _labels(data).items() if label} == {f"train/{i:02d}.png" for i in range(12)}
    assert any(note.startswith("4 of 4 test examples have no label") for note in data.notes)


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        ("file,cat,dog", "{0}.png,{1},{2}", ["cat", "dog"]),
        ("file,label", "{0}.png,{1}.0", ["0", "1"]),
        ("file,label", "{0}.png,{3}", ["-1", "1"]),
        ("file,label", "{0}.png,00{1}", ["000", "001"]),
        ("file,cat,dog", "{0}.png,{1},1", "have several labels"),
        ("file,label", "{0}.png,a\n{0}.png,b", "have several labels"),
        ("file,label", "{0}.png,{4}", "have several labels"),
        ("file,label", "{0}.png,0.{0}1", "are fractions"),
        ("file,label", "{0}.png,x{0}", "12 examples have 12 labels: no classes"),
        ("file,text", "{0}.png,words {0}", "no column of it is a label"),
        ("file,label", "lost{0}.png,{1}", "no row of 'labels.csv' names an image"),
    ],
)
def test_what_labels_tables_hold(tmp_path: Path, header: str, line: str, expected: list[str] | str) -> None:
    marks = [(f"{i:02d}", i % 2, 1 - i % 2, 2 * (i % 2) - 1, ("cat", "dog", "cat|dog")[i % 3]) for i in range(12)]
    data = open_dataset(_write(tmp_path, PICTURES, labels="\n".join([header, *(line.format(*m) for m in marks)])))
    if isinstance(expected, list):
        assert list(data.schema.label.classes) == expected  # type: ignore[union-attr]
    else:
        assert data.schema.label is None and any(expected in note for note in data.notes)


def test_a_column_of_splits(tmp_path: Path) -> None:
    rows = [f"{i:02d}.png,{'ab'[i % 2]},{'Train' if i < 8 else 'test'}" for i in range(12)]
    data = open_dataset(_write(tmp_path, PICTURES, labels="\n".join(["path,label,split", *rows])))
    assert data.splits["test"].tolist() == [8, 9, 10, 11]


def test_a_called_label_goes_before_folders_and_other_columns_do_not(tmp_path: Path) -> None:
    paths = _files({"a": 6, "b": 6})
    lines = "".join(f"{path},{'xy'[i % 2]}\n" for i, path in enumerate(paths))
    assert set(_labels(open_dataset(_write(tmp_path / "1", paths, labels="file,label\n" + lines))).values()) == {
        "x",
        "y",
    }
    assert set(_labels(open_dataset(_write(tmp_path / "2", paths, labels="file,camera\n" + lines))).values()) == {
        "a",
        "b",
    }


@pytest.mark.parametrize(
    "table", ["file,label" + "," * 200_000, "file,label\n00.png,a" + "b" * 200_000, "x" * 2**25 + "x"]
)
def test_tables_that_are_too_large_are_named(tmp_path: Path, table: str) -> None:
    data = open_dataset(_write(tmp_path, PICTURES, labels=table))
    assert data.schema.label is None and any(
        note.startswith("table 'labels.csv' was not read: ") for note in data.notes
    )


# ---- one example, and names


def test_one_image_is_looked_at_without_splits(tmp_path: Path) -> None:
    [path] = _write(tmp_path, ["one.PNG"]).iterdir()
    for source in (path, tmp_path, np.zeros((1, 8, 8), np.uint8), np.zeros((1, 3), np.float32)):
        data = open_dataset(source, splits=False)
        assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 1, "val": 0, "test": 0}
        with pytest.raises(DataError, match="too few"):
            open_dataset(source)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"'one\.PNG'"):
        open_dataset(path, splits=False)


def test_a_path_called_like_a_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "ring8", PICTURES)
    monkeypatch.chdir(tmp_path)
    assert any("not the path './ring8'" in note for note in open_dataset("ring8").notes)
    assert open_dataset("./ring8").schema.target_name == "image"


def test_long_and_odd_names(tmp_path: Path) -> None:
    names = ["x" * 251 + ".png", "a\nb.png", "-rf.PNG", "\udcff.png", "e\u0301.jpG", "  .png"]
    assert sorted(open_dataset(_write(tmp_path, names), splits=False).files) == sorted(names)
