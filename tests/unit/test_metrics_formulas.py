"""Every formula against a library, a closed form or a planted effect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics import pairwise_distances
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from genarena.data.fields import ImageSpec
from genarena.errors import RunError
from genarena.metrics.classes import class_total_variation, lost_classes
from genarena.metrics.copying import TrainingSet, authenticity, c_t
from genarena.metrics.degrade import bad_samples, jpeg, mean_example
from genarena.metrics.frechet import frechet_distance, frechet_infinity
from genarena.metrics.kernel import kid
from genarena.metrics.neighbours import manifold_scores, null_coverage, null_k
from genarena.metrics.panel import Measured, mean_score, panel
from genarena.metrics.path import path_lengths
from genarena.metrics.reconstruction import feature_distances, psnr, squared_errors, structural_similarities
from genarena.metrics.score import Score, Undefined
from genarena.metrics.spaces import normalise
from genarena.metrics.spectrum import (
    frequencies,
    laplacian_energy,
    log_spectrum,
    power_spectra,
    sharpness_ratio,
    spectrum_error,
)
from genarena.metrics.twosample import c2st_knn, c2st_logistic


def gaussians(n: int, m: int, dim: int, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mix = np.eye(dim) + 0.3 * rng.standard_normal((dim, dim))
    return rng.standard_normal((n, dim)) @ mix, rng.standard_normal((m, dim)) * 1.2 + shift


def test_frechet_distance_agrees_with_torchmetrics() -> None:
    x, y = gaussians(400, 300, 12, 0.5)
    moments = [torch.from_numpy(a) for s in (x, y) for a in (s.mean(0), np.cov(s, rowvar=False))]
    assert frechet_distance(x, y) == pytest.approx(float(_compute_fid(*moments)), rel=1e-6)


def test_frechet_distance_agrees_with_the_matrix_square_root() -> None:
    x, y = gaussians(200, 200, 6, 1.0)
    s_x, s_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    trace = np.trace(s_x + s_y - 2 * sqrtm(s_x @ s_y).real)
    assert frechet_distance(x, y) == pytest.approx(np.square(x.mean(0) - y.mean(0)).sum() + trace, rel=1e-9)


def test_frechet_distance_of_a_constant_is_the_other_variance() -> None:
    x, _ = gaussians(100, 100, 5)
    y = np.repeat(x.mean(0, keepdims=True), 50, axis=0)
    assert frechet_distance(x, y) == pytest.approx(x.var(0, ddof=1).sum(), rel=1e-9)


def test_frechet_infinity_removes_the_bias() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2000, 32)), rng.standard_normal((2000, 32))
    assert frechet_distance(x, y) > 0.2
    assert abs(frechet_infinity(x, y, rng)) < 0.06
    assert frechet_infinity(x, y + 1, rng) == pytest.approx(32, rel=0.05)


def test_kid_agrees_with_torchmetrics() -> None:
    # torchmetrics' unbiased estimator takes equal counts; more rows than a block, so that blocks are joined
    x, y = gaussians(1100, 1100, 8, 0.2)
    k = [(a @ b.T / 8 + 1) ** 3 for a, b in ((x, x), (x, y), (y, y))]
    by_hand = (k[0].sum() - np.trace(k[0]) + k[2].sum() - np.trace(k[2])) / (1100 * 1099) - 2 * k[1].mean()
    assert kid(x, y) == pytest.approx(by_hand, rel=1e-9)
    theirs = float(poly_mmd(torch.from_numpy(x), torch.from_numpy(y), degree=3, gamma=None, coef=1.0))
    assert kid(x, y) == pytest.approx(theirs, rel=1e-6)


def test_kid_is_unbiased() -> None:
    values = [kid(*np.random.default_rng(s).standard_normal((2, 40, 4))) for s in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)


def test_manifold_scores_agree_with_their_definitions() -> None:
    x, y = gaussians(150, 130, 4, 0.8)
    k = 5
    reach_x = np.sort(pairwise_distances(x), axis=1)[:, k]
    reach_y = np.sort(pairwise_distances(y), axis=1)[:, k]
    cross = pairwise_distances(x, y)
    in_x = cross <= reach_x[:, None]
    assert manifold_scores(x, y, k) == pytest.approx({
        "precision": in_x.any(0).mean(), "recall": (cross <= reach_y).any(1).mean(),
        "density": in_x.sum(0).mean() / k, "coverage": in_x.any(1).mean(),
    })  # fmt: skip


@pytest.mark.parametrize("place", [0.0, 100.0])
def test_points_at_the_edge_of_a_ball_are_inside(place: float) -> None:
    """Rows of few values have neighbours at equal distances and at none, which rounding must not tell apart."""
    rng = np.random.default_rng(0)
    scale = np.array([0.3, 1.7, 2.9, 0.7, 1.1, 1.3, 0.9, 2.3])
    rows = place + scale * rng.integers(0, 2, (800, 8))
    again = rows[rng.permutation(800)]
    assert manifold_scores(rows, again, 5)["precision"] == manifold_scores(rows, again, 5)["recall"] == 1
    assert manifold_scores(rows, again, 5)["coverage"] == 1
    prototypes = place + rng.normal(size=(8, 36))
    x, y = prototypes[rng.integers(8, size=500)], prototypes[rng.integers(8, size=400)]
    assert manifold_scores(x, y, 5)["precision"] == manifold_scores(x, y, 5)["coverage"] == 1


@pytest.mark.parametrize(("n", "m", "k"), [(60, 60, 5), (60, 30, 3), (40, 90, 2)])
def test_null_coverage_is_the_mean_coverage_of_equal_distributions(n: int, m: int, k: int) -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.standard_normal((n, 3)), rng.standard_normal((m, 3))) for _ in range(300)]
    covered = [manifold_scores(x, y, k)["coverage"] for x, y in pairs]
    assert np.mean(covered) == pytest.approx(null_coverage(n, m, k), abs=4 * np.std(covered) / np.sqrt(300))


def test_null_k_is_the_smallest() -> None:
    assert null_k(10_000, 10_000) == 5
    k = null_k(500, 100)
    assert null_coverage(500, 100, k) >= 0.95 > null_coverage(500, 100, k - 1)
    with pytest.raises(Undefined, match="too few"):
        null_k(3, 1)


@pytest.mark.parametrize("test", [c2st_knn, c2st_logistic])
def test_two_sample_tests_guess_on_equal_and_separate_distant_sets(test) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 600, 5))
    assert abs(test(x, y, np.random.default_rng(1)) - 0.5) < 4 * np.sqrt(0.25 / 600)
    assert test(x, y[:200] + 5, np.random.default_rng(1)) > 0.99


@pytest.mark.parametrize("test", [c2st_knn, c2st_logistic])
def test_two_sample_tests_take_odd_counts_any_order_and_no_fewer_than_eight(test) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 400, 3))
    assert test(x[:9], y[:9] + 9, np.random.default_rng(1)) == 1
    late = np.concatenate([y, y + 9])  # a prefix of the larger set is not a fair draw from it
    assert test(x, late, np.random.default_rng(1)) > 0.65
    for few in ((x[:7], y), (x, y[:7])):
        with pytest.raises(Undefined, match="at least 8"):
            test(*few, np.random.default_rng(1))


def test_the_scale_of_features_does_not_hide_a_difference() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 400, 3))
    for test in (c2st_knn, c2st_logistic):
        assert test(1e-6 * x, 1e-6 * (y + 5), np.random.default_rng(1)) > 0.98


def test_only_neighbours_see_a_change_of_variance() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1000, 5))
    assert c2st_knn(x, 3 * y, np.random.default_rng(0)) > 0.7
    assert abs(c2st_logistic(x, 3 * y, np.random.default_rng(0)) - 0.5) < 0.06


def test_laplacian_energy_of_a_checkerboard() -> None:
    board = (np.indices((6, 6)).sum(0) % 2).astype(np.uint8)[None, None]
    # at every inner pixel the four neighbours are the other colour: (4 * (1 - 0))^2
    assert laplacian_energy(board, 2)[0] == pytest.approx(16)
    assert sharpness_ratio(np.array([4.0]), np.array([2.0])) == 0.5
    with pytest.raises(Undefined, match="no edges"):
        sharpness_ratio(np.zeros(3), np.ones(3))
    for none in ((np.ones(0), np.ones(3)), (np.ones(3), np.ones(0))):
        with pytest.raises(Undefined, match="no images"):
            sharpness_ratio(*none)


@pytest.mark.parametrize("shape", [(8, 8), (9, 12), (16, 8)])
def test_power_spectrum_of_white_noise_is_flat_at_its_variance(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3000, 1, *shape)).astype(np.uint8)
    power = power_spectra(images, 256).mean(0)
    assert len(power) == len(frequencies(*shape))
    assert power == pytest.approx(np.full_like(power, (256**2 - 1) / 12 / 255**2), rel=0.05)


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (7, 12), (12, 7)])
def test_power_spectrum_is_the_ring_mean_of_the_whole_plane(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, *shape)).astype(np.uint8)
    plane = np.square(np.abs(np.fft.fft2(images.mean(1) / 255))) / np.prod(shape)
    distance = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    ring = np.round(distance * min(shape))
    expected = [plane[:, ring == index].mean(1) for index in range(1, min(shape) // 2 + 1)]
    assert power_spectra(images, 256) == pytest.approx(np.stack(expected, 1), rel=1e-4)


def test_power_spectrum_of_a_wave_is_one_ring() -> None:
    column = np.arange(32)
    wave = np.rint(100 + 50 * np.cos(2 * np.pi * column / 4))[None, None, None].repeat(32, 2).astype(np.uint8)
    power = power_spectra(wave, 256)[0]
    assert frequencies(32, 32)[power.argmax()] == 0.25
    assert np.delete(power, power.argmax()).max() < 1e-6 * power.max()


def test_spectrum_error_is_the_gain_in_decibels() -> None:
    power = np.ones((5, 4))
    rings = frequencies(8, 8)
    assert spectrum_error(rings, power, power * 10) == pytest.approx(10, abs=1e-3)
    assert spectrum_error(rings, power, power * [10, 1, 1, 1]) == 0, "below the top octave nothing counts"
    assert spectrum_error(rings, power, power * [1, 10, 1, 1]) == pytest.approx(10 / 3, abs=1e-3), "its edge does"
    assert log_spectrum(np.zeros((3, 4))).max() < -50
    rounding = np.full((5, 4), 1 / 12 / 255**2)  # as much as that is not told from nothing by more than a factor of two
    assert spectrum_error(rings, 0 * power, rounding) == pytest.approx(10 * np.log10(2))
    for none in ((power[:0], power), (power, power[:0])):
        with pytest.raises(Undefined, match="no images"):
            spectrum_error(rings, *none)


def test_class_shares() -> None:
    real = np.repeat([0, 1, 2, 3], 25)
    assert class_total_variation(real, real, 5) == 0
    assert class_total_variation(real, np.zeros(50, dtype=int), 5) == pytest.approx(0.75)
    few = np.repeat([0, 1, 2, 3], [60, 30, 9, 1])
    assert lost_classes(real, few, 5) == 0.25, "1 % is below a tenth of 25 %; the absent class 4 is not lost"
    assert lost_classes(real, np.repeat([0, 1, 2, 3], [13, 13, 13, 1]), 5) == 0, "2.5 % is a tenth of 25 %, not below"
    for score in (lost_classes, class_total_variation):
        with pytest.raises(Undefined, match="one class"):
            score(np.zeros(9, dtype=int), real, 5)


def test_copying_tests_tell_copies_from_fresh_and_underfitted_samples() -> None:
    rng = np.random.default_rng(0)
    train, test, fresh = rng.standard_normal((3, 400, 3))
    training = TrainingSet(train, 3, 0)

    def scores(samples: np.ndarray) -> tuple[float, float]:
        (d_test, _), (distance, row) = training.nearest(test), training.nearest(samples)
        copied = c_t(d_test, distance, training.cell(test), training.cell(samples))
        return copied, authenticity(training.authentic(distance, row))

    copies, honest = scores(train[:300] + 1e-3), scores(fresh)
    assert copies[0] < -8 and copies[1] == 0
    assert abs(honest[0]) < 3 and 0.3 < honest[1] < 0.7
    assert scores(2 * fresh)[0] > 3


def test_cells_count_by_their_share_of_the_test_set() -> None:
    low, high = np.arange(40.0), np.arange(40.0) + 100
    test, test_cell = np.concatenate([high[:30], low[:10]]), np.repeat([0, 1], [30, 10])
    fake, fake_cell = np.concatenate([low[:10], high[:30]]), np.repeat([0, 1], [10, 30])
    # every sample is nearer in cell 0 and further in cell 1: U is 0 or 300, with mean 150 and variance 300 * 41 / 12
    z = 150 / np.sqrt(300 * 41 / 12)
    assert c_t(test, fake, test_cell, fake_cell) == pytest.approx((30 * -z + 10 * z) / 40)
    # a cell of nine test examples is left out
    assert c_t(test[:39], fake, test_cell[:39], fake_cell) == pytest.approx(-z)


def test_a_sample_is_authentic_where_it_is_further_away_than_the_next_training_example() -> None:
    training = TrainingSet(np.array([[0.0], [0.0], [5.0], [6.0]]), 1, 0)
    distance, row = training.nearest(np.array([[0.0], [0.5], [5.25], [8.0]]))
    # a copy of an example that is there twice is a copy still
    assert training.authentic(distance, row).tolist() == [False, True, False, True]


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_copying_needs_finite_distances(odd: float) -> None:
    good, bad, cell = np.arange(20.0), np.append(np.arange(19.0), odd), np.zeros(20)
    for distances in ((good, bad), (bad, good)):
        with pytest.raises(Undefined, match="not finite"):
            c_t(*distances, cell, cell)


def test_copying_is_undefined_where_no_region_is_shared() -> None:
    with pytest.raises(Undefined, match="no region"):
        c_t(np.ones(50), np.ones(50), np.zeros(50), np.ones(50))


@pytest.mark.parametrize("shape", [(1, 24, 20), (3, 24, 20), (1, 8, 8)])
def test_image_errors_agree_with_torchmetrics(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((4, *shape))
    y = np.clip(x + 0.1 * rng.standard_normal(x.shape), 0, 1)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    theirs = structural_similarity_index_measure(b, a, data_range=1.0, reduction="none")
    assert structural_similarities(x, y) == pytest.approx(theirs.numpy(), abs=1e-6)
    assert psnr(squared_errors(x, y).mean()) == pytest.approx(float(peak_signal_noise_ratio(b, a, data_range=1.0)))


def test_structural_similarity_of_equal_and_inverted_images() -> None:
    x = np.random.default_rng(0).random((3, 1, 8, 8))
    assert structural_similarities(x, x) == pytest.approx(np.ones(3))
    assert structural_similarities(x, 1 - x).max() < 0.2
    with pytest.raises(Undefined, match="perfect"):
        psnr(0.0)


def test_feature_distance_to_an_unrelated_original_is_one() -> None:
    x = np.random.default_rng(0).standard_normal((4000, 6))
    assert feature_distances(x, x).max() == 0
    two = np.array([[0.0], [2.0]])
    assert feature_distances(two, two[::-1]) == pytest.approx(1), "the unbiased variance, not that of the sample"
    assert feature_distances(x, np.roll(x, 1, axis=0)).mean() == pytest.approx(1, abs=0.03)
    with pytest.raises(Undefined, match="do not differ"):
        feature_distances(np.ones((5, 2)), np.ones((5, 2)))
    with pytest.raises(Undefined, match="1 originals; at least 2 are needed"):
        feature_distances(two[:1], two[:1])


def test_path_lengths_of_a_line_a_half_circle_and_a_jump() -> None:
    t = np.linspace(0, 1, 101)
    line = np.stack([t, t], 1)
    circle = np.stack([np.cos(np.pi * t), np.sin(np.pi * t)], 1)
    jump = np.stack([(t > 0.5).astype(float), 0 * t], 1)
    still = np.ones((101, 2))
    length, share = path_lengths(np.stack([line, circle, jump, still]))
    assert length == pytest.approx([1, np.pi / 2, 1], rel=1e-3)
    assert share == pytest.approx([0.01, 0.01, 1])
    with pytest.raises(Undefined, match="coincide"):
        path_lengths(still[None])
    assert path_lengths(line[None, ::50])[1] == pytest.approx([0.5])
    with pytest.raises(Undefined, match="at least three points"):
        path_lengths(line[None, ::100])


def test_features_that_are_not_finite_are_undefined_everywhere() -> None:
    x = np.ones((30, 2))
    bad = np.full((30, 2), np.nan)
    rng = np.random.default_rng(0)
    calls = [
        lambda: frechet_distance(x, bad),
        lambda: frechet_infinity(x, bad, rng),
        lambda: kid(x, bad),
        lambda: manifold_scores(x, bad, 3),
        lambda: c2st_knn(x, bad, rng),
        lambda: c2st_logistic(x, bad, rng),
        lambda: path_lengths(np.full((2, 4, 3), np.inf)),
    ]
    for call in calls:
        with pytest.raises(Undefined, match="not finite"):
            call()


def test_replicates_have_the_spread_of_the_estimate() -> None:
    # the mean of 200 draws of variance 1 has a standard error of 1 / sqrt(200)
    spreads = [np.std(mean_score(np.random.default_rng(s).standard_normal(200), s).replicates) for s in range(60)]
    assert np.mean(spreads) == pytest.approx(1 / np.sqrt(200), rel=0.05)
    score = mean_score(np.arange(20.0), 0)
    assert score.value == 9.5 and np.mean(score.replicates) == pytest.approx(9.5)
    # halves of an odd number are not equal: two of five tell less than three would
    five = mean_score(np.arange(5.0), 0, replicates=4000).replicates
    assert np.var(five) == pytest.approx(np.arange(5.0).var(ddof=1) / 5, rel=0.1)
    assert [len(mean_score(np.arange(float(n)), 0).replicates) for n in (1, 2, 4)] == [0, 0, 40]


class Means:
    """Stands in for a probe: the means of both sets, and the z-score of the samples' (of mean 0 and variance 1)."""

    def metrics(self, real: Measured, fake: Measured, seed: int) -> list:
        calls = {
            "real": lambda: real["x"].mean(),
            "fake": lambda: fake["x"].mean(),
            "c_t": lambda: np.sqrt(len(fake)) * fake["x"].mean(),
        }
        return [((name,), call) for name, call in calls.items()]


