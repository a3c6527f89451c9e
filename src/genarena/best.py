"""The best weights that a run served on its way, kept beside the last ones: adversarial games can get worse again.

Best is the smallest validation distance that the monitor measured at a look (a number called ``fd``). A look is a pure
function of the weights, and a resumed run repeats those after its checkpoint, so the choice does not depend on whether a
run was killed: whoever repeats a look finds its own value already kept, or keeps it now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint import Best, write_tensors
from .errors import GenarenaError
from .files import read_record, remove, sha256_of, write_json

CRITERION = "fd"
WEIGHTS = "best.safetensors"
RECORD = "best.json"


def keep_best(folder: Path, value: float, images: int, weights: Mapping[str, Tensor]) -> None:
    """Keep weights whose `value` is below that of those kept so far; the first of equals stays.

    Raises
    ------
    OSError
        Where the disk refuses; what was kept before is then still there, or is passed over.
    """
    kept = read_best(folder)
    if not math.isfinite(value) or (kept and kept[CRITERION] <= value):
        return
    write_tensors(folder / WEIGHTS, weights)
    # A kill here leaves weights that the record does not know: the run then goes on from before this look and repeats it.
    write_json(folder / RECORD, {CRITERION: value, "images": images, "sha256": sha256_of(folder / WEIGHTS)})


def read_best(folder: Path) -> dict[str, Any] | None:
    """The record of the weights kept, with their ``fd``, ``images`` and ``sha256``; None where there are no intact ones."""
    try:
        record = read_record(folder / RECORD, Best)
        intact = record["sha256"] == sha256_of(folder / WEIGHTS)
        return record if intact else None
    except (GenarenaError, OSError):
        return None


def forget_best(folder: Path) -> None:
    """A run that begins anew has no best weights yet."""
    for name in (RECORD, WEIGHTS):
        remove(folder / name)
