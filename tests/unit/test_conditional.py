"""Models that are told classes: what is judged with which label, and what becomes of examples without one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from genarena.data import Dataset, Loader
from genarena.errors import CapabilityError, UsageError
from genarena.fit import plan
from genarena.fitted import FittedModel, build
from genarena.kinds import kind_of
from genarena.models import MODELS
from genarena.nets.labelled import JointDiscriminator, ProjectionDiscriminator
from genarena.objectives.variational import kl_to_standard_normal
from genarena.trainer import CountedDraw, Progress, round_seed

CONDITIONAL = [name for name, model in MODELS.items() if model.conditional]
SMALL = {"latent_dim": 4, "batch_size": 16, "network": {"width": 8}}


def make(name: str, dataset: Dataset, **settings: Any) -> Any:
    model = MODELS[name]
    return build(model, model.Config.parse({**SMALL, **settings}), dataset.schema, 0)


def draw_of(dataset: Dataset) -> CountedDraw:
    normalise = kind_of(dataset.schema.target).normalise
    return CountedDraw(Loader(dataset, batch_size=16, seed=0, normalise=normalise), Progress())


def fitted(name: str, dataset: Dataset, **settings: Any) -> FittedModel:
    game = make(name, dataset, **settings)
    return FittedModel(game, plan(name, dataset, settings={**SMALL, **settings}).record)


def test_there_are_conditional_models_of_each_family() -> None:
    assert {"cgan", "cvae", "cvaegan"} <= set(CONDITIONAL)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_data_without_labels_are_refused(name: str, images: Dataset) -> None:
    fields = {"image": images.fields["image"]}
    with pytest.raises(UsageError, match="have no labels: sort images into class folders"):
        make(name, replace(images, fields=fields))


@pytest.mark.parametrize("name", ["cgan", "cvae", "cvaegan"])
def test_labels_are_drawn_as_often_as_the_data_have_them(name: str, images: Dataset) -> None:
    train = np.concatenate([np.flatnonzero(images.fields["label"].values == 0)[:6], images.splits["train"][:10]])
    label = images.fields["label"]
    spec = type(label.spec).of(label.spec.classes, label.values[train])  # type: ignore[union-attr]
    skewed = replace(images, fields={**images.fields, "label": replace(label, spec=spec)})
    z = make(name, skewed).latents(20_000, torch.Generator().manual_seed(0))
    found = z[:, -3:].mean(0)
    assert z.shape == (20_000, 4 + 3)
    assert torch.equal(z[:, -3:].sum(1), torch.ones(20_000))
    wanted = torch.tensor(spec.frequencies)
    assert (found - wanted).abs().max() < 4 * (0.25 / 20_000) ** 0.5


def test_a_hidden_class_is_never_drawn(images: Dataset) -> None:
    game = make("cgan", images.without_classes([1]))
    assert game.latents(5000, torch.Generator().manual_seed(0))[:, -2].sum() == 0


@pytest.mark.parametrize("condition", ["projection", "joint"])
def test_a_fake_keeps_its_label_in_both_turns_and_a_real_example_has_its_own(condition: str, images: Dataset) -> None:
    game, draw = make("cgan", images, condition=condition, penalty="none").train(), draw_of(images)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    logit = game.logit

    def spy(x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        assert y is not None
        seen.append((x.detach().clone(), y.clone()))
        return logit(x, y)

    game.logit = spy
    made: list[torch.Tensor] = []
    decode = game.decode
    game.decode = lambda z: (made.append(z), decode(z))[1]
    torch.manual_seed(round_seed(0, 0))
    for _ in game.play(draw):
        pass
    batch = draw_of(images)()
    (real, real_y), (fake, fake_y), (same, same_y) = seen
    assert torch.equal(real, batch.x)
    assert torch.equal(real_y.argmax(1), batch.label)  # type: ignore[arg-type]
    assert torch.equal(fake, same) and torch.equal(fake_y, same_y)
    assert torch.equal(fake_y, made[0][:, -3:])


def test_projection_is_the_inner_product_of_label_and_features(images: Dataset) -> None:
    """Miyato & Koyama 2018, eq. 3: f(x, y) = <V y, phi(x)> + psi(phi(x))."""
    game = make("cgan", images)
    net = game.discriminator
    assert isinstance(net, ProjectionDiscriminator)
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.eye(3)[torch.tensor([0, 1, 2, 1, 0])]
    top = net.hidden(x)[-1]
    phi = top.permute(0, 2, 3, 1).flatten(1)
    head: Any = net.net.head
    psi, vectors = head.weight[:1], head.weight[1:]
    expected = (phi @ psi.T).squeeze(1) + head.bias[0] + ((y @ vectors) * phi).sum(1) + y @ head.bias[1:]
    torch.testing.assert_close(game.logit(x, y), expected)


def test_the_joint_head_sees_the_label(images: Dataset) -> None:
    game = make("cgan", images, condition="joint")
    assert isinstance(game.discriminator, JointDiscriminator)
    x = torch.zeros(3, 1, 8, 8)
    assert len(set(game.logit(x, torch.eye(3)).tolist())) == 3
    assert game.discriminator.activation.negative_slope == 0.2


def test_a_spectral_norm_reaches_the_joint_head(images: Dataset) -> None:
    game = make("cgan", images, condition="joint", network={"discriminator_norm": "spectral"})
    weighted = [m for m in game.discriminator.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert {"label", "joint", "head"} <= {name for name, _ in game.discriminator.named_children()}
    assert all(parametrize.is_parametrized(module, "weight") for module in weighted)


def test_an_anomaly_is_judged_under_the_distribution_of_classes(images: Dataset) -> None:
    game = make("cgan", images)
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = torch.stack([game.logit(x, row.expand(4, -1)) for row in torch.eye(3)], 1)
    expected = -(logits.exp() * torch.tensor(images.schema.label.frequencies)).sum(1).log()  # type: ignore[union-attr]
    torch.testing.assert_close(game.anomaly_score(x), expected)


# -- the conditional VAE -------------------------------------------------------------------------------------------------


def test_the_bound_without_a_label_sums_over_all(images: Dataset) -> None:
    """p(x) = sum_y p(y) p(x | y), sample by sample of z."""
    game = make("cvae", images).eval()
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    noise = torch.randn(7, 5, 4, generator=torch.Generator().manual_seed(1))
    by_class = [game.log_weights(x, noise, row.expand(5, -1)) for row in torch.eye(3)]
    shares = images.schema.label.frequencies  # type: ignore[union-attr]
    joint = torch.stack([w + math.log(p) for w, p in zip(by_class, shares, strict=True)])
    torch.testing.assert_close(game.log_weights(x, noise), joint.logsumexp(0))
    # The decoder hears the class: else this test would say nothing.
    assert not torch.allclose(by_class[0], by_class[1])


def test_the_vae_is_trained_on_the_bound_given_the_label(images: Dataset) -> None:
    game, draw = make("cvae", images).train(), draw_of(images)
    heard: list[torch.Tensor] = []
    game.decoder.register_forward_hook(lambda _net, inputs, _output: heard.append(inputs[0]))
    game.loss(draw(), draw)
    assert torch.equal(heard[0][:, -3:].argmax(1), draw_of(images)().label)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cvae", "cvaegan"])
def test_an_example_without_a_label_gets_the_class_that_explains_it_best(name: str, images: Dataset) -> None:
    model = fitted(name, images)
    game: Any = model.model
    values = images.values("test")[:6]
    code = model.encode(values)
    assert code.shape == (6, 4 + 3)
    assert set(code[:, -3:].sum(1)) == {1.0}
    x = model.kind.normalise(model.kind.to_tensor(values), model.spec)

    # At the start all classes have the same prior, so the reconstruction alone decides.
    def error(y: torch.Tensor) -> torch.Tensor:
        decoded = game.decode(torch.cat([torch.from_numpy(code[:, :4]), y], 1))
        if name == "cvae":
            return (decoded - x).flatten(1).square().sum(1)
        return (game.features(decoded) - game.features(x)).flatten(1).square().sum(1)

    # The three classes are about as frequent as each other, and the errors at the start are far apart on that scale.
    game.frequencies.fill_(1 / 3)
    code = model.encode(values)
    errors = torch.stack([error(row.expand(6, -1)) for row in torch.eye(3)], 1)
    assert np.array_equal(code[:, -3:].argmax(1), errors.argmin(1).numpy())


def test_a_vaegan_explains_an_example_by_its_features_and_by_its_code(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """log N(D_l(x); D_l(x~), sigma^2) with the best sigma of each example, minus KL(q(z | x, y) || p(z | y))."""
    game: Any = make("cvaegan", images).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        game.class_prior.mean.normal_()
    x = torch.rand(5, *images.schema.target.shape) * 2 - 1
    found: list[torch.Tensor] = []
    by_class = game.by_class
    monkeypatch.setattr(
        game, "by_class", lambda n, f: (found.append(f(torch.eye(3)[[1]].expand(n, -1))), by_class(n, f))[1]
    )
    game.encode(x)
    y = torch.eye(3)[[1]].expand(5, -1)
    mean, log_variance = game.posterior(x, y)
    error = (game.features(x) - game.features(game.decode(torch.cat([mean, y], 1)))).flatten(1)
    likelihood = torch.distributions.Normal(0.0, (error.square().mean(1) + 1e-8).sqrt()[:, None]).log_prob(error).sum(1)
    constant = -0.5 * error.shape[1] * (1 + math.log(2 * math.pi))
    kl = kl_to_standard_normal(mean, log_variance).sum(1)
    assert float(kl.detach().max()) > 0.1
    torch.testing.assert_close(found[0], likelihood - constant - kl, rtol=1e-4, atol=1e-2)


def test_the_priors_of_classes_move_the_codes_and_not_the_reconstructions(images: Dataset) -> None:
    game: Any = make("cvaegan", images).eval()
    x, y = torch.rand(3, *images.schema.target.shape) * 2 - 1, torch.eye(3)
    mean, _ = game.posterior(x, y)
    before = game.decode(torch.cat([mean, y], 1))
    with torch.no_grad():
        game.class_prior.mean.normal_()
        game.class_prior.log_scale.normal_()
    moved, rescaled = game.posterior(x, y)
    assert not torch.allclose(moved, mean)
    # KL(N(a, b^2) || N(m, s^2)) is the same in every coordinate system.
    place, place_log_variance = game.posterior(x)
    q = torch.distributions.Normal(place, (0.5 * place_log_variance).exp())
    p = torch.distributions.Normal(game.class_prior.mean, game.class_prior.log_scale.exp())
    torch.testing.assert_close(kl_to_standard_normal(moved, rescaled), torch.distributions.kl_divergence(q, p))
    torch.testing.assert_close(game.decode(torch.cat([moved, y], 1)), before)


def test_the_class_priors_of_a_vaegan_learn_from_the_kl_term_alone(images: Dataset) -> None:
    game: Any = make("cvaegan", images).train()
    with torch.no_grad():
        game.class_prior.mean.normal_()
    assert all(p in set(game.parameters_of("encoder")) for p in game.class_prior.parameters())
    turn = next(game.play(draw_of(images)))
    gradients = {
        player: torch.autograd.grad(loss, list(game.class_prior.parameters()), retain_graph=True, allow_unused=True)
        for player, loss in turn.losses.items()
    }
    beta_kl = torch.autograd.grad(turn.terms["kl"], list(game.class_prior.parameters()), retain_graph=True)
    for found, expected in zip(gradients["encoder"], beta_kl, strict=True):
        # What is left of the distortion's part is rounding: the place that is decoded does not depend on the prior.
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


# -- asking for a class --------------------------------------------------------------------------------------------------


def test_a_gallery_shows_the_samples_class_by_class(images: Dataset) -> None:
    model = fitted("cgan", images)
    z = model.latents(12, seed=3)
    labels = z[:, -3:].argmax(1)
    assert len(set(labels)) > 1 and (np.diff(labels) < 0).any()
    wanted = np.concatenate([z[labels == label] for label in range(3)])
    assert np.array_equal(model.gallery(12, seed=3), model.decode(wanted))
    gan = fitted("gan", images)
    assert np.array_equal(gan.gallery(4, seed=3), gan.sample(4, seed=3))


@pytest.mark.parametrize("name", ["cgan", "cvae", "cvaegan"])
def test_a_class_is_asked_for_by_name_or_index(name: str, images: Dataset) -> None:
    model = fitted(name, images)
    classes = images.schema.label.classes  # type: ignore[union-attr]
    z = model.latents(5, seed=3, label=classes[2])
    assert np.array_equal(z, model.latents(5, seed=3, label=2))
    assert np.array_equal(z[:, :4], model.latents(5, seed=3)[:, :4])  # the noise is that of any other draw
    assert (z[:, 4:] == [0, 0, 1]).all()
    assert np.array_equal(model.sample(5, 3, label=2), model.decode(z))


def test_an_unknown_class_names_those_there_are(images: Dataset) -> None:
    with pytest.raises(UsageError, match="there is no class 'dog'; there are 3: 0, 1, 2"):
        fitted("cgan", images).sample(2, label="dog")


def test_a_model_without_classes_says_why(images: Dataset) -> None:
    with pytest.raises(CapabilityError, match="gan cannot condition: it is trained without labels"):
        fitted("gan", images).sample(2, label=1)


@pytest.mark.parametrize("truncation", [0.0, -1.0, float("nan")])
def test_a_truncation_that_is_not_positive_is_refused(truncation: float, images: Dataset) -> None:
    with pytest.raises(UsageError, match="give a positive number"):
        fitted("gan", images).sample(2, truncation=truncation)


def test_truncated_noise_is_drawn_again_and_not_clamped(images: Dataset) -> None:
    z = fitted("gan", images).latents(20_000, truncation=0.5)
    assert np.abs(z).max() <= 0.5
    assert (np.abs(z) > 0.499).mean() < 0.01  # clamping would leave 62 % there
    # Variance of a standard normal cut at +-a: 1 - 2 a phi(a) / (2 Phi(a) - 1).
    density, mass = math.exp(-0.125) / math.sqrt(2 * math.pi), math.erf(0.5 / math.sqrt(2))
    assert z.var() == pytest.approx(1 - density / mass, rel=0.02)


def test_truncation_moves_draws_towards_the_middle_and_keeps_their_order(images: Dataset) -> None:
    model = fitted("gan", images)
    plain = model.latents(5000, seed=3).ravel()
    for amount in (40.0, 2.0, 0.3, 1e-6, 1e-30):  # the last two would take ages to draw until they fit
        cut = model.latents(5000, seed=3, truncation=amount).ravel()
        assert np.abs(cut).max() <= amount and np.unique(cut).size > 0.9 * cut.size
        assert (np.sign(cut) == np.sign(plain)).all()
        assert (np.diff(cut[np.argsort(plain)]) >= 0).all()
        if amount == 40:
            assert np.allclose(cut, plain, rtol=1e-6)
    even = np.sort(cut / np.float64(amount))  # so near the middle the density is even
    assert np.abs(even - np.linspace(-1, 1, even.size)).max() < 0.03


def test_interpolation_mixes_classes_in_a_straight_line(images: Dataset) -> None:
    model = fitted("cgan", images)
    start, end = model.latents(2, 0, label=0), model.latents(2, 1, label=1)
    seen: list[np.ndarray] = []
    decode = model.decode
    model.decode = lambda z: (seen.append(z), decode(z))[1]  # type: ignore[method-assign]
    model.interpolate(start, end, 5, spherical=True)
    path = seen[0].reshape(2, 5, -1)
    assert np.allclose(path[:, :, 4:], [[1 - t, t, 0] for t in (0, 0.25, 0.5, 0.75, 1)])
    assert np.allclose(path[:, 0], start, atol=1e-5) and np.allclose(path[:, -1], end, atol=1e-5)


def test_arcs_join_draws_of_a_normal_prior_alone(images: Dataset) -> None:
    assert not make("gan", images).straight and not make("cvae", images).straight
    assert make("gan", images, prior="uniform").straight and make("dcgan", images).straight
    assert make("stylegan", images).straight
