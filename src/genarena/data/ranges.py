"""Which numbers are black and white: one range of pixel values for a whole set, decided from evidence.

The evidence, best first: what the user says (``value_range``), what files declare (significant bits of a PNG, bits and
sample values of a TIFF), the type of the numbers, and the values of every split together. Splits that would be read
differently are refused, and so are values that contradict each other. A model keeps the range of its data, and new data
are read by it: by the same numbers where they come in the same container, by what their own container says where it is
another, and never by their own darkest and brightest pixel, which would make a covered lens a normal picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from .fields import CONTAINERS, ImageSpec

CODES = 256
"""Levels that pixel values are stored with, at most."""

CLIPPED = 0.01
"""Share of values that may lie outside of a range that is known, and are clipped; more are refused."""

MEASURES = np.dtype(
    {
        "names": ("container", "low", "high", "step", "bits", "first", "last"),
        "formats": ("u1", "f8", "f8", "i8", "u1", "f8", "f8"),
    }
)
"""What the pixel values of one example tell: see `Evidence`; ``first`` and ``last`` are declared, or nan."""

_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners give
_UNITS = ((0, 1), (-1, 1), (0, 255))  # that floats usually come in
_SLACK = 1e-3  # resampling and rounding overshoot a little
_APART = 1 / 8  # ranges of two splits that share less than this do not belong together
_VALUES = 2**22  # looked at together


@dataclass(frozen=True)
class Evidence:
    """What some examples tell of the numbers they are stored in.

    Attributes
    ----------
    container : str
        One of `CONTAINERS`.
    low, high : float
        The smallest and the largest value.
    step : int
        The greatest common divisor of whole numbers, 0 where all are 0; -1 where some are no whole numbers.
    bits : int
        Significant bits that every file declares (PNG's sBIT), or 0.
    declared : (float, float) or None
        Black and white as every file declares them.
    """

    container: str
    low: float
    high: float
    step: int
    bits: int
    declared: tuple[float, float] | None

    @classmethod
    def of(cls, measures: np.ndarray) -> Evidence:
        """Of rows of `MEASURES` of one container."""
        steps, bits = measures["step"], measures["bits"]
        low, high = (float(measures[name][0]) for name in ("first", "last"))
        same = bool((measures["first"] == low).all() and (measures["last"] == high).all())
        return cls(
            CONTAINERS[measures["container"][0]],
            float(measures["low"].min()),
            float(measures["high"].max()),
            -1 if (steps < 0).any() else int(np.gcd.reduce(steps)),
            int(bits.max()) if bits.all() else 0,
            # What differs from file to file is a statistic of each, and no range.
            (low, high) if same and np.isfinite([low, high]).all() and low < high else None,
        )


@dataclass(frozen=True)
class Reading:
    """How numbers are read: black, white, and the words for it; ``convention`` is False for the values' own extremes."""

    low: float
    high: float
    words: str
    convention: bool = True

    @property
    def text(self) -> str:
        return f"{self.low:g} to {self.high:g} ({self.words})"


def container_of(dtype: np.dtype) -> str:
    """The container of an array's numbers: booleans are bytes."""
    return "float" if dtype.kind == "f" else {"b1": "uint8", "u1": "uint8", "u2": "uint16"}.get(dtype.str[1:], "int")


def measure(values: np.ndarray) -> np.ndarray:
    """`MEASURES` of each example of an array ``(N, ...)`` of numbers."""
    found = np.zeros(len(values), MEASURES)
    found["container"] = CONTAINERS.index(container_of(values.dtype))
    found["first"], found["last"] = (0, 1) if values.dtype.kind == "b" else (np.nan, np.nan)
    step = 0
    for place in _parts(values):
        part, rows = values[place].reshape(len(values[place]), -1), found[place]
        rows["low"], rows["high"] = part.min(1), part.max(1)
        if step not in (1, -1):  # neither changes any more
            more = _step(part)
            step = int(np.gcd(step, more)) if more >= 0 else -1
        rows["step"] = step
    return found


def _parts(values: np.ndarray) -> Iterator[slice]:
    """Consecutive examples of `_VALUES` values at most, where one is not more."""
    count = max(1, _VALUES // max(1, math.prod(values.shape[1:])))
    return (slice(start, start + count) for start in range(0, len(values), count))


def _step(values: np.ndarray) -> int:
    if values.dtype.kind == "f":
        if (values != np.rint(values)).any() or float(np.abs(values).max()) >= 2**31:
            return -1
    elif values.dtype.itemsize == 1:
        return 1  # nothing is told from it
    return int(np.gcd.reduce(np.abs(values.astype(np.int64)), axis=None))


def read_alone(found: Evidence) -> Reading:
    """How numbers of a set are to be read that nothing else is known of."""
    low, high = found.low, found.high
    if found.declared:
        return Reading(*found.declared, "as declared")
    if found.container == "uint8":
        return Reading(0, 1, "two levels") if high == 1 else Reading(0, 255, "8 bits")
    if found.container == "float":
        if low >= -_SLACK and high <= 1 + _SLACK:
            return Reading(0, 1, "floats")
        if low >= -1 - _SLACK and high <= 1 + _SLACK:
            return Reading(-1, 1, "floats")
        if low >= -_SLACK and high <= 255 + _SLACK and (found.step > 0 or high - low >= 64):
            return Reading(0, 255, "8 bits as floats")
    if found.step < 0 or low < 0 or high > 65535:
        return Reading(low, high if high > low else low + 1, "their own lowest and highest", convention=False)
    return _whole(found)


def _whole(found: Evidence) -> Reading:
    """Numbers from 0 to 65535 in a container that holds more: how many bits they use, and where."""
    high, step = int(found.high), found.step
    if high <= 1 and not found.bits:
        return Reading(0, 1, "two levels") if high else Reading(0, 65535, "16 bits")
    spread = found.bits and (high >= 2**found.bits or step % 2 ** (16 - found.bits) == 0)
    if found.bits and not spread:
        return Reading(0, 2**found.bits - 1, f"{found.bits} bits as declared")
    if spread or step % 257 == 0:  # 8 bits times 257 are 16
        return Reading(0, 65535, "16 bits")
    if step >= 4 and 65536 % step == 0 and high // step >= 64:  # shifted to the left
        return Reading(0, 65536 - step, f"{17 - step.bit_length()} bits, shifted to the left of 16")
    bits = next(bits for bits in _DEPTHS if high < 2**bits)
    return Reading(0, 2**bits - 1, f"{bits} bits")


def decide(values: np.ndarray, measures: np.ndarray, splits: Mapping[str, np.ndarray], name: str) -> Reading:
    """How to read a set that nothing else is known of; `splits` are those that its source fixes.

    Raises
    ------
    DataError
        Where splits, or values, contradict each other.
    """
    alone = {split: read_alone(Evidence.of(measures[rows])) for split, rows in splits.items() if len(rows)}
    told = {split: r for split, r in alone.items() if measures["high"][splits[split]].any()}  # black fits everywhere
    for first, one in told.items():
        for second, other in told.items():
            if _disagree(one, other):
                raise DataError(
                    f"the splits of '{name}' disagree: {first} would be read as {one.text}, {second} as {other.text}. "
                    "Bring them to one range, or say which it is: --range LOW HIGH (value_range)."
                )
    found = Evidence.of(measures)
    reading = read_alone(found)
    usual = [] if reading.convention else [(0, 1), (-1, 1)]
    if reading.convention and reading.high >= 4095 and not (found.declared or found.bits):
        usual = [(0, 255)]
    for low, high in usual:
        outside = _outside(values, low, high, but_zero=True)
        if outside <= CLIPPED:
            raise DataError(
                f"'{name}' has pixel values from {float(values.min()):g} to {float(values.max()):g}, and all but "
                f"{outside:.2g} of them lie from {low} to {high}: --range {low} {high} clips the others, "
                f"--range {reading.low:g} {reading.high:g} keeps them (value_range)."
            )
    return reading


def _disagree(one: Reading, other: Reading) -> bool:
    if one.convention and other.convention and -1 in (one.low, other.low) and one.low != other.low:
        return True
    shared = min(one.high, other.high) - max(one.low, other.low)
    return shared < _APART * (max(one.high, other.high) - min(one.low, other.low))


def decide_like(values: np.ndarray, measures: np.ndarray, spec: ImageSpec, name: str) -> Reading:
    """How to read new data of a model whose data had this spec.

    Raises
    ------
    DataError
        Where the values do not fit the model's range, or their container does not tell theirs.
    """
    found = Evidence.of(measures)
    own = read_alone(found)
    if found.declared or found.bits:
        return own
    low, high = spec.value_range
    black = not found.low and not found.high
    same = found.container == spec.container
    alike = same or (found.container == "int" and spec.container in ("uint8", "uint16"))
    inside = alike and _outside(values, low, high) <= CLIPPED
    usual = found.container == "float" and (own.low, own.high) in _UNITS
    # Floats may come in other units than the model's and lie in its range all the same; so may whole numbers of any type.
    other = usual and (low, high) in _UNITS and (own.low, own.high) != (low, high)
    faint = (usual or not same) and 100 * (own.high - own.low) <= high - low
    if inside and ((black and not low) or not (other or faint)):
        return Reading(low, high, "as the model's data")
    if found.container == "uint8":
        return Reading(0, 255, "8 bits")
    if black or (usual and not inside):
        return own
    if found.container == "uint16" and not same and found.high >= 2**14:
        return Reading(0, 65535, "16 bits")
    if found.container == "int" and not alike and found.low >= 0 and 1 < found.high <= 255:
        return Reading(0, 255, "8 bits")
    raise DataError(
        f"'{name}' has pixel values from {found.low:g} to {found.high:g} ({found.container}), those of the model's data "
        f"are read as {low:g} to {high:g} ({spec.container}), and nothing says how the one becomes the other: give black "
        "and white of these data, --range LOW HIGH (value_range)."
    )


def _outside(values: np.ndarray, low: float, high: float, *, but_zero: bool = False) -> float:
    """Share of values, or of those that are not zero, outside of a range by more than rounding."""
    slack = _SLACK * (high - low)
    count, total = 0, 0 if but_zero else values.size
    for place in _parts(values):
        part = values[place]
        count += int(((part < low - slack) | (part > high + slack)).sum())
        total += int(np.count_nonzero(part)) if but_zero else 0
    return count / max(total, 1)


def to_codes(values: np.ndarray, reading: Reading, name: str, *, clip: bool = False) -> tuple[np.ndarray, list[str]]:
    """Pixel values ``(N, ...)`` as uint8 codes from 0 to 255 over a range, and notes of what was read and how.

    Raises
    ------
    DataError
        Where more than a few values lie outside, unless ``clip`` allows it.
    """
    low, high = reading.low, reading.high
    outside = 0.0 if values.dtype == np.uint8 and high == 255 else _outside(values, low, high)
    if outside > CLIPPED and not clip:
        raise DataError(
            f"{outside:.1%} of the pixel values of '{name}' lie outside of {reading.text}: say what they are, "
            "--range LOW HIGH (value_range)."
        )
    notes = (
        [f"{outside:.2g} of the pixel values lie outside of {low:g} to {high:g} and were clipped"] if outside else []
    )
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values, notes
    codes = np.empty(values.shape, np.uint8)
    scale = (CODES - 1) / (high - low)
    whole = float(high - low).is_integer() and high - low < CODES
    finer, apart = False, not whole
    for place in _parts(values):
        part = values[place].astype(np.float64) - low
        apart = apart or bool((part != np.rint(part)).any())
        part *= scale
        nearest = np.rint(part)
        finer = finer or bool((np.abs(part - nearest) > 0.1).any())  # more than what floats of 16 bits lose
        codes[place] = np.clip(nearest, 0, CODES - 1)
    if finer and apart:
        notes.append(f"pixel values were rounded to {CODES} levels between {low:g} and {high:g}")
    return codes, notes


def whole_steps(codes: np.ndarray, reading: Reading) -> int:
    """The largest code, where codes from 0 to 255 stand for fewer whole numbers from black to white; else 255."""
    width = reading.high - reading.low
    if not float(width).is_integer() or width >= CODES:
        return CODES - 1
    there = np.zeros(CODES, bool)
    for place in _parts(codes):
        there[np.unique(codes[place])] = True
    steps = np.rint(np.arange(width + 1) * ((CODES - 1) / width)).astype(int)
    return CODES - 1 if np.delete(there, steps).any() else int(width)


def filled(values: np.ndarray, measures: np.ndarray, reading: Reading) -> str:
    """A note: how pixel values are read, and how much of that range they fill."""
    low, high = float(measures["low"].min()), float(measures["high"].max())
    some = values[:: max(1, len(values) // 64)][:64].ravel()
    middle = np.quantile(some[:: max(1, some.size // 10**6)], (0.005, 0.995))
    shares = [min(100.0, 100 * float(b - a) / (reading.high - reading.low)) for a, b in ((low, high), middle)]
    little = "only " if shares[1] < 10 else ""
    return (
        f"pixel values from {low:g} to {high:g} are read as {reading.text}: they fill {shares[0]:.3g} % of that, 99 % of "
        f"them {little}{shares[1]:.3g} % (another range: --range LOW HIGH)"
    )
