"""Examining and pruning run folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from genarena import trainer
from genarena.checkpoint import RunFolder
from genarena.data import Dataset
from genarena.errors import RunError, UsageError
from genarena.files import read_json, write_json
from genarena.fit import fit, plan
from genarena.fitted import load_model
from genarena.housekeeping import examine, prune_checkpoints

SMALL = {"latent_dim": 2, "batch_size": 16, "network": {"architecture": "mlp", "width": 8, "depth": 2}}


def train(images: Dataset, folder: Path, budget: str) -> None:
    fit(plan("autoencoder", images, budget=budget, settings=SMALL, device="cpu"), folder, threads=1, pictures=False)


@pytest.fixture(scope="module")
def trained(images: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with two checkpoints."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "CHECKPOINT_SHARE", 0)
        train(images, folder, "160 images")
        train(images, folder, "320 images")
    assert len(RunFolder(folder).steps()) == 2
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(trained, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def broken(run: RunFolder) -> list[str]:
    return [text for ok, text in examine(run.path) if not ok]


def test_a_healthy_run_has_no_complaints(run: RunFolder) -> None:
    findings = [text for _, text in examine(run.path)]
    assert broken(run) == []
    assert findings[0] == "model autoencoder, budget 320 images, seed 0"
    assert [f"checkpoint {step}: every file is what was written" for step in run.steps()] == findings[1:3]
    assert "model.safetensors is what was written" in findings
    assert any(text.startswith("trained 320 images in ") for text in findings)


def test_damaged_best_weights_are_found_and_said(images: Dataset, tmp_path: Path) -> None:
    decided = plan("autoencoder", images, budget="160 images", settings=SMALL, device="cpu")
    fit(decided, tmp_path, threads=1, pictures=False, monitor=lambda fitted, at: {"fd": 1.0})
    assert "best.safetensors is what was written" in [text for _, text in examine(tmp_path)]
    path = tmp_path / "best.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert broken(RunFolder(tmp_path)) == ["best.safetensors has changed"]
    with pytest.raises(RunError, match=r"best\.safetensors' is not what was written"):
        load_model(tmp_path, checkpoint="best")


def test_a_flipped_bit_is_found_in_its_checkpoint(run: RunFolder) -> None:
    step = run.steps()[1]
    path = run.checkpoints / str(step) / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (complaint,) = broken(run)
    assert complaint.startswith(f"checkpoint {step}: ") and "optimizer.safetensors" in complaint


def test_a_changed_model_is_found(run: RunFolder) -> None:
    run.model.write_bytes(run.model.read_bytes() + b" ")
    assert broken(run) == ["model.safetensors has changed"]


def test_an_unfinished_run_and_its_warnings_are_told(run: RunFolder) -> None:
    run.result.unlink()
    with run.events.open("a") as file:
        file.write('{"kind": "warning", "text": "skipped round 3", "images": 48}\n')
    findings = [text for _, text in examine(run.path)]
    assert "training is not finished: the command that began it goes on" in findings
    assert findings[-1] == "warning in training: skipped round 3"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        examine(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 2, 3])
def test_pruning_keeps_the_newest(run: RunFolder, keep: int) -> None:
    before = run.steps()
    size = {step: sum(f.stat().st_size for f in (run.checkpoints / str(step)).iterdir()) for step in before}
    expected = sum(size[step] for step in before[keep:])
    assert prune_checkpoints(run.path, keep, dry_run=True) == (expected, len(before[keep:]))
    assert run.steps() == before
    assert prune_checkpoints(run.path, keep) == (expected, len(before[keep:]))
    assert run.steps() == before[:keep]
    assert broken(run) == []


def test_unfinished_runs_are_left_alone(run: RunFolder) -> None:
    run.result.unlink()
    assert prune_checkpoints(run.path, 0) == (0, 0)
    assert len(run.steps()) == 2


def test_a_pruned_run_can_be_extended(run: RunFolder, images: Dataset) -> None:
    prune_checkpoints(run.path, 1)
    train(images, run.path, "480 images")
    assert read_json(run.result)["images"] == 480


def test_a_comparison_is_pruned_run_by_run(trained: Path, tmp_path: Path) -> None:
    for name in ("vae-0", "vae-1"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    write_json(tmp_path / "plan.json", {})
    assert prune_checkpoints(tmp_path, 1)[1] == 2
    assert prune_checkpoints(tmp_path, 1) == (0, 0)


@pytest.mark.parametrize("place", ["runs", "runs/vae-0", "runs/vae-0/checkpoints"])
def test_nothing_is_pruned_through_a_link(trained: Path, tmp_path: Path, place: str) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    for folder in (theirs, mine):
        shutil.copytree(trained, folder / "runs" / "vae-0")
        write_json(folder / "plan.json", {})
    shutil.rmtree(mine / place)
    (mine / place).symlink_to(theirs / place)
    with pytest.raises(RunError, match=f"{place}' is a link"):
        prune_checkpoints(mine, 0)
    assert len(RunFolder(theirs / "runs" / "vae-0").steps()) == 2


def test_what_cannot_be_pruned(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="neither a run nor a comparison"):
        prune_checkpoints(tmp_path, 1)
    with pytest.raises(UsageError, match="keep=-1"):
        prune_checkpoints(tmp_path, -1)
