"""Objectives against closed forms, quadrature and automatic differentiation."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from genarena.data import Batch, ImageSpec, Schema, VectorSpec, open_dataset
from genarena.errors import UsageError
from genarena.kinds import kind_of
from genarena.models import vae as module
from genarena.models.pca import PCA
from genarena.models.vae import VAE
from genarena.objectives.adversarial import LOSSES, gradient_penalty, r1_penalty
from genarena.objectives.likelihoods import dequantisation_term, make_likelihood, quantisation_step
from genarena.objectives.variational import (
    free_bits,
    importance_bound,
    kl_to_standard_normal,
    normal_log_density,
    reparameterise,
    standard_normal_log_density,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


# -- adversarial losses ------------------------------------------------------------------------------------------------


def test_value_at_the_optimal_discriminator_is_the_jensen_shannon_divergence() -> None:
    """Goodfellow et al. 2014, theorem 1, on data of two Gaussians against a model of one."""
    data = [stats.norm(-1.5, 0.5), stats.norm(1.5, 0.5)]
    model = stats.norm(0.0, 1.5)

    def p(x: np.ndarray) -> np.ndarray:
        return 0.5 * data[0].pdf(x) + 0.5 * data[1].pdf(x)

    def divergence(one: float, other: float) -> float:
        return one * math.log(2 * one / (one + other)) if one > 0 else 0.0

    def integrand(x: float) -> float:
        return 0.5 * divergence(float(p(x)), float(model.pdf(x))) + 0.5 * divergence(float(model.pdf(x)), float(p(x)))

    jensen_shannon, _ = integrate.quad(integrand, -12, 12, limit=200)
    grid = (np.arange(100_000) + 0.5) / 100_000  # quantiles: a sample without sampling error
    real = np.concatenate([half.ppf(grid) for half in data])
    fake = model.ppf(grid)
    optimal = [torch.from_numpy(np.log(p(x)) - model.logpdf(x)) for x in (real, fake)]
    value = -LOSSES["minimax"].discriminator(*optimal)
    assert float(value) == pytest.approx(-math.log(4) + 2 * jensen_shannon, abs=1e-3)
    worse = -LOSSES["minimax"].discriminator(optimal[0] + 0.3, optimal[1] + 0.3)
    assert worse < value


@pytest.mark.parametrize(("loss", "slope"), [("minimax", 0.0), ("non-saturating", -1.0)])
def test_slope_where_the_discriminator_wins(loss: str, slope: float) -> None:
    logit = torch.tensor([-30.0], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(LOSSES[loss].generator(logit), logit)
    assert float(found) == pytest.approx(slope, abs=1e-9)


REAL, FAKE = torch.tensor([1.5, -0.5, 0.0]), torch.tensor([-2.0, 0.5, 3.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        (
            "non-saturating",
            lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)),
            lambda f: -math.log(sigmoid(f)),
        ),
        ("minimax", lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)), lambda f: math.log(1 - sigmoid(f))),
        ("least-squares", lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2, lambda f: (f - 1) ** 2 / 2),
        ("hinge", lambda r, f: max(0, 1 - r) + max(0, 1 + f), lambda f: -f),
        ("wasserstein", lambda r, f: f - r, lambda f: -f),
    ],
)
def test_losses_against_their_formulas(name: str, discriminator, generator) -> None:
    pairs = list(zip(REAL.tolist(), FAKE.tolist(), strict=True))
    expected = sum(discriminator(r, f) for r, f in pairs) / len(pairs)
    assert float(LOSSES[name].discriminator(REAL, FAKE)) == pytest.approx(expected, rel=1e-6)
    assert float(LOSSES[name].generator(FAKE)) == pytest.approx(sum(generator(f) for _, f in pairs) / 3, rel=1e-6)


def test_every_loss_is_tested() -> None:
    elsewhere = {"relativistic"}  # in test_tricks: it is of pairs
    assert set(LOSSES) - elsewhere == {"non-saturating", "minimax", "least-squares", "hinge", "wasserstein"}


def test_r1_of_linear_and_quadratic_discriminators() -> None:
    x = normal(50, 3)
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty(lambda v: v @ slope, x)
    assert float(penalty.detach()) == pytest.approx(0.5 * 5.25)
    assert torch.allclose(torch.autograd.grad(penalty, slope)[0], slope.detach())
    half = normal(3, 3, seed=1)
    matrix = half + half.T
    quadratic = r1_penalty(lambda v: 0.5 * torch.einsum("ni,ij,nj->n", v, matrix, v), x)
    assert float(quadratic.detach()) == pytest.approx(float(0.5 * (x @ matrix).square().sum(1).mean()))


def test_gradient_penalty_of_linear_and_quadratic_critics() -> None:
    real, fake = normal(40, 2), normal(40, 2, seed=1) + 3
    mix = torch.rand(40, generator=seeded(2), dtype=torch.float64)
    slope = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(lambda v: v @ slope, real, fake, mix)
    assert float(penalty.detach()) == pytest.approx((5 - 1) ** 2)
    assert torch.allclose(torch.autograd.grad(penalty, slope)[0], 2 * 4 * slope.detach() / 5)
    quadratic = gradient_penalty(lambda v: 0.5 * v.square().sum(1), real, fake, mix)
    between = mix[:, None] * real + (1 - mix[:, None]) * fake
    assert float(quadratic.detach()) == pytest.approx(float((between.norm(dim=1) - 1).square().mean()))
    flat = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    at_zero = gradient_penalty(lambda v: v @ flat, real, fake, mix)
    assert torch.isfinite(torch.autograd.grad(at_zero, flat)[0]).all()


# -- reparameterisation and divergence ---------------------------------------------------------------------------------


def test_reparameterised_moments_and_gradients() -> None:
    mean = torch.tensor([0.7, -1.2], dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    n = 400_000
    z = reparameterise(mean, 2 * sigma.log(), normal(n, 2))
    found_mean, found_variance = z.mean(0).detach(), z.var(0).detach()
    assert ((found_mean - mean).abs() < 4 * sigma / math.sqrt(n)).all()
    assert ((found_variance - sigma**2).abs() < 4 * sigma**2 * math.sqrt(2 / n)).all()
    by_mean, by_sigma = torch.autograd.grad(z.square().mean(0).sum(), [mean, sigma])
    assert torch.allclose(by_mean, 2 * mean.detach(), rtol=0.01)
    assert torch.allclose(by_sigma, 2 * sigma.detach(), rtol=0.01)


def test_kl_agrees_with_torch_and_with_a_million_samples() -> None:
    mean, log_variance = normal(20, 3), normal(20, 3, seed=1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    exact = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    assert torch.allclose(kl_to_standard_normal(mean, log_variance), exact, atol=1e-12)
    m, v = mean[:1], log_variance[:1]
    z = reparameterise(m, v, normal(1_000_000, 3, seed=2))
    ratios = normal_log_density(z, m, v) - standard_normal_log_density(z)
    error = float(ratios.std()) / 1000
    assert float(ratios.mean()) == pytest.approx(float(exact[0].sum()), abs=4 * error)


def test_kl_is_never_negative() -> None:
    kl = kl_to_standard_normal(3 * normal(10_000, 1), 3 * normal(10_000, 1, seed=1))
    assert (kl >= 0).all()
    assert float(kl_to_standard_normal(torch.zeros(1), torch.zeros(1))) == 0


def test_the_misprinted_kl_is_no_divergence() -> None:
    """Without the half and the square in the logarithm the minimum is negative, and at the wrong width."""
    sigma = torch.linspace(0.05, 3, 100_001, dtype=torch.float64)
    misprint = sigma**2 - sigma.log() - 1
    lowest = int(misprint.argmin())
    assert float(misprint[lowest]) == pytest.approx(-0.1534, abs=1e-4)
    assert float(sigma[lowest]) == pytest.approx(0.7071, abs=1e-4)
    correct = kl_to_standard_normal(torch.zeros(()), 2 * sigma.log())
    assert float(sigma[int(correct.argmin())]) == pytest.approx(1, abs=1e-4)


def test_free_bits_forgive_small_divergences_of_a_dimension() -> None:
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]])
    assert float(free_bits(kl, 0.0)) == pytest.approx(3.2)
    assert float(free_bits(kl, 0.5)) == pytest.approx(0.5 + 3.0)
    assert float(free_bits(kl, 5.0)) == pytest.approx(10.0)


def test_importance_bound_is_the_log_mean_weight() -> None:
    weights = normal(7, 5)
    assert torch.allclose(importance_bound(weights), weights.exp().mean(0).log())
    assert torch.equal(importance_bound(weights[:1]), weights[0])
    assert torch.isfinite(importance_bound(weights - 5000)).all()


# -- a linear-Gaussian model, whose likelihood is known ----------------------------------------------------------------

DIM, LATENT = 12, 8


def linear_gaussian(stretch: float) -> tuple[VAE, PCA, Tensor]:
    """A VAE with linear nets whose posterior is exact but for its covariance, `stretch` times too large; the same model
    as probabilistic PCA; and data drawn from it. The noise has variance 1.
    """
    schema = Schema({"x": VectorSpec(DIM, (0.0,) * DIM, (1.0,) * DIM)}, {"x": "target"})
    vae = VAE(VAE.Config.parse({"latent_dim": LATENT, "sigma": 1.0}), schema)
    pca = PCA(PCA.Config.parse({"latent_dim": LATENT}), schema).double()
    directions = torch.linalg.qr(normal(DIM, LATENT)).Q
    lengths = torch.linspace(0.5, 3, LATENT, dtype=torch.float64)
    variances = lengths**2 + 1
    vae.encoder, vae.decoder = torch.nn.Linear(DIM, 2 * LATENT), torch.nn.Linear(LATENT, DIM, bias=False)
    vae = vae.double().eval().requires_grad_(False)
    # z | x ~ N(M^-1 W'x, M^-1) with M = W'W + I (Tipping & Bishop 1999, eq. 6); W has orthogonal columns.
    vae.decoder.weight.copy_(directions * lengths)
    vae.encoder.weight.zero_()
    vae.encoder.weight[:LATENT] = (directions * lengths / variances).T
    vae.encoder.bias.zero_()
    vae.encoder.bias[LATENT:] = 15 * torch.atanh((stretch / variances).log() / 15)  # undoes the soft clamp
    pca.components.copy_(directions.T)
    pca.variances.copy_(variances)
    x = normal(200, LATENT, seed=1) @ (directions * lengths).T + normal(200, DIM, seed=2)
    return vae, pca, x


def test_pca_of_few_examples_has_the_noise_that_maximises_the_likelihood() -> None:
    """sigma^2 is the mean variance of all directions left out, those without any included (Tipping & Bishop 1999, eq. 8)."""
    x = np.random.default_rng(0).normal(size=(30, 80)).astype(np.float32)
    model = PCA(PCA.Config(latent_dim=5), Schema({"x": VectorSpec(80, (0.0,) * 80, (1.0,) * 80)}, {"x": "target"}))
    model.fit(x, 0)
    left = np.linalg.eigvalsh(np.cov(x, rowvar=False))[:-5]
    assert float(model.noise_variance) == pytest.approx(left.sum() / 75, rel=1e-4)


def badly_scaled(case: str) -> np.ndarray:
    """Correlated rows of which float32 makes rounding where it is careless."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 8))
    if case == "nearly collinear":
        rows[:, -1] = rows[:, 0] + 1e-3 * rows[:, 1] + 2e-3 * rng.normal(size=400)
    if case == "scales":
        rows = rows * 10.0 ** np.linspace(-6, 6, 8) + 10.0 ** np.linspace(-3, 6, 8)
    if case == "outliers":
        rows[::50] *= 1e4
    if case == "few":
        return rng.normal(size=(40, 60)) @ rng.normal(size=(60, 60))
    return rows


