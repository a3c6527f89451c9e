"""What the terminal shows: progress on standard error, tables on standard output. Names are printed as they are, never
interpreted as markup."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape as _escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from .errors import visible

if TYPE_CHECKING:
    from .comparison import Cell, Plan
    from .metrics import Evaluator, Score

MOST_CLASSES = 30  # that a table of them shows


def escape(text: str) -> str:
    """Text as it is: neither markup nor a terminal's own characters act."""
    return _escape(visible(text))


class Board:
    """Progress of a comparison: one line a running cell and one for the whole."""

    def __init__(self, plan: Plan, *, quiet: bool):
        self.console = Console(stderr=True, quiet=quiet)
        self.total = len(plan.cells)
        self.done = 0
        self.tasks: dict[str, TaskID] = {}
        self.bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self.whole = self.bars.add_task(f"{self.total} runs", total=self.total)

    def __enter__(self) -> Board:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(escape(line), highlight=False, soft_wrap=True)

    def progress(self, cell: Cell, share: float, status: str) -> None:
        """Move a cell's line; the line goes when the cell ends."""
        if status:
            self.done += 1
            if cell.id in self.tasks:
                self.bars.remove_task(self.tasks.pop(cell.id))
            self.bars.update(self.whole, completed=self.done)
            if not self.console.is_terminal or status == "failed":
                self.say(f"[{self.done}/{self.total}] {cell.id}: {status}")
            return
        if cell.id not in self.tasks:
            self.tasks[cell.id] = self.bars.add_task(escape(cell.id), total=1.0)
        self.bars.update(self.tasks[cell.id], completed=share)


@contextmanager
def decoding_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for files being decoded, shown where there are many."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    tasks: dict[str, TaskID] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(escape(stage), total=total)
        bar.update(tasks[stage], completed=done)

    with bar:
        yield progress


def score_table(scores: Mapping[str, Score], evaluator: Evaluator) -> None:
    """Scores beside the floor (real against real)."""
    from .uses import METRICS

    table = Table(title=f"evaluator {evaluator.hash[:12]}, n = {evaluator.n}")
    for column, justify in (("metric", "left"), ("score", "right"), ("real data", "right"), ("better", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for key, score in scores.items():
        metric = METRICS[key.partition("/")[0]]
        floor = evaluator.floor.get(key)
        value = f"{score.value:.4g}" if score.value is not None else f"— ({score.reason})"
        real = f"{floor.value:.4g}" if floor and floor.value is not None else ""
        better = {"low": "lower", "high": "higher", "one": "near 1", "half": "near 0.5", None: ""}[metric.better]
        table.add_row(escape(f"{metric.title} {key.partition('/')[2]}"), escape(value), real, better)
    Console().print(table)


def capability_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Models and what each can do."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    names = list(rows[0]["capabilities"])
    table.add_column("model", no_wrap=True)
    for column in ("what it is", *(n.replace("_", " ") for n in names)):
        table.add_column(column, min_width=max(len(word) for word in column.split()))
    for row in rows:
        marks = ["yes" if row["capabilities"][n] is None else "—" for n in names]
        table.add_row(row["name"], row["summary"], *marks)
    Console().print(table)


def inspection(found: Mapping[str, Any]) -> None:
    """What `inspect_dataset` found, in short; ``--json`` has all of it."""
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    splits, classes = found["splits"], found["classes"]
    rows: dict[str, Any] = {
        "name": found["name"],
        "what": found["summary"],
        "splits": splits,
        "values": _values(found["values"]),
        "duplicates": {what: count for what, count in found["duplicates"].items() if count} or "none",
        "quarantined": [f"{entry['path']}: {entry['reason']}" for entry in found["quarantined"]],
        "notes": found["notes"],
        "fingerprint": found["fingerprint"],
    }
    for key, value in rows.items():
        table.add_row(key, escape(_plain(value)))
    console = Console()
    console.print(table)
    if classes:
        counts = Table(box=None)
        counts.add_column("class", overflow="fold")
        for split in splits:
            counts.add_column(split, justify="right")
        for name, by_split in list(classes.items())[:MOST_CLASSES]:
            counts.add_row(escape(name), *(f"{by_split[split]:,}" for split in splits))
        console.print(counts)
        if len(classes) > MOST_CLASSES:
            console.print(f"… {len(classes) - MOST_CLASSES} more classes")


def _values(found: Mapping[str, Any]) -> str:
    levels = f", {found['levels']} levels" if found["levels"] else ""
    same = found["constant_share"]
    never = f"; {same:.1%} of the values of an example never change" if same else ""
    return f"{found['minimum']:.6g} to {found['maximum']:.6g}{levels}{never}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        shown = [f"{k}: {_plain(v)}" for k, v in list(value.items())[:12]]
        return ", ".join(shown) + (f", … {len(value) - 12} more" if len(value) > 12 else "")
    if isinstance(value, list | tuple):
        lines = [_plain(v) for v in value[:12]] + ([f"… {len(value) - 12} more"] if len(value) > 12 else [])
        return "\n".join(lines) if lines else "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
