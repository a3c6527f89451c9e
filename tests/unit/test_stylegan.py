"""StyleGAN's layers, penalties and styles against independent computations (Karras et al. 2019, 2020)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import upfirdn
from torch import Tensor, nn

from genarena.data import Batch, ImageSpec, Schema, VectorSpec
from genarena.errors import UsageError
from genarena.fitted import build
from genarena.models import stylegan as module
from genarena.models.stylegan import StyleGAN, path_lengths
from genarena.nets import stylegan_layers as layers
from genarena.nets.stylegan import Discriminator, Generator
from genarena.nets.stylegan_layers import (
    GAIN,
    AdaptiveLayer,
    Convolution,
    EqualisedLinear,
    ModulatedConvolution,
    ModulatedLayer,
    downsample,
    rectify,
    upsample,
)
from genarena.referee import Referee

SMALL = {"batch_size": 8, "network": {"width": 4, "channel_max": 8, "w_dim": 6, "depth": 2}}
TAPS = np.array([1, 3, 3, 1]) / 8


def schema_of(size: int, channels: int = 1) -> Schema:
    return Schema({"image": ImageSpec(channels, size, size)}, {"image": "target"})


def stylegan(size: int = 8, channels: int = 1, **settings: Any) -> Any:
    return build(StyleGAN, StyleGAN.Config.parse({**SMALL, **settings}), schema_of(size, channels), 0)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Images:
    """Draws batches of noise."""

    def __init__(self, size: int, batch_size: int = 8, channels: int = 1):
        self.shape, self.schema = (batch_size, channels, size, size), schema_of(size, channels)
        self.images = self.batches = 0

    def __call__(self) -> Batch:
        self.images += self.shape[0]
        self.batches += 1
        return Batch({"image": noise(*self.shape, seed=self.batches, dtype=torch.float32).tanh()}, self.schema)


# -- networks of the authors' size -------------------------------------------------------------------------------------


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_config_f_has_as_many_parameters_as_the_authors_report() -> None:
    with torch.device("meta"):
        game: Any = build(StyleGAN, StyleGAN.Config.parse({}), schema_of(1024, 3), 0)
    assert game.config.network.model_dump() == {"width": 32, "channel_max": 512, "w_dim": 512, "depth": 8}
    assert (game.latent_dim, game.generator.layers) == (512, 18)
    assert count(game.generator) == 30_370_060
    assert count(game.discriminator) == 29_012_513


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("size", [8, 32])
def test_networks_make_images_and_judge_them(size: int, generation: int) -> None:
    game = stylegan(size, 3, generation=generation)
    w = game.latents(5, torch.Generator().manual_seed(0))
    assert w.shape == (5, 6)
    images = game.decode(w)
    assert images.shape == (5, 3, size, size)
    assert float(images.detach().abs().max()) <= 1
    hidden = game.hidden(images)
    assert len(hidden) == len(game.discriminator.layers)
    assert hidden[-1].shape == (5, 8, 4, 4)
    assert game.logit(images).shape == (5,)


def test_equalised_weights_start_normal_and_keep_the_scale_of_what_passes() -> None:
    torch.manual_seed(0)
    layer = EqualisedLinear(400, 300, rate=0.01, gain=GAIN).requires_grad_(False)
    assert float(layer.weight.std()) == pytest.approx(100, rel=0.01)
    assert float(layer(noise(1000, 400, seed=1, dtype=torch.float32)).std()) == pytest.approx(GAIN, rel=0.02)
    convolution = Convolution(64, 64, 3).requires_grad_(False)
    assert float(convolution.weight.std()) == pytest.approx(1, rel=0.02)
    assert float(
        convolution(noise(8, 64, 16, 16, seed=1, dtype=torch.float32))[..., 1:-1, 1:-1].std()
    ) == pytest.approx(1, rel=0.05)


def test_noise_is_brought_to_one_length_before_it_is_mapped() -> None:
    game = stylegan()
    z = noise(5, 6, dtype=torch.float32)
    torch.testing.assert_close(game.styles(3 * z), game.styles(z))


def test_the_gain_of_a_layer_is_on_weights_and_bias_alike() -> None:
    """lrelu(g (W x + b)) = g lrelu(W x + b): what is scaled without its bias is another layer."""
    x, flat = noise(2, 4, 8, 8), noise(2, 4)
    for plain, scaled, seen in (
        (EqualisedLinear(4, 3, bias=2.0, rate=0.01), EqualisedLinear(4, 3, bias=2.0, rate=0.01, gain=GAIN), flat),
        *(
            (Convolution(4, 3, 3, resample=way), Convolution(4, 3, 3, resample=way, gain=GAIN), x)  # type: ignore[arg-type]
            for way in ("keep", "up", "down")
        ),
    ):
        nn.init.normal_(plain.bias)
        plain, scaled = plain.double(), scaled.double()
        scaled.load_state_dict(plain.state_dict())
        torch.testing.assert_close(scaled(seen), GAIN * plain(seen))
    started = EqualisedLinear(4, 3, bias=2.0, rate=0.01, gain=GAIN)
    torch.testing.assert_close(started(torch.zeros(1, 4)), torch.full((1, 3), 2 * GAIN))


def test_the_rectifier_and_the_gain_of_what_it_follows() -> None:
    assert torch.equal(rectify(torch.tensor([-1.0, 2.0])), torch.tensor([-0.2, 2.0]))
    judge = Discriminator(8, 1, width=4, channel_max=8)
    assert judge.dense.scale == pytest.approx(GAIN / (8 * 16) ** 0.5)
    assert judge.last.gain == judge.stem.gain == judge.layers[0].first.gain == GAIN
    assert judge.layers[0].second.gain == pytest.approx(1) and judge.layers[0].skip[1].gain == pytest.approx(0.5**0.5)


def test_an_image_is_the_sum_of_rgb_outputs_of_all_resolutions() -> None:
    synthesis = stylegan(16).generator.synthesis
    rgb: list[Tensor] = []
    for layer in synthesis.to_rgb:
        layer.register_forward_hook(lambda _net, _inputs, output: rgb.append(output))
    image = synthesis(noise(2, 6, dtype=torch.float32))
    double = synthesis.upsample
    torch.testing.assert_close(image, double(double(rgb[0]) + rgb[1]) + rgb[2])


def test_a_step_moves_the_mapping_a_hundred_times_less() -> None:
    layer, slow = EqualisedLinear(4, 3), EqualisedLinear(4, 3, rate=0.01)
    with torch.no_grad():
        slow.weight.copy_(layer.weight * 100)
    x = noise(5, 4, dtype=torch.float32)
    before = layer(x).detach()
    assert torch.allclose(slow(x), before, atol=1e-6)
    with torch.no_grad():
        for net in (layer, slow):
            net.weight.add_(0.01)
    moved, moved_slowly = layer(x).detach() - before, slow(x).detach() - before
    assert torch.allclose(moved_slowly, moved / 100, atol=1e-6)


# -- filters -----------------------------------------------------------------------------------------------------------


def filtered(x: Tensor, up: int = 1, gain: float = 1.0) -> Tensor:
    """[1, 3, 3, 1] along both axes by scipy, all of the result."""
    y = x.detach().numpy()
    for axis in (-2, -1):
        y = upfirdn(TAPS * gain**0.5, y, up, axis=axis)
    return torch.from_numpy(y)


def test_upsampling_is_scipys() -> None:
    x = noise(2, 3, 5, 5)
    expected = filtered(x, up=2, gain=4.0)  # of 2 (5 - 1) + 1 + 3 = 12 pixels
    assert torch.allclose(upsample().double()(x), expected[..., 1:-1, 1:-1])


def test_downsampling_is_scipys() -> None:
    x = noise(2, 3, 8, 8)
    full = filtered(x)  # of 8 + 3 = 11 pixels, of which every other one from the third
    assert torch.allclose(downsample().double()(x), full[..., 2:-2:2, 2:-2:2])


def test_up_and_down_keep_the_mean() -> None:
    flat = torch.full((1, 2, 16, 16), 0.7)
    inside = slice(2, -2)
    for resample in (upsample(), downsample(), nn.Sequential(upsample(), downsample())):
        assert torch.allclose(resample(flat)[..., inside, inside], torch.tensor(0.7))
    spot = F.pad(torch.ones(1, 1, 1, 1), (8, 7, 8, 7))
    assert float(upsample()(spot).sum()) == pytest.approx(4)
    assert float(downsample()(spot).sum()) == pytest.approx(1 / 4)


def test_a_convolution_that_doubles_filters_what_the_kernel_made_of_zeros_and_pixels() -> None:
    layer = Convolution(3, 4, 3, bias=False, resample="up").double()
    x = noise(2, 3, 6, 6)
    stuffed = torch.zeros(2, 3, 12, 12, dtype=torch.float64)
    stuffed[..., ::2, ::2] = x
    kernel = (layer.weight * layer.scale).flip(2, 3)
    expected = filtered(F.conv2d(stuffed, kernel, padding=2)[..., :13, :13], gain=4.0)[..., 2:-2, 2:-2]
    assert torch.allclose(layer(x), expected)


def test_a_convolution_that_halves_filters_first() -> None:
    layer = Convolution(3, 4, 3, resample="down").double()
    nn.init.normal_(layer.bias)
    x = noise(2, 3, 8, 8)
    expected = F.conv2d(filtered(x)[..., 1:-1, 1:-1], layer.weight * layer.scale, layer.bias, 2)
    assert torch.allclose(layer(x), expected)


def test_generation_ones_upsampling_is_the_same_operator() -> None:
    # Nearest neighbours, convolution and the blur [1, 2, 1], away from the border.
    layer = Convolution(2, 2, 3, bias=False, resample="up").double()
    x = noise(1, 2, 8, 8)
    blur = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    kernel = torch.outer(blur, blur).expand(2, 1, 3, 3)
    nearest = F.interpolate(x, scale_factor=2)
    expected = F.conv2d(
        F.conv2d(nearest, (layer.weight * layer.scale).flip(2, 3), padding=1), kernel, padding=1, groups=2
    )
    assert torch.allclose(layer(x)[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3])


# -- modulation --------------------------------------------------------------------------------------------------------


def by_weights(layer: ModulatedConvolution, x: Tensor, w: Tensor) -> Tensor:
    """The modulated convolution as the paper writes it: every example has a kernel of its own (eqs. 1 and 3)."""
    n, inputs, height, width = x.shape
    kernel = (layer.convolution.weight * layer.convolution.scale)[None] * layer.style(w)[:, None, :, None, None]
    if layer.demodulate:
        kernel = kernel * torch.rsqrt(kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    outputs, size = kernel.shape[1], kernel.shape[-1]
    grouped = x.reshape(1, n * inputs, height, width)
    if layer.convolution.resample == "up":
        kernels = kernel.transpose(1, 2).reshape(n * inputs, outputs, size, size)
        y = layer.convolution.filter(F.conv_transpose2d(grouped, kernels, stride=2, groups=n))
    else:
        y = F.conv2d(grouped, kernel.reshape(n * outputs, inputs, size, size), padding=size // 2, groups=n)
    return layer.gain * (y.reshape(n, outputs, *y.shape[2:]) + layer.bias[:, None, None])


@pytest.mark.parametrize(("kernel", "demodulate", "up"), [(3, True, False), (3, True, True), (1, False, False)])
def test_scaling_maps_is_scaling_weights(kernel: int, demodulate: bool, up: bool) -> None:
    layer = ModulatedConvolution(5, 4, kernel, 6, demodulate=demodulate, gain=GAIN if demodulate else 1.0, upsample=up)
    layer = layer.double()
    nn.init.normal_(layer.bias)
    x, w = noise(3, 5, 6, 6).requires_grad_(), noise(3, 6, seed=1).requires_grad_()
    inputs = [x, w, *layer.parameters()]
    results = []
    for function in (layer, lambda *a: by_weights(layer, *a)):
        y = function(x, w)
        first = torch.autograd.grad(y.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(first[1].square().sum(), inputs)
        results.append([y, *first, *second])
    for ours, papers in zip(*results, strict=True):
        assert torch.allclose(ours, papers, rtol=1e-8, atol=1e-10)


def test_demodulated_outputs_have_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    layer = ModulatedConvolution(32, 32, 3, 8).requires_grad_(False)
    x = torch.randn(4, 32, 32, 32)
    for scale in (0.1, 10.0):
        y = layer(x, scale * torch.randn(4, 8))[..., 1:-1, 1:-1]
        assert torch.allclose(y.var((2, 3)), torch.ones(()), atol=0.25)
        assert float(y.var()) == pytest.approx(1, rel=0.03)


def test_adaptive_instance_norm_sets_mean_and_deviation() -> None:
    torch.manual_seed(0)
    layer = AdaptiveLayer(4, 3, 5).requires_grad_(False)
    w = torch.randn(2, 5)
    y = layer(torch.randn(2, 4, 16, 16), w, torch.randn(2, 1, 16, 16))
    scale, shift = layer.style(w).chunk(2, 1)
    assert torch.allclose(y.mean((2, 3)), shift, atol=1e-5)
    assert torch.allclose(y.std((2, 3), correction=0), (1 + scale).abs(), atol=1e-4)


@pytest.mark.parametrize("layer", [ModulatedLayer(4, 3, 5), AdaptiveLayer(4, 3, 5)])
def test_noise_has_no_effect_until_its_strength_is_learned(layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = noise(2, 4, 8, 8, dtype=torch.float32), noise(2, 5, dtype=torch.float32)
    quiet, loud = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    assert torch.equal(layer(x, w, quiet), layer(x, w, loud))
    loud[0] = noise(1, 8, 8, dtype=torch.float32)
    nn.init.constant_(layer.strength, 0.5)
    before = layer.convolution(x, w) if isinstance(layer, ModulatedLayer) else layer.convolution(x)
    inside: list[Tensor] = []
    rectified = rectify
    monkeypatch.setattr(layers, "rectify", lambda x: (inside.append(x.clone()), rectified(x))[1])
    changed = (layer(x, w, quiet) - layer(x, w, loud)).detach().abs().amax((1, 2, 3))
    torch.testing.assert_close(inside[1], before + 0.5 * GAIN * loud)
    assert float(changed[0]) > 0.1


def test_a_score_does_not_depend_on_the_neighbours() -> None:
    game = stylegan()
    play(game, 1)
    game.eval()
    x = noise(6, 1, 8, 8, dtype=torch.float32)
    together = game.anomaly_score(x)
    assert torch.allclose(together[:1], game.anomaly_score(x[:1]), atol=1e-5)
    assert float(game.discriminator.deviation.usual) > 0


# -- optimisers and penalties ------------------------------------------------------------------------------------------


def test_lazy_penalties_slow_adam_down() -> None:
    game = stylegan(path_length_weight=2.0, path_length_every=4, penalty_every=16, learning_rate=0.0025)
    groups = {p: game.optimizer(p, game.parameters_of(p)).param_groups[0] for p in game.players}
    assert groups["discriminator"]["lr"] == pytest.approx(0.0025 * 16 / 17)
    assert groups["discriminator"]["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    assert groups["generator"]["lr"] == pytest.approx(0.0025 * 4 / 5)
    assert groups["generator"]["betas"] == pytest.approx((0.0, 0.99 ** (4 / 5)))
    without = stylegan(path_length_weight=0.0, penalty="none", learning_rate=0.0025)
    for player in without.players:
        group = without.optimizer(player, without.parameters_of(player)).param_groups[0]
        assert (group["lr"], group["betas"]) == (0.0025, (0.0, 0.99))


def test_defaults_follow_the_size_of_the_images() -> None:
    def chosen(size: int, **settings: Any) -> Any:
        with torch.device("meta"):
            return stylegan(size, batch_size=32, **settings).config

    configs = [chosen(size) for size in (32, 64, 256, 1024)]
    assert [c.penalty_weight for c in configs] == pytest.approx([10.0, 10.0, 0.0002 * 2**16 / 32, 0.0002 * 2**20 / 32])
    assert [c.path_length_weight for c in configs] == [0, 2, 2, 2]
    assert [c.learning_rate for c in configs] == [5e-3, 5e-3, 2.5e-3, 2e-3]
    assert chosen(64, generation=1).path_length_weight == 0
    assert chosen(64, penalty="gradient").penalty_weight is None
    assert chosen(64, penalty_weight=3.0).penalty_weight == 3


def test_path_lengths_of_a_linear_generator() -> None:
    # x = sum_l A_l w_l: J_l^T y = A_l^T y, with y = noise / sqrt(H W).
    layers = noise(3, 2 * 4 * 4, 5)
    styles, y = noise(6, 3, 5, seed=1).requires_grad_(), noise(6, 2, 4, 4, seed=2)
    images = torch.einsum("lpd,nld->np", layers, styles).view(6, 2, 4, 4)
    slopes = torch.einsum("lpd,np->nld", layers, y.flatten(1) / 4)
    expected = slopes.square().sum(2).mean(1).sqrt()
    assert torch.allclose(path_lengths(images, styles, y), expected)


def test_the_path_length_penalty_is_differentiated_rightly() -> None:
    game = stylegan(8, path_length_weight=2.0, path_length_every=1, style_mixing=1.0).double()
    for name, weight in game.generator.named_parameters():
        if name.endswith("strength"):
            nn.init.constant_(weight, 0.1)
    draw = Images(8)
    draw()

    def penalty() -> Tensor:
        torch.manual_seed(5)
        game.path_length_mean.fill_(0.3)
        return game.generator_penalty(draw, torch.zeros(8, 1, 8, 8, dtype=torch.float64))

    for name in (
        "synthesis.stages.1.0.convolution.convolution.weight",
        "mapping.layers.1.weight",
        "synthesis.constant",
    ):
        weight = game.generator.get_parameter(name)
        (slope,) = torch.autograd.grad(penalty(), weight)
        direction, step = noise(*weight.shape, seed=7), 1e-5
        with torch.no_grad():
            weight.add_(step * direction)
        ahead = penalty().detach()
        with torch.no_grad():
            weight.sub_(2 * step * direction)
        behind = penalty().detach()
        with torch.no_grad():
            weight.add_(step * direction)
        assert float((slope * direction).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-4)


def test_the_penalty_is_lazy_and_weighted_to_match() -> None:
    like, draw = torch.zeros(8, 1, 8, 8), Images(8)
    for interval in (2, 3):
        game, draw = stylegan(path_length_weight=2.0, path_length_every=interval, discriminator_steps=2), Images(8)
        due = []
        for _ in range(6):
            for _ in range(2):
                draw()
            due.append(bool(game.generator_penalty(draw, like) > 0))
        assert due == [number % interval == 0 for number in range(1, 7)]
    found = {}
    for every in (1, 3):
        game = stylegan(path_length_weight=2.0, path_length_every=every, discriminator_steps=2)
        torch.manual_seed(0)
        found[every] = float(game.generator_penalty(draw, like).detach())
    assert found[3] == pytest.approx(3 * found[1])


def test_the_penalty_is_the_distance_from_the_running_mean_of_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    game, draw = stylegan(path_length_weight=2.0, path_length_every=1), Images(8)
    lengths: list[Tensor] = []
    monkeypatch.setattr(module, "path_lengths", lambda *inputs: (lengths.append(path_lengths(*inputs)), lengths[-1])[1])
    mean = torch.zeros(())
    for _ in range(2):
        penalty = game.generator_penalty(draw, draw().x)
        mean = 0.99 * mean + 0.01 * lengths[-1].mean()
        torch.testing.assert_close(game.path_length_mean, mean.detach())
        torch.testing.assert_close(penalty, 2 * (lengths[-1] - mean).square().mean())
    assert len(lengths[0]) == 4  # half of the batch


# -- styles ------------------------------------------------------------------------------------------------------------


def test_truncation_moves_styles_to_their_mean() -> None:
    game = stylegan().requires_grad_(False)
    game.w_average.copy_(noise(6, dtype=torch.float32))

    def latents(psi: float | None) -> Tensor:
        return game.latents(5, torch.Generator().manual_seed(3), psi)

    assert torch.allclose(latents(0.5), (game.w_average + latents(None)) / 2, atol=1e-6)
    assert torch.allclose(latents(1.0), latents(None), atol=1e-6)
    assert torch.allclose(latents(0.0), game.w_average.expand(5, -1))
    images = game.decode(latents(0.0))
    assert torch.allclose(images, images[:1].expand_as(images), atol=1e-5)
    assert float((game.decode(latents(None))[0] - images[0]).abs().max()) > 1e-2


def test_decoded_values_lie_in_range_and_have_a_gradient_beyond_it() -> None:
    game = stylegan().requires_grad_(False)
    w = game.latents(4, torch.Generator().manual_seed(0)).requires_grad_()
    game.generator.synthesis.to_rgb[-1].bias.data.fill_(50.0)
    x = game.decode(w)
    assert torch.equal(x.detach(), torch.ones_like(x))
    (slope,) = torch.autograd.grad(x.sum(), w)
    assert (slope.abs().amax(1) > 0).all()


def test_mixing_switches_layers() -> None:
    game = stylegan(16).requires_grad_(False)
    coarse, fine = game.latents(2, torch.Generator().manual_seed(0)), game.latents(2, torch.Generator().manual_seed(1))
    assert game.generator.layers == 6
    for layer in range(7):
        styles = game.mix(coarse, fine, layer)
        assert torch.equal(styles[:, :layer], coarse[:, None].expand(-1, layer, -1))
        assert torch.equal(styles[:, layer:], fine[:, None].expand(-1, 6 - layer, -1))
    by_example = game.mix(coarse, fine, torch.tensor([1, 5]))
    assert torch.equal(by_example[0], game.mix(coarse, fine, 1)[0])
    assert torch.equal(by_example[1], game.mix(coarse, fine, 5)[1])
    assert torch.allclose(game.decode(game.mix(coarse, fine, 6)), game.decode(coarse), atol=1e-5)
    assert torch.allclose(game.decode(game.mix(coarse, fine, 0)), game.decode(fine), atol=1e-5)
    pictures = [game.decode(game.mix(coarse, fine, layer)) for layer in range(7)]
    assert all(float((a - b).abs().max()) > 1e-4 for a, b in pairwise(pictures))


def test_training_mixes_as_often_as_it_says() -> None:
    game = stylegan(16, style_mixing=0.9)
    torch.manual_seed(0)
    styles = game.training_styles(torch.randn(4000, 6))
    differs = (styles[:, 1:] != styles[:, :-1]).any(2)
    assert float(differs.any(1).float().mean()) == pytest.approx(0.9, abs=0.02)
    assert bool((differs.sum(1) <= 1).all())
    assert torch.allclose(differs.float().mean(0), torch.tensor(0.9 / 5), atol=0.03)
    alone = stylegan(16, style_mixing=0.0).training_styles(torch.randn(50, 6))
    assert torch.equal(alone, alone[:, :1].expand_as(alone))


def test_decoding_is_deterministic_and_training_is_not() -> None:
    game = stylegan(style_mixing=0.0).requires_grad_(False)
    for name, weight in game.generator.named_parameters():
        if name.endswith("strength"):
            weight.fill_(0.5)
    z = noise(3, 6, dtype=torch.float32)
    w = game.styles(z)
    assert torch.equal(game.decode(w), game.decode(w))
    assert torch.allclose(game.decode(w), game.decode(game.mix(w, w, 2)), atol=1e-6)
    assert not torch.allclose(game.make_fakes(z), game.make_fakes(z), atol=1e-2)


# -- training ----------------------------------------------------------------------------------------------------------


def play(game: Any, rounds: int, size: int = 8, channels: int = 1) -> list[Any]:
    referee, draw = Referee(game.train()), Images(size, game.config.batch_size, channels)
    torch.manual_seed(0)
    return [referee.play_round(draw) for _ in range(rounds)]


def test_the_mean_style_follows_the_mapping() -> None:
    game = stylegan()
    z = noise(50, 6, dtype=torch.float32)
    first = game.styles(z).mean(0).detach()
    game.training_styles(z)
    assert torch.allclose(game.w_average, 0.005 * first)
    game.training_styles(-z)
    second = game.styles(-z).mean(0).detach()
    assert torch.allclose(game.w_average, 0.995 * 0.005 * first + 0.005 * second)


def test_a_round_moves_the_mean_style_and_the_mean_path_length() -> None:
    game = stylegan(path_length_weight=2.0, path_length_every=1)
    referee = Referee(game.train())
    assert float(game.w_average.abs().max()) == float(game.path_length_mean) == 0
    referee.play_round(Images(8))
    assert referee.average
    for state in (game.state_dict(), referee.average.state):
        assert float(state["w_average"].abs().max()) > 0
        assert float(state["path_length_mean"]) > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"generation": 1},
        {"generation": 1, "path_length_weight": 1.0, "path_length_every": 1},
        {"packing": 2, "penalty": "r1+r2", "loss": "relativistic"},
        {"accumulate": 2, "discriminator_steps": 2, "path_length_weight": 1.0, "path_length_every": 1},
        {"prior": "uniform", "fresh_fakes": False, "generator_loss": "feature-matching"},
        {"loss": "wasserstein", "penalty": "gradient", "penalty_every": 1},
    ],
)
def test_other_settings_train(settings: dict[str, Any]) -> None:
    game = stylegan(8, 3, **{"penalty_every": 1, **settings})
    before = {name: p.detach().clone() for name, p in game.named_parameters()}
    results = play(game, 2, 8, 3)
    assert all(torch.isfinite(loss) for result in results for loss in result.losses.values())
    moved = [name for name, p in game.named_parameters() if not torch.equal(p.detach(), before[name])]
    assert len(moved) > 0.9 * len(before)


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "nearest"), [(28, 28, 32), (32, 64, 32), (4, 4, 8), (2048, 2048, 1024)])
def test_other_sizes_are_refused_with_the_sizes_there_are(height: int, width: int, nearest: int) -> None:
    schema = Schema({"image": ImageSpec(3, height, width)}, {"image": "target"})
    with pytest.raises(
        UsageError, match=rf"8, 16, .* or 1024 pixels.* {height} x {width}: resize with --size"
    ) as refusal:
        build(StyleGAN, StyleGAN.Config.parse({}), schema, 0)
    assert f"--size {nearest}." in str(refusal.value) or height != width


def test_rows_of_numbers_are_refused() -> None:
    rows = Schema({"x": VectorSpec(2, (0.0, 0.0), (1.0, 1.0))}, {"x": "target"})
    with pytest.raises(UsageError, match="needs images; use 'gan'"):
        build(StyleGAN, StyleGAN.Config.parse({}), rows, 0)


def test_networks_of_generation_one_and_two_differ_where_the_papers_do() -> None:
    shared = {"width": 4, "channel_max": 8}
    plain = Discriminator(16, 3, residual=False, **shared)  # type: ignore[arg-type]
    residual = Discriminator(16, 3, **shared)  # type: ignore[arg-type]
    assert count(residual) - count(plain) == 4 * 8 + 8 * 8  # 1x1 kernels beside each block
    first, second = (
        Generator(16, 3, latent_dim=6, w_dim=6, depth=1, generation=generation, **shared) for generation in (1, 2)
    )
    assert first.layers == second.layers == 6
    assert (len(first.synthesis.to_rgb), len(second.synthesis.to_rgb)) == (1, 3)
    assert (len(first.synthesis.noise_sides), len(second.synthesis.noise_sides)) == (6, 5)
