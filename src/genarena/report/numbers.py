"""Numbers as a reader expects them."""

from __future__ import annotations

import math

DASH = "—"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Widest an interval may be in units of its last digit: its half is then told to two digits up to 35 and to one above,
# the rounding rule of the Particle Data Group (Review of Particle Physics, introduction, 5.3).
WIDEST = 71
NONE = 1e-6  # share of the larger end below which an interval has no width to speak of
NOISE = 1e-9  # share of the width below which an end is zero, but for rounding


def number(value: float | None, decimals: int | None = None) -> str:
    """Return a number as a reader expects it: three significant digits or `decimals`, thousands apart, a true minus.

    Negative `decimals` round to tens, hundreds and so on.
    """
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    if decimals is None:
        decimals = 0 if value == int(value) or size >= 1000 else max(0, 2 - math.floor(math.log10(size)))
    if size >= 1e9 or (decimals > 6 and size < 1e-3):
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    else:
        rounded = round(value, decimals) or 0.0  # no minus before a zero
        text = f"{rounded:,.{max(0, decimals)}f}"
    return text.replace("-", "−")


def interval(value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """Return an estimate and its interval as text, with no more digits than the interval's width supports.

    An end that is not zero but would be rounded to it is told by its side: on which one it lies decides.
    """
    if value is None or low is None or high is None or not math.isfinite(high - low):
        return number(value), ""
    width = high - low
    narrow = width <= NONE * max(abs(low), abs(high))
    decimals = None if narrow else math.floor(math.log10(WIDEST) - math.log10(width))

    def end(at: float) -> str:
        if decimals is None or round(at, decimals) or abs(at) <= NOISE * width:
            return number(at, decimals)
        return f"just {'above' if at > 0 else 'below'} 0"

    return number(value, decimals), f"{end(low)} to {end(high)}"
