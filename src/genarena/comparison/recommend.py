"""From scores to a verdict for each use, in words fixed beforehand.

- winner: the leader beats every rival; each paired interval excludes zero, and the lead is not below the smallest effect
  of interest.
- too close to call: the interval of the lead over the runner-up lies within the smallest effect of interest.
- undecided: anything else: the interval is too wide, another feature space ranks the leader clearly behind, there is one
  seed only, several of the leader's runs failed, everybody misses a gate, it is unclear whether the leader does or whether
  another does that it does not beat, or no metric passed its self-test.
- not possible: no contender can, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..metrics import Score
from ..metrics.score import trust
from ..uses import METRICS, Use
from ..uses.base import Gate
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
    excluded : mapping of str to str
        Contenders that may not win, and what is wrong with them.
    more_seeds : bool
        Whether it is the seeds that are too few to tell.
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
    excluded: Mapping[str, str] = field(default_factory=dict)
    more_seeds: bool = False

    @property
    def provisional(self) -> bool:
        """Whether a leader is named though nobody has won."""
        return self.leader is not None and self.verdict == "undecided"


def decide(
    use: Use,
    scores: Mapping[str, Scores],
    spaces: Sequence[str],
    self_test: Mapping[str, Mapping[str, Any]],
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
    self_test : mapping
        Metric key -> ``{"usable": bool, "why": ...}`` by the evaluator; what is not named and not evident decides nothing.
    baselines : sequence of str
        Contenders that train in closed form.
    failed : mapping, optional
        Contender -> how many of its runs failed or are missing; a leader with more than one such cannot win.
    """
    keys = [key for key in use.metrics(spaces) if scores.get(key)]
    if not keys:
        return Verdict("not possible", use.metrics(spaces)[0], "No contender can be measured for this use.")
    trusted = [key for key in keys if trusted_of(key, self_test)[0]]
    primary = (trusted or keys)[0]
    blocks = {key: block_of(key, scores[key], baselines, use.relative) for key in keys}
    cells = {name: blocks[primary].mean(name) for name in scores[primary]}
    sign = 1 if use.better == "high" else -1
    order = sorted(cells, key=lambda name: (-sign * cells[name].value, name))
    undecided = Verdict("undecided", primary, "", cells=cells)
    provisional = replace(undecided, leader=order[0], runner_up=order[1] if order[1:] else None)
    if not trusted:
        why = trusted_of(primary, self_test)[1]
        reason = f"No metric of this use can be trusted on these data: {spoken(primary)}: {why}"
        return replace(provisional, reason=f"{reason}. By its figures {order[0]} is ahead, provisionally.")
    excluded: dict[str, str] = {}
    doubts: dict[str, str] = {}
    surely_out: set[str] = set()
    for gate in use.gates:
        missed, unclear, why = _missed(gate, scores, spaces, self_test, list(cells), baselines)
        if why:
            return replace(provisional, reason=f"{why}. {order[0]} is ahead, provisionally.")
        excluded, doubts = {**missed, **excluded}, {**dict.fromkeys(unclear, gate.missed), **doubts}
        surely_out |= missed.keys() - set(unclear)
    doubts = {name: wrong for name, wrong in doubts.items() if name not in surely_out}
    excluded = {name: f"probably {doubts[name]}" if name in doubts else why for name, why in excluded.items()}
    ranked = [name for name in order if name not in excluded]
    told = ", ".join(f"{name} {excluded[name]}" for name in cells if name in excluded)
    undecided = replace(undecided, excluded=excluded)
    if not ranked:
        return replace(undecided, reason=f"No contender can win: {told}.")
    leader = ranked[0]
    sesoi = use.sesoi * abs(cells[leader].value) if use.relative else use.sesoi
    undecided = replace(undecided, leader=leader)
    lost = (failed or {}).get(leader, 0)
    failures = f"{lost} of the {lost + len(scores[primary][leader])} runs of {leader} failed"
    if len(ranked) == 1:
        reason = (
            f"Only {leader} can win: {told}" if told else f"Only {leader} has a result: the others cannot, or failed"
        )
        found = replace(undecided, verdict="winner", winner=leader, reason=f"{reason}.")
        if len(scores[primary][leader]) < 2 and any(name not in baselines for name in excluded):
            found = replace(undecided, reason=f"{reason}; but one seed says nothing about the next.", more_seeds=True)
    else:
        found = _against_rivals(use, scores[primary], {key: blocks[key] for key in trusted}, ranked, undecided, sesoi)
        if primary.endswith("/pca") and leader in baselines:
            reason = f"{leader} is ahead, but in linear features alone, which a linear baseline fits by construction."
            found = replace(found, verdict="undecided", winner=None, reason=reason, more_seeds=False)
    if found.winner:
        found = _in_doubt(found, doubts, blocks[primary], sign, sesoi)
    if lost > 1 and found.winner:
        reason = f"{leader} is ahead." if ranked[1:] else found.reason
        found = replace(found, verdict="undecided", winner=None, reason=reason)
    reason = found.reason + f" {failures}." * bool(lost) + f" Not ranked: {told}." * (told not in found.reason)
    return replace(found, reason=reason)


