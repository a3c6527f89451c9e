"""Many picture files, decoded once into one array, in memory or memory-mapped in a cache.

The cache lies in ``$GENARENA_CACHE`` or the platform's cache folder. Its key is a hash of the source, of its files' paths,
sizes and stamps and of the options, and what is found is believed where the files' content and its own are those that were
written: changed files are decoded anew. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pooch
from PIL import UnidentifiedImageError

from ..errors import DataError, GenarenaError, StorageError
from ..files import read_json, remove, replacing, sha256_of, write_json
from . import pictures
from .arrays import open_array
from .containers import named
from .fields import Quarantined
from .ranges import MEASURES, measure
from .raw import MAX_BYTES, Progress

MEMORY_LIMIT = 256 * 1024**2
"""Decoded sets of more bytes than this are kept memory-mapped on disk."""

LARGEST_SIDE = 256
"""Without a size given, pictures are reduced to this longer side: enough to start with, and quick."""

_LAYOUT = 3  # part of the cache key: raise it when what is stored, or how pictures are converted, changes


@dataclass(frozen=True)
class Member:
    """A picture file: its path inside the source, what tells that it changed, and how to open it."""

    path: str
    stamp: str
    open: Callable[[], BinaryIO]

    @property
    def sort_key(self) -> bytes:
        return path_bytes(self.path)


@dataclass(frozen=True)
class PictureOptions:
    """How pictures are read: (height, width) or None, 1 or 3 channels or None, and the share that may be bad.

    And whether labels are looked for, links followed, and what transparency is laid on, which the pictures decide by default.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    max_bad: float = 0.2
    progress: Progress | None = None
    labels: bool = True
    follow_links: bool = False
    background: str = ""


@dataclass
class Decoded:
    """The usable files, in order; the others; and what was converted.

    ``values`` are codes uint8 ``(N, C, H, W)``, or float32 numbers as they are in the files where some have more than 8
    bits; then ``measures`` holds a row of `ranges.MEASURES` for each. ``resized`` counts those of another size, and
    ``background`` is what transparency was laid on ("white" or "black"), or empty where there was none.
    """

    values: np.ndarray
    measures: np.ndarray | None = None
    resized: int = 0
    background: str = ""
    quarantined: list[Quarantined] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def path_bytes(path: str) -> bytes:
    """A relative path as bytes, whatever the locale and even where it is not valid Unicode."""
    return path.encode("utf-8", "surrogateescape")


def cache_folder() -> Path:
    """Where decoded and downloaded data are kept: ``$GENARENA_CACHE``, else the platform's cache folder."""
    return Path(os.environ.get("GENARENA_CACHE") or pooch.os_cache("genarena"))


def decode_all(members: Sequence[Member], options: PictureOptions, source: str = "") -> Decoded:
    """Decode picture files into one array; ``source`` is where they lie, for the cache.

    Without a size the most common one is used where at least half of the files have it, and otherwise a square of
    the median shorter side; neither is larger than `LARGEST_SIDE`. Without channels the result is grey if every
    picture is, judged by its pixels.

    Raises
    ------
    DataError
        If the share of unusable files exceeds ``max_bad``, or the array would exceed the cap.
    StorageError
        If the cache cannot be written.
    """
    key = _cache_key(source, members, options)
    decoded = _load(key, members)
    if decoded is None:
        with warnings.catch_warnings():
            # Pillow warns of large or slightly broken pictures; our own cap and a full decode decide instead.
            warnings.simplefilter("ignore")
            decoded = _decode(members, key, options)
    _check_bad(decoded.quarantined, len(members), options.max_bad)
    return decoded


