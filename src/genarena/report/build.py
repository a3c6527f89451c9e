"""`build_report`: a comparison's folder in, one self-contained HTML file out.

Numbers become text here, words become page in `template.html`, where Jinja2 escapes every one of them. The page holds
no script and asks for nothing from anywhere; its Content-Security-Policy says so to the browser.
"""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from genarena.errors import StorageError
from genarena.files import write_atomic
from genarena.report import plots
from genarena.report.numbers import DASH, interval, number
from genarena.report.pictures import MOST_EMBEDDED, Picture, embed_picture
from genarena.report.schema import Better, Cell, Comparison, Contender, Metric, Run, Settle, Use, read_comparison

FILENAME = "report.html"
BETTER = {"low": "lower is better", "high": "higher is better", "one": "best at 1", "half": "best at ½", None: ""}
MOST_CLASSES = 8  # that a sentence names
PLACEHOLDERS = ("DIR", "DATA", "CLASS")  # that a command may leave to be filled in
# Samplers whose parameter counts differ by more are not compared like with like, and the report says so.
PARAMETER_TOLERANCE = 1.05

# Kind of picture: title, what it shows, and the capability whose absence explains a missing one.
GALLERIES = {
    "samples": (
        "Samples",
        "Real examples first, then what each contender draws, none picked by hand.",
        "sample",
    ),
    "reconstructions": (
        "Reconstructions",
        "Rows alternate: real test examples, and below each what the contender makes of it.",
        "reconstruct",
    ),
    "interpolations": (
        "Interpolations",
        "Each row walks through latent space from one example to another; good steps all look like data.",
        None,
    ),
    "nearest": (
        "Nearest training examples",
        "Rows alternate: samples, and below each the training example nearest to it. Twins mean copying.",
        "sample",
    ),
}


def build_report(folder: Path) -> Path:
    """Write `folder/report.html` from `folder/comparison.json` and the pictures it names.

    Parameters
    ----------
    folder
        What `genarena compare --out` wrote; `docs/comparison-schema.md` describes it.

    Returns
    -------
    Path
        The report: one file, no script, no network.

    Raises
    ------
    RunError
        There is no readable `comparison.json` of this release's format.
    StorageError
        The report cannot be written.
    """
    folder = Path(folder)
    comparison = read_comparison(folder)
    page = _environment().get_template("template.html").render(**_context(comparison, folder))
    target = folder / FILENAME
    try:
        write_atomic(target, page.encode())
    except OSError as error:
        raise StorageError(f"Cannot write {target}: {error.strerror or error}.") from error
    return target


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.globals["MOST_CLASSES"] = MOST_CLASSES
    return environment


