"""Data sets as folders of arrays, and other data as a model's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genarena.data import Dataset, ImageSpec, VectorSpec, open_dataset
from genarena.data.adapt import open_like, values_like
from genarena.data.fields import Quarantined
from genarena.data.store import load_dataset, save_dataset
from genarena.errors import DataError, RunError
from genarena.files import read_json, write_json


@pytest.fixture
def stored(images: Dataset, tmp_path: Path) -> Path:
    save_dataset(images, tmp_path / "data")
    return tmp_path / "data"


def test_a_data_set_comes_back_as_it_was(images: Dataset, vectors: Dataset, tmp_path: Path) -> None:
    for name, dataset in (("images", images), ("vectors", vectors)):
        noted = replace(dataset, notes=("a note",), quarantined=(Quarantined("a/b.png", "truncated"),))
        save_dataset(noted, tmp_path / name)
        found = load_dataset(tmp_path / name)
        assert (found.name, found.schema, found.notes, found.quarantined) == (
            noted.name, noted.schema, noted.notes, noted.quarantined,
        )  # fmt: skip
        assert found.fingerprint == dataset.fingerprint
        for split in ("train", "val", "test"):
            np.testing.assert_array_equal(found.values(split), dataset.values(split))
            np.testing.assert_array_equal(found.labels(split), dataset.labels(split))


def test_fields_are_memory_mapped(stored: Path) -> None:
    assert isinstance(load_dataset(stored).fields["image"].values, np.memmap)


def test_changed_values_are_noticed(stored: Path) -> None:
    values = np.load(stored / "field-image.npy")
    values[0, 0, 0, 0] ^= 1
    np.save(stored / "field-image.npy", values)
    with pytest.raises(RunError, match="changed since it was written"):
        load_dataset(stored)


def _no_record(folder: Path) -> None:
    (folder / "dataset.json").unlink()


def _no_json(folder: Path) -> None:
    (folder / "dataset.json").write_text("{")


def _no_array(folder: Path) -> None:
    (folder / "field-image.npy").unlink()


def _cut_array(folder: Path) -> None:
    path = folder / "field-image.npy"
    path.write_bytes(path.read_bytes()[:-10])


def _objects(folder: Path) -> None:
    np.save(folder / "split-val.npy", np.array([object()]), allow_pickle=True)


def _path_as_name(folder: Path) -> None:
    path = folder / "dataset.json"
    record = read_json(path)
    record["schema"]["../secret"] = record["schema"].pop("image")
    write_json(path, record)


def _no_fingerprint(folder: Path) -> None:
    path = folder / "dataset.json"
    write_json(path, {k: v for k, v in read_json(path).items() if k != "fingerprint"})


@pytest.mark.parametrize(
    "damage", [_no_record, _no_json, _no_array, _cut_array, _objects, _path_as_name, _no_fingerprint]
)
def test_damage_is_a_run_error(stored: Path, damage: Callable[[Path], None]) -> None:
    damage(stored)
    with pytest.raises(RunError) as caught:
        load_dataset(stored)
    assert str(stored) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_huge_record_is_not_read(stored: Path) -> None:
    with (stored / "dataset.json").open("r+b") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(RunError, match="larger than 24 MB"):
        load_dataset(stored)


# -- other data for a model --------------------------------------------------------------------------------------------


def test_other_images_are_resized_to_the_models_shape() -> None:
    other = np.random.default_rng(0).integers(0, 256, (30, 20, 16, 3), dtype=np.uint8)
    spec = ImageSpec(1, 8, 10)
    assert open_like(other, spec, fit=True).schema.target.shape == (1, 8, 10)


def test_codes_are_put_on_the_models_grey_levels() -> None:
    binary = np.random.default_rng(0).integers(0, 2, (30, 8, 8), dtype=np.uint8)
    dataset = open_dataset(binary)
    assert isinstance(dataset.schema.target, ImageSpec) and dataset.schema.target.levels == 2
    wide = values_like(dataset, ImageSpec(1, 8, 8, 17))
    assert wide.schema.target == ImageSpec(1, 8, 8, 17)
    np.testing.assert_array_equal(wide.fields["image"].values, 16 * binary[:, None])
    like = open_like(binary, ImageSpec(1, 8, 8, 17), value_range=(0, 1))
    np.testing.assert_array_equal(like.fields["image"].values, wide.fields["image"].values)
    assert values_like(dataset, ImageSpec(1, 8, 8, 2)) is dataset


def test_rows_are_standardised_as_the_models_were(vectors: Dataset) -> None:
    spec = VectorSpec(4, (1.0,) * 4, (2.0,) * 4)
    seen = values_like(vectors, spec)
    assert seen.schema.target == spec
    np.testing.assert_array_equal(seen.values("test"), vectors.values("test"))


def test_examples_keep_the_datas_order(images: Dataset) -> None:
    assert values_like(images, images.schema.target) is images


def test_data_of_another_shape_or_kind_are_refused(images: Dataset, vectors: Dataset) -> None:
    with pytest.raises(DataError, match=r"takes examples of shape \(1, 9, 8\)"):
        values_like(images, ImageSpec(1, 9, 8))
    with pytest.raises(DataError, match=r"has \(4,\)"):
        values_like(vectors, ImageSpec(1, 8, 8))
