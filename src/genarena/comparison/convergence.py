"""Would a verdict last? What the learning curves say of ten times the budget.

Against the logarithm of the images seen curves are about straight, and distances and errors fall by factors. So the curves of
a contender are continued for another tenfold of the budget at twice the rate at which they ended, and a verdict is called
converged where that would not overturn it with any seed: nothing is averaged, since a seed that rises does not make up for one
that falls. What was not watched is unknown, and never converged. How often such verdicts hold is measured by
``benchmarks/converged.py``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..uses import Use
from ..uses.base import Gate
from .recommend import Scores, Verdict, spoken, trusted_of

AHEAD = 10  # times the budget
FASTER = 2.0  # than they moved before: of curves of short trainings about one in ten went on by more than that
LEAST_LOOKS = 4  # at the later half of a tenfold
_WATCHED_AS = {"fd_inf": "fd", "log_likelihood": "elbo"}  # what is watched of a metric that takes too long, or too many


@dataclass(frozen=True)
class Rest:
    """What a verdict rests on: in one metric a contender stays where it is to another, or to a value it has to reach.

    Attributes
    ----------
    key : str
        Of the metric.
    logarithmic : bool
        Whether distances are factors.
    name : str
    other : str or None
    share : float
        Of the other's value that counts.
    room : float
        By so much the two may move together before the verdict is another.
    """

    key: str
    logarithmic: bool
    name: str
    other: str | None
    share: float
    room: float


@dataclass(frozen=True)
class Convergence:
    """Whether a verdict would last.

    Attributes
    ----------
    converged : bool or None
        None where nobody can say.
    moving : tuple of str
        Contenders whose curves still move by too much.
    reason : str
        One sentence.
    """

    converged: bool | None
    reason: str
    moving: tuple[str, ...] = ()


def watched_as(key: str) -> str:
    """The key of the curve that stands for a metric."""
    name, slash, space = key.partition("/")
    return _WATCHED_AS.get(name, name) + slash + space


def trend(points: Sequence[Mapping[str, Any]], *, logarithmic: bool) -> float | None:
    """How fast a curve moves when it ends, either way, by tenfold of the images; None where it has too few points.

    The faster of two straight lines, through its last tenfold and through the later half of that: a curve that has just begun
    to move is as little at rest as one that has not yet stopped.

    Parameters
    ----------
    points : sequence of mapping
        With ``images`` and ``value`` (None or not finite where it was undefined).
    logarithmic : bool
        Whether the value's logarithm is meant, of distances and errors.
    """
    last = max((p["images"] for p in points), default=0)
    late = [p for p in points if 0 < last <= AHEAD * p["images"] * (1 + 1e-3)]
    values = np.array([math.nan if p["value"] is None else p["value"] for p in late], float)
    tenfolds = np.array([math.log(p["images"] / last, AHEAD) for p in late])
    if not (np.isfinite(values) & (values > 0 if logarithmic else True)).all():
        return None
    parts = [tenfolds >= -1.001, tenfolds >= -0.5]
    if min(np.count_nonzero(part) for part in parts) < LEAST_LOOKS:
        return None
    height = np.log(values) if logarithmic else values
    return max(abs(float(np.polyfit(tenfolds[part], height[part], 1)[0])) for part in parts)


def convergence(
    use: Use,
    found: Verdict,
    scores: Mapping[str, Scores],
    self_test: Mapping[str, Mapping[str, Any]],
    curves: Sequence[Mapping[str, Any]],
    spaces: Sequence[str],
    baselines: Collection[str],
) -> Convergence:
    """Whether a verdict would last at ten times the budget.

    Parameters
    ----------
    use : Use
    found : Verdict
        Of `scores`, `self_test`, `spaces` and `baselines`: see `decide`.
    curves : sequence of mapping
        Learning curves as the record has them: ``contender``, ``seed``, ``metric`` and ``points``.
    """
    if found.leader is None:
        return Convergence(None, "There is no leader.")
    if use.grows:
        if found.leader in baselines or not found.cells.keys() & set(baselines):
            return Convergence(True, "It grows with the budget for all who train, and for closed forms not at all.")
        return Convergence(None, "It grows with the budget for all who train, and may pass a closed form's.")
    rests = _on_rivals(use, found)
    for gate in use.gates:
        keys = [key for key in gate.metrics(spaces) if scores.get(key) and trusted_of(key, self_test)[0]]
        rests += [rest for key in keys for rest in _on_gate(gate, key, found, scores[key])]
    moving: dict[str, None] = {}
    for rest in rests:
        moves = {}
        for name, share in ((rest.name, 1.0), (rest.other, rest.share)):
            if name is None or name in baselines:
                continue
            moved = _move(curves, name, watched_as(rest.key), rest.logarithmic)
            if moved is None:
                return Convergence(None, f"No learning curve says where {name} was going by {spoken(rest.key)}.")
            moves[name] = share * moved
        if sum(moves.values()) >= rest.room:
            moving |= dict.fromkeys(name for name, move in moves.items() if move >= rest.room / 2)
    if not moving:
        return Convergence(
            True, f"At ten times the budget {found.leader} would still be ahead, by the learning curves."
        )
    who = " and ".join(moving)
    return Convergence(
        False, f"{who} still moved when the budget ended: ten times as much may overturn it.", tuple(moving)
    )


def _on_rivals(use: Use, found: Verdict) -> list[Rest]:
    """The lead over everybody who is ranked; where there is no winner, the smallest effect of interest."""

    def height(name: str) -> float:
        cell = found.cells[name]
        # Below half its interval a distance cannot be told from zero.
        return math.log(max(cell.value, (cell.high - cell.low) / 2, 1e-12)) if use.relative else cell.value

    leader = found.leader or ""
    least = math.log1p(use.sesoi) if use.relative else use.sesoi
    rivals = [name for name in found.cells if name not in found.excluded and name != leader]
    rooms = {name: abs(height(leader) - height(name)) if found.winner else least for name in rivals}
    return [Rest(found.metric, use.relative, leader, name, 1.0, room) for name, room in rooms.items()]


def _on_gate(gate: Gate, key: str, found: Verdict, scores: Scores) -> list[Rest]:
    """How far everybody is from a gate, on either side of it."""
    values = {name: float(np.mean([s.value or 0 for s in by_seed.values()])) for name, by_seed in scores.items()}
    rests = []
    for name in found.cells.keys() & values.keys():
        others = [other for other in values if other != name] if gate.of_best else []
        best = max(others, key=values.__getitem__, default=None)
        if gate.of_best and best is None:
            continue
        least = gate.least * (values[best] if best else 1.0)
        rests.append(Rest(key, False, name, best, gate.least, abs(values[name] - least)))
    return rests


def _move(curves: Sequence[Mapping[str, Any]], name: str, key: str, logarithmic: bool) -> float | None:
    """The most that another tenfold would move a contender's curve, of all its seeds; None where one is not known."""
    own = [c["points"] for c in curves if c["contender"] == name and c["metric"] == key]
    trends = [trend(points, logarithmic=logarithmic) for points in own]
    known = [found for found in trends if found is not None]
    return FASTER * max(known) if known and len(known) == len(trends) else None
