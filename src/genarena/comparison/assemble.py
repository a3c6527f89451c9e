"""From finished runs to ``comparison.json``: every number behind the report (its schema: docs/comparison-schema.md)."""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..budget import Budget
from ..checkpoint import RunFolder
from ..data import Dataset, ImageSpec
from ..data.inspect import duplicates, summary
from ..errors import GenarenaError
from ..events import read_events
from ..files import copy_file, write_json
from ..fitted import FittedModel, load_model
from ..metrics import Evaluator, Score
from ..uses import METRICS, USES, Use, why_not
from .commands import more_seeds, pasted, use_command
from .convergence import convergence
from .measure import by_meaning, read_scores, real_picture, weights_of
from .plan import Cell, Plan
from .recommend import Verdict, block_of, decide, trusted_of
from .run import Outcome
from .statistics import Block, Interval

_PICTURES = ("samples", "reconstructions", "interpolations", "nearest")


@dataclass(frozen=True)
class Finished:
    """A run whose model and scores can be read; the model itself is kept for the first run of a contender on a view."""

    cell: Cell
    folder: Path
    threads: int
    fitted: FittedModel | None
    result: dict[str, Any]
    scores: dict[str, Score]


def assemble(
    folder: Path,
    plan: Plan,
    dataset: Dataset,
    evaluator: Evaluator,
    outcomes: Sequence[Outcome],
    *,
    command: str,
    source: str | None,
) -> dict[str, Any]:
    """Write ``comparison.json`` and the pictures it names; returns the record.

    `command` is what began the comparison, `source` the data's name or path as the user gave it, where they have one.
    """
    reasons = {outcome.cell: outcome.reason for outcome in outcomes if outcome.status == "failed"}
    finished, damaged = _read_runs(folder, plan, evaluator, reasons)
    reasons.update({outcome.cell: damaged[outcome.cell] for outcome in outcomes if outcome.cell in damaged})
    unfinished = set(plan.cells) - {run.cell for run in finished}
    table = _table(finished)
    curves = [c for run in finished for c in curves_of(run.cell.contender, run.cell.seed, run.folder)]
    spaces = by_meaning(evaluator)
    label = dataset.schema.label
    default = Budget.default(len(dataset.splits["train"]))
    trained = {c.name for c in plan.contenders} - set(plan.baselines())
    settle = dict(zip(("seeds", "command"), more_seeds(command, len(plan.seeds)), strict=True))
    fitted = {c.name: next((f.fitted for f in finished if f.cell.contender == c.name), None) for c in plan.contenders}
    record = {
        "format": 1,
        "genarena": __version__,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": pasted(shlex.split(command)),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "schema": dataset.schema.to_json(),
            "summary": summary(dataset),
            "counts": {name: len(rows) for name, rows in dataset.splits.items()},
            "notes": [*dataset.notes, *evaluator.notes],
            "quarantined": [{"path": q.path, "reason": q.reason} for q in dataset.quarantined],
            "duplicates": duplicates(dataset),
        },
        "plan": {
            "contenders": [c.name for c in plan.contenders],
            "seeds": list(plan.seeds),
            "budget": str(plan.budget),
            "default_budget": str(default),
            "below_default": any(f.result["images"] < default.amount for f in finished if f.cell.contender in trained),
            "views": list(plan.views),
            "device": plan.device,
            "checkpoint": plan.checkpoint,
            "hidden": list(plan.hidden),
            "normal": plan.normal,
            "threads": max((f.threads for f in finished), default=None),
        },
        "evaluator": {
            "hash": evaluator.hash,
            "n": evaluator.n,
            "k": evaluator.k,
            "spaces": [
                {"id": s.id, "dim": s.dim, "trained_on": s.trained_on, "detail": s.detail}
                for s in evaluator.spaces.values()
            ],
        },
        "contenders": [_contender(c.name, fitted[c.name], finished) for c in plan.contenders],
        "runs": [_run(cell, plan, finished, reasons) for cell in plan.cells],
        "metrics": [_metric(key, table[key], evaluator, plan.baselines()) for key in table],
        "uses": [
            {
                **_use(USES[name], plan, unfinished, table, fitted, spaces, evaluator, curves, settle),
                "command": use_command(USES[name], folder, source, label.classes if label else ()),
            }
            for name in plan.uses
        ],
        "curves": curves,
        "spectra": _spectra(finished, evaluator),
        "pictures": _pictures(folder, plan, dataset, evaluator, finished),
    }
    write_json(folder / "comparison.json", record)
    return record


