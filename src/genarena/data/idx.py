"""A folder of idx files, plain or gzipped, in the layout of MNIST: ``train-images-idx3-ubyte.gz`` and so on."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from ..errors import DataError
from ..files import open_regular
from .raw import MAX_BYTES, SPLIT_NAMES, Raw, consecutive, fill

MAX_RATIO, RATIO_FROM_BYTES = 100, 100_000_000

_NAME = re.compile(
    rf"(?:.*[-_.])?({'|'.join(SPLIT_NAMES)})[-_.](images|labels)[-_.]idx[13]-ubyte(?:\.gz)?", re.IGNORECASE
)


def find_idx(root: Path) -> dict[str, dict[str, Path]]:
    """Return the idx files directly in a folder as ``{split: {"images" or "labels": path}}``, empty if none.

    Raises
    ------
    DataError
        If two files claim the same place; a plain file goes before its gzipped twin.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.iterdir(), key=lambda path: path.name):
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        parts = found.setdefault(SPLIT_NAMES[match[1].lower()], {})
        earlier = parts.setdefault(match[2].lower(), path)
        if earlier.name.removesuffix(".gz") != path.name.removesuffix(".gz"):
            raise DataError(f"'{root}' has both '{earlier.name}' and '{path.name}': keep one set a folder.")
    return found


def read_idx(root: Path) -> Raw:
    """Read every pair of images and labels in a folder.

    A lone train or test (``t10k``) pair is split by content afterwards. Labels may be absent, of some splits or of all.

    Raises
    ------
    DataError
        If a file is broken, is larger than its header or the cap allows, or its parts do not match.
    """
    files = find_idx(root)
    for split, parts in files.items():
        if "images" not in parts:
            raise DataError(f"'{parts['labels'].name}' in '{root}' has no {split} images beside it.")
    labelled = [split for split, parts in files.items() if "labels" in parts]
    images = {split: read_idx_file(parts["images"], 3) for split, parts in files.items()}
    sizes = {array.shape[1:] for array in images.values()}
    if len(sizes) > 1:
        raise DataError(f"the idx files in '{root}' hold images of different sizes: {sorted(sizes)}.")
    labels = {split: read_idx_file(files[split]["labels"], 1) for split in labelled}
    for split, array in labels.items():
        if len(array) != len(images[split]):
            raise DataError(f"'{root}' has {len(array)} {split} labels for {len(images[split])} {split} images.")
    return Raw(
        name=root.resolve().name,
        values=np.concatenate(list(images.values()))[:, None],
        labels=np.concatenate(list(labels.values())) if labels else None,
        labelled=np.concatenate([np.full(len(array), split in labels) for split, array in images.items()]),
        splits=consecutive({split: len(array) for split, array in images.items()}),
    )


def read_idx_file(path: Path, dimensions: int) -> np.ndarray:
    """Read one idx file of unsigned bytes; the header is checked against the cap before anything is allocated."""
    try:
        with open_regular(path) as file:
            stream = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            return _parse(cast(IO[bytes], stream), path, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read: {error}. Download or copy it again.") from error


def _parse(stream: IO[bytes], path: Path, dimensions: int) -> np.ndarray:
    header = stream.read(4 + 4 * dimensions)
    # Two zero bytes, 8 for unsigned bytes, the number of dimensions, then each length as a big-endian integer.
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(f"'{path}' is not an idx file of unsigned bytes in {dimensions} dimension(s).")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    expected = math.prod(shape)
    stored = path.stat().st_size
    if expected > MAX_BYTES or (expected > RATIO_FROM_BYTES and expected > MAX_RATIO * stored):
        raise DataError(f"the header of '{path}' promises {expected:,} bytes, too many for a file of {stored:,}.")
    if path.suffix != ".gz" and stored != len(header) + expected:
        raise DataError(f"'{path}' has {stored:,} bytes, but its header {shape} promises {len(header) + expected:,}.")
    content = np.empty(expected, np.uint8)
    there = fill(content, stream)
    if there != expected:
        more = "more" if there > expected else f"only {there:,}"
        raise DataError(f"the header of '{path}' promises {expected:,} bytes after it, but there are {more}.")
    return content.reshape(shape)