def _decode(members: Sequence[Member], key: str, options: PictureOptions) -> Decoded:
    headers, bad = _each(members, pictures.read_header, "headers", options.progress)
    _check_bad(bad, len(members), options.max_bad)
    sizes = [header[:2] for header in headers]
    size = options.size or _default_size(sizes)
    resized = sum(other != size for other in sizes)
    notes = [f"{resized} image(s) of other sizes were centre-cropped and resized to {size[0]} x {size[1]}"] * (
        resized > 0
    )
    channels = options.channels or (1 if all(header[2] for header in headers) else 3)
    deep = any(header[3] for header in headers)
    failed = {entry.path for entry in bad}
    readable = [member for member in members if member.path not in failed]
    target, part = _allocate((len(readable), channels, *size), np.dtype(np.float32 if deep else np.uint8))
    measures = np.zeros(len(readable), MEASURES) if deep else None
    try:
        background = options.background or "white"
        good, colour, late, remarks = _fill(target, measures, readable, options.progress, background)
        if not options.background and 2 * remarks[pictures.lost_on("white")] > remarks[pictures.laid_on("white")]:
            background = "black"  # for light drawings
            good, colour, late, remarks = _fill(target, measures, readable, options.progress, background)
        background = background if remarks[pictures.laid_on(background)] else ""
        converted = [f"{count} image(s): {remark}" for remark, count in sorted(remarks.items())]
        grey = channels == 3 and options.channels is None and not colour
        notes = notes + converted + (["every RGB image is grey: kept as one channel"] if grey else [])
        measures = None if measures is None else measures[:good]
        decoded = Decoded(target, measures, resized, background, bad + late, notes)
        if part is None:
            return replace(decoded, values=np.ascontiguousarray(_view(target, good, grey)))
        return _save(key, part, decoded, good, grey, _content(members))
    except BaseException:  # Ctrl-C included: a part-filled file of gigabytes must not stay behind
        if part is not None:
            remove(part)
        raise


def _fill(
    target: np.ndarray,
    measures: np.ndarray | None,
    members: Sequence[Member],
    progress: Progress | None,
    background: str,
) -> tuple[int, bool, list[Quarantined], Counter[str]]:
    """Decode into the first rows of ``target``; return their number, whether any has colour, failures and counted remarks."""
    _, channels, height, width = target.shape
    remarks: Counter[str] = Counter()
    good, colour = 0, False

    def store(stream: BinaryIO) -> None:
        nonlocal good, colour
        image, found = pictures.decode(stream, background)
        codes = pictures.fit(image, (height, width), channels)
        if (codes == codes[:, :1, :1]).all():
            found = [*found, "it has one colour throughout"]
        found = [*found, *pictures.fitted_badly(image, (height, width))]
        target[good] = codes
        if measures is not None:
            measures[good] = image.measures[0] if isinstance(image, pictures.Deep) else measure(codes[None])[0]
        good += 1
        remarks.update(found)
        colour = colour or bool((codes != codes[:1]).any())

    _, bad = _each(members, store, "images", progress)
    return good, colour, bad, remarks


def _each(
    members: Sequence[Member], use: Callable[[BinaryIO], Any], stage: str, progress: Progress | None
) -> tuple[list[Any], list[Quarantined]]:
    """Apply ``use`` to every opened file; return the results and the files that failed."""
    results, bad = [], []
    for done, member in enumerate(members, start=1):
        try:
            with member.open() as stream:
                try:
                    results.append(use(stream))
                except UnidentifiedImageError as error:
                    raise ValueError(named(stream) or "cannot identify image file") from error
        except Exception as error:  # on hostile bytes Pillow's and zipfile's decoders raise nearly anything
            reason = str(error).strip() or type(error).__name__
            bad.append(Quarantined(member.path, reason))
        if progress:
            progress(stage, done, len(members))
    return results, bad


def _check_bad(bad: Sequence[Quarantined], total: int, max_bad: float) -> None:
    if bad and (len(bad) == total or len(bad) > max_bad * total):
        raise DataError(
            f"{len(bad)} of {total} images cannot be used, first '{bad[0].path}': {bad[0].reason}. "
            f"Repair or remove them, or allow a larger share with --max-bad (now {max_bad:g})."
        )


