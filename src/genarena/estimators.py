"""scikit-learn estimators: codes and anomaly scores in pipelines and grid searches."""

from __future__ import annotations

import numbers
import tempfile
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .data import Dataset, Field
from .data.sources import vector_spec
from .fit import fit, plan
from .fitted import FittedModel, build
from .game import Capability


class _Estimator(BaseEstimator):
    """A model trained on rows of numbers.

    Parameters
    ----------
    model : str
        Name of a model that can do what the estimator asks of it.
    latent_dim : int or None
        Numbers of the code.
    budget : str
    random_state : int, RandomState instance or None
        An integer is the seed of the training itself; of the others one is drawn, as scikit-learn does: from NumPy's global
        generator for None.
    """

    _needs: Capability

    def __init__(
        self, model: str = "vae", latent_dim: int | None = None, budget: str = "50 epochs", random_state: Any = 0
    ):
        self.model = model
        self.latent_dim = latent_dim
        self.budget = budget
        self.random_state = random_state

    def _fit(self, X: Any) -> np.ndarray:
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        spec = vector_spec(rows)
        everything = np.arange(len(rows))
        splits = {"train": everything, "val": everything[:0], "test": everything[:0]}
        dataset = Dataset("X", {"vector": Field(spec, "target", rows)}, splits)
        settings: dict[str, Any] = {"latent_dim": self.latent_dim} if self.latent_dim is not None else {}
        decided = plan(self.model, dataset, budget=self.budget, seed=self._seed(), settings=settings, device="cpu")
        untrained = build(decided.model_class, decided.config, dataset.schema, 0)
        FittedModel(untrained, decided.record).require(self._needs)  # before anybody waits for the training
        with tempfile.TemporaryDirectory() as folder:
            self.fitted_: FittedModel = fit(decided, folder, threads=1, pictures=False)
        return rows

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "fitted_")
        return validate_data(self, X, dtype=np.float64, reset=False)


class Encoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Estimator):
    """Codes of rows: ``transform`` gives the posterior mean, ``inverse_transform`` decodes."""

    _needs = "encode"

    def fit(self, X: Any, y: Any = None) -> Encoder:
        """Train on rows ``(N, D)``."""
        self._fit(X)
        return self

    @property
    def _n_features_out(self) -> int:
        return self.fitted_.latent_width

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # what networks compute in
        return tags

    def transform(self, X: Any) -> np.ndarray:
        """Codes ``(N, L)``."""
        rows = self._rows(X)
        return self.fitted_.encode(rows)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Rows ``(N, D)`` of codes ``(N, L)``."""
        check_is_fitted(self, "fitted_")
        codes = check_array(Z, dtype=np.float32, input_name="Z")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(f"Z has {codes.shape[1]} columns; the codes of this encoder have {self._n_features_out}.")
        return self.fitted_.decode(codes)


class Detector(OutlierMixin, _Estimator):
    """Anomaly scores of rows.

    Parameters
    ----------
    model, latent_dim, budget, random_state
        As for `Encoder`.
    contamination : float
        Share of the training rows that ``predict`` calls outliers.
    """

    _needs = "anomaly_score"

    def __init__(
        self,
        model: str = "vae",
        latent_dim: int | None = None,
        budget: str = "50 epochs",
        random_state: Any = 0,
        contamination: float = 0.1,
    ):
        super().__init__(model, latent_dim, budget, random_state)
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Detector:
        """Train on rows ``(N, D)`` that are mostly normal."""
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination={self.contamination}: give a share above 0, at most 0.5.")
        rows = self._fit(X)
        self.offset_ = float(np.quantile(self._normality(rows), self.contamination))
        return self

    def _normality(self, rows: np.ndarray) -> np.ndarray:
        return -self.fitted_.anomaly_score(rows).astype(np.float64)

    def score_samples(self, X: Any) -> np.ndarray:
        """Minus the anomaly score ``(N,)``: lower is stranger, as scikit-learn has it."""
        rows = self._rows(X)
        return self._normality(rows)

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less the threshold: negative for outliers."""
        normality = self.score_samples(X)
        return normality - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for inliers, -1 for outliers."""
        return np.where(self.decision_function(X) >= 0, 1, -1)
