"""The models' capabilities as a table: for ``genarena models``, the README and the documentation."""

from __future__ import annotations

from typing import Any

from .data import ImageSpec, LabelSpec, Schema, Spec
from .fitted import FittedModel, build
from .models import MODELS


def capability_rows() -> list[dict[str, Any]]:
    """One record a model: name, title, summary, and capabilities in their default configuration on labelled images."""
    specs: dict[str, Spec] = {"image": ImageSpec(1, 8, 8), "label": LabelSpec(("a", "b"), (0.5, 0.5))}
    schema = Schema(specs, {"image": "target", "label": "label"})
    rows = []
    for name, model_class in MODELS.items():
        model = FittedModel(build(model_class, model_class.Config.parse({}), schema, 0), {"model": name})
        capabilities = model.capabilities()
        row = {"name": name, "title": model_class.title, "summary": model_class.summary, "capabilities": capabilities}
        rows.append(row)
    return rows


def capability_markdown() -> str:
    """The README's table of models."""
    rows = capability_rows()
    names = list(rows[0]["capabilities"])
    header = ["model", "what it is", *(name.replace("_", " ") for name in names)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        marks = ["yes" if row["capabilities"][name] is None else "—" for name in names]
        cells = [f"[`{row['name']}`](docs/models/{row['name']}.md)", row["summary"], *marks]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
