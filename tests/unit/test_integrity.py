"""Whatever bit of a finished run, evaluator or comparison is flipped: it is refused, or nothing that is said changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from genarena import compare
from genarena.checkpoint import read_tensors, write_tensors
from genarena.comparison import cell as cells
from genarena.comparison import evaluator_of, load_winner
from genarena.comparison import run as supervisor
from genarena.comparison.measure import read_scores
from genarena.comparison.plan import Cell
from genarena.data import Dataset
from genarena.errors import GenarenaError, RunError
from genarena.files import read_json, sha256_of, write_json
from genarena.fit import fit, plan
from genarena.fitted import CALIBRATION, FittedModel, load_model
from genarena.housekeeping import examine
from genarena.report.schema import read_comparison

FLIPS = {"run": 3, "comparison": 2}  # of a file
SMALL = {"latent_dim": 2, "batch_size": 16, "network": {"architecture": "mlp", "width": 8, "depth": 2}}


@pytest.fixture(scope="module")
def finished(images: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    decided = plan("autoencoder", images, budget="160 images", settings=SMALL, device="cpu")
    fit(decided, folder, threads=1, monitor=lambda _, seen: {"fd": 1.0 + seen})
    return folder


def run_here(folder: Path, cell: Cell, threads: int | None) -> supervisor.Worker:
    code = cells.main([str(folder), cell.id, str(threads or 0)])
    ended: Any = SimpleNamespace(returncode=code, poll=lambda: code, communicate=lambda: None)
    return supervisor.Worker(cell, folder / "runs" / cell.id, ended)


@pytest.fixture(scope="module")
def arena(vectors: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arena") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "POLL_SECONDS", 0)
        patch.setattr(supervisor, "_start", run_here)
        patch.setattr(supervisor, "_end", lambda *_: None)
        compare(vectors, folder, models=["pca"], seeds=1, use="reconstruct", jobs=1)
    return folder


def said_by_run(folder: Path) -> list[Any]:
    """What a run says: its numbers, and what its model makes of a few inputs."""
    found: list[Any] = [read_json(folder / "result.json")]
    for checkpoint in ("last", "best"):
        fitted = load_model(folder, checkpoint=checkpoint)
        scores = fitted.anomaly_score(np.full((2, *fitted.spec.shape), 7, np.uint8))
        found += [fitted.record, scores.tolist()]
        found += [fitted.p_value(scores).tolist()] if checkpoint == "last" else []
    return [*found, [line for ok, line in examine(folder) if ok or raised(line)]]


def raised(line: str) -> bool:
    """`doctor` tells what has changed: the same as being refused."""
    raise RunError(line)


def said_by_arena(folder: Path) -> list[Any]:
    """What a comparison says: its record, its evaluator's scale, and what its winner makes of an input."""
    judge, winner = evaluator_of(folder), load_winner(folder, "reconstruct")
    scores = read_scores(folder / "runs" / "pca-0", judge.hash)
    if scores is None:
        raise RunError("measured again, which gives the same")
    restored = winner.reconstruct(np.ones((1, *winner.spec.shape), np.float32)).tolist()
    return [read_comparison(folder), judge.hash, judge.self_test, judge.floor, judge.ceilings, scores, restored]


def flipped(path: Path, count: int, rng: np.random.Generator) -> list[bytes]:
    """The file with one bit the other way, at some places."""
    written = path.read_bytes()
    places = set(rng.integers(0, len(written), count).tolist()) if written else set()
    return [written[:p] + bytes([written[p] ^ 1 << int(rng.integers(8))]) + written[p + 1 :] for p in sorted(places)]


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_no_flipped_bit_changes_what_is_said(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source: Path = request.getfixturevalue("finished" if kind == "run" else "arena")
    said: Callable[[Path], list[Any]] = said_by_run if kind == "run" else said_by_arena
    folder, rng, refused = tmp_path / "copy", np.random.default_rng(0), 0
    shutil.copytree(source, folder)
    before = said(folder)
    for path in sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".png", ".html", ".log")
    ):
        whole = path.read_bytes()
        for content in flipped(path, FLIPS[kind], rng):
            path.write_bytes(content)
            try:
                assert said(folder) == before, path
            except GenarenaError:
                refused += 1
        path.write_bytes(whole)
    assert refused > 10
    assert said(folder) == before


def test_weights_that_are_not_finite_are_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "model.safetensors"
    tensors = read_tensors(path)
    next(iter(tensors.values())).view(-1)[0] = torch.nan
    write_tensors(path, tensors)
    result = read_json(tmp_path / "run" / "result.json")
    write_json(tmp_path / "run" / "result.json", {**result, "sha256": sha256_of(path)})
    with pytest.raises(RunError, match="holds values that are not finite"):
        load_model(tmp_path / "run")


def test_a_calibration_belongs_to_its_weights(finished: Path, tmp_path: Path) -> None:
    saved = load_model(finished).save_pretrained(tmp_path / "saved")
    assert FittedModel.from_pretrained(saved).calibration is not None
    for folder in (saved, Path(shutil.copytree(finished, tmp_path / "run"))):
        write_tensors(folder / CALIBRATION, {"anomaly_score": torch.zeros(9)})
        with pytest.raises(RunError, match="is not what was written with these weights"):
            load_model(folder)
        (folder / CALIBRATION).unlink()
        with pytest.raises(RunError, match="is missing"):
            load_model(folder)
    bare = load_model(finished, checkpoint="best").save_pretrained(tmp_path / "saved")
    assert load_model(bare).calibration is None and not (bare / CALIBRATION).exists()