def scores_of_means(n: int, m: int, reference_seed: int, seed: int, data_seed: int = 0) -> dict[str, Score]:
    real, fake = (Measured({"x": np.random.default_rng([data_seed, c]).standard_normal(c)}) for c in (n, m))
    return panel(Means(), real, fake, reference_seed=reference_seed, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "m"), [(201, 200), (4000, 5000)])
def test_replicates_of_a_panel_have_the_spread_of_means_and_of_z_scores(n: int, m: int) -> None:
    # of the smaller number, whose parts of both are drawn: at most 1000
    spread: dict[str, list[float]] = {"fake": [], "c_t": []}
    for seed in range(40):
        scores = scores_of_means(n, m, seed, seed, seed)
        for name, found in spread.items():
            found.append(np.std(scores[name].replicates, ddof=1))
    assert np.mean(spread["fake"]) == pytest.approx(1 / np.sqrt(min(n, m)), rel=0.08)
    assert np.mean(spread["c_t"]) == pytest.approx(1, rel=0.08)


def test_replicates_see_the_same_real_examples_for_every_model() -> None:
    one, other = scores_of_means(300, 300, 7, 1), scores_of_means(300, 300, 7, 2)
    assert one["real"].replicates == other["real"].replicates
    assert one["fake"].replicates != other["fake"].replicates
    assert scores_of_means(300, 300, 8, 1)["real"].replicates != one["real"].replicates


