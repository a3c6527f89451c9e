"""Feature spaces and the frozen evaluator: built, saved, loaded, attacked, and asked about planted faults."""

from __future__ import annotations

import json
import random
import shutil
import struct
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from genarena.data.fields import Dataset, Field, ImageSpec, LabelSpec, VectorSpec
from genarena.errors import DataError, RunError, UsageError
from genarena.files import read_json, write_json
from genarena.metrics import PANEL, Evaluator, FeatureSpace
from genarena.metrics.classifier import _balanced_accuracy, skill, train_classifier
from genarena.metrics.fitting import fit_spaces
from genarena.metrics.selftest import _verdict
from genarena.metrics.spaces import NetRecord
from genarena.metrics.spectrum import power_spectra
from genarena.nets.features import ClassifierNet, RandomConvFeatures
from genarena.report.plots import power_spectra as draw_spectra
from genarena.report.schema import Spectra


def split(count: int, train: int, val: int, seed: int = 0) -> dict[str, np.ndarray]:
    order = np.random.default_rng(seed).permutation(count)
    parts = {"train": order[:train], "val": order[train : train + val], "test": order[train + val :]}
    return {name: np.sort(rows) for name, rows in parts.items()}


def digits() -> Dataset:
    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    fields = {
        "image": Field(ImageSpec(1, 8, 8, 17), "target", images),
        "label": Field(LabelSpec(tuple("0123456789"), (0.1,) * 10), "label", bunch.target.astype(np.int64)),
    }
    return Dataset("digits", fields, split(len(images), 1257, 180))


def rows(count: int = 900, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((count, 3)) * [1, 10, 0.1] + [0, 100, rng.integers(2)]).astype(np.float32)
    spec = VectorSpec(3, tuple(values.mean(0).tolist()), tuple(values.std(0).tolist()))
    return Dataset("rows", {"x": Field(spec, "target", values)}, split(count, 500, 100))


@pytest.fixture(scope="module")
def digit_data() -> Dataset:
    return digits()


