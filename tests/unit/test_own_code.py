"""Own code runs as the text that was read, and only what can give its class again is kept."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import marshal
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from genarena.comparison.plan import Contender, make_plan
from genarena.data import Dataset
from genarena.errors import GenarenaError, RunError, UsageError
from genarena.fit import fit, plan
from genarena.fitted import load_model
from genarena.models import find_model
from genarena.models.autoencoder import Autoencoder
from genarena.own_code import OwnCode, load_class, source_of

CLEAN = "class Mine:\n    says = 'clean'\n"
EVIL = "class Mine:\n    says = 'evil'\n"
MODEL = "from genarena.models.autoencoder import Autoencoder\n\n\nclass Mine(Autoencoder):\n    summary = 'first'\n"
SMALL = {"latent_dim": 2, "batch_size": 16, "network": {"architecture": "mlp", "width": 8, "depth": 2}}


def plant_bytecode(path: Path, text: str) -> None:
    """Bytecode that Python's own importer would run instead of the source, whatever that holds."""
    cached = Path(importlib.util.cache_from_source(str(path)))
    cached.parent.mkdir(exist_ok=True)
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    cached.write_bytes(header + marshal.dumps(compile(text, str(path), "exec")))


def test_the_text_runs_and_no_bytecode_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(CLEAN)
    plant_bytecode(path, EVIL)
    spec = importlib.util.spec_from_file_location("as_python_does", path)
    ordinary = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(ordinary)  # type: ignore[union-attr]
    assert ordinary.Mine.says == "evil"  # what is planted would run
    assert load_class(path, "Mine", object, "model").says == "clean"  # type: ignore[attr-defined]
    code = OwnCode.read(path, "model")
    path.write_text(EVIL)
    assert code.load("Mine", object, "model").says == "clean"  # type: ignore[attr-defined]


def test_files_of_one_name_are_two_modules_and_a_broken_one_is_none(tmp_path: Path) -> None:
    found = []
    for user, text in (("ann", CLEAN), ("bob", EVIL)):
        (tmp_path / user).mkdir()
        (tmp_path / user / "model.py").write_text(text)
        found.append(load_class(tmp_path / user / "model.py", "Mine", object, "model"))
    assert [own.says for own in found] == ["clean", "evil"]  # type: ignore[attr-defined]
    assert [sys.modules[own.__module__].Mine for own in found] == found
    assert load_class(tmp_path / "ann" / "model.py", "Mine", object, "model") is found[0]
    before = set(sys.modules), sys.path[:]
    for text in ("raise SystemExit(0)", "1 / 0", "class Mine(", "import nowhere_to_be_found", "x = '\0'"):
        (tmp_path / "broken.py").write_text(text)
        with pytest.raises(UsageError, match="failed to import"):
            load_class(tmp_path / "broken.py", "Mine", object, "model")
    assert {name for name in set(sys.modules) - before[0] if "user" in name} == set() and sys.path == before[1]


