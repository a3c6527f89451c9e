"""From scores to a verdict for each use, in words fixed beforehand.

- winner: the leader beats every rival; each paired interval excludes zero, and the lead is not below the smallest effect
  of interest.
- too close to call: the interval of the lead over the runner-up lies within the smallest effect of interest.
- undecided: anything else: the interval is too wide, another feature space ranks the leader clearly behind, there is one
  seed only, or no metric passed its self-test.
- not possible: no contender can, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..metrics import Score
from ..uses import METRICS, Use
from .statistics import Block, Interval

Scores = Mapping[str, Mapping[int, Score]]  # contender -> seed -> score


@dataclass(frozen=True)
class Verdict:
    """What is concluded for one use.

    Attributes
    ----------
    verdict : str
        ``winner``, ``too close to call``, ``undecided`` or ``not possible``.
    leader, winner, runner_up : str or None
    difference : Interval or None
        Lead over the runner-up, positive where the leader is better.
    sesoi : float or None
        In the metric's unit.
    metric : str
        Key of the metric that decided.
    reason : str
        One sentence.
    cells : mapping of str to Interval
        Contenders that have a value on every seed they ran.
    """

    verdict: str
    metric: str
    reason: str
    leader: str | None = None
    winner: str | None = None
    runner_up: str | None = None
    difference: Interval | None = None
    sesoi: float | None = None
    cells: Mapping[str, Interval] = field(default_factory=dict)


def decide(
    use: Use,
    scores: Mapping[str, Scores],
    spaces: Sequence[str],
    usable: Mapping[str, Mapping[str, Any]],
    baselines: Sequence[str],
    failed: Mapping[str, int] | None = None,
) -> Verdict:
    """Reach the verdict of one use.

    Parameters
    ----------
    use : Use
    scores : mapping
        Metric key -> contender -> seed -> score; only scores with a value.
    spaces : sequence of str
        Feature spaces, most meaningful first.
    usable : mapping
        Metric key -> ``{"usable": bool, "why": ...}`` of the evaluator's self-test; keys not named are usable.
    baselines : sequence of str
        Contenders that train in closed form.
    failed : mapping, optional
        Contender -> how many of its runs failed or are missing; a leader with more than one such cannot win.
    """
    keys = [key for key in use.metrics(spaces) if scores.get(key)]
    if not keys:
        return Verdict("not possible", use.metrics(spaces)[0], "No contender can be measured for this use.")
    trusted = [key for key in keys if usable.get(key, {}).get("usable", True)]
    primary = (trusted or keys)[0]
    sign = 1 if use.better == "high" else -1
    blocks = {key: block_of(key, scores[key], baselines, use.relative) for key in keys}
    cells = {name: blocks[primary].mean(name) for name in scores[primary]}
    if not trusted:
        why = usable[primary].get("why") or "it does not behave on these data"
        return Verdict("undecided", primary, f"No metric of this use passed its self-test: {why}.", cells=cells)
    excluded = _excluded(use, scores, spaces, usable, baselines, list(cells))
    eligible = [name for name in cells if name not in excluded]
    ranked = sorted(eligible, key=lambda name: sign * cells[name].value, reverse=True)
    if not ranked:
        reason = "No contender can win: " + ", ".join(f"{name} {why}" for name, why in excluded.items())
        return Verdict("undecided", primary, f"{reason}.", cells=cells)
    lost = (failed or {}).get(ranked[0], 0)
    caveat = f"; {lost} of its {lost + len(scores[primary][ranked[0]])} runs failed" if lost else ""
    if len(ranked) == 1:
        only = ranked[0]
        if excluded:
            reason = f"Only {only} can win: " + ", ".join(f"{name} {why}" for name, why in excluded.items()) + caveat
        else:
            reason = f"Only {only} has a result: the others cannot, or failed{caveat}"
        if len(scores[primary][only]) < 2 and any(name not in baselines for name in excluded):
            reason += "; but one seed says nothing about the next."
            return Verdict("undecided", primary, reason, leader=only, cells=cells)
        if lost > 1:
            return Verdict("undecided", primary, f"{reason}.", leader=only, cells=cells)
        return Verdict("winner", primary, f"{reason}.", leader=only, winner=only, cells=cells)
    leader, runner_up = ranked[:2]
    sesoi = use.sesoi * abs(cells[leader].value) if use.relative else use.sesoi
    shared = {rival: len(set(scores[primary][leader]) & set(scores[primary][rival])) for rival in ranked[1:]}
    leads = {rival: _lead(blocks[primary], leader, rival, sign) for rival in ranked[1:] if shared[rival]}
    found = Verdict("undecided", primary, "", leader, None, runner_up, leads.get(runner_up), sesoi, cells)
    if len(leads) < len(shared):
        return replace(
            found, reason=f"{leader} is ahead, but shares no seed with {min(shared, key=shared.__getitem__)}."
        )
    seeds = shared[runner_up]
    if seeds < 2 or (not blocks[primary].residual_freedom and min(shared.values()) < 2):
        return replace(found, reason=f"{leader} is ahead, but one seed says nothing about the next.")
    if lost > 1:
        return replace(found, reason=f"{leader} is ahead{caveat}.")
    lead = leads[runner_up]
    against = _contradiction(use, [(key, blocks[key]) for key in trusted[1:]], leader, ranked[1:], sign)
    if against:
        return replace(found, reason=f"{leader} is ahead, but {against[0]} is clearly better by {_spoken(against[1])}.")
    if -sesoi < lead.low and lead.high < sesoi:
        reason = f"{leader} and {runner_up} differ by less than {use.sesoi_text}."
        return replace(found, verdict="too close to call", reason=reason)
    unclear = [rival for rival, gap in leads.items() if gap.low <= 0]
    if unclear:
        reason = f"{leader} is ahead of {unclear[0]}, but {shared[unclear[0]]} seeds leave the difference unclear."
        return replace(found, reason=reason)
    if lead.value < sesoi:
        reason = f"{leader} leads {runner_up} by less than {use.sesoi_text}."
        return replace(found, verdict="too close to call", reason=reason)
    reason = f"{leader} beats {runner_up}, the next best, on all {seeds} seeds taken together{caveat}."
    return replace(found, verdict="winner", winner=leader, reason=reason)


def _spoken(key: str) -> str:
    """A metric's key for people: its title, and the feature space where it has one."""
    name, _, space = key.partition("/")
    return METRICS[name].title + (f" ({space})" if space else "")


