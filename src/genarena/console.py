"""What the terminal shows: progress on standard error, tables on standard output. Names are printed as they are, never
interpreted as markup, and a number is never cut, however narrow the terminal is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .errors import visible
from .text import encodable, plain

if TYPE_CHECKING:
    from .comparison import Cell, Plan
    from .data import Dataset
    from .metrics import Evaluator, Score

MOST_CLASSES = 30  # that a table of them shows
NARROW = 72  # columns of a terminal that has no room for a bar beside its numbers
_LEAST = 12  # columns of text, where words may be broken


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", text: int = 0) -> None:
    """Rows below their columns, or value by value where the terminal is too narrow for that.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequence of str
    title : str
    text : int
        The one column whose entries may be wrapped; the others hold numbers or single words.
    """
    console = Console()
    if title:
        console.print(plain(title, console.encoding))
    shown = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        cells = [row[index] for row in rows]
        head = plain(column, console.encoding)
        if index == text:
            least = max((cell_len(word) for cell in (column, *cells) for word in cell.split()), default=0)
            shown.add_column(head, min_width=min(least, _LEAST), overflow="fold")
        else:
            head = Text("\n").join(head.split(" "))
            least = max(
                map(cell_len, (*column.split(), *(encodable(visible(cell), console.encoding) for cell in cells)))
            )
            shown.add_column(head, min_width=least, no_wrap=True, justify="right" if index > text else "left")
    wide = console.options.update_width(10_000)  # or what is measured would be cut to the terminal's own width
    if console.measure(shown, options=wide).minimum <= console.width:
        for row in rows:
            shown.add_row(*(plain(cell, console.encoding) for cell in row))
        console.print(shown)
        return
    for row in rows:
        for index, (column, cell) in enumerate(zip(columns, row, strict=True)):
            line = f"{'  ' if index else ''}{column}: {cell}" if cell else ""
            if line:
                console.print(plain(line, console.encoding), overflow="fold")


class Board:
    """Progress of a comparison: one line a running cell and one for the whole."""

    def __init__(self, plan: Plan, *, quiet: bool):
        self.console = Console(stderr=True, quiet=quiet)
        self.total = len(plan.cells)
        self.done = 0
        self.tasks: dict[str, TaskID] = {}
        bar: list[ProgressColumn] = [BarColumn(bar_width=32)] if self.console.width >= NARROW else []
        self.bars = Progress(
            TextColumn("{task.description:<22}", markup=False),
            *bar,
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
        self.console.print(plain(line, self.console.encoding), soft_wrap=True)

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
            self.tasks[cell.id] = self.bars.add_task(visible(cell.id), total=1.0)
        self.bars.update(self.tasks[cell.id], completed=share)


def tell(dataset: Dataset) -> None:
    """How data were read, and what is wrong with them."""
    lines = [f"{dataset.name}: {note}" for note in dataset.notes]
    if dataset.quarantined:
        first = dataset.quarantined[0]
        count = len(dataset.quarantined)
        lines.append(
            f"{count} file{'s' * (count > 1)} set aside, not counted in rows; the first: {first.path}: {first.reason}"
        )
    for line in lines:
        print(visible(line), file=sys.stderr, flush=True)


@contextmanager
def decoding_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for files being decoded, shown where there are many."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    tasks: dict[str, TaskID] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(visible(stage), total=total)
        bar.update(tasks[stage], completed=done)

    with bar:
        yield progress


def score_table(scores: Mapping[str, Score], evaluator: Evaluator) -> None:
    """Scores beside the floor (real against real)."""
    from .uses import METRICS

    better = {"low": "lower", "high": "higher", "one": "near 1", "half": "near 0.5", None: ""}
    rows = []
    for key, score in scores.items():
        metric = METRICS[key.partition("/")[0]]
        floor = evaluator.floor.get(key)
        name = f"{metric.title} {key.partition('/')[2]}".strip()
        name += f" ({score.reason})" if score.value is None else ""
        real = f"{floor.value:.4g}" if floor and floor.value is not None else ""
        rows.append((name, "—" if score.value is None else f"{score.value:.4g}", real, better[metric.better]))
    title = f"evaluator {evaluator.hash[:12]}, n = {evaluator.n}"
    table(("metric", "score", "real data", "better"), rows, title=title)


def capability_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Models and what each can do."""
    names = list(rows[0]["capabilities"])
    columns = ("model", "what it is", *(name.replace("_", " ") for name in names))
    marks = (["yes" if row["capabilities"][name] is None else "—" for name in names] for row in rows)
    table(columns, [(row["name"], row["summary"], *m) for row, m in zip(rows, marks, strict=True)], text=1)


def inspection(found: Mapping[str, Any]) -> None:
    """What `inspect_dataset` found, in short; ``--json`` has all of it."""
    console = Console()
    shown = Table(show_header=False, box=None)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
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
        text = encodable(_plain(value), console.encoding)
        if console.width >= NARROW:
            shown.add_row(key, Text(text))
        else:
            console.print(Text(f"{key}: {text}"), overflow="fold")
    console.print(shown)
    if classes:
        counts = [
            (name, *(f"{by_split[split]:,}" for split in splits))
            for name, by_split in list(classes.items())[:MOST_CLASSES]
        ]
        table(("class", *splits), counts)
        if len(classes) > MOST_CLASSES:
            console.print(plain(f"… {len(classes) - MOST_CLASSES} more classes", console.encoding))


def _values(found: Mapping[str, Any]) -> str:
    levels = f", {found['levels']} levels" if found["levels"] else ""
    same = found["constant_share"]
    never = f"; {same:.1%} of the values of an example never change" if same else ""
    return f"{found['minimum']:.12g} to {found['maximum']:.12g}{levels}{never}"


def _plain(value: Any) -> str:
    """A value as lines of text, every name in it `visible`."""
    if isinstance(value, Mapping):
        shown = [f"{visible(str(k))}: {_plain(v)}" for k, v in list(value.items())[:12]]
        return ", ".join(shown) + (f", … {len(value) - 12} more" if len(value) > 12 else "")
    if isinstance(value, list | tuple):
        lines = [_plain(v) for v in value[:12]] + ([f"… {len(value) - 12} more"] if len(value) > 12 else [])
        return "\n".join(lines) if lines else "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else visible(str(value))