@pytest.mark.parametrize(
    "line", ["import helper", "from helper import x", "from . import helper", "def f(): import helper"]
)
@pytest.mark.parametrize("place", ["beside", "current"])
def test_a_module_that_was_never_shown_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, place: str
) -> None:
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "model.py"
    path.write_text(f"{line}\n{CLEAN}")
    folder = path.parent if place == "beside" else tmp_path
    (folder / "helper.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder) if place == "beside" else "")
    with pytest.raises(UsageError, match=r"imports '.*', which is no installed package: own code is one file"):
        load_class(path, "Mine", object, "model")
    path.write_text(f"import json, numpy, genarena\n{CLEAN}")
    assert load_class(path, "Mine", object, "model")


def test_consent_is_to_a_text(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(CLEAN)
    code = OwnCode.read(tmp_path / "model.py", "model")
    assert code.sha256 == hashlib.sha256(CLEAN.encode()).hexdigest()
    for trust in (True, code.sha256, code.sha256[:16].upper()):
        code.require(trust, "--trust")
    for trust in (False, "", code.sha256[:8], OwnCode(code.path, EVIL).sha256):
        with pytest.raises(RunError, match=rf"model.py', 2 lines, sha256 {code.sha256[:16]}\. Read it, then allow it"):
            code.require(trust, "--trust")


# -- classes that are passed ---------------------------------------------------------------------------------------------


def run_main(text: str, file: str, **names: Any) -> dict[str, Any]:
    """Run a text as a script's or a notebook cell's is run, known by this file name."""
    if not Path(file).is_file():
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space = {"__name__": "__main__", **names}
    exec(compile(text, file, "exec"), space)
    return space


@pytest.fixture(autouse=True)
def no_main_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)  # as in a notebook
    monkeypatch.setattr(linecache, "cache", {})


CELL = MODEL.partition("    summary")[0] + "    def extra(self):\n        return {}\n"


def test_a_cell_is_kept_and_a_changed_one_is_refused(images: Dataset, tmp_path: Path) -> None:
    first = run_main(CELL.format(1), "<cell 1>")["Mine"]
    fit(plan(first, images, budget="32 images", settings=SMALL, device="cpu"), tmp_path, threads=1, pictures=False)
    assert (tmp_path / "model.py").read_text() == CELL.format(1)
    again = fit(plan(first, images, budget="32 images", settings=SMALL, device="cpu"), tmp_path, threads=1)
    assert type(again.model) is first  # what the caller passed, and no second run of its file
    second = run_main(CELL.format(2), "<cell 2>")["Mine"]
    with pytest.raises(RunError, match="the model's source file has changed"):
        fit(plan(second, images, budget="64 images", settings=SMALL, device="cpu"), tmp_path, threads=1)
    with pytest.raises(RunError, match="brings its own Python code"):
        load_model(tmp_path, own=second)
    assert load_model(tmp_path, trust=OwnCode(Path(), CELL.format(1)).sha256).model.extra() == 1  # type: ignore[operator]
    plant_bytecode(tmp_path / "model.py", "raise SystemExit('planted')")
    assert load_model(tmp_path, trust=True).name == "Mine"


def test_what_could_not_be_loaded_again_is_refused_before_training(images: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "edited.py"
    file.write_text(CELL.format(1))
    edited = run_main(CELL.format(1), str(file))["Mine"]
    file.write_text(CELL.format(2))
    typed = {"__name__": "__main__", "Autoencoder": Autoencoder}
    exec("class Mine(Autoencoder):\n    def extra(self):\n        return 1\n", typed)
    inner = "def make(base):\n    class Mine(base):\n        def extra(self):\n            return 1\n    return Mine\n"
    alone = CELL.format(1).partition("\n")[2]
    cases = {
        "cannot be found": typed["Mine"],
        "has changed since Mine was made by it": edited,
        "does not define 'Autoencoder'": run_main(alone, "<cell 3>", Autoencoder=Autoencoder)["Mine"],
        "made inside of something": run_main(inner, "<cell 4>")["make"](Autoencoder),
        "the source of Made cannot": type("Made", (Autoencoder,), {"__module__": "__main__"}),
    }
    for said, own in cases.items():
        with pytest.raises(UsageError, match=said):
            plan(own, images)
        with pytest.raises(UsageError, match=said):
            make_plan(images, models=[own])


UNGUARDED = MODEL + "\n\ndef main():\n    go(Mine)\n\n\nmain()\n"
GUARDED = UNGUARDED.replace("\nmain()", '\nif __name__ == "__main__":\n    main()')


@pytest.mark.parametrize("kind", ["train", "compare"])
def test_a_script_without_a_guard_is_refused_at_once(images: Dataset, tmp_path: Path, kind: str) -> None:
    script, seen = tmp_path / "script.py", []
    go = (
        (lambda own: plan(own, images))
        if kind == "train"
        else (lambda own: make_plan(images, models=[own], settings=SMALL))
    )
    script.write_text(GUARDED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
        run_main(GUARDED, str(script), go=lambda own: seen.append(go(own)))
        assert len(seen) == 1
        script.write_text(UNGUARDED)
        with pytest.raises(UsageError, match=r'would train again.*if __name__ == "__main__":'):
            run_main(UNGUARDED, str(script), go=go)


def test_a_file_that_trains_when_its_class_is_loaded_is_refused(images: Dataset, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    calls = "import genarena.comparison.plan as p, genarena.fit as f\n"
    for call in (f"f.plan('{script}:Mine', None)", f"p.make_plan(None, models=['{script}:Mine'])"):
        script.write_text(calls + MODEL + call)
        with pytest.raises(UsageError, match=r'trains when its class is loaded: .*if __name__ == "__main__":'):
            find_model(f"{script}:Mine")


def test_a_contender_is_its_code_wherever_that_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.py").write_text(MODEL)
    shutil.copy(tmp_path / "my.py", tmp_path / "copy.py")
    monkeypatch.chdir(tmp_path)
    own = find_model("my.py:Mine")
    one = [Contender.of(model) for model in ("my.py:Mine", str(tmp_path / "my.py") + ":Mine", "copy.py:Mine", own)]
    assert all(contender == one[0] for contender in one)
    (tmp_path / "my.py").write_text(MODEL.replace("first", "second"))
    assert Contender.of("my.py:Mine") != one[0]
    assert one[0].model_class.summary == "first"  # whatever becomes of the file
    assert source_of(own).text == MODEL


def test_an_error_of_own_code_is_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_bytes(b"caf\xe9 = 1")
    with pytest.raises(GenarenaError, match="cannot be read as UTF-8 text") as error:
        find_model(f"{tmp_path / 'my.py'}:Mine")
    assert "\n" not in str(error.value)
