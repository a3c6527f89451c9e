"""scikit-learn estimators: its own checks, and that codes and scores mean something."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from genarena import Detector, Encoder
from genarena.errors import CapabilityError, UsageError

SHORT = {"model": "vae", "latent_dim": 2, "budget": "2 epochs"}
ROUNDING = {
    "check_methods_subset_invariance": "it allows 1e-7: networks compute in float32, whose rounding depends on the "
    "number of rows (test_scores_of_few_rows_are_those_of_many bounds it)"
}


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    """Rows of five columns near a plane, and their scales from 0.1 to 1000."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 5)) + 0.01 * rng.normal(size=(200, 5))
    return rows * np.array([0.1, 1, 10, 100, 1000]) + 5


@pytest.mark.parametrize(
    "estimator",
    [Encoder(model="pca"), Detector(model="pca", latent_dim=1), Encoder(**SHORT), Detector(**SHORT)],
    ids=lambda e: f"{type(e).__name__}-{e.model}",
)
def test_scikit_learn_accepts_it(estimator: Encoder | Detector) -> None:
    results = check_estimator(estimator, on_fail=None, on_skip=None, expected_failed_checks=ROUNDING)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    # Skipped where pandas or SciPy's array API are not there to be tried with.
    assert skipped <= {"check_array_api_input", "check_classifier_data_not_an_array"}
    assert len(results) - len(skipped) > 40


def test_codes_decode_to_the_rows_they_came_from(plane: np.ndarray) -> None:
    encoder = Encoder(model="pca", latent_dim=2).fit(plane)
    codes = encoder.transform(plane)
    assert codes.shape == (200, 2)
    restored = encoder.inverse_transform(codes)
    assert (np.abs(restored - plane) < 0.2 * plane.std(0)).all()


def test_fitting_again_gives_the_same_and_another_seed_another(plane: np.ndarray) -> None:
    one, same, other = (Encoder(**SHORT, random_state=seed).fit(plane).transform(plane) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_pickled_estimator_gives_the_same_codes(plane: np.ndarray) -> None:
    encoder = Encoder(**SHORT).fit(plane)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).transform(plane), encoder.transform(plane))  # noqa: S301


def test_rows_off_the_plane_are_outliers(plane: np.ndarray) -> None:
    detector = Detector(model="pca", latent_dim=2, contamination=0.05).fit(plane)
    assert (detector.predict(plane) == -1).mean() == pytest.approx(0.05, abs=0.006)
    strange = plane[:20].copy()
    strange[:, 0] += 3 * plane[:, 0].std()
    assert (detector.predict(strange) == -1).all()
    assert (detector.score_samples(strange) < detector.score_samples(plane[:20])).all()


def test_scores_of_few_rows_are_those_of_many(plane: np.ndarray) -> None:
    detector = Detector(**SHORT).fit(plane)
    one_by_one = np.concatenate([detector.score_samples(row[None]) for row in plane[:50]])
    np.testing.assert_allclose(one_by_one, detector.score_samples(plane[:50]), rtol=1e-5, atol=1e-5)


def test_parameters_are_stored_and_cloned(plane: np.ndarray) -> None:
    detector = Detector("vae", 3, "1 epochs", 5, 0.2)
    assert clone(detector).get_params() == {
        "model": "vae", "latent_dim": 3, "budget": "1 epochs", "random_state": 5, "contamination": 0.2
    }  # fmt: skip
    pipeline = make_pipeline(StandardScaler(), Encoder(model="pca", latent_dim=2))
    assert pipeline.set_params(encoder__latent_dim=1).fit_transform(plane).shape == (200, 1)


def test_a_model_that_cannot_says_why(plane: np.ndarray) -> None:
    with pytest.raises(CapabilityError, match="gan cannot encode"):
        Encoder(model="gan", budget="1 epochs").fit(plane)
    with pytest.raises(UsageError, match="Did you mean 'vae'"):
        Encoder(model="vea").fit(plane)


def test_features_out_have_names_and_go_into_data_frames(plane: np.ndarray) -> None:
    encoder = Encoder(model="pca", latent_dim=2).fit(plane)
    assert encoder.get_feature_names_out().tolist() == ["encoder0", "encoder1"]
    framed = encoder.set_output(transform="pandas").transform(plane)
    assert isinstance(framed, pd.DataFrame)
    assert framed.columns.tolist() == ["encoder0", "encoder1"]


@pytest.mark.parametrize("estimator", [Encoder(model="pca"), Detector(model="pca")], ids=["encoder", "detector"])
def test_what_is_not_fitted_says_so_after_a_failed_fit_too(estimator: Encoder | Detector, plane: np.ndarray) -> None:
    asked = estimator.transform if isinstance(estimator, Encoder) else estimator.predict
    with pytest.raises(NotFittedError):
        asked(plane)
    with pytest.raises(UsageError, match="bananas"):
        estimator.set_params(budget="3 bananas").fit(plane)
    with pytest.raises(NotFittedError):
        asked(plane)


def test_a_random_state_is_what_scikit_learn_takes(plane: np.ndarray) -> None:
    def codes(random_state: object) -> np.ndarray:
        return Encoder(**SHORT, random_state=random_state).fit(plane[:100]).transform(plane[:5])

    np.testing.assert_array_equal(codes(np.int64(3)), codes(3))
    np.testing.assert_array_equal(codes(np.random.RandomState(4)), codes(np.random.RandomState(4)))
    one = np.random.RandomState(4)
    assert not np.array_equal(codes(one), codes(one)), "its state moves on"
    assert not np.array_equal(codes(None), codes(None))


@pytest.mark.parametrize(
    ("estimator", "error"),
    [
        (Encoder(model="gan", budget="1000 epochs"), CapabilityError),
        (Detector(contamination=0.9, budget="1000 epochs"), ValueError),
        (Detector(contamination=float("nan"), budget="1000 epochs"), ValueError),
        (Encoder(latent_dim=0, budget="1000 epochs"), UsageError),
        (Encoder(random_state=-1, budget="1000 epochs"), UsageError),
        (Encoder(random_state=1.5, budget="1000 epochs"), ValueError),
    ],
)
def test_wrong_arguments_are_refused_before_training(
    estimator: Encoder | Detector, error: type[Exception], plane: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genarena.estimators.fit", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(error):
        estimator.fit(plane)


@pytest.mark.parametrize(
    "codes",
    [np.zeros((2, 3)), np.full((2, 2), np.nan), np.zeros(2), np.zeros((2, 2, 2))],
    ids=["wide", "nan", "1d", "3d"],
)
def test_what_are_no_codes_is_not_decoded(codes: np.ndarray, plane: np.ndarray) -> None:
    with pytest.raises(ValueError):
        Encoder(model="pca", latent_dim=2).fit(plane).inverse_transform(codes)