@pytest.mark.parametrize("case", ["plain", "nearly collinear", "scales", "outliers", "few"])
@pytest.mark.parametrize("latent_dim", [2, 8])
def test_pca_density_of_badly_scaled_rows_is_that_of_float64(case: str, latent_dim: int) -> None:
    """With as many components as columns the residual is zero, and rounding in its place is divided by the floor."""
    data = open_dataset(badly_scaled(case))
    kind, spec = kind_of(data.schema.target), data.schema.target
    train, test = (kind.normalise(kind.to_tensor(data.values(part)), spec) for part in ("train", "test"))
    model = PCA(PCA.Config(latent_dim=latent_dim), data.schema)
    model.fit(train.numpy(), 0)
    x, dim = train.double().numpy(), spec.dim
    variances, directions = np.linalg.eigh(np.cov(x, rowvar=False))
    variances, directions = variances[::-1], directions[:, ::-1]
    noise = max(variances[latent_dim:].mean() if latent_dim < dim else 0, 1e-6)
    spread = np.where(np.arange(dim) < latent_dim, np.maximum(variances, noise), noise)
    apart = (test.double().numpy() - x.mean(0)) @ directions
    exact = -0.5 * (dim * np.log(2 * np.pi) + np.log(spread).sum() + (apart**2 / spread).sum(1))
    np.testing.assert_allclose(-model.anomaly_score(test), exact, rtol=1e-6, atol=1e-3)
    units = sum(math.log(scale) for scale in spec.scale)
    np.testing.assert_allclose(model.log_prob(test, 1, seeded()), exact - units, rtol=1e-6, atol=1e-3)


