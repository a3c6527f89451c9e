"""Quality figures that take minutes: ``make quality``, or one part: ``python benchmarks/quality.py modes``.

Parts: ``modes`` (ring8 and grid25, five seeds each) and ``likelihood`` (dynamically binarised MNIST; needs the data in
``$GENARENA_DATA`` or a network). Prints one JSON record a line; docs/results.md keeps the figures.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from genarena.data import open_dataset
from genarena.data.adapt import values_like
from genarena.data.builtin import count_modes, mixture
from genarena.files import read_json
from genarena.fit import fit, plan

RECIPE = Path(__file__).parent.parent / "recipes" / "mnist-likelihood.yaml"
MODES = {
    "ring8": ("400k images", {"batch_size": 128}),
    "grid25": ("800k images", {"batch_size": 128}),
}


def modes(seeds: int = 5) -> None:
    """Modes found (at least 20 of 2,500 samples within 3 sigma) and the share of samples near one."""
    for name, (budget, settings) in MODES.items():
        centres, sigma = mixture(name)
        dataset = open_dataset(name)
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                fitted = fit(plan("gan", dataset, budget=budget, seed=seed, settings=settings), folder, threads=1)
                seconds = read_json(Path(folder) / "result.json")["cpu_seconds"]
            found, share = count_modes(fitted.sample(2500, seed=1000 + seed), centres, sigma)
            record = {"data": name, "seed": seed, "modes": found, "of": len(centres), "near": round(share, 4)}
            print(json.dumps({**record, "cpu_seconds": seconds, "budget": budget, **settings}), flush=True)


def likelihood(budget: str = "19 min", threads: int | None = 2) -> None:
    """Test negative log-likelihood of binarised MNIST in nats: the bound with K = 1000 on all test images."""
    dataset = open_dataset("mnist")
    settings = yaml.safe_load(RECIPE.read_text())
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(plan("vae", dataset, budget=budget, settings=settings), folder, threads=threads, show="live")
        result = read_json(Path(folder) / "result.json")
    test = values_like(dataset, fitted.spec).values("test")
    started = time.perf_counter()
    nats = {f"nll_{k}": round(-float(np.mean(fitted.log_prob(test, k), dtype=np.float64)), 3) for k in (1, 1000)}
    spent = {"images": result["images"], "seconds": result["seconds"], "cpu_seconds": result["cpu_seconds"]}
    took = round(time.perf_counter() - started, 1)
    print(json.dumps({**nats, "n": len(test), **spent, "evaluation_seconds": took, "threads": threads}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(2)
    for part in sys.argv[1:] or ["modes", "likelihood"]:
        {"modes": modes, "likelihood": likelihood}[part]()
