"""What a comparison will do, decided before anything runs."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from genarena.budget import Budget
from genarena.comparison import winner_folder
from genarena.comparison.plan import Cell, Plan, make_plan
from genarena.comparison.run import Worker, _outcome, _share, expected_seconds
from genarena.data import open_dataset
from genarena.errors import RunError, UsageError
from genarena.files import write_json


@pytest.fixture(scope="module")
def images() -> Any:
    """Enough of every class that default batches fit what is left without some."""
    rng = np.random.default_rng(0)
    return open_dataset((rng.integers(0, 256, (480, 8, 8), dtype=np.uint8), np.arange(480) % 3))


def test_shared_and_own_settings_are_merged_group_by_group(images: Any) -> None:
    settings = {"network": {"width": 8}, "batch_size": 16, "gan": {"network": {"decoder_norm": "batch"}}}
    plan = make_plan(images, models=["vae", "gan"], settings=settings)
    assert plan.contender("vae").settings == {"network": {"width": 8}, "batch_size": 16}
    assert plan.contender("gan").settings["network"] == {"width": 8, "decoder_norm": "batch"}


def test_a_contender_is_no_value(images: Any) -> None:
    with pytest.raises(UsageError, match="'vae' is a contender"):
        make_plan(images, models=["vae"], settings={"vae": 3})


def test_the_baseline_always_takes_part(images: Any) -> None:
    assert [c.name for c in make_plan(images, models=["vae"]).contenders] == ["pca", "vae"]


def test_what_is_handed_over_is_trained_on_all_data(images: Any) -> None:
    plan = make_plan(images, models=["vae"], seeds=2, use="detect")
    assert Cell("vae", 0, "all") in plan.cells
    assert Cell("vae", 1, "all") not in plan.cells
    assert {Cell("vae", 0, "detect"), Cell("vae", 1, "detect")} <= set(plan.cells)


def test_the_class_that_is_normal_hides_all_others(images: Any) -> None:
    first, *others = images.schema.label.classes
    plan = make_plan(images, models=["vae"], use="detect", normal=first)
    assert plan.hidden == tuple(others) and plan.handed_over("detect") == "detect"
    assert set(plan.view(images, "detect").labels("train")) == {0}
    assert plan.view(images, "all") is images
    assert make_plan(images, models=["vae"], use="detect").handed_over("detect") == "all"


def test_a_normal_class_is_for_detecting(images: Any) -> None:
    with pytest.raises(UsageError, match="normal='0' is for the use detect, which is not asked for"):
        make_plan(images, models=["vae"], use="reduce", normal=0)
    with pytest.raises(UsageError, match="no class of these data"):
        make_plan(images, models=["vae"], normal="nothing")


def test_a_test_split_of_one_class_leaves_detect_out(images: Any) -> None:
    shown = images.without_classes([1, 2]).splits
    one = replace(images, splits={**shown, "test": shown["test"][images.labels("test") == 0]})
    assert "detect" not in make_plan(one, models=["vae"]).uses
    with pytest.raises(UsageError, match="hides a class from training"):
        make_plan(one, models=["vae"], use="detect")


def test_what_is_left_without_the_hidden_classes_must_do_for_training() -> None:
    labels = np.repeat([0, 1], [400, 40])
    rows = open_dataset((np.random.default_rng(0).normal(size=(440, 3)), labels))
    with pytest.raises(UsageError, match="Without 0, which detect hides from training: batch size 64 does not fit the"):
        make_plan(rows, models=["vae"], normal="1", settings={"batch_size": 64})
    assert make_plan(rows, models=["vae"], normal="1").hidden == ("0",)


def test_a_plan_survives_json(images: Any) -> None:
    plan = make_plan(images, models=["vae"], settings={"vae": {"beta": 4.0}}, normal=images.schema.label.classes[0])
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_of_a_newer_version_is_refused(images: Any) -> None:
    record = make_plan(images, models=["vae"]).to_json()
    with pytest.raises(RunError, match="newer genarena: upgrade"):
        Plan.from_json({**record, "format": record["format"] + 1})


@pytest.mark.parametrize("seeds", [-1, 0, 1001])
def test_there_is_at_least_one_seed_and_an_end_to_them(seeds: int, images: Any) -> None:
    with pytest.raises(UsageError, match=f"seeds={seeds}: give a whole number from 1 to 1000"):
        make_plan(images, models=["vae"], seeds=seeds)


def test_a_contenders_own_setting_wins_over_the_shared_one(images: Any) -> None:
    settings = {
        "network": {"width": 8, "depth": 2},
        "batch_size": 16,
        "vae": {"batch_size": 32, "network": {"width": 4}},
    }
    assert make_plan(images, models=["vae"], settings=settings).contender("vae").settings == {
        "network": {"width": 4, "depth": 2},
        "batch_size": 32,
    }


def test_names_that_leave_the_folder_are_refused(images: Any) -> None:
    record = make_plan(images, models=["vae"]).to_json()
    record["contenders"][0]["name"] = str(Path("..") / ".." / "x")
    with pytest.raises(RunError, match="contenders that genarena does not write"):
        Plan.from_json(record)


def test_the_time_of_a_comparison_is_forecast_once_every_contender_has_measured_its_speed(
    images: Any, tmp_path: Path
) -> None:
    plan = make_plan(images, models=["vae", "gan"], seeds=2)  # two views of each seed
    for name, seconds in (("vae", 10.0), ("gan", 30.0)):
        assert expected_seconds(tmp_path, plan, ["vae", "gan"], 2) is None
        run = tmp_path / "runs" / f"{name}-0"
        run.mkdir(parents=True)
        write_json(run / "config.json", {"expected_seconds": seconds})
    assert expected_seconds(tmp_path, plan, ["vae", "gan"], 2) == 4 * (10 + 30) / 2


def test_how_much_of_a_run_is_done_is_read_from_its_last_event(images: Any, tmp_path: Path) -> None:
    counted, timed = (make_plan(images, models=["vae"], budget=budget) for budget in ("1k images", "20 s"))
    assert _share(tmp_path, counted) == _share(tmp_path, timed) == 0
    event = {"kind": "log", "round": 1, "cpu_seconds": 0, "numbers": {}, "text": "", "name": ""}
    shares = []
    for done, seconds in ((0, 0.0), (250, 5.0), (1008, 21.5)):
        with (tmp_path / "events.jsonl").open("a") as file:
            file.write(json.dumps({**event, "images": done, "seconds": seconds}) + "\n")
        write_json(tmp_path / "config.json", {"every": 100})  # between two of ten looks
        shares.append((_share(tmp_path, counted), _share(tmp_path, timed)))
    assert shares == [(0, 0), (0.25, 0.25), (1, 1)]


def test_a_run_has_stalled_where_nothing_that_it_writes_has_changed_for_long(tmp_path: Path) -> None:
    process: Any = SimpleNamespace()
    worker = Worker(Cell("vae", 0, "all"), tmp_path, process)
    (tmp_path / "events.jsonl").write_text("{}")
    assert not worker.stalled(50)
    worker.moved -= 60
    assert not worker.stalled(70) and worker.stalled(50)
    (tmp_path / "worker.log").write_text("a warning again and again")
    assert worker.stalled(50)
    os.utime(tmp_path / "events.jsonl", (1, 1))  # a clock that was set back counts as a change too
    assert not worker.stalled(50)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, None),
        (3, "it said so"),
        (-signal.SIGKILL, "killed by the system, most likely for lack of memory"),
        (-signal.SIGSEGV, "ended by signal SIGSEGV; see"),
    ],
)
def test_how_a_run_ended_is_told(code: int, reason: str | None, tmp_path: Path) -> None:
    process: Any = SimpleNamespace(returncode=code, communicate=lambda: None)
    if reason:
        write_json(tmp_path / "failure.json", {"reason": "it said so"})
    outcome = _outcome(Worker(Cell("vae", 0, "all"), tmp_path, process))
    assert outcome.status == ("failed" if reason else "done")
    assert outcome.reason == reason or str(outcome.reason).startswith(str(reason))


def test_a_run_that_ended_without_a_word_names_its_code_and_log(tmp_path: Path) -> None:
    process: Any = SimpleNamespace(returncode=7, communicate=lambda: None)
    for record in (None, [], {"reason": None}):
        if record is not None:
            (tmp_path / "failure.json").write_text(json.dumps(record))
        outcome = _outcome(Worker(Cell("vae", 0, "all"), tmp_path, process))
        assert outcome.reason == f"ended with exit code 7; see {tmp_path / 'worker.log'}"


def test_a_wanted_class_needs_a_model_that_can_be_asked(images: Any) -> None:
    with pytest.raises(
        UsageError, match="none of pca, gan, vae can be asked for a class: add one of cvae, cgan, cvaegan, biggan"
    ):
        make_plan(images, models=["gan", "vae"], use="condition")
    assert make_plan(images, models=["gan", "cgan"], use="condition").uses == ("condition",)


def test_images_of_a_size_that_networks_cannot_have_are_refused_for_all_of_them_at_once() -> None:
    oblong = (np.random.default_rng(0).integers(0, 256, (60, 40, 48, 3), dtype=np.uint8), np.arange(60) % 3)
    with pytest.raises(UsageError, match=r"biggan makes square images .* --size 64\. stylegan makes .* --size 64\."):
        make_plan(open_dataset(oblong), models=["vae", "biggan", "stylegan"])


def test_batches_larger_than_the_data_are_refused_once_and_before_anything_runs(images: Any) -> None:
    n = len(images.splits["train"])
    assert make_plan(images, models=["vae", "gan"], settings={"batch_size": n}, use="reconstruct")
    with pytest.raises(UsageError) as refusal:
        make_plan(images, models=["vae", "gan"], settings={"batch_size": n + 1})
    assert str(refusal.value).count(f"batch size {n + 1} does not fit the {n} examples") == 1


def test_why_a_comparison_has_no_leader_for_a_use(tmp_path: Path) -> None:
    uses = [
        {"name": "reduce", "leader": None, "reason": "No metric of this use passed its self-test."},
        {"name": "detect", "leader": "vae", "reason": ""},
    ]
    write_json(tmp_path / "comparison.json", {"uses": uses, "plan": {"seeds": [0]}, "runs": []})
    with pytest.raises(UsageError, match="no leader for 'reduce': No metric of this use passed"):
        winner_folder(tmp_path, "reduce")
    with pytest.raises(UsageError, match=r"no leader for 'cost': it was not asked for\. Uses with a leader: detect"):
        winner_folder(tmp_path, "cost")


def test_two_settings_of_a_model_meet_under_names_of_their_own(images: Any) -> None:
    plan = make_plan(
        images,
        models=["vae", "vae@beta4=vae:beta=4:network.width=8", "wide=vae"],
        settings={"wide": {"network": {"width": 64}}},
    )
    assert {c.name: (c.model, c.settings) for c in plan.contenders} == {
        "pca": ("pca", {}),
        "vae": ("vae", {}),
        "vae@beta4": ("vae", {"beta": 4, "network": {"width": 8}}),
        "wide": ("vae", {"network": {"width": 64}}),
    }
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("vae", "'vae' is named twice: give one of them a name of its own, vae@2=vae:key=value"),
        ("a/b=vae:beta=4", "write name=model:key=value"),
        ("vae:beta=4", "write name=model:key=value"),
        ("..=vae", "write name=model:key=value"),
        ("b=", "write name=model:key=value"),
        ("b=vea", "Did you mean 'vae'"),
        ("b=vae:bita=4", "bita"),
        ("b=vae:beta=", "beta"),
    ],
)
def test_names_and_settings_that_are_none_are_refused(model: str, words: str, images: Any) -> None:
    with pytest.raises(UsageError, match=words):
        make_plan(images, models=["vae", model])


@pytest.mark.parametrize(
    ("total", "jobs", "budget"),
    [
        ("30 min", 1, "360 s"),  # five runs, one after the other
        ("30 min", 2, "600 s"),  # three rounds of two
        ("30 min", 100, "1800 s"),
        ("1M images", 2, "200k images"),
        ("10 epochs", 2, "2 epochs"),
        ("2 s", 1, "1 s"),
    ],
)
def test_a_total_is_shared_out_to_the_runs_that_train(total: str, jobs: int, budget: str, images: Any) -> None:
    plan = make_plan(images, models=["vae"], seeds=5, use="likelihood", total=total, jobs=jobs)
    assert len(plan.trained) == 5 and len(plan.cells) == 10
    assert plan.budget == Budget.parse(budget)
    with pytest.raises(UsageError, match="give one of the two"):
        make_plan(images, models=["vae"], total=total, budget="3 epochs")


def test_what_a_plan_comes_to_is_said(images: Any) -> None:
    plan = make_plan(images, models=["vae", "gan"], seeds=3, use="generate-fidelity", budget="10 min")
    assert plan.describe() == "6 runs x 10 min = 60 min of training, 3 more in closed form"
    plan = make_plan(images, models=["pca"], seeds=1, use="likelihood", budget="10 min")
    assert plan.describe() == "0 runs x 10 min of training, 1 more in closed form"


def test_a_total_that_was_shared_out_stays_so_on_a_machine_with_more_cores(images: Any, tmp_path: Path) -> None:
    from genarena.comparison import _prepare

    one, more = (make_plan(images, models=["vae"], use="likelihood", total="30 min", jobs=jobs) for jobs in (1, 3))
    assert one.budget != more.budget
    assert _prepare(tmp_path, one, images, print).budget == one.budget
    assert _prepare(tmp_path, more, images, print).budget == one.budget
    longer = make_plan(images, models=["vae"], use="likelihood", total="60 min", jobs=1)
    assert _prepare(tmp_path, longer, images, print).budget == longer.budget
