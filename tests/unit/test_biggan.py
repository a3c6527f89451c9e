"""BigGAN: its nets are the paper's to the parameter, and every part of it does what its equation says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from genarena.data import Dataset, ImageSpec, LabelSpec, Loader, Schema, VectorSpec
from genarena.errors import UsageError
from genarena.fit import fit, plan
from genarena.fitted import build
from genarena.models.biggan import BigGAN, off_diagonal_penalty
from genarena.nets.biggan import (
    Attention,
    BigGANDiscriminator,
    BigGANGenerator,
    ConditionalBatchNorm,
    DiscriminatorBlock,
    GeneratorBlock,
    filters,
    standing_statistics,
)
from genarena.nets.norm import BatchNorm
from genarena.referee import Referee
from genarena.trainer import CountedDraw, Progress, round_seed

CLASSES = ("a", "b", "c")
FREQUENCIES = (0.5, 0.25, 0.25)


def schema_of(size: int, channels: int = 1) -> Schema:
    fields = {"image": ImageSpec(channels, size, size), "label": LabelSpec(CLASSES, FREQUENCIES)}
    return Schema(fields, {"image": "target", "label": "label"})


def biggan(size: int = 8, channels: int = 1, **settings: Any) -> Any:
    network = {"width": 4, "shared": 6, **settings.pop("network", {})}
    config = BigGAN.Config.parse({"batch_size": 16, "network": network, **settings})
    return build(BigGAN, config, schema_of(size, channels), 0)


def rounds_of(game: Any, dataset: Dataset, rounds: int) -> Any:
    """Play rounds; the last one's losses and terms."""
    loader = Loader(dataset, batch_size=game.config.batch_size, seed=0, normalise=game.kind.normalise)
    referee, draw = Referee(game.train()), CountedDraw(loader, Progress())
    for number in range(rounds):
        torch.manual_seed(round_seed(0, number))
        result = referee.play_round(draw)
    return result


def trainable(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def latents(game: Any, n: int = 4) -> torch.Tensor:
    return game.latents(n, torch.Generator().manual_seed(0))


# -- architecture ------------------------------------------------------------------------------------------------------


def test_parameters_are_as_many_as_the_papers_at_128_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    normed = trainable(biggan(8))
    monkeypatch.setattr("genarena.nets.biggan.spectral_norm", lambda layer, epsilon: layer)
    assert trainable(biggan(8)) == normed  # spectral norms, which take long without memory to work in, add none
    with torch.device("meta"):
        generator = BigGANGenerator(128, 3, 120, 1000, 96, shared=128, hierarchical=True, attention=64)
        discriminator = BigGANDiscriminator(128, 3, 1000, 96, attention=64)
    assert trainable(generator) == 70_433_988
    assert trainable(discriminator) == 87_982_370


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_shapes_and_gradients(size: int) -> None:
    game = biggan(size, 3, network={"width": 2}).train()
    z = latents(game)
    assert z.shape == (4, game.latent_dim + 3)
    fake = game.decode(z)
    assert fake.shape == (4, 3, size, size)
    assert float(fake.detach().abs().max()) <= 1
    maps = game.discriminator.hidden(fake)
    assert len(maps) == len(game.discriminator.layers)
    assert float(maps[-1].detach().min()) >= 0
    logit = game.logit(fake, game.class_of(z))
    assert logit.shape == (4,)
    logit.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in game.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "network",
    [
        {"attention": 8},
        {"hierarchical": False},
        {"shared": None},
        {"shared": None, "hierarchical": False},
    ],
)
def test_every_part_can_be_changed_and_learns(network: dict[str, Any]) -> None:
    game = biggan(16, network=network).train()
    for module in game.modules():
        if isinstance(module, Attention):
            nn.init.ones_(module.gamma)  # else what is behind it has no gradient yet
    plain = biggan(16)
    assert trainable(game) != trainable(plain)
    z = latents(game)
    game.logit(game.decode(z), game.class_of(z)).square().sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for n, p in game.named_parameters() if "conv1.bias" not in n)


