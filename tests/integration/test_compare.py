"""Whole comparisons: what they leave, and what interruptions and broken models do to them."""

from __future__ import annotations

import html
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arena_fixture import SMALL, Done, compare_command, run_command_here
from PIL import Image

from genarena import load
from genarena.checkpoint import RunFolder
from genarena.comparison import cell as cells
from genarena.comparison import evaluator_of, load_winner, winner_folder
from genarena.comparison.measure import read_scores
from genarena.errors import RunError, UsageError
from genarena.files import read_json, sha256_of, write_json
from genarena.report.schema import read_comparison
from genarena.uses import USES

OF_THE_CLOCK = {
    "created", "command", "train_seconds", "cpu_seconds", "images_per_second", "sample_images_per_second",
    "peak_memory", "peak_memory_mb",
}  # fmt: skip

SLOW_MODEL = """
import time
from genarena.models.autoencoder import Autoencoder


class Slow(Autoencoder):
    def play(self, draw):
        time.sleep(0.01)
        yield from super().play(draw)
"""

BROKEN_MODELS = """
import os
import time
from genarena.models.autoencoder import Autoencoder


class Fine(Autoencoder):
    pass


class Raises(Autoencoder):
    def play(self, draw):
        raise ValueError("a planted mistake")


class Exits(Autoencoder):
    def play(self, draw):
        os._exit(7)


class Starves(Autoencoder):
    def play(self, draw):
        raise MemoryError


class Hangs(Autoencoder):
    def play(self, draw):
        time.sleep(3600)
"""


