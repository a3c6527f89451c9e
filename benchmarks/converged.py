"""Does a verdict that is called converged hold? ``python benchmarks/converged.py FOLDER``, JSON lines.

On six small sets that need no download it trains pca, vae, gan and vaegan with a small budget and with ten times that, and
measures both with one evaluator. For every set and use, and for all four as for each two of them, it prints the verdict of
the small budget (where there is one, over somebody), whether it was called converged, and the verdict of the large one.

A verdict is the *same* where its winner wins again, or what was too close to call is so again. It *holds* where nobody else
wins and nobody wins what was too close to call: the large budget may leave it undecided. At the end stand the shares of both,
with 95 % intervals (Wilson), of verdicts called converged, not converged and unknown. Verdicts of one set rest on the same
runs, so that the intervals are too short.

Runs are kept in the folder, and the same command goes on where it stopped. ``--scale 0.1`` takes a tenth of both budgets.
The rule of `genarena.comparison.convergence` was chosen on `CHOSEN_ON`; the other sets confirm it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_wine

from genarena.budget import Budget
from genarena.comparison.assemble import curves_of
from genarena.comparison.convergence import convergence
from genarena.comparison.measure import by_meaning, measure_run, monitor, read_scores, write_scores
from genarena.comparison.recommend import Verdict, decide
from genarena.data import Dataset, open_dataset
from genarena.files import read_json
from genarena.fit import fit, plan
from genarena.metrics import Evaluator, Score
from genarena.uses import USES, Context

MODELS = ("pca", "vae", "gan", "vaegan")
USED = [use.name for use in USES.values() if use.view == "all" and use.name not in ("cost", "condition")]
SAMPLES = 500  # compared, at most
SEEDS = 3
TIMES = 10


def rows_of(load: Callable[..., Any]) -> Callable[[], Dataset]:
    return lambda: open_dataset((load().data.astype(np.float32), load().target))


SETS: dict[str, tuple[Callable[[], Dataset], int]] = {
    "ring8": (lambda: open_dataset("ring8"), 10_000),
    "digits": (lambda: open_dataset("digits"), 10_000),
    "breast-cancer": (rows_of(load_breast_cancer), 10_000),
    "grid25": (lambda: open_dataset("grid25"), 2_000),
    "shapes": (lambda: open_dataset("shapes"), 1_000),
    "wine": (rows_of(load_wine), 10_000),
}  # fmt: skip
CHOSEN_ON = ("ring8", "digits", "breast-cancer")

Runs = dict[str, dict[int, dict[str, Score]]]  # model -> seed -> key -> score


def runs_of(folder: Path, evaluator: Evaluator, images: int) -> tuple[Runs, list[dict[str, Any]]]:
    """Scores and learning curves of every model and seed, trained and measured where they are not there yet."""
    runs: Runs = {}
    curves: list[dict[str, Any]] = []
    for model in MODELS:
        for seed in range(SEEDS):
            run = folder / f"{images}" / f"{model}-{seed}"
            scores = read_scores(run, evaluator.hash, USED)
            if scores is None:
                decided = plan(model, evaluator.dataset, budget=Budget(images, "images"), seed=seed)
                fitted = fit(decided, run, threads=1, pictures=False, monitor=monitor(evaluator, USED))
                result = read_json(run / "result.json")
                scores = measure_run(Context(fitted, evaluator.dataset, evaluator, seed, (), result), USED)
                write_scores(run, evaluator, result["sha256"], USED, scores)
                print(f"{folder.name} {images} {model} {seed}", file=sys.stderr, flush=True)
            runs.setdefault(model, {})[seed] = scores
            curves += curves_of(model, seed, run)
    return runs, curves


def table_of(runs: Runs) -> dict[str, dict[str, dict[int, Score]]]:
    """Metric key -> contender -> seed -> score, of contenders with a value on every seed."""
    table: dict[str, dict[str, dict[int, Score]]] = {}
    for model, by_seed in runs.items():
        for key in next(iter(by_seed.values())):
            if all(scores[key].value is not None for scores in by_seed.values()):
                table.setdefault(key, {})[model] = {seed: scores[key] for seed, scores in by_seed.items()}
    return table


def holds(small: Verdict, large: Verdict) -> bool:
    return large.winner in (small.winner, None)


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, p = 1.96, right / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return (middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)


def judge(name: str, folder: Path, scale: float) -> list[dict[str, Any]]:
    source, budget = SETS[name]
    dataset, own = source(), folder / name / "evaluator"
    if not (own / "evaluator.json").exists():
        Evaluator.build(dataset, own, samples=SAMPLES)
    evaluator = Evaluator.load(own, dataset)
    spaces, images = by_meaning(evaluator), round(budget * scale)
    (small, curves), (large, _) = (runs_of(folder / name, evaluator, n) for n in (images, TIMES * images))
    rows = []
    for models in (MODELS, *itertools.combinations(MODELS, 2)):
        tables = [table_of({model: runs[model] for model in models}) for runs in (small, large)]
        for use in (USES[name] for name in USED):
            first, later = (decide(use, table, spaces, evaluator.self_test, ["pca"]) for table in tables)
            if first.verdict not in ("winner", "too close to call") or len(first.cells.keys() - first.excluded) < 2:
                continue
            last = convergence(use, first, tables[0], evaluator.self_test, curves, spaces, ["pca"])
            called = {True: "converged", False: "not converged", None: "unknown"}[last.converged]
            rows.append(
                {"set": name, "of": "all" if len(models) > 2 else "+".join(models), "use": use.name, "images": images,
                 "small": first.winner or first.verdict, "called": called, "moving": last.moving,
                 "large": later.winner or later.verdict, "leader": later.leader, "holds": holds(first, later),
                 "same": (first.verdict, first.winner) == (later.verdict, later.winner)}
            )  # fmt: skip
    return rows


def shares(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of verdicts by what they were called: how many held and how many were the same."""
    for sets in (CHOSEN_ON, [name for name in SETS if name not in CHOSEN_ON], list(SETS)):
        for whole, called in itertools.product((True, False), ("converged", "not converged", "unknown")):
            meant = [r for r in rows if r["set"] in sets and (r["of"] == "all") == whole and r["called"] == called]
            if meant:
                found = {"sets": list(sets), "of": "all models" if whole else "two models", "called": called}
                for what in ("holds", "same"):
                    right = sum(row[what] for row in meant)
                    low, high = wilson(right, len(meant))
                    found[what] = f"{right} of {len(meant)}: {right / len(meant):.2f} ({low:.2f} to {high:.2f})"
                yield found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for each in arguments.sets:
        for row in judge(each, arguments.folder, arguments.scale):
            print(json.dumps(row), flush=True)
            found.append(row)
    for line in shares(found):
        print(json.dumps(line), flush=True)