def _read_runs(
    folder: Path, plan: Plan, evaluator: Evaluator, failed: Collection[Cell]
) -> tuple[list[Finished], dict[Cell, str]]:
    """Runs that reached this budget, and why others cannot be read; one that failed now does not speak with an older model."""
    finished: list[Finished] = []
    damaged: dict[Cell, str] = {}
    for cell in plan.cells:
        if cell in failed:
            continue
        run = folder / "runs" / cell.id
        try:
            scores = read_scores(run, evaluator.hash, checkpoint=plan.checkpoint)
            result = RunFolder(run).read_result()
            if scores is None or result["budget"] != str(plan.budget):
                damaged[cell] = f"'{run}' holds no scores of this budget by this evaluator"
                continue
            own = plan.contender(cell.contender).model_class
            fitted = load_model(run, own=own, checkpoint=weights_of(result, plan.checkpoint)[0])
            first = not any(f.cell.contender == cell.contender and f.cell.view == cell.view for f in finished)
            threads = fitted.record.get("threads", 1)
            finished.append(Finished(cell, run, threads, fitted if first else None, result, scores))
        except (GenarenaError, OSError) as error:
            damaged[cell] = str(error)
    return finished, damaged


def _table(finished: Sequence[Finished]) -> dict[str, dict[str, dict[int, Score]]]:
    """Metric key -> contender -> seed -> score."""
    table: dict[str, dict[str, dict[int, Score]]] = {}
    for run in finished:
        for key, score in run.scores.items():
            table.setdefault(key, {}).setdefault(run.cell.contender, {})[run.cell.seed] = score
    return table


def _valued(by_name: Mapping[str, Mapping[int, Score]]) -> dict[str, dict[int, Score]]:
    """Contenders with a value on every seed they ran."""
    return {name: dict(s) for name, s in by_name.items() if all(x.value is not None for x in s.values())}


def _contender(name: str, fitted: FittedModel | None, finished: Sequence[Finished]) -> dict[str, Any]:
    run = next((f for f in finished if f.cell.contender == name), None)
    if fitted is None or run is None:
        return {"name": name, "title": name, "summary": "no run finished", "capabilities": {}, "parameters": {}}
    return {
        "name": name,
        "title": fitted.model.title or name,
        "summary": fitted.model.summary,
        "capabilities": dict(fitted.capabilities()),
        "parameters": run.result["parameters"],
    }


def _run(cell: Cell, plan: Plan, finished: Sequence[Finished], reasons: Mapping[Cell, str | None]) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": cell.id, "contender": cell.contender, "seed": cell.seed, "view": cell.view}
    if cell.view == "detect":
        entry["hidden"] = ", ".join(plan.hidden)
    done = next((f for f in finished if f.cell == cell), None)
    if done is None:
        status = "failed" if cell in reasons else "missing"
        return {**entry, "status": status, "reason": reasons.get(cell, "not run yet")}
    result = done.result
    speed = done.scores.get("sample_images_per_second")
    return {
        **entry,
        "status": "done",
        "reason": None,
        "images": result["images"],
        "train_seconds": result["seconds"],
        "cpu_seconds": result["cpu_seconds"],
        "images_per_second": round(result["images"] / max(result["seconds"], 1e-9), 1),
        "sample_images_per_second": round(speed.value, 1) if speed and speed.value else None,
        "peak_memory_mb": result["peak_memory_mb"],
        "rollbacks": result["rollbacks"],
        "warnings": result["warnings"],
        "alarms": result.get("alarms", []),
        "checkpoint": weights_of(result, plan.checkpoint)[0],
        "sha256": weights_of(result, plan.checkpoint)[1],
        "best": {k: best[k] for k in ("fd", "images")} if (best := result.get("best")) else None,
    }


