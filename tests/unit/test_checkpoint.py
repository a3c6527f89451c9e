"""The run folder: atomic commits, damage of every kind detected, one process at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genarena import checkpoint as module
from genarena.checkpoint import Checkpoint, RunFolder, finite, read_tensors, write_tensors
from genarena.errors import RunError, StorageError
from genarena.files import append_to, filling, parse_json, read_json, replacing, write_atomic, write_json

MODEL = {"layer.weight": torch.arange(12.0).view(3, 4), "count": torch.tensor(3)}


def checkpoint(step: int) -> Checkpoint:
    model = {name: t + step for name, t in MODEL.items()}
    return Checkpoint({"round": step, "images": 16 * step}, model, model, {"player.0.step": torch.tensor(float(step))})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A folder with checkpoints 1 and 2."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    for step in (1, 2):
        folder.commit(checkpoint(step), step)
    return folder


def load(run: RunFolder, step: int) -> Checkpoint:
    return run.load(step, MODEL, MODEL)


def newest_intact(run: RunFolder) -> int:
    """The step a resumed training would use."""
    for step in run.steps():
        try:
            loaded = load(run, step)
        except (RunError, OSError):
            continue
        assert all(torch.equal(t, loaded.model[name]) for name, t in checkpoint(step).model.items())
        return step
    pytest.fail("no checkpoint can be loaded")


# -- commits -----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was(run: RunFolder) -> None:
    loaded, written = load(run, 2), checkpoint(2)
    assert loaded.state == written.state
    for found, expected in (
        (loaded.model, written.model),
        (loaded.ema, written.ema),
        (loaded.optimizer, written.optimizer),
    ):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[k], expected[k]) and found[k].dtype == expected[k].dtype for k in expected)


def test_an_optimizer_of_another_size_than_its_model_is_not_read(run: RunFolder) -> None:
    run.commit(replace(checkpoint(5), optimizer={"moments": torch.zeros(2_000_000)}), 5)
    with pytest.raises(RunError, match="larger than 4 MB"):
        load(run, 5)


def test_the_last_two_are_kept(run: RunFolder) -> None:
    run.commit(checkpoint(3), 3)
    assert run.steps() == [3, 2]
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["2", "3"]


def test_the_milestone_is_kept_besides(run: RunFolder) -> None:
    for step in (3, 4, 5):
        run.commit(checkpoint(step), step, milestone=2)
    assert run.steps() == [5, 4, 2]
    run.commit(checkpoint(6), 6, milestone=6)
    assert run.steps() == [6, 5]


def test_what_claims_to_be_newer_than_a_commit_is_dropped(run: RunFolder) -> None:
    """A damaged checkpoint that training went on before, or one of a future that was rolled back."""
    shutil.copytree(run.checkpoints / "2", run.checkpoints / "9")
    run.commit(checkpoint(3), 3)
    assert run.steps() == [3, 2]


def test_committing_a_step_again_replaces_it(run: RunFolder) -> None:
    (run.checkpoints / "2" / "state.json").write_text("{}")
    run.commit(checkpoint(2), 2)
    assert newest_intact(run) == 2
    run.commit(checkpoint(3), 3)
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["2", "3"]


class Trap:
    """Raises at the n-th operation on the disk, before or after doing it; counts them all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fatal: int, after: bool):
        self.count, self.fatal, self.after = 0, fatal, after
        for owner, name in (
            (os, "fsync"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "mkdir"),
            (shutil, "rmtree"),
            (module, "save_file"),
        ):
            monkeypatch.setattr(owner, name, self.around(getattr(owner, name)))

    def around(self, operation: Callable) -> Callable:
        def trapped(*args: Any, **options: Any) -> Any:
            self.count += 1
            mine = self.count
            if mine == self.fatal and not self.after:
                raise OSError(errno.ENOSPC, "No space left on device")
            result = operation(*args, **options)
            if mine == self.fatal:
                raise OSError(errno.EIO, "Input/output error")
            return result

        return trapped


def test_a_commit_interrupted_anywhere_leaves_a_checkpoint_that_loads(run: RunFolder) -> None:
    with pytest.MonkeyPatch.context() as patch:
        operations = Trap(patch, 0, False)
        shutil.copytree(run.path, run.path.with_name("counted"))
        operations.count = 0
        RunFolder(run.path.with_name("counted")).commit(checkpoint(3), 3)
    assert operations.count > 12
    for fatal in range(1, operations.count + 1):
        for after in (False, True):
            copy = RunFolder(run.path.with_name(f"copy-{fatal}-{after}"))
            shutil.copytree(run.path, copy.path)
            with pytest.MonkeyPatch.context() as patch:
                Trap(patch, fatal, after)
                with pytest.raises(OSError):
                    copy.commit(checkpoint(3), 3)
            assert newest_intact(copy) in (2, 3)
            copy.commit(checkpoint(4), 4)
            assert newest_intact(copy) == 4
            assert all(p.name.isdecimal() for p in copy.checkpoints.iterdir())