def _in_doubt(found: Verdict, doubts: Mapping[str, str], block: Block, sign: int, sesoi: float) -> Verdict:
    """A winner stays one if it surely passed the gates, and beats whoever may have passed them too, by what matters."""
    leader = found.leader or ""

    def beaten(rival: str) -> bool:
        lead = _lead(block, leader, rival, sign) if _can_tell(block, leader, rival) else None
        return lead is not None and lead.low > 0 and lead.value >= sesoi

    open_to = [leader] * (leader in doubts) + [name for name in doubts if name in found.excluded and not beaten(name)]
    if not open_to:
        return found
    who = "it" if open_to[0] == leader else open_to[0]
    reason = f"{leader} is ahead, but there are too few seeds to tell whether {who} {doubts[open_to[0]]}."
    return replace(found, verdict="undecided", winner=None, reason=reason, more_seeds=True)


def _shared(block: Block, one: str, other: str) -> set[int]:
    """Seeds that both have."""
    return set(block.scores[one]) & set(block.scores[other])


def _can_tell(block: Block, one: str, other: str | None = None) -> bool:
    """Whether an interval of a value, or of a difference, knows how far seeds spread it."""
    seeds = _shared(block, one, other or one)
    freedom = block.residual_freedom if other else block.spread_freedom
    return len(seeds) > 1 or (len(seeds) == 1 and (freedom > 0 or {one, other or one} <= block.fixed))


def _against_rivals(
    use: Use, scores: Scores, blocks: Mapping[str, Block], ranked: Sequence[str], undecided: Verdict, sesoi: float
) -> Verdict:
    """The verdict on a leader and its rivals, by the trusted metrics' blocks, the deciding one first."""
    sign = 1 if use.better == "high" else -1
    leader, runner_up = ranked[:2]
    (_, block), *others = blocks.items()
    shared = {rival: len(_shared(block, leader, rival)) for rival in ranked[1:]}
    leads = {rival: _lead(block, leader, rival, sign) for rival in ranked[1:] if shared[rival]}
    found = replace(undecided, runner_up=runner_up, difference=leads.get(runner_up), sesoi=sesoi)
    if len(leads) < len(shared):
        stranger = next(rival for rival in shared if rival not in leads)
        return replace(found, reason=f"{leader} is ahead, but shares no seed with {stranger}.", more_seeds=True)
    if shared[runner_up] < 2 or (not block.residual_freedom and min(shared.values()) < 2):
        return replace(found, reason=f"{leader} is ahead, but one seed says nothing about the next.", more_seeds=True)
    lead = leads[runner_up]
    against = _contradiction(use, others, leader, ranked[1:], sign)
    if against:
        return replace(found, reason=f"{leader} is ahead, but {against[0]} is clearly better by {spoken(against[1])}.")
    if -sesoi < lead.low and lead.high < sesoi:
        reason = f"{leader} and {runner_up} differ by less than {use.sesoi_text}."
        return replace(found, verdict="too close to call", reason=reason)
    unclear = [rival for rival, gap in leads.items() if gap.low <= 0]
    if unclear:
        seeds = f"{shared[unclear[0]]} seed{'s leave' if shared[unclear[0]] > 1 else ' leaves'}"
        reason = f"{leader} is ahead of {unclear[0]}, but {seeds} the difference unclear."
        return replace(found, reason=reason, more_seeds=True)
    if lead.value < sesoi:
        reason = f"{leader} leads {runner_up} by less than {use.sesoi_text}."
        return replace(found, verdict="too close to call", reason=reason)
    reason = f"{leader} beats {runner_up}, the next best, on all {shared[runner_up]} seeds taken together."
    return replace(found, verdict="winner", winner=leader, reason=reason)