def test_pca_likelihood_is_the_multivariate_normal() -> None:
    _, pca, x = linear_gaussian(1.0)
    covariance = (pca.components.T * (pca.variances - 1)) @ pca.components + torch.eye(DIM, dtype=torch.float64)
    exact = torch.distributions.MultivariateNormal(torch.zeros(DIM, dtype=torch.float64), covariance).log_prob(x)
    assert torch.allclose(pca.log_prob(x, 1, seeded()), exact)
    pca.noise_variance.fill_(0.25)
    covariance += 0.75 * (pca.components.T @ pca.components - torch.eye(DIM, dtype=torch.float64))
    exact = torch.distributions.MultivariateNormal(torch.zeros(DIM, dtype=torch.float64), covariance).log_prob(x)
    assert torch.allclose(pca.log_prob(x, 1, seeded()), exact)


def test_elbo_is_exact_at_the_exact_posterior() -> None:
    vae, pca, x = linear_gaussian(1.0)
    exact = pca.log_prob(x, 1, seeded())
    for samples in (1, 10):
        assert float((vae.log_prob(x, samples, seeded()) - exact).abs().max()) < 1e-6


@pytest.mark.parametrize(("stretch", "gap"), [(1.5, 0.378), (2.0, 1.227), (4.0, 6.455)])
def test_the_gap_of_the_bound_is_the_divergence_of_the_posterior(stretch: float, gap: float) -> None:
    """log p - ELBO = KL(q || posterior) = k/2 (c - 1 - log c) for a covariance c times too large."""
    assert LATENT / 2 * (stretch - 1 - math.log(stretch)) == pytest.approx(gap, abs=5e-4)
    vae, pca, x = linear_gaussian(stretch)
    exact = pca.log_prob(x, 1, seeded())
    weights = vae.log_weights(x, normal(1000, len(x), LATENT, seed=3))
    gaps = (exact - weights).mean(0)
    assert float(gaps.mean()) == pytest.approx(gap, abs=0.01)
    bounds = [float((importance_bound(weights[:k]) - exact).mean()) for k in (1, 5, 50, 1000)]
    error = float((weights - exact).std()) / math.sqrt(len(x))
    assert all(low < high + error for low, high in itertools.pairwise(bounds))
    assert bounds[0] < bounds[-1] - gap / 2
    assert bounds[-1] < 3 * error
    assert abs(bounds[-1]) < 0.15


