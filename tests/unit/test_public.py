"""What ``import genarena`` offers, how fast, and the tables that are made from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import genarena
from genarena.catalogue import capability_markdown, capability_rows
from genarena.errors import RunError, UsageError
from genarena.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = {
    "Dataset", "Detector", "Encoder", "Evaluator", "FittedModel", "Game", "GenarenaError", "OnePlayerGame", "Stats",
    "Turn", "__version__", "compare", "load", "open_dataset", "train",
}  # fmt: skip


def test_all_is_what_it_should_be() -> None:
    assert set(genarena.__all__) == PUBLIC
    assert dir(genarena) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(genarena, name) is not None


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        genarena.trian  # noqa: B018


def test_a_model_that_is_nowhere_is_a_run_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known\nand much more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(RunError, match=r"'nobody/nothing' is no folder here.*Name or service not known\)\.$"):
        genarena.FittedModel.from_pretrained("nobody/nothing")
    with pytest.raises(RunError, match="'nobody/nothing' is no folder"):  # load never asks the network
        genarena.load("nobody/nothing")


def test_a_model_is_loaded_onto_a_device(vectors, tmp_path: Path) -> None:
    genarena.train("pca", vectors, tmp_path, device="cpu")
    assert genarena.load(tmp_path, device="cpu").device.type == "cpu"
    with pytest.raises(UsageError, match="device 'gpu' is unknown: auto, cpu, cuda or mps"):
        genarena.load(tmp_path, device="gpu")


def test_all_public_things_have_docstrings() -> None:
    assert [name for name in PUBLIC - {"__version__"} if not getattr(genarena, name).__doc__] == []


@pytest.mark.parametrize(
    "code",
    ["import genarena", "import genarena.cli as c, sys; sys.argv[1:] = ['--help']; c.main()"],
    ids=["import", "help"],
)
def test_torch_is_not_imported_before_it_is_needed(code: str) -> None:
    watched = (
        f"import atexit, sys\natexit.register(lambda: print('torch' in sys.modules, 'numpy' in sys.modules))\n{code}"
    )
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False False"


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run([sys.executable, "-m", "genarena", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{genarena.__version__}\n"), done.stderr


def test_the_table_of_models_has_a_row_for_each() -> None:
    rows = capability_rows()
    assert [row["name"] for row in rows] == list(MODELS)
    assert len(capability_markdown().splitlines()) == 2 + len(MODELS)
    by_name = {row["name"]: row["capabilities"] for row in rows}
    assert by_name["vae"]["encode"] is None
    assert by_name["gan"]["encode"]


def test_the_readme_shows_the_table_that_the_code_gives() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("<!-- models -->")[2].partition("<!-- /models -->")[0]
    assert shown.strip() == capability_markdown()
