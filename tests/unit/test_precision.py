"""Mixed precision rounds what is inside networks and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from genarena.data import Dataset
from genarena.errors import UsageError
from genarena.fit import fit, make_game, plan
from genarena.game import AdamConfig, AdamGame, OnePlayerGame
from genarena.nets import ConvEncoder
from genarena.nets.norm import spectral_norm
from genarena.objectives.adversarial import dragan_penalty, gradient_penalty, r1_penalty
from genarena.precision import mixed, products_in
from genarena.referee import Referee


@pytest.fixture
def net() -> ConvEncoder:
    torch.manual_seed(0)
    return ConvEncoder((1, 8, 8), 1, 8, "none", "leaky-relu")


def test_outputs_are_rounded_but_float32_and_hidden_maps_are_bfloat16(net: ConvEncoder) -> None:
    x = torch.randn(4, 1, 8, 8)
    exact = net(x)
    with products_in(torch.bfloat16):
        rounded, maps = net(x), net.hidden(x)
    assert rounded.dtype is torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02)
    assert {m.dtype for m in maps} == {torch.bfloat16}
    assert torch.equal(net(x), exact)  # the context ends


@pytest.mark.parametrize(
    "penalty",
    [
        lambda net, real, fake: r1_penalty(net, real),
        lambda net, real, fake: gradient_penalty(net, real, fake, torch.full((4,), 0.3)),
        lambda net, real, fake: dragan_penalty(net, real, torch.full_like(real, 0.3)),
    ],
    ids=["r1", "gradient", "dragan"],
)
def test_penalties_are_float32_throughout(penalty: Any, net: ConvEncoder) -> None:
    real, fake = torch.randn(2, 4, 1, 8, 8)
    exact = penalty(net, real, fake)
    with products_in(torch.bfloat16):
        assert torch.equal(penalty(net, real, fake), exact)


def test_the_path_length_penalty_is_float32(images: Dataset) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        settings = {"batch_size": 16, "precision": precision, "path_length_weight": 2.0, "path_length_every": 1}
        game: Any = make_game(plan("stylegan", images, settings=settings, device="cpu"))[0]
        draw: Any = type("Draw", (), {"batches": 4})()
        torch.manual_seed(0)
        with products_in(torch.bfloat16 if precision == "bfloat16" else torch.float32):
            found.append(game.generator_penalty(draw, torch.zeros(16, 1, 8, 8)))
    assert torch.equal(*found)


class Body(nn.Sequential):
    @mixed
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def test_singular_vectors_are_found_in_float32() -> None:
    layers = []
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        layer = spectral_norm(nn.Linear(8, 8))
        for _ in range(5):
            with products_in(precision):
                Body(layer)(torch.ones(1, 8))
        layers.append(layer)
    assert all(torch.equal(a, b) for a, b in zip(layers[0].buffers(), layers[1].buffers(), strict=True))


def test_a_model_is_served_in_float32(images: Dataset, tmp_path: Any) -> None:
    settings = {"batch_size": 16, "precision": "bfloat16", "network": {"width": 8}}
    fitted = fit(plan("gan", images, budget="1k images", settings=settings, device="cpu"), tmp_path, threads=1)
    z = torch.from_numpy(fitted.latents(4))
    images_given = fitted.model.decode(z)
    assert images_given.dtype is torch.float32
    assert len(images_given.detach().bfloat16().float().sub(images_given).nonzero()) > 0


class Plain(AdamGame, OnePlayerGame):
    """A model whose network says nothing of precision."""

    Config = AdamConfig
    players: ClassVar = {"net": ("net",)}

    def __init__(self, config: Any, schema: Any):
        super().__init__(config, schema)
        self.net = self.network()

    def network(self) -> nn.Module:
        return nn.Linear(4, 4)

    def loss(self, batch: Any, draw: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return (self.net(batch.x) - batch.x).square().mean(), {}


class Net(nn.Linear):
    @mixed
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Decorated(Plain):
    def network(self) -> nn.Module:
        return Net(4, 4)


def test_a_network_of_ones_own_takes_part_by_a_decorator_or_is_refused(vectors: Dataset) -> None:
    config = AdamConfig(precision="bfloat16")
    with pytest.raises(UsageError, match=r"genarena\.precision\.mixed"):
        Referee(Plain(config, vectors.schema))
    Referee(Decorated(config, vectors.schema))
