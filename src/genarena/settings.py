"""Settings of models as people write them: a YAML file, and ``key.sub=value`` pairs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import UsageError
from .files import LARGEST_YAML, parse_yaml, read_bytes


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a YAML file; raises `UsageError` where it cannot be read or holds something else."""
    try:
        loaded = parse_yaml(read_bytes(path, LARGEST_YAML).decode())
    except (OSError, ValueError) as error:
        raise UsageError(f"configuration '{path}' cannot be read: {error}.") from None
    if not isinstance(loaded, dict):
        raise UsageError(f"configuration '{path}' is not a mapping of settings.")
    return loaded


def add_settings(settings: dict[str, Any], pairs: Iterable[str], option: str = "") -> dict[str, Any]:
    """Settings with those of ``key.sub=value`` pairs in their places; values are YAML. `option` is said in errors.

    Raises
    ------
    UsageError
        For what is no pair, or gives a value settings of its own.
    """
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{option}{pair}: write key=value.")
        *path, last = key.split(".")
        place = settings
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UsageError(f"{option}{pair}: '{part}' is a value, not a group of settings.")
        try:
            place[last] = parse_yaml(text)
        except ValueError:
            place[last] = text
    return settings
