"""`comparison.json` as types: the contract between the comparison that writes it and whatever reads it.

The same contract in words is `docs/comparison-schema.md`. Unknown keys are ignored, so that a later release may add
some without raising `FORMAT`; a missing or mistyped one is an error that names its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genarena.errors import RunError, visible
from genarena.files import read_json

FILENAME = "comparison.json"
FORMAT = 1

Better = Literal["low", "high", "one", "half"] | None
Checkpoint = Literal["last", "best"]
Verdict = Literal["winner", "too close to call", "undecided", "not possible"]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Quarantined(Record):
    path: str
    reason: str


class Data(Record):
    name: str
    fingerprint: str
    fields: dict[str, Any] = Field(default_factory=dict, alias="schema")
    summary: str
    counts: dict[str, int]
    notes: list[str] = []
    quarantined: list[Quarantined] = []
    duplicates: dict[str, int] = {}


class Plan(Record):
    contenders: list[str]
    seeds: list[int]
    budget: str
    default_budget: str | None = None
    below_default: bool = False
    views: list[str] = []
    device: str
    checkpoint: Checkpoint = "last"
    hidden: list[str] = []
    normal: str | None = None
    threads: int | None = None


class Space(Record):
    id: str
    dim: int
    trained_on: str | None = None
    detail: str | None = None


class Evaluator(Record):
    hash: str
    n: int
    k: int | None = None
    spaces: list[Space] = []


class Contender(Record):
    name: str
    title: str
    summary: str
    capabilities: dict[str, str | None] = {}
    parameters: dict[str, int] = {}


class Alarm(Record):
    name: str
    images: int
    until: int | None = None
    text: str


class Best(Record):
    fd: float
    images: int


class Run(Record):
    id: str
    contender: str
    seed: int
    view: str
    hidden: str | None = None
    status: Literal["done", "failed", "missing"]
    reason: str | None = None
    images: int | None = None
    train_seconds: float | None = None
    cpu_seconds: float | None = None
    images_per_second: float | None = None
    sample_images_per_second: float | None = None
    peak_memory_mb: float | None = None
    rollbacks: int = 0
    warnings: list[str] = []
    alarms: list[Alarm] = []
    checkpoint: Checkpoint = "last"
    sha256: str | None = None
    best: Best | None = None


class Score(Record):
    by_seed: dict[str, float | None] = {}
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class Metric(Record):
    name: str
    title: str
    unit: str = ""
    better: Better = None
    about: str
    reference: str = ""
    usable: bool = True
    why: str | None = None
    n: int | None = None
    floor: float | None = None
    ceilings: dict[str, float | None] = {}
    scores: dict[str, Score] = {}


class Cell(Record):
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class Difference(Record):
    value: float | None = None
    low: float | None = None
    high: float | None = None


class Table(Record):
    columns: list[str]
    rows: list[list[str | float | None]]


class Settle(Record):
    seeds: int
    command: str | None = None


class Use(Record):
    name: str
    title: str
    aim: str = ""
    question: str
    metric: str
    unit: str = ""
    better: Better = None
    sesoi: float | None = None
    sesoi_text: str = ""
    verdict: Verdict
    winner: str | None = None
    leader: str | None = None
    runner_up: str | None = None
    difference: Difference | None = None
    provisional: bool = False
    converged: bool | None = None
    convergence: str = ""
    moving: list[str] = []
    settle: Settle | None = None
    reason: str
    cells: dict[str, Cell] = {}
    table: Table | None = None
    command: str | None = None


class Point(Record):
    images: float
    cpu_seconds: float | None = None
    value: float | None = None


class Curve(Record):
    contender: str
    seed: int
    metric: str
    title: str = ""
    about: str = ""
    better: Better = None
    points: list[Point]


class Spectra(Record):
    frequency: list[float]
    real: list[float | None]
    contenders: dict[str, list[float | None]]


class Pictures(Record):
    real: str | None = None
    samples: dict[str, str] = {}
    reconstructions: dict[str, str] = {}
    interpolations: dict[str, str] = {}
    nearest: dict[str, str] = {}


class Comparison(Record):
    format: int
    genarena: str
    created: str
    command: str
    versions: dict[str, str] = {}
    data: Data
    plan: Plan
    evaluator: Evaluator | None = None
    contenders: list[Contender]
    runs: list[Run] = []
    metrics: list[Metric] = []
    uses: list[Use] = []
    curves: list[Curve] = []
    spectra: Spectra | None = None
    pictures: Pictures = Pictures()


def read_comparison(folder: Path) -> Comparison:
    """Read and check a comparison's `comparison.json`.

    Text comes back with its control and direction-changing characters spelled out (``\\x1b``, ``\\u202e``), since a
    name from a user's file must not restyle a page or a terminal. NaN and infinity come back as None.

    Raises
    ------
    RunError
        There is none, it is no valid JSON, it was written in another format, or a value is missing or mistyped.
    """
    path = folder / FILENAME
    if not path.exists():
        raise RunError(f"No {FILENAME} in {folder}: name the folder that `genarena compare --out` wrote.")
    try:
        raw = read_json(path)
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror or error}.") from error
    written = raw.get("format") if isinstance(raw, dict) else None
    if written != FORMAT:
        raise RunError(
            f"{path} has format {written!r}, this genarena reads format {FORMAT}: "
            "use the release that wrote it, or run the comparison again."
        )
    try:
        return Comparison.model_validate(_shown(raw))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path}: {place}: {first['msg']}. See docs/comparison-schema.md.") from error


def _lines(value: Any) -> Any:
    """A command, whose quoted names may hold newlines; spelled out they would be other names."""
    return "\n".join(map(visible, value.split("\n"))) if isinstance(value, str) else _shown(value)


def _shown(value: Any) -> Any:
    """A JSON value with every string `visible`."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {_shown(key): _lines(item) if key == "command" else _shown(item) for key, item in value.items()}
    return value