def _metric(
    key: str, by_name: Mapping[str, Mapping[int, Score]], evaluator: Evaluator, baselines: Sequence[str]
) -> dict[str, Any]:
    metric = METRICS[key.partition("/")[0]]
    usable, why = trusted_of(key, evaluator.self_test)
    floor = evaluator.floor.get(key)
    first = next(iter(next(iter(by_name.values())).values()))
    block = block_of(key, _valued(by_name), baselines, metric.better == "low")
    return {
        "name": key,
        "title": _titled(key),
        "unit": metric.unit,
        "better": metric.better,
        "about": metric.about,
        "reference": metric.reference,
        "usable": usable,
        "why": why,
        "n": first.n,
        "floor": floor.value if floor else None,
        "ceilings": {title: scores[key].value for title, scores in evaluator.ceilings.items() if key in scores},
        "scores": {name: _score(by_seed, block, name) for name, by_seed in by_name.items()},
    }


def _score(by_seed: Mapping[int, Score], block: Block, name: str) -> dict[str, Any]:
    values = {str(seed): score.value for seed, score in sorted(by_seed.items())}
    if name not in block.scores:
        reason = next(score.reason for score in by_seed.values() if score.value is None)
        return {"by_seed": values, "mean": None, "low": None, "high": None, "reason": reason}
    found = block.mean(name)
    return {"by_seed": values, "mean": found.value, "low": found.low, "high": found.high, "reason": None}


def _use(
    use: Use,
    plan: Plan,
    unfinished: Collection[Cell],
    table: Mapping[str, Mapping[str, Mapping[int, Score]]],
    fitted: Mapping[str, FittedModel | None],
    spaces: Sequence[str],
    evaluator: Evaluator,
    curves: Sequence[Mapping[str, Any]],
    settle: Mapping[str, Any],
) -> dict[str, Any]:
    valued = {key: _valued(by_name) for key, by_name in table.items()}
    lost = Counter(cell.contender for cell in unfinished if cell.view == use.view)
    found = decide(use, valued, spaces, evaluator.self_test, plan.baselines(), lost)
    metric = METRICS[found.metric.partition("/")[0]]
    has_labels = evaluator.dataset.schema.label is not None
    lasting = convergence(use, found, valued, evaluator.self_test, curves, spaces, plan.baselines())
    return {
        "name": use.name,
        "title": use.title,
        "aim": use.aim,
        "question": use.question,
        "metric": found.metric,
        "unit": metric.unit,
        "better": use.better,
        "sesoi": found.sesoi,
        "sesoi_text": use.sesoi_text,
        "verdict": found.verdict,
        "winner": found.winner,
        "leader": found.leader,
        "runner_up": found.runner_up,
        "difference": _interval(found.difference) if found.difference else None,
        "provisional": found.provisional,
        "converged": lasting.converged,
        "convergence": lasting.reason,
        "moving": list(lasting.moving),
        "settle": settle if found.more_seeds else None,
        "reason": found.reason + _hidden(plan) * (use.view == "detect"),
        "cells": {c.name: _cell(use, c.name, found, table, fitted[c.name], has_labels) for c in plan.contenders},
        "table": _probe_table(valued) if use.name == "reduce" else None,
    }


def _hidden(plan: Plan) -> str:
    """What training never saw, for the reason of a verdict."""
    shown = ", ".join(plan.hidden[:8]) + (f" and {len(plan.hidden) - 8} more" if plan.hidden[8:] else "")
    return f" Hidden from training: class{'es' if len(plan.hidden) > 1 else ''} {shown}."


