"""The files below a folder: hidden ones, links and folders that genarena itself wrote are passed over, and counted."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import LARGEST_JSON, parse_json, read_bytes
from .layout import named

_SYSTEM = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}
# What tells the folders that genarena writes: a file, and keys of it.
_OURS = {
    "config.json": {"genarena", "model", "schema"},
    "plan.json": {"contenders", "seeds", "fingerprint"},
    "comparison.json": {"genarena", "contenders", "plan"},
    "dataset.json": {"schema", "quarantined", "fingerprint"},
    "evaluator.json": {"protocol", "spaces", "hash"},
}

_OUR_FOLDERS = {"samples", "pictures", "checkpoints", "scores", "evaluator", "runs", "data"}


def is_ours(folder: str | Path) -> bool:
    """Whether genarena wrote a folder: a run, a saved model, a comparison, its data or its evaluator."""
    for name, keys in _OURS.items():
        path = Path(folder, name)
        try:
            record = parse_json(read_bytes(path, LARGEST_JSON)) if path.is_file() else None
        except (ValueError, RecursionError, OSError):
            continue
        if isinstance(record, dict) and keys <= set(record):
            return True
    return False


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, or one that operating systems leave in folders."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def walk(root: Path, follow_links: bool) -> tuple[list[tuple[str, Path]], list[str]]:
    """Every visible file, with its relative path, and notes on what was passed over.

    Real folders are visited before links to folders, and none twice, so that links that lead back end.
    """
    files: list[tuple[str, Path]] = []
    outside, to_folders, broken, ours, empty = ([] for _ in range(5))
    seen: set[str] = set()
    inside, waiting = os.path.realpath(root), [str(root)]

    def relative(path: str) -> str:
        return Path(path).relative_to(root).as_posix()

    while waiting:
        links: list[str] = []
        for folder, directories, names in os.walk(waiting.pop(0), onerror=_raise):
            real = os.path.realpath(folder)
            if real in seen or (seen and is_ours(folder)):
                ours += [] if real in seen else [relative(folder)]
                directories.clear()
                continue
            if not seen and is_ours(folder):  # a run in the very folder of its data
                ours += [name for name in directories if name in _OUR_FOLDERS]
                directories[:] = [name for name in directories if name not in _OUR_FOLDERS]
            seen.add(real)
            linked = {name for name in directories if os.path.islink(os.path.join(folder, name))}
            directories[:] = [name for name in directories if name not in linked and not is_hidden(name)]
            if not names and not directories and not linked:
                empty.append(relative(folder))
            for name in filter(lambda name: not is_hidden(name), (*names, *linked)):
                path = os.path.join(folder, name)
                leads_out = os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(inside)
                if not os.path.exists(path):
                    broken.append(relative(path))
                elif leads_out and not follow_links:
                    outside.append(relative(path))
                elif name not in linked:
                    files.append((relative(path), Path(path)))
                elif follow_links:
                    links.append(path)
                else:
                    to_folders.append(relative(path))
        waiting += sorted(links, key=os.fsencode)
    counted = (
        (outside, "link(s) that lead out of the folder were passed over (--follow-links takes them)"),
        (to_folders, "link(s) to folders were passed over (--follow-links takes them)"),
        (broken, "link(s) that lead nowhere were passed over"),
        (ours, "folder(s) that genarena wrote were left out"),
        (empty, "folder(s) hold nothing"),
    )
    return files, [f"{len(found)} {what}: {named(found)}" for found, what in counted if found]


def _raise(error: OSError) -> None:
    raise error
