"""Records that anybody may have changed: whatever stands in one, reading it ends well or in an error of ours."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixture import comparison

from genarena import report
from genarena.checkpoint import RunFolder, _entry, _manifest
from genarena.comparison import winner_folder
from genarena.comparison.measure import read_scores, scores_path, write_scores
from genarena.comparison.plan import Plan, make_plan
from genarena.comparison.run import Worker, _outcome, _share, expected_seconds
from genarena.data import Dataset, open_dataset
from genarena.data.fields import Quarantined
from genarena.data.store import load_dataset, save_dataset
from genarena.errors import GenarenaError, RunError
from genarena.events import JsonLines, episodes, last_event, read_events
from genarena.files import _digest, parse_json, read_json, write_json
from genarena.fit import fit, plan
from genarena.fitted import load_model
from genarena.housekeeping import examine
from genarena.metrics import Evaluator, Score
from genarena.report import build

SMALL = {"latent_dim": 2, "batch_size": 16, "network": {"architecture": "mlp", "width": 8, "depth": 1}}
HERE = "@@HERE@@"
ODD = [
    "null",
    "-1",
    "0",
    "1e400",
    "1e308",
    "1" + "0" * 30,
    '"x"',
    '""',
    "[]",
    "{}",
    r'"\ud800"',
    "true",
    "[[null]]",
    "-0.5",
]
REFUSED = ["1" + "0" * 5000, "-" + "1" * 400, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "0" + "}" * 100_000]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a record; deep in it the first few of each list and mapping."""
    yield path
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, item in items[: 24 if len(path) < 2 else 2] if isinstance(value, dict) else items[:1]:
        yield from places(item, (*path, key))


def with_text(value: Any, path: tuple[Any, ...], text: str) -> str:
    """The record as JSON, with a text in some place."""
    value = json.loads(json.dumps([value]))
    inner = value
    for key in (0, *path)[:-1]:
        inner = inner[key]
    inner[(0, *path)[-1]] = HERE
    return json.dumps(value[0]).replace(f'"{HERE}"', text)