def test_attention_is_where_it_is_asked_for_and_by_default_in_large_images() -> None:
    assert biggan(16).attention() is None
    game = biggan(32, network={"attention": 16})
    where = [i for i, m in enumerate(game.generator.attention) if isinstance(m, Attention)]
    assert where == [1]  # 4 -> 8 -> 16
    assert isinstance(game.discriminator.layers[0][1], Attention)  # 32 -> 16
    assert sum(isinstance(m, Attention) for m in game.discriminator.modules()) == 1
    once = biggan(32, network={"attention": 8})  # of three maps of 8 pixels the first
    assert sum(isinstance(m, Attention) for m in once.discriminator.modules()) == 1
    large = biggan(128, network={"width": 1})
    assert large.attention() == 64
    assert sum(isinstance(m, Attention) for m in large.modules()) == 2


def test_each_part_of_the_noise_reaches_its_own_block() -> None:
    game = biggan(16)  # three parts: the first map and two blocks
    seen: list[torch.Tensor] = []
    for layer in game.generator.layers:
        layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1]))
    z = latents(game)
    game.decode(z)
    parts = z[:, : game.latent_dim].chunk(3, 1)
    embedded = game.generator.embedding(z[:, game.latent_dim :])
    assert game.latent_dim == 60 and parts[0].shape == (4, 20)
    assert torch.equal(seen[0], torch.cat([embedded, parts[1]], 1))
    assert torch.equal(seen[1], torch.cat([embedded, parts[2]], 1))


# -- layers ------------------------------------------------------------------------------------------------------------


def test_conditional_norm_is_a_batch_norm_with_gains_and_biases_of_its_own() -> None:
    torch.manual_seed(0)
    norm, plain = ConditionalBatchNorm(5, 3, embeds=True), BatchNorm(5)
    with torch.no_grad():
        norm.gain.weight[:, 1], norm.bias.weight[:, 1] = torch.arange(5.0), -torch.arange(5.0)
        plain.weight.copy_(1 + torch.arange(5.0)), plain.bias.copy_(-torch.arange(5.0))
    x, second = torch.randn(6, 5, 4, 4), torch.eye(3)[[1] * 6]
    for mode in (True, False):
        torch.testing.assert_close(norm.train(mode)(x, second), plain.train(mode)(x))
    apart = norm(x, torch.eye(3)[[0, 1, 2, 0, 1, 2]])
    torch.testing.assert_close(apart[[1, 4]], norm(x, second)[[1, 4]])
    assert not torch.allclose(apart[0], norm(x, second)[0])
    zero = torch.zeros(6, 3)  # without a condition a plain normalisation is left
    torch.testing.assert_close(norm.train()(x, zero).var((0, 2, 3), correction=0), torch.ones(5), rtol=1e-3, atol=0)
    assert trainable(norm) == 2 * 3 * 5


def test_conditional_norm_is_the_same_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    norm, x, c = ConditionalBatchNorm(5, 3, embeds=False), torch.randn(6, 5, 4, 4), torch.randn(6, 3)
    norm.gain.eval(), norm.bias.eval()  # spectral norms at rest
    alone = norm(x, c)
    monkeypatch.setattr("genarena.distributed.world", lambda: 2)
    monkeypatch.setattr("genarena.distributed.mean", lambda tensor: tensor)  # both hold the same batch
    torch.testing.assert_close(norm(x, c), alone)