# -- the settings of a VAE ---------------------------------------------------------------------------------------------


def small_vae(**settings: Any) -> tuple[VAE, Batch]:
    schema = Schema({"x": VectorSpec(3, (0.0,) * 3, (1.0,) * 3)}, {"x": "target"})
    torch.default_generator.manual_seed(0)
    vae = VAE(VAE.Config.parse({"latent_dim": 2, "network": {"width": 8}, **settings}), schema)
    return vae.requires_grad_(False), Batch({"x": normal(20, 3).float()}, schema)


@pytest.mark.parametrize(("images", "share"), [(0, 0.0), (25, 0.25), (100, 1.0), (300, 1.0)])
@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_the_weight_of_the_divergence_rises_to_beta_and_stays(images: int, share: float, floor: float) -> None:
    vae, batch = small_vae(beta=2.0, warmup_images=100, free_bits=floor)
    loss, terms = vae.loss(batch, SimpleNamespace(images=images))  # type: ignore[arg-type]
    divergence = free_bits(kl_to_standard_normal(*vae.posterior(batch.x)), floor)
    assert float(loss) == pytest.approx(float(terms["distortion"] + 2 * share * divergence))


def test_an_importance_weighted_vae_minimises_its_bound() -> None:
    vae, batch = small_vae(importance_samples=5)
    torch.default_generator.manual_seed(1)
    loss, _ = vae.loss(batch, SimpleNamespace(images=0))  # type: ignore[arg-type]
    torch.default_generator.manual_seed(1)
    noise = torch.randn(20, 5, 2).transpose(0, 1)
    assert float(loss) == pytest.approx(-float(importance_bound(vae.log_weights(batch.x, noise)).mean()))