def without_times(value: Any) -> Any:
    """A comparison's record without whatever a clock measured."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in OF_THE_CLOCK}
    if isinstance(value, list):
        timed = OF_THE_CLOCK | {"cost"}
        return [without_times(v) for v in value if not (isinstance(v, dict) and v.get("name") in timed)]
    return value


def test_a_comparison_leaves_what_it_says(arena: Path) -> None:
    found = read_comparison(arena)  # validates against the schema
    assert [c.name for c in found.contenders] == ["pca", "vae", "gan", "MyGAN"]
    assert len(found.runs) == 4 * 2 * 2  # contenders, seeds, views
    assert {run.status for run in found.runs} == {"done"}
    assert {use.name for use in found.uses} == set(USES) - {"condition"}  # nobody here is told classes
    assert found.evaluator is not None and found.evaluator.hash == evaluator_of(arena).hash
    assert (arena / "report.html").stat().st_size > 10_000
    assert "http-equiv" in (arena / "report.html").read_text(encoding="utf-8")
    for kind in ("samples", "reconstructions", "interpolations", "nearest"):
        for name, path in getattr(found.pictures, kind).items():
            assert (arena / path).read_bytes().startswith(b"\x89PNG"), (kind, name)
    assert set(found.pictures.samples) == {"pca", "vae", "gan", "MyGAN"}
    assert set(found.pictures.reconstructions) == {"pca", "vae"}
    curves = {(c.contender, c.seed) for c in found.curves}
    assert {("vae", 0), ("vae", 1), ("gan", 0), ("MyGAN", 1)} <= curves
    for use in found.uses:
        assert set(use.cells) == {"pca", "vae", "gan", "MyGAN"}
        for cell in use.cells.values():
            assert cell.reason if cell.value is None else (cell.reason or "not ranked: ").startswith("not ranked: ")
    likelihood = next(use for use in found.uses if use.name == "likelihood")
    assert {name for name, cell in likelihood.cells.items() if cell.value is not None} == {"pca", "vae"}


def test_the_same_model_under_another_name_has_the_same_scores(arena: Path) -> None:
    # MyGAN is GAN: the same seeds, budget and evaluator give the same numbers.
    metrics = {m.name: m for m in read_comparison(arena).metrics}
    for name in ("fd_inf/classifier", "coverage/random-conv", "path_length/pca"):
        assert metrics[name].scores["gan"].by_seed == metrics[name].scores["MyGAN"].by_seed
    by_seed = metrics["fd_inf/classifier"].scores["gan"].by_seed
    assert by_seed["0"] != by_seed["1"]


def test_the_same_command_again_trains_nothing(
    arena: Path, workplace: Path, genarena: Callable[..., Done], cells_here: None
) -> None:
    models = {path: path.stat().st_mtime_ns for path in arena.glob("runs/*/model.safetensors")}
    scores = {path: path.read_bytes() for path in arena.glob("runs/*/scores/*.json")}
    before = without_times(read_json(arena / "comparison.json"))
    done = genarena(*compare_command(workplace, arena)[1:])
    assert (done.code, done.last) == (0, str(arena / "report.html"))
    assert {path: path.stat().st_mtime_ns for path in arena.glob("runs/*/model.safetensors")} == models
    assert {path: path.read_bytes() for path in arena.glob("runs/*/scores/*.json")} == scores
    assert without_times(read_json(arena / "comparison.json")) == before


def test_every_seed_hides_the_same_class_and_the_report_names_it(arena: Path) -> None:
    found = read_comparison(arena)
    (name,) = found.plan.hidden
    for seed in (0, 1):
        label = read_json(arena / "runs" / f"vae-{seed}-detect" / "config.json")["schema"]["label"]
        hidden = [label["classes"][index] for index, share in enumerate(label["frequencies"]) if share == 0]
        assert hidden == [name]
    detect = next(use for use in found.uses if use.name == "detect")
    assert detect.reason.endswith(f" Hidden from training: class {name}.")
    page = (arena / "report.html").read_text(encoding="utf-8")
    assert detect.reason in html.unescape(page) and f"class {name}, from training and validation of every seed" in page
    assert not any("Hidden from training" in use.reason for use in found.uses if use.name != "detect")


def test_a_run_keeps_the_threads_of_its_first_start(arena: Path) -> None:
    """However many runs share the cores when the comparison goes on."""
    assert cells.main([str(arena), "vae-0", "2"]) == 0
    assert read_json(arena / "runs" / "vae-0" / "config.json")["threads"] == 1


def test_winners_are_served(arena: Path) -> None:
    record = read_json(arena / "comparison.json")
    for entry in record["uses"]:
        if entry["leader"] is None:
            continue
        folder = winner_folder(arena, entry["name"])
        assert folder.name == f"{entry['leader']}-0"
        assert load(arena, entry["name"], trust=True).name == entry["leader"]
    for name in record["plan"]["contenders"]:  # any contender, leader or not
        assert winner_folder(arena, "reconstruct", name).name == f"{name}-0"
        assert load(arena, "reconstruct", model=name, trust=True).name == name
    with pytest.raises(UsageError, match="has no 'gna', but pca, vae, gan"):
        winner_folder(arena, "reconstruct", "gna")
    with pytest.raises(UsageError, match="say for which use"):
        load(arena, model="gan")
    with pytest.raises(UsageError, match="there is no use 'detecting'"):
        winner_folder(arena, "detecting")
    with pytest.raises(RunError, match="is no comparison: leave --for out"):
        load_winner(arena / "runs", "detect")


def test_code_that_a_folder_brings_is_not_run_unasked(arena: Path, tmp_path: Path) -> None:
    record = read_json(arena / "comparison.json")
    for entry in record["uses"]:
        entry["leader"] = "MyGAN"
    copy = tmp_path / "copy"
    (copy / "runs").mkdir(parents=True)
    shutil.copytree(arena / "runs" / "MyGAN-0", copy / "runs" / "MyGAN-0")
    (copy / "plan.json").write_bytes((arena / "plan.json").read_bytes())
    write_json(copy / "comparison.json", record)
    with pytest.raises(RunError, match="--trust"):
        load(copy, "generate-fidelity")
    assert load(copy, "generate-fidelity", trust=True).name == "MyGAN"
    own = load(copy, "generate-fidelity", trust=True).model
    assert load_winner(copy, "generate-fidelity", own={"MyGAN": type(own)}).name == "MyGAN"  # at hand: nothing runs
    (run,) = [run for run in record["runs"] if run["id"] == "MyGAN-0"]
    for change, said in (
        ({"status": "failed"}, "no finished run"),
        ({"sha256": "0" * 64}, "not the run that was compared"),
    ):
        write_json(copy / "comparison.json", {**record, "runs": [{**run, **change}]})
        with pytest.raises(RunError, match=said):
            load(copy, "generate-fidelity", trust=True)
    write_json(copy / "comparison.json", record)
    with (copy / "runs" / "MyGAN-0" / "model.py").open("a") as file:
        file.write("raise SystemExit('this ran')\n")
    with pytest.raises(RunError, match="not the code that this model was trained with"):
        load(copy, "generate-fidelity", trust=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--budget", "1k images"], "can be extended, not cut to 1k images"),
        (["--budget", "3 epochs"], "can be extended, not cut to 3 epochs"),
        (["--set", "latent_dim=5"], "with other settings"),
        (["--samples", "30"], "compares 40 samples"),
    ],
)
def test_other_arguments_on_the_same_folder_are_refused(
    changes: list[str], message: str, arena: Path, workplace: Path, genarena: Callable[..., Done], cells_here: None
) -> None:
    before = (arena / "comparison.json").read_bytes()
    done = genarena(*compare_command(workplace, arena)[1:], *changes)
    assert done.code == 4
    assert message in done.err and done.out == ""
    assert (arena / "comparison.json").read_bytes() == before


def test_other_data_on_the_same_folder_are_refused(arena: Path, workplace: Path, genarena: Callable[..., Done]) -> None:
    done = genarena("compare", workplace / "plain.npy", "--models", "pca", "--out", arena, "--quiet")
    assert done.code == 4 and "compares other data" in done.err


def test_one_use_trains_only_what_it_needs(
    workplace: Path, tmp_path: Path, genarena: Callable[..., Done], cells_here: None
) -> None:
    common = ["compare", workplace / "bars.npz", "--models", "pca", "--seeds", "1", "--quiet", "--jobs", "1"]
    detect = genarena(*common, "--for", "detect", "--out", tmp_path / "a")
    assert detect.code == 0
    # one run on all data, for the model that is handed over
    assert sorted(path.name for path in (tmp_path / "a" / "runs").iterdir()) == ["pca-0", "pca-0-detect"]
    assert winner_folder(tmp_path / "a", "detect").name == "pca-0"
    normal = genarena(*common, "--for", "detect", "--normal", "1", "--out", tmp_path / "n")
    assert normal.code == 0
    assert read_comparison(tmp_path / "n").plan.hidden == ["0", "2"]
    assert winner_folder(tmp_path / "n", "detect").name == "pca-0-detect"  # which has seen class 1 alone
    other = genarena(*common, "--for", "detect", "--normal", "0", "--out", tmp_path / "n")
    assert other.code == 4 and "hides 0, 2 from training and not 1, 2: choose another --out" in other.err
    judged = genarena(*common, "--for", "reduce", "--out", tmp_path / "b", "--evaluator", tmp_path / "a" / "evaluator")
    assert judged.code == 0
    hashes = {read_comparison(tmp_path / name).evaluator.hash for name in "ab"}  # type: ignore[union-attr]
    assert len(hashes) == 1


# -- in processes of their own -----------------------------------------------------------------------------------------


def slow_command(workplace: Path, model: Path, folder: Path) -> list[str]:
    what = ["compare", str(workplace / "plain.npy"), "--models", f"{model}:Slow", "--seeds", "1"]
    return [*what, "--budget", "16k images", "--for", "reconstruct", "--quiet", "--out", str(folder), *SMALL]


@pytest.fixture(scope="module")
def slow_model(workplace: Path) -> Path:
    path = workplace / "slow.py"
    path.write_text(SLOW_MODEL)
    return path


@pytest.fixture(scope="module")
def uninterrupted(workplace: Path, slow_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "out"
    run_command_here(["genarena", *slow_command(workplace, slow_model, folder)])
    return folder


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_free(run: RunFolder) -> bool:
    try:
        with run.lock():
            return True
    except RunError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_comparison_ends_as_if_nothing_had_happened(
    number: signal.Signals,
    workplace: Path,
    slow_model: Path,
    uninterrupted: Path,
    tmp_path: Path,
    genarena: Callable[..., Done],
    cells_here: None,
) -> None:
    halted, whole = tmp_path / "halted", uninterrupted
    run = RunFolder(halted / "runs" / "Slow-0")
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "genarena", *slow_command(workplace, slow_model, halted)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait_until(lambda: run.events.exists() and run.events.read_text().count('"kind": "monitor"') > 1)
    supervisor.send_signal(number)
    out, err = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, out) == (143 if number == signal.SIGTERM else -9, "")
    if number == signal.SIGTERM:
        assert "the same command goes on from here" in err and "Traceback" not in err
        assert is_free(run)  # no process was left behind
    else:
        wait_until(lambda: is_free(run))  # a run whose supervisor is gone saves and ends
    assert run.steps()[0] > 0 and not run.result.exists()

    assert genarena(*slow_command(workplace, slow_model, halted)).code == 0
    resumed = [e for e in run.events.read_text().splitlines() if '"resume"' in e]
    assert len(resumed) == 1
    assert sha256_of(run.model) == sha256_of(whole / "runs" / "Slow-0" / "model.safetensors")
    judge = evaluator_of(whole)
    assert read_scores(run.path, judge.hash) == read_scores(whole / "runs" / "Slow-0", judge.hash) != None  # noqa: E711
    records = [without_times(read_json(folder / "comparison.json")) for folder in (halted, whole)]
    assert records[0] == records[1]


def test_models_that_break_fail_alone(workplace: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN_MODELS)
    names = ["Raises", "Exits", "Starves", "Hangs", "Fine"]
    models = ",".join(f"broken.py:{name}" for name in names)
    done = subprocess.run(
        [sys.executable, "-m", "genarena", "compare", workplace / "plain.npy", "--models", models, "--seeds", "1",
         "--budget", "640 images", "--for", "reconstruct", "--out", "out", "--stall", "25", "--jobs", "3", *SMALL],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert done.stdout == "out/report.html\n"
    assert "Traceback" not in done.stderr
    assert "4 of 6 runs failed" in done.stderr.splitlines()[-1]
    record = read_comparison(tmp_path / "out")
    reasons = {run.contender: run.reason for run in record.runs}
    assert {run.contender: run.status for run in record.runs} == {
        name: "done" if name in ("Fine", "pca") else "failed" for name in ["pca", *names]
    }
    assert reasons["Fine"] is None
    assert reasons["Raises"] == "ValueError: a planted mistake"
    assert "exit code 7" in str(reasons["Exits"])
    assert "out of memory" in str(reasons["Starves"])
    assert reasons["Hangs"] == "no sign of life for 25 s: ended"
    (use,) = record.uses
    assert use.cells["Fine"].value is not None
    assert use.cells["Raises"].reason == "no run finished"
    assert "a planted mistake" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("cells_here")
def test_faultless_parts_to_learn_from_and_defects_to_notice(tmp_path: Path, genarena: Callable[..., Done]) -> None:
    """Train holds one class, test another beside it: no option is needed, no run is lost, nothing is claimed of the unseen."""
    rng = np.random.default_rng(0)
    for folder, count, light in (
        ("train/good", 60, 0),
        ("test/good", 24, 0),
        ("test/crack", 12, 200),
        ("ground_truth/crack", 12, 99),
    ):
        (tmp_path / "part" / folder).mkdir(parents=True)
        for i in range(count):
            values = rng.integers(0, 40, (8, 8))
            values[3, 1:7] += light
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / "part" / folder / f"{i:03d}.png")
    out = tmp_path / "arena"
    small = ["--seeds", "1", "--budget", "64 images", "--jobs", "1", *SMALL]
    done = genarena("compare", tmp_path / "part", "--models", "pca,cvae", *small, "--out", out)
    assert done.code == 0 and "12 image(s) outside the folders of splits ('test', 'train')" in done.err
    record = read_json(out / "comparison.json")
    assert {run["status"] for run in record["runs"]} == {"done"}
    assert record["plan"]["hidden"] == ["crack"] and record["evaluator"]["n"] == 24
    assert any(
        note.startswith("12 test examples are of classes that train has none of") for note in record["data"]["notes"]
    )
    uses = {use["name"]: use for use in record["uses"]}
    assert uses["detect"]["cells"]["pca"]["value"] > 0.99
    assert uses["reduce"]["verdict"] == "not possible"
    assert {cell["reason"] for cell in uses["reduce"]["cells"].values()} == {"the training labels are of one class"}
    run = out / "runs" / "cvae-0"
    refused = genarena("sample", run, "--label", "crack", "--out", tmp_path / "a.png")
    assert refused.code == 2 and "class 'crack' was never trained on" in refused.err
    assert genarena("sample", run, "--label", "good", "--out", tmp_path / "a.png").code == 0
    probe = genarena("probe", run, tmp_path / "part")
    assert probe.code == 3 and "of one class" in probe.err
    # held-out parts that p-values are taken from are faultless ones
    assert load(run).calibration.shape == (6,)


@pytest.mark.usefixtures("cells_here")
def test_a_refused_command_changes_no_plan(workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    words = ["compare", workplace / "plain.npy", "--models", "pca", "--seeds", 1, "--out", tmp_path / "out", "--quiet"]
    first = ["--budget", "1k images", "--samples", 20]
    assert genarena(*words, *first).code == 0
    plan = (tmp_path / "out" / "plan.json").read_bytes()
    assert json.loads(plan)["device"] == "cpu"  # the one it was, where nothing was said
    refused = genarena(*words, "--budget", "2k images", "--samples", 10)
    assert refused.code == 4 and "compares 20 samples" in refused.err
    assert (tmp_path / "out" / "plan.json").read_bytes() == plan
    assert genarena(*words, *first).code == 0


@pytest.mark.usefixtures("cells_here")
def test_labels_that_no_classifier_can_tell(tmp_path: Path, genarena: Callable[..., Done]) -> None:
    """A class is then judged by nobody: that is said before training, and is no end to the other uses."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", images=rng.integers(0, 256, (120, 8, 8), np.uint8), labels=np.arange(120) % 3)
    words = ["compare", tmp_path / "noise.npz", "--models", "cgan", "--seeds", 1, "--budget", "64 images"]
    words += ["--jobs", 1, "--set", "batch_size=16"]
    done = genarena(*words, "--out", tmp_path / "out", *SMALL)
    assert done.code == 0, done.err
    assert (
        "'condition' cannot be measured: the evaluator has no classifier space (no classifier space: held-out"
        in done.err
    )
    uses = {use.name: use for use in read_comparison(tmp_path / "out").uses}
    assert uses["condition"].verdict == "not possible"
    assert uses["condition"].cells["cgan"].reason == "there is no classifier of these labels to judge by"
    assert uses["generate-fidelity"].cells["cgan"].value is not None
    plan = (tmp_path / "out" / "plan.json").read_bytes()
    assert genarena(*words, "--for", "condition", "--out", tmp_path / "out", *SMALL).code == 3
    assert (tmp_path / "out" / "plan.json").read_bytes() == plan
    only = genarena(*words, "--for", "condition", "--out", tmp_path / "only", *SMALL)
    assert only.code == 3 and "'condition' cannot be measured" in only.err
    assert not (tmp_path / "only" / "runs").exists()
    assert (
        "is not finished: run its" in genarena("sample", tmp_path / "only", "--for", "condition", "--out", "x.png").err
    )


def test_two_comparisons_in_one_folder(workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    with RunFolder(tmp_path / "out").lock():
        done = genarena("compare", workplace / "plain.npy", "--models", "pca", "--out", tmp_path / "out", "--quiet")
    assert done.code == 4 and "another process is using" in done.err
