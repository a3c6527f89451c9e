"""Two processes that share a batch train as one does with the whole of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genarena.checkpoint import read_tensors
from genarena.data import Dataset
from genarena.files import read_json
from genarena.fit import fit, plan

# Ten rounds: Adam divides by the gradient's own size, so that round-off in a gradient near zero moves a weight by as
# much as a whole step and grows from round to round.
ROUNDS = 10
TOLERANCE = 1e-5
SMALL = {"latent_dim": 4, "batch_size": 32, "average_images": 0}
NORMED = {"width": 8, "encoder_norm": "batch", "decoder_norm": "batch", "discriminator_norm": "batch"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("vae", {**SMALL, "network": NORMED}),
    "vae-bernoulli": ("vae", {**SMALL, "network": NORMED, "likelihood": "bernoulli", "free_bits": 0.05}),
    "gan": ("gan", {**SMALL, "network": NORMED, "penalty_every": 2}),
    "gan-penalty": ("gan", {**SMALL, "network": {"width": 8}, "loss": "wasserstein", "penalty": "gradient"}),
    "gan-dragan": ("gan", {**SMALL, "network": {"width": 8}, "penalty": "dragan"}),
    "vaegan": ("vaegan", {**SMALL, "network": NORMED, "balance": True}),
}

SCRIPT = """
import json, sys
import torch
from genarena import distributed
from genarena.data import open_dataset
from genarena.fit import fit, plan

torch.set_num_threads(1)
distributed.init(torch.device("cpu"))
for name, (model, settings) in json.loads(sys.argv[2]).items():
    decided = plan(model, open_dataset("digits"), budget=sys.argv[3], settings=settings, device="cpu")
    fit(decided, f"{sys.argv[1]}/{name}", threads=1)
print(f"process {distributed.rank()} of {distributed.world()}", flush=True)
distributed.shutdown()
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case trained by two processes."""
    folder = tmp_path_factory.mktemp("together")
    script = folder / "train.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*launch, str(folder), json.dumps(CASES), f"{32 * ROUNDS} images"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    # Both write to one pipe, where the end of a line may come after the other's line.
    assert sorted(re.findall(r"process \d of \d", done.stdout)) == ["process 0 of 2", "process 1 of 2"]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(
    case: str, together: Path, digits: Dataset, tmp_path: Path, record_property: Any
) -> None:
    model, settings = CASES[case]
    decided = plan(model, digits, budget=f"{32 * ROUNDS} images", settings=settings, device="cpu")
    fit(decided, tmp_path, threads=1)
    alone, shared = (read_tensors(folder / "model.safetensors") for folder in (tmp_path, together / case))
    difference = max(float((alone[name] - shared[name]).abs().max()) for name in alone)
    record_property("largest_difference", difference)
    print(f"{case}: largest difference of a weight after {ROUNDS} rounds: {difference:.2e}")
    assert difference < TOLERANCE
    states = [read_json(f / "checkpoints" / str(ROUNDS) / "state.json") for f in (tmp_path, together / case)]
    assert [s["images"] for s in states] == [32 * ROUNDS] * 2
