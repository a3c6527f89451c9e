"""Events: what a line holds, torn lines, and the records a resumed run keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from genarena.events import Event, JsonConsole, JsonLines, Live, last_event, read_events


def event(number: int, kind: str = "log", **numbers: float) -> Event:
    return Event(kind, number, 16 * number, 0.5 * number, 0.25 * number, numbers)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten rounds of events."""
    sink = JsonLines(tmp_path / "events.jsonl", 0)
    for number in range(10):
        sink.emit(event(number, loss=1.0 / (number + 1)))
    sink.close()
    return tmp_path / "events.jsonl"


def test_one_record_a_line(path: Path) -> None:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["round"] for r in records] == list(range(10))
    assert records[3] == {
        "kind": "log", "round": 3, "images": 48, "seconds": 1.5, "cpu_seconds": 0.75, "numbers": {"loss": 0.25}
    }  # fmt: skip


def test_numbers_that_are_not_finite_are_null() -> None:
    record = json.loads(event(1, loss=math.nan, kl=math.inf, ok=2.0).to_json())
    assert record["numbers"] == {"loss": None, "kl": None, "ok": 2.0}


@pytest.mark.parametrize("torn", ['{"kind": "log", "rou', "\x00\x00\x00", '"text"', "[1, 2]", "{", '{"a": \xff'])
def test_a_torn_last_line_is_ignored(path: Path, torn: str) -> None:
    with path.open("ab") as file:
        file.write(torn.encode("latin-1"))
    assert [r["round"] for r in read_events(path)] == list(range(10))


def test_every_way_to_tear_the_last_line_keeps_the_others(path: Path) -> None:
    content = path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(last, len(content) - 2):
        path.write_bytes(content[:end])
        assert [r["round"] for r in read_events(path)] == list(range(9))


def test_no_file_is_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == []


def test_records_past_the_resumed_round_are_dropped(path: Path) -> None:
    with path.open("a") as file:
        file.write('{"kind": "log", "round": 10')
    sink = JsonLines(path, 6)
    sink.emit(event(6, "resume"))
    sink.emit(event(7))
    sink.close()
    records = read_events(path)
    assert [r["round"] for r in records] == [0, 1, 2, 3, 4, 5, 6, 6, 7]
    assert records[7]["kind"] == "resume"
    assert not list(path.parent.glob(".*"))


def test_a_run_that_starts_afresh_keeps_nothing(path: Path) -> None:
    JsonLines(path, 0).close()
    assert read_events(path) == []


def test_json_goes_to_standard_output(capsys: pytest.CaptureFixture) -> None:
    sink = JsonConsole()
    sink.emit(event(2, loss=0.5))
    sink.close()
    assert json.loads(capsys.readouterr().out)["numbers"] == {"loss": 0.5}


def test_the_live_line_goes_to_standard_error_as_it_is(capsys: pytest.CaptureFixture) -> None:
    sink = Live("[red]mine", 160, None)
    sink.emit(Event("warning", 1, 16, 0.1, 0.1, text="[bold]look"))
    sink.emit(event(10, "end"))
    sink.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "[red]mine: [bold]look" in captured.err
    assert "100%" in captured.err


def test_the_last_event_is_read_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert last_event(path) is None
    path.write_text("".join(f'{{"round": {i}}}\n' for i in range(5000)) + '{"round": 50')
    assert last_event(path) == {"round": 4999}
