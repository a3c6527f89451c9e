"""Numbers as a reader expects them."""

from __future__ import annotations

import math

DASH = "—"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, decimals: int | None = None) -> str:
    """Return a number as a reader expects it: three significant digits or `decimals`, thousands apart, a true minus."""
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    if decimals is None:
        decimals = 0 if value == int(value) or size >= 1000 else max(0, 2 - math.floor(math.log10(size)))
    if decimals > 6 or size >= 1e9:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    else:
        text = f"{value:,.{decimals}f}" if round(value, decimals) else f"{0:.{decimals}f}"
    return text.replace("-", "−")


def interval(value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """Return an estimate and its interval as text, with no more decimals than the interval's width supports.

    An end that is not zero gets up to three more, so as not to look like zero: it decides on which side of it they lie.
    """
    if value is None or low is None or high is None or not math.isfinite(high - low):
        return number(value), ""
    decimals = None
    if high > low:
        least = max(0, 1 - math.floor(math.log10(high - low)))
        told = (d for d in range(least, least + 4) if all(round(end, d) for end in (low, high) if end))
        decimals = next(told, least)
    return number(value, decimals), f"{number(low, decimals)} to {number(high, decimals)}"
