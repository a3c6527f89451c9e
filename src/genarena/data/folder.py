"""A folder of pictures, or a zip of one, which is read in place and never extracted.

Sub-folders ``train``, ``val`` (``valid``, ``validation``) and ``test`` are the splits, and the sub-folders below them
the classes. Files are taken in the order of their relative paths' bytes, whatever order the disk lists them in.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from ..errors import DataError
from ..files import open_regular
from .archives import open_member, open_zip
from .decoding import Member, PictureOptions, decode_all
from .pictures import SUFFIXES
from .raw import SPLIT_NAMES, Raw

MAX_FILE_BYTES = 500_000_000


def read_folder(root: Path, options: PictureOptions) -> Raw:
    """Read the pictures below a folder; links out of it are not followed.

    Raises
    ------
    DataError
        If there are no pictures, or too many of them are unusable.
    OSError
        If a folder cannot be listed.
    """
    members, others, notes = [], [], []
    for relative, path in _walk(root):
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            notes.append(f"link '{relative}' points outside the folder and was skipped")
        elif path.is_dir():
            notes.append(f"link '{relative}' to a folder was skipped")
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            status = path.stat()
            members.append(Member(relative, f"{status.st_size} {status.st_mtime_ns}", partial(_open_file, path)))
        else:
            others.append(relative)
    if not members:
        usable = sorted(name for name in others if name.endswith((".npz", ".npy", ".zip")))
        hint = f" It holds '{usable[0]}': give the path of that file." if usable else ""
        raise DataError(f"no images ({', '.join(sorted(SUFFIXES))}) in folder '{root}'.{hint}")
    if others:
        notes.append(f"{len(others)} file(s) that are no images were ignored")
    return _read(root.resolve().name, members, notes, options)


def read_zip(path: Path, options: PictureOptions) -> Raw:
    """Read the pictures in a zip file.

    Raises
    ------
    DataError
        If the file is broken, encrypted, too large, without pictures, or too many of them are unusable.
    """
    with open_zip(path) as archive:
        members, notes = _list_zip(archive, path)
        if not members:
            raise DataError(f"no images ({', '.join(sorted(SUFFIXES))}) in '{path}'.")
        return _read(path.stem, members, notes, options)


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Every visible file and every link below ``root``, with its relative path."""
    for folder, directories, files in os.walk(root, onerror=_raise):
        directories[:] = [name for name in directories if not name.startswith(".")]
        links = [name for name in directories if os.path.islink(os.path.join(folder, name))]
        for name in files + links:
            if not name.startswith("."):
                path = Path(folder, name)
                yield path.relative_to(root).as_posix(), path


def _raise(error: OSError) -> None:
    raise error


def _open_file(path: Path) -> BinaryIO:
    return open_regular(path, MAX_FILE_BYTES)


def _list_zip(archive: zipfile.ZipFile, path: Path) -> tuple[list[Member], list[str]]:
    members: dict[str, Member] = {}
    unsafe = 0
    for info in archive.infolist():
        name = info.filename
        if _is_unsafe(info):
            unsafe += 1
        elif info.is_dir() or PurePosixPath(name).suffix.lower() not in SUFFIXES or _is_hidden(name):
            continue
        elif info.flag_bits & 1:
            raise DataError(f"'{path}' is encrypted: unpack it and give the folder.")
        else:
            members[name] = Member(name, f"{info.file_size} {info.CRC}", partial(_open_member, archive, info))
    notes = [f"{unsafe} member(s) with unsafe names or links were skipped"] if unsafe else []
    return list(members.values()), notes


def _is_unsafe(info: zipfile.ZipInfo) -> bool:
    name = info.orig_filename
    escapes = name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name)
    return bool(escapes) or "\0" in name or stat.S_ISLNK(info.external_attr >> 16)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    if info.file_size > MAX_FILE_BYTES:
        raise ValueError(f"the file is larger than {MAX_FILE_BYTES // 10**6} MB")
    with open_member(archive, info) as stream:
        return io.BytesIO(stream.read(info.file_size))  # and no more, whatever is packed in it


def _read(name: str, members: list[Member], notes: list[str], options: PictureOptions) -> Raw:
    members = sorted(members, key=lambda member: member.sort_key)
    members, parts, note = _honour_splits(members)
    decoded = decode_all(members, options)
    failed = {entry.path for entry in decoded.quarantined}
    kept = [i for i, member in enumerate(members) if member.path not in failed]
    splits = np.array([parts[i][0] for i in kept])
    labels, label_note = _labels([parts[i][1] for i in kept])
    return Raw(
        name=name,
        values=decoded.values,
        labels=labels,
        splits={split: np.flatnonzero(splits == split) for split in ("train", "val", "test")},
        files=[members[i].path for i in kept],
        notes=notes + note + decoded.notes + label_note,
        quarantined=decoded.quarantined,
    )


def _honour_splits(members: list[Member]) -> tuple[list[Member], list[tuple[str, tuple[str, ...]]], list[str]]:
    """Return the members, the (split or "", folders below it) of each, and notes.

    A folder called "test" is a split only beside a "train", or where every folder is a split: it may be a class.
    """
    folders = [PurePosixPath(member.path).parts[:-1] for member in members]
    while all(folders) and len({folder[0] for folder in folders}) == 1:  # as the one folder that most zips start with
        folders = [folder[1:] for folder in folders]
    tops = [SPLIT_NAMES.get(folder[0].lower(), "") if folder else "" for folder in folders]
    if "train" not in tops and not all(tops):
        return members, [("", folder) for folder in folders], []
    inside = [i for i, top in enumerate(tops) if top]
    notes = []
    if len(inside) < len(members):
        notes.append(f"{len(members) - len(inside)} image(s) outside the train, val and test folders were not used")
    return [members[i] for i in inside], [(tops[i], folders[i][1:]) for i in inside], notes


def _labels(folders: list[tuple[str, ...]]) -> tuple[np.ndarray | None, list[str]]:
    """The class names, which are the first folder of each picture, if every picture lies in one."""
    if all(folders):
        return np.array([folder[0] for folder in folders]), []
    if any(folders):
        return None, ["some images lie in class folders and some beside them: no labels were made"]
    return None, []
