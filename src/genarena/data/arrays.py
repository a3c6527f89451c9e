"""Arrays: in memory, ``.npy`` or ``.npz``; images in any common layout, or rows of numbers.

Headers are read and checked before an array is allocated, and nothing is ever unpickled.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from ..errors import DataError, UsageError
from ..files import open_regular
from .archives import open_member, open_zip
from .raw import MAX_BYTES, SPLIT_NAMES, Raw, consecutive, fill

IMAGES_KEYS = ("images", "image", "x", "data")
LARGEST = 1e150
"""In rows of numbers; the square of a larger one is none any more."""
LABELS_KEYS = ("labels", "label", "y", "targets", "target")

_SPLIT = "|".join(SPLIT_NAMES)
_KEY = re.compile(rf"(?:({_SPLIT})_)?(.+?)(?:_({_SPLIT}))?", re.IGNORECASE)
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal["C", "F"]


def read_npy(path: Path) -> Raw:
    """Read one array without labels; raises `DataError` for files that are broken or hold objects."""
    try:
        values = open_array(path)
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' is not a usable .npy file: {error}.") from error
    return from_arrays({"": values}, {}, path.stem)


def open_array(path: Path) -> np.ndarray:
    """A ``.npy`` file, memory-mapped: copied where it is written to, since torch wants that and the file must not change.

    Raises
    ------
    DataError
        Where its header is damaged, describes Python objects or other bytes than there are.
    OSError, ValueError
        Where it cannot be opened or mapped.
    """
    with open_regular(path) as stream:
        header = _check_header(stream, os.fstat(stream.fileno()).st_size, path.name)
        if not math.prod(header.shape):
            return np.empty(header.shape, header.dtype)
        return np.memmap(stream, header.dtype, "c", stream.tell(), header.shape, header.order)


def read_npz(path: Path, images_key: str | None, labels_key: str | None) -> Raw:
    """Read images or rows, and labels where there are any, from the arrays of an ``.npz`` file.

    The keys are found by name (`IMAGES_KEYS`, `LABELS_KEYS`, any case), with ``train_``, ``val_``, ``test_`` before or
    after where the file is split, or are given: in full, or without the split.

    Raises
    ------
    DataError
        If the file is broken, an array holds objects or does not fit its header, or the keys cannot be told.
    UsageError
        If a given key is not in the file.
    """
    try:
        with open_zip(path) as archive:
            return _from_npz(archive, path, images_key, labels_key)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise DataError(f"'{path}' is not a usable .npz file: {error}.") from error


def _from_npz(archive: zipfile.ZipFile, path: Path, images_key: str | None, labels_key: str | None) -> Raw:
    members = _members(archive, path)
    headers = {key: _header_of(archive, info, key) for key, info in members.items()}
    images = _find(headers, images_key, IMAGES_KEYS, "images_key") or _only_array(headers, path)
    labels = _find(headers, labels_key, LABELS_KEYS, "labels_key")
    raw = from_arrays(
        {split: _read_member(archive, members[key], key) for split, key in images.items()},
        {split: _read_member(archive, members[key], key) for split, key in labels.items()},
        path.stem,
    )
    names = headers.get("classes")
    if names and names.dtype.kind == "U" and len(names.shape) == 1 and _is_whole(raw.labels):
        raw.classes = tuple(str(name) for name in _read_member(archive, members["classes"], "classes"))
    idle = sorted(set(headers) - {*images.values(), *labels.values(), "classes"})
    if idle:
        raw.notes.append(
            f"arrays not used: {', '.join(idle)} (classes are read from one called labels, or labels_key in Python)"
        )
    return raw


def from_arrays(values: dict[str, Any], labels: dict[str, Any], name: str) -> Raw:
    """Make raw data of arrays by split; the only key ``""`` means that there are no splits.

    Raises
    ------
    DataError
        For shapes, types or values that cannot be used; the message says where.
    """
    try:
        arrays = {split: _check_array(np.asarray(array), name) for split, array in values.items()}
    except ValueError as error:
        raise DataError(f"'{name}' is no regular array: {error}") from error
    labels = {split: _label_array(array) for split, array in labels.items()}
    if not set(labels) <= set(arrays):
        raise DataError(f"'{name}' has labels for {sorted(labels)} but examples for {sorted(arrays)}: give both alike.")
    for split, array in arrays.items():
        if split in labels and (labels[split].ndim == 0 or len(labels[split]) != len(array)):
            examples = f"{split} examples".strip()
            raise DataError(
                f"'{name}' has labels of shape {labels[split].shape} for {len(array)} {examples}: give each one."
            )
    shapes = {array.shape[1:] for array in arrays.values()}
    if len(shapes) > 1:
        raise DataError(f"the splits of '{name}' hold examples of different shapes: {sorted(shapes)}.")
    joined = next(iter(arrays.values())) if len(arrays) == 1 else np.concatenate(list(arrays.values()))
    target, notes = _rows(joined) if joined.ndim == 2 else (_channels_first(joined), [])
    return Raw(
        name=name,
        values=target,
        notes=notes,
        labels=np.concatenate([labels[split] for split in arrays if split in labels]) if labels else None,
        labelled=np.concatenate([np.full(len(array), split in labels) for split, array in arrays.items()]),
        splits={} if "" in arrays else consecutive({split: len(array) for split, array in arrays.items()}),
    )


def _label_array(labels: Any) -> np.ndarray:
    """Labels as an array; where examples have several or none, of objects."""
    try:
        return np.asarray(labels)
    except ValueError:
        several = np.empty(len(labels), object)
        several[:] = labels
        return several


def _check_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise DataError(f"'{name}' has elements of type {array.dtype}: arrays of numbers are needed.")
    if array.size == 0:
        raise DataError(f"'{name}' is empty: its shape is {array.shape}.")
    if array.ndim not in (2, 3, 4):
        raise DataError(
            f"'{name}' has shape {array.shape}: give N x H x W, N x H x W x C or N x C x H x W for images, or N x D."
        )
    if array.dtype.kind == "f":
        _check_finite(array)
    return array


def _check_finite(array: np.ndarray) -> None:
    for start in range(0, len(array), 1024):  # in parts: a mask of everything may be too large
        bad = np.argwhere(~np.isfinite(array[start : start + 1024]))
        if len(bad):
            row, *place = (int(i) for i in bad[0])
            where = f"column {place[0]}" if len(place) == 1 else f"pixel {tuple(place)}"
            value = array[(start + row, *place)]
            raise DataError(f"row {start + row}, {where} is {value}: remove or fill such values first.")


def _rows(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    with np.errstate(over="ignore"):
        rows = array.astype(np.float64)
    largest = np.abs(rows).max()
    if largest > LARGEST:
        raise DataError(f"values reach {largest:g}, more than {LARGEST:g}: rescale them.")
    if array.dtype.kind in "iu" and largest > 2**53:
        return rows, [f"warning: whole numbers up to {largest:.17g} are rounded to 16 digits: subtract what they share"]
    return rows, []


def _channels_first(array: np.ndarray) -> np.ndarray:
    """A view as ``(N, C, H, W)``, told by which axis has 1, 3 or 4 entries."""
    if array.ndim == 3:
        return array[:, None]
    first, last = array.shape[1] in (1, 3, 4), array.shape[3] in (1, 3, 4)
    if first and last:
        raise DataError(
            f"shape {array.shape} may be channels first or last: transpose it to N x C x H x W with H, W > 4."
        )
    if not first and not last:
        raise DataError(
            f"images of shape {array.shape[1:]} have neither 1 (grey), 3 (RGB) nor 4 (RGBA) channels, first or last."
        )
    return array if first else array.transpose(0, 3, 1, 2)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            key = info.filename.removesuffix(".npy")
            if key in members:
                raise DataError(f"'{path}' holds two arrays '{key}': save it again with one of each name.")
            members[key] = info
    if not members:
        raise DataError(f"'{path}' holds no arrays.")
    return members


def _header_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str) -> _Header:
    with open_member(archive, info) as stream:
        return _check_header(stream, info.file_size, key)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str) -> np.ndarray:
    with open_member(archive, info) as stream:
        header = _check_header(stream, info.file_size, key)
        content = np.empty(info.file_size - stream.tell(), np.uint8)
        if fill(content, stream) != len(content):
            raise DataError(f"array '{key}' does not have the {len(content):,} bytes that its file promises.")
    return content.view(header.dtype).reshape(header.shape, order=header.order)


def _check_header(stream: IO[bytes], stored: int, key: str) -> _Header:
    """Read an array's header and check it against the bytes that are there, before anything is allocated."""
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = _READ_HEADER[version](stream)
    except Exception as error:  # a hostile header makes its parser raise nearly anything
        raise DataError(f"array '{key}' has no readable header: {error}. Save it again as plain numbers.") from error
    if dtype.hasobject:
        raise DataError(f"array '{key}' holds Python objects, which are never loaded: save it as plain numbers.")
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_BYTES or size != stored - stream.tell():
        raise DataError(
            f"the header of array '{key}' promises {size:,} bytes, but {stored - stream.tell():,} are stored "
            f"(at most {MAX_BYTES:,} are read)."
        )
    return _Header(shape, dtype, "F" if fortran else "C")


