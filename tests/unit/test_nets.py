"""Networks: shapes for every size, spectral norm, batch norm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genarena import distributed
from genarena.data import ImageSpec, VectorSpec
from genarena.errors import UsageError
from genarena.kinds import NetworkConfig, images, vectors
from genarena.nets import BatchNorm, ConvDecoder, ConvEncoder
from genarena.nets.conv import pyramid

SIZES = [(8, 8), (9, 9), (13, 21), (28, 28), (32, 32), (64, 64), (28, 20)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("architecture", ["conv", "mlp"])
def test_shapes(size: tuple[int, int], channels: int, architecture) -> None:
    spec = ImageSpec(channels, *size)
    network = NetworkConfig(architecture=architecture, width=4)
    decoded = images.decoder(spec, 5, network)(torch.zeros(2, 5))
    assert decoded.shape == (2, *spec.shape)
    assert images.decoder(spec, 5, network, 7)(torch.zeros(2, 5)).shape == (2, 7 * channels, *size)
    encoder = images.encoder(spec, 6, network)
    assert encoder(decoded).shape == (2, 6)
    hidden = encoder.hidden(decoded)
    assert torch.equal(encoder.classify(hidden[-1]), encoder(decoded)) or encoder.training
    assert images.discriminator(spec, network)(decoded).shape == (2, 1)


@pytest.mark.parametrize("size", SIZES)
def test_the_smallest_map_is_small_and_never_empty(size: tuple[int, int]) -> None:
    smallest = pyramid(*size)[-1]
    assert 2 <= min(smallest) <= 7
    assert len(pyramid(*size)) >= 3


def test_every_part_of_an_image_is_seen_and_drawn() -> None:
    """Odd sizes crop the decoder and floor the encoder: no pixel may fall out of either."""
    encoder = ConvEncoder((1, 13, 21), 3, 4, "none", "silu")
    x = torch.zeros(1, 1, 13, 21, requires_grad=True)
    (seen,) = torch.autograd.grad(encoder(x).sum(), x)
    assert float((seen != 0).float().mean()) > 0.95
    decoder = ConvDecoder(3, (1, 13, 21), 4, "none", "silu")
    z = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    one, other = decoder(z).detach()
    assert (one != other).all()


def test_vectors_shapes_and_refusals() -> None:
    spec = VectorSpec(3, (0.0,) * 3, (1.0,) * 3)
    network = NetworkConfig(width=8)
    assert vectors.decoder(spec, 2, network)(torch.zeros(4, 2)).shape == (4, 3)
    assert vectors.encoder(spec, 5, network)(torch.zeros(4, 3)).shape == (4, 5)
    assert vectors.discriminator(spec, network)(torch.zeros(4, 3)).shape == (4, 1)
    for make in (vectors.encoder, vectors.decoder):
        with pytest.raises(UsageError, match="needs images"):
            make(spec, 2, NetworkConfig(architecture="conv"))
    with pytest.raises(UsageError, match="needs images"):
        vectors.discriminator(spec, NetworkConfig(architecture="conv"))


@pytest.mark.parametrize("architecture", ["conv", "mlp"])
def test_spectral_norm_leaves_a_largest_singular_value_of_one(architecture) -> None:
    torch.default_generator.manual_seed(0)
    network = NetworkConfig(architecture=architecture, width=8, discriminator_norm="spectral")
    net = images.discriminator(ImageSpec(1, 16, 16), network).train()
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert layers
    for _ in range(200):  # one power iteration each
        net(torch.zeros(1, 1, 16, 16))
    net.eval()
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        assert float(largest) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3, 4)])
def test_batch_norm_is_torchs_in_one_process(shape: tuple[int, ...]) -> None:
    ours = BatchNorm(5)
    theirs = nn.BatchNorm1d(5) if len(shape) == 2 else nn.BatchNorm2d(5)
    for seed in range(3):
        x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 2
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert torch.equal(ours.running_var, theirs.running_var)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    with pytest.raises(ValueError, match=r"expected \(N, C\)"):
        ours(torch.zeros(2, 5, 3))


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3, 4)])
def test_synchronised_batch_norm_computes_the_same(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of several processes, with a second one that holds the same batch: every mean is its own."""
    x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    twice = torch.cat([x, x]).requires_grad_(True)
    once = x.clone().requires_grad_(True)
    plain, synchronised = BatchNorm(5).double(), BatchNorm(5).double()
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = plain(twice)
    (expected * torch.cat([weights, weights])).mean().backward()
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "mean", lambda t: t)
    found = synchronised(once)
    (found * weights).mean().backward()
    assert torch.allclose(found, expected[: len(x)])
    assert torch.allclose(synchronised.running_mean, plain.running_mean)
    assert torch.allclose(synchronised.running_var, plain.running_var)
    assert torch.allclose(once.grad, 2 * twice.grad[: len(x)], atol=1e-9)
    assert torch.allclose(synchronised.weight.grad, plain.weight.grad)


def test_synchronised_batch_norm_survives_constant_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "mean", lambda t: t)
    assert torch.isfinite(BatchNorm(2)(torch.full((64, 2, 7, 7), 1234.567))).all()
