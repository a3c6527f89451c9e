"""A table in a CSV file: what is read as numbers, classes and splits, what is said, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genarena.data import VectorSpec, open_dataset
from genarena.data.adapt import open_like
from genarena.errors import DataError, GenarenaError


def write(path: Path, header: str, rows: list[str], encoding: str = "utf-8") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def test_numbers_dates_and_classes_with_no_option(tmp_path: Path) -> None:
    rows = [
        f"{i},2026-03-0{1 + i % 9}T12:00:0{i % 10}.25,{4_500_000.125 + i},{i % 2 == 0},town {i},{'ab'[i % 2]}"
        for i in range(60)
    ]
    data = open_dataset(write(tmp_path / "t.csv", "id,time,utm,open,place,label", rows))
    spec = data.schema.target
    assert isinstance(spec, VectorSpec) and spec.names == ("time", "utm", "open")
    values = np.asarray(data.fields["vector"].values)
    assert values.dtype == np.float64 and len(np.unique(values[:, 1])) == 60
    assert values[3].tolist() == [1772625603.25, 4_500_003.125, 0.0]  # of 2026-03-04 12:00:03.25 UTC
    assert data.schema.label is not None and data.schema.label.classes == ("a", "b")
    notes = "\n".join(data.notes)
    for words in ("'id' numbers the rows", "'time' holds dates", "1 column(s) of text are left out", "'place'",
                  "'open' holds true and false", "classes are read from column 'label'"):  # fmt: skip
        assert words in notes


@pytest.mark.parametrize(
    ("delimiter", "numbers", "encoding"),
    [(",", "1.5", "utf-8-sig"), (";", "1,5", "cp1252"), ("\t", "1.5", "utf-16"), ("|", "1,5", "utf-8")],
)
def test_the_ways_programs_write_tables(delimiter: str, numbers: str, encoding: str, tmp_path: Path) -> None:
    rows = [delimiter.join([numbers, str(i), "-2e3"]) for i in range(20)]
    data = open_dataset(write(tmp_path / "t.csv", delimiter.join(["größe", "b", "c"]), rows, encoding))
    assert data.schema.target.names == ("größe", "b", "c")  # type: ignore[union-attr]
    assert np.asarray(data.fields["vector"].values)[7].tolist() == [1.5, 7.0, -2000.0]


def test_a_table_without_a_header_has_columns_all_the_same(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path / "t.csv", "0.5,1", [f"{i}.25,{i}" for i in range(20)]))
    assert data.schema.target.names == ("x0", "x1") and len(data.fields["vector"].values) == 21  # type: ignore[union-attr]


def test_splits_and_whole_classes_come_in_columns(tmp_path: Path) -> None:
    rows = [f"{i / 7},{i % 3},{('Train', 'train', 'test', 'valid')[i % 4]}" for i in range(80)]
    data = open_dataset(write(tmp_path / "t.csv", "x,class,split", rows))
    assert {name: len(found) for name, found in data.splits.items()} == {"train": 40, "val": 20, "test": 20}
    assert data.schema.label is not None and data.schema.label.classes == ("0", "1", "2")


def test_a_quantity_called_target_is_a_column(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path / "t.csv", "x,target", [f"{i},{i * 0.3}" for i in range(40)]))
    assert data.schema.label is None and data.schema.target.names == ("x", "target")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("a,b", ["1,2", "3,", "5,6"], "no number in row 2 of column 'b' .empty."),
        ("a,b", ["1,2", "3,nan", "5,6"], "no number in row 2 of column 'b' .nan."),
        ("a,b", ["1,2", "inf,4", "5,6"], "no number in row 2 of column 'a' .inf."),
        ("a,b", ["1,2", "3,4,5"], "3 cells in row 2, and 2 columns"),
        ("a,b", ["x,y", "z,w", "q,r"], "no column of numbers"),
        ("a,b", [], "is no table"),
    ],
)
def test_what_cannot_be_read_is_named(header: str, rows: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        open_dataset(write(tmp_path / "t.csv", header, rows))


def test_new_tables_are_read_by_the_names_of_the_models_columns(tmp_path: Path) -> None:
    first = open_dataset(write(tmp_path / "a.csv", "x,y,z", [f"{i},{10 * i},{i % 5}" for i in range(30)]))
    other = write(tmp_path / "b.csv", "z,more,x,y", ["4,9,1,2"])
    found = open_like(other, first.schema.target, splits=False)
    assert np.asarray(found.fields["vector"].values).tolist() == [[1.0, 2.0, 4.0]]
    assert "columns that the model does not know are left out: more" in found.notes
    with pytest.raises(DataError, match="lacks the column 'y'"):
        open_like(write(tmp_path / "c.csv", "z,x", ["4,1", "5,2"]), first.schema.target, splits=False)


@pytest.mark.parametrize(
    "content", [b"\x00" * 1000, b"\xff\xfe\x00", b'"' * 50_000, b"a,b\n" + b'"x' * 1000, b"\n\n\n"]
)
def test_what_is_no_table_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(GenarenaError):
        open_dataset(tmp_path / "t.csv")
