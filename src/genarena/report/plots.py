"""Plots of the report, and the colour and marker that stand for a contender wherever it appears.

A plot is drawn twice, for light and for dark pages, as SVG with its text as paths: no font is needed to read it. No
name that a user chose is drawn (those stand in the page beside the plot, escaped), so none can break or restyle one.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator

from genarena.report.schema import Curve, Spectra

Theme = Literal["light", "dark"]
Points = list[tuple[float, float]]

# Found by a search from Okabe & Ito's set (Color Universal Design, 2008): any two are at least 25 apart in CIELAB, for
# full colour vision and for the three simulated dichromacies of Machado et al. (2009), and each has a contrast of 3:1
# or more on the page of its theme. Markers tell apart what colour cannot.
COLORS: dict[Theme, tuple[str, ...]] = {
    "light": ("#059bdd", "#cf6902", "#165e4c", "#bb809e", "#6c4211", "#4729ef", "#54317f"),
    "dark": ("#5489c8", "#fa6640", "#05e78d", "#e87fa5", "#f4f43a", "#9275ff", "#aadcf3"),
}
GLYPHS = "●■▲◆▼✚★✖"
MARKERS = ("o", "s", "^", "D", "v", "P", "*", "X")
INK: dict[Theme, str] = {"light": "#4a515c", "dark": "#b4bcc8"}
GRID: dict[Theme, str] = {"light": "#dfe3e8", "dark": "#333a44"}

MAX_POINTS = 200
LOG_ABOVE = 8.0  # ratio of largest to smallest value above which a linear axis would hide the end of a curve


@dataclass(frozen=True)
class Plot:
    """One plot as two SVG data URIs, and whether its vertical axis is logarithmic."""

    light: str
    dark: str
    logarithmic: bool


def learning_curves(
    curves: Sequence[Curve], order: Mapping[str, int], axis: Literal["images", "cpu_seconds"]
) -> Plot | None:
    """Draw one metric against images seen or CPU seconds spent, a line a run; None where there is nothing to draw.

    Parameters
    ----------
    curves
        The runs' curves, all of one metric.
    order
        Contender to its place in the plan, which fixes colour and marker.
    axis
        ``"images"`` (training images, not steps) or ``"cpu_seconds"`` (of training, all threads).
    """
    lines = [
        (order[curve.contender], _finite((getattr(point, axis), point.value) for point in curve.points))
        for curve in curves
        if curve.contender in order
    ]
    values = [y for _, points in lines for _, y in points]
    if not values:
        return None
    logarithmic = min(values) > 0 and max(values) > LOG_ABOVE * min(values)

    def draw(axes: Axes, theme: Theme) -> None:
        for index, points in lines:
            _line(axes, _thinned(points), index, theme)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("training images" if axis == "images" else "CPU seconds of training")
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        axes.minorticks_off()

    return Plot(_svg(draw, "light"), _svg(draw, "dark"), logarithmic)


def power_spectra(spectra: Spectra, order: Mapping[str, int]) -> Plot | None:
    """Draw radially averaged power against spatial frequency (cycles per pixel), both axes logarithmic.

    Real images are the thick grey line; a sampler that blurs falls below it on the right.
    """
    real = _positive(zip(spectra.frequency, spectra.real))
    lines = [
        (order[name], _positive(zip(spectra.frequency, power)))
        for name, power in spectra.contenders.items()
        if name in order
    ]
    if not real:
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot(*zip(*real), color=INK[theme], linewidth=5, alpha=0.45, solid_capstyle="round")
        for index, points in lines:
            _line(axes, _thinned(points), index, theme)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        axes.minorticks_off()
        axes.set_xlabel("spatial frequency (cycles per pixel)")
        axes.set_ylabel("power")

    return Plot(_svg(draw, "light"), _svg(draw, "dark"), True)


def color(index: int, theme: Theme) -> str:
    """Return the colour, ``#rrggbb``, of the contender in place `index` of the plan."""
    return COLORS[theme][index % len(COLORS[theme])]


def _line(axes: Axes, points: Points, index: int, theme: Theme) -> None:
    """One contender's line; only its last point is marked, where lines are told apart."""
    if points:
        axes.plot(
            *zip(*points),
            color=color(index, theme),
            linewidth=1.7,
            marker=MARKERS[index % len(MARKERS)],
            markevery=[len(points) - 1],
            markersize=7,
            markeredgewidth=0,
            clip_on=False,
            zorder=3,
        )


def _svg(draw: Callable[[Axes, Theme], None], theme: Theme) -> str:
    """Draw on small, transparent axes (4.5 by 2.9 inches stay legible on a phone) and return a data URI."""
    style: Any = {
        "svg.fonttype": "path",
        "svg.hashsalt": "genarena",  # the same numbers give the same bytes
        "font.family": "DejaVu Sans",
        "font.size": 10.5,
        "axes.edgecolor": GRID[theme],
        "axes.labelcolor": INK[theme],
        "xtick.color": INK[theme],
        "ytick.color": INK[theme],
        "grid.color": GRID[theme],
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
    }
    buffer = io.BytesIO()
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.5, 2.9), layout="constrained")
        draw(figure.subplots(), theme)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _finite(points: Iterable[tuple[float | None, float | None]]) -> Points:
    return [(x, y) for x, y in points if x is not None and y is not None and math.isfinite(x) and math.isfinite(y)]


def _positive(points: Iterable[tuple[float | None, float | None]]) -> Points:
    return [(x, y) for x, y in _finite(points) if x > 0 and y > 0]


def _thinned(points: Points) -> Points:
    """At most about `MAX_POINTS` of the points, the last always among them."""
    step = -(-len(points) // MAX_POINTS)
    return points[::-step][::-1] if step > 1 else points