def test_tensors_are_written_whatever_their_layout(tmp_path: Path) -> None:
    images = torch.arange(48.0).view(2, 2, 3, 4)
    tensors = {"turned": MODEL["layer.weight"].t(), "last": images.contiguous(memory_format=torch.channels_last)}
    tensors["learned"] = torch.ones(3, requires_grad=True)
    write_tensors(tmp_path / "weights.safetensors", tensors)
    for name, tensor in read_tensors(tmp_path / "weights.safetensors", tensors).items():
        assert torch.equal(tensor, tensors[name])


def test_one_number_that_is_not_finite_is_enough() -> None:
    assert finite({"w": torch.ones(3), "count": torch.tensor(3), "empty": torch.ones(0)})
    for odd in (torch.nan, torch.inf, -torch.inf):
        assert not finite({"w": torch.ones(3), "b": torch.tensor([0.0, odd, 1.0])})


def test_a_full_disk_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_tensors(tmp_path / "missing" / "model.safetensors", MODEL)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_atomic(path, b"other")
    assert read_json(path) == {"a": 1}


def test_no_record_holds_a_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "record.json", {"loss": float("nan")})
    assert parse_json('{"loss": NaN, "fd": [Infinity, -Infinity, 1]}') == {"loss": None, "fd": [None, None, 1]}


def test_a_record_says_what_was_written_or_nothing(tmp_path: Path) -> None:
    path, record = (
        tmp_path / "record.json",
        {"winner": "vae", "levels": 17, "usable": [False, True], "fd": 0.1, "é": None},
    )
    write_json(path, record)
    assert read_json(path) == record
    written = path.read_bytes()
    assert json.loads(written).keys() == {*record, "digest"}
    for place, byte in enumerate(written):
        path.write_bytes(written[:place] + bytes([byte ^ 1 << place % 8]) + written[place + 1 :])
        with contextlib.suppress(RunError):
            assert read_json(path) == record  # as where one kind of space became another
    path.write_text(json.dumps(record))
    with pytest.raises(RunError, match="has no digest: an earlier genarena wrote it"):
        read_json(path)


# -- damage ------------------------------------------------------------------------------------------------------------


def files_of(run: RunFolder) -> list[Path]:
    return sorted((run.checkpoints / "2").iterdir())


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_two_hundred_random_damages_are_all_detected(run: RunFolder, damage: str) -> None:
    rng = np.random.default_rng(0)
    files = files_of(run)
    assert len(files) == 5
    for _ in range(200):
        path = files[rng.integers(len(files))]
        content = path.read_bytes()
        place = int(rng.integers(len(content)))
        if damage == "truncate":
            path.write_bytes(content[:place])
        else:
            flipped = bytearray(content)
            flipped[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
        with pytest.raises(RunError):
            load(run, 2)
        path.write_bytes(content)
    assert newest_intact(run) == 2


@pytest.mark.parametrize("name", [*sorted(module._FILES), "MANIFEST.json"])
def test_files_swapped_between_checkpoints_are_detected(run: RunFolder, name: str) -> None:
    shutil.copy(run.checkpoints / "1" / name, run.checkpoints / "2" / name)
    with pytest.raises(RunError):
        load(run, 2)
    assert newest_intact(run) == 1


def test_a_renamed_folder_is_detected(run: RunFolder) -> None:
    (run.checkpoints / "2").rename(run.checkpoints / "7")
    with pytest.raises(RunError, match="another step than its name says"):
        load(run, 7)


def test_an_extra_or_missing_file_is_detected(run: RunFolder) -> None:
    extra = run.checkpoints / "2" / "notes.txt"
    extra.write_text("mine")
    with pytest.raises(RunError, match="exactly the files"):
        load(run, 2)
    extra.unlink()
    (run.checkpoints / "2" / "ema.safetensors").unlink()
    with pytest.raises(RunError, match="exactly the files"):
        load(run, 2)
    (run.checkpoints / "1" / "MANIFEST.json").unlink()
    with pytest.raises(RunError, match="does not exist"):
        load(run, 1)


def test_a_newer_format_is_named(run: RunFolder) -> None:
    path = run.checkpoints / "2" / "MANIFEST.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(RunError, match="written by a newer genarena"):
        load(run, 2)


@pytest.mark.parametrize("entry", [5, [], {}, {"bytes": 1}])
def test_a_manifest_of_strange_entries_is_refused(run: RunFolder, entry: Any) -> None:
    path = run.checkpoints / "2" / "MANIFEST.json"
    files = {name: entry for name in json.loads(path.read_text())["files"]}
    path.write_bytes(module._manifest(files))
    with pytest.raises(RunError, match="size or sha256 differs"):
        load(run, 2)


@pytest.mark.parametrize("content", [b"[]", b"5", b"{", b"[" * 100_000, b"\xff"])
def test_a_manifest_that_is_none_is_refused(run: RunFolder, content: bytes) -> None:
    (run.checkpoints / "2" / "MANIFEST.json").write_bytes(content)
    with pytest.raises(RunError):
        load(run, 2)


def test_weights_of_other_names_shapes_or_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, MODEL)
    assert read_tensors(path, MODEL).keys() == MODEL.keys()
    with pytest.raises(RunError, match=r"other tensors .*'bias'"):
        read_tensors(path, {**MODEL, "bias": torch.zeros(1)})
    with pytest.raises(RunError, match=r"'layer\.weight' has another shape"):
        read_tensors(path, {**MODEL, "layer.weight": torch.zeros(4, 3)})
    with pytest.raises(RunError, match="another type"):
        read_tensors(path, {**MODEL, "count": torch.tensor(3.0)})


