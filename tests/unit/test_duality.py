"""The duality gap and the fresh discriminator on games whose values are known: Gaussians against Gaussians."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genarena.data import Dataset, open_dataset
from genarena.duality import _Measure, _train, duality_gap, fresh_discriminator_accuracy
from genarena.errors import CapabilityError, UsageError
from genarena.fitted import FittedModel, build
from genarena.models import MODELS
from genarena.models.gan import GAN

GUESSING = -2 * math.log(2)
SHIFT = 1.5


class Shift(nn.Module):
    """Noise plus a number that is learned."""

    def __init__(self, shift: float):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, z: Tensor) -> Tensor:
        return z + self.shift


class Gaussian(GAN):
    """A generator of N(shift, 1), and a discriminator that begins by guessing."""

    shift = 0.0

    def make_generator(self) -> nn.Module:
        return Shift(self.shift)

    def make_discriminator(self, outputs: int = 1) -> nn.Module:
        network = super().make_discriminator(outputs)
        nn.init.zeros_(network.head.weight)  # type: ignore[union-attr, arg-type]
        nn.init.zeros_(network.head.bias)  # type: ignore[union-attr, arg-type]
        return network


class Shifted(Gaussian):
    shift = SHIFT


@pytest.fixture(scope="module")
def normal() -> Dataset:
    """Standard normal numbers in 12,000 rows."""
    return open_dataset(np.random.default_rng(0).normal(size=(12_000, 1)).astype(np.float32))


def fitted(model: type[GAN], dataset: Dataset, **settings: Any) -> FittedModel:
    options = {"latent_dim": 1, "network": {"width": 32, "depth": 1}, "batch_size": 256, **settings}
    game = build(model, model.Config.parse(options), dataset.schema, 0)
    return FittedModel(game, {"model": model.__name__})


def jensen_shannon(shift: float) -> float:
    """Of N(0, 1) and N(shift, 1) in nats, by summation."""
    x = np.linspace(-12, 12 + shift, 200_001)
    p, q = (np.exp(-0.5 * np.square(x - m)) / math.sqrt(2 * math.pi) for m in (0.0, shift))
    m = 0.5 * (p + q)
    step = x[1] - x[0]
    return float(0.5 * step * (p * np.log((p + 1e-300) / m) + q * np.log((q + 1e-300) / m)).sum())


def test_at_the_equilibrium_the_gap_is_zero_and_the_accuracy_one_half(normal: Dataset) -> None:
    found = duality_gap(fitted(Gaussian, normal), normal, inner_steps=100, seed=1)
    assert found.value == pytest.approx(GUESSING, abs=1e-6)
    assert found.worst_generator == pytest.approx(
        GUESSING, abs=1e-6
    )  # a discriminator that guesses cannot be fooled more
    assert found.gap == pytest.approx(0, abs=0.02)
    assert fresh_discriminator_accuracy(fitted(Gaussian, normal), normal, steps=100, seed=1) == pytest.approx(
        0.5, abs=0.03
    )


def test_a_shifted_generator_has_the_gap_and_the_accuracy_of_theory(normal: Dataset) -> None:
    """max_D V = -2 log 2 + 2 JSD (Goodfellow et al. 2014, eq. 6), and Bayes' rule errs on either side of the middle."""
    found = duality_gap(fitted(Shifted, normal), normal, inner_steps=200, seed=1)
    assert found.gap == pytest.approx(2 * jensen_shannon(SHIFT), abs=0.05)
    assert found.gap == found.worst_discriminator - found.worst_generator
    bayes = 0.5 * (1 + math.erf(SHIFT / 2 / math.sqrt(2)))
    accuracy = fresh_discriminator_accuracy(fitted(Shifted, normal), normal, steps=200, seed=1)
    assert accuracy == pytest.approx(bayes, abs=0.03)


def test_a_generator_can_be_the_one_that_is_worse_off(normal: Dataset) -> None:
    """Against a discriminator with d(x) = -x a generator lowers V by moving left."""
    found = duality_gap(fitted(Sloped, normal, learning_rate=0.02), normal, inner_steps=50, seed=1)
    assert found.worst_generator < found.value - 0.2


