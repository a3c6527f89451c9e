"""What makes GANs train: each option against its formula, and refused where it makes no sense."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genarena.checkpoint import RunFolder, read_tensors
from genarena.data import Dataset, Loader
from genarena.errors import UsageError
from genarena.fit import fit, plan
from genarena.fitted import build
from genarena.game import Part, Turn
from genarena.kinds import kind_of
from genarena.models.gan import GAN
from genarena.models.vae import VAE
from genarena.nets import augment
from genarena.objectives.adversarial import LOSSES, dragan_penalty, feature_matching, r1_penalty, smoothing
from genarena.referee import Average, Referee
from genarena.trainer import CountedDraw, Progress, round_seed

SMALL: dict[str, Any] = {"latent_dim": 4, "batch_size": 16, "network": {"width": 8, "depth": 2}, "average_images": 0}


def set_up(dataset: Dataset, model: Any = GAN, **settings: Any) -> tuple[Any, CountedDraw]:
    config = model.Config.parse({**SMALL, **settings})
    game = build(model, config, dataset.schema, 0).train()
    loader = Loader(dataset, batch_size=config.batch_size, seed=0, normalise=kind_of(dataset.schema.target).normalise)
    return game, CountedDraw(loader, Progress())


def play(game: Any, draw: CountedDraw, rounds: int = 1) -> Referee:
    referee = Referee(game)
    for number in range(rounds):
        torch.manual_seed(round_seed(0, number))
        referee.play_round(draw)
    return referee


def refused(match: str, **settings: Any) -> None:
    with pytest.raises(UsageError, match=match):
        GAN.Config.parse({**SMALL, **settings})


def logits(n: int, seed: int) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- losses --------------------------------------------------------------------------------------------------------------


def test_the_relativistic_loss_compares_pairs() -> None:
    """Jolicoeur-Martineau 2019: -E log sigmoid(C(x_r) - C(x_f)), and the generator the other way round."""
    real, fake = logits(50, 0), logits(50, 1)
    loss = LOSSES["relativistic"]
    torch.testing.assert_close(loss.discriminator(real, fake), -torch.sigmoid(real - fake).log().mean())
    torch.testing.assert_close(loss.generator(fake - real), -torch.sigmoid(fake - real).log().mean())
    assert loss.relative


def test_a_relativistic_generator_looks_at_real_examples(images: Dataset) -> None:
    game, draw = set_up(images, loss="relativistic", penalty="none")
    torch.manual_seed(round_seed(0, 0))
    turns = list(game.play(draw))
    real = draw_of(images)().x
    torch.manual_seed(round_seed(0, 0))
    fake = game.decode(game.prior(16, real))
    expected = F.softplus(game.logit(real) - game.logit(fake)).mean()
    torch.testing.assert_close(turns[1].losses["generator"], expected)


def draw_of(dataset: Dataset) -> CountedDraw:
    return set_up(dataset)[1]


def test_only_a_cross_entropy_gives_a_density_ratio() -> None:
    assert {name for name, loss in LOSSES.items() if loss.density_ratio} == {"non-saturating", "minimax"}


def test_smoothing_is_the_cross_entropy_with_a_softer_target() -> None:
    real, fake = logits(50, 0), logits(50, 1)
    smoothed = LOSSES["non-saturating"].discriminator(real, fake) + smoothing(real, 0.1)
    bce = F.binary_cross_entropy_with_logits
    expected = bce(real, torch.full_like(real, 0.9)) + bce(fake, torch.zeros_like(fake))  # one-sided: fakes stay at 0
    torch.testing.assert_close(smoothed, expected)
    refused(
        "label_smoothing smooths the targets of a cross-entropy; loss=hinge has none", label_smoothing=0.1, loss="hinge"
    )


def test_feature_matching_is_the_distance_of_means() -> None:
    real, fake = torch.randn(6, 3, 2, 2, dtype=torch.float64), torch.randn(6, 3, 2, 2, dtype=torch.float64)
    expected = (real.numpy().mean(0) - fake.numpy().mean(0)) ** 2
    assert float(feature_matching(real, fake)) == pytest.approx(expected.sum())


def test_a_generator_can_match_features(images: Dataset) -> None:
    game, draw = set_up(images, generator_loss="feature-matching", penalty="none")
    torch.manual_seed(round_seed(0, 0))
    turns = list(game.play(draw))
    loss = turns[1].losses["generator"]
    torch.manual_seed(round_seed(0, 0))
    real = draw_of(images)().x
    fake = game.decode(game.prior(16, real))
    maps = [game.discriminator.hidden(x)[-1].detach() for x in (real, fake)]
    torch.testing.assert_close(loss, (maps[0].mean(0) - maps[1].mean(0)).square().sum())
    gradients = torch.autograd.grad(loss, list(game.generator.parameters()))
    assert all(g.abs().sum() > 0 for g in gradients)


# -- penalties -----------------------------------------------------------------------------------------------------------


def test_r2_adds_the_slope_on_fakes(images: Dataset) -> None:
    game, draw = set_up(images, penalty="r1+r2", penalty_weight=2.0, penalty_every=1)
    real = draw().x
    fake = game.decode(game.prior(16, real)).detach()

    def half_slope(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(game.logit(x).sum(), x)
        return 0.5 * slope.flatten(1).square().sum(1).mean()

    torch.testing.assert_close(game.penalty(real, fake, 1), 2.0 * (half_slope(real) + half_slope(fake)))


def test_dragan_wants_unit_slope_around_the_data() -> None:
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64)
    real = torch.randn(8, 2, dtype=torch.float64)
    penalty = dragan_penalty(lambda x: x @ weight, real, torch.rand(8, 2, dtype=torch.float64))
    assert float(penalty) == pytest.approx((5.0 - 1) ** 2)
    # A slope that depends on the place shows where it was taken: x + std(x) / 2 * u.
    seen: list[Tensor] = []
    uniform = torch.rand(8, 2, dtype=torch.float64)
    dragan_penalty(lambda x: (seen.append(x.detach()), x.square().sum(1))[1], real, uniform)
    torch.testing.assert_close(seen[0], real + 0.5 * real.std(correction=0) * uniform)


@pytest.mark.parametrize(("every", "accumulate", "due"), [(3, 1, {3, 6}), (2, 4, {5, 6, 7, 8})])
def test_penalties_count_turns_and_not_the_parts_of_a_batch(
    every: int, accumulate: int, due: set[int], images: Dataset
) -> None:
    game, draw = set_up(images, penalty_every=every, accumulate=accumulate)
    found = []
    for number in range(8 // accumulate):
        torch.manual_seed(round_seed(0, number))
        found += [bool(move.terms["penalty"] > 0) for move in game.play(draw) if "discriminator" in move.losses]
    assert {batch for batch, penalised in enumerate(found, 1) if penalised} == due


def test_the_slope_of_a_packed_discriminator_is_that_of_a_pack() -> None:
    weight = torch.tensor([[3.0, 4.0], [5.0, 0.0]], dtype=torch.float64)  # the slope at either example of a pack

    def judge(x: Tensor) -> Tensor:
        return (x.view(-1, 2, 2) * weight).sum((1, 2))

    x = torch.randn(8, 2, dtype=torch.float64)
    assert float(r1_penalty(judge, x)) == pytest.approx(0.5 * (3**2 + 4**2 + 5**2))
    assert float(dragan_penalty(judge, x, torch.rand_like(x))) == pytest.approx((50**0.5 - 1) ** 2)


def test_a_pack_lies_on_one_line_between_real_and_fake(images: Dataset) -> None:
    game, draw = set_up(images, packing=4, penalty="gradient", penalty_every=1)
    real = draw().x
    seen: list[Tensor] = []
    logit = game.logit
    game.logit = lambda x, y=None: (seen.append(x.detach()), logit(x, y))[1]
    game.penalty(real, torch.zeros_like(real), 1)
    places = (seen[0] / real)[:, 0, 0, 0].view(4, 4)
    assert torch.allclose(places, places[:, :1].expand(4, 4), equal_nan=True)
    assert len(places[:, 0].unique()) == 4


def test_clipping_keeps_the_critic_in_its_box(images: Dataset) -> None:
    game, draw = set_up(images, loss="wasserstein", penalty="none", clip=0.02)
    play(game, draw, 3)
    assert max(float(p.detach().abs().max()) for p in game.discriminator.parameters()) <= 0.02
    assert max(float(p.detach().abs().max()) for p in game.generator.parameters()) > 0.02
    refused(r"loss=wasserstein needs penalty=gradient \(or clip\)", loss="wasserstein", penalty="r1")


# -- the game ------------------------------------------------------------------------------------------------------------


def test_two_time_scales(images: Dataset) -> None:
    game, draw = set_up(images, learning_rate=1e-4, discriminator_learning_rate=4e-4)
    referee = play(game, draw)
    rates = {player: optimizer.param_groups[0]["lr"] for player, optimizer in referee.optimizers.items()}
    assert rates == {"discriminator": 4e-4, "generator": 1e-4}


def test_a_packed_discriminator_sees_examples_side_by_side(images: Dataset) -> None:
    game, draw = set_up(images, packing=4)
    x = draw().x
    packed = torch.stack([torch.cat([x[4 * i + j] for j in range(4)]) for i in range(4)])
    torch.testing.assert_close(game.logit(x), game.discriminator(packed).squeeze(1))
    assert game.logit(x).shape == (4,)
    play(game, draw, 2)
    refused("batch_size=16 cannot be packed by 3: give a multiple", packing=3)


def test_packing_works_on_rows(vectors: Dataset) -> None:
    game, draw = set_up(vectors, packing=2)
    x = draw().x
    torch.testing.assert_close(game.logit(x), game.discriminator(x.reshape(8, 8)).squeeze(1))
    play(game, draw, 2)


def test_fresh_fakes_are_not_those_of_the_discriminators_turn(images: Dataset) -> None:
    def fakes(**settings: Any) -> list[Tensor]:
        game, draw = set_up(images, **settings)
        made: list[Tensor] = []
        decode = game.decode
        game.decode = lambda z: (made.append(z), decode(z))[1]
        play(game, draw)
        return made

    assert len(fakes()) == 1
    first, second = fakes(fresh_fakes=True)
    assert not torch.equal(first, second)


def test_accumulated_parts_are_one_large_batch(images: Dataset) -> None:
    """Four parts of 16 have the gradient of one batch of 64 (with the same noise), and one step follows."""
    small, draw = set_up(images, penalty="none", accumulate=4)
    moves = []
    noise = [torch.randn(16, 4) for _ in range(8)]
    drawn = iter(noise)
    small.prior = lambda n, like: next(drawn)
    for move in small.play(draw):
        moves.append(move)
    kinds = [type(move) for move in moves]
    assert kinds == 2 * [Part, Part, Part, Turn]
    large, one = set_up(images, penalty="none", batch_size=64)
    large.prior = lambda n, like: torch.cat(noise[:4])
    whole = next(large.play(one)).losses["discriminator"]
    parts = sum(move.losses["discriminator"] for move in moves[:4])
    torch.testing.assert_close(parts, whole)
    parameters = list(small.discriminator.parameters())
    summed = torch.autograd.grad(parts, parameters)
    expected = torch.autograd.grad(whole, list(large.discriminator.parameters()))
    torch.testing.assert_close(summed, expected)


def test_the_referee_steps_once_for_all_parts(images: Dataset) -> None:
    game, draw = set_up(images, accumulate=3)
    referee = Referee(game)
    steps: dict[str, int] = dict.fromkeys(referee.optimizers, 0)
    for player, optimizer in referee.optimizers.items():

        def count(*_: Any, player: str = player) -> None:
            steps[player] += 1

        optimizer.register_step_pre_hook(count)
    torch.manual_seed(round_seed(0, 0))
    result = referee.play_round(draw)
    assert steps == {"discriminator": 1, "generator": 1}
    assert draw.images == 48
    # Near the start a logit is about zero: the loss of the whole batch is 2 log 2, and not a third of it.
    assert float(result.losses["discriminator"]) == pytest.approx(2 * 0.6931, rel=0.1)
    assert all(p.grad is None for p in game.parameters())
    again = referee.play_round(draw)  # begins from nothing
    assert float(again.losses["discriminator"]) == pytest.approx(2 * 0.6931, rel=0.1)


def test_rates_halve_with_the_images_seen(images: Dataset) -> None:
    game, draw = set_up(images, VAE, learning_rate=1e-3, halve_images=32)
    referee = Referee(game)
    seen = []
    for number in range(4):
        torch.manual_seed(round_seed(0, number))
        referee.play_round(draw)
        seen.append(referee.optimizers["vae"].param_groups[0]["lr"])
    assert seen == pytest.approx([1e-3 * 0.5 ** (16 * i / 32) for i in range(4)])


@pytest.mark.parametrize("name", ["diffaugment", "ada"])
def test_augmentation_reaches_real_and_fake_in_both_turns(name: str, images: Dataset) -> None:
    game, draw = set_up(images, augment=name, penalty="none")
    shown: list[int] = []
    game.augment.register_forward_hook(lambda _net, inputs, _output: shown.append(len(inputs[0])))
    play(game, draw)
    assert len(shown) == 3  # real, fake, and the fake again


def test_adas_strength_follows_the_discriminators_confidence(images: Dataset) -> None:
    game, draw = set_up(images, augment="ada", penalty="none")
    assert "augment.probability" in game.state_dict()
    logit = game.logit
    game.logit = lambda x, y=None: logit(x, y) + 100.0  # sure of every real example
    play(game, draw, 9)
    assert float(game.augment.probability) == pytest.approx(8 * 16 / 500_000)


def test_adas_confidence_is_that_on_all_real_examples_of_a_turn(images: Dataset) -> None:
    game, draw = set_up(images, augment="ada", penalty="none", accumulate=2)
    offsets, logit = cycle([100.0, -100.0, -100.0, -100.0, -100.0, -100.0]), game.logit  # real, fake, real, fake; fakes
    game.logit = lambda x, y=None: logit(x, y) + next(offsets)
    told: list[tuple[float, int]] = []
    game.augment.adapt = lambda sign, count: told.append((float(sign), count))
    play(game, draw, 2)
    assert told == [(0.0, 32)] * 2


def test_rows_have_no_augmentation(vectors: Dataset) -> None:
    with pytest.raises(UsageError, match="augment='ada' alters images"):
        set_up(vectors, augment="ada")


def test_an_average_forgets_by_its_half_life_and_sooner_at_first(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    game, draw = set_up(images, discriminator_steps=2, average_images=1000)
    average = Average(game, 1000)
    name, weight = next(iter(game.named_parameters()))
    left = 1.0
    with torch.no_grad():
        weight.add_(left)
    for seen, half_life in ((400, 20), (40_000, 1000)):  # a twentieth of what was seen, while that is less
        average.update(100, seen)
        left *= 0.5 ** (100 / half_life)
        torch.testing.assert_close(weight - average.state[name], torch.full_like(weight, left), rtol=1e-4, atol=1e-5)
    updates: list[tuple[int, int]] = []
    monkeypatch.setattr(Average, "update", lambda self, batch, images: updates.append((batch, images)))
    play(game, draw, 2)
    assert updates == [(32, 32), (32, 64)]


def test_an_average_keeps_the_singular_vectors_of_a_spectral_norm_at_unit_length(images: Dataset) -> None:
    network = {**SMALL["network"], "discriminator_norm": "spectral"}
    game, draw = set_up(images, network=network, average_images=1000, learning_rate=1e-2)
    referee = play(game, draw, 20)
    vectors = {k: v for k, v in referee.average.state.items() if k.endswith(("._u", "._v"))}  # type: ignore[union-attr]
    assert len(vectors) == 2 * (len(game.discriminator.layers) + 1)
    assert all(float(v.norm()) == pytest.approx(1, abs=1e-5) for v in vectors.values())
    assert any(not torch.equal(v, game.state_dict()[k]) for k, v in referee.average.state.items())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("gan", {"augment": "ada", "network": {"width": 8, "discriminator_norm": "spectral"}}),
        (
            "gan",
            {"accumulate": 2, "discriminator_steps": 2, "halve_images": 500, "mirror": True, "network": {"width": 8}},
        ),
        ("stylegan", {"path_length_weight": 2.0, "path_length_every": 3, "penalty_every": 5, "network": {"width": 4}}),
    ],
)
def test_resume_is_exact_with_state_of_every_kind(
    model: str,
    settings: dict[str, Any],
    images: Dataset,
    tmp_path: Path,
    assert_same_training: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ADA's probability, singular vectors, the learning rate's decay, lazy penalties' phases, mean style and path length."""
    monkeypatch.setattr(augment, "TARGET", -2.0)  # always too sure of itself, and soon half of all images are altered
    monkeypatch.setattr(augment, "RAMP", 2000)
    settings = {"batch_size": 16, "latent_dim": 4, **settings}
    for name, budgets in (("whole", ["1k images"]), ("halves", ["400 images", "1k images"])):
        for budget in budgets:
            fit(plan(model, images, budget=budget, settings=settings, device="cpu"), tmp_path / name, threads=1)
    assert_same_training(RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "halves"))
    if "augment" in settings:
        tensors = read_tensors(tmp_path / "whole" / "model.safetensors")
        assert float(tensors["augment.probability"]) > 0.3
