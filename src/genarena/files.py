"""Files written as a whole or not at all, and records read from anywhere: JSON of bounded size, without NaN."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .errors import RunError

LARGEST_JSON = 64 * 2**20  # bytes


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file as a whole: readers see the old or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with partial.open("xb") as file:  # never through a link that somebody left there
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, record: Any) -> None:
    """Write JSON atomically; NaN is refused, since no number in a record may be one."""
    write_atomic(path, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON of bounded size; NaN and infinity, which `write_json` never writes, come back as None.

    Raises
    ------
    RunError
        Where it is missing, too large or not JSON.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise RunError(f"'{path}' is larger than {LARGEST_JSON >> 20} MB: not a file genarena wrote.")
        return json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except FileNotFoundError:
        raise RunError(f"'{path}' does not exist.") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"'{path}' is not readable JSON ({error}).") from None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
