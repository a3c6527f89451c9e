"""Layers that look across the batch: their equations, and who has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genarena import distributed
from genarena.data import Dataset, ImageSpec, Loader, VectorSpec
from genarena.errors import UsageError
from genarena.fitted import build
from genarena.kinds import NetworkConfig, images, kind_of, vectors
from genarena.models import MODELS
from genarena.nets.minibatch import KERNELS, MinibatchDiscrimination, MinibatchStddev, minibatch_stddev
from genarena.objectives.adversarial import r1_penalty
from genarena.referee import Referee
from genarena.trainer import CountedDraw, Progress, round_seed

NAMES = ("stddev", "discrimination")
IMAGE, VECTOR = ImageSpec(1, 8, 8), VectorSpec(3, (0.0,) * 3, (1.0,) * 3)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.default_generator.manual_seed(0)


# -- standard deviation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "size"), [(8, 4), (4, 4), (6, 3), (9, 3), (10, 2), (2, 2), (7, 1), (1, 1)])
@pytest.mark.parametrize("rest", [(5,), (3, 2, 4)])
def test_the_deviation_of_groups_of_neighbours(n: int, size: int, rest: tuple[int, ...]) -> None:
    x = noise(n, *rest)
    found = minibatch_stddev(x)
    assert found.shape == (n, rest[0] + 1, *rest[1:])
    assert torch.equal(found[:, :-1], x)
    for start in range(0, n, size):
        expected = np.sqrt(x[start : start + size].numpy().var(0) + 1e-8).mean()
        assert found[start : start + size, -1].numpy() == pytest.approx(np.full((size, *rest[1:]), expected))


def test_groups_are_of_the_size_asked_for() -> None:
    x = noise(6, 5)
    assert torch.allclose(minibatch_stddev(x, 6)[:, -1], x.std(0, correction=0).mean())


def test_examples_that_are_the_same_deviate_by_nothing_and_give_no_nan() -> None:
    for x in (noise(1, 3, 2, 2), noise(1, 5).repeat(4, 1)):
        x = x.requires_grad_(True)
        found = minibatch_stddev(x)
        assert found[:, -1].detach().abs().max() <= 1.0001e-4  # the root of its epsilon
        (slope,) = torch.autograd.grad(found[:, -1].sum(), x, create_graph=True)
        assert torch.equal(slope, torch.zeros_like(x))


def test_processes_with_whole_groups_equal_one() -> None:
    x = noise(16, 5)
    assert torch.equal(torch.cat([minibatch_stddev(half) for half in x.chunk(2)]), minibatch_stddev(x))


# -- discrimination ----------------------------------------------------------------------------------------------------


def test_minibatch_discrimination_by_hand() -> None:
    layer = MinibatchDiscrimination(6, kernels=3, dimensions=2).double()
    x = noise(5, 6)
    found = layer(x).detach()
    m = (x @ layer.project.weight.detach().T).view(5, 3, 2)
    for i in range(5):
        for b in range(3):
            others = [float((-(m[i, b] - m[j, b]).abs().sum()).exp()) for j in range(5) if j != i]
            assert float(found[i, 6 + b]) == pytest.approx(sum(others) / 4)
    assert torch.equal(found[:, :6], x)


def test_closeness_to_copies_and_to_nobody() -> None:
    layer = MinibatchDiscrimination(6).double()
    copies = layer(noise(1, 6).repeat(4, 1)).detach()[:, 6:]
    assert torch.allclose(copies, torch.ones(4, KERNELS, dtype=torch.float64))
    alone = noise(1, 6).requires_grad_(True)
    found = layer(alone)[:, 6:]
    assert torch.equal(found.detach(), torch.zeros(1, KERNELS, dtype=torch.float64))
    (slope,) = torch.autograd.grad(found.sum(), alone)
    assert torch.equal(slope, torch.zeros_like(slope))


def test_discrimination_over_two_processes_equals_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = MinibatchDiscrimination(6, kernels=3, dimensions=2).double().train()
    x = noise(8, 6)
    whole = layer(x)
    sent: list[Tensor] = []

    def send(tensor: Tensor) -> Tensor:
        if tensor.requires_grad:  # and not the mean that is remembered
            sent.append(tensor)
        return tensor

    def receive(tensor: Tensor) -> Tensor:
        return (sent[0] + sent[1]) / 2 if tensor.requires_grad else tensor

    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "mean", send)
    for rank, half in enumerate(x.chunk(2)):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        layer(half)
    monkeypatch.setattr(distributed, "mean", receive)
    found = torch.cat([layer(half) for half in x.chunk(2)])
    assert torch.allclose(found, whole)
    weights = noise(8, 9, seed=1)
    slopes = [torch.autograd.grad((y * weights).sum(), layer.project.weight)[0] for y in (found, whole)]
    assert torch.allclose(*slopes)


@pytest.mark.parametrize("shape", [(5, 4), (4, 2, 2, 3)])
def test_gradients_of_first_and_second_order(shape: Any) -> None:
    layer = MinibatchDiscrimination(4, kernels=2, dimensions=3).double() if len(shape) == 2 else None
    for function in filter(None, (minibatch_stddev, layer)):
        x = noise(*shape).requires_grad_(True)
        assert torch.autograd.gradcheck(function, x)
        assert torch.autograd.gradgradcheck(function, x)


# -- outside training --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (MinibatchStddev(), (8, 5)),
        (MinibatchStddev(), (8, 5, 2, 2)),
        (MinibatchDiscrimination(5, kernels=3, dimensions=2), (8, 5)),
    ],
)
def test_outside_training_an_example_is_told_what_it_is_usually_told(layer: Any, shape: tuple[int, ...]) -> None:
    layer = layer.double().train()
    x, y = noise(*shape), noise(*shape, seed=1)
    first, second = (layer(v)[:, 5:].detach() for v in (x, y))
    expected = (0.99 * 0.01 * first.mean(0) + 0.01 * second.mean(0)).expand_as(first)
    found = layer.eval()(x)
    assert torch.equal(found[:, :5], x)
    assert torch.allclose(found[:, 5:], expected)
    assert torch.equal(layer(x[:1]), found[:1])
    assert torch.equal(layer(y)[:, 5:], found[:, 5:])  # nothing is remembered of what is shown now


@pytest.mark.parametrize("minibatch", NAMES)
def test_scores_do_not_depend_on_the_examples_beside(minibatch: str, images: Dataset) -> None:
    settings = {"batch_size": 16, "latent_dim": 4, "network": {"width": 8, "discriminator_minibatch": minibatch}}
    game: Any = build(MODELS["gan"], MODELS["gan"].Config.parse(settings), images.schema, 0)
    referee, draw = (
        Referee(game.train()),
        CountedDraw(
            Loader(images, batch_size=16, seed=0, normalise=kind_of(images.schema.target).normalise), Progress()
        ),
    )
    for number in range(3):
        torch.manual_seed(round_seed(0, number))
        referee.play_round(draw)
    x = draw().x
    together = game.eval().anomaly_score(x)
    assert together.std() > 0
    alone = torch.cat([game.anomaly_score(row) for row in x.split(1)])
    torch.testing.assert_close(alone, together)


@pytest.mark.parametrize(("batch", "packing"), [(61, 1), (1, 1), (14, 2), (20, 4)])
def test_batches_that_have_no_groups_are_refused(batch: int, packing: int) -> None:
    settings = {"batch_size": batch, "packing": packing}
    with pytest.raises(UsageError, match="its discriminator compares"):
        MODELS["gan"].Config.parse({**settings, "network": {"discriminator_minibatch": "stddev"}})
    with pytest.raises(UsageError, match="its discriminator compares"):
        MODELS["stylegan"].Config.parse(settings)


# -- discriminators that have them -------------------------------------------------------------------------------------


def discriminator_of(case: str, minibatch: str, norm: str = "none", outputs: int = 1) -> Any:
    architecture = "mlp" if case == "vectors" else case
    network = NetworkConfig(
        architecture=architecture, width=4, discriminator_minibatch=minibatch, discriminator_norm=norm
    )
    if case == "vectors":
        return vectors.discriminator(VECTOR, network, outputs).double()
    return images.discriminator(IMAGE, network, outputs).double()


def examples(case: str, n: int, seed: int = 0) -> Tensor:
    return noise(n, *(VECTOR.shape if case == "vectors" else IMAGE.shape), seed=seed)


cases = pytest.mark.parametrize("case", ["conv", "mlp", "vectors"])


@cases
@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
@pytest.mark.parametrize("minibatch", NAMES)
def test_a_discriminator_sees_the_rest_of_the_batch(case: str, norm: str, minibatch: str) -> None:
    net = discriminator_of(case, minibatch, norm, 3).train()
    net(examples(case, 8))
    net.eval().minibatch.train()
    x, others = examples(case, 4), examples(case, 4, seed=1)
    beside = torch.cat([x[:1], others[1:]])
    assert net(x).shape == (4, 3)
    assert not torch.allclose(net(x)[0], net(beside)[0])
    assert torch.allclose(net.hidden(x)[-1][0], net.hidden(beside)[-1][0])  # features are an example's own
    assert torch.isfinite(net(x[:1])).all()
    net.eval()
    assert torch.allclose(net(x)[0], net(beside)[0])  # outside training, so is its judgement


@cases
def test_without_them_nothing_is_different(case: str) -> None:
    plain = discriminator_of(case, "none")
    assert not [name for name in plain.state_dict() if "minibatch" in name]
    torch.default_generator.manual_seed(0)
    other = discriminator_of(case, "stddev")
    body = [name for name in plain.state_dict() if not name.startswith("head")]
    assert all(torch.equal(plain.state_dict()[name], other.state_dict()[name]) for name in body)
    x = examples(case, 4)
    assert torch.equal(plain(x), plain.head(plain.hidden(x)[-1].movedim(1, -1).flatten(1)))


def test_encoders_never_have_them() -> None:
    network = NetworkConfig(width=4, discriminator_minibatch="discrimination")
    for kind, spec in ((images, IMAGE), (vectors, VECTOR)):
        assert not [name for name in kind.encoder(spec, 2, network).state_dict() if "minibatch" in name]


@pytest.mark.parametrize("minibatch", NAMES)
def test_a_gradient_penalty_is_finite_on_a_batch_of_one(minibatch: str) -> None:
    net = discriminator_of("conv", minibatch)
    penalty = r1_penalty(lambda x: net(x).squeeze(1), examples("conv", 1))
    slopes = torch.autograd.grad(penalty, list(net.parameters()), allow_unused=True)
    assert all(torch.isfinite(slope).all() for slope in slopes if slope is not None)


@pytest.mark.parametrize("name", ["gan", "cgan", "vaegan"])
@pytest.mark.parametrize("minibatch", NAMES)
def test_games_play_with_them(name: str, minibatch: str, images: Dataset) -> None:
    settings = {"batch_size": 16, "latent_dim": 4, "network": {"width": 8, "discriminator_minibatch": minibatch}}
    model = MODELS[name]
    game: Any = build(model, model.Config.parse(settings), images.schema, 0)
    normalise = kind_of(images.schema.target).normalise
    draw = CountedDraw(Loader(images, batch_size=16, seed=0, normalise=normalise), Progress())
    referee = Referee(game.train())
    before = {k: v.clone() for k, v in game.discriminator.state_dict().items()}
    for number in range(4):
        torch.manual_seed(round_seed(0, number))
        result = referee.play_round(draw)
        assert all(torch.isfinite(loss) for loss in result.losses.values())
    assert all(not torch.equal(v, before[k]) for k, v in game.discriminator.state_dict().items())
