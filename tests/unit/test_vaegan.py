"""VAE/GAN: which loss reaches which network, its settings, and the balance rule (Larsen et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from genarena.data import Dataset, Loader
from genarena.errors import UsageError
from genarena.fitted import build
from genarena.game import Stats, Turn
from genarena.kinds import kind_of
from genarena.models.vaegan import VAEGAN
from genarena.objectives.adversarial import LOSSES
from genarena.objectives.variational import kl_to_standard_normal
from genarena.referee import Referee
from genarena.trainer import CountedDraw, Progress, round_seed

PLAYERS = ("encoder", "generator", "discriminator")


def set_up(dataset: Dataset, **settings: Any) -> tuple[Any, CountedDraw]:
    small = {"latent_dim": 4, "batch_size": 16, "network": {"width": 8}, "average_images": 0, "penalty": "none"}
    config = VAEGAN.Config.parse({**small, **settings})
    game = build(VAEGAN, config, dataset.schema, 0).train()
    loader = Loader(dataset, batch_size=16, seed=0, normalise=kind_of(dataset.schema.target).normalise)
    return game, CountedDraw(loader, Progress())


def first_turn(game: Any, draw: CountedDraw) -> Turn:
    torch.manual_seed(round_seed(0, 0))
    return next(game.play(draw))


def gradients(game: Any, loss: Tensor, network: str) -> list[Tensor]:
    parameters = list(game.get_submodule(network).parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return list(found)


def played_gradients(game: Any, draw: CountedDraw) -> dict[str, list[Tensor]]:
    """What the referee hands each player's optimizer in one round."""
    referee = Referee(game)
    seen: dict[str, list[Tensor]] = {}
    for player, optimizer in referee.optimizers.items():

        def record(_optimizer: Any, _args: Any, _options: Any, player: str = player) -> None:
            seen[player] = [w.grad.clone() for w in referee.parameters[player]]  # type: ignore[union-attr]

        optimizer.register_step_pre_hook(record)
    torch.manual_seed(round_seed(0, 0))
    referee.play_round(draw)
    return seen


def parts(game: Any, draw: CountedDraw) -> dict[str, Tensor]:
    """The losses of algorithm 1, computed here from the networks alone, with the noise of round 0."""
    torch.manual_seed(round_seed(0, 0))
    real = draw().x
    mean, log_variance = game.posterior(real)
    noise = torch.randn(len(real), game.latent_dim)
    reconstructed = game.generator(mean + (log_variance / 2).exp() * noise).tanh()
    sampled = game.generator(torch.randn(len(real), game.latent_dim)).tanh()
    features = [game.discriminator.hidden(x)[-1] for x in (real, reconstructed)]
    logit = [game.discriminator(x).squeeze(1) for x in (real, reconstructed, sampled)]
    log_sigmoid = torch.nn.functional.logsigmoid
    cost = [-log_sigmoid(logit[0]).mean(), *(-log_sigmoid(-fake).mean() for fake in logit[1:])]
    return {
        "prior": kl_to_standard_normal(mean, log_variance).sum(1).mean(),
        "like": 0.5 * (features[0] - features[1]).square().flatten(1).sum(1).mean(),
        "adversarial": cost[0] + (cost[1] + cost[2]) / 2,
        "fool": -(log_sigmoid(logit[1]).mean() + log_sigmoid(logit[2]).mean()) / 2,
    }


# Which loss reaches which network. The generator's part of the adversarial game is "fool", its non-saturating form.
TABLE = {
    ("prior", "encoder"): True, ("prior", "generator"): False, ("prior", "discriminator"): False,
    ("like", "encoder"): True, ("like", "generator"): True, ("like", "discriminator"): False,
    ("adversarial", "encoder"): False, ("adversarial", "generator"): True, ("adversarial", "discriminator"): True,
}  # fmt: skip


def test_every_network_gets_exactly_the_gradient_of_its_own_losses(images: Dataset) -> None:
    gamma, beta = 0.25, 0.5
    settings = {"gamma": gamma, "beta": beta, "feature_noise": "unit"}
    found = played_gradients(*set_up(images, **settings))
    game, draw = set_up(images, **settings)
    part = parts(game, draw)
    own = {
        "encoder": beta * part["prior"] + part["like"],
        "generator": gamma * part["like"] + part["fool"],
        "discriminator": part["adversarial"],
    }
    assert set(found) == set(PLAYERS)
    for player, loss in own.items():
        for got, expected in zip(found[player], gradients(game, loss, player), strict=True):
            assert torch.allclose(got, expected, rtol=1e-3, atol=1e-5), player