def block_of(key: str, by_name: Scores, baselines: Sequence[str], relative: bool) -> Block:
    """The statistics of one metric."""
    return Block(by_name, fixed=baselines, relative=relative, bounds=METRICS[key.partition("/")[0]].bounds)


def _lead(block: Block, leader: str, rival: str, sign: int) -> Interval:
    return block.difference(leader, rival) if sign > 0 else block.difference(rival, leader)


def _excluded(
    use: Use,
    scores: Mapping[str, Scores],
    spaces: Sequence[str],
    usable: Mapping[str, Mapping[str, Any]],
    baselines: Sequence[str],
    names: Sequence[str],
) -> dict[str, str]:
    """Contenders that may not win, and what is wrong with them; a baseline may where there is nobody else."""
    found: dict[str, str] = {}
    if not use.baselines_win and set(names) - set(baselines):
        found = {name: "is a baseline" for name in names if name in baselines}
    gate = use.gate
    if gate is None:
        return found
    for key in gate.metrics(spaces):
        trusted = usable.get(f"{gate.rests_on}/{key.partition('/')[2]}", {}).get("usable", True)
        if not trusted or not scores.get(key):
            continue
        reached = {
            name: float(np.mean([s.value or 0 for s in by_seed.values()])) for name, by_seed in scores[key].items()
        }
        least = gate.least * (max(reached.values()) if gate.of_best else 1.0)
        for name in names:
            if name not in reached:
                found.setdefault(name, f"has no {_spoken(key).lower()}")
            elif reached[name] < least:
                found.setdefault(name, gate.missed)
    return found


def _contradiction(
    use: Use, others: Sequence[tuple[str, Block]], leader: str, rivals: Sequence[str], sign: int
) -> tuple[str, str] | None:
    """A rival that another metric puts ahead of the leader by more than the smallest effect of interest."""
    for key, block in others:
        for rival in rivals:
            if leader in block.scores and rival in block.scores:
                behind = _lead(block, rival, leader, sign)
                sesoi = use.sesoi * abs(block.mean(rival).value) if use.relative else use.sesoi
                if behind.value > sesoi and behind.low > 0:
                    return rival, key
    return None