def test_no_file_is_read_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)  # sparse: nothing is written
    with pytest.raises(RunError, match="larger than 24 MB"):
        read_json(path)


# -- the lock ----------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from genarena.checkpoint import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_the_lock_refuses_a_second_process_and_is_free_after_kill(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match="another process is using"), RunFolder(tmp_path).lock():
            pass
        holder.kill()
    with RunFolder(tmp_path).lock():
        pass


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"), RunFolder(tmp_path / "file" / "run").lock():
        pass


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").symlink_to(precious)
    with pytest.raises(StorageError), RunFolder(folder).lock():
        pass
    (folder / "config.json").symlink_to(precious)
    with pytest.raises(StorageError, match="is a link"):
        write_json(folder / "config.json", {"a": 1})
    (folder / "hard").hardlink_to(precious)
    write_atomic(folder / "hard", b"new")
    with append_to(folder / "hard", b"begun, ") as file:
        file.write(b"gone on")
    assert precious.read_text() == "keep me"
    assert (folder / "hard").read_bytes() == b"begun, gone on"


@pytest.mark.parametrize("place", ["model.safetensors", "checkpoints", "scores/deep/events.jsonl"])
@pytest.mark.parametrize("kind", ["file", "folder", "nothing", "pipe"])
def test_a_folder_with_anything_but_files_in_it_is_left_alone(tmp_path: Path, place: str, kind: str) -> None:
    other = tmp_path / "other"
    other.write_text("theirs") if kind == "file" else other.mkdir() if kind == "folder" else None
    path = tmp_path / "run" / place
    path.parent.mkdir(parents=True)
    os.mkfifo(path) if kind == "pipe" else path.symlink_to(other)
    with pytest.raises(RunError, match=f"{path.name}' is (a link|no regular file)"), RunFolder(tmp_path / "run").lock():
        pass
    (tmp_path / "named").symlink_to(tmp_path / "fine")
    (tmp_path / "fine").mkdir()
    with RunFolder(tmp_path / "named").lock():  # the folder itself is the user's choice
        pass


def test_a_writer_that_fails_or_is_killed_leaves_what_was(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_tensors(run.model, MODEL)
    before = run.model.read_bytes()
    for writer in (replacing(run.model), filling(tmp_path, "model.safetensors")):
        new = writer.__enter__()
        (new / "model.safetensors" if new.is_dir() else new).write_bytes(b"half")
        assert not writer.__exit__(ValueError, ValueError(), None)
    assert run.model.read_bytes() == before and list(tmp_path.iterdir()) == [run.model]
    with filling(tmp_path / "new", "b") as new:
        for name in "bac":
            (new / name).write_text(name)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b", "c"]
    (tmp_path / ".partial-killed").write_text("half")
    with run.lock():
        assert not (tmp_path / ".partial-killed").exists()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_every_file_has_the_mode_that_the_user_wants(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "weights.safetensors", MODEL)
        write_json(tmp_path / "record.json", {})
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in sorted(tmp_path.iterdir())] == [mode, mode]