def _context(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Everything the template shows, computed: it only places and escapes."""
    names = [contender.name for contender in comparison.contenders]
    order = {name: index for index, name in enumerate(names)}
    failed = [run for run in comparison.runs if run.status != "done"]
    galleries = _galleries(comparison, folder)
    return {
        "c": comparison,
        "order": order,
        "names": names,
        "glyphs": [plots.GLYPHS[i % len(plots.GLYPHS)] for i in range(len(names))],
        "palette": {theme: [plots.color(i, theme) for i in range(len(names))] for theme in ("light", "dark")},
        "better": BETTER,
        "purposes": {use.name: _purpose(use) for use in comparison.uses},
        "headlines": _headlines(comparison.uses),
        "open": _open(comparison.uses),
        "matrix": [_matrix_row(use, names) for use in comparison.uses],
        "strip": next((gallery for gallery in galleries if gallery.kind == "samples"), None),
        "galleries": [gallery for gallery in galleries if gallery.kind != "samples"],
        "curves": _curves(comparison, order),
        "spectra": plots.power_spectra(comparison.spectra, order) if comparison.spectra else None,
        "metric_groups": _metric_groups(comparison, names),
        "unequal": _unequal_samplers(comparison),
        "sizes": _sizes(comparison.contenders, comparison.runs),
        "failed": failed,
        "warned": [run for run in comparison.runs if run.warnings or run.rollbacks or run.alarms],
        "moving": _moving(comparison.uses),
        "copies": {place: count for place, count in comparison.data.duplicates.items() if count},
        "blanks": [word for word in PLACEHOLDERS if any(word in _words(use.command) for use in comparison.uses)],
    }


def _ordered(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _purpose(use: Use) -> tuple[str, str]:
    """What a use is for, as a sentence begins: "to", "draw realistic examples"."""
    return ("to", use.aim) if use.aim else ("for", use.title)


def _headlines(uses: Sequence[Use]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Winners in the order of their first win, each with the purposes it is best for."""
    won: dict[str, list[tuple[str, str]]] = {}
    for use in uses:
        if use.verdict == "winner" and use.winner is not None:
            won.setdefault(use.winner, []).append(_purpose(use))
    return list(won.items())


@dataclass(frozen=True)
class Open:
    """Titles of the uses without a winner, and what may settle those that wait for more seeds."""

    uses: int
    undecided: list[str]
    close: list[str]
    impossible: list[str]
    settle: Settle | None
    settled: list[str]

    @property
    def beyond_seeds(self) -> list[str]:
        return [title for title in self.undecided if title not in self.settled]


def _open(uses: Sequence[Use]) -> Open:
    def titled(verdict: str) -> list[str]:
        return [use.title for use in uses if use.verdict == verdict]

    waiting = [use for use in uses if use.verdict == "undecided" and use.settle]
    settle = next((use.settle for use in waiting), None)
    return Open(
        len(uses),
        titled("undecided"),
        titled("too close to call"),
        titled("not possible"),
        settle,
        [use.title for use in waiting],
    )


def _moving(uses: Sequence[Use]) -> dict[str, list[str]]:
    """Contenders that had not converged, each with the titles of the uses where it mattered."""
    moving: dict[str, list[str]] = {}
    for use in uses:
        for name in use.moving:
            moving.setdefault(name, []).append(use.title)
    return moving


def _words(command: str | None) -> list[str]:
    """A command's words, as a shell would read them."""
    try:
        return shlex.split(command or "")
    except ValueError:  # no shell would
        return []


@dataclass(frozen=True)
class CellView:
    """One use of one contender: text, why there is none, its flag, and low, value, high in percent of its row."""

    value: str = DASH
    interval: str = ""
    reason: str = ""
    flag: str = ""
    places: Sequence[float] = ()


@dataclass(frozen=True)
class MatrixRow:
    use: Use
    cells: list[CellView]
    difference: tuple[str, str] | None


def _matrix_row(use: Use, names: Sequence[str]) -> MatrixRow:
    ends = [end for name in names if name in use.cells for end in _ends(use.cells[name])]
    low, width = (min(ends), max(ends) - min(ends)) if ends else (0.0, 0.0)

    def view(name: str) -> CellView:
        cell = use.cells.get(name)
        if cell is None or cell.value is None:
            return CellView(reason=(cell.reason if cell else None) or "not measured")
        value, text = interval(cell.value, cell.low, cell.high)
        places = [round(100 * (end - low) / width, 1) for end in _ends(cell)] if width > 0 else []
        return CellView(value, text, cell.reason or "", _flag(use, name), places)

    difference = use.difference and interval(use.difference.value, use.difference.low, use.difference.high)
    return MatrixRow(use, [view(name) for name in names], difference or None)


def _ends(cell: Cell) -> list[float]:
    """Low, value and high of a cell; empty unless all three are known."""
    ends = [end for end in (cell.low, cell.value, cell.high) if end is not None and math.isfinite(end)]
    return ends if len(ends) == 3 else []


def _flag(use: Use, name: str) -> str:
    if use.verdict == "winner":
        return "best" if name == use.winner else ""
    if use.verdict == "too close to call":
        return "close" if name in (use.leader, use.runner_up) else ""
    return "leads" if use.verdict == "undecided" and name == use.leader else ""


@dataclass(frozen=True)
class Figure:
    """A picture of a gallery; `contender` is None for the real examples."""

    contender: str | None
    picture: Picture


@dataclass(frozen=True)
class Gallery:
    kind: str
    title: str
    about: str
    figures: list[Figure]

    @property
    def columns(self) -> int:
        """Pictures in a row of a wide page: those that leave no orphan in the last row."""
        return {3: 3, 5: 5, 6: 6, 9: 5, 10: 5}.get(len(self.figures), 4)


def _galleries(comparison: Comparison, folder: Path) -> list[Gallery]:
    """The kinds of picture the comparison has, the real examples first among the samples."""
    galleries = []
    left = MOST_EMBEDDED

    def embed(name: str) -> Picture:
        nonlocal left
        picture = (
            embed_picture(folder, name) if left > 0 else Picture(problem=f"left out: {name}, for the size of the page")
        )
        left -= len(picture.uri)
        return picture

    for kind, (title, about, capability) in GALLERIES.items():
        named: dict[str, str] = getattr(comparison.pictures, kind)
        real = comparison.pictures.real if kind == "samples" else None
        if not named and not real:
            continue
        figures = [Figure(None, embed(real))] if real else []
        for contender in comparison.contenders:
            reason = contender.capabilities.get(capability) if capability else None
            if contender.name in named:
                figures.append(Figure(contender.name, embed(named[contender.name])))
            elif reason:
                figures.append(Figure(contender.name, Picture(problem=reason)))
        galleries.append(Gallery(kind, title, about, figures))
    return galleries


@dataclass(frozen=True)
class CurvePlots:
    title: str
    about: str
    better: str
    contenders: set[str]
    plots: list[tuple[str, plots.Plot]]


def _curves(comparison: Comparison, order: dict[str, int]) -> list[CurvePlots]:
    found = []
    for name in _ordered(curve.metric for curve in comparison.curves):
        curves = [curve for curve in comparison.curves if curve.metric == name]
        drawn = [
            ("training images", plots.learning_curves(curves, order, "images")),
            ("CPU seconds", plots.learning_curves(curves, order, "cpu_seconds")),
        ]
        first = curves[0]
        contenders = {curve.contender for curve in curves}
        shown = [(axis, plot) for axis, plot in drawn if plot]
        found.append(CurvePlots(first.title or name, first.about, BETTER[first.better], contenders, shown))
    return [curve for curve in found if curve.plots]


@dataclass(frozen=True)
class ScoreView:
    contender: str
    value: str = DASH
    interval: str = ""
    reason: str = ""
    best: bool = False
    seeds: str = ""


@dataclass(frozen=True)
class MetricRow:
    metric: Metric
    title: str
    scores: list[ScoreView]


@dataclass(frozen=True)
class MetricGroup:
    """The metrics of one feature space, or those that need none."""

    title: str
    about: str
    rows: list[MetricRow]

    @property
    def names(self) -> list[str]:
        return _ordered(row.title for row in self.rows)


def _metric_groups(comparison: Comparison, names: Sequence[str]) -> list[MetricGroup]:
    """Metrics by feature space, those of deciding spaces first and those of none last."""
    spaces = {space.id: space for space in comparison.evaluator.spaces} if comparison.evaluator else {}
    deciding = [detail for use in comparison.uses if (detail := use.metric.partition("/")[2]) in spaces]

    def rows(of: str | None) -> Iterator[MetricRow]:
        for metric in comparison.metrics:
            detail = metric.name.partition("/")[2]
            if (detail if detail in spaces else None) == of:
                yield _metric_row(metric, metric.title.removesuffix(f" ({of})"), names)

    groups = []
    for name in _ordered([*deciding, *spaces]):
        space = spaces[name]
        about = f"{space.dim} dimensions" + (f", trained on {space.trained_on}" if space.trained_on else "")
        about += f": {space.detail}" if space.detail else ""
        groups.append(MetricGroup(f"Feature space {name}", about, list(rows(name))))
    groups.append(MetricGroup("Without a feature space", "", list(rows(None))))
    return [group for group in groups if group.rows]


def _metric_row(metric: Metric, title: str, names: Sequence[str]) -> MetricRow:
    scores = {name: metric.scores[name] for name in names if name in metric.scores}
    distances = {
        name: _distance(score.mean, metric.better)
        for name, score in scores.items()
        if metric.usable and score.mean is not None and math.isfinite(score.mean)
    }
    known = [distance for distance in distances.values() if distance is not None]

    def view(name: str) -> ScoreView:
        score = scores.get(name)
        if score is None or score.mean is None:
            return ScoreView(name, reason=(score.reason if score else None) or "not measured")
        value, text = interval(score.mean, score.low, score.high)
        best = bool(known) and distances.get(name) == min(known)
        seeds = ", ".join(f"{seed}: {number(result)}" for seed, result in score.by_seed.items())
        return ScoreView(name, value, text, score.reason or "", best, seeds)

    return MetricRow(metric, title, [view(name) for name in names])


def _distance(value: float, better: Better) -> float | None:
    """How far a value is from the best possible: less is better, None where a metric has no better side."""
    if better is None:
        return None
    return {"low": value, "high": -value, "one": abs(value - 1), "half": abs(value - 0.5)}[better]


def _unequal_samplers(comparison: Comparison) -> list[tuple[str, int]]:
    """Each sampler's parameter count where they differ by more than the tolerance, else nothing."""
    counts = [(c.name, c.parameters["sampler"]) for c in comparison.contenders if c.parameters.get("sampler")]
    sizes = [count for _, count in counts]
    return counts if sizes and max(sizes) > PARAMETER_TOLERANCE * min(sizes) else []


COSTS = {
    "images": "images seen",
    "train_seconds": "training seconds",
    "cpu_seconds": "CPU seconds",
    "images_per_second": "training images/s",
    "sample_images_per_second": "sampling images/s",
    "peak_memory_mb": "peak memory, MB",
}


def _sizes(contenders: Sequence[Contender], runs: Sequence[Run]) -> list[tuple[str, list[float | None]]]:
    """Parameters by part, then what the finished runs took (medians over them): a row each, a column a contender."""
    parts = _ordered(part for contender in contenders for part in contender.parameters)
    counts: list[tuple[str, list[float | None]]] = [
        (f"{part} parameters", [contender.parameters.get(part) for contender in contenders]) for part in parts
    ]

    def median(contender: str, field: str) -> float | None:
        of = [getattr(run, field) for run in runs if run.contender == contender and run.status == "done"]
        values = [value for value in of if value is not None]
        return statistics.median(values) if values else None

    costs = [(title, [median(contender.name, field) for contender in contenders]) for field, title in COSTS.items()]
    return [*counts, *costs]