@pytest.fixture(scope="module")
def digit_folder(digit_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    Evaluator.build(digit_data, folder)
    return folder


@pytest.fixture(scope="module")
def evaluator(digit_data: Dataset, digit_folder: Path) -> Evaluator:
    return Evaluator.load(digit_folder, digit_data)


@pytest.fixture(scope="module")
def row_data() -> Dataset:
    return rows()


@pytest.fixture(scope="module")
def row_folder(row_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    Evaluator.build(row_data, folder)
    return folder


def test_spaces_fit_the_sample_count(evaluator: Evaluator) -> None:
    assert list(evaluator.spaces) == ["random-conv", "classifier", "pca"]
    assert evaluator.n == 360 and evaluator.k == 5
    features = {name: space(evaluator.reference) for name, space in evaluator.spaces.items()}
    for name, f in features.items():
        # units that never fire leave the classifier's features fewer dimensions than a tenth of the examples
        assert len(f) == 360 and f.shape[1] == 36 if name != "classifier" else 10 <= f.shape[1] <= 36
    assert all(f.dtype == np.float64 for f in features.values())


def test_the_features_of_an_example_do_not_depend_on_its_company(evaluator: Evaluator) -> None:
    for space in evaluator.spaces.values():
        together = space(evaluator.reference[:300])
        alone = [space(evaluator.reference[row : row + 1])[0] for row in (0, 1, 255, 256, 299)]
        np.testing.assert_allclose(alone, together[[0, 1, 255, 256, 299]], rtol=1e-3, atol=1e-4)
    judge = evaluator.spaces["classifier"]
    together = judge.probabilities(evaluator.reference)
    np.testing.assert_allclose(together.sum(1), 1)
    np.testing.assert_allclose(judge.probabilities(evaluator.reference[7:8]), together[7:8], rtol=1e-3, atol=1e-4)


def test_every_key_is_documented_and_measured(evaluator: Evaluator) -> None:
    assert set(evaluator.floor) <= set(evaluator.self_test)
    assert {name.split("/")[0] for name in evaluator.floor} < set(PANEL)
    assert set(evaluator.ceilings) == {"mean image", "blurred real", "class missing"}
    assert all(score.value is not None for score in evaluator.floor.values())


def test_floor_is_near_the_ideal_of_each_metric(evaluator: Evaluator) -> None:
    floor = {name: score.value for name, score in evaluator.floor.items()}
    for space in evaluator.spaces:
        assert abs(floor[f"fd_inf/{space}"]) < 1.5
        assert abs(floor[f"c2st_knn/{space}"] - 0.5) < 0.12
        assert floor[f"precision/{space}"] > 0.85 and floor[f"coverage/{space}"] > 0.9
    assert floor["sharpness"] == pytest.approx(1, abs=0.1)
    assert floor["c_t"] == 0 and 0.3 < floor["authenticity"] < 0.9
    assert np.std(evaluator.floor["c_t"].replicates) > 0.1  # of different parts of the same examples


def test_ceilings_are_worse_than_the_floor_where_they_should_be(evaluator: Evaluator) -> None:
    blurred, constant, dropped = (
        {name: score.value for name, score in evaluator.ceilings[title].items()}
        for title in ("blurred real", "mean image", "class missing")
    )
    floor = {name: score.value for name, score in evaluator.floor.items()}
    for space in evaluator.spaces:
        assert floor[f"fd_inf/{space}"] + 1 < blurred[f"fd_inf/{space}"] < constant[f"fd_inf/{space}"]
        assert constant[f"recall/{space}"] == 0
    assert constant["sharpness"] < blurred["sharpness"] < 0.6
    assert constant["lost_classes"] == pytest.approx(0.9) and constant["class_tv"] > 0.8
    assert dropped["class_tv"] > floor["class_tv"]
    assert constant["inception_score"] == pytest.approx(1) and floor["inception_score"] > 5


def test_self_test_greys_out_with_a_reason(evaluator: Evaluator) -> None:
    for result in evaluator.self_test.values():
        assert result["usable"] == (result["why"] is None)
    usable = {name for name, result in evaluator.self_test.items() if result["usable"]}
    assert {"fd_inf/random-conv", "fd_inf/classifier", "recall/classifier", "sharpness", "c_t", "class_tv"} <= usable


def judged(name: str, disturbed: float | None = None, size: int = 1000, **rounds: list[list[float | str]]) -> dict:
    """The verdict on a metric by the rungs of its ladders in each round."""
    ladders = {ladder.replace("_", " "): climbs for ladder, climbs in rounds.items()}
    return _verdict(name, ladders, [] if disturbed is None else [disturbed], size)


def test_a_metric_that_one_outlier_moves_is_greyed_out() -> None:
    climb = [[0.9, 0.6, 0.2, 0.0]]
    assert judged("precision/pca", 0.88, noise=climb) == {"usable": True, "why": None}
    moved = judged("precision/pca", 0.5, size=80, noise=climb)
    assert moved == {"usable": False, "why": "one outlier among 80 moves it from 0.9 to 0.5; try 700"}


def test_a_metric_may_stumble_and_not_fall() -> None:
    """A step may go back by a tenth of the whole climb."""

    def usable(*values: float) -> bool:
        return judged("kid/pca", noise=[list(values)])["usable"]

    assert usable(0.0, 0.5, 0.42, 1.0) and not usable(0.0, 0.5, 0.38, 1.0)
    assert not usable(1.0, 0.5, 0.2, 0.0) and not usable(0.5, 0.5, 0.5, 0.5)


def test_on_some_ladders_a_metric_need_not_climb() -> None:
    def verdict(*values: float) -> dict:
        return judged("fd_inf/pca", noise=[[0.0, 0.1, 0.2, 0.4]], jpeg=[list(values)])

    assert verdict(0.1, 0.1, 0.1, 0.1)["usable"] and verdict(0.1, 0.07, 0.07, 0.08)["usable"]
    assert verdict(0.5, 0.4, 0.3, 0.2) == {
        "usable": False,
        "why": "does not rise as it should with jpeg (0.5 → 0.4 → 0.3 → 0.2)",
    }


def test_what_has_no_ladder_to_climb_is_not_used() -> None:
    assert judged("fd_inf/pca", jpeg=[[0.1, 0.1, 0.1, 0.1]]) == {"usable": False, "why": "it has no self-test"}
    with_new_one = pytest.MonkeyPatch.context()
    with with_new_one as patch:
        patch.setitem(PANEL, "new", replace(PANEL["kid"], name="new"))
        assert not judged("new/pca", noise=[[0.0, 1.0, 2.0, 3.0]])["usable"]


def test_a_metric_without_a_value_on_a_rung_is_greyed_out() -> None:
    why = "undefined on the self-test's missing parts: too few samples"
    assert judged("recall/pca", missing_parts=[[0.9, 0.5, "too few samples"]]) == {"usable": False, "why": why}


def test_an_outlier_may_move_a_metric_a_little_and_copying_tests_at_will() -> None:
    climb = [[0.9, 0.6, 0.3, 0.1]]
    assert judged("precision/pca", 0.852, noise=climb)["usable"]
    assert not judged("precision/pca", 0.848, noise=climb)["usable"]
    # the copying ladder starts from unseen examples; the outlier is among training examples, which are copies
    assert judged("c_t", -8.5, copies=[[0.0, -6.0, -9.0]])["usable"]


def test_small_sets_are_judged_by_several_rounds_and_told_how_many_examples_to_try() -> None:
    noisy = [[0.0, 0.5, 0.2, 1.0], [0.3, 0.1, 0.7, 1.0]]  # each stumbles, but not their mean
    assert not any(judged("kid/pca", noise=[climb])["usable"] for climb in noisy)
    assert judged("kid/pca", noise=noisy)["usable"]
    lost = judged("kid/pca", size=40, noise=[[0.0, 0.9, 0.1, 1.0], [0.0, 0.7, 0.3, 1.0]])
    assert lost["why"].startswith(
        "does not rise as it should with noise (0 → 0.8 → 0.2 → 1); 40 test examples are too few"
    )
    assert lost["why"].endswith("try 400")  # steps spread by 0.28 where 0.1 is borne: 8 times the examples
    saturated = judged("coverage/pca", size=12, missing_parts=[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    assert saturated["why"].endswith("(1 → 1 → 1); 12 test examples are too few for it, try 100")
    assert "too few" not in judged("kid/pca", noise=[[0.0, 0.9, 0.1, 1.0], [0.0, 0.7, 0.3, 1.0]])["why"]


def test_eighty_test_images_can_be_told_apart(digit_data: Dataset, tmp_path: Path) -> None:
    few = replace(digit_data, splits=split(400, 288, 32), fields={"image": digit_data.fields["image"]})
    tested = Evaluator.build(few, tmp_path).self_test
    for name in ("fd_inf/random-conv", "coverage/random-conv", "recall/random-conv", "mse", "path_length/random-conv"):
        assert tested[name]["usable"], (name, tested[name]["why"])
    for result in tested.values():
        assert result["usable"] or result["why"].rpartition("try ")[2][0].isdigit(), result["why"]


def test_copies_of_training_images_move_the_copying_tests_alone(evaluator: Evaluator, digit_data: Dataset) -> None:
    scores = evaluator.panel(digit_data.values("train")[:360], seed=3)
    assert scores["c_t"].value < -5 and scores["authenticity"].value < 0.05
    assert abs(scores["fd_inf/classifier"].value) < 2 and scores["coverage/classifier"].value > 0.9


def test_panel_is_a_function_of_its_seed_and_replicates_are_centred(evaluator: Evaluator) -> None:
    samples = evaluator.reference[::-1].copy()
    first, again = evaluator.panel(samples, seed=1), evaluator.panel(samples, seed=1)
    assert first == again
    for score in first.values():
        assert score.n == 360 and len(score.replicates) == 40
        assert np.mean(score.replicates) == pytest.approx(score.value, abs=1e-9)
    assert first["kid/pca"] != evaluator.panel(samples, seed=2)["kid/pca"]


def test_undefined_scores_have_reasons_and_raise_nothing(evaluator: Evaluator) -> None:
    for count, reason in ((0, "no samples"), (1, "needed"), (4, "needed")):
        scores = evaluator.panel(evaluator.reference[:count], seed=0)
        assert set(scores) == set(evaluator.floor)
        assert scores["precision/pca"].value is None and reason in scores["precision/pca"].reason


def test_rows_that_are_not_finite_are_said(row_folder: Path, row_data: Dataset) -> None:
    evaluator = Evaluator.load(row_folder, row_data)
    assert list(evaluator.spaces) == ["random-mlp", "pca"] and "no labels" in evaluator.notes[0]
    assert not {"sharpness", "spectrum_error", "class_tv"} & set(evaluator.floor)
    samples = evaluator.reference.copy()
    samples[:7, 1] = np.nan
    scores = evaluator.panel(samples, seed=0)
    assert {score.value for score in scores.values()} == {None}
    assert "7 of 300 samples are not finite" in scores["c_t"].reason
    assert evaluator.reconstruction(evaluator.reference, samples)["mse"].value is None
    huge = np.full_like(evaluator.reference, 3e38)
    assert all(score.value is None or np.isfinite(score.value) for score in evaluator.panel(huge, seed=0).values())


def test_samples_of_another_kind_are_refused(evaluator: Evaluator) -> None:
    good = evaluator.reference[:20]
    for bad in (good.astype(np.float32), good[:, :, :7], np.moveaxis(good, 1, -1)):
        with pytest.raises(UsageError, match="The evaluator takes uint8"):
            evaluator.panel(bad, seed=0)
    with pytest.raises(UsageError, match="out of range"):
        evaluator.panel(np.full_like(good, 17), seed=0)
    with pytest.raises(UsageError, match="The evaluator takes uint8"):
        evaluator.path(good[None].astype(np.float32))
    with pytest.raises(UsageError, match="20 originals cannot be compared with 1 reconstructions"):
        evaluator.reconstruction(good, good[:1])


def test_samples_beyond_those_that_are_compared_do_not_count(row_data: Dataset, tmp_path: Path) -> None:
    evaluator = Evaluator.build(row_data, tmp_path, samples=20)
    samples = row_data.values("val")
    assert evaluator.panel(samples[:20], seed=0) == evaluator.panel(samples, seed=0)


def test_a_mean_has_half_the_distance_of_another_example(row_folder: Path, row_data: Dataset) -> None:
    """Of originals, that is: reconstructions that hardly differ have no scale of their own."""
    evaluator = Evaluator.load(row_folder, row_data)
    x = evaluator.reference
    mean = np.repeat(x.mean(0, keepdims=True), len(x), axis=0)
    distance = evaluator.reconstruction(x, mean)["feature_distance/pca"].value
    assert distance == pytest.approx((len(x) - 1) / (2 * len(x)), rel=1e-4)


def test_reconstruction_and_paths(evaluator: Evaluator, row_folder: Path, row_data: Dataset) -> None:
    images = evaluator.reference[:50]
    noisy = np.clip(images.astype(int) + np.random.default_rng(0).integers(-1, 2, images.shape), 0, 16).astype(np.uint8)
    scores = evaluator.reconstruction(images, noisy)
    assert set(scores) == {"psnr", "ssim", "mse", *(f"feature_distance/{s}" for s in evaluator.spaces)}
    assert scores["mse"].value == pytest.approx(np.square((images - noisy.astype(float)) / 16).mean())
    assert scores["psnr"].value == pytest.approx(-10 * np.log10(scores["mse"].value))
    assert 0 < scores["feature_distance/classifier"].value < 0.2
    assert evaluator.reconstruction(images, images)["psnr"].reason.startswith("the reconstructions are perfect")
    vectors = Evaluator.load(row_folder, row_data)
    x = vectors.reference
    shifted = (x + np.asarray(vectors.spec.scale)).astype(np.float32)
    assert vectors.reconstruction(x, shifted)["mse"].value == pytest.approx(1, rel=1e-4)
    t = np.linspace(0, 1, 9)[None, :, None]
    lines = (x[:10, None] * (1 - t) + x[10:20, None] * t).astype(np.float32)
    paths = vectors.path(lines)
    assert paths["path_length/pca"].value == pytest.approx(1, rel=1e-4)
    assert paths["max_jump/pca"].value == pytest.approx(1 / 8, rel=1e-3)
    assert vectors.path(np.repeat(x[:4, None], 5, axis=1))["path_length/pca"].value is None


def test_spectrum(evaluator: Evaluator, digit_data: Dataset) -> None:
    train = digit_data.values("train")[:400]
    frequency, power = evaluator.spectrum(train)
    assert frequency.tolist() == [0.125, 0.25, 0.375, 0.5] and power.shape == (4,)
    np.testing.assert_allclose(power, power_spectra(train, 17).mean(0))
    assert (power > 0).all()  # not decibels: the report draws it on a logarithmic axis
    plot = draw_spectra(
        Spectra(frequency=frequency.tolist(), real=power.tolist(), contenders={"gan": power.tolist()}), {"gan": 0}
    )
    assert plot is not None


def test_build_is_reproducible_and_leaves_global_generators_alone(
    row_data: Dataset, row_folder: Path, tmp_path: Path
) -> None:
    def state() -> tuple:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    again = Evaluator.build(row_data, tmp_path / "again")
    stored = Evaluator.load(row_folder, row_data)
    assert state() == before
    assert again.hash == stored.hash and again.floor == stored.floor and again.self_test == stored.self_test
    assert again.spaces["pca"].sha256 == stored.spaces["pca"].sha256
    other = Evaluator.build(row_data, tmp_path / "other", seed=1, samples=100)
    assert other.hash != again.hash and other.n == 100


def test_classifier_training_leaves_the_global_generator_alone(digit_data: Dataset) -> None:
    few = replace(digit_data, splits=split(300, 200, 0))
    before = torch.get_rng_state()
    first, _ = fit_spaces(few, 50, 0, None, print)
    again, _ = fit_spaces(few, 50, 0, None, print)
    assert torch.equal(before, torch.get_rng_state())
    assert [space.sha256 for space in first] == [space.sha256 for space in again]


def test_skill_is_the_share_of_the_error_of_guessing_that_is_gone() -> None:
    assert [skill(0.5, 2), skill(0.1, 10), skill(0.9, 2), skill(0.82, 10), skill(1.0, 3)] == pytest.approx(
        [0, 0, 0.8, 0.8, 1]
    )


def test_a_frequent_class_does_not_hide_the_others() -> None:
    class Always(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(x), 3)

    images, labels = np.zeros((600, 1, 8, 8), dtype=np.uint8), np.repeat([0, 2], [590, 10])
    assert _balanced_accuracy(Always(), ImageSpec(1, 8, 8, 17), images, labels) == 0.5


def test_accuracy_is_that_on_examples_the_classifier_did_not_learn_from() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.standard_normal((300, 100)).astype(np.float32), rng.integers(0, 2, 300)
    spec = VectorSpec(100, (0.0,) * 100, (1.0,) * 100)
    _, net, accuracy = train_classifier(spec, values, labels, 2, 0)
    learnt = (net(torch.from_numpy(values)).argmax(1).numpy() == labels).mean()
    assert learnt > 0.85 and accuracy < 0.8  # labels without meaning can only be learnt by heart


def test_spaces_have_a_mean_variance_of_one_and_whitened_ones_in_every_dimension(
    evaluator: Evaluator, digit_data: Dataset
) -> None:
    train = digit_data.values("train")
    for name, space in evaluator.spaces.items():
        features = space(train)
        variance = features.var(0, ddof=1)
        assert variance.mean() == pytest.approx(1, rel=0.02) and np.abs(features.mean(0)).max() < 1e-3
        assert (np.ptp(variance) < 0.02) == (name == "pca")


def test_spaces_have_no_dimension_in_which_nothing_varies() -> None:
    images = np.zeros((400, 1, 8, 8), dtype=np.uint8)
    images[:, 0, 2:4, 3] = np.random.default_rng(0).integers(0, 256, (400, 2))
    data = Dataset("two pixels", {"image": Field(ImageSpec(1, 8, 8), "target", images)}, split(400, 300, 50))
    spaces, _ = fit_spaces(data, 300, 0, None, print)
    assert spaces[-1].id == "pca" and spaces[-1].dim == 2


def test_rows_of_few_columns_are_compared_as_they_are(row_data: Dataset) -> None:
    for count in (30, 300):  # three columns are a tenth of 30
        spaces, _ = fit_spaces(row_data, count, 0, None, print)
        values, spec = row_data.values("test"), row_data.schema.target
        standard = (values - np.asarray(spec.mean)) / np.asarray(spec.scale)
        np.testing.assert_allclose(spaces[-1](values), standard, rtol=1e-4, atol=1e-5)


def test_seeds_share_no_random_network(row_data: Dataset) -> None:
    seeds = [
        {record.settings["seed"] for record in fit_spaces(row_data, 30, seed, None, print)[0][0].records}
        for seed in (0, 1, 2)
    ]
    assert len(set.union(*seeds)) == sum(map(len, seeds)) == 9


def test_labels_of_one_class_give_no_classifier_space(digit_data: Dataset) -> None:
    label = digit_data.fields["label"]
    same = replace(label, values=np.zeros_like(label.values))
    data = replace(digit_data, fields=digit_data.fields | {"label": same}, splits=split(200, 100, 0))
    spaces, notes = fit_spaces(data, 50, 0, None, print)
    assert [space.id for space in spaces] == ["random-conv", "pca"]
    assert notes == ["no classifier space: the training labels are of one class"]


def test_labels_that_mean_nothing_give_no_classifier_space(digit_data: Dataset) -> None:
    label = digit_data.fields["label"]
    shuffled = replace(label, values=np.random.default_rng(0).permutation(label.values))
    data = replace(digit_data, fields=digit_data.fields | {"label": shuffled}, splits=split(400, 300, 0))
    spaces, notes = fit_spaces(data, 50, 0, None, print)
    assert [space.id for space in spaces] == ["random-conv", "pca"]
    assert "balanced accuracy" in notes[0]


def test_too_little_and_constant_data_are_refused(digit_data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 8"):
        Evaluator.build(replace(digit_data, splits=split(60, 53, 0)), tmp_path)
    image = replace(digit_data.fields["image"], values=np.zeros((60, 1, 8, 8), dtype=np.uint8))
    constant = Dataset("blank", {"image": image}, split(60, 30, 0))
    with pytest.raises(DataError, match="are alike"):
        Evaluator.build(constant, tmp_path)
    with pytest.raises(UsageError, match="at least 8 samples"):
        Evaluator.build(digit_data, tmp_path, samples=3)


@pytest.mark.parametrize(("train", "test"), [(20, 40), (40, 20)])
def test_as_many_samples_are_compared_as_either_split_has(train: int, test: int, tmp_path: Path) -> None:
    data = replace(rows(), splits=split(train + test, train, 0))
    evaluator = Evaluator.build(data, tmp_path)
    assert evaluator.n == len(evaluator.reference) == evaluator.floor["kid/pca"].n == 20


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "evaluator.json").unlink(), "evaluator.json' does not exist"),
        (lambda f: (f / "evaluator.json").write_text('{"format": 1'), "not readable JSON"),
        (lambda f: edit(f, lambda r: r.update(format=99)), "written by a newer genarena"),
        (lambda f: edit(f, lambda r: r["protocol"].update(n=299)), "its hash differs"),
        (lambda f: edit(f, lambda r: r["spaces"][0].update(id="../pca")), "other feature spaces"),
        (lambda f: edit(f, lambda r: r["spaces"].pop()), "other feature spaces"),
        (lambda f: (f / "pca.safetensors").unlink(), "not a complete evaluator"),
        (lambda f: (f / "pca.safetensors").write_bytes(b"\xff" * 100), "not a complete evaluator"),
        (lambda f: retouch(f / "pca.safetensors"), "its hash differs"),
        (lambda f: edit(f, lambda r: r["protocol"].update(k=9)), "its hash differs"),
        (lambda f: edit(f, lambda r: r["protocol"].update(replicates=4)), "its hash differs"),
        (lambda f: relabel(f / "pca.safetensors", trained_on="the test split"), "its hash differs"),
    ],
)
def test_a_changed_folder_is_refused(row_folder: Path, row_data: Dataset, tmp_path: Path, damage, message: str) -> None:
    folder = shutil.copytree(row_folder, tmp_path / "copy")
    damage(folder)
    with pytest.raises(RunError, match=message):
        Evaluator.load(folder, row_data)


def test_other_data_are_refused(row_folder: Path) -> None:
    with pytest.raises(RunError, match="other data"):
        Evaluator.load(row_folder, rows(seed=1))


def edit(folder: Path, change) -> None:
    record = read_json(folder / "evaluator.json")
    change(record)
    write_json(folder / "evaluator.json", record)


def header(path: Path) -> dict[str, str]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length])["__metadata__"]


