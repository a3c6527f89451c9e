"""From two sets of examples to the panel of scores, each with its sampling distribution.

A `Probe` measures a set once (features, spectra, distances to the training data); every metric is then a function of
two measured sets. So is every replicate: of parts of both sets, drawn without replacement, since the duplicates that a
bootstrap draws would fall into every nearest-neighbour ball and bias the kernel distance.

The scale of the replicates: for a mean-like statistic of n examples, the variance given the data of its value on m of
them is ``s^2 (1/m - 1/n)``, where that of the full value is ``s^2 / n``. Deviations are therefore multiplied by
``sqrt(m / (n - m))``, which is 1 for halves. A z-score's own spread does not shrink with n, and takes
``sqrt(n / (n - m))``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..data.fields import ImageSpec
from .chunks import by_chunk
from .classes import class_total_variation, lost_classes
from .copying import TrainingSet, authenticity, c_t
from .frechet import frechet_infinity
from .inception import inception_score
from .kernel import kid
from .neighbours import manifold_scores
from .own import USER
from .score import Score, Undefined, finite
from .spaces import FeatureSpace, TargetSpec
from .spectrum import frequencies, laplacian_energy, power_spectra, sharpness_ratio, spectrum_error
from .twosample import c2st_knn, c2st_logistic

REPLICATES = 40
_PART = 1000  # replicates of more examples would cost much and tell little more
COPYING = ("train distance", "cell", "authentic")
MANIFOLD = ("precision", "recall", "density", "coverage")
Call = tuple[tuple[str, ...], Callable[[], Any]]
SPACE_METRICS = ("fd_inf", "kid", *MANIFOLD, "c2st_knn", "c2st_logistic")


@dataclass(frozen=True)
class Measured:
    """What the metrics need to know of a set of examples: named columns with one entry an example."""

    columns: Mapping[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, rows: np.ndarray) -> Measured:
        return Measured({name: column[rows] for name, column in self.columns.items()})


class Probe:
    """Measures examples of one data set, and knows which metrics that set allows.

    Parameters
    ----------
    spec : ImageSpec or VectorSpec
    spaces : mapping of str to FeatureSpace
        "pca" is always among them: distances to the training data are taken in it.
    train : numpy.ndarray
        Stored values of the train split, for the copying tests.
    classes : int
        Number of classes; 0 without labels.
    cells, k : int
        Regions of the copying test, and the neighbour that sets the radius of precision, recall, density and coverage.
    seed : int
    """

    def __init__(
        self,
        spec: TargetSpec,
        spaces: Mapping[str, FeatureSpace],
        train: np.ndarray,
        *,
        classes: int,
        cells: int,
        k: int,
        seed: int,
    ):
        self.spec = spec
        self.spaces = spaces
        self.classes = classes if "classifier" in spaces else 0
        self.judges_classes = USER in spaces and spaces[USER].classifies
        self.k = k
        self.training = TrainingSet(spaces["pca"](train), cells, seed)

    def __call__(self, values: np.ndarray) -> Measured:
        """Measure stored values; raises `Undefined` where there are none or their features are not finite."""
        if not len(values):
            raise Undefined("no samples")
        columns = {name: space(values) for name, space in self.spaces.items()}
        bad = sum(~np.isfinite(features).all(1) for features in columns.values())
        if np.any(bad):
            raise Undefined(f"{np.count_nonzero(bad):,} of {len(values):,} samples are not finite, or out of range")
        distance, row = self.training.nearest(columns["pca"])
        cell, authentic = self.training.cell(columns["pca"]), self.training.authentic(distance, row)
        columns |= dict(zip(COPYING, (distance, cell, authentic), strict=True))
        if self.classes:
            columns["probabilities"] = self.spaces["classifier"].probabilities(values)
            columns["class"] = columns["probabilities"].argmax(1)
        if self.judges_classes:
            columns["user probabilities"] = self.spaces[USER].probabilities(values)
        if isinstance(self.spec, ImageSpec):
            columns["laplacian"] = by_chunk(partial(laplacian_energy, levels=self.spec.levels), values)
            columns["spectrum"] = by_chunk(partial(power_spectra, levels=self.spec.levels), values)
        return Measured(columns)

    def metrics(self, real: Measured, fake: Measured, seed: int) -> list[Call]:
        """Names of metrics, and the call that gives their values (one, or a mapping for several names)."""
        rng = partial(np.random.default_rng, seed)  # a fresh generator a metric: none depends on which others ran
        calls: list[Call] = []
        for space in self.spaces:
            x, y = real[space], fake[space]
            calls += [
                ((f"fd_inf/{space}",), partial(frechet_infinity, x, y, rng())),
                ((f"kid/{space}",), partial(kid, x, y)),
                (tuple(f"{name}/{space}" for name in MANIFOLD), partial(manifold_scores, x, y, self.k)),
                ((f"c2st_knn/{space}",), partial(c2st_knn, x, y, rng())),
                ((f"c2st_logistic/{space}",), partial(c2st_logistic, x, y, rng())),
            ]

        def both(*columns: str) -> list[Any]:
            return [side[name] for name in columns for side in (real, fake)]

        if isinstance(self.spec, ImageSpec):
            rings = frequencies(self.spec.height, self.spec.width)
            calls += [
                (("sharpness",), partial(sharpness_ratio, *both("laplacian"))),
                (("spectrum_error",), partial(spectrum_error, rings, *both("spectrum"))),
            ]
        if self.classes:
            calls += [
                (("class_tv",), partial(class_total_variation, real["class"], fake["class"], self.classes)),
                (("lost_classes",), partial(lost_classes, real["class"], fake["class"], self.classes)),
                (("inception_score",), partial(inception_score, fake["probabilities"])),
            ]
        if self.judges_classes:
            calls.append(((f"inception_score/{USER}",), partial(inception_score, fake["user probabilities"])))
        calls += [
            (("c_t",), partial(c_t, *both("train distance", "cell"))),
            (("authenticity",), partial(authenticity, fake["authentic"])),
        ]
        return calls

    @property
    def names(self) -> list[str]:
        """Keys of the panel, in order."""
        names = [f"{name}/{space}" for space in self.spaces for name in SPACE_METRICS]
        names += ["sharpness", "spectrum_error"] if isinstance(self.spec, ImageSpec) else []
        names += ["class_tv", "lost_classes", "inception_score"] if self.classes else []
        names += [f"inception_score/{USER}"] if self.judges_classes else []
        return [*names, "c_t", "authenticity"]


def evaluate(probe: Probe, real: Measured, fake: Measured, seed: int) -> dict[str, float | str]:
    """The value of every metric, or the reason why it has none."""
    results: dict[str, float | str] = {}
    for names, call in probe.metrics(real, fake, seed):
        try:
            with np.errstate(all="ignore"):  # an overflow ends in a value that is not finite, which is said
                outcome = call()
                values = list(outcome.values()) if len(names) > 1 else [outcome]
                results |= {name: finite(value) for name, value in zip(names, values, strict=True)}
        except (Undefined, np.linalg.LinAlgError) as error:
            results |= dict.fromkeys(names, str(error))
    return results


def panel(
    probe: Probe, real: Measured, fake: Measured, *, reference_seed: int, seed: int, replicates: int = REPLICATES
) -> dict[str, Score]:
    """Every metric with its replicates.

    Parameters
    ----------
    probe : Probe
    real, fake : Measured
        Reference examples and samples.
    reference_seed : int
        Draws the parts of the reference: where it is equal for two models, replicate r of both sees the same real
        examples, and differences of replicates are paired.
    seed : int
        Draws the parts of the samples.
    replicates : int
        0 gives values alone.
    """
    values = evaluate(probe, real, fake, seed)
    n = min(len(real), len(fake))
    m = min(n // 2, _PART)
    draws: list[dict[str, float | str]] = []
    if m >= 2:
        real_rows = _parts(len(real), m, replicates, reference_seed)
        fake_rows = _parts(len(fake), m, replicates, seed)
        pairs = zip(real_rows, fake_rows, strict=True)
        draws = [evaluate(probe, real.take(r), fake.take(f), seed) for r, f in pairs]
    scores = {}
    for name, value in values.items():
        if isinstance(value, str):
            scores[name] = Score(None, len(fake), reason=value)
        else:
            spread = [v for d in draws if not isinstance(v := d[name], str)]
            factor = np.sqrt((n if name == "c_t" else m) / (n - m))
            scores[name] = Score(value, len(fake), centred(value, spread, factor))
    return scores


def mean_score(
    examples: np.ndarray, seed: int, transform: Callable[[float], float] = float, replicates: int = REPLICATES
) -> Score:
    """A score that is a function of the mean over examples ``(N,)``, with replicates from halves."""
    n = len(examples)
    try:
        if not n:
            raise Undefined("no examples")
        value = finite(transform(finite(examples.mean())))
        spread = (
            [transform(float(examples[rows].mean())) for rows in _parts(n, n // 2, replicates, seed)] if n > 3 else []
        )
    except Undefined as error:
        return Score(None, n, reason=str(error))
    return Score(value, n, centred(value, spread, np.sqrt((n // 2) / (n - n // 2))))


def centred(value: float, spread: Sequence[float], factor: float) -> tuple[float, ...]:
    """Replicates around ``value`` with the deviations of ``spread`` times ``factor``."""
    if not spread:
        return ()
    return tuple((value + factor * (np.asarray(spread) - np.mean(spread))).tolist())


def _parts(n: int, m: int, count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(n)[:m] for _ in range(count)]
