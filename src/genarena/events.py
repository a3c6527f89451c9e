"""What happens during a run, as typed records, and where they go.

`events.jsonl` is append-only with one record a line; it is the source of learning curves. A torn last line is ignored,
and records past the checkpoint a run resumes from are dropped, so that a resumed run tells one story.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from .errors import RunError, visible
from .files import Record, Text, append_to, as_record, check_values, open_regular, parse_json, read_bytes
from .text import encodable, plain

_LARGEST = 16 * 2**20  # bytes: some ten thousand records; a run writes hundreds
_TAIL = 16 * 1024  # bytes: many records long
_BAR = 24  # columns


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes
    ----------
    kind : str
        ``start``, ``log``, ``monitor``, ``alarm``, ``clear``, ``warning``, ``resume``, ``end``.
    round, images : int
        Rounds played and images drawn so far.
    seconds, cpu_seconds : float
        Training time so far.
    numbers : mapping of str to float
        Losses, terms, metrics. Values that are not finite are written as null.
    text : str
    name : str
        Of an alarm that begins (``alarm``) or ends (``clear``).
    """

    kind: str
    round: int
    images: int
    seconds: float
    cpu_seconds: float
    numbers: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    name: str = ""

    def to_json(self) -> str:
        record = asdict(self)
        record["numbers"] = {k: v if math.isfinite(v) else None for k, v in self.numbers.items()}
        return json.dumps({k: v for k, v in record.items() if v not in ("", {})}, allow_nan=False)


class EventRecord(Record):
    """A line of ``events.jsonl``: what `Event.to_json` writes, of which any key may be missing."""

    kind: str = ""
    round: int = Field(0, ge=0)
    images: int = Field(0, ge=0)
    seconds: float = Field(0, ge=0)
    cpu_seconds: float = Field(0, ge=0)
    numbers: dict[str, float | None] = Field({})
    text: Text = ""
    name: str = ""


@dataclass(frozen=True)
class Alarm:
    """Training goes wrong in a way that has a name; or, where it is `over`, no longer does.

    Attributes
    ----------
    name : str
    numbers : mapping of str to float
        What it was seen by.
    text : str
        What was seen, and what to try.
    over : bool
    """

    name: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    over: bool = False


class Sink(Protocol):
    """Somewhere events go."""

    def emit(self, event: Event) -> None: ...

    def close(self) -> None: ...


def read_events(path: Path) -> list[dict[str, Any]]:
    """The records of an events file; a torn or damaged line is skipped.

    Raises
    ------
    RunError
        Where it is no regular file, or larger than a run writes.
    """
    try:
        content = read_bytes(path, _LARGEST)
        check_values(content.decode("latin-1"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise RunError(f"'{path}' holds {error}: not a file genarena wrote.") from None
    return [record for line in content.splitlines() if (record := _record(line)) is not None]


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line holds, or None where it is torn or damaged."""
    try:
        return as_record(parse_json(line), EventRecord, "")
    except (ValueError, RecursionError, RunError):
        return None


def episodes(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The alarms among the records of a run, in order: ``name``, ``text``, and ``images`` and ``until`` in images seen.

    ``until`` is None where one still stood at the end. A resumed run watches anew, so none outlasts the ``resume``.
    """
    found: list[dict[str, Any]] = []
    standing: dict[str, dict[str, Any]] = {}
    for record in records:
        kind, name, images = record.get("kind"), str(record.get("name", "")), record.get("images", 0)
        if kind == "alarm":
            standing[name] = {"name": name, "images": images, "until": None, "text": str(record.get("text", ""))}
            found.append(standing[name])
        for ended in [name] if kind == "clear" else list(standing) if kind == "resume" else []:
            if ended in standing:
                standing.pop(ended)["until"] = images
    return found


def last_event(path: Path) -> dict[str, Any] | None:
    """The newest whole record of an events file, read from its end."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read(_TAIL).splitlines()
    except OSError:
        return None
    return next((record for line in reversed(lines) if (record := _record(line)) is not None), None)


class JsonLines:
    """Appends to ``events.jsonl``, first dropping what lies past the resumed round."""

    def __init__(self, path: Path, resumed_round: int):
        kept = [r for r in read_events(path) if r.get("round", 0) <= resumed_round and resumed_round > 0]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        self._file = append_to(path, text.encode())

    def emit(self, event: Event) -> None:
        self._file.write(f"{event.to_json()}\n".encode())
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class JsonConsole:
    """One JSON record a line on standard output (``--json``)."""

    def emit(self, event: Event) -> None:
        print(event.to_json(), flush=True)

    def close(self) -> None:
        pass


class Live:
    """One live line a run; plain lines where the output is not a terminal.

    Parameters
    ----------
    title : str
    total : int or None
        Images of the budget, or None for a budget in seconds.
    seconds : float or None
        Seconds of the budget.
    """

    def __init__(self, title: str, total: int | None, seconds: float | None):
        self.console = Console(stderr=True)
        self.total, self.seconds, self.title = total, seconds, visible(title)
        bar: list[ProgressColumn] = [BarColumn(bar_width=_BAR)] if self.console.width >= 4 * _BAR else []
        taken = len(self.title) + len(" 100% -:--:-- ") + (_BAR + 1 if bar else 0)
        self._room = self.console.width - taken  # for what is said beside it
        self._progress = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            *bar,
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task(self.title, total=total or seconds or 1, status="")
        self._progress.start()
        self._last_plain = -math.inf
        self._alarms: dict[str, None] = {}  # that stand now, in order

    def emit(self, event: Event) -> None:
        if event.kind in ("warning", "resume", "start", "alarm"):
            self._say(event.text)
        if event.kind == "alarm":
            self._alarms[event.name] = None
        elif event.kind == "clear":
            self._alarms.pop(event.name, None)
        if event.kind not in ("log", "end"):
            return
        speed = event.images / event.seconds if event.seconds else 0.0
        losses = (f"{k.removeprefix('loss/')} {v:.3g}" for k, v in event.numbers.items() if k.startswith("loss/"))
        status = [visible(part) for part in (f"{speed:,.0f} img/s", *losses, *(f"! {name}" for name in self._alarms))]
        done = event.images if self.total else event.seconds
        self._progress.update(self._task, completed=done, status=self._fitting(status))
        if not self.console.is_terminal and (event.kind == "end" or time.monotonic() - self._last_plain > 20):
            self._last_plain = time.monotonic()
            share = done / (self.total or self.seconds or 1)
            self._say(f"{min(share, 1):.0%}  {'  '.join(status)}")

    def _say(self, text: str) -> None:
        """A line that stays."""
        line = plain(f"{self.title}: {text}", self.console.encoding)
        line.stylize("bold", 0, len(self.title))
        self.console.print(line)

    def _fitting(self, parts: Sequence[str]) -> str:
        """As many of the parts as there is room for: one that is cut would show another number."""
        shown = ""
        for part in parts:
            longer = f"{shown}  {part}" if shown else part
            if len(longer) <= self._room:
                shown = longer
        return encodable(shown, self.console.encoding)

    def close(self) -> None:
        self._progress.stop()