def test_attention_starts_as_the_identity_and_then_is_its_equation() -> None:
    torch.manual_seed(0)
    attention, x = Attention(16).eval(), torch.randn(2, 16, 4, 6)
    assert torch.equal(attention(x), x)
    with torch.no_grad():
        attention.gamma.fill_(0.7)
        flat = {name: getattr(attention, name).weight.flatten(1) for name in ("query", "key", "value", "output")}
        found = attention(x)

    def pooled(weight: torch.Tensor, image: torch.Tensor) -> np.ndarray:
        maps = np.einsum("oc,chw->ohw", weight.numpy(), image.numpy())
        return maps.reshape(len(maps), 2, 2, 3, 2).max((2, 4)).reshape(len(maps), -1)

    for image, result in zip(x, found, strict=True):
        query = flat["query"].numpy() @ image.flatten(1).numpy()
        scores = np.exp(query.T @ pooled(flat["key"], image))
        scores /= scores.sum(1, keepdims=True)
        seen = flat["output"].numpy() @ (pooled(flat["value"], image) @ scores.T)
        expected = image.numpy() + 0.7 * seen.reshape(16, 4, 6)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_shortcuts_commute_with_changes_of_resolution() -> None:
    torch.manual_seed(0)
    up, down = GeneratorBlock(4, 6, 3, embeds=True).eval(), DiscriminatorBlock(4, 6, halve=True, first=False).eval()
    x, c = torch.randn(2, 4, 4, 4), torch.randn(2, 3)

    def doubled(image: torch.Tensor) -> torch.Tensor:
        return image.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def halved(image: torch.Tensor) -> torch.Tensor:
        return image.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))

    with torch.no_grad():
        h = up.conv2(up.norm2(up.conv1(doubled(up.norm1(x, c).relu())), c).relu())
        torch.testing.assert_close(up(x, c), h + up.shortcut(doubled(x)))
        h = down.conv2(down.conv1(x.relu()).relu())
        torch.testing.assert_close(down(x), halved(h) + halved(down.shortcut(x)))
        first = DiscriminatorBlock(4, 6, halve=True, first=True).eval()
        h = first.conv2(first.conv1(x).relu())
        torch.testing.assert_close(first(x), halved(h) + halved(first.shortcut(x)))


def test_the_last_map_of_the_generator_is_normed_and_rectified() -> None:
    game = biggan(8).eval()
    normed: list[torch.Tensor] = []
    drawn: list[torch.Tensor] = []
    game.generator.norm.register_forward_hook(lambda _net, _inputs, output: normed.append(output))
    game.generator.head.register_forward_pre_hook(lambda _net, inputs: drawn.append(inputs[0]))
    game.decode(latents(game))
    assert float(normed[0].detach().min()) < 0
    assert torch.equal(drawn[0], normed[0].relu())


def test_the_logit_is_a_projection_on_sum_pooled_features() -> None:
    game = biggan(8).eval()
    net, x = game.discriminator, torch.rand(3, 1, 8, 8) * 2 - 1
    y = torch.eye(3)
    with torch.no_grad():
        top = net.hidden(x)[-1]
        features = top.numpy().sum((2, 3))
        expected = features @ net.head.weight.numpy().T[:, 0] + net.head.bias.numpy()
        expected += (features * net.embedding.weight.numpy().T).sum(1)
        np.testing.assert_allclose(game.logit(x, y).numpy(), expected, rtol=1e-4)


def test_layers_start_orthogonal() -> None:
    game = biggan(16, network={"width": 8, "attention": 8})
    embedding = game.generator.embedding.weight
    assert float(embedding.detach().square().mean()) == pytest.approx(1)
    weights = [*filters(game), embedding / 6**0.5]
    assert len(weights) > 30
    for weight in weights:
        rows = weight.detach().flatten(1)
        rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shared", [6, None])
def test_everything_but_the_embedding_of_classes_is_spectrally_normalised(shared: int | None) -> None:
    game = biggan(16, network={"shared": shared, "attention": 8})
    layers = {n: m for n, m in game.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    free = {name for name, layer in layers.items() if not parametrize.is_parametrized(layer)}
    if shared:
        assert free == {"generator.embedding"}
    else:  # then the conditional norms embed the class
        assert free == {n for n in layers if n.endswith((".gain", ".bias"))}
        assert len(free) == 8
    assert len(filters(game)) == len(layers) - len(free)


def test_singular_values_are_near_one_after_training(images: Dataset) -> None:
    game = biggan(8, learning_rate=2e-3)
    rounds_of(game, images, 5)
    largest = [
        float(torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2))
        for m in game.modules()
        if isinstance(m, nn.Linear | nn.Conv2d) and parametrize.is_parametrized(m)
    ]
    assert len(largest) > 15
    assert largest == pytest.approx([1.0] * len(largest), abs=0.1)


