"""Errors a user can act on, and the exit code each ends in.

A message says what was wrong, where, and what to do next, in one or two lines; the command line prints it without a
traceback. Anything that is not a `GenarenaError` is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import operator
import unicodedata
from collections.abc import Iterable

EXIT_CODES = {
    0: "done",
    1: "unexpected error (a bug: please report it)",
    2: "wrong arguments or configuration",
    3: "the data cannot be used",
    4: "the run folder is in use, or belongs to something else",
    5: "training failed (diverged; see the diagnosis)",
    6: "the comparison finished, but some runs failed",
    7: "the model cannot do this (see `genarena models`)",
    74: "the disk refused to read or write",
    130: "interrupted by Ctrl-C; the state was saved",
    143: "terminated; the state was saved",
}


STOPPED = (130, 143)  # by a signal, which `sys.exit` in somebody's code is not


class GenarenaError(Exception):
    """Base of every error whose cause is not a bug."""

    exit_code = 1


class UsageError(GenarenaError):
    """A wrong argument, option or configuration value."""

    exit_code = 2


class DataError(GenarenaError):
    """Data that cannot be used as they are."""

    exit_code = 3


class RunError(GenarenaError):
    """A run folder that is locked, corrupt, foreign or of another configuration."""

    exit_code = 4


class TrainingError(GenarenaError):
    """Training that could not be saved by skipping steps or rolling back."""

    exit_code = 5


class IncompleteError(GenarenaError):
    """A comparison in which some runs failed."""

    exit_code = 6


class CapabilityError(GenarenaError):
    """A model asked for what it cannot do; the message is the reason."""

    exit_code = 7


class StorageError(GenarenaError):
    """A disk that is full, read-only or failing."""

    exit_code = 74


def whole(value: object, name: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """A whole number of an argument, NumPy's included; `UsageError` where it is none, too small or too large."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{name}={value!r:.60}: give a whole number.") from None
    if not least <= number <= most:
        raise UsageError(f"{name}={number}: give a whole number from {least} {f'to {most}' if most < 2**32 else 'up'}.")
    return number


def one_of(value: object, name: str, choices: Iterable[str]) -> None:
    """Raise `UsageError` where an argument is none of the words it may be."""
    known = list(choices)
    if value not in known:
        raise UsageError(f"{name}={value!r:.60} is unknown: {', '.join(known[:-1])} or {known[-1]}.")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or the list of known words."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(names)}."


def visible(text: str) -> str:
    """`text` on one line, the characters spelled out that would act instead of being shown: names come from anybody's files."""
    return text if text.isprintable() else "".join(_spelled(char) if _acts(char) else char for char in text)


def one_line(error: BaseException) -> str:
    """What an exception of somebody else's code says, on one line of bounded length; its name where it says nothing."""
    return " ".join(str(error).split())[:1000] or type(error).__name__


def _acts(char: str) -> bool:
    # Unicode: Cc controls, Cs lone surrogates (not encodable), Zl/Zp separators; the bidi classes that override or
    # isolate a direction. Zero-width joiners stay: scripts and emoji need them.
    bidi = unicodedata.bidirectional(char)
    return (
        unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
        or bidi in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        or char in "\u200e\u200f\u061c"
    )


def _spelled(char: str) -> str:
    short = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(char)
    return short or (f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}")
