"""Files of others stay, and a disk that refuses leaves all or nothing and one line."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genarena import cli
from genarena import fit as fitting
from genarena.data import Dataset
from genarena.errors import RunError, StorageError, TrainingError, UsageError
from genarena.export import export
from genarena.files import check_writable, claim, read_json, write_json
from genarena.fit import fit, plan
from genarena.fitted import FittedModel, load_model
from genarena.metrics import Evaluator
from genarena.metrics import evaluator as evaluators
from genarena.own_code import OwnCode
from genarena.report.pictures import embed_picture

SMALL = {"latent_dim": 2, "batch_size": 16, "network": {"architecture": "mlp", "width": 8, "depth": 1}}
ENOUGH = 600  # bytes, for messages


def train(data: Dataset, folder: Path, budget: str = "160 images", model: str = "vae") -> FittedModel:
    settings = {} if model == "pca" else SMALL
    return fit(plan(model, data, budget=budget, settings=settings, device="cpu"), folder, threads=1, pictures=False)


@pytest.fixture(scope="module")
def run(images: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(images, folder)
    return folder


@pytest.fixture(scope="module")
def data(images: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=images.fields["image"].values[:, 0], labels=images.fields["label"].values)
    return path


@contextmanager
def full(most: int = ENOUGH) -> Iterator[None]:
    """A disk on which no file gets longer than so many bytes; Python is told so by errors, as of a full one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def genarena(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str]]:
    def command(*arguments: object) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["genarena", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capfd.readouterr().err

    return command


@pytest.mark.parametrize("old", [None, b"what was there before"])
@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("sample", "a.png"), ("sample", "a.npz"), ("encode", "a.npz"), ("detect", "a.csv"), ("reconstruct", "a.npz"),
        ("interpolate", "a.gif"), ("traverse", "a.png"),
    ],
)  # fmt: skip
def test_a_full_disk_leaves_the_old_file_or_none(
    verb: str,
    name: str,
    old: bytes | None,
    run: Path,
    data: Path,
    tmp_path: Path,
    genarena: Callable[..., tuple[Any, str]],
) -> None:
    out = tmp_path / name
    if old:
        out.write_bytes(old)
    before = content(tmp_path)
    more = [data] if verb in ("encode", "detect", "reconstruct") else ["-n", "400"] if verb == "sample" else []
    with full():
        code, said = genarena(verb, run, *more, "--out", out)
    assert code == 74 and said.splitlines()[-1] == f"genarena: File too large: '{out}'.", said
    assert content(tmp_path) == before
    assert genarena(verb, run, *more, "--out", out)[0] == 0


def test_a_full_disk_leaves_no_part_of_a_folder(
    run: Path, data: Path, tmp_path: Path, genarena: Callable[..., tuple[Any, str]]
) -> None:
    fitted = load_model(run)
    with full():
        code, said = genarena("export", run, "--format", "torch", "--out", tmp_path / "exported")
        assert code == 74 and said.count("\n") == 1
        with pytest.raises(OSError, match="File too large"):
            fitted.save_pretrained(tmp_path / "saved")
    assert content(tmp_path) == {}
    fitted.save_pretrained(tmp_path / "saved")
    before = content(tmp_path / "saved")
    with full(), pytest.raises(OSError, match="File too large"):
        fitted.save_pretrained(tmp_path / "saved")
    assert content(tmp_path / "saved") == before


def test_an_evaluator_is_written_whole_and_its_folder_tried_first(
    vectors: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evaluator, "_calibrate", lambda *_: None)
    with full(), pytest.raises(OSError, match="File too large"):
        Evaluator.build(vectors, tmp_path / "judge", samples=20)
    assert content(tmp_path) == {}
    monkeypatch.setattr(evaluators, "fit_spaces", lambda *_: pytest.fail("it measured first"))
    with full(0), pytest.raises(StorageError, match="judge"):
        Evaluator.build(vectors, tmp_path / "judge", samples=20)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(RunError, match="holds files, but no evaluator"):
        Evaluator.build(vectors, tmp_path / "letters", samples=20)
    assert content(tmp_path) == {"letters/a.txt": b"dear"}


def test_a_result_that_standard_output_refuses_is_no_success(genarena: Callable[..., tuple[Any, str]]) -> None:
    with Path("/dev/full").open("w") as refusing, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", refusing)
        code, said = genarena("models", "--json")
        assert (code, said) == (74, "genarena: No space left on device.\n")