def damages(value: Any, each: int) -> Iterator[str]:
    """The record with something odd in every place, `each` kinds of it in turn."""
    found = list(places(value))
    for number, path in enumerate(found):
        for turn in range(each):
            yield with_text(value, path, ODD[(number * each + turn) % len(ODD)])
    for text in REFUSED:
        yield with_text(value, found[len(found) // 2], text)


def signed(text: str) -> str:
    """A record's text with the digest of what it says, where it says anything: whoever changes it can sign it too."""
    try:
        record = parse_json(text)
    except (ValueError, RecursionError):
        return text
    return text if not isinstance(record, dict) else f'{{"digest": "{_digest(record)}", {text[1:]}'.replace(", }", "}")


def assert_survives(path: Path, read: Callable[[], Any], each: int) -> None:
    content = path.read_bytes()
    record = {key: value for key, value in json.loads(content).items() if key != "digest"}
    for damaged in damages(record, each):
        path.write_text(signed(damaged))
        try:
            read()
        except GenarenaError:
            pass
        except Exception as error:
            raise AssertionError(f"{path.name}: {damaged[:3000]}") from error
    path.write_bytes(content)
    read()


@pytest.fixture(scope="module")
def data(bars: tuple[np.ndarray, np.ndarray]) -> Dataset:
    return open_dataset(bars)


@pytest.fixture(scope="module")
def finished(data: Dataset, vectors: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison's folder with one finished run, its data and evaluator."""
    folder = tmp_path_factory.mktemp("finished")
    decided = plan("vae", data, budget="160 images", settings=SMALL, device="cpu")
    run = folder / "runs" / "vae-0"
    fit(decided, run, threads=1, pictures=False, monitor=lambda fitted, at: {"fd": 1.0})
    save_dataset(data, folder / "data")
    scores = {"mse": Score(1.0, 20, (0.9, 1.1)), "fd_inf/pca": Score(None, 20, reason="none")}

    def calibrate(judge: Evaluator, _say: Any) -> None:
        judge.floor, judge.ceilings = scores, {"noise": scores}
        judge.self_test = {key: {"usable": True, "why": None} for key in scores}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "_calibrate", calibrate)
        judge = Evaluator.build(vectors, folder / "evaluator", samples=20)
    digest = read_json(run / "result.json")["sha256"]
    write_scores(run, judge, digest, ["reconstruct"], scores)
    planned = make_plan(
        data, models=["vae"], budget="160 images", seeds=1, use="reconstruct", settings=SMALL, device="cpu"
    )
    write_json(folder / "plan.json", planned.to_json())
    record = comparison()
    for entry in record["runs"]:
        entry["sha256"] = digest
    write_json(folder / "comparison.json", record)
    return folder


@pytest.fixture
def arena(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "arena")
    return tmp_path / "arena"


class Ended:
    returncode = 1

    def communicate(self) -> None:
        pass


def test_records_of_a_run(arena: Path, data: Dataset) -> None:
    run = RunFolder(arena / "runs" / "vae-0")
    planned = Plan.from_json(read_json(arena / "plan.json"))
    evaluator_hash = read_json(arena / "evaluator" / "evaluator.json")["hash"]
    again = plan("vae", data, budget="160 images", settings=SMALL, device="cpu")

    def read_config() -> None:
        examine(run.path)
        _share(run.path, planned)
        expected_seconds(arena, planned, ["vae"], 1)
        try:
            load_model(run.path)
        finally:
            fit(again, run.path, threads=1)

    assert_survives(run.config, read_config, 2)

    def read_result() -> None:
        examine(run.path)
        read_scores(run.path, evaluator_hash)
        load_model(run.path, checkpoint="best")

    assert_survives(run.result, read_result, 3)
    assert_survives(run.path / "best.json", lambda: load_model(run.path, checkpoint="best"), 8)
    assert_survives(scores_path(run.path, evaluator_hash), lambda: read_scores(run.path, evaluator_hash), len(ODD))
    write_json(run.path / "failure.json", {"reason": "none"})
    worker = Worker(planned.cells[0], run.path, Ended())  # type: ignore[arg-type]
    assert_survives(run.path / "failure.json", lambda: _outcome(worker), len(ODD))


def test_records_of_a_checkpoint(arena: Path, data: Dataset) -> None:
    run = RunFolder(arena / "runs" / "vae-0")
    (step,) = run.steps()[:1]
    folder = run.checkpoints / str(step)
    assert_survives(folder / "MANIFEST.json", lambda: run.verify(step), 4)
    empty = dict(read_json(folder / "MANIFEST.json"))["files"]

    def read_state() -> None:
        (folder / "MANIFEST.json").write_bytes(_manifest({name: _entry(folder / name) for name in empty}))
        run.verify(step)

    assert_survives(folder / "state.json", read_state, len(ODD))


def test_events(arena: Path) -> None:
    run = RunFolder(arena / "runs" / "vae-0")
    planned = Plan.from_json(read_json(arena / "plan.json"))
    event = {
        "kind": "alarm", "round": 1, "images": 16, "seconds": 0.5, "cpu_seconds": 0.5,
        "numbers": {"fd": 1.0}, "text": "t", "name": "n",
    }  # fmt: skip
    good = json.dumps(event)
    for kind in ("alarm", "clear", "resume", "warning", "monitor"):
        for damaged in damages({**event, "kind": kind}, 4):
            run.events.write_text(f"{good}\n{damaged}\n")
            records = read_events(run.events)
            assert event in records
            for record in records:
                assert isinstance(record.get("images", 0), int) and isinstance(record.get("numbers", {}), dict)
            episodes(records)
            last_event(run.events)
            assert 0 <= _share(run.path, planned) <= 1
            JsonLines(run.events, 1).close()


def test_records_of_data_and_of_an_evaluator(arena: Path, vectors: Dataset) -> None:
    assert_survives(arena / "data" / "dataset.json", lambda: load_dataset(arena / "data"), 3)
    assert_survives(arena / "evaluator" / "evaluator.json", lambda: Evaluator.load(arena / "evaluator", vectors), 1)


def test_plans_and_comparisons(arena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_survives(arena / "plan.json", lambda: Plan.from_json(read_json(arena / "plan.json")).cells, len(ODD))
    monkeypatch.setattr(build, "_environment", functools.cache(build._environment))
    monkeypatch.setattr(build.plots, "learning_curves", lambda *_: None)
    monkeypatch.setattr(build.plots, "power_spectra", lambda *_: None)
    assert_survives(arena / "comparison.json", lambda: report.build_report(arena), 1)
    use, leader = next((u["name"], u["leader"]) for u in comparison()["uses"] if u["leader"] == "vae")
    assert winner_folder(arena, use).name == f"{leader}-0"
    assert_survives(arena / "comparison.json", lambda: winner_folder(arena, use), 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows + 1000,
        lambda rows: rows - 1 - rows.min(),
        lambda rows: np.concatenate([rows, rows[-1:]]),
        lambda rows: rows[::-1],
        lambda rows: rows[:0],
        lambda rows: rows[None],
        lambda rows: rows.astype(np.float64),
        lambda rows: rows.astype(np.int32),
        lambda rows: np.full_like(rows, 2**62),
    ],
)
def test_splits_are_rows_of_the_data(arena: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    folder = arena / "data"
    for split in ("train", "test"):
        rows = np.load(folder / f"split-{split}.npy", allow_pickle=False)
        np.save(folder / f"split-{split}.npy", np.ascontiguousarray(change(rows)), allow_pickle=False)
        with pytest.raises(RunError, match="not a complete stored data set"):
            load_dataset(folder)
        np.save(folder / f"split-{split}.npy", rows, allow_pickle=False)
    load_dataset(folder)


@pytest.mark.parametrize("name", ["0782", "٣", "²", "+1", "1_0", " 1", "-1", "9" * 30, "5", "notes"])
def test_other_folders_among_checkpoints_are_left_alone(arena: Path, data: Dataset, name: str) -> None:
    run = RunFolder(arena / "runs" / "vae-0")
    before = run.steps()
    other = run.checkpoints / name
    if name == "5":
        other.write_text("a file")
    else:
        other.mkdir()
    assert run.steps() == before
    assert all(ok for ok, _ in examine(run.path))
    longer = plan("vae", data, budget="320 images", settings=SMALL, device="cpu")
    fit(longer, run.path, threads=1, pictures=False)
    assert other.exists() and read_json(run.result)["images"] == 320


def test_names_that_are_no_unicode_are_kept(data: Dataset, tmp_path: Path) -> None:
    odd = "\udcff\n.png"
    label = data.fields["label"]
    spec = replace(label.spec, classes=(odd, "b", "c"))  # type: ignore[arg-type]
    named = replace(
        data, name=odd, notes=(odd,), quarantined=(Quarantined(odd, odd),),
        fields={**data.fields, "label": replace(label, spec=spec)},
    )  # fmt: skip
    save_dataset(named, tmp_path / "data")
    found = load_dataset(tmp_path / "data")
    assert (found.name, found.notes, found.quarantined, found.schema) == (odd, (odd,), named.quarantined, named.schema)
    decided = plan("pca", named, budget="16 images", device="cpu")
    fit(decided, tmp_path / "run", threads=1)
    assert load_model(tmp_path / "run").record["data"]["name"] == odd
