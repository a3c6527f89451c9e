"""A user's own classes, imported from a file that the user named or agreed to run."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TypeVar

from .errors import UsageError, did_you_mean, one_line

Base = TypeVar("Base")


def split_source(source: str, what: str) -> tuple[Path, str]:
    """File and class of ``path/to/file.py:Class``; `what` it is, "model" or "network", is said in errors."""
    path, _, class_name = source.rpartition(":")
    if not path.endswith(".py") or not class_name:
        raise UsageError(f"'{source}' names no {what} class: give file.py:Class.")
    return Path(path), class_name


def load_class(path: Path, class_name: str, base: type[Base], what: str) -> type[Base]:
    """Import a subclass of `base` from a file. This runs the file.

    Raises
    ------
    UsageError
        Where there is no such file, it cannot be imported, or has no such class.
    """
    if not path.is_file():
        raise UsageError(f"{what} file '{path}' does not exist.")
    module_name = f"genarena_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{what} file '{path}' is not Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a file that ends the program is one that cannot be imported
        raise UsageError(
            f"{what} file '{path}' failed to import: {type(error).__name__}: {one_line(error)}."
        ) from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, base)):
        names = [n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, base)]
        raise UsageError(f"'{path}' has no {what} class '{class_name}'.{did_you_mean(class_name, names)}")
    return found
