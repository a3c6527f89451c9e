"""Kill training again and again, and see whether what comes out is what an undisturbed run gives, bit for bit.

    python benchmarks/kill.py            # 20 kills a model family; prints JSON

Every attempt to train is a process of its own that runs the same call on the same folder and is killed with SIGKILL:
half of them at a random instant, half at a random one of the disk operations of which a checkpoint's writing is made.
Processes are forked from a server that has imported genarena but never used it, which saves the seconds of the import.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genarena import checkpoint, trainer
from genarena.checkpoint import Checkpoint, RunFolder, read_tensors
from genarena.data import open_dataset
from genarena.errors import RunError
from genarena.files import read_json
from genarena.fit import fit, plan

FAMILIES = ("autoencoder", "vae", "dcgan", "vaegan")
SETTINGS: dict[str, Any] = {"batch_size": 32, "latent_dim": 8, "network": {"width": 8}}
PATIENCE = 300.0  # seconds until an attempt that neither ends nor can be killed counts as hung

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["genarena.fit", "genarena.data"])


def die_at(operation: int, after: bool) -> None:
    """Kill this process at the n-th operation on the disk, before or after it is done."""
    count = 0

    def around(original: Callable) -> Callable:
        def counted(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            mine = count
            if mine == operation and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **options)
            if mine == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    for owner, name in (
        (os, "fsync"),
        (Path, "rename"),
        (Path, "replace"),
        (shutil, "rmtree"),
        (checkpoint, "save_file"),
    ):
        setattr(owner, name, around(getattr(owner, name)))


def train(model: str, folder: str, rounds: int, fatal: int | None = None, after: bool = False) -> None:
    """One attempt: train, or go on, with a checkpoint after every round."""
    trainer.CHECKPOINT_SHARE = 0
    if fatal is not None:
        die_at(fatal, after)
    budget = f"{rounds * SETTINGS['batch_size']} images"
    decided = plan(model, open_dataset("digits"), budget=budget, settings=SETTINGS, device="cpu")
    fit(decided, folder, threads=1, checkpoint_seconds=0.0)


def attempt(model: str, folder: Path, rounds: int, fatal: int | None = None, after: bool = False) -> BaseProcess:
    process = _PROCESSES.Process(target=train, args=(model, str(folder), rounds, fatal, after))
    process.start()
    return process


def finish(process: BaseProcess) -> int:
    """The exit code; minus the signal's number where one ended it."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError("an attempt hangs")
    return process.exitcode


def left_by(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Every tensor of a finished run (weights, average, optimizer), and its state but for the times."""
    run = RunFolder(folder)
    last = run.checkpoints / str(run.steps()[0])
    files = [run.model, *sorted(last.glob("*.safetensors"))]
    tensors = {f"{file.name}:{name}": t for file in files for name, t in read_tensors(file).items()}
    return tensors, {k: v for k, v in read_json(last / "state.json").items() if "seconds" not in k}


def same(one: Path, other: Path) -> bool:
    (tensors, state), (others, other_state) = left_by(one), left_by(other)
    return (
        state == other_state
        and tensors.keys() == others.keys()
        and all(torch.equal(t, others[name]) for name, t in tensors.items())
    )


def torture(model: str, kills: int, rounds: int, scratch: Path, seed: int) -> dict[str, int]:
    """Kill one family's training so many times; each run is resumed until it is done, then compared.

    Returns
    -------
    dict
        ``kills`` that landed and how many of them ``while_writing`` were aimed; ``exact``: kills after which the run came
        out bit-identical; ``runs``.
    """
    rng = np.random.default_rng(seed)
    whole = scratch / f"{model}-whole"
    started = time.perf_counter()
    if finish(attempt(model, whole, rounds)):
        raise RuntimeError(f"{model} does not train undisturbed")
    duration = time.perf_counter() - started
    count = {"kills": 0, "while_writing": 0, "exact": 0, "runs": 0}
    while count["kills"] < kills:
        folder = scratch / f"{model}-{count['runs']}"
        landed = _kill_until_done(model, folder, rounds, kills - count["kills"], duration, rng, count)
        count["runs"] += 1
        count["exact"] += landed if same(whole, folder) else 0
        shutil.rmtree(folder)
    return count


def _kill_until_done(
    model: str, folder: Path, rounds: int, most: int, duration: float, rng: np.random.Generator, count: dict[str, int]
) -> int:
    """Kill and resume one run, at most `most` times, until it is done; returns how many kills landed."""
    landed = 0
    while True:
        aimed = (count["kills"] + landed) % 2 == 0
        fatal = int(rng.integers(1, 12 * rounds)) if aimed and landed < most else None
        process = attempt(model, folder, rounds, fatal, bool(rng.integers(2)))
        if not aimed and landed < most:
            process.join(float(rng.uniform(0, duration)))
            process.kill()
        code = finish(process)
        if code == 0:
            count["kills"] += landed
            return landed
        if code != -signal.SIGKILL:
            raise RuntimeError(f"{model} in '{folder}' ended with exit code {code}")
        landed += 1
        count["while_writing"] += aimed


def detected(damages: int, scratch: Path, seed: int) -> dict[str, int]:
    """Truncate a checkpoint's files, and flip their bits, at random places: how many of each are noticed."""
    rng = np.random.default_rng(seed)
    run = RunFolder(scratch / "damaged")
    run.path.mkdir()
    weights = {"weight": torch.from_numpy(rng.normal(size=(32, 32)))}
    run.commit(Checkpoint({"round": 1}, weights, weights, weights), 1)
    files = sorted((run.checkpoints / "1").iterdir())
    found = {"truncations": 0, "flips": 0}
    for kind in found:
        for _ in range(damages):
            path = files[rng.integers(len(files))]
            content = path.read_bytes()
            place = int(rng.integers(len(content)))
            flipped = content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :]
            path.write_bytes(content[:place] if kind == "truncations" else flipped)
            try:
                run.load(1, weights, weights)
            except RunError:
                found[kind] += 1
            path.write_bytes(content)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="a model family")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--damages", type=int, default=200, help="truncations, and as many flipped bits")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        families = {
            model: torture(model, options.kills, options.rounds, Path(scratch), options.seed + index)
            for index, model in enumerate(FAMILIES)
        }
        damage = detected(options.damages, Path(scratch), options.seed)
    print(json.dumps({"families": families, "damages": options.damages, "detected": damage}, indent=1))


if __name__ == "__main__":
    main()