def test_scores_survive_json() -> None:
    for score in (Score(1.5, 10, (1.0, 2.0)), Score(None, 0, reason="no samples")):
        assert Score.from_json(score.to_json()) == score
    with pytest.raises(RunError, match="not a record that genarena wrote"):
        Score.from_json({"value": "much"})


# -- what scores are read against --------------------------------------------------------------------------------------


def test_networks_see_images_from_minus_one_to_one() -> None:
    codes = np.array([0, 8, 16], dtype=np.uint8).reshape(3, 1, 1, 1)
    assert normalise(codes, ImageSpec(1, 1, 1, 17)).flatten().tolist() == [-1, 0, 1]


def test_degraded_images_are_rounded_and_keep_their_levels() -> None:
    spec = ImageSpec(1, 8, 8, 17)
    images = np.zeros((3, 1, 8, 8), dtype=np.uint8)
    images[1:] = 1
    assert mean_example(spec, images, 5).shape == (5, 1, 8, 8)
    assert set(mean_example(spec, images, 5).ravel()) == {1}, "two thirds are nearer to 1"
    for code in (0, 8, 16):
        flat = np.full((2, 1, 8, 8), code, dtype=np.uint8)
        assert np.array_equal(jpeg(spec, flat, 75), flat)


def test_the_class_that_is_missing_is_the_most_frequent() -> None:
    labels = np.repeat([0, 1, 2], [5, 20, 10])
    images = np.full((35, 1, 8, 8), 1, dtype=np.uint8) * labels[:, None, None, None].astype(np.uint8)
    missing = bad_samples(ImageSpec(1, 8, 8, 256), images, labels, 30, 0)["class missing"]
    assert np.bincount(missing[:, 0, 0, 0], minlength=3).tolist() == [5, 0, 10]
    assert "class missing" not in bad_samples(ImageSpec(1, 8, 8, 256), images, None, 30, 0)