def _interval(found: Interval) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _cell(
    use: Use,
    name: str,
    found: Verdict,
    table: Mapping[str, Mapping[str, Mapping[int, Score]]],
    fitted: FittedModel | None,
    has_labels: bool,
) -> dict[str, Any]:
    """A contender's value for a use, or the reason it has none."""
    if name in found.cells:
        why = f"not ranked: {found.excluded[name]}" if name in found.excluded else None
        return {**_interval(found.cells[name]), "reason": why}
    if fitted is None:
        reason = "no run finished"
    else:
        scores = table.get(found.metric, {}).get(name, {})
        undefined = next((s.reason for s in scores.values() if s.reason), None)
        reason = why_not(use, fitted.capabilities(), has_labels) or undefined or "not measured"
    return {"value": None, "low": None, "high": None, "reason": reason}


def _probe_table(valued: Mapping[str, Mapping[str, Mapping[int, Score]]]) -> dict[str, Any] | None:
    """Probe accuracy by number of labels."""
    keys = [key for key in valued if key.startswith("probe_accuracy/")]
    names = sorted({name for key in keys for name in valued[key]})
    if not keys:
        return None
    rows: list[list[Any]] = []
    for name in names:
        means = [
            np.mean([s.value for s in valued[key][name].values()]) if name in valued[key] else None for key in keys
        ]
        rows.append([name, *means])
    return {"columns": ["contender", *(f"{key.partition('/')[2]} labels" for key in keys)], "rows": rows}


def curves_of(contender: str, seed: int, run: Path) -> list[dict[str, Any]]:
    """Learning curves of a run, by metric."""
    looks = [e for e in read_events(run / "events.jsonl") if e.get("kind") == "monitor"]
    curves = []
    for key in sorted({key for look in looks for key in look.get("numbers", {}) if key.partition("/")[0] in METRICS}):
        metric = METRICS[key.partition("/")[0]]
        curves.append(
            {
                "contender": contender,
                "seed": seed,
                "metric": key,
                "title": _titled(key),
                "about": metric.about,
                "better": metric.better,
                "points": [
                    {"images": e["images"], "cpu_seconds": e["cpu_seconds"], "value": e["numbers"].get(key)}
                    for e in looks
                ],
            }
        )
    return curves


def _titled(key: str) -> str:
    name, _, detail = key.partition("/")
    return f"{METRICS[name].title} ({detail})" if detail else METRICS[name].title


def _spectra(finished: Sequence[Finished], evaluator: Evaluator) -> dict[str, Any] | None:
    """Mean power spectra of real images and of each contender's first seed."""
    if not isinstance(evaluator.spec, ImageSpec):
        return None
    frequency, real = evaluator.spectrum(evaluator.reference)
    contenders = {}
    for run in _first_runs(finished):
        if run.fitted and run.fitted.capabilities()["sample"] is None:
            samples = run.fitted.sample(min(1000, evaluator.n), run.cell.seed)
            contenders[run.cell.contender] = evaluator.spectrum(samples)[1].tolist()
    return {"frequency": frequency.tolist(), "real": real.tolist(), "contenders": contenders}


def _first_runs(finished: Sequence[Finished]) -> list[Finished]:
    """Each contender's first seed on all data."""
    first: dict[str, Finished] = {}
    for run in finished:
        if run.cell.view == "all":
            first.setdefault(run.cell.contender, run)
    return list(first.values())


def _pictures(
    folder: Path, plan: Plan, dataset: Dataset, evaluator: Evaluator, finished: Sequence[Finished]
) -> dict[str, Any]:
    target = folder / "pictures"
    target.mkdir(exist_ok=True)
    real_picture(dataset, evaluator, target / "real.png")
    pictures: dict[str, Any] = {"real": "pictures/real.png", **{kind: {} for kind in _PICTURES}}
    for index, run in enumerate(_first_runs(finished)):
        for kind in _PICTURES:
            source = run.folder / "pictures" / f"{kind}.png"
            if source.exists():
                name = f"pictures/{kind}-{index}.png"
                copy_file(source, folder / name)
                pictures[kind][run.cell.contender] = name
    return pictures
