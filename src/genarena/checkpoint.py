"""The run folder: the only state training shares with anything else.

A checkpoint is a folder whose MANIFEST.json, written last, names the sha256 of every file; the folder is renamed into
place when all of it is on disk. Reading treats it as hostile: sizes, hashes, names and shapes are checked before any tensor
is made, and nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .errors import RunError, StorageError
from .files import (
    LARGEST_FILE,
    LARGEST_HEADER,
    LARGEST_JSON,
    Record,
    Text,
    only_files,
    open_tensors,
    parse_json,
    read_bytes,
    read_record,
    remove,
    remove_partial,
    replacing,
    sha256_of,
    sync_folder,
    write_atomic,
    write_json,
)

FORMAT = 1
KEEP = 2
_MANIFEST = "MANIFEST.json"
_ROUND = re.compile("0|[1-9][0-9]{0,17}")  # a checkpoint's folder, as it is written; others are somebody else's
_FILES = frozenset({"model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"})


@dataclass(frozen=True)
class Checkpoint:
    """Everything training needs to go on."""

    state: Mapping[str, Any]
    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]


class Data(Record):
    name: Text = ""
    fingerprint: str = ""


class RunConfig(Record):
    """``config.json``, of a run or a saved model."""

    format: int = Field(ge=1)
    model: str
    code: Text | None = None
    config: dict[str, Any]
    fields: dict[str, Any] = Field(alias="schema")
    data: Data = Data()
    seed: int = Field(0, ge=0, lt=2**63)
    device: str = "cpu"
    budget: str = ""
    versions: dict[str, str] = Field({})
    threads: int = Field(1, ge=1, le=4096)
    every: int = Field(1, ge=1)
    expected_seconds: float = Field(0, ge=0)
    continued: list[dict[str, str]] = Field([])
    sha256: str = ""


class Episode(Record):
    name: str
    images: int
    until: int | None = None
    text: Text


class Best(Record):
    """``best.json``."""

    fd: float
    images: int
    sha256: str


class Result(Record):
    """``result.json``."""

    sha256: str
    budget: str
    images: int = Field(ge=0)
    seconds: float = Field(ge=0)
    cpu_seconds: float = Field(ge=0)
    rollbacks: int = Field(ge=0)
    peak_memory_mb: float
    parameters: dict[str, int]
    warnings: list[Text]
    alarms: list[Episode] = Field([])
    best: Best | None = None


class State(Record):
    """``state.json`` of a checkpoint: where training stands, see `trainer.Progress`."""

    round: int = Field(ge=0)
    batches: int = Field(0, ge=0)
    images: int = Field(0, ge=0)
    seconds: float = Field(0, ge=0)
    cpu_seconds: float = Field(0, ge=0)
    rate: float = Field(1, gt=0, le=1)
    skips: int = Field(0, ge=0)
    rollbacks: int = Field(0, ge=0)
    milestone: int = Field(0, ge=0)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file as a whole; raises `OSError` where the disk refuses."""
    with replacing(path) as partial:
        try:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, partial)
        except SafetensorError as error:  # its writer hides the system's error number
            raise OSError(errno.EIO, str(error)) from None


def read_tensors(
    path: Path, expected: Mapping[str, Tensor] | None = None, most: int = LARGEST_FILE
) -> dict[str, Tensor]:
    """Read a safetensors file of at most `most` bytes, whose names, shapes and types must be those of `expected`.

    The header is compared before any tensor is created.

    Raises
    ------
    RunError
        Where the file is damaged or holds something else.
    """
    try:
        with open_tensors(path, most) as file:
            names = set(file.keys())
            if expected is not None:
                if names != set(expected):
                    odd = sorted(names ^ set(expected))[0]
                    raise RunError(
                        f"'{path}' holds other tensors than its configuration says ('{odd[:80]}'): was it made by another "
                        "release of genarena?"
                    )
                for name, tensor in expected.items():
                    if tuple(file.get_slice(name).get_shape()) != tuple(tensor.shape):
                        raise RunError(f"'{path}': tensor '{name[:80]}' has another shape than its configuration says.")
            tensors = {name: file.get_tensor(name) for name in names}
    except (ValueError, OSError) as error:
        raise RunError(f"'{path}' cannot be read as safetensors ({error}).") from None
    if expected is not None and any(tensors[n].dtype != t.dtype for n, t in expected.items()):
        raise RunError(f"'{path}' holds tensors of another type than its configuration says.")
    return tensors


