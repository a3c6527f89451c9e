"""`build_report`: a comparison's folder in, one self-contained HTML file out.

Numbers become text here, words become page in `template.html`, where Jinja2 escapes every one of them. The page holds
no script and asks for nothing from anywhere; its Content-Security-Policy says so to the browser.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from genarena.errors import StorageError
from genarena.files import write_atomic
from genarena.report import plots
from genarena.report.numbers import DASH, interval, number
from genarena.report.pictures import Picture, embed_picture
from genarena.report.schema import Better, Cell, Comparison, Metric, Run, Use, read_comparison

FILENAME = "report.html"
BETTER = {"low": "lower is better", "high": "higher is better", "one": "best at 1", "half": "best at ½", None: ""}
# Samplers whose parameter counts differ by more are not compared like with like, and the report says so.
PARAMETER_TOLERANCE = 1.05

# Kind of picture: title, what it shows, and the capability whose absence explains a missing one.
GALLERIES = {
    "samples": (
        "Samples",
        "Drawn by each contender, none picked by hand, with real examples first.",
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
    return environment


def _context(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Everything the template shows, computed: it only places and escapes."""
    names = [contender.name for contender in comparison.contenders]
    order = {name: index for index, name in enumerate(names)}
    failed = [run for run in comparison.runs if run.status != "done"]
    return {
        "c": comparison,
        "order": order,
        "names": names,
        "glyphs": [plots.GLYPHS[i % len(plots.GLYPHS)] for i in range(len(names))],
        "palette": {theme: [plots.color(i, theme) for i in range(len(names))] for theme in ("light", "dark")},
        "better": BETTER,
        "headlines": _headlines(comparison.uses),
        "matrix": [_matrix_row(use, names) for use in comparison.uses],
        "galleries": _galleries(comparison, folder),
        "curves": _curves(comparison, order),
        "spectra": plots.power_spectra(comparison.spectra, order) if comparison.spectra else None,
        "metric_rows": [_metric_row(metric, names) for metric in comparison.metrics],
        "unequal": _unequal_samplers(comparison),
        "parts": _ordered(part for contender in comparison.contenders for part in contender.parameters),
        "failed": failed,
        "warned": [run for run in comparison.runs if run.warnings or run.rollbacks or run.alarms],
        "cost": {name: _cost([run for run in comparison.runs if run.contender == name]) for name in names},
    }


def _ordered(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _headlines(uses: Sequence[Use]) -> list[tuple[str, list[str]]]:
    """Winners in the order of their first win, each with the titles of what it is best for."""
    won: dict[str, list[str]] = {}
    for use in uses:
        if use.verdict == "winner" and use.winner is not None:
            won.setdefault(use.winner, []).append(use.title)
    return list(won.items())


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
        return {3: 3, 5: 5, 6: 3, 9: 3, 10: 5}.get(len(self.figures), 4)


def _galleries(comparison: Comparison, folder: Path) -> list[Gallery]:
    """The kinds of picture the comparison has, the real examples first among the samples."""
    galleries = []
    for kind, (title, about, capability) in GALLERIES.items():
        named: dict[str, str] = getattr(comparison.pictures, kind)
        real = comparison.pictures.real if kind == "samples" else None
        if not named and not real:
            continue
        figures = [Figure(None, embed_picture(folder, real))] if real else []
        for contender in comparison.contenders:
            reason = contender.capabilities.get(capability) if capability else None
            if contender.name in named:
                figures.append(Figure(contender.name, embed_picture(folder, named[contender.name])))
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
    scores: list[ScoreView]


def _metric_row(metric: Metric, names: Sequence[str]) -> MetricRow:
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

    return MetricRow(metric, [view(name) for name in names])


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


def _cost(runs: Sequence[Run]) -> dict[str, float | None]:
    """What the finished runs of one contender took: medians over its runs."""
    fields = (
        "images",
        "train_seconds",
        "cpu_seconds",
        "images_per_second",
        "sample_images_per_second",
        "peak_memory_mb",
    )
    costs: dict[str, float | None] = {}
    for field in fields:
        values = [v for run in runs if run.status == "done" and (v := getattr(run, field)) is not None]
        costs[field] = statistics.median(values) if values else None
    return costs