def test_off_diagonal_penalty() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (5, 2, 3, 3))]
    expected = 0.0
    for weight in weights:
        w = weight.reshape(len(weight), -1).T.astype(np.float64)  # a filter a column, as the paper has it
        expected += (((w.T @ w) * (1 - np.eye(w.shape[1]))) ** 2).sum()
    found = off_diagonal_penalty([torch.from_numpy(weight) for weight in weights])
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(off_diagonal_penalty([torch.diag(torch.tensor([1.0, 2.0, 3.0]))])) == 0


def test_the_penalty_is_on_filters_alone_and_can_be_left_out() -> None:
    game, like = biggan(8, 3), torch.zeros(1)
    with torch.no_grad():
        for weight in [*filters(game.generator), game.generator.embedding.weight]:
            nn.init.normal_(weight)
    penalty = game.generator_penalty(None, like)
    expected = 1e-4 * float(off_diagonal_penalty(filters(game.generator)).detach())
    assert float(penalty.detach()) == pytest.approx(expected)
    penalty.backward()
    assert game.generator.embedding.weight.grad is None
    assert all(float(weight.grad.abs().max()) > 0 for weight in filters(game.generator))
    assert float(biggan(8, orthogonal=0).generator_penalty(None, like)) == 0


# -- what is served ----------------------------------------------------------------------------------------------------


def test_standing_statistics_are_the_plain_average_over_batches() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), BatchNorm(3), nn.ReLU(), nn.Conv2d(3, 2, 1), BatchNorm(2))
    with torch.no_grad():
        net[1].running_mean.fill_(9.0)  # which must not matter
    batches = [torch.randn(8, 2, 6, 6) * scale for scale in (1.0, 2.0, 5.0)]
    standing_statistics(net.eval(), batches)
    twin = nn.Sequential(
        *(nn.BatchNorm2d(m.num_features, momentum=None) if isinstance(m, BatchNorm) else m for m in net)
    )
    for batch in batches:
        twin.train()(batch)  # momentum None is torch's own plain average
    for index in (1, 4):
        torch.testing.assert_close(net[index].running_mean, twin[index].running_mean)
        torch.testing.assert_close(net[index].running_var, twin[index].running_var)
        assert not net[index]._forward_pre_hooks


def test_prepare_is_a_function_of_weights_and_generator(images: Dataset) -> None:
    game = biggan(8)
    rounds_of(game, images, 2)
    trained = {k: v.clone() for k, v in game.state_dict().items()}

    def prepared(seed: int) -> dict[str, torch.Tensor]:
        copy = biggan(8)
        copy.load_state_dict(trained)
        before = torch.get_rng_state()
        copy.prepare(torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), before)
        assert not any(module.training for module in copy.modules())
        return {k: v.clone() for k, v in copy.state_dict().items()}

    one, same, other = prepared(1), prepared(1), prepared(2)
    assert all(torch.equal(one[k], same[k]) for k in one)
    statistics = {k for k in one if k.endswith(("running_mean", "running_var"))}
    assert len(statistics) == 6
    assert {k for k in one if not torch.equal(one[k], other[k])} == statistics
    assert {k for k in one if not torch.equal(one[k], trained[k])} == statistics


# -- the game ----------------------------------------------------------------------------------------------------------


def test_settings_are_the_papers() -> None:
    game = biggan(8, learning_rate=5e-5, discriminator_learning_rate=2e-4)
    config = BigGAN.Config.parse({})
    assert (config.loss, config.penalty, config.betas, config.orthogonal) == ("hinge", "none", (0.0, 0.999), 1e-4)
    assert (config.discriminator_steps, config.fresh_fakes) == (2, True)
    optimizers = Referee(game).optimizers
    for player, rate in (("generator", 5e-5), ("discriminator", 2e-4)):
        group = optimizers[player].param_groups[0]
        assert (group["lr"], group["betas"], group["eps"]) == (rate, (0.0, 0.999), 1e-6)
    rounds = config.average_images / (config.batch_size * config.discriminator_steps)
    assert 0.5 ** (1 / rounds) == pytest.approx(0.9999, rel=1e-7)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"penalty": "r1", "penalty_every": 1}, {"orthogonal": 0}])
