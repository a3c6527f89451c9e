"""Columns far from zero, or of any size, are as good as standardised ones: no digit is lost before float64 is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from genarena import Detector, Encoder, console, kinds
from genarena.data import Dataset, Loader, VectorSpec, inspect_dataset, open_dataset
from genarena.data.sources import vector_spec
from genarena.data.splits import content_hashes
from genarena.fit import fit, plan
from genarena.fitted import FittedModel
from genarena.metrics.decoded import reconstruction_scores
from genarena.metrics.degrade import bad_samples
from genarena.metrics.fitting import fit_spaces

# Unix time in seconds, eastings and northings of UTM in metres, a rate, and an unlucky unit; each with its spread.
SHIFT = np.array([1.7e9, 4.5e5, 5.4e6, -1e12, 3e-9])
SCALE = np.array([1.0, 1e-2, 1e-2, 1e3, 1e-12])


def _plain(count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(size=(count, 5)), 1) + 3.0 * rng.integers(0, 2, (count, 1))


def _open(folder: Path, rows: np.ndarray) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "a.npz", x_train=rows[:200], x_val=rows[200:240], x_test=rows[240:])
    return open_dataset(folder / "a.npz")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """The same rows, plain and far away."""
    folder = tmp_path_factory.mktemp("rows")
    return _open(folder / "plain", _plain()), _open(folder / "far", _plain() * SCALE + SHIFT)


def _fitted(name: str, data: Dataset, folder: Path) -> FittedModel:
    settings = {} if name == "pca" else {"batch_size": 50}
    decided = plan(name, data, budget="1 epochs", seed=0, settings={"latent_dim": 3, **settings}, device="cpu")
    return fit(decided, folder, threads=1, pictures=False)


def test_distinct_rows_stay_distinct(tmp_path: Path) -> None:
    seconds = np.arange(300.0) + 1.7e9
    easting = 500_000 + np.arange(300) / 1000
    rows = np.column_stack([seconds, easting])
    np.save(tmp_path / "a.npy", rows)
    for source in (rows, tmp_path / "a.npy", rows.astype(np.longdouble), np.column_stack([np.arange(300)] * 2) + 2**40):
        data = open_dataset(source)
        stored = data.fields["vector"].values
        assert stored.dtype == np.float64 and all(len(np.unique(column)) == 300 for column in stored.T)
        spec = data.schema.target
        x = kinds.normalise(kinds.kind_of(spec).to_tensor(stored), spec)
        assert x.dtype == torch.float32 and all(len(x[:, i].unique()) == 300 for i in range(2))
        assert len(np.unique(content_hashes(stored))) == 300
        loaded = Loader(data, batch_size=len(data.splits["train"]), seed=0, normalise=kinds.normalise).batch(0).x
        assert len(loaded[:, 0].unique()) == len(loaded)


def test_inspect_shows_all_digits() -> None:
    found = inspect_dataset(open_dataset(np.arange(300.0)[:, None] / 10 + 1.7e9))
    assert found["values"]["maximum"] - found["values"]["minimum"] > 25
    low, high = (float(word) for word in console._values(found["values"]).split(" to "))
    assert high - low == found["values"]["maximum"] - found["values"]["minimum"]


def test_digits_beyond_float64_are_said() -> None:
    ids = np.arange(60)[:, None] + np.array([[2**60, 5]])
    assert any("rounded to 16 digits" in note for note in open_dataset(ids).notes)
    assert not any("rounded" in note for note in open_dataset(ids - ids[0]).notes)


def test_splits_do_not_depend_on_the_digits_stored() -> None:
    rows = _plain()
    few, all_ = open_dataset(rows.astype(np.float32)), open_dataset(rows)
    assert all((few.splits[name] == all_.splits[name]).all() for name in few.splits)


def test_normalised_values_do_not_depend_on_units(pair: tuple[Dataset, Dataset]) -> None:
    plain, far = pair
    x, y = (kinds.normalise(torch.from_numpy(d.values("test")), d.schema.target).numpy() for d in pair)
    # What float64 leaves of a column's spread: eps |shift| / scale.
    rounding = 2.3e-16 * np.abs(SHIFT) / SCALE + 2e-7
    assert (np.abs(x - y).max(0) < 4 * rounding).all()
    spec = far.schema.target
    assert isinstance(spec, VectorSpec) and np.allclose(spec.scale / SCALE, plain.schema.target.scale, rtol=1e-6)
    back = kinds.kind_of(spec).denormalise(torch.from_numpy(y), spec)
    assert back.dtype == np.float64
    assert (np.abs(back - far.values("test")) / SCALE < 5e-6 + 4 * rounding).all()


@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e6, 1e100])
def test_scales_of_any_size(scale: float) -> None:
    rows = _plain(60)
    np.testing.assert_allclose(np.array(vector_spec(rows * scale).scale) / scale, vector_spec(rows).scale, rtol=1e-9)


def test_constant_columns_have_the_scale_one() -> None:
    rows = np.column_stack([_plain(60)[:, 0] + 1e9, np.full(60, 0.1), np.full(60, 1.7e9 + 0.1)])
    spec = open_dataset(rows).schema.target
    assert isinstance(spec, VectorSpec) and spec.scale[0] > 0.5 and spec.scale[1:] == (1.0, 1.0)


@pytest.mark.parametrize("name", ["pca", "vae"])
def test_models_do_not_depend_on_units(name: str, pair: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    one, other = (_fitted(name, data, tmp_path / str(i)) for i, data in enumerate(pair))
    x, y = (data.values("test") for data in pair)
    near = {"rtol": 2e-3, "atol": 2e-3}
    np.testing.assert_allclose(other.encode(y), one.encode(x), **near)
    np.testing.assert_allclose(other.anomaly_score(y), one.anomaly_score(x), **near)
    np.testing.assert_allclose((other.reconstruct(y) - SHIFT) / SCALE, one.reconstruct(x), **near)
    np.testing.assert_allclose(other.log_prob(y, 2) + np.log(SCALE).sum(), one.log_prob(x, 2), rtol=1e-3, atol=2e-2)
    drawn, same = other.sample(50), one.sample(50)
    assert drawn.dtype == same.dtype == np.float64 and len(np.unique(drawn[:, 0])) == 50
    np.testing.assert_allclose((drawn - SHIFT) / SCALE, same, **near)
    other.kind.save(drawn, other.spec, tmp_path / "a.csv")
    other.kind.save(drawn, other.spec, tmp_path / "a.npz")
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "a.csv", delimiter=",", skiprows=1), drawn)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["data"], drawn)


def test_feature_spaces_do_not_depend_on_units(pair: tuple[Dataset, Dataset]) -> None:
    features, errors = [], []
    for data, scale in zip(pair, (1.0, SCALE), strict=True):
        spec, train, test = data.schema.target, data.values("train"), data.values("test")
        spaces = {space.id: space for space in fit_spaces(data, 60, 0, None, lambda line: None)[0]}
        bad = bad_samples(spec, train, None, 60, 0)
        assert all(values.dtype == np.float64 for values in bad.values())
        features += [np.concatenate([space(v).ravel() for space in spaces.values() for v in (test, *bad.values())])]
        scores = reconstruction_scores(spec, spaces, test, test + 0.1 * scale, 0)
        errors.append([score.value for score in scores.values()])
    np.testing.assert_allclose(features[1], features[0], rtol=0.02, atol=0.02)
    np.testing.assert_allclose(errors[1], errors[0], rtol=0.01)


def test_estimators_do_not_depend_on_units() -> None:
    x = _plain(80)
    y = x * SCALE + SHIFT
    encoders = [Encoder("pca", latent_dim=2).fit(values) for values in (x, y)]
    np.testing.assert_allclose(encoders[1].transform(y), encoders[0].transform(x), rtol=2e-3, atol=2e-3)
    back = encoders[1].inverse_transform(encoders[1].transform(y))
    np.testing.assert_allclose(
        (back - SHIFT) / SCALE, encoders[0].inverse_transform(encoders[0].transform(x)), atol=5e-3
    )
    detectors = [Detector("pca", latent_dim=2).fit(values) for values in (x, y)]
    assert (detectors[0].predict(x) == detectors[1].predict(y)).mean() > 0.98