def _entry(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


class RunFolder:
    """Paths, lock and checkpoints of one run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.events = self.path / "events.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.model = self.path / "model.safetensors"
        self.result = self.path / "result.json"

    def read_config(self) -> dict[str, Any]:
        """What ``config.json`` holds; raises `RunError` where it is no record of a run, or a newer genarena's."""
        return read_record(self.config, RunConfig, FORMAT)

    def read_result(self) -> dict[str, Any]:
        """What ``result.json`` holds; raises `RunError` where it is no record of a finished run."""
        return read_record(self.result, Result)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the system frees it however the process ends.

        Raises
        ------
        RunError
            Where another process holds it, or anything in it is a link.
        StorageError
            Where the folder cannot be written.
        """
        import fcntl

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.fdopen(os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+")
        except OSError as error:
            raise StorageError(f"the run folder '{self.path}' cannot be written: {error.strerror}.") from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(
                    f"another process is using '{self.path}': wait for it, or choose another --out."
                ) from None
            only_files(self.path)
            remove_partial(self.path)
            yield

    def steps(self) -> list[int]:
        """Rounds that have a checkpoint folder, newest first."""
        if not self.checkpoints.is_dir():
            return []
        names = (p.name for p in self.checkpoints.iterdir() if _ROUND.fullmatch(p.name) and p.is_dir())
        return sorted(map(int, names), reverse=True)

    def commit(self, checkpoint: Checkpoint, step: int, milestone: int | None = None) -> None:
        """Write a checkpoint, then drop all but the newest `KEEP` and the milestone.

        Anything that claims to be newer is dropped too: training passed it over as damaged, or rolled back behind it.
        """
        self.checkpoints.mkdir(exist_ok=True)
        remove_partial(self.checkpoints)
        partial = self.checkpoints / f".partial-{step}"
        partial.mkdir()
        write_tensors(partial / "model.safetensors", checkpoint.model)
        write_tensors(partial / "ema.safetensors", checkpoint.ema)
        write_tensors(partial / "optimizer.safetensors", checkpoint.optimizer)
        write_json(partial / "state.json", dict(checkpoint.state))
        files = {name: _entry(partial / name) for name in sorted(_FILES)}
        write_atomic(partial / _MANIFEST, _manifest(files))
        final = self.checkpoints / str(step)
        if final.exists():  # damaged, or written before a roll-back
            final.rename(self.checkpoints / f".partial-replaced-{step}")
        partial.rename(final)
        sync_folder(self.checkpoints)
        kept = [s for s in self.steps() if s <= step][:KEEP]
        for other in set(self.steps()) - {*kept, milestone}:
            remove(self.checkpoints / str(other))

    def verify(self, step: int) -> None:
        """Check every file of a checkpoint against its manifest.

        Raises
        ------
        RunError
            Saying what is wrong.
        """
        folder = self.checkpoints / str(step)
        path = folder / _MANIFEST
        try:
            manifest = parse_json(read_bytes(path, LARGEST_JSON))
        except FileNotFoundError:
            raise RunError(f"'{path}' does not exist.") from None
        except (ValueError, RecursionError) as error:
            raise RunError(f"'{path}' is not readable JSON ({error}).") from None
        files = manifest.get("files") if isinstance(manifest, dict) else None
        if not isinstance(files, dict) or read_bytes(path, LARGEST_JSON) != _manifest(files):
            newer = (
                isinstance(manifest, dict) and isinstance(manifest.get("format"), int) and manifest["format"] > FORMAT
            )
            why = "was written by a newer genarena" if newer else "is damaged"
            raise RunError(f"'{path}' {why}.")
        if set(files) != _FILES or {p.name for p in folder.iterdir()} != _FILES | {_MANIFEST}:
            raise RunError(f"'{folder}' does not hold exactly the files of a checkpoint.")
        for name, entry in files.items():
            if _entry(folder / name) != entry:
                raise RunError(f"'{folder / name}' is not what was written (size or sha256 differs).")
        if read_record(folder / "state.json", State)["round"] != step:
            raise RunError(f"'{folder}' holds another step than its name says.")

    def load(self, step: int, model: Mapping[str, Tensor], ema: Mapping[str, Tensor]) -> Checkpoint:
        """Read a verified checkpoint whose weights must fit `model` and `ema`."""
        self.verify(step)
        folder = self.checkpoints / str(step)
        return Checkpoint(
            read_record(folder / "state.json", State),
            read_tensors(folder / "model.safetensors", model),
            read_tensors(folder / "ema.safetensors", ema),
            read_tensors(folder / "optimizer.safetensors", most=_most_moments(model)),
        )


def _most_moments(model: Mapping[str, Tensor]) -> int:
    """Bytes that an optimizer's file may have: three moments a weight and a step count each, with their names."""
    return sum(3 * t.numel() * t.element_size() + 4096 for t in model.values()) + LARGEST_HEADER


def _manifest(files: Mapping[str, Any]) -> bytes:
    """The one valid byte string for these entries: any flipped bit of it shows."""
    body = json.dumps({"format": FORMAT, "files": files}, sort_keys=True)
    return json.dumps({"format": FORMAT, "files": files, "digest": hashlib.sha256(body.encode()).hexdigest()}).encode()


def finite(tensors: Mapping[str, Tensor]) -> bool:
    """True where every floating-point value is finite."""
    return all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point())
