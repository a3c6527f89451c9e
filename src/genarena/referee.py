"""The referee plays one round of a game: backward into the moving players only, mean over processes, finite check, step.

It also keeps the average of the weights that is served. It knows no data, no budget and no files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import distributed
from .errors import UsageError
from .game import Draw, Game, Part, Report, Stats, Turn
from .precision import PRECISIONS, is_mixed, products_in

_SINGULAR_VECTORS = (".parametrizations.weight.0._u", ".parametrizations.weight.0._v")  # of torch's spectral norm


class NonFinite(Exception):
    """A loss or gradient that is not finite; nothing was stepped in that turn."""

    def __init__(self, player: str, what: str):
        super().__init__(f"{what} of player '{player}' is not finite")
        self.player = player
        self.what = what


class Average:
    """Exponential moving average of a game's weights and floating-point buffers.

    Batch-norm statistics are averaged along with the weights they belong to. Counters are copied, and so are the singular
    vectors of spectral norms: an average of unit vectors is shorter than one, and weights divided by what it gives grow.
    """

    def __init__(self, game: Game, half_life: int):
        self.half_life = half_life
        live = {k: v for k, v in game.state_dict(keep_vars=True).items()}
        self.state = {k: v.detach().clone() for k, v in live.items()}
        floating = [k for k, v in live.items() if v.is_floating_point() and not k.endswith(_SINGULAR_VECTORS)]
        self._live = [live[k].detach() for k in floating]
        self._mean = [self.state[k] for k in floating]
        self._copied = [(self.state[k], v.detach()) for k, v in live.items() if k not in set(floating)]

    def update(self, batch_images: int, images: int) -> None:
        """Move towards the live weights after a round of `batch_images`, `images` seen so far."""
        half_life = min(self.half_life, 0.05 * images)
        torch._foreach_lerp_(self._mean, self._live, 1 - 0.5 ** (batch_images / max(half_life, 1e-8)))
        for mean, live in self._copied:
            mean.copy_(live)


@dataclass
class Round:
    """Losses and terms of one round, still on the device."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    terms: dict[str, Tensor] = field(default_factory=dict)
    gradient_norms: dict[str, Tensor] = field(default_factory=dict)


class Referee:
    """Trains the players of a game, one round at a time.

    Parameters
    ----------
    game : Game
        In train mode, on its device.

    Attributes
    ----------
    rate : float
        Factor on every learning rate (halved by a roll-back).
    """

    def __init__(self, game: Game):
        self.game = game
        self.parameters = {player: game.parameters_of(player) for player in game.players}
        self.optimizers = {p: game.optimizer(p, parameters) for p, parameters in self.parameters.items()}
        self.rate = 1.0
        self._initial = {p: [g["lr"] for g in optimizer.param_groups] for p, optimizer in self.optimizers.items()}
        half_life = getattr(game.config, "average_images", 0)
        self.precision = PRECISIONS[getattr(game.config, "precision", "float32")]
        if self.precision is not torch.float32 and not is_mixed(game):
            raise UsageError(
                "precision=bfloat16 would change nothing: no network of this model has a method that is decorated with "
                "genarena.precision.mixed."
            )
        self._pending: dict[str, Tensor] = {}  # losses of a turn that is not complete yet
        self.average = Average(game, half_life) if half_life else None

    def _set_rates(self, images: int) -> None:
        """Learning rates are a pure function of the configuration, the roll-backs and the images seen."""
        halve = getattr(self.game.config, "halve_images", 0)
        rate = self.rate * 0.5 ** (images / halve) if halve else self.rate
        for player, optimizer in self.optimizers.items():
            for group, initial in zip(optimizer.param_groups, self._initial[player], strict=True):
                group["lr"] = initial * rate

    def play_round(self, draw: Draw) -> Round:
        """Play one round and average the weights.

        Raises
        ------
        NonFinite
            Naming the player; that turn was not stepped, and gradients are cleared.
        """
        result = Round()
        before = draw.images
        self._set_rates(before)
        moves = self.game.play(draw)
        answer: Report | dict[str, Tensor] | None = None
        while True:
            try:
                with products_in(self.precision):
                    move = moves.send(answer)  # type: ignore[attr-defined]
            except StopIteration:
                break
            if isinstance(move, Stats):
                answer = {name: number.detach().clone() for name, number in move.numbers.items()}
                distributed.mean_(answer.values())
            else:
                self._differentiate(move, result)
                answer = None if isinstance(move, Part) else self._settle(list(move.losses), result)
        if self.average:
            self.average.update(draw.images - before, draw.images)
        return result

    def _differentiate(self, turn: Turn, result: Round) -> None:
        """Gradients of every moving player from the shared forward, on top of those of the parts before."""
        players = list(turn.losses)
        for player in players:
            turn.losses[player].backward(inputs=self.parameters[player], retain_graph=player != players[-1])
            loss = turn.losses[player].detach()
            self._pending[player] = self._pending[player] + loss if player in self._pending else loss
        result.terms.update({name: term.detach() for name, term in turn.terms.items()})

    def _settle(self, players: list[str], result: Round) -> Report:
        """The mean of the gradients over processes, a look at whether they are finite, then all players' steps."""
        losses, self._pending = self._pending, {}
        gradients = {p: [w.grad for w in self.parameters[p] if w.grad is not None] for p in players}
        distributed.mean_([*losses.values(), *(g for group in gradients.values() for g in group)])
        norms = {p: torch.linalg.vector_norm(torch.stack(torch._foreach_norm(g))) for p, g in gradients.items() if g}
        for player in players:
            # One look a player and turn; a norm is non-finite where any gradient is.
            if not math.isfinite(losses[player] + norms.get(player, 0.0)):
                what = "the gradient" if math.isfinite(losses[player]) else "the loss"
                self._clear(players)
                raise NonFinite(player, what)
        for player in players:
            self.optimizers[player].step()
        self._clear(players)
        result.losses.update(losses)
        result.gradient_norms.update(norms)
        return Report(losses, norms)

    def _clear(self, players: list[str]) -> None:
        for player in players:
            for weight in self.parameters[player]:
                weight.grad = None

    def optimizer_state(self) -> dict[str, Tensor]:
        """Every optimizer tensor under ``player.index.name``."""
        flat = {}
        for player, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                for name, value in state.items():
                    flat[f"{player}.{index}.{name}"] = torch.as_tensor(value)
        return flat

    def load_optimizer_state(self, flat: dict[str, Tensor]) -> None:
        """Restore what `optimizer_state` gave.

        Moments take their weight's memory layout: fused kernels walk both by storage order.
        """
        for player, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in flat.items():
                owner, index, name = key.rsplit(".", 2)
                if owner == player:
                    weight = self.parameters[player][int(index)]
                    if name != "step" and value.shape != weight.shape:  # kernels do not look
                        raise ValueError(f"{key[:80]} has another shape than its weight")
                    moment = torch.empty_like(weight).copy_(value) if name != "step" else value
                    state.setdefault(int(index), {})[name] = moment
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