def retouch(path: Path) -> None:
    tensors = load_file(path)
    tensors["mean"] = tensors["mean"] + 1e-9
    save_file(tensors, path, metadata=header(path))


def relabel(path: Path, **entries: str) -> None:
    record = json.loads(header(path)["genarena"]) | entries
    save_file(load_file(path), path, metadata={"genarena": json.dumps(record)})


def test_a_space_of_another_evaluator_can_be_used(digit_folder: Path, digit_data: Dataset) -> None:
    spaces, _ = fit_spaces(
        replace(digit_data, splits=split(400, 300, 0)), 50, 1, digit_folder / "classifier.safetensors", print
    )
    user = spaces[-1]
    assert user.id == "user" and user.dim == 5 and "(classifier)" in user.detail
    original = FeatureSpace.load(digit_folder / "classifier.safetensors", digit_data.schema.target)
    for ours, theirs in zip(user.nets[0].parameters(), original.nets[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, t: r.update(format=2), "format 2"),
        (lambda r, t: r.update(input={"kind": "image", "shape": [1, 9, 9]}), "it was made for"),
        (lambda r, t: r["nets"][0].update(kind="os.system"), "does not take such data"),
        (lambda r, t: r["nets"][0]["settings"].update(width=10**9), "width is 1000000000"),
        (lambda r, t: r["nets"][0]["settings"].update(width=True), "width is True"),
        (lambda r, t: r["nets"][0]["settings"].update(width=-1), "width is -1"),
        (lambda r, t: r["nets"][0]["settings"].update(padding=3), "padding is 3"),
        (lambda r, t: r["nets"][0]["settings"].update(width=8), "has shape"),
        (lambda r, t: r.update(nets=r["nets"] * 99), "it lists 99 networks"),
        (lambda r, t: t.pop("mean"), "its tensors are not"),
        (lambda r, t: t.update(mean=t["mean"][1:].clone()), "no valid shape"),
        (lambda r, t: t["components"].fill_(float("nan")), "not finite"),
        (lambda r, t: t.update(mean=t["mean"].float()), "another type"),
        (lambda r, t: r.pop("nets"), "nets"),
    ],
)
def test_hostile_spaces_are_refused(
    digit_folder: Path, digit_data: Dataset, tmp_path: Path, change, message: str
) -> None:
    source = digit_folder / "classifier.safetensors"
    record, tensors = json.loads(header(source)["genarena"]), load_file(source)
    change(record, tensors)
    path = tmp_path / "hostile.safetensors"
    save_file(tensors, path, metadata={"genarena": json.dumps(record)})
    with pytest.raises(UsageError, match=message):
        FeatureSpace.load(path, digit_data.schema.target)


