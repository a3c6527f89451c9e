"""Files written as a whole or not at all, and the one door for files read from anywhere: regular ones of bounded size."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError

from .errors import RunError, StorageError, visible

LARGEST_FILE = 20 * 10**9  # bytes, as all that follow
LARGEST_JSON = 24 * 2**20
LARGEST_YAML = 64 * 2**10
LARGEST_CODE = 2**20
LARGEST_HEADER = 4 * 2**20  # of a safetensors file: some ten thousand tensors
MOST_VALUES = 1_000_000  # in one JSON document
MOST_DIGITS = 40  # of a whole number in it; seeds have twenty
_PARTIAL = ".partial-"  # begins the names of what is being written


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new file to write, which takes the place of `path` as a whole once the block has ended well.

    Readers see the old file or the new one, never a part, and where the block fails the old one stays. Nothing that is
    there is written into, so neither links nor hard links lead elsewhere. The new file has the ending of `path`, by which
    writers choose their format.

    Raises
    ------
    StorageError
        Where something else than a regular file lies at `path`.
    """
    if os.path.lexists(path) and not stat.S_ISREG(mode := path.lstat().st_mode):
        raise StorageError(f"cannot write '{visible(str(path))}', which {_odd(mode)}: move it away.")
    partial = path.with_name(f"{_PARTIAL}{secrets.token_hex(4)}{path.suffix}")
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    mode = stat.S_IMODE(partial.lstat().st_mode)
    try:
        yield partial
        partial.chmod(mode)  # what the umask makes of it, whoever writes: some writers put a private file in its place
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def filling(folder: Path, last: str) -> Iterator[Path]:
    """Give a new folder to write files into, which take their places in `folder` once the block has ended well.

    Files of other names stay. The one called `last`, if it is written, comes last: who finds it finds all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_PARTIAL}{secrets.token_hex(4)}"
    partial.mkdir()
    try:
        yield partial
        for file in sorted(partial.iterdir(), key=lambda file: (file.name == last, file.name)):
            with replacing(folder / file.name) as new:
                file.replace(new)
    except OSError as error:
        _name(error, folder)
        raise
    finally:
        shutil.rmtree(partial)


def _name(error: OSError, path: Path) -> None:
    """Say where: a writer names its part, or nothing."""
    if error.errno is not None:
        error.filename = os.fspath(path)


def claim(folder: Path, record: str, what: str, *before: str) -> None:
    """Make a folder to write into, and refuse one with files of others before anything is computed for it.

    Ours is what is empty, hidden files left out, or holds a `record`; files called `before` may come before that.

    Raises
    ------
    RunError
        Where it holds other files.
    StorageError
        Where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        check_writable(folder)
    except OSError as error:
        raise StorageError(f"the folder '{folder}' cannot be written: {error.strerror or error}.") from None
    if record not in names and names - set(before):
        raise RunError(f"'{folder}' holds files, but no {what}: choose an empty folder.")


def check_writable(folder: Path) -> None:
    """Raise `OSError` where a folder takes no file; a full disk takes its name, and no byte of it."""
    partial = folder / f"{_PARTIAL}{secrets.token_hex(4)}"
    try:
        partial.write_bytes(b"0")
    finally:
        partial.unlink(missing_ok=True)


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write an ``.npz`` file as a whole."""
    import numpy as np

    content = io.BytesIO()  # where the disk refuses, a zip file half written raises anything but that
    np.savez_compressed(content, **arrays)
    write_atomic(path, content.getvalue())


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file as a whole."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def append_to(path: Path, content: bytes) -> BinaryIO:
    """A file that begins with `content`, to be appended to: a new one, whatever lay there."""
    write_atomic(path, content)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "ab")


def copy_file(source: Path, target: Path) -> None:
    """Copy a regular file, which is no link; raises `OSError` where it is one."""
    with open_regular(source, links=False) as content, replacing(target) as partial, partial.open("wb") as file:
        shutil.copyfileobj(content, file)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder, if it is there; what links in it point at stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def only_files(folder: Path) -> None:
    """Refuse a folder that holds anything but regular files and folders of them, at any depth, before it is written to.

    A link would lead what is written, copied or deleted to somewhere else. `folder` itself, which the user named, may be one.

    Raises
    ------
    RunError
        Naming the first.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in sorted([*folders, *files])):
            with suppress(FileNotFoundError):  # of a process that is just ending
                if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
                    raise RunError(f"'{visible(str(path))}' {_odd(mode)}, and genarena follows none: move it away.")


def _odd(mode: int) -> str:
    return "is a link" if stat.S_ISLNK(mode) else "is a folder" if stat.S_ISDIR(mode) else "is no regular file"


