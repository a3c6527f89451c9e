"""The five architecture guidelines of Radford et al. 2016 (section 3), proved on the nets that are built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from genarena.data import ImageSpec, Schema, VectorSpec
from genarena.errors import UsageError
from genarena.fitted import build
from genarena.models.dcgan import DCGAN
from genarena.models.gan import GAN

SIZES = (16, 28, 32, 64)


def schema_of(size: int, channels: int = 3) -> Schema:
    return Schema({"image": ImageSpec(channels, size, size)}, {"image": "target"})


def dcgan(size: int, **settings: Any) -> Any:
    return build(DCGAN, DCGAN.Config.parse(settings), schema_of(size), 0)


def calls(net: nn.Module, example: torch.Tensor) -> list[nn.Module]:
    """Every elementary module of a net in the order in which an example passes it."""
    order: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda m, _in, _out: order.append(m))
        for module in net.modules()
        if not list(module.children())
    ]
    with torch.no_grad():
        net(example)
    for handle in handles:
        handle.remove()
    return [m for m in order if not isinstance(m, nn.Identity)]


def violations(game: Any, size: int) -> list[str]:
    """The guidelines a GAN's nets break, by number."""
    generator = calls(game.generator, torch.zeros(2, game.latent_dim))
    discriminator = calls(game.discriminator, torch.zeros(2, 3, size, size))
    convolutions = [m for m in generator + discriminator if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    found = []
    pools = any("Pool" in type(m).__name__ or "Upsample" in type(m).__name__ for m in generator + discriminator)
    if pools or any(m.stride != (2, 2) for m in convolutions):
        found.append("1: strides instead of pooling and upsampling")
    weighted = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

    def normed(order: list[nn.Module]) -> list[bool]:
        places = [i for i, m in enumerate(order) if isinstance(m, weighted)]
        return [i + 1 < len(order) and isinstance(order[i + 1], nn.BatchNorm2d) for i in places]

    in_generator, in_discriminator = normed(generator), normed(discriminator)
    # The discriminator's last layer gives the logit itself: nothing is left to normalise.
    expected = [True] * (len(in_generator) - 1) + [False], [False, *[True] * (len(in_discriminator) - 2), False]
    if (in_generator, in_discriminator) != expected:
        found.append("2: batch norm everywhere but the generator's output and the discriminator's input")
    linear = [[i for i, m in enumerate(o) if isinstance(m, nn.Linear)] for o in (generator, discriminator)]
    if linear != [[0], [len(discriminator) - 1]]:
        found.append("3: no fully connected hidden layers")
    activations = [m for m in generator if not isinstance(m, (*weighted, nn.BatchNorm2d))]
    squashed = torch.equal(game.kind.squash(torch.tensor([0.5])), torch.tensor([0.5]).tanh())
    if not all(type(m) is nn.ReLU for m in activations) or len(activations) != len(in_generator) - 1 or not squashed:
        found.append("4: ReLU in the generator, tanh on its output")
    leaky = [m for m in discriminator if not isinstance(m, (*weighted, nn.BatchNorm2d))]
    if any(not isinstance(m, nn.LeakyReLU) or m.negative_slope != 0.2 for m in leaky):
        found.append("5: LeakyReLU with slope 0.2 in the discriminator")
    return found


@pytest.mark.parametrize("size", SIZES)
def test_the_five_guidelines(size: int) -> None:
    assert violations(dcgan(size), size) == []


def test_the_checker_sees_what_is_wrong() -> None:
    broken = [
        {"network": {"discriminator_norm": "none"}},
        {"network": {"decoder_norm": "none"}},
        {"network": {"activation": "silu"}},
    ]
    found = ["".join(v[0] for v in violations(dcgan(16, **settings), 16)) for settings in broken]
    assert found == ["2", "2", "4"]
    connected = build(GAN, GAN.Config.parse({"network": {"architecture": "mlp"}}), schema_of(16), 0)
    assert "3" in [v[0] for v in violations(connected, 16)]
    plain = build(GAN, GAN.Config.parse({}), schema_of(16), 0)
    assert [v[0] for v in violations(plain, 16)] == ["2"]


@pytest.mark.parametrize("size", SIZES)
def test_weights_start_from_the_papers_normal(size: int) -> None:
    game = dcgan(size, network={"width": 32}).requires_grad_(False)
    weights = torch.cat([m.weight.flatten() for m in game.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.03)
    assert float(weights.mean()) == pytest.approx(0, abs=1e-3)
    scales = torch.cat([m.weight for m in game.modules() if isinstance(m, nn.BatchNorm2d)])
    assert float(scales.mean()) == pytest.approx(1, abs=0.01)


def test_under_a_spectral_norm_the_weights_that_are_learned_start_as_small() -> None:
    net = dcgan(32, network={"discriminator_norm": "spectral"}).discriminator
    originals = [weight for name, weight in net.named_parameters() if name.endswith("original")]
    assert len(originals) == len(net.layers) + 1
    assert all(float(weight.detach().std()) == pytest.approx(0.02, rel=0.1) for weight in originals)
    for layer in (*net.eval().layers, net.head):  # and what is used of them has norm one from the start
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, rel=0.05)


def test_settings_are_the_papers() -> None:
    config = DCGAN.Config.parse({})
    assert (config.learning_rate, config.betas[0], config.batch_size, config.latent_dim) == (2e-4, 0.5, 128, 100)
    assert (config.prior, config.penalty, config.loss) == ("uniform", "none", "non-saturating")


def test_a_changed_width_keeps_the_papers_norm() -> None:
    assert violations(dcgan(16, network={"width": 8}), 16) == []


def test_noise_is_uniform() -> None:
    z = dcgan(16).latents(2000, torch.Generator().manual_seed(0))
    assert z.shape == (2000, 100)
    assert float(z.min()) >= -1 and float(z.max()) <= 1
    assert float(z.var()) == pytest.approx(1 / 3, rel=0.02)


def test_rows_and_fully_connected_nets_are_refused() -> None:
    rows = Schema({"x": VectorSpec(2, (0.0, 0.0), (1.0, 1.0))}, {"x": "target"})
    with pytest.raises(UsageError, match="use 'gan' for"):
        build(DCGAN, DCGAN.Config.parse({}), rows, 0)
    with pytest.raises(UsageError, match="use 'gan' for"):
        dcgan(16, network={"architecture": "mlp"})