@pytest.mark.parametrize(
    "theirs", ["model.py", "events.jsonl", "model.safetensors", "README.md", "config.json", "plan.json"]
)
def test_folders_of_others_are_left_as_they_are(theirs: str, run: Path, images: Dataset, tmp_path: Path) -> None:
    (tmp_path / theirs).write_text('{"architectures": ["Bert"]}')
    before = content(tmp_path)
    fitted = load_model(run)
    for write in (
        lambda: train(images, tmp_path),
        lambda: train(images, tmp_path, model="pca"),
        lambda: fitted.save_pretrained(tmp_path),
        lambda: export(fitted, tmp_path, ("torch",)),
    ):
        with pytest.raises(RunError, match=r"holds files, but no|has no digest"):
            write()
        assert content(tmp_path) == before


def test_runs_saved_models_and_exports_do_not_replace_each_other(run: Path, images: Dataset, tmp_path: Path) -> None:
    fitted = load_model(run)
    before = content(run)
    with pytest.raises(RunError, match="holds a run"):
        fitted.save_pretrained(run)
    with pytest.raises(RunError, match="no export"):
        export(fitted, run, ("torch",))
    assert content(run) == before
    saved = fitted.save_pretrained(tmp_path / "saved")
    first = content(saved)
    load_model(saved).save_pretrained(saved)  # again, as a notebook does
    assert content(saved) == first
    with pytest.raises(RunError, match="saved model and no run"):
        train(images, saved)
    (saved / "README.md").write_text("my own words")
    with pytest.raises(RunError, match=r"README\.md' is no longer the one that was written"):
        fitted.save_pretrained(saved)
    assert (saved / "README.md").read_text() == "my own words"


def test_an_out_is_neither_the_data_nor_a_record(
    run: Path, data: Path, tmp_path: Path, genarena: Callable[..., tuple[Any, str]]
) -> None:
    before = data.read_bytes()
    os.symlink(data, tmp_path / "link.npz")
    for out in (data, tmp_path / "link.npz"):
        code, said = genarena("encode", run, data, "--out", out)
        assert code == 2 and "would replace the data" in said
    assert data.read_bytes() == before
    code, said = genarena("truncation", run, data, "--out", run / "config.json")
    assert code == 2 and "would replace a record" in said


def test_hidden_files_and_what_comes_before_a_record_are_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "worker.log").write_text("")
    claim(tmp_path, "config.json", "run", "worker.log")
    with pytest.raises(RunError):
        claim(tmp_path, "config.json", "run")
    write_json(tmp_path / "config.json", {})
    claim(tmp_path, "config.json", "run")
    check_writable(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".git", "config.json", "worker.log"]
    with pytest.raises(StorageError, match=r"worker\.log"):
        claim(tmp_path / "worker.log" / "x", "config.json", "run")


def test_other_versions_that_go_on_are_said_and_recorded(
    images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(images, tmp_path)
    train(images, tmp_path, "320 images")
    assert read_json(tmp_path / "result.json")["warnings"] == []
    monkeypatch.setattr(fitting, "__version__", "99.0")
    train(images, tmp_path, "480 images")
    (said,) = read_json(tmp_path / "result.json")["warnings"]
    assert "genarena" in said and ", then 99.0" in said
    (later,) = read_json(tmp_path / "config.json")["continued"]
    assert later["genarena"] == "99.0"


ENDING = """
import sys
from genarena.models.vae import VAE
{top}

class Ending(VAE):
    title, summary = "t", "s"

    def loss(self, batch, draw):
        sys.exit(0)

    def encode(self, x):
        sys.exit()
"""


def test_a_model_that_ends_the_program_has_failed(
    images: Dataset, data: Path, tmp_path: Path, genarena: Callable[..., tuple[Any, str]]
) -> None:
    for name, top in (("at_once", "sys.exit(0)"), ("later", "")):
        (tmp_path / f"{name}.py").write_text(ENDING.format(top=top))
    with pytest.raises(UsageError, match="failed to import: SystemExit"):
        OwnCode.read(tmp_path / "at_once.py", "model").load("Ending", object, "model")
    what = [data, "--out", tmp_path / "run", "--threads", "1", "--budget", "32 images", "--quiet"]
    code, said = genarena("train", f"{tmp_path / 'at_once.py'}:Ending", *what)
    assert code == 2 and said.count("\n") == 1 and "failed to import: SystemExit" in said
    code, said = genarena("train", f"{tmp_path / 'later.py'}:Ending", *what)
    assert code == TrainingError.exit_code and "own code ended the program" in said.splitlines()[-1]


@pytest.mark.parametrize("size", [(16_407, 70), (70, 16_407), (16_383, 70)])
def test_pictures_beyond_what_webp_holds_are_shown(size: tuple[int, int], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0]), np.uint8)
    Image.fromarray(noise).save(tmp_path / "p.png")
    found = embed_picture(tmp_path, "p.png")
    assert found.problem is None and (found.width, found.height) == size
    assert found.uri.startswith("data:image/webp" if max(size) <= 16_383 else "data:image/png")
    assert json.dumps(found.uri)