def remove_partial(folder: Path) -> None:
    """Delete what a writer that was killed left in a folder that nobody writes to now."""
    for stale in folder.glob(f"{_PARTIAL}*"):
        remove(stale)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as a whole, with a digest of what it says; NaN is refused, since no number in it may be one."""
    said = json.loads(json.dumps(record, allow_nan=False))
    write_atomic(path, (json.dumps({**said, "digest": _digest(said)}, indent=1) + "\n").encode())


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class UnfitFile(RunError, OSError):
    """A file that is not opened to be read: no regular one, or larger than what it should hold.

    To the readers of run folders it is a corrupt file, to those of data one that cannot be read.
    """


def open_regular(path: str | Path, most: int = LARGEST_FILE, *, links: bool = True) -> io.BufferedReader:
    """Open a regular file of at most `most` bytes, also through links; neither a pipe nor a device keeps anybody waiting.

    Raises
    ------
    UnfitFile
        Where it is something else, or larger.
    OSError
        Where the system refuses.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW * (not links))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnfitFile(f"'{path}' is no regular file: a folder, a pipe or a device")
        if status.st_size > most:
            raise UnfitFile(f"'{path}' is larger than {_size(most)}: not a file genarena wrote or reads")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: str | Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes; raises as `open_regular` does."""
    with open_regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it grew
        raise UnfitFile(f"'{path}' is larger than {_size(most)}")
    return content


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 2**20 else f"{count >> 10} kB"


def read_json(path: Path) -> dict[str, Any]:
    """Read a record that `write_json` wrote, of bounded size.

    Raises
    ------
    RunError
        Where it is missing, no regular file, too large, no record, or says something else than was written.
    """
    try:
        record = parse_json(read_bytes(path, LARGEST_JSON))
        digest = record.pop("digest", None) if isinstance(record, dict) else None
        if digest is None:
            raise RunError(
                f"'{path}' has no digest: an earlier genarena wrote it, or another program. Make it anew in another folder."
            )
        if digest != _digest(record):
            raise RunError(f"'{path}' is not what was written: its digest differs.")
        return record
    except FileNotFoundError:
        raise RunError(f"'{path}' does not exist.") from None
    except UnfitFile as error:
        raise RunError(f"{error}.") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"'{path}' is not readable JSON ({error}).") from None


def parse_json(text: str | bytes) -> Any:
    """Parse JSON of a bounded number of values: an empty list takes two bytes in a file and sixty in memory.

    NaN and infinity come back as None.

    Raises
    ------
    ValueError, RecursionError
        Where it holds more, or is not JSON.
    """
    text = text if isinstance(text, str) else text.decode()
    check_values(text)
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it is no text")
    return value


Text = Annotated[str, PlainValidator(_text)]  # names of files may hold bytes that are no Unicode, which `str` refuses


class Record(BaseModel):
    """The form of a JSON record: types are strict, numbers finite, and keys it does not name are left alone."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())


def read_record(path: Path, form: type[Record], newest: int | None = None) -> dict[str, Any]:
    """Read JSON of a known form; raises `RunError` as `read_json` and `as_record` do."""
    return as_record(read_json(path), form, f"'{path}'", newest)


def as_record(value: Any, form: type[Record], what: str, newest: int | None = None) -> dict[str, Any]:
    """`value` as it is, where it has the form.

    Raises
    ------
    RunError
        Calling it `what`: where its ``format`` is above the `newest` known, or something in it has another form.
    """
    written = value.get("format") if isinstance(value, dict) else None
    if newest is not None and type(written) is int and written > newest:
        raise RunError(f"{what} was written by a newer genarena: upgrade to read it (format {written}).")
    try:
        form.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f" {part}:" for part in first["loc"])
        raise RunError(f"{what} is not a record that genarena wrote:{place[:200]} {first['msg']}.") from None
    return value


def check_values(text: str) -> None:
    """Raise `ValueError` for JSON of too many values, before any is made."""
    if sum(map(text.count, ",{[")) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values")


def parse_yaml(text: str) -> Any:
    """Parse YAML without aliases, by which a few lines would stand for billions of values.

    Raises
    ------
    ValueError
        Where it has any, is too long or not YAML.
    """
    import yaml

    if len(text) > LARGEST_YAML:
        raise ValueError(f"it is longer than {_size(LARGEST_YAML)}")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has an alias (*name): write the value out")
        return yaml.safe_load(text)
    except Exception as error:  # its constructors raise nearly anything
        raise ValueError(" ".join(str(error).split())) from None


@contextmanager
def open_tensors(path: Path, most: int = LARGEST_FILE) -> Iterator[Any]:
    """A safetensors file of at most `most` bytes, as `safetensors.safe_open` gives it, its header bounded before it is read.

    Raises
    ------
    ValueError
        Where it is damaged or its header is too large.
    OSError
        As `open_regular`.
    """
    from safetensors import SafetensorError, safe_open

    with open_regular(path, most) as file:
        if int.from_bytes(file.read(8), "little") > LARGEST_HEADER:
            raise ValueError(f"its header is not one of at most {_size(LARGEST_HEADER)}")
    try:
        with safe_open(path, framework="pt") as tensors:
            yield tensors
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def sha256_of(path: Path, most: int = LARGEST_FILE) -> str:
    """Of a regular file of at most `most` bytes; raises as `open_regular` does."""
    with open_regular(path, most) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