def test_a_round_moves_both_players(settings: dict[str, Any], images: Dataset) -> None:
    game = biggan(8, **settings)
    before = {k: p.detach().clone() for k, p in game.named_parameters()}
    result = rounds_of(game, images, 1)
    assert set(result.losses) == {"discriminator", "generator"}
    assert all(torch.isfinite(loss) for loss in result.losses.values())
    moved = {k for k, p in game.named_parameters() if not torch.equal(p, before[k])}
    for player in game.players:
        assert any(k.startswith(player) and k.endswith("original") for k in moved)


def test_it_trains_serves_and_makes_the_class_it_is_asked_for(images: Dataset, tmp_path: Any) -> None:
    settings = {"batch_size": 16, "network": {"width": 4, "shared": 6}}
    decided = plan(BigGAN, images, budget="200 images", settings=settings, device="cpu")
    fitted = fit(decided, tmp_path, threads=1, pictures=False)
    assert fitted.sample(5, seed=1).shape == (5, 1, 8, 8)
    z = fitted.latents(6, seed=1, label="1")
    assert np.array_equal(z[:, -3:], np.eye(3)[[1] * 6])


def test_truncation_draws_again_and_does_not_clamp() -> None:
    game = biggan(8)
    z = game.latents(2000, torch.Generator().manual_seed(0), 0.5)
    noise, y = z[:, : game.latent_dim], game.class_of(z)
    assert float(noise.abs().max()) <= 0.5
    assert float((noise.abs() == 0.5).float().mean()) == 0
    assert float(noise.var()) == pytest.approx(0.0806, rel=0.02)  # of a normal cut off at half its deviation
    np.testing.assert_allclose(y.mean(0).numpy(), FREQUENCIES, atol=0.04)


def test_the_anomaly_score_needs_no_label() -> None:
    game, x = biggan(8).eval(), torch.rand(3, 1, 8, 8) * 2 - 1
    with torch.no_grad():
        joint = [np.log(f) + game.logit(x, torch.eye(3)[[k] * 3]).numpy() for k, f in enumerate(FREQUENCIES)]
        expected = -np.log(np.exp(joint).sum(0))
        np.testing.assert_allclose(game.anomaly_score(x).numpy(), expected, rtol=1e-4)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_wrong_data_are_refused() -> None:
    labels = LabelSpec(CLASSES, FREQUENCIES)
    cases = {
        "28 x 28: resize with --size 32": ImageSpec(1, 28, 28),
        "32 x 48: resize with --size 64": ImageSpec(3, 32, 48),
        "300 x 300: resize with --size 256": ImageSpec(3, 300, 300),
        "needs images; use 'cgan'": VectorSpec(2, (0.0, 0.0), (1.0, 1.0)),
    }
    for match, target in cases.items():
        schema = Schema({"x": target, "label": labels}, {"x": "target", "label": "label"})
        with pytest.raises(UsageError, match=match):
            build(BigGAN, BigGAN.Config.parse({}), schema, 0)
    unlabelled = Schema({"image": ImageSpec(1, 8, 8)}, {"image": "target"})
    with pytest.raises(UsageError, match="these data have no labels"):
        build(BigGAN, BigGAN.Config.parse({}), unlabelled, 0)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="latent_dim=7 cannot be shared out to the 2 parts"):
        biggan(8, latent_dim=7)
    assert biggan(8, latent_dim=7, network={"hierarchical": False}).latent_dim == 7
    with pytest.raises(UsageError, match=r"network\.attention=64: nets for 32 pixels have maps of 8 or 16 pixels"):
        biggan(32, network={"attention": 64})
    with pytest.raises(UsageError, match="nets for 8 pixels have maps of no pixels"):
        biggan(8, network={"attention": 8})
    with pytest.raises(UsageError, match="condition='joint': input should be 'projection'"):
        biggan(8, condition="joint")
    with pytest.raises(UsageError, match="packing"):
        biggan(8, packing=2)
    with pytest.raises(UsageError, match=r"unknown setting 'network\.depth'"):
        biggan(8, network={"depth": 2})
