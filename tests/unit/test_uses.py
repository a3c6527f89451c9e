"""What is measured for each use: which numbers, their ranges, and what they do on known cases."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genarena.comparison.convergence import watched_as
from genarena.comparison.measure import alternate, by_meaning, measure_run, monitor, read_scores, write_scores
from genarena.data import Dataset, ImageSpec, LabelSpec, VectorSpec, open_dataset
from genarena.data.fields import Field
from genarena.errors import DataError, UsageError
from genarena.files import read_json, write_json
from genarena.fit import fit, plan
from genarena.fitted import FittedModel
from genarena.metrics import Evaluator, Score
from genarena.objectives.likelihoods import Bernoulli
from genarena.uses import METRICS, USES, Context, find_use, hidden_classes, why_not
from genarena.uses import interpolate as interpolating
from genarena.uses.base import bootstrap_score
from genarena.uses.reduce import labelled_subset, probe_accuracy

SMALL = {"latent_dim": 4, "network": {"architecture": "mlp", "width": 16}}
WALL_CLOCK = {"sample_images_per_second"}


@pytest.fixture(scope="module")
def dataset(bars: tuple[np.ndarray, np.ndarray]) -> Dataset:
    return open_dataset(bars)


@pytest.fixture(scope="module")
def evaluator(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return Evaluator.build(dataset, tmp_path_factory.mktemp("evaluator"))


@pytest.fixture(scope="module")
def context_of(
    dataset: Dataset, evaluator: Evaluator, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Context]:
    """A context of a briefly trained model, by the model's name."""
    made: dict[str, Context] = {}

    def make(model: str) -> Context:
        if model not in made:
            run = tmp_path_factory.mktemp(model)
            decided = plan(model, dataset, budget="2k images", settings={} if model == "pca" else SMALL, device="cpu")
            fitted = fit(decided, run, threads=1, pictures=False)
            made[model] = Context(fitted, dataset, evaluator, 0, (), read_json(run / "result.json"))
        return made[model]

    return make


def keys_of(scores: dict[str, Score]) -> set[str]:
    return {key.partition("/")[0] for key in scores}


@pytest.mark.parametrize(
    ("use", "keys"),
    [
        ("generate-fidelity", {"fd_inf", "kid", "precision", "density", "sample_images_per_second"}),
        ("generate-diversity", {"recall", "coverage", "class_tv", "lost_classes", "authenticity"}),
        ("reconstruct", {"mse", "psnr", "ssim", "feature_distance"}),
        ("reduce", {"probe_accuracy"}),
        ("interpolate", {"path_length", "max_jump", "midpoint_precision"}),
        ("likelihood", {"log_likelihood", "elbo", "bits_per_dimension"}),
        ("cost", {"cpu_seconds", "images_per_second", "peak_memory", "parameters"}),
    ],
)
def test_each_use_measures_what_it_names(use: str, keys: set[str], context_of: Callable[[str], Context]) -> None:
    scores = measure_run(context_of("vae"), [use])
    assert keys <= keys_of(scores)
    deciding = USES[use].metrics(list(context_of("vae").evaluator.spaces))
    assert set(deciding) <= set(scores)
    assert all(scores[key].value is not None for key in deciding)
    for key, score in scores.items():
        low, high = METRICS[key.partition("/")[0]].bounds  # every key has a title and an explanation
        if score.value is not None:
            assert np.isfinite(score.value)
            assert low is None or score.value >= low
            assert high is None or score.value <= high


@pytest.mark.parametrize("use", ["generate-fidelity", "reduce", "interpolate", "likelihood"])
def test_measuring_is_a_function_of_the_seed(use: str, context_of: Callable[[str], Context]) -> None:
    context = context_of("vae")
    first, again, other = (measure_run(replace(context, seed=seed), [use]) for seed in (3, 3, 4))
    assert {k: v for k, v in first.items() if k not in WALL_CLOCK} == {
        k: v for k, v in again.items() if k not in WALL_CLOCK
    }
    if use in ("generate-fidelity", "generate-diversity", "likelihood"):  # the others draw nothing of their own
        assert first != other


def test_sampling_speed_is_in_examples_per_second() -> None:
    def sample(n: int, seed: int) -> np.ndarray:
        time.sleep(0.05)
        return np.zeros((n, 1))

    fitted: Any = SimpleNamespace(sample=sample)
    evaluator: Any = SimpleNamespace(n=40, panel=lambda samples, seed: {})
    nothing: Any = None
    speed = USES["generate-fidelity"].measure(Context(fitted, nothing, evaluator, 0, (), {}))
    assert 40 / 0.5 < speed["sample_images_per_second"].value <= 40 / 0.05  # type: ignore[operator]