def trusted_of(key: str, self_test: Mapping[str, Mapping[str, Any]]) -> tuple[bool, str | None]:
    """Whether a metric may decide, and why not."""
    name, _, space = key.partition("/")
    return trust(METRICS[name], space, self_test)


def spoken(key: str) -> str:
    """A metric's key for people: its title, and the feature space where it has one."""
    name, _, space = key.partition("/")
    return METRICS[name].title + (f" ({space})" if space else "")


def block_of(key: str, by_name: Scores, baselines: Sequence[str], relative: bool) -> Block:
    """The statistics of one metric."""
    return Block(by_name, fixed=baselines, relative=relative, bounds=METRICS[key.partition("/")[0]].bounds)


def _lead(block: Block, leader: str, rival: str, sign: int) -> Interval:
    return block.difference(leader, rival) if sign > 0 else block.difference(rival, leader)


def _missed(
    gate: Gate,
    scores: Mapping[str, Scores],
    spaces: Sequence[str],
    self_test: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    baselines: Sequence[str],
) -> tuple[dict[str, str], list[str], str | None]:
    """Contenders that miss a gate, with what is wrong with them; those of whom other seeds might say the contrary; or why
    the gate cannot be judged."""
    missed: dict[str, str] = {}
    sure: set[str] = set()
    unclear: set[str] = set()
    measured = [key for key in gate.metrics(spaces) if scores.get(key)]
    trusted = [key for key in measured if trusted_of(key, self_test)[0]]
    if measured and not trusted:
        return {}, [], f"{spoken(measured[0])} cannot be judged: {trusted_of(measured[0], self_test)[1]}"
    for key in trusted:
        known = {name: by_seed for name, by_seed in scores[key].items() if by_seed}
        values = {name: float(np.mean([s.value or 0 for s in by_seed.values()])) for name, by_seed in known.items()}
        for name in names:
            if name not in values:
                missed.setdefault(name, f"has no {spoken(key).lower()}")
                sure.add(name)
                continue
            others = [other for other in values if other != name] if gate.of_best else []
            if gate.of_best and not others:
                continue
            best = max(others, key=values.__getitem__, default=None)
            least = gate.least * (values[best] if best else 1.0)
            low, high = _margin(key, known, baselines, name, best, gate.least)
            if values[name] < least:
                missed.setdefault(name, gate.missed)
                (sure if high < 0 else unclear).add(name)
            elif low < 0:
                unclear.add(name)
    return missed, [name for name in names if name in unclear - sure], None


def _margin(
    key: str, scores: Scores, baselines: Sequence[str], name: str, best: str | None, least: float
) -> tuple[float, float]:
    """The interval of what a contender has above what it has to reach: a share of the best other one's, or a value."""
    if best is None:
        block = block_of(key, scores, baselines, relative=False)
        found = block.mean(name)
        return (found.low - least, found.high - least) if _can_tell(block, name) else (-np.inf, np.inf)
    share = {seed: _times(score, least) for seed, score in scores[best].items()}
    block = block_of(key, {**scores, best: share}, baselines, relative=False)
    if not _can_tell(block, name, best):
        return -np.inf, np.inf
    found = block.difference(name, best)
    return found.low, found.high


def _times(score: Score, factor: float) -> Score:
    return replace(score, value=factor * (score.value or 0), replicates=tuple(factor * r for r in score.replicates))


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
