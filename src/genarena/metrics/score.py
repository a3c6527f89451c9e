"""What a metric is called, and what one measurement of it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..files import Record, Text, as_record

Better = Literal["low", "high", "one", "half"] | None


class Undefined(ValueError):
    """A metric has no value on these samples; the message is the reason, fit for a table."""


@dataclass(frozen=True)
class Metric:
    """A metric's name and meaning.

    Attributes
    ----------
    name, title, unit : str
        For programs, for people, and the unit ("" where it has none).
    better : {"low", "high", "one", "half", None}
        The good direction or the ideal value; None where neither direction is better by itself.
    reference : str
        The paper it comes from.
    about : str
        One sentence for a scientist of another field.
    bounds : (float or None, float or None)
        Values it cannot leave.
    evident : str
        Why it needs no self-test (a clock, a count against true labels); empty where it has to pass one, and decides nothing
        until it has.
    tested_as : str
        Name of the metric whose self-test, in the same feature space, speaks for it; empty where it has its own.
    """

    name: str
    title: str
    unit: str
    better: Better
    reference: str
    about: str
    bounds: tuple[float | None, float | None] = (None, None)
    evident: str = ""
    tested_as: str = ""


def trust(metric: Metric, space: str, self_test: Mapping[str, Mapping[str, Any]]) -> tuple[bool, str | None]:
    """Whether a metric may decide, by an evaluator's self-test; and why not. What was never tested may not."""
    if metric.evident:
        return True, None
    key = "/".join(filter(None, (metric.tested_as or metric.name, space)))
    found = self_test.get(key)
    if found is None:
        return False, "it was never self-tested"
    return bool(found["usable"]), found["why"]


class ScoreRecord(Record):
    """A `Score` as JSON."""

    value: float | None
    n: int = Field(ge=0)
    replicates: list[float]
    reason: Text | None


@dataclass(frozen=True)
class Score:
    """One measurement.

    Attributes
    ----------
    value : float or None
        None where the metric is undefined on these samples.
    n : int
        Number of samples measured.
    replicates : tuple of float
        Draws from the sampling distribution of ``value``, centred on it; empty where not asked for.
    reason : str or None
        Why there is no value.
    """

    value: float | None
    n: int
    replicates: tuple[float, ...] = ()
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "replicates": list(self.replicates)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Score:
        """Rebuild a score; raises `RunError` on a record that no genarena wrote."""
        found = as_record(record, ScoreRecord, "a stored score")
        value = found["value"]
        replicates = tuple(map(float, found["replicates"]))
        return cls(None if value is None else float(value), found["n"], replicates, found["reason"])


def require(x: np.ndarray, y: np.ndarray, least: int) -> None:
    """Raise `Undefined` unless both feature arrays ``(N, D)`` are finite and have at least ``least`` rows."""
    for name, array in (("reference examples", x), ("samples", y)):
        if len(array) < least:
            raise Undefined(f"{len(array)} {name}; at least {least} are needed")
        if not np.isfinite(array).all():
            raise Undefined(f"the features of some {name} are not finite")


def finite(value: float) -> float:
    """Return ``value``; raise `Undefined` where it is infinite or not a number."""
    if not math.isfinite(value):
        raise Undefined("the result is not finite")
    return float(value)