def test_the_first_space_decides_and_reconstructions_are_judged_in_it_too() -> None:
    assert USES["reconstruct"].metrics(["classifier", "random-conv"]) == ["mse", "feature_distance/classifier"]


def test_uses_that_share_a_measurement_pay_once(
    context_of: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    panel = Evaluator.panel
    monkeypatch.setattr(Evaluator, "panel", lambda self, x, *, seed: calls.append(seed) or panel(self, x, seed=seed))
    measure_run(context_of("pca"), ["generate-fidelity", "generate-diversity"])
    assert calls == [0]


def test_a_use_a_model_cannot_serve_is_left_out(context_of: Callable[[str], Context]) -> None:
    gan = context_of("gan")
    assert measure_run(gan, ["reconstruct", "reduce", "likelihood"]) == {}
    assert why_not(USES["reduce"], gan.fitted.capabilities(), True)
    assert why_not(USES["reduce"], context_of("vae").fitted.capabilities(), False) == "no labels in the data"
    assert why_not(USES["cost"], gan.fitted.capabilities(), False) is None
    assert why_not(USES["interpolate"], gan.fitted.capabilities(), True) is None  # it can sample, if not encode


def test_scores_are_read_for_the_weights_the_evaluator_and_the_uses_they_are_of(tmp_path: Path) -> None:
    scores = {"mse": Score(0.5, 9, (0.4, 0.6)), "ssim": Score(None, 9, reason="too small")}
    ours, like_ours = "a" * 64, "a" * 63 + "b"  # in a file of the same name
    best = {"fd": 1.0, "images": 1, "sha256": "best weights"}
    counts = {"images": 2, "seconds": 1.0, "cpu_seconds": 1.0, "rollbacks": 0, "peak_memory_mb": 1.0, "parameters": {}}
    result = {"sha256": "last weights", "budget": "1 epochs", **counts, "warnings": [], "best": best}
    write_json(tmp_path / "result.json", result)
    assert read_scores(tmp_path, ours) is None
    evaluator: Any = SimpleNamespace(hash=ours)
    write_scores(tmp_path, evaluator, "last weights", ["reconstruct", "cost"], scores)
    assert read_scores(tmp_path, ours) == read_scores(tmp_path, ours, ["cost"]) == scores
    assert read_scores(tmp_path, ours, ["cost", "reduce"]) is None
    assert read_scores(tmp_path, like_ours) is None
    assert read_scores(tmp_path, ours, checkpoint="best") is None
    write_json(tmp_path / "result.json", {"sha256": "other weights"})
    assert read_scores(tmp_path, ours) is None


def test_curves_show_what_verdicts_rest_on_measured_on_validation_examples(
    context_of: Callable[[str], Context], dataset: Dataset
) -> None:
    context = context_of("vae")
    shown = monitor(context.evaluator, list(USES))(context.fitted, 0)
    for use in USES.values():
        if use.watch and not use.needs_space and use.view == "all":
            deciding = [key for gate in use.gates for key in gate.metrics(by_meaning(context.evaluator))]
            assert {watched_as(key) for key in [*use.metrics(by_meaning(context.evaluator)), *deciding]} <= set(shown)
    assert all(np.isfinite(value) for value in shown.values()) and shown["fd"] > 0
    assert {key.partition("/")[0] for key in shown} <= set(METRICS)
    unseen = replace(dataset, splits={**dataset.splits, "test": dataset.splits["val"]})
    on_validation = copy(context.evaluator)
    on_validation.reference = unseen.values("test")
    assert shown["mse"] == pytest.approx(
        measure_run(replace(context, evaluator=on_validation), ["reconstruct"])["mse"].value
    )
    gan = monitor(context.evaluator, list(USES))(context_of("gan").fitted, 0)
    assert {"fd", "fd/classifier", "coverage/classifier"} <= set(gan) and not {"mse", "elbo", "probe_accuracy"} & set(
        gan
    )
    assert set(monitor(context.evaluator, ["cost"])(context.fitted, 0)) == {"fd"}


def test_too_few_validation_examples_make_no_curves(context_of: Callable[[str], Context], dataset: Dataset) -> None:
    context = context_of("vae")
    evaluator = copy(context.evaluator)
    evaluator.dataset = replace(dataset, splits={**dataset.splits, "val": dataset.splits["val"][:9]})
    assert set(monitor(evaluator, list(USES))(context.fitted, 0)) == {"fd"}


def test_pairs_are_shown_row_above_row() -> None:
    shown = alternate(np.arange(5), np.arange(10, 15), 2)
    assert shown.tolist() == [0, 1, 10, 11, 2, 3, 12, 13, 4, 14]


def test_an_unknown_use_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'detect'"):
        find_use("detection")


# -- reduce ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [30, 31, 50])
def test_labelled_subsets_are_balanced(count: int) -> None:
    labels = np.repeat([0, 1, 2], [1000, 60, 40])
    chosen = labelled_subset(labels, count, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == count
    sizes = np.bincount(labels[chosen])
    assert sizes.max() - sizes.min() <= 1
    assert not np.array_equal(chosen, labelled_subset(labels, count, np.random.default_rng(1)))


def test_a_class_too_small_to_be_even_is_taken_whole() -> None:
    labels = np.repeat([0, 1], [100, 3])
    assert np.bincount(labels[labelled_subset(labels, 20, np.random.default_rng(0))]).tolist() == [17, 3]


def test_all_labels_are_all_rows() -> None:
    labels = np.repeat([0, 1], [7, 5])
    assert sorted(labelled_subset(labels, None, np.random.default_rng(0))) == list(range(12))


def test_the_probe_reads_what_is_there_and_not_what_is_not() -> None:
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    telling = [np.eye(3)[y] + 0.01 * rng.normal(size=(300, 3)) for y in (labels, truth)]
    assert probe_accuracy(telling[0], labels, telling[1], truth, 0).mean() == 1
    noise = rng.normal(size=(2, 300, 3))
    assert probe_accuracy(noise[0], labels, noise[1], truth, 0).mean() < 0.45
    hits = probe_accuracy(noise[0], labels, noise[1], truth, 0)
    assert set(hits) <= {0.0, 1.0} and hits.shape == (300,)


def test_fewer_labels_tell_less(context_of: Callable[[str], Context]) -> None:
    scores = measure_run(context_of("pca"), ["reduce"])
    assert set(scores) == {"probe_accuracy", "probe_accuracy/50", "probe_accuracy/all"}  # of 144, 200 are too many
    values = {key: score.value for key, score in scores.items()}
    assert values["probe_accuracy"] == pytest.approx((values["probe_accuracy/50"] + values["probe_accuracy/all"]) / 2)  # type: ignore[operator]
    assert values["probe_accuracy/all"] > 0.8  # type: ignore[operator]  # bars at three heights


class Reader:
    """Stands in for a model whose code of an example is the example itself."""

    def __init__(self, classes: int):
        self.model = SimpleNamespace(classes=classes)

    def encode(self, values: np.ndarray) -> np.ndarray:
        return values


def reduced(codes: np.ndarray, labels: np.ndarray, told: int, seed: int = 0) -> dict[str, Score]:
    """The scores of codes, of which one half trains and the other tests."""
    halves = {"train": slice(0, None, 2), "test": slice(1, None, 2)}
    data: Any = SimpleNamespace(labels=lambda part: labels[halves[part]], values=lambda part: codes[halves[part]])
    reader: Any = Reader(told)
    evaluator: Any = SimpleNamespace(seed=0)
    return USES["reduce"].measure(Context(reader, data, evaluator, seed, (), {}))


def test_a_class_that_a_model_was_told_or_guessed_is_no_part_of_its_code() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    codes = np.concatenate([rng.normal(size=(300, 2)), np.eye(3)[labels]], axis=1)
    assert reduced(codes, labels, 0)["probe_accuracy"].value == 1
    assert reduced(codes, labels, 3)["probe_accuracy"].value < 0.5  # type: ignore[operator]


def test_few_labels_are_drawn_several_times_and_only_where_they_hold_every_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) // 2 % 60
    codes = np.eye(60)[labels] + 0.3 * rng.normal(size=(600, 60))
    many = reduced(codes, labels, 0)
    assert set(many) == {
        "probe_accuracy",
        "probe_accuracy/200",
        "probe_accuracy/all",
    }  # 50 labels are fewer than classes
    # A single draw of labels classifies a whole number of the 300 test examples right; a mean over five need not.
    assert (many["probe_accuracy/all"].value * 300) % 1 == pytest.approx(0, abs=1e-9)  # type: ignore[operator]
    assert 0.1 < (many["probe_accuracy/200"].value * 300) % 1 < 0.9  # type: ignore[operator]


# -- detect ------------------------------------------------------------------------------------------------------------


class Scored:
    """Stands in for a model: an example's anomaly score is planted."""

    def __init__(self, score: np.ndarray):
        self.score = score

    def anomaly_score(self, values: np.ndarray) -> np.ndarray:
        return self.score

    def capabilities(self) -> dict[str, Any]:
        return {"anomaly_score": None}


def detected(dataset: Dataset, score: np.ndarray, *hidden: int) -> dict[str, Score]:
    return measure_run(Context(Scored(score), dataset, SimpleNamespace(seed=0), 0, hidden, {}), ["detect"])  # type: ignore[arg-type]


def test_auroc_is_that_of_scikit_learn(dataset: Dataset) -> None:
    truth = dataset.labels("test")
    score = np.random.default_rng(0).normal(size=len(truth)).round(1) + (truth == 1)  # type: ignore[arg-type]  # ties too
    found = detected(dataset, score, 1)["auroc"]
    assert found.value == roc_auc_score(truth == 1, score)
    assert np.mean(found.replicates) == pytest.approx(found.value)
    assert 0 < np.std(found.replicates) < 0.2
    assert detected(dataset, (truth == 1).astype(float), 1)["auroc"].value == 1
    assert detected(dataset, np.zeros(len(truth)), 1)["auroc"].value == 0.5  # type: ignore[arg-type]


def test_the_spread_of_an_auroc_is_that_of_both_groups() -> None:
    """DeLong, DeLong & Clarke-Pearson 1988: the variances of both groups' placements, over their numbers."""
    truth = np.arange(400) % 10  # a tenth is of the hidden class
    score = np.random.default_rng(0).normal(size=400) + (truth == 1)
    data = SimpleNamespace(labels=lambda part: truth, values=lambda part: truth, schema=SimpleNamespace(label=""))
    above = score[truth == 1][:, None] > score[truth != 1][None]
    variance = sum(above.mean(axis).var(ddof=1) / above.shape[1 - axis] for axis in (0, 1))
    spreads = []
    for seed in range(10):
        context = Context(Scored(score), data, SimpleNamespace(seed=seed), 0, (1,), {})  # type: ignore[arg-type]
        spreads.append(np.std(measure_run(context, ["detect"])["auroc"].replicates))
    assert np.mean(spreads) == pytest.approx(np.sqrt(variance), rel=0.15)


def test_auroc_says_why_there_is_none(dataset: Dataset) -> None:
    count = len(dataset.splits["test"])
    assert detected(dataset, np.zeros(count)) == {}
    endless = detected(dataset, np.full(count, np.inf), 1)["auroc"]
    assert endless.value is None and "not finite" in str(endless.reason)
    rows = dataset.splits["test"]
    labels = dataset.fields["label"].values
    without = replace(dataset, splits={**dataset.splits, "test": rows[labels[rows] != 1]})
    missing = detected(without, np.zeros(len(without.splits["test"])), 1)["auroc"]
    assert missing.value is None and "lacks the hidden class" in str(missing.reason)
    alone = replace(dataset, splits={**dataset.splits, "test": rows[labels[rows] == 1]})
    lonely = detected(alone, np.zeros(len(alone.splits["test"])), 1)["auroc"]
    assert lonely.value is None and "or has nothing else" in str(lonely.reason)


def test_p_values_count_held_out_scores_that_are_at_least_as_high(context_of: Callable[[str], Context]) -> None:
    fitted = copy(context_of("pca").fitted)
    fitted.calibration = np.array([3.0, 1.0, 2.0, 2.0])
    np.testing.assert_allclose(fitted.p_value(np.array([0.0, 2.0, 2.5, 9.0])), [1, 0.8, 0.4, 0.2])


def test_the_hidden_class_is_in_test_alone(dataset: Dataset) -> None:
    view = dataset.without_classes([1])
    assert 1 not in view.labels("train") and 1 not in view.labels("val")  # type: ignore[operator]
    assert 1 in view.labels("test")  # type: ignore[operator]
    np.testing.assert_array_equal(view.splits["test"], dataset.splits["test"])
    kept = dataset.labels("train")
    assert len(view.splits["train"]) == (kept != 1).sum()  # type: ignore[union-attr]
    seen, spec = view.schema.label, dataset.schema.label
    assert seen.classes == spec.classes  # type: ignore[union-attr]  # a class that is hidden is still a class
    assert seen.frequencies[1] == 0  # type: ignore[union-attr]


def of_classes(train: list[int], test: list[int], names: tuple[str, ...] = ("a", "b", "c")) -> Dataset:
    """Rows whose splits have so many examples of each class."""
    counts = {"train": train, "val": [1] * len(names), "test": test}
    labels = {split: np.repeat(np.arange(len(names)), numbers) for split, numbers in counts.items()}
    every = np.concatenate(list(labels.values()))
    ends = np.cumsum([len(part) for part in labels.values()])
    splits = {k: np.arange(end - len(part), end) for (k, part), end in zip(labels.items(), ends, strict=True)}
    rows = Field(VectorSpec(1, (0.0,), (1.0,)), "target", np.arange(len(every), dtype=np.float32)[:, None])
    return Dataset("rows", {"x": rows, "label": Field(LabelSpec.of(names, labels["train"]), "label", every)}, splits)


@pytest.mark.parametrize(
    ("train", "test", "normal", "hidden"),
    [
        ([9, 5, 7], [3, 3, 3], None, (1,)),  # the rarest
        ([5, 5, 7], [3, 3, 3], None, (1,)),  # of equally rare ones the last
        ([9, 5, 7], [3, 0, 3], None, (2,)),  # which the test split can ask about
        ([9, 0, 0], [3, 3, 2], None, (1, 2)),  # what training never sees
        ([9, 5, 0], [3, 3, 2], None, (2,)),
        ([9, 0, 0], [3, 0, 0], None, ()),  # nothing to tell apart
        ([9, 0, 0], [0, 3, 2], None, ()),
        ([9, 5, 7], [3, 3, 3], "b", (0, 2)),
        ([9, 5, 7], [3, 3, 0], "b", (0, 2)),
    ],
)
def test_which_classes_are_hidden(train: list[int], test: list[int], normal: str | None, hidden: tuple) -> None:
    assert hidden_classes(of_classes(train, test), normal) == hidden


@pytest.mark.parametrize(
    ("train", "test", "normal", "why"),
    [
        ([9, 5, 7], [3, 3, 3], "d", "no class of these data"),
        ([9, 0, 7], [3, 3, 3], "b", "no example of it to learn from"),
        ([9, 5, 7], [3, 0, 3], "b", "the test split needs examples"),
        ([9, 5, 7], [0, 3, 0], "b", "the test split needs examples"),
    ],
)
def test_a_normal_class_that_leaves_no_question_is_refused(
    train: list[int], test: list[int], normal: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        hidden_classes(of_classes(train, test), normal)


def test_several_hidden_classes_are_one_question() -> None:
    data = of_classes([9, 0, 0], [2, 1, 1])
    score = np.array([0.0, 1.0, 2.0, 3.0])
    assert detected(data, score, 1, 2)["auroc"].value == 1
    with pytest.raises(DataError, match="nothing to train on"):
        data.without_classes([0])


# -- interpolate, likelihood, cost -------------------------------------------------------------------------------------


def test_ways_run_between_examples_where_there_is_an_encoder(
    context_of: Callable[[str], Context], evaluator: Evaluator
) -> None:
    vae: FittedModel = context_of("vae").fitted
    points = interpolating.interpolations(vae, evaluator.reference, 5, 0)
    assert points.shape == (5, interpolating.STEPS, 1, 8, 8)
    restored = vae.decode(vae.encode(evaluator.reference[:10]))
    np.testing.assert_array_equal(points[:, 0], restored[:5])
    np.testing.assert_array_equal(points[:, -1], restored[5:])


def test_ways_run_between_samples_where_there_is_none(
    context_of: Callable[[str], Context], evaluator: Evaluator
) -> None:
    gan = context_of("gan").fitted
    points = interpolating.interpolations(gan, evaluator.reference, 5, 3)
    assert (
        np.abs(points[:, 0].astype(int) - gan.sample(10, 3)[:5]).max() <= 1
    )  # spherical ends are exact but for rounding


class Fader:
    """Stands in for a model whose code is the example itself, and whose ways jump from one to the other over black."""

    def capabilities(self) -> dict[str, Any]:
        return {"encode": None}

    def encode(self, values: np.ndarray) -> np.ndarray:
        return values

    def interpolate(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        assert steps == 9
        return np.stack([start] * 4 + [np.zeros_like(start)] + [end] * 4, axis=1)


def test_the_middle_of_ways_is_judged_and_their_ends_are_as_far_apart_as_real_examples(
    dataset: Dataset, evaluator: Evaluator
) -> None:
    context = Context(Fader(), dataset, evaluator, 0, (), {})  # type: ignore[arg-type]
    scores = interpolating.measure(context)
    for space in evaluator.spaces:
        assert scores[f"midpoint_precision/{space}"].value == 0
        assert scores[f"end_distance/{space}"].value == pytest.approx(1)


@pytest.mark.parametrize("model", ["gan", "pca"])
def test_ways_between_draws_bend_where_the_prior_is_normal(
    model: str, context_of: Callable[[str], Context], evaluator: Evaluator
) -> None:
    fitted = copy(context_of(model).fitted)
    fitted.capabilities = lambda: {"encode": "it has no encoder", "sample": None}  # type: ignore[method-assign]
    fitted.decode = lambda z: z  # type: ignore[method-assign]
    paths = interpolating.interpolations(fitted, evaluator.reference, 200, 0)
    length = np.linalg.norm(paths, axis=2)
    middle, ends = length[:, interpolating.STEPS // 2].mean(), length[:, [0, -1]].mean()
    assert not fitted.model.straight
    # a chord between independent draws is nearer to the origin by the square root of one half
    assert middle == pytest.approx(ends, rel=0.1)


def test_the_bound_rises_with_its_samples(context_of: Callable[[str], Context]) -> None:
    scores = measure_run(context_of("vae"), ["likelihood"])
    elbo, bound = scores["elbo"].value, scores["log_likelihood"].value
    assert elbo is not None and bound is not None and elbo < bound < 0
    bits = scores["bits_per_dimension"]
    assert bits.value == pytest.approx(-bound / np.log(2) / 64)
    assert np.mean(bits.replicates) == pytest.approx(bits.value)


def test_an_exact_likelihood_is_its_own_bound(context_of: Callable[[str], Context]) -> None:
    scores = measure_run(context_of("pca"), ["likelihood"])
    assert scores["elbo"].value == pytest.approx(
        scores["log_likelihood"].value, abs=0.5
    )  # dequantisation noise differs


def likelihood_of(levels: int, nats: float, model: Any) -> dict[str, Score]:
    """The scores of a model that gives every example the same log-probability."""
    spec = ImageSpec(3, 4, 5, levels)
    fitted = SimpleNamespace(model=model, spec=spec, log_prob=lambda x, samples, seed: np.full(len(x), nats))
    evaluator = SimpleNamespace(reference=np.zeros((30, *spec.shape)), seed=0)
    return USES["likelihood"].measure(Context(fitted, None, evaluator, 0, (), {}))  # type: ignore[arg-type]


def test_a_likelihood_of_black_and_white_is_none_of_grey_levels() -> None:
    binary = SimpleNamespace(likelihood=Bernoulli(ImageSpec(3, 4, 5, 2)))
    assert likelihood_of(2, -6.0, binary)["bits_per_dimension"].value == pytest.approx(6 / np.log(2) / 60)
    grey = likelihood_of(3, -6.0, binary)
    assert set(grey) == {"log_likelihood"} and grey["log_likelihood"].value is None
    assert "binarised pixels" in str(grey["log_likelihood"].reason)
    assert likelihood_of(256, -6.0, SimpleNamespace())["elbo"].value == -6


@pytest.mark.parametrize("nats", [-np.inf, np.nan])
def test_a_likelihood_that_is_not_finite_is_said(nats: float) -> None:
    (score,) = likelihood_of(256, nats, SimpleNamespace()).values()
    assert score.value is None and "not finite" in str(score.reason)


def test_cost_is_what_the_run_took(context_of: Callable[[str], Context]) -> None:
    context = context_of("vae")
    scores = measure_run(context, ["cost"])
    assert scores["cpu_seconds"].value == context.result["cpu_seconds"]
    assert scores["images_per_second"].value == pytest.approx(context.result["images"] / context.result["seconds"])
    assert scores["parameters"].value == sum(p.numel() for p in context.fitted.model.parameters())


def test_bootstrap_scores_centre_on_the_value() -> None:
    values = np.random.default_rng(0).normal(size=400)
    score = bootstrap_score(lambda rows: float(values[rows].mean()), 400, 0, replicates=200)
    assert score.value == pytest.approx(values.mean())
    assert np.mean(score.replicates) == pytest.approx(score.value)
    assert np.std(score.replicates) == pytest.approx(values.std() / 20, rel=0.15)
