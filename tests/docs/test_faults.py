"""The page of faults names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", PAGE)


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_the_tests_it_names_are_there(file: str, name: str) -> None:
    (path,) = TESTS.rglob(file)
    assert f"def {name}" in path.read_text(encoding="utf-8") if name else path.is_file()


def test_every_row_names_one() -> None:
    tables = re.findall(r"^\| kind of fault .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = "".join(tables).splitlines()
    assert len(tables) == 5 and len(rows) > 35
    assert all(re.search(r"`test_\w+\.py", row) for row in rows)