def test_an_anomaly_is_what_the_bound_at_the_posterior_mean_lacks() -> None:
    vae, batch = small_vae()
    mean, log_variance = vae.posterior(batch.x)
    log_likelihood = vae.likelihood.log_prob(vae.decoder(mean), batch.x)
    prior = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    divergence = torch.distributions.kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(vae.anomaly_score(batch.x), divergence - log_likelihood)


def test_a_bound_in_parts_is_the_whole_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, _, x = linear_gaussian(4.0)
    whole = vae.log_prob(x, 6, seeded())
    monkeypatch.setattr(module, "MOST_VALUES", 2 * x.numel())
    torch.testing.assert_close(vae.log_prob(x, 6, seeded()), whole)


def test_codes_are_dequantised_over_one_step_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ImageSpec(1, 8, 8, 17)
    vae = VAE(VAE.Config.parse({"latent_dim": 2}), Schema({"x": spec}, {"x": "target"}))
    seen: list[Tensor] = []
    monkeypatch.setattr(VAE, "log_weights", lambda self, x, noise, y=None: (seen.append(x), noise.sum(2))[1])
    vae.log_prob(torch.zeros(200, 1, 8, 8), 1, seeded())
    assert float(seen[0].abs().max()) <= 1 / 16
    assert float(seen[0].mean()) == pytest.approx(0, abs=2e-3)
    assert float(seen[0].std()) == pytest.approx(2 / 16 / math.sqrt(12), rel=0.02)