def test_a_missing_or_plain_file_is_no_space(digit_data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        FeatureSpace.load(tmp_path, digit_data.schema.target)
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.ones(2)}, plain)
    with pytest.raises(UsageError, match="not a feature space"):
        FeatureSpace.load(plain, digit_data.schema.target)
    with plain.open("wb") as file:
        file.truncate(257 * 2**20)  # sparse: nothing is written
    with pytest.raises(UsageError, match="larger than 256 MB"):
        FeatureSpace.load(plain, digit_data.schema.target)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 40), (1, 28, 28), (3, 70, 64), (3, 200, 130)])
def test_feature_nets_take_any_size(shape: tuple[int, int, int]) -> None:
    spec = ImageSpec(*shape)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    random_net, again = (RandomConvFeatures(spec, 7, 96).requires_grad_(False) for _ in range(2))
    assert random_net.features(x).shape == (2, 96)
    assert torch.equal(random_net.features(x), again.features(x))
    assert not torch.equal(random_net.features(x), RandomConvFeatures(spec, 8, 96).features(x))
    net = NetRecord("conv-classifier", {"classes": 4, "width": 4}).build(spec)
    assert isinstance(net, ClassifierNet)
    assert net.features(x).shape == (2, 64) and net(x).shape == (2, 4)