class Slope(nn.Module):
    """d(x) = -w x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def hidden(self, x: Tensor) -> list[Tensor]:
        return [x]

    def classify(self, top: Tensor) -> Tensor:
        return -self.weight * top


class Sloped(Gaussian):
    def make_discriminator(self, outputs: int = 1) -> nn.Module:
        return Slope()


def test_the_model_stays_as_it_was_and_seeds_decide(normal: Dataset) -> None:
    model = fitted(Shifted, normal)
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = (duality_gap(model, normal, inner_steps=5, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    accuracies = [fresh_discriminator_accuracy(model, normal, steps=5, seed=seed) for seed in (3, 3, 4)]
    assert accuracies[0] == accuracies[1] != accuracies[2]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.model.state_dict().items())
    assert not model.model.training and not any(p.requires_grad for p in model.model.parameters())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gan", {"packing": 2}),
        ("gan", {"network": {"discriminator_norm": "spectral", "decoder_norm": "batch"}}),
        ("cgan", {}),
        ("vaegan", {"loss": "minimax"}),
        ("stylegan", {"network": {"w_dim": 6, "depth": 1}}),  # whose samples are made from styles and not from noise
    ],
)
def test_games_of_several_kinds_have_both(images: Dataset, name: str, settings: dict[str, Any]) -> None:
    options = {"batch_size": 16, "latent_dim": 4, **settings}
    mlp = {} if name == "stylegan" else {"architecture": "mlp"}
    options["network"] = {**mlp, "width": 16, **settings.get("network", {})}
    model = MODELS[name]
    trained = FittedModel(build(model, model.Config.parse(options), images.schema, 0), {"model": name})
    assert math.isfinite(duality_gap(trained, images, inner_steps=3).gap)
    assert 0 <= fresh_discriminator_accuracy(trained, images, steps=3) <= 1


def test_what_has_no_value_is_refused_with_the_reason(images: Dataset, normal: Dataset) -> None:
    def model(name: str, **settings: Any) -> FittedModel:
        game = MODELS[name]
        return FittedModel(build(game, game.Config.parse(settings), images.schema, 0), {"model": name})

    for measure in (duality_gap, fresh_discriminator_accuracy):
        with pytest.raises(CapabilityError, match=r"vae .* no game of a generator and a discriminator"):
            measure(model("vae"), images, 5)
        with pytest.raises(CapabilityError, match="with loss=hinge the discriminator estimates no probability"):
            measure(model("gan", loss="hinge"), images, 5)
        with pytest.raises(UsageError, match="a whole number from 1 up"):
            measure(model("gan"), images, 0)
        with pytest.raises(UsageError, match="examples of shape"):
            measure(model("gan"), normal, 5)


def test_opponents_are_compared_and_measured_in_eval_mode(images: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch norm in train mode would judge by the batch, and remember what it was measured on."""
    seen: dict[bool, set[bool]] = {True: set(), False: set()}
    logit = GAN.logit

    def watched(self: Any, x: Tensor, y: Tensor | None = None) -> Tensor:
        seen[torch.is_grad_enabled()].add(self.discriminator.training)
        return logit(self, x, y)

    monkeypatch.setattr(GAN, "logit", watched)
    network = {"architecture": "mlp", "width": 16, "discriminator_norm": "batch"}
    config = GAN.Config.parse({"batch_size": 16, "latent_dim": 4, "network": network})
    duality_gap(FittedModel(build(GAN, config, images.schema, 0), {"model": "gan"}), images, inner_steps=3)
    assert seen[False] == {False} and True in seen[True]


def test_opponents_are_chosen_on_the_val_split_and_measured_on_the_test_split(
    normal: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    logits = _Measure.logits
    monkeypatch.setattr(
        _Measure, "logits", lambda self, game, split: (seen.append(split), logits(self, game, split))[1]
    )
    duality_gap(fitted(Gaussian, normal), normal, inner_steps=2)
    assert seen == ["val"] * 6 + ["test"] * 3  # two opponents, at the start and after each of two steps
    seen.clear()
    fresh_discriminator_accuracy(fitted(Gaussian, normal), normal, steps=2)
    assert seen == ["val"] * 3 + ["test"]


@pytest.mark.parametrize(("player", "sign"), [("discriminator", 1), ("generator", -1)])
def test_the_strongest_opponent_counts_and_not_the_last(
    player: str, sign: int, normal: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(Shifted, normal)
    nn.init.ones_(model.model.discriminator.head.weight)  # type: ignore[union-attr, arg-type]

    def trained(steps: int, strengths: list[float]) -> dict[str, Tensor]:
        values = iter(strengths)
        monkeypatch.setattr(_Measure, "value", lambda self, game, split: sign * next(values))
        game: Any = model.model
        return _train(game, player, _Measure(model, normal, 0), steps).state_dict()

    best, whole, start = trained(2, [0, 1, 2]), trained(4, [0, 1, 3, 2, 1]), trained(2, [3, 2, 1])
    assert all(torch.equal(best[name], whole[name]) for name in best)
    assert all(torch.equal(start[name], tensor) for name, tensor in model.model.state_dict().items())
    assert any(not torch.equal(best[name], start[name]) for name in best)


def test_the_opponents_of_a_stylegan_learn_on_its_samples(images: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["stylegan"]
    config = model.Config.parse({"batch_size": 16, "network": {"width": 4, "w_dim": 8, "channel_max": 8}})
    game: Any = build(model, config, images.schema, 0)
    mapped: list[Tensor] = []
    styles, decode = model.styles, model.decode  # type: ignore[attr-defined]
    monkeypatch.setattr(model, "styles", lambda self, z: (mapped.append(w := styles(self, z)), w)[1])
    monkeypatch.setattr(model, "decode", lambda self, z: (decoded.append(z), decode(self, z))[1])
    decoded: list[Tensor] = []
    fresh_discriminator_accuracy(FittedModel(game, {"model": "stylegan"}), images, steps=3)
    assert decoded and len(decoded) == len(mapped)
    assert all(torch.equal(a, b) for a, b in zip(decoded, mapped, strict=True))