def test_a_bernoulli_bound_is_of_pixels_binarised_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ImageSpec(1, 8, 8, 17, mean=(0.6,))
    vae = VAE(VAE.Config.parse({"latent_dim": 2, "likelihood": "bernoulli"}), Schema({"x": spec}, {"x": "target"}))
    seen: list[Tensor] = []
    monkeypatch.setattr(VAE, "log_weights", lambda self, x, noise, y=None: (seen.append(x), noise.sum(2))[1])
    vae.log_prob(torch.full((500, 1, 8, 8), 0.2), 1, seeded())
    assert set(seen[0].unique().tolist()) == {-1.0, 1.0}
    assert float(seen[0].mean()) == pytest.approx(0.2, abs=0.02)


# -- likelihoods -------------------------------------------------------------------------------------------------------


def pixel(levels: int, channels: int = 1) -> tuple[ImageSpec, Tensor]:
    """A spec of one pixel, and every value its channels can take together as ``(levels, C, 1, 1)``."""
    spec = ImageSpec(channels, 1, 1, levels)
    return spec, torch.linspace(-1, 1, levels, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, channels, 1, 1)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("name", ["logistic", "categorical"])
def test_probabilities_of_all_levels_sum_to_one(name, levels: int) -> None:
    spec, values = pixel(levels)
    likelihood = make_likelihood(name, spec).double().requires_grad_(False)
    for seed in range(5):
        raw = 3 * normal(1, likelihood.parameters_per_value, 1, 1, seed=seed)
        total = likelihood.log_prob(raw.expand(levels, -1, -1, -1), values).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-9)


