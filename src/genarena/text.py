"""Text from elsewhere (names of files, columns and classes, records, other people's errors) where it is shown.

One function for each place: `errors.visible` for a line of a terminal, and the ones here. HTML is escaped by the template
of the report.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import visible

if TYPE_CHECKING:
    from rich.text import Text

_MARKDOWN = re.compile(r"[\\`*_\[\]<>&|~$#@:]")
_FORMULA = tuple("=+-@＝＋－＠")


def plain(text: str, encoding: str = "utf-8") -> Text:
    """For rich, which then reads no markup in it and no emoji; what `encoding` cannot say is spelled out."""
    from rich.text import Text

    return Text(encodable(visible(text), encoding))


def encodable(text: str, encoding: str) -> str:
    """`text` with the characters spelled out that an encoding lacks."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def markdown(text: str) -> str:
    """For a line of Markdown: no emphasis, link, HTML, table or mention begins."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(text))


def cell(text: str) -> str:
    """For a cell of CSV: what a spreadsheet would take for a formula begins with an apostrophe; numbers stay as they are.

    Bytes of a file's name that are not Unicode stay too, so that the file can be found: write with ``surrogateescape``.
    """
    shown = "".join(char if _is_byte(char) else visible(char) for char in text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) and not _is_number(shown) else shown


def csv_text(rows: Iterable[Iterable[object]]) -> bytes:
    """Rows as a CSV file, text as `cell` has it."""
    text = io.StringIO()
    for row in rows:
        csv.writer(text, lineterminator="\n").writerow(
            [cell(value) if isinstance(value, str) else value for value in row]
        )
    return text.getvalue().encode("utf-8", "surrogateescape")


def shell_word(text: str) -> str:
    """For a command to be pasted into a shell: this very text as one word, what would act on the terminal spelled out.

    A newline stays, between quotes: where commands are shown they have lines.
    """
    if all(visible(line) == line for line in text.split("\n")):
        return shlex.quote(text)
    spelled = (char if visible(char) == char else "".join(f"\\x{byte:02x}" for byte in _bytes(char)) for char in text)
    return "$'" + "".join({"\\": r"\\", "'": r"\'"}.get(part, part) for part in spelled) + "'"


def _is_byte(char: str) -> bool:
    """A byte of a file's name that is no UTF-8, as Python keeps it."""
    return "\udc80" <= char <= "\udcff"


def _bytes(char: str) -> bytes:
    return char.encode("utf-8", "surrogateescape" if _is_byte(char) else "replace")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