# A setting that changes one of the losses and no other.
CHANGES: dict[str, dict[str, Any]] = {
    "prior": {"beta": 7.0},
    "like": {"layer": 0},
    "adversarial": {"loss": "least-squares"},
}


@pytest.mark.parametrize(("loss", "network"), TABLE)
def test_the_table_of_losses_and_networks(images: Dataset, loss: str, network: str) -> None:
    """Changing a loss changes a network's gradient where the table says so, and elsewhere not by one bit."""
    plain = {"gamma": 0.25, "feature_noise": "unit"}
    before = played_gradients(*set_up(images, **plain))[network]
    after = played_gradients(*set_up(images, **plain, **CHANGES[loss]))[network]
    changed = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert changed is TABLE[loss, network]


def test_the_prior_term_depends_on_the_encoder_alone(images: Dataset) -> None:
    game, draw = set_up(images)
    part = parts(game, draw)
    norms = {n: float(sum(g.abs().sum() for g in gradients(game, part["prior"], n))) for n in PLAYERS}
    assert norms["encoder"] > 0
    assert norms["generator"] == norms["discriminator"] == 0


def test_the_adversarial_loss_would_reach_the_encoder_without_the_referees_rule(images: Dataset) -> None:
    """Reconstructions are fakes too, so only ``inputs=`` keeps the discriminator's loss from the other two."""
    game, draw = set_up(images, fakes="reconstruction")
    turn = first_turn(game, draw)
    for network in ("encoder", "generator"):
        assert any(g.abs().sum() > 0 for g in gradients(game, turn.losses["discriminator"], network))
    turn.losses["discriminator"].backward(inputs=game.parameters_of("discriminator"))
    assert all(p.grad is None for n in ("encoder", "generator") for p in game.get_submodule(n).parameters())


def test_a_large_gamma_is_a_vae_in_feature_space(images: Dataset) -> None:
    """As gamma grows, gradients of encoder and generator become those of KL + 1/2 ||D_l(x) - D_l(x~)||^2."""
    gamma = 1e6
    game, draw = set_up(images, gamma=gamma, feature_noise="unit")
    turn = first_turn(game, draw)
    bound = turn.terms["kl"] + turn.terms["distortion"]
    for got, expected in zip(
        gradients(game, turn.losses["encoder"], "encoder"), gradients(game, bound, "encoder"), strict=True
    ):
        assert torch.equal(got, expected)
    for got, expected in zip(
        gradients(game, turn.losses["generator"], "generator"), gradients(game, bound, "generator"), strict=True
    ):
        assert torch.allclose(got / gamma, expected, rtol=1e-3, atol=1e-5)


def test_unit_feature_noise_is_half_the_sum_of_squares(images: Dataset) -> None:
    game, draw = set_up(images, feature_noise="unit")
    found = first_turn(game, draw).terms["distortion"]
    fresh, same_draw = set_up(images, feature_noise="unit")
    assert float(found.detach()) == pytest.approx(float(parts(fresh, same_draw)["like"].detach()), rel=1e-5)


def test_calibrated_feature_noise_is_the_best_of_all_variances(images: Dataset) -> None:
    game, draw = set_up(images)
    found = float(first_turn(game, draw).terms["distortion"].detach())
    fresh, same_draw = set_up(images)
    squared = 2 * float(parts(fresh, same_draw)["like"].detach())
    numbers = fresh.discriminator.hidden(torch.zeros(1, 1, 8, 8))[-1].numel()
    mean = squared / numbers
    at = [0.5 * squared / (v * mean) + 0.5 * numbers * math.log(v * mean) for v in (0.5, 0.9, 1.0, 1.1, 2.0)]
    assert min(at) == at[2]
    assert found == pytest.approx(at[2] - 0.5 * numbers, rel=1e-3)