def test_realism_and_the_nearest_training_example(evaluator: Evaluator, digit_data: Dataset) -> None:
    real, blank = digit_data.values("val")[:50], np.full((50, 1, 8, 8), 16, dtype=np.uint8)
    for space, score in evaluator.realism(real).items():
        assert score.value > 0.8 > evaluator.realism(blank)[space].value == 0
        few, mixed = evaluator.realism(real[:2])[space], evaluator.realism(np.concatenate([real[:2], blank[:1]]))[space]
        assert mixed.n == 3 and mixed.value == pytest.approx(few.value * 2 / 3) and few.value > 0
    train = digit_data.values("train")[:20]
    assert np.array_equal(evaluator.nearest_training(train), train)


def test_the_hash_is_of_what_went_in_and_not_of_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.repeat([0, 1, 2], 100)
    values = (rows(300).fields["x"].values + 20 * labels[:, None]).astype(np.float32)
    spec = VectorSpec(3, tuple(values.mean(0).tolist()), tuple(values.std(0).tolist()))
    fields = {"x": Field(spec, "target", values), "y": Field(LabelSpec(("a", "b", "c"), (1 / 3,) * 3), "label", labels)}
    few = Dataset("classes", fields, split(300, 240, 20))
    monkeypatch.setattr(Evaluator, "_calibrate", lambda self, say: None)  # what is measured has no part in it
    before = torch.get_num_threads()
    built = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            built.append(Evaluator.build(few, tmp_path / str(threads)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    one, two = built
    assert one.hash == two.hash and "classifier" in one.spaces
    for name, space in one.spaces.items():  # the classifier's too, which is trained
        assert space.sha256 == two.spaces[name].sha256
    other = copy(one)
    other.__dict__.pop("hash")
    other.protocol = {**one.protocol, "rules": {**one.protocol["rules"], "metrics": ["another"]}}
    assert other.hash != one.hash


def test_an_evaluator_of_other_rules_is_of_another_version(
    row_folder: Path, row_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PANEL, "new", replace(PANEL["kid"], name="new"))
    with pytest.raises(RunError, match="another version"):
        Evaluator.load(row_folder, row_data)
