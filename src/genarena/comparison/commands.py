"""Commands to be pasted into a shell: how a use's leader is put to work, and what may settle an open verdict."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..data.builtin import BUILTIN
from ..data.public import PUBLIC
from ..text import shell_word
from ..uses import Use

ENOUGH_SEEDS = 5  # that are asked for where fewer left a verdict open; twice as many as before where those were not


def use_command(use: Use, folder: Path, source: str | None, classes: Sequence[str] = ()) -> str:
    """A use's command with its words in capitals filled in; paths are absolute, so it runs from anywhere.

    Parameters
    ----------
    use : Use
    folder : Path
        The comparison's.
    source : str, optional
        The data as the user named them; DATA stands where they came from no file.
    classes : sequence of str
        The data's: CLASS becomes the first.
    """
    words = {"DIR": os.path.abspath(folder)}
    if source is not None:
        is_name = source in BUILTIN or source in PUBLIC  # which goes before a path of that name
        words["DATA"] = os.path.abspath(source) if not is_name and Path(source).exists() else source
    if classes:
        words["CLASS"] = classes[0]
    return re.sub(r"\b(DIR|DATA|CLASS)\b", lambda found: shell_word(words.get(found[1], found[1])), use.command)


def pasted(words: Sequence[str]) -> str:
    """Words as one command for a shell."""
    return " ".join(map(shell_word, words))


def more_seeds(command: str, seeds: int, folder: Path | None = None) -> tuple[int, str | None]:
    """How many seeds to try where `seeds` left a verdict open, and the command that trains those still missing.

    Parameters
    ----------
    command : str
        What began the comparison, as a shell would read it; empty where it was no command.
    seeds : int
    folder : Path, optional
        Where it was begun: by default, where this process is.
    """
    wanted = ENOUGH_SEEDS if seeds < ENOUGH_SEEDS else 2 * seeds
    if not command:
        return wanted, None
    words = shlex.split(command)
    given = next((at for at, word in enumerate(words) if word == "--seeds"), None)
    if given is not None:
        del words[given : given + 2]
    kept = [word for word in words if not word.startswith("--seeds=")]
    kept[2:2] = ["--seeds", str(wanted)]
    return wanted, f"cd {shell_word(os.path.abspath(folder or Path()))} && {pasted(kept)}"
