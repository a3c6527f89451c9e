"""Look after run folders: check every file against its hash, delete what is no longer needed."""

from __future__ import annotations

from pathlib import Path

from .best import RECORD, WEIGHTS, read_best
from .checkpoint import RunFolder
from .errors import GenarenaError, RunError, UsageError
from .events import read_events
from .files import only_files, remove, sha256_of
from .fitted import CALIBRATION


def examine(folder: Path) -> list[tuple[bool, str]]:
    """Findings on a run folder: whether each is well, and a line about it.

    Raises
    ------
    RunError
        Where the folder is no run.
    """
    run = RunFolder(folder)
    if (run.path / "plan.json").exists():
        raise RunError(f"'{folder}' is a comparison: name a use (--for), or one of its runs, '{folder / 'runs'}/…'.")
    if not run.config.exists():
        raise RunError(f"'{folder}' is no run folder: it has no config.json.")
    findings: list[tuple[bool, str]] = []
    budget = None
    try:
        record = run.read_config()
        budget = record.get("budget")
        findings.append((True, f"model {record['model']}, budget {budget}, seed {record.get('seed')}"))
    except GenarenaError as error:
        findings.append((False, f"config.json: {error}"))
    for step in run.steps():
        try:
            run.verify(step)
            findings.append((True, f"checkpoint {step}: every file is what was written"))
        except (GenarenaError, OSError) as error:
            findings.append((False, f"checkpoint {step}: {error}"))
    if run.result.exists() and run.model.exists():
        findings += _results(run, budget)
    else:
        findings.append((True, "training is not finished: the command that began it goes on"))
    warnings = [event.get("text", "") for event in read_events(run.events) if event.get("kind") == "warning"]
    findings += [(True, f"warning in training: {text}") for text in warnings]
    return findings


def _results(run: RunFolder, budget: str | None) -> list[tuple[bool, str]]:
    """Findings on what a finished run of a `budget` serves, and on its record."""
    try:
        result = run.read_result()
    except GenarenaError as error:
        return [(False, f"result.json: {error}")]
    files = {"sha256": run.model, "calibration": run.path / CALIBRATION}
    if result["budget"] == budget:  # else events go on already
        files["events"] = run.events
    written = {path: digest for key, path in files.items() if (digest := result.get(key))}
    named = {path: path.exists() and sha256_of(path) == digest for path, digest in written.items()}
    if (run.path / RECORD).exists():
        named[run.path / WEIGHTS] = read_best(run.path) is not None
    findings = [
        (intact, f"{path.name} is what was written" if intact else f"{path.name} has changed")
        for path, intact in named.items()
    ]
    return [*findings, (True, f"trained {result['images']:,} images in {result['cpu_seconds']:.0f} CPU seconds")]


def prune_checkpoints(folder: Path, keep: int, *, dry_run: bool = False) -> tuple[int, int]:
    """Delete all but the newest `keep` checkpoints of every finished run in a folder.

    Returns
    -------
    freed : int
        Bytes.
    count : int
        Checkpoints.

    Raises
    ------
    RunError
        Where the folder is neither, a run is in use, or anything in the folder is a link.
    """
    if keep < 0:
        raise UsageError(f"keep={keep}: give 0 or more.")
    runs = [folder] if (folder / "config.json").exists() else sorted((folder / "runs").glob("*"))
    if not runs:
        raise RunError(f"'{folder}' is neither a run nor a comparison.")
    only_files(folder)
    freed = count = 0
    for path in runs:
        run = RunFolder(path)
        if not run.result.exists():
            continue
        with run.lock():
            for step in run.steps()[keep:]:
                old = run.checkpoints / str(step)
                freed += sum(file.stat().st_size for file in old.iterdir())
                count += 1
                if not dry_run:
                    remove(old)
    return freed, count
