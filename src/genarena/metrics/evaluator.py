"""The frozen evaluator of a comparison: feature spaces, reference examples, protocol and their hash.

It is built once on a data set, saved, and never sees a model: it is handed stored values. Two scores may be compared
where the hashes agree. Every evaluator carries its own scale: the floor (real against real) and ceilings (bad on
purpose), and the metrics that failed a self-test on these data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ..data.fields import Dataset, ImageSpec, VectorSpec
from ..errors import DataError, RunError, UsageError
from ..files import Record, Text, claim, filling, read_record, write_json
from ..machine import own_threads
from ..own_code import Trust
from .decoded import path_scores, reconstruction_scores
from .degrade import bad_samples
from .fitting import fit_spaces
from .neighbours import in_manifold, null_k
from .own import USER, identity
from .panel import COPYING, REPLICATES, Measured, Probe, mean_score, panel
from .score import Score, ScoreRecord, Undefined
from .selftest import definitions, self_test
from .spaces import FeatureSpace, TargetSpec
from .spectrum import frequencies, power_spectra

FORMAT = 1
PROTOCOL = 3  # of the metrics' definitions: scores of different ones are not comparable
SAMPLES = 5000
_LEAST = 8  # examples that a distance between distributions takes
_TESTED = 2000  # training examples that the self-test draws from, at least where there are so many
_MAX_TRAIN = 60_000


class _Protocol(Record):
    version: int
    split: str
    n: int = Field(ge=1)
    k: int = Field(ge=1)
    seed: int = Field(ge=0)
    replicates: int = Field(ge=0)
    fingerprint: str


class _Space(Record):
    id: str
    dim: int
    trained_on: Text
    detail: Text


class _SelfTest(Record):
    usable: bool
    why: Text | None


class EvaluatorRecord(Record):
    """``evaluator.json``."""

    format: int
    hash: str
    protocol: _Protocol
    spaces: list[_Space]
    notes: list[Text]
    features: dict[str, str | None] | None = None
    floor: dict[str, ScoreRecord]
    ceilings: dict[str, dict[str, ScoreRecord]]
    self_test: dict[str, _SelfTest]


class Evaluator:
    """Scores samples and reconstructions against the test split of one data set.

    Made by `build` or `load`.

    Attributes
    ----------
    dataset : Dataset
        Its val and test splits hold the classes that train has, where these are at least 20 test examples.
    spec : ImageSpec or VectorSpec
    spaces : dict of str to FeatureSpace
    n, k : int
        Number of samples compared, and the neighbour of the manifold metrics.
    reference : numpy.ndarray
        Stored values of the ``n`` reference examples, from the test split.
    hash : str
        sha256 over what it was built from: the data's fingerprint, the protocol, the metrics and the rules of their self-test,
        and the networks of the spaces, by seed or by the sha256 of a user's own weights and code.
    floor : dict of str to Score
        Real training examples scored as if they were samples; the copying tests' floor is that of test examples, since
        training examples are copies by definition.
    ceilings : dict of str to dict of str to Score
        By what was done to real examples.
    self_test : dict
        ``{"usable": bool, "why": str or None}`` by key of the panel.
    notes : list of str
    features : dict or None
        What tells the feature space that a user asked for from others: see `own.identity`.
    """

    def __init__(self, dataset: Dataset, spaces: dict[str, FeatureSpace], protocol: dict[str, Any], notes: list[str]):
        self.dataset = _trained(dataset)
        self.spec = _target(dataset)
        self.spaces = spaces
        self.protocol = protocol
        self.notes = notes
        self.n: int = protocol["n"]
        self.k: int = protocol["k"]
        self.seed: int = protocol["seed"]
        self.reference = self.dataset.values("test")[_rows(self.dataset, "test", self.n, self.seed)]
        self.features: dict[str, str | None] | None = None
        self.floor: dict[str, Score] = {}
        self.ceilings: dict[str, dict[str, Score]] = {}
        self.self_test: dict[str, dict[str, Any]] = {}

    @classmethod
    def build(
        cls,
        dataset: Dataset,
        folder: Path,
        *,
        seed: int = 0,
        samples: int | None = None,
        features: Path | None = None,
        features_net: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Evaluator:
        """Fit the feature spaces, measure floor, ceilings and self-test, and save everything in ``folder``.

        Parameters
        ----------
        dataset : Dataset
        folder : pathlib.Path
            Made where it does not exist.
        seed : int
        samples : int, optional
            Number of samples to compare; at most as many as test and train examples, 5000 by default.
        features : pathlib.Path, optional
            One more feature space: a file of another evaluator's folder, or the weights of `features_net`.
        features_net : str, optional
            A network of your own, ``file.py:Class``: see `genarena.metrics.own`. This runs the file.
        progress : callable, optional
            Called with a line before each long step.

        Raises
        ------
        DataError
            With fewer than 8 test or train examples, or training examples that are all alike.
        UsageError
            Where ``samples`` is too small, or ``features`` is no feature space for these data or no weights of
            ``features_net``.
        """
        say = progress or (lambda line: None)
        claim(folder, "evaluator.json", "evaluator")
        seen = _trained(dataset)
        counts = {split: len(seen.splits[split]) for split in ("train", "test")}
        if min(counts.values()) < _LEAST:
            raise DataError(
                f"'{dataset.name}' has {counts['train']} train and {counts['test']} test examples; an evaluator needs "
                f"at least {_LEAST} of each. About {5 * _LEAST} are enough where the splits are made here."
            )
        if samples is not None and samples < _LEAST:
            raise UsageError(f"An evaluator compares at least {_LEAST} samples, not {samples}.")
        n = min(samples or SAMPLES, *counts.values())
        if features_net and not features:
            raise UsageError("A network of your own (features_net) needs its weights (features).")
        given = identity(features, features_net) if features else None
        with own_threads(1):  # the classifier's weights are then the same however many threads the caller has
            spaces, notes = fit_spaces(dataset, n, seed, features, say, features_net)
        strange = len(dataset.splits["test"]) - len(dataset.of_trained_classes().splits["test"])
        if strange:
            then = "too few are left without them, so models are compared on all"
            then = then if seen is dataset else "models are compared on the others"
            notes.append(f"{strange} test examples are of classes that train has none of: {then}")
        protocol = {
            "version": PROTOCOL,
            "split": "test",
            "n": n,
            "k": null_k(n, n),
            "seed": seed,
            "replicates": REPLICATES,
            "fingerprint": dataset.fingerprint,
            "rules": definitions(),
        }
        evaluator = cls(dataset, {space.id: space for space in spaces}, protocol, notes)
        evaluator.features = given
        evaluator._calibrate(say)
        evaluator._save(folder)
        return evaluator

    @classmethod
    def load(cls, folder: Path, dataset: Dataset, *, trust: Trust = False) -> Evaluator:
        """Read a saved evaluator for the data it was built on.

        Parameters
        ----------
        folder : pathlib.Path
        dataset : Dataset
        trust : bool or str
            Run Python code that came with the folder (a feature network of somebody's own); the first digits of its sha256
            allow no other.

        Raises
        ------
        RunError
            Where the folder is incomplete, changed, of another version, of other data, or brings code without `trust`.
        """
        try:
            record = read_record(folder / "evaluator.json", EvaluatorRecord, FORMAT)
            if (
                record["format"] != FORMAT
                or record["protocol"]["version"] != PROTOCOL
                or record["protocol"].get("rules") != definitions()
            ):
                raise RunError(f"'{folder}' was written by another version of genarena; build a new evaluator.")
            protocol, target = record["protocol"], _target(dataset)
            n, k = protocol["n"], protocol["k"]
            if not (type(n) is type(k) is int and 1 <= k < n <= len(dataset.splits["test"])):
                raise ValueError(f"it compares n={n!r} samples with k={k!r} neighbours")
            if protocol["fingerprint"] != dataset.fingerprint:
                raise RunError(
                    f"'{folder}' was built on other data than '{dataset.name}': name another folder for theirs (--evaluator)."
                )
            names = [entry["id"] for entry in record["spaces"]]
            if "pca" not in names or any(not name.replace("-", "").isalnum() for name in names):
                raise RunError(f"'{folder}' lists other feature spaces than genarena writes.")
            spaces = {
                name: FeatureSpace.load(folder / f"{name}.safetensors", target, trust=name == USER and trust)
                for name in names
            }
            evaluator = cls(dataset, spaces, protocol, record["notes"])
            evaluator.features = record.get("features")
            evaluator.floor = _scores(record["floor"])
            evaluator.ceilings = {title: _scores(scores) for title, scores in record["ceilings"].items()}
            evaluator.self_test = record["self_test"]
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError, UsageError) as error:
            raise RunError(f"'{folder}' is not a complete evaluator ({error}); build a new one.") from error
        if evaluator.hash != record["hash"] or evaluator._described() != record["spaces"]:
            raise RunError(f"'{folder}' was changed since it was written (its hash differs); build a new evaluator.")
        return evaluator

    @cached_property
    def hash(self) -> str:
        # What went in, and not the numbers that came out: the last bits of these are the machine's.
        parts = {
            "protocol": self.protocol,
            "spaces": {name: space.definition for name, space in self.spaces.items()},
            "features": self.features,
        }
        return _digest(parts)

    def _described(self) -> list[dict[str, Any]]:
        spaces = self.spaces.values()
        return [
            {"id": s.id, "dim": s.dim, "trained_on": s.trained_on, "detail": s.detail, "sha256": s.sha256}
            for s in spaces
        ]

    def panel(self, samples: np.ndarray, *, seed: int) -> dict[str, Score]:
        """Score the first ``n`` samples.

        Parameters
        ----------
        samples : numpy.ndarray
            Stored values: uint8 codes ``(N, C, H, W)`` or rows ``(N, D)`` in the data's units. Give ``n`` of them: most
            metrics depend on the count.
        seed : int
            Of the subsets that metrics and replicates draw.

        Returns
        -------
        dict of str to Score
            ``"fd_inf/classifier"``, ``"sharpness"`` and so on. Where a metric is undefined its score says why.

        Raises
        ------
        UsageError
            Where the samples have another shape or type than the data.
        """
        self._check(samples)
        try:
            measured = self._probe(samples[: self.n])
        except Undefined as error:
            count = len(samples[: self.n])
            return {name: Score(None, count, reason=str(error)) for name in self._probe.names}
        return self._panel(measured, seed)

    def reconstruction(self, originals: np.ndarray, reconstructions: np.ndarray, *, seed: int = 0) -> dict[str, Score]:
        """Score reconstructions ``(N, ...)`` of test examples ``(N, ...)``, both stored values.

        Returns
        -------
        dict of str to Score
            ``"mse"``, ``"feature_distance/<space>"``; of images also ``"psnr"`` and ``"ssim"``.

        Raises
        ------
        UsageError
            Where shapes or types differ from each other or from the data.
        """
        self._check(originals)
        self._check(reconstructions)
        if len(originals) != len(reconstructions):
            raise UsageError(
                f"{len(originals)} originals cannot be compared with {len(reconstructions)} reconstructions."
            )
        return reconstruction_scores(self.spec, self.spaces, originals, reconstructions, seed)

    def path(self, points: np.ndarray, *, seed: int = 0) -> dict[str, Score]:
        """Score interpolations: stored values ``(P, T, ...)`` of ``T`` points along each of ``P`` paths.

        Returns
        -------
        dict of str to Score
            ``"path_length/<space>"`` and ``"max_jump/<space>"``.

        Raises
        ------
        UsageError
            Where the points have another shape or type than the data.
        """
        self._check(points.reshape(-1, *points.shape[2:]))
        return path_scores(self.spaces, points, seed)

    def realism(self, values: np.ndarray, *, seed: int = 0) -> dict[str, Score]:
        """Precision of any number of examples ``(M, ...)`` by feature space: the share that looks like a real one."""
        self._check(values)
        scores: dict[str, Score] = {}
        for name, space in self.spaces.items():
            try:
                inside = in_manifold(self._measured_reference[name], space(values), self.k)
                scores[name] = mean_score(inside.astype(float), seed)
            except Undefined as error:
                scores[name] = Score(None, len(values), reason=str(error))
        return scores

    def nearest_training(self, values: np.ndarray) -> np.ndarray:
        """The training example nearest to each of ``(M, ...)``, by whitened principal components; stored values."""
        self._check(values)
        rows = self._probe.training.nearest(self.spaces["pca"](values))[1]
        return self._training_values[rows]

    def spectrum(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies in cycles per pixel ``(B,)`` and the images' mean power ``(B,)``, to plot.

        Raises
        ------
        UsageError
            Where the data are no images, or these have another shape or type.
        """
        if not isinstance(self.spec, ImageSpec):
            raise UsageError("Only images have a power spectrum.")
        self._check(images)
        power = power_spectra(images, self.spec.levels)
        return frequencies(self.spec.height, self.spec.width), power.mean(0)

    @cached_property
    def _training_values(self) -> np.ndarray:
        return self.dataset.values("train")[_rows(self.dataset, "train", _MAX_TRAIN, self.seed)]

    @cached_property
    def _probe(self) -> Probe:
        label = self.dataset.schema.label
        return Probe(
            self.spec,
            self.spaces,
            self._training_values,
            classes=len(label.classes) if label else 0,
            cells=max(1, min(10, self.n // 100)),
            k=self.k,
            seed=self.seed,
        )

    @cached_property
    def _measured_reference(self) -> Measured:
        return self._probe(self.reference)

    def _panel(self, measured: Measured, seed: int, replicates: int = REPLICATES) -> dict[str, Score]:
        real = self._measured_reference
        return panel(self._probe, real, measured, reference_seed=self.seed, seed=seed, replicates=replicates)

    def _check(self, values: np.ndarray) -> None:
        """Raise `UsageError` unless these are stored values of the data's shape and type."""
        dtype = np.uint8 if isinstance(self.spec, ImageSpec) else np.floating
        if not np.issubdtype(values.dtype, dtype) or values.shape[1:] != self.spec.shape:
            raise UsageError(
                f"The evaluator takes {dtype.__name__} values of shape (N, {', '.join(map(str, self.spec.shape))}), "
                f"not {values.dtype} of shape {values.shape}."
            )
        if isinstance(self.spec, ImageSpec) and values.size and values.max() >= self.spec.levels:
            raise UsageError(f"A code of {values.max()} is out of range: these images have {self.spec.levels} levels.")

    def _calibrate(self, say: Callable[[str], None]) -> None:
        rows = _rows(self.dataset, "train", len(self.dataset.splits["train"]), self.seed)
        train, labels = self.dataset.values("train")[rows], self.dataset.labels("train")
        labels = None if labels is None else labels[rows]
        say("measuring the floor: real train against real test")
        unseen = {name: self._measured_reference[name] for name in COPYING}
        self.floor = self._panel(Measured({**self._probe(train[: self.n]).columns, **unseen}), self.seed + 1)
        say("measuring the ceilings")
        for title, values in bad_samples(self.spec, train, labels, self.n, self.seed).items():
            self.ceilings[title] = self._panel(self._probe(values), self.seed, replicates=0)
        say("testing every metric on these data")
        most = max(self.n, _TESTED)
        self.self_test = self_test(self._probe, self.reference, train[:most], _head(labels, most), self.seed)

    def _save(self, folder: Path) -> None:
        record = {
            "format": FORMAT,
            "hash": self.hash,
            "protocol": self.protocol,
            "spaces": self._described(),
            "notes": self.notes,
            "features": self.features,
            "floor": {name: score.to_json() for name, score in self.floor.items()},
            "ceilings": {t: {name: s.to_json() for name, s in scores.items()} for t, scores in self.ceilings.items()},
            "self_test": self.self_test,
        }
        with filling(folder, "evaluator.json") as new:
            for name, space in self.spaces.items():
                space.save(new / f"{name}.safetensors")
            write_json(new / "evaluator.json", record)


def _target(dataset: Dataset) -> TargetSpec:
    spec = dataset.schema.target
    if not isinstance(spec, ImageSpec | VectorSpec):
        raise DataError(f"'{dataset.name}' has no images or rows to generate, so there is nothing to evaluate.")
    return spec


def _trained(dataset: Dataset) -> Dataset:
    """The data of the classes that can be learned, where these are enough to compare with."""
    trained = dataset.of_trained_classes()
    return trained if len(trained.splits["test"]) >= _LEAST else dataset


def _rows(dataset: Dataset, split: str, count: int, seed: int) -> np.ndarray:
    """Up to ``count`` positions within a split, in an order that depends on the seed alone."""
    return np.random.default_rng(seed).permutation(len(dataset.splits[split]))[:count]


def _head(array: np.ndarray | None, count: int) -> np.ndarray | None:
    return None if array is None else array[:count]


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _scores(record: dict[str, Any]) -> dict[str, Score]:
    return {name: Score.from_json(entry) for name, entry in record.items()}
