"""How often a verdict is right: ``python benchmarks/verdicts.py DATA FOLDER``, JSON lines.

Trains each model (vae, gan and vaegan) with many seeds and measures every run with one evaluator, as `compare` does; both
are kept in the folder, and the same command goes on where it stopped. Then it plays comparisons of a few seeds drawn from
the many:

- a model against *itself*, on seeds of its own on either side: a winner is an error;
- two models, on the same seeds: the winner should be the one that is ahead over all seeds.

``--only MODEL`` trains one of them and does not judge, so that processes can share the work.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genarena.comparison.assemble import by_meaning
from genarena.comparison.measure import measure_run, read_scores, write_scores
from genarena.comparison.recommend import decide
from genarena.data import open_dataset
from genarena.files import read_json
from genarena.fit import fit, plan
from genarena.metrics import Evaluator, Score
from genarena.uses import USES, Context

MODELS = ("vae", "gan", "vaegan")
USED = [use.name for use in USES.values() if use.view == "all" and use.name not in ("cost", "condition")]
BUDGET = "30k images"
SAMPLES = 500  # compared, at most
SHOWN = (2, 3, 5)  # seeds of a comparison
PLAYED = 400  # comparisons of each kind

Runs = dict[int, dict[str, Score]]  # seed -> key -> score


def runs_of(model: str, seeds: int, folder: Path, evaluator: Evaluator) -> Runs:
    """Scores of every seed of a model, trained and measured where they are not there yet."""
    found: Runs = {}
    for seed in range(seeds):
        run = folder / f"{model}-{seed}"
        scores = read_scores(run, evaluator.hash, USED)
        if scores is None:
            decided = plan(model, evaluator.dataset, budget=BUDGET, seed=seed)
            fitted = fit(decided, run, threads=1, pictures=False)
            result = read_json(run / "result.json")
            scores = measure_run(Context(fitted, evaluator.dataset, evaluator, seed, (), result), USED)
            write_scores(run, evaluator, result["sha256"], USED, scores)
            print(f"{model} {seed}", file=sys.stderr)
        found[seed] = scores
    return found


def verdict(use: str, sides: dict[str, list[dict[str, Score]]], evaluator: Evaluator) -> Any:
    """The verdict on contenders by their runs, the first of each being of one seed, and so on."""
    table: dict[str, dict[str, dict[int, Score]]] = {}
    for name, runs in sides.items():
        for key in runs[0]:
            if all(run[key].value is not None for run in runs):
                table.setdefault(key, {})[name] = {seed: run[key] for seed, run in enumerate(runs)}
    return decide(USES[use], table, by_meaning(evaluator), evaluator.self_test, [])


def against_itself(use: str, runs: Runs, seeds: int, evaluator: Evaluator) -> Counter[str]:
    rng = np.random.default_rng(seeds)
    found: Counter[str] = Counter()
    for _ in range(PLAYED):
        drawn = rng.choice(len(runs), 2 * seeds, replace=False)
        sides = {"one": [runs[s] for s in drawn[:seeds]], "other": [runs[s] for s in drawn[seeds:]]}
        found[verdict(use, sides, evaluator).verdict] += 1
    return found


def between(
    use: str, first: str, second: str, runs: dict[str, Runs], seeds: int, evaluator: Evaluator
) -> dict[str, Any]:
    whole = verdict(use, {name: list(runs[name].values()) for name in (first, second)}, evaluator)
    rng = np.random.default_rng(seeds)
    found: Counter[str] = Counter()
    for _ in range(PLAYED):
        drawn = rng.choice(len(runs[first]), seeds, replace=False)
        part = verdict(use, {name: [runs[name][s] for s in drawn] for name in (first, second)}, evaluator)
        found[f"winner {part.winner}" if part.winner else part.verdict] += 1
    return {"all seeds": whole.winner or whole.verdict, "leader": whole.leader, "reason": whole.reason, **found}


def judge(runs: dict[str, Runs], evaluator: Evaluator) -> None:
    for use, seeds in itertools.product(USED, SHOWN):
        able = [model for model in runs if set(USES[use].metrics(by_meaning(evaluator))) & set(runs[model][0])]
        for model in able:
            said = against_itself(use, runs[model], seeds, evaluator)
            print(json.dumps({"use": use, "seeds": seeds, "itself": model, **said}), flush=True)
        for first, second in itertools.combinations(able, 2):
            told = between(use, first, second, runs, seeds, evaluator)
            print(json.dumps({"use": use, "seeds": seeds, "of": [first, second], **told}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=24, help="runs of each model")
    parser.add_argument("--only", choices=MODELS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = open_dataset(arguments.data)
    own = arguments.folder / "evaluator"
    if not (own / "evaluator.json").exists():
        Evaluator.build(dataset, own, samples=SAMPLES)
    measured = Evaluator.load(own, dataset)
    named = [arguments.only] if arguments.only else MODELS
    trained = {model: runs_of(model, arguments.seeds, arguments.folder, measured) for model in named}
    if not arguments.only:
        judge(trained, measured)