def _default_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    counts = Counter(sizes)
    (height, width), most = min(counts.items(), key=lambda item: (-item[1], item[0]))
    if 2 * most < len(sizes):
        height = width = int(np.median([min(size) for size in sizes]))
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _allocate(shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, Path | None]:
    """An array for the images: in memory, or as a new file in the cache where it is large."""
    needed = math.prod(shape) * dtype.itemsize
    if needed > MAX_BYTES:
        raise DataError(f"{shape[0]} images would take {needed / 1e9:.0f} GB once decoded: give a smaller --size.")
    if needed <= MEMORY_LIMIT:
        return np.empty(shape, dtype), None
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A memory-mapped file on a full disk ends the process, so the room is checked first.
        if shutil.disk_usage(folder).free < needed + MEMORY_LIMIT:
            raise OSError("no room left")
        handle, name = tempfile.mkstemp(suffix=".part", dir=folder)
        os.close(handle)
        return np.lib.format.open_memmap(name, mode="w+", dtype=dtype, shape=shape), Path(name)
    except OSError as error:
        raise StorageError(
            f"the cache '{folder}' cannot hold {needed / 1e9:.1f} GB ({error}): point GENARENA_CACHE elsewhere."
        ) from error


def _view(values: np.ndarray, good: int, grey: bool) -> np.ndarray:
    return values[:good, :1] if grey else values[:good]


def _cache_key(source: str, members: Sequence[Member], options: PictureOptions) -> str:
    digest = hashlib.sha256(f"{_LAYOUT} {options.size} {options.channels} {options.background} {LARGEST_SIDE}".encode())
    digest.update(b"\0" + path_bytes(source))
    for member in members:
        digest.update(b"\0" + path_bytes(member.path) + b"\0" + member.stamp.encode())
    return digest.hexdigest()


def _content(members: Sequence[Member]) -> str:
    """A hash of every file's bytes: sizes and times of other files may be the same."""
    digest = hashlib.sha256()
    for member in members:
        try:
            with member.open() as stream:
                own = hashlib.sha256()
                while part := stream.read(1 << 20):
                    own.update(part)
            digest.update(own.digest())
        except Exception as error:  # such files are quarantined, whatever is wrong with them
            digest.update(type(error).__name__.encode())
    return digest.hexdigest()


def _save(key: str, part: Path, decoded: Decoded, good: int, grey: bool, content: str) -> Decoded:
    """Put a filled array into the cache, and return it as a later run will read it."""
    decoded.values.flush()  # type: ignore[attr-defined]
    record = {
        "shape": decoded.values.shape,
        "good": good,
        "grey": grey,
        "deep": decoded.measures is not None,
        "resized": decoded.resized,
        "background": decoded.background,
        "quarantined": [asdict(entry) for entry in decoded.quarantined],
        "notes": decoded.notes,
        "content": content,
        "sha256": sha256_of(part),
    }
    target = cache_folder() / f"{key}.npy"
    if decoded.measures is not None:
        with replacing(_measures_path(target)) as side:
            np.save(side, decoded.measures, allow_pickle=False)
        record["measures"] = sha256_of(_measures_path(target))
    part.replace(target)
    write_json(target.with_suffix(".json"), record)  # last: readers believe what has a record
    return replace(decoded, values=_view(open_array(target), good, grey))


def _measures_path(target: Path) -> Path:
    return target.with_suffix(".measures.npy")


def _load(key: str, members: Sequence[Member]) -> Decoded | None:
    """What the cache holds for this key, or None where that is nothing usable."""
    path = cache_folder() / f"{key}.npy"
    try:
        record = read_json(path.with_suffix(".json"))
        values = open_array(path)
        if values.shape != tuple(record["shape"]) or values.dtype != (np.float32 if record["deep"] else np.uint8):
            return None
        measures = open_array(_measures_path(path)) if record["deep"] else None
        if measures is not None and record["measures"] != sha256_of(_measures_path(path)):
            return None
        if measures is not None and (measures.dtype != MEASURES or len(measures) != record["good"]):
            return None
        if record["sha256"] != sha256_of(path) or record["content"] != _content(members):
            return None
        quarantined = [Quarantined(**entry) for entry in record["quarantined"]]
        shown = _view(values, record["good"], record["grey"])
        return Decoded(shown, measures, int(record["resized"]), str(record["background"]), quarantined, record["notes"])
    except (GenarenaError, OSError, ValueError, KeyError, TypeError):
        return None
