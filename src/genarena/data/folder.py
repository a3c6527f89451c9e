"""A folder of pictures, or a zip of one, which is read in place and never extracted.

`layout` tells splits and classes from the paths, `label_table` classes from tables beside the pictures. Files are taken in the
order of their relative paths' bytes, whatever order the disk lists them in.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from ..errors import DataError
from ..files import open_regular
from . import label_table
from .archives import open_member, open_zip
from .decoding import Member, PictureOptions, decode_all
from .label_table import Listed
from .layout import Layout, read_layout
from .pictures import FOREIGN, SUFFIXES
from .raw import Raw
from .walk import is_hidden, is_ours, walk

MAX_FILE_BYTES = 500_000_000


def read_folder(root: Path, options: PictureOptions) -> Raw:
    """Read the pictures below a folder.

    Folders that genarena wrote are left out. Links out of the folder, and links to folders, are followed only where `options`
    say so.

    Raises
    ------
    DataError
        If there are no pictures, the folder is one that genarena wrote, or too many pictures are unusable.
    OSError
        If a folder cannot be listed.
    """
    files, notes = walk(root, options.follow_links)
    members = {relative: _member(relative, path) for relative, path in files if _is_used(relative) and path.is_file()}
    others = [relative for relative, _ in files if relative not in members]
    notes += _foreign(others)
    if not any(map(_is_picture, members)) and is_ours(root):
        raise DataError(f"'{root}' was written by genarena, and is no data: name the folder of the images themselves.")
    if not any(map(_is_picture, members)):
        usable = sorted(name for name in others if name.endswith((".npz", ".npy", ".zip")))
        hint = f" It holds '{usable[0]}': give the path of that file." if usable else ""
        raise DataError(_no_images(f"in folder '{root}'") + hint + "".join(f" {note}." for note in notes))
    ignored = sum(PurePosixPath(name).suffix.lower() not in FOREIGN for name in others)
    if ignored:
        notes.append(f"{ignored} file(s) that are no images were ignored")
    return _read(root.resolve().name, str(root.resolve()), members, notes, options)


def read_zip(path: Path, options: PictureOptions) -> Raw:
    """Read the pictures in a zip file.

    Raises
    ------
    DataError
        If the file is broken, encrypted, too large, without pictures, or too many of them are unusable.
    """
    with open_zip(path) as archive:
        members, notes = _list_zip(archive, path)
        notes += _foreign([info.filename for info in archive.infolist()])
        if not any(map(_is_picture, members)):
            raise DataError(_no_images(f"in '{path}'") + "".join(f" {note}." for note in notes))
        return _read(path.stem, str(path.resolve()), members, notes, options)


def read_picture(path: Path, options: PictureOptions) -> Raw:
    """Read one picture file; raises `DataError` where it is broken."""
    return _read(path.stem, str(path.resolve().parent), {path.name: _member(path.name, path)}, [], options)


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _is_used(name: str) -> bool:
    return _is_picture(name) or PurePosixPath(name).suffix.lower() in label_table.SUFFIXES


def _foreign(names: Sequence[str]) -> list[str]:
    """Notes on pictures in formats that are not read."""
    suffixes = (PurePosixPath(name).suffix.lower() for name in names if not is_hidden(PurePosixPath(name).name))
    kinds = Counter(FOREIGN[suffix] for suffix in suffixes if suffix in FOREIGN and suffix not in SUFFIXES)
    return [
        f"{count} file(s) in {kind}, which is not read: convert them to PNG or JPEG" for kind, count in kinds.items()
    ]


def _no_images(where: str) -> str:
    return f"no images ({', '.join(sorted(SUFFIXES))}) {where}."


def _member(relative: str, path: Path) -> Member:
    status = path.stat()
    return Member(relative, f"{status.st_size} {status.st_mtime_ns}", partial(_open_file, path))


def _open_file(path: Path) -> BinaryIO:
    return open_regular(path, MAX_FILE_BYTES)


def _list_zip(archive: zipfile.ZipFile, path: Path) -> tuple[dict[str, Member], list[str]]:
    members: dict[str, Member] = {}
    unsafe = 0
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # as some programs of Windows write
        if _is_unsafe(info):
            unsafe += 1
        elif info.is_dir() or not _is_used(name) or any(map(is_hidden, name.split("/"))):
            continue
        elif info.flag_bits & 1:
            raise DataError(f"'{path}' is encrypted: unpack it and give the folder.")
        else:
            members[name] = Member(name, f"{info.file_size} {info.CRC}", partial(_open_member, archive, info))
    notes = [f"{unsafe} member(s) with unsafe names or links were skipped"] if unsafe else []
    return members, notes


def _is_unsafe(info: zipfile.ZipInfo) -> bool:
    name = info.orig_filename
    escapes = name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name)
    return bool(escapes) or "\0" in name or stat.S_ISLNK(info.external_attr >> 16)


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    if info.file_size > MAX_FILE_BYTES:
        raise ValueError(f"the file is larger than {MAX_FILE_BYTES // 10**6} MB")
    with open_member(archive, info) as stream:
        return io.BytesIO(stream.read(info.file_size))  # and no more, whatever is packed in it


def _read(name: str, source: str, members: Mapping[str, Member], notes: list[str], options: PictureOptions) -> Raw:
    ordered = sorted(members.values(), key=lambda member: member.sort_key)
    pictures = [member for member in ordered if _is_picture(member.path)]
    layout = read_layout([member.path for member in pictures])
    pictures = [pictures[row] for row in layout.rows]
    tables = [member for member in ordered if not _is_picture(member.path)] if options.labels else []
    listed = label_table.read_tables(tables, [member.path for member in pictures], layout.splits)
    decoded = decode_all(pictures, options, source)
    failed = {entry.path for entry in decoded.quarantined}
    kept = [i for i, member in enumerate(pictures) if member.path not in failed]
    words, found = _words(layout, listed) if options.labels else ([""] * len(pictures), [])
    labels = np.array([words[i] for i in kept])
    splits = np.array([layout.splits[i] or listed.splits.get(i, "") for i in kept])
    return Raw(
        name=name,
        values=decoded.values,
        measures=decoded.measures,
        resized=decoded.resized,
        background=decoded.background,
        labels=_numbers(labels[labels != ""]) if any(words) else None,
        labelled=labels != "",
        splits={split: np.flatnonzero(splits == split) for split in ("train", "val", "test")},
        files=[pictures[i].path for i in kept],
        notes=notes + layout.notes + listed.notes + found + decoded.notes,
        quarantined=decoded.quarantined,
    )


def _words(layout: Layout, listed: Listed) -> tuple[list[str], list[str]]:
    """The class of each picture, by its folders or by tables, and notes."""
    count, by_folder = len(layout.rows), sum(map(bool, layout.classes))
    if not listed.labels or (by_folder and not (listed.certain and 2 * len(listed.labels) >= count)):
        notes = [f"labels are the folders': tables name only {len(listed.labels)} images"] if listed.labels else []
        return layout.classes, notes
    notes = ["labels are those of tables, and not the folders'"] if by_folder else []
    if len(listed.labels) < count:
        notes.append(f"{count - len(listed.labels)} image(s) have no row with a label")
    return [listed.labels.get(i, "") for i in range(count)], notes


def _numbers(labels: np.ndarray) -> np.ndarray:
    """Labels as integers where all are written as such."""
    plain = all(re.fullmatch(r"-?(?:0|[1-9]\d{0,17})", word) for word in labels.tolist())
    return labels.astype(np.int64) if plain else labels
