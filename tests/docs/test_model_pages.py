"""Every model has a page, and its table of settings is what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from genarena.data import open_dataset
from genarena.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "models"
HEADINGS = ("What it is", "Equations", "Algorithm", "Settings", "Capabilities", "Deviations", "Pitfalls", "Measured")


def settings_of(config: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Every setting's default by dotted name, as ``--set`` and JSON write it."""
    flat: dict[str, Any] = {}
    for name, value in config:
        if isinstance(value, BaseModel):
            flat |= settings_of(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return flat


def table_of(page: str) -> dict[str, str]:
    """Setting -> default of the table under "Settings"; rows look like ``| `name` | `default` | ... |``."""
    section = page.split("\n## Settings\n", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)`", section, re.MULTILINE))


def page_of(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def test_there_is_a_page_for_every_model_and_for_nothing_else():
    assert {path.stem for path in PAGES.iterdir()} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_the_table_of_settings_agrees_with_the_config(name):
    assert table_of(page_of(name)) == settings_of(MODELS[name].Config.parse({}))


def choices_of(config: type[BaseModel], prefix: str = "") -> dict[str, tuple[Any, ...]]:
    """The values of every setting that has a list of them."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, field in config.model_fields.items():
        if isinstance(field.default, BaseModel):
            found |= choices_of(type(field.default), f"{prefix}{name}.")
        elif get_origin(field.annotation) is Literal:
            found[prefix + name] = get_args(field.annotation)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_table_names_every_value_or_where_they_are(name):
    section = page_of(name).split("\n## Settings\n", 1)[1].split("\n## ", 1)[0]
    for setting, values in choices_of(MODELS[name].Config).items():
        (row,) = re.findall(rf"^\| `{re.escape(setting)}` \|.*", section, re.MULTILINE)
        elsewhere = re.search(r"[Ss]ee |Not used|No effect", row)
        assert elsewhere or all(str(value) in row for value in values), row


@pytest.mark.parametrize("name", MODELS)
def test_the_page_has_its_sections_and_links_to_the_results(name):
    page = page_of(name)
    found = [heading for heading in HEADINGS if f"\n## {heading}\n" in page]
    assert found == list(HEADINGS)
    assert "](../results.md)" in page.split("\n## Measured\n", 1)[1]


@pytest.mark.parametrize("name", MODELS)
def test_the_page_gives_the_reasons_that_the_code_gives(name):
    model = MODELS[name](MODELS[name].Config.parse({}), open_dataset("digits").schema)
    section = page_of(name).split("\n## Capabilities\n", 1)[1].split("\n## ", 1)[0]
    for capability, reason in model.capabilities().items():
        assert f"| `{capability}` | {'yes' if reason is None else f'no: “{reason}”'} |" in section


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name)
def test_relative_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    # results.md is made by a measurement, which a fresh checkout may not have run.
    lost = [link for link in links if not (path.parent / link).exists() and not link.endswith("results.md")]
    assert not lost
