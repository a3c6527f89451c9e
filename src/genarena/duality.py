"""How far a finished game is from its equilibrium, and how easily its fakes are told from real data.

Two numbers for after training, for games between a generator and a discriminator whose loss is the cross-entropy, so that the
game has the value V(D, G) = E log D(x) + E log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1):

- The duality gap, max_D' V(D', G) - min_G' V(D, G') (Grnarova et al. 2019, "A Domain Agnostic Measure for Monitoring and
  Evaluating GANs", eq. 3). It is zero at an equilibrium and nowhere below; finite training of the worst-case opponents makes
  it an estimate, from below.
- The accuracy of a discriminator that is trained from scratch: one half where fakes and data cannot be told apart
  (a classifier two-sample test, Lopez-Paz & Oquab 2017).

Where we differ from the paper: opponents start from the trained players and learn by Adam as these did; of those met on the
way the one that is strongest on the val split counts, since on small data a long search over-fits. They learn on the train
split and are measured on the test split. The model that was handed in stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Dataset, Loader
from .errors import CapabilityError, DataError, UsageError, whole
from .fitted import FittedModel, build
from .game import Draw, Game, ModelConfig, Play, Turn
from .kinds import normalise
from .machine import own_generators
from .models.gan import AdversarialGame
from .referee import NonFinite, Referee
from .trainer import CountedDraw, Progress, round_seed

CHECKS = 10  # of an opponent's strength on the val split
MOST = 10_000  # examples that a value is measured on
CHUNK = 500


@dataclass(frozen=True)
class DualityGap:
    """The gap and its parts, in nats.

    Attributes
    ----------
    value : float
        V(D, G) of the two as they are.
    worst_discriminator, worst_generator : float
        max V(D', G) and min V(D, G').
    """

    value: float
    worst_discriminator: float
    worst_generator: float

    @property
    def gap(self) -> float:
        return self.worst_discriminator - self.worst_generator


def duality_gap(fitted: FittedModel, dataset: Dataset, inner_steps: int = 1000, seed: int = 0) -> DualityGap:
    """The duality gap of a trained game.

    Parameters
    ----------
    fitted : FittedModel
    dataset : Dataset
        With the splits the model was trained with.
    inner_steps : int
        Steps that each opponent is trained for.
    seed : int
        Of batches and noise.

    Raises
    ------
    CapabilityError
        For a model that is no such game.
    UsageError
        For data of another kind than the model's, or fewer than one step.
    """
    game = _game_of(fitted, dataset, inner_steps)
    measure = _Measure(fitted, dataset, seed)
    opponents = {player: _train(game, player, measure, inner_steps) for player in ("discriminator", "generator")}
    values = [
        measure.value(opponent, "test") for opponent in (game, opponents["discriminator"], opponents["generator"])
    ]
    return DualityGap(*values)


def fresh_discriminator_accuracy(fitted: FittedModel, dataset: Dataset, steps: int = 1000, seed: int = 0) -> float:
    """Accuracy on unseen data of a new discriminator between real examples and fakes, in equal numbers.

    Parameters and errors are those of `duality_gap`; `steps` trains the discriminator, `seed` also initialises it.
    """
    game = _game_of(fitted, dataset, steps)
    measure = _Measure(fitted, dataset, seed)
    judge = _train(_copy(game, seed, anew=game.players["discriminator"]), "discriminator", measure, steps)
    real, fake = measure.logits(judge, "test")
    return float(0.5 * ((real > 0).double().mean() + (fake < 0).double().mean()))


def _game_of(fitted: FittedModel, dataset: Dataset, steps: int) -> AdversarialGame:
    """The game, or the reason why it is none of those measured here."""
    game = fitted.model
    if not isinstance(game, AdversarialGame) or not {"generator", "discriminator"} <= set(game.players):
        raise CapabilityError(f"{fitted.name} has no duality gap: it is no game of a generator and a discriminator.")
    if not game.adversarial.density_ratio:
        raise CapabilityError(
            f"{fitted.name} has no duality gap: with loss={game.config.loss} the discriminator estimates no probability."
        )
    whole(steps, "steps", 1)
    if dataset.schema.target.shape != fitted.spec.shape:
        raise UsageError(
            f"'{dataset.name}' has examples of shape {dataset.schema.target.shape}, not {fitted.spec.shape}."
        )
    if len(dataset.splits["test"]) < game.config.packing:
        raise DataError(f"'{dataset.name}' has too few test examples to measure on.")
    return game


def _copy(game: AdversarialGame, seed: int = 0, anew: tuple[str, ...] = ()) -> AdversarialGame:
    """A copy in eval mode, with the networks named `anew` as a game of that seed begins with."""
    copied: Any = build(type(game), game.config, game.schema, seed)
    trained = {k: v for k, v in game.state_dict().items() if k.partition(".")[0] not in anew}
    copied.load_state_dict({**copied.state_dict(), **trained})
    return copied.to(next(game.parameters()).device).eval()


class _Measure:
    """Measures games on splits, with the same examples and noise for each of them, and other noise on another split."""

    def __init__(self, fitted: FittedModel, dataset: Dataset, seed: int):
        self.dataset, self.seed, self.device = fitted.labelled(dataset), whole(seed, "seed"), fitted.device

    def loader(self, split: str, game: AdversarialGame, most: int) -> Loader | None:
        """Batches of at most so many examples, in whole packs; None where the split has no pack."""
        packing = game.config.packing
        size = min(most, len(self.dataset.splits[split])) // packing * packing
        options = {"batch_size": size, "seed": self.seed, "device": self.device, "normalise": normalise}
        return Loader(self.dataset, split, **options) if size else None

    @torch.no_grad()
    def logits(self, game: AdversarialGame, split: str) -> tuple[Tensor, Tensor]:
        """Of real examples and of as many fakes; none where the split is too small."""
        noise = torch.Generator().manual_seed(2 * self.seed + (split == "test"))
        loader = self.loader(split, game, CHUNK)
        count = min(MOST, len(loader)) // loader.batch_size if loader else 0
        real, fake = [torch.empty(0)], [torch.empty(0)]
        for batch in (loader.batch(index) for index in range(count) if loader):
            z = game.latents(len(batch), noise).to(self.device)
            real.append(game.logit(batch.x, game.told(batch)).cpu())
            fake.append(game.logit(game.decode(z), game.class_of(z)).cpu())
        return torch.cat(real).double(), torch.cat(fake).double()

    def value(self, game: AdversarialGame, split: str) -> float:
        """V(D, G); NaN where the split is too small."""
        return float(_value(*self.logits(game, split)))


def _value(real: Tensor, fake: Tensor) -> Tensor:
    """E log D(x) + E log(1 - D(G(z))) from logits."""
    return -F.softplus(-real).mean() - F.softplus(fake).mean()


class _Opponent(Game):
    """A game in which one player improves V for itself and the other rests."""

    def __init__(self, game: AdversarialGame, player: str):
        super().__init__(ModelConfig(), game.schema)
        self.game, self.player = _copy(game), player
        self.players = {player: tuple(f"game.{name}" for name in game.players[player])}  # type: ignore[misc]
        self.game.requires_grad_(False)
        self.networks = [self.get_submodule(name).requires_grad_(True) for name in self.players[player]]

    def optimizer(self, player: str, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return self.game.optimizer(player, parameters)

    def play(self, draw: Draw) -> Play:
        batch = draw()
        # Samples as they are measured, and not the fakes of training (of mixed styles, say).
        z = self.game.latents(len(batch), torch.default_generator).to(batch.x.device)
        real, y = batch.x, self.game.told(batch)
        value = _value(self.game.logit(real, y), self.game.logit(self.game.decode(z), self.game.class_of(z)))
        yield Turn(**{self.player: -value if self.player == "discriminator" else value})


def _train(game: AdversarialGame, player: str, measure: _Measure, steps: int) -> AdversarialGame:
    """The strongest opponent on the val split met in so many steps, the start included; the last without such a split."""
    opponent = _Opponent(game, player)
    referee = Referee(opponent)
    loader = measure.loader("train", game, game.config.batch_size)
    if loader is None:
        raise DataError(f"'{measure.dataset.name}' has too few training examples.")
    draw = CountedDraw(loader, Progress())
    sign = 1 if player == "discriminator" else -1
    best, strongest = _copy(game), sign * measure.value(game, "val")
    every = max(1, steps // CHECKS)
    for step in range(steps):
        with own_generators(round_seed(measure.seed, step), measure.device):
            for network in opponent.networks:
                network.train()
            try:
                referee.play_round(draw)
            except NonFinite:
                break
            if (step + 1) % every == 0 or step + 1 == steps:
                opponent.eval()
                strength = sign * measure.value(opponent.game, "val")
                if not strength < strongest:  # nor where both are NaN, for want of a val split
                    best, strongest = _copy(opponent.game), strength
    return best