def test_fakes_are_what_the_discriminator_is_shown(images: Dataset) -> None:
    losses = {}
    for fakes in ("both", "prior", "reconstruction"):
        game, draw = set_up(images, fakes=fakes)
        losses[fakes] = first_turn(game, draw).losses["discriminator"]
        reaches_encoder = any(g.abs().sum() > 0 for g in gradients(game, losses[fakes], "encoder"))
        assert reaches_encoder is (fakes != "prior")
    halves = float((losses["prior"] + losses["reconstruction"]).detach()) / 2
    assert float(losses["both"].detach()) == pytest.approx(halves, rel=1e-5)
    assert not torch.equal(losses["prior"], losses["reconstruction"])


@pytest.mark.parametrize(
    ("real", "fake", "playing"),
    [
        (0.68, 0.68, {"encoder", "generator", "discriminator"}),
        (0.2, 0.68, {"encoder", "generator"}),
        (0.68, 0.2, {"encoder", "generator"}),
        (1.2, 0.68, {"encoder", "discriminator"}),
        (0.68, 1.2, {"encoder", "discriminator"}),
        (0.2, 1.2, {"encoder", "generator", "discriminator"}),
    ],
)
def test_balance_rule(images: Dataset, real: float, fake: float, playing: set[str]) -> None:
    """Equilibrium 0.68, margin 0.35: the winner rests; where both would rest, both play."""
    game, draw = set_up(images, balance=True)
    moves = game.play(draw)
    assert isinstance(next(moves), Stats)
    turn = moves.send({"real": torch.tensor(real), "fake": torch.tensor(fake)})
    assert set(turn.losses) == playing


def test_balance_rule_is_told_the_costs_of_all_processes(images: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    game, draw = set_up(images, balance=True)

    def of_another(tensors: Iterable[torch.Tensor]) -> None:
        for value, mean in zip(tensors, (0.2, 0.68), strict=True):
            value.fill_(mean)
        monkeypatch.undo()  # losses and gradients stay

    monkeypatch.setattr("genarena.distributed.mean_", of_another)
    assert set(Referee(game.train()).play_round(draw).losses) == {"encoder", "generator"}
    assert set(Referee(game).play_round(draw).losses) == {"encoder", "generator", "discriminator"}


def test_balance_rule_looks_at_the_costs_of_the_fakes_in_use(images: Dataset) -> None:
    game, draw = set_up(images, balance=True, fakes="prior")
    stats = first_turn(game, draw)
    assert isinstance(stats, Stats)
    total = float((stats.numbers["real"] + stats.numbers["fake"]).detach())
    plain, same_draw = set_up(images, fakes="prior")
    assert total == pytest.approx(float(first_turn(plain, same_draw).losses["discriminator"].detach()), rel=1e-5)


def test_packs_have_no_features_of_single_examples() -> None:
    with pytest.raises(UsageError, match="packing: reconstructions are measured in features of single examples"):
        VAEGAN.Config.parse({"packing": 2})


def test_a_layer_the_discriminator_lacks_is_refused(images: Dataset) -> None:
    with pytest.raises(UsageError, match="layer=2: the discriminator has 2 hidden maps"):
        set_up(images, layer=2)
    set_up(images, layer=-2)


def test_spectral_norm_survives_three_passes_in_one_turn(images: Dataset) -> None:
    game, draw = set_up(images, network={"width": 8, "discriminator_norm": "spectral"})
    assert all(g.isfinite().all() for group in played_gradients(game, draw).values() for g in group)


def test_non_saturating_loss_is_the_default() -> None:
    assert LOSSES[VAEGAN.Config.parse({}).loss].generator(torch.tensor([-20.0])) == pytest.approx(20, rel=1e-4)


def test_clipping_keeps_its_critic_in_its_box(images: Dataset) -> None:
    game, draw = set_up(images, loss="wasserstein", clip=0.02)
    Referee(game).play_round(draw)
    assert max(float(p.detach().abs().max()) for p in game.discriminator.parameters()) <= 0.02


def test_penalties_between_real_and_fake_are_on_samples(images: Dataset) -> None:
    game, draw = set_up(images, penalty="gradient", penalty_every=1)
    made: list[Tensor] = []
    judged: list[Tensor] = []
    decode, penalty = game.decode, game.penalty
    game.decode = lambda z: (made.append(decode(z)), made[-1])[1]
    game.penalty = lambda real, fake, *rest: (judged.append(fake), penalty(real, fake, *rest))[1]
    first_turn(game, draw)
    assert torch.equal(judged[0], made[1]) and not torch.equal(made[0], made[1])
