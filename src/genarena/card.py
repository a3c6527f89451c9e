"""The card of a saved model: what it is, can and cannot do, how it scored, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from .errors import visible
from .game import Capability, Model
from .text import markdown

SAMPLES = "samples.png"


def model_card(
    model: Model, record: Mapping[str, Any], capabilities: Mapping[Capability, str | None], license: str = "other"
) -> str:
    """Markdown with the header the hub reads.

    Parameters
    ----------
    model : Model
    record : mapping
        What ``config.json`` holds; ``scores`` in it are those of the comparison that chose the model.
    capabilities : mapping of str to str or None
        None, or the reason why it cannot.
    license : str
        An identifier the hub knows.
    """
    header = {"library_name": "genarena", "tags": ["genarena", visible(record["model"])], "license": visible(license)}
    summary = model.summary
    data = record.get("data", {})
    can = [name.replace("_", " ") for name, why in capabilities.items() if why is None]
    cannot = [f"- {name.replace('_', ' ')}: {markdown(why)}" for name, why in capabilities.items() if why is not None]
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n",
        f"# {markdown(model.title)}\n",
        f"{markdown(summary[:1].upper() + summary[1:])}.\n",
        f"![Samples]({SAMPLES})\n" if "sample" in can else "",
        f"- Can: {', '.join(can)}",
        f"- Trained on: {markdown(data.get('name', 'unknown'))} ({markdown(data.get('fingerprint', '')[:16])})",
        f"- Budget: {markdown(record.get('budget', 'closed form'))}, seed {record.get('seed', 0)}",
        f"- Licence: {_licence(license)}\n",
        "```python\nimport genarena\n\nmodel = genarena.load('this folder or its id')\nmodel.sample(16)\n```\n",
        _scores(record.get("scores", [])),
        "## Limits\n",
        "It knows the kind of data it was trained on, of that size and range of values, and nothing else. What those lack or",
        "hold too often, its samples do too; and a sample may resemble an example it was trained on.\n",
        *(["What it cannot do:\n", *cannot, ""] if cannot else []),
        f"## Settings\n\n```json\n{json.dumps(record['config'], indent=1)}\n```\n",
    ]
    return "\n".join(part for part in parts if part)


def _licence(license: str) -> str:
    if license == "other":
        return "not stated; it depends on the data, and whoever passes the model on should choose one"
    return markdown(license)


def _scores(scores: Any) -> str:
    """The scores by which a comparison judged it, beside those of real data."""
    if not isinstance(scores, list) or not scores:
        return ""
    lines = ["## Scores\n", "| use | metric | score | real data |", "|---|---|---|---|"]
    for score in scores:
        cells = [score.get(name) for name in ("use", "metric", "value", "real")] if isinstance(score, dict) else []
        shown = (f"{c:.4g}" if isinstance(c, float) else "" if c is None else markdown(str(c)) for c in cells)
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"