def _find(headers: dict[str, _Header], given: str | None, known: tuple[str, ...], option: str) -> dict[str, str]:
    """Return the keys by split ("" where there is none) of the given key, or of the first known one."""
    if given in headers:
        return {"": given}
    for wanted in (given,) if given else known:
        found: dict[str, str] = {}
        for key in headers:
            match = _KEY.fullmatch(key)
            if match is None or wanted != (match[2] if given else match[2].lower()):
                continue
            split = SPLIT_NAMES.get((match[1] or match[3] or "").lower(), "")
            if split in found or ("" in found) or (found and not split):
                raise DataError(f"keys '{key}' and '{found.popitem()[1]}' both fit: name one with {option} in Python.")
            found[split] = key
        if found:
            return found
    if given:
        raise UsageError(f"no array is called '{given}'; there are {', '.join(headers)} ({option}).")
    return {}


def _only_array(headers: dict[str, _Header], path: Path) -> dict[str, str]:
    usable = [key for key, header in headers.items() if len(header.shape) >= 2]
    if len(usable) == 1:
        return {"": usable[0]}
    there = ", ".join(f"{key} {header.shape}" for key, header in headers.items())
    raise DataError(
        f"cannot tell which array of '{path}' to use, of {there}: call it images, or name it with images_key in Python."
    )


def _is_whole(labels: np.ndarray | None) -> bool:
    return labels is not None and labels.dtype.kind in "iu"
