"""What people want models for: each use is a view of the data, a capability it needs, and a score."""

from __future__ import annotations

from ..errors import UsageError, did_you_mean
from ..metrics import PANEL, Metric
from .base import Context, Use, why_not
from .condition import CONDITION
from .cost import COST
from .detect import DETECT, hidden_classes
from .generate import DIVERSITY, FIDELITY
from .interpolate import INTERPOLATE
from .likelihood import LIKELIHOOD
from .reconstruct import RECONSTRUCT
from .reduce import REDUCE

USES: dict[str, Use] = {
    use.name: use
    for use in (FIDELITY, DIVERSITY, CONDITION, RECONSTRUCT, REDUCE, DETECT, INTERPOLATE, LIKELIHOOD, COST)
}

METRICS: dict[str, Metric] = {**PANEL, **{m.name: m for use in USES.values() for m in use.catalogue}}


def find_use(name: str) -> Use:
    """The use of a name; raises `UsageError` for any other."""
    if name not in USES:
        raise UsageError(f"there is no use '{name}'.{did_you_mean(name, USES)}")
    return USES[name]


__all__ = ["METRICS", "USES", "Context", "Use", "find_use", "hidden_classes", "why_not"]