def test_probabilities_of_channels_multiply() -> None:
    spec, _ = pixel(5, channels=3)
    codes = torch.tensor(list(itertools.product(range(5), repeat=3)), dtype=torch.float64)
    values = (codes / 2 - 1).view(-1, 3, 1, 1)
    for name in ("logistic", "categorical"):
        likelihood = make_likelihood(name, spec).double().requires_grad_(False)
        raw = normal(1, 3 * likelihood.parameters_per_value, 1, 1)
        total = likelihood.log_prob(raw.expand(len(values), -1, -1, -1), values).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_dequantised_gaussian_bounds_the_probability_of_codes(sigma: float) -> None:
    """E_u log p(x + u) + D log(step) <= log of the mass between the half-steps (Theis et al. 2016, eq. 8)."""
    spec, values = pixel(8)
    step = quantisation_step(spec)
    likelihood = make_likelihood("gaussian", spec, sigma)
    raw = torch.full((8, 1, 1, 1), 0.2, dtype=torch.float64)
    offsets = ((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 - 0.5) * step
    densities = torch.stack([likelihood.log_prob(raw, values + u) for u in offsets])
    bound = densities.mean(0) + dequantisation_term(spec)
    x, mean = values.flatten().numpy(), math.tanh(0.2)
    mass = stats.norm.cdf(x + step / 2, mean, sigma) - stats.norm.cdf(x - step / 2, mean, sigma)
    assert (bound.exp().numpy() <= mass + 1e-12).all()
    assert float(bound.exp().sum()) < 1
    averaged = (densities.exp().mean(0) * math.exp(dequantisation_term(spec))).numpy()
    assert averaged == pytest.approx(mass, rel=1e-4)


def test_density_of_rows_is_in_the_datas_units() -> None:
    spec = VectorSpec(2, (5.0, -100.0), (2.0, 50.0))
    rows = np.array([[4.0, -120.0], [9.0, 30.0]])
    x = torch.from_numpy((rows - spec.mean) / spec.scale)
    raw = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    found = make_likelihood("gaussian", spec, 0.7).log_prob(raw, x) + dequantisation_term(spec)
    expected = stats.norm.logpdf(rows, [6.0, -150.0], [1.4, 35.0]).sum(1)
    assert found.numpy() == pytest.approx(expected)


def test_gaussian_agrees_with_torch() -> None:
    spec = ImageSpec(3, 4, 5)
    likelihood = make_likelihood("gaussian", spec).double().requires_grad_(False)
    raw, x = normal(6, 3, 4, 5), normal(6, 3, 4, 5, seed=1)
    exact = torch.distributions.Normal(raw.tanh(), likelihood.log_sigma.exp()).log_prob(x).sum((1, 2, 3))
    assert torch.allclose(likelihood.log_prob(raw, x), exact)


def test_bernoulli_agrees_with_torch_and_binarises_without_bias() -> None:
    likelihood = make_likelihood("bernoulli", ImageSpec(1, 4, 4))
    raw = normal(3, 1, 4, 4)
    torch.default_generator.manual_seed(0)
    x = likelihood.observe(torch.full((3, 1, 4, 4), 0.2, dtype=torch.float64))
    exact = torch.distributions.Bernoulli(logits=raw).log_prob((x + 1) / 2).sum((1, 2, 3))
    assert torch.allclose(likelihood.log_prob(raw, x), exact)
    assert torch.allclose(likelihood.mean(raw), 2 * raw.sigmoid() - 1)
    many = likelihood.observe(torch.full((10_000, 1, 2, 2), 0.2))
    assert set(many.unique().tolist()) == {-1.0, 1.0}
    assert float(many.mean()) == pytest.approx(0.2, abs=0.02)
    ends = torch.tensor([-1.0, 1.0]).repeat(500).view(1000, 1, 1, 1)
    assert torch.equal(likelihood.observe(ends), ends)


def test_learned_sigma_has_a_floor_of_half_a_grey_level() -> None:
    spec = ImageSpec(1, 8, 8, 17)
    likelihood = make_likelihood("gaussian", spec).requires_grad_(False)
    likelihood.raw_log_sigma.fill_(-1000)
    assert float(likelihood.log_sigma.exp()) == pytest.approx(0.5 * 2 / 16)
    likelihood.raw_log_sigma.fill_(0.5)
    assert float(likelihood.log_sigma) == pytest.approx(0.5, abs=0.1)
    likelihood.raw_log_sigma.fill_(likelihood.floor)
    assert float(likelihood.log_sigma) == pytest.approx(likelihood.floor + math.log(2)), "softly kept above it"
    rows = make_likelihood("gaussian", VectorSpec(2, (0.0, 0.0), (1.0, 1.0))).requires_grad_(False)
    rows.raw_log_sigma.fill_(-1000)
    assert float(rows.log_sigma.exp()) == pytest.approx(1e-3)  # of standardised rows


def test_the_encoder_of_binary_pixels_sees_0_and_1() -> None:
    spec, x = ImageSpec(1, 8, 8, 17), torch.tensor([-1.0, 0.0, 1.0])
    assert make_likelihood("bernoulli", spec).encoder_input(x).tolist() == [0, 0.5, 1]
    assert make_likelihood("gaussian", spec).encoder_input(x) is x


def test_a_decoder_of_binary_pixels_starts_at_their_mean() -> None:
    start = make_likelihood("bernoulli", ImageSpec(3, 8, 8, 17, mean=(0.6, 0.0, 1.0))).start()
    assert start is not None and start.sigmoid().tolist() == pytest.approx([0.6, 0.001, 0.999])
    assert make_likelihood("bernoulli", ImageSpec(3, 8, 8, 17)).start() is None


def test_likelihoods_of_grey_levels_refuse_rows() -> None:
    spec = VectorSpec(2, (0.0, 0.0), (1.0, 1.0))
    for name in ("bernoulli", "logistic", "categorical"):
        with pytest.raises(UsageError, match="needs images"):
            make_likelihood(name, spec)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="sigma belongs"):
        make_likelihood("logistic", ImageSpec(1, 8, 8), 0.5)
    with pytest.raises(UsageError, match="too large"):
        make_likelihood("categorical", ImageSpec(4, 8, 8, 256))
