"""The documentation's site: every page has a place in it, and it is set up to load nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SITE: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def pages(nav: Any) -> list[str]:
    """The files that a menu names."""
    if isinstance(nav, str):
        return [nav]
    return [page for entry in (nav.values() if isinstance(nav, dict) else nav) for page in pages(entry)]


def test_every_page_is_in_the_menu_once() -> None:
    written = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(pages(SITE["nav"])) == written


def test_the_site_is_strict_and_names_no_other_host() -> None:
    assert SITE["strict"] is True and SITE["theme"]["font"] is False
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "//" not in text and "extra_javascript" not in SITE


def test_pictures_of_the_documentation_are_small() -> None:
    large = {path.name: path.stat().st_size for path in (ROOT / "docs").rglob("*.png") if path.stat().st_size > 200_000}
    assert not large
