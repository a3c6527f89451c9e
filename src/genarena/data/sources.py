"""`open_dataset`: any source as a `Dataset` with specs, labels and fixed splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from ..errors import DataError, UsageError, did_you_mean
from .arrays import from_arrays, read_npy, read_npz
from .builtin import BUILTIN
from .decoding import PictureOptions
from .fields import CONTAINERS, Dataset, Field, ImageSpec, LabelSpec, Spec, VectorSpec
from .folder import read_folder, read_picture, read_zip
from .idx import find_idx, read_idx
from .label_table import SUFFIXES as TABLES
from .labels import encode_labels
from .pictures import SUFFIXES, refit, vanishes
from .public import PUBLIC, read_public
from .ranges import CODES, Reading, decide, decide_like, filled, measure, to_codes, whole_steps
from .raw import Progress, Raw
from .splits import FEWEST, make_splits
from .table import read_table

SMALLEST_SIDE = 8
"""Pixels; smaller images are refused, since no convolutional network here fits them."""
_FEW = 10  # examples that may each be a class of their own
_AVERAGED = 10_000  # images whose grey values are averaged, for a scale


def open_dataset(
    source: Any,
    *,
    size: tuple[int, int] | int | None = None,
    channels: int | None = None,
    data_dir: str | Path | None = None,
    max_bad: float = 0.2,
    images_key: str | None = None,
    labels_key: str | None = None,
    value_range: tuple[float, float] | None = None,
    labels: bool = True,
    follow_links: bool = False,
    splits: bool | None = True,
    progress: Progress | None = None,
    like: Spec | None = None,
    fit: bool = False,
) -> Dataset:
    """Open data of any supported kind.

    Parameters
    ----------
    source : str, Path, numpy.ndarray, (numpy.ndarray, labels) or Dataset
        A built-in or public name; a folder of images or idx files; a ``.zip``, ``.npz``, ``.npy`` or ``.csv`` file, an image;
        an array of images or of rows, with labels or without; or a data set, which is returned as it is. A name goes before
        a path of the same name, and a note says so: write ``./name``, or give a Path, for the path.
    size : (int, int) or int, optional
        (height, width) in pixels, or both in one, to which images are cropped and resized.
    channels : int, optional
        1 (grey) or 3 (RGB); by default as the images are.
    data_dir : str or Path, optional
        Where to look for public sets first, before ``$GENARENA_DATA``.
    max_bad : float
        The share of image files, 0 to 1, that may be unusable; they are left out and listed.
    images_key, labels_key : str, optional
        The names of the arrays in an ``.npz`` file.
    value_range : (float, float), optional
        The pixel values that are black and white; by default one range for all splits is decided from evidence, see
        `data.ranges`, and the notes say which.
    labels : bool
        Whether to look for labels. Where the data have some, examples without one belong to no split.
    follow_links : bool
        Whether to follow links out of a folder of images, and links to folders in it.
    splits : bool, optional
        Whether to make splits, which needs three examples at least; None makes them where there are so many. Without, all are
        in ``train``: to look at, not to train on.
    progress : callable, optional
        Called as ``progress(stage, done, total)`` while files are decoded.
    like : ImageSpec or VectorSpec, optional
        The spec of a model's data: pixel values are read as they were. Images of another shape are refused, unless that
        model's own were resized too.
    fit : bool
        Images of another shape than those `like` says are cropped, resized and converted.

    Returns
    -------
    Dataset
        Its target is called ``image`` or ``vector``, its label ``label``. Image codes use the true number of grey
        levels (see `infer_levels`), and a ``VectorSpec`` has the mean and scale of the train split.

    Raises
    ------
    UsageError
        For an option that is wrong or does not apply.
    DataError
        For data that cannot be used.
    StorageError
        If the cache for large image sets cannot be written.
    """
    if isinstance(source, Dataset):
        return source
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is {channels}: give 1 (grey) or 3 (RGB).")
    if not 0 <= max_bad <= 1:
        raise UsageError(f"max-bad is {max_bad}: give a share from 0 to 1.")
    if (images_key or labels_key) and not str(source).lower().endswith(".npz"):
        raise UsageError("images_key and labels_key name arrays of an .npz file, which the data are not.")
    size = _check_size(size)
    background = ""
    if isinstance(like, ImageSpec):
        size, background = (like.height, like.width), like.background
    options = PictureOptions(size, channels, max_bad, progress, labels, follow_links, background)
    raw = _read(source, options, data_dir, images_key, labels_key, like)
    return _assemble(raw, options, _check_range(value_range), splits, like, fit)


def infer_levels(values: np.ndarray, top: int = 255) -> tuple[int, int]:
    """Return (levels, step): how many grey levels codes from 0 to ``top`` truly have, and the step between them.

    If all codes are multiples of a step that divides the top, there are ``top / step + 1`` levels (2 for black and white,
    16 for four bits), and codes are to be divided by the step. Everything else has ``top + 1``. Likelihoods in bits per
    dimension are only right for the true number.
    """
    step = 0
    for start in range(0, len(values), 256):
        step = int(np.gcd.reduce(np.unique(values[start : start + 256]), initial=step))
        if step == 1:
            break
    return (top // step + 1, step) if step and top % step == 0 else (top + 1, 1)


def _check_size(size: tuple[int, int] | int | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < SMALLEST_SIDE or max(height, width) > 4096:
        raise UsageError(f"size {height} x {width} is out of range: give {SMALLEST_SIDE} to 4096 pixels a side.")
    return height, width


def _check_range(value_range: tuple[float, float] | None) -> Reading | None:
    if value_range is None:
        return None
    low, high = (float(end) for end in value_range)
    if not -1e300 < low < high < 1e300:
        raise UsageError(
            f"range {low:g} {high:g}: give the pixel value that is black, then a larger one that is white."
        )
    return Reading(low, high, "as you say")


def _read(
    source: Any,
    options: PictureOptions,
    data_dir: str | Path | None,
    images_key: str | None,
    labels_key: str | None,
    like: Spec | None,
) -> Raw:
    if isinstance(source, np.ndarray):
        return from_arrays({"": source}, {}, "array")
    if isinstance(source, tuple) and len(source) == 2:
        return from_arrays({"": source[0]}, {"": source[1]}, "array")
    if not isinstance(source, str | Path):
        raise UsageError(f"data of type {type(source).__name__} are not known: give a name, a path or a NumPy array.")
    if isinstance(source, str) and source in BUILTIN:
        return _named(source, BUILTIN[source]())
    if isinstance(source, str) and source in PUBLIC:
        return _named(source, read_public(source, Path(data_dir) if data_dir else None))
    return _read_path(Path(source).expanduser(), options, images_key, labels_key, like)


def _named(name: str, raw: Raw) -> Raw:
    """Say so where there is a path of the same name."""
    if Path(name).exists():
        raw.notes.append(f"'{name}' is the set of that name, and not the path './{name}', which is there too")
    return raw


def _read_path(
    path: Path, options: PictureOptions, images_key: str | None, labels_key: str | None, like: Spec | None
) -> Raw:
    try:
        if path.is_dir():
            return read_idx(path) if find_idx(path) else read_folder(path, options)
        if not path.exists():
            known = [*BUILTIN, *PUBLIC]
            raise DataError(f"'{path}' does not exist, as a path or as a name.{did_you_mean(str(path), known)}")
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error}.") from error
    kind = path.suffix.lower()
    if kind == ".npz":
        return read_npz(path, images_key, labels_key)
    if kind == ".npy":
        return read_npy(path)
    if kind == ".zip":
        return read_zip(path, options)
    if kind in SUFFIXES:
        return read_picture(path, options)
    if kind in TABLES:
        return read_table(path, like.names if isinstance(like, VectorSpec) else ())
    raise DataError(
        f"'{path}' is a file of no known kind: give a folder, or a .zip, .npz, .npy or .csv file, or an image."
    )


def _assemble(
    raw: Raw, options: PictureOptions, value_range: Reading | None, split: bool | None, like: Spec | None, fit: bool
) -> Dataset:
    name = "image" if raw.values.ndim == 4 else "vector"
    if name == "vector" and isinstance(like, ImageSpec):
        raise UsageError(f"'{raw.name}' holds rows of numbers, and the model takes images.")
    if name == "vector" and (options.channels or value_range or options.size):
        raise UsageError(f"'{raw.name}' holds rows of numbers, not images: size, channels and range do not apply.")
    notes: list[str] = []
    if isinstance(like, VectorSpec) and like.names and raw.columns:
        notes += _in_order(raw, like.names)
    values, spec = raw.values, None
    if name == "image":
        values, spec, notes = _images(raw, options, value_range, like if isinstance(like, ImageSpec) else None, fit)
    labels, classes, found = _labels(raw) if options.labels and raw.labels is not None else (None, (), [])
    notes += found
    if split or (split is None and len(values) >= FEWEST):
        splits, made = _splits(values, raw.splits, labels)
    else:
        splits, made = {"train": np.arange(len(values)), **dict.fromkeys(("val", "test"), np.arange(0))}, []
        if split is None:
            made = [f"{len(values)} example(s): too few for splits, and to train on"]
    if isinstance(spec, ImageSpec) and like is not None:
        target: Spec = spec
    elif isinstance(spec, ImageSpec):
        some = splits["train"][:: max(1, len(splits["train"]) // _AVERAGED)]
        mean = values[some].mean((0, 2, 3)) / (spec.levels - 1)
        target = replace(spec, mean=tuple(mean.tolist()))
    else:
        target = replace(vector_spec(values[splits["train"]]), names=raw.columns)
    fields = {name: Field(target, "target", values), **raw.conditions}
    if labels is not None:
        seen = labels[splits["train"]]
        fields["label"] = Field(LabelSpec.of(classes, seen[seen >= 0]), "label", labels)
    notes = [*raw.notes, *notes, *made]
    return Dataset(raw.name, fields, splits, tuple(notes), tuple(raw.quarantined), tuple(raw.files))


def _in_order(raw: Raw, names: tuple[str, ...]) -> list[str]:
    """Bring the columns of a table into a model's order; returns a note where more was to be done."""
    missing = [name for name in names if name not in raw.columns]
    if missing:
        raise DataError(f"'{raw.name}' lacks the column '{missing[0]}', which the model was trained with.")
    left = [name for name in raw.columns if name not in names]
    raw.values = raw.values[:, [raw.columns.index(name) for name in names]]
    raw.columns = names
    return [f"columns that the model does not know are left out: {', '.join(left[:10])}"] if left else []


def _splits(
    values: np.ndarray, given: Mapping[str, np.ndarray], labels: np.ndarray | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Splits of the examples that have a label; a test split of classes that train has none of gets some of train's."""
    if labels is None:
        return make_splits(values, given)
    learned, asked = (labels[given.get(split, np.arange(0))] for split in ("train", "test"))
    strange = given["test"][asked >= 0] if (asked >= 0).any() and (learned >= 0).any() else np.arange(0)
    if not len(strange) or np.isin(labels[strange], learned).any():
        return make_splits(values, given, labels >= 0)
    splits, notes = make_splits(values, {**given, "test": strange[:0]}, labels >= 0)
    notes.append(f"{len(strange)} given test examples are of classes that train has none of: they were added to these")
    return {**splits, "test": np.sort(np.concatenate([splits["test"], strange]))}, notes


def _labels(raw: Raw) -> tuple[np.ndarray | None, tuple[str, ...], list[str]]:
    """Class indices, -1 for examples without a label; None where labels tell nothing, or most of what is learned has none."""
    count = len(raw.values)
    labelled = np.ones(count, bool) if raw.labelled is None else raw.labelled
    found, classes, notes = encode_labels(np.asarray(raw.labels), int(labelled.sum()), raw.classes)
    if len(classes) < 2:
        alone = [f"all examples have the one label '{classes[0]}': treated as unlabelled"] if classes else []
        return None, (), notes + alone
    if len(classes) == len(found) > _FEW:
        return (
            None,
            (),
            [*notes, f"{len(found)} examples have {len(classes)} labels: no classes, treated as unlabelled"],
        )
    labels = np.full(count, -1, np.int64)
    labels[labelled] = found
    known = {split: labels[rows] >= 0 for split, rows in raw.splits.items() if len(rows)} or {"": labelled}
    learned = known.get("train", labelled)
    if 2 * learned.sum() < len(learned):
        few = f"only {learned.sum()} of {len(learned)} examples to learn from have a label: treated as unlabelled"
        return None, (), [*notes, few]
    for split, has in known.items():
        if not has.all():
            missing = f"{(~has).sum()} of {len(has)} {split} examples".replace("  ", " ")
            notes.append(f"{missing} have no label and were left out (--no-labels takes all, and no labels)")
    return labels, classes, notes


def _images(
    raw: Raw, options: PictureOptions, value_range: Reading | None, like: ImageSpec | None, fit: bool
) -> tuple[np.ndarray, ImageSpec, list[str]]:
    """The images as codes of the wanted shape and levels, their spec, and notes."""
    codes, container, reading, notes = _codes(raw, value_range, like)
    background = raw.background
    if codes.shape[1] == 4:
        codes, background = _without_transparency(codes, options.background)
        notes.append(f"RGBA images were laid on {background}")
    own = codes.shape[1:]
    shape = (options.channels or own[0], *(options.size or own[1:]))
    if like is not None:
        shape = like.shape
        odd = max(raw.resized, len(codes) * (own[1:] != shape[1:]))
        if not fit and odd and not like.resized:
            raise DataError(
                f"{odd} of {len(codes)} images of '{raw.name}' are not of the model's {shape[1]} x {shape[2]} pixels, and "
                "its own data were not resized: --fit (fit=True) crops and resizes them all the same."
            )
        if not fit and own[0] > shape[0]:
            raise DataError(f"'{raw.name}' has colour images, the model's are grey: --fit (fit=True) makes them grey.")
    if shape != own:
        codes = refit(codes, shape[1:], shape[0])
        notes.append(f"images of shape {own} were converted to {shape}")
    if min(shape[1:]) < SMALLEST_SIDE:
        raise DataError(
            f"images of {shape[1]} x {shape[2]} pixels are too small: at least {SMALLEST_SIDE} a side, see --size."
        )
    levels = like.levels if like else raw.levels if shape == own else None
    if levels is None:
        top = whole_steps(codes, reading)
        if top < CODES - 1:
            codes = np.rint(codes * (top / (CODES - 1))).astype(np.uint8)
        levels, step = infer_levels(codes, top)
        if step > 1:
            codes = codes // np.uint8(step)
        if levels < CODES:
            notes.append(f"pixels take {levels} levels: stored as codes 0 .. {levels - 1}")
    elif levels < CODES:
        codes = np.rint(codes * ((levels - 1) / (CODES - 1))).astype(np.uint8)
    resized = raw.resized > 0 or own[1:] != shape[1:]
    spec = like or ImageSpec(
        shape[0],
        shape[1],
        shape[2],
        levels,
        value_range=(reading.low, reading.high),
        container=container,
        resized=resized,
        background=background,
    )
    # A cached array stays on disk even where it is a view of one channel.
    return codes if isinstance(codes, np.memmap) else np.ascontiguousarray(codes), spec, notes


def _codes(raw: Raw, value_range: Reading | None, like: ImageSpec | None) -> tuple[np.ndarray, str, Reading, list[str]]:
    """The images as codes from 0 to 255, the container their range is of, that range, and notes."""
    if raw.levels:
        known = Reading(0, raw.levels - 1, f"{raw.levels} levels")
        return to_codes(raw.values, known, raw.name)[0], "uint8", known, []
    measures = measure(raw.values) if raw.measures is None else raw.measures
    bytes_ = measures["container"] == CONTAINERS.index("uint8")
    if bytes_.all() or not bytes_.any():
        values = raw.values.astype(np.uint8, copy=False) if bytes_.all() else raw.values
        return _read_values(values, measures, raw.splits, raw.name, value_range, like)
    # Pictures of 8 bits among others are 0 to 255, whatever range the others have.
    others = np.flatnonzero(~bytes_)
    splits = {split: np.flatnonzero(np.isin(others, rows)) for split, rows in raw.splits.items()}
    read, container, reading, notes = _read_values(
        raw.values[others], measures[others], splits, raw.name, value_range, like
    )
    codes = np.where(bytes_[:, None, None, None], raw.values, 0).astype(np.uint8)
    codes[others] = read
    return codes, container, reading, [*notes, f"{bytes_.sum()} image(s) among them have 8 bits: read as 0 to 255"]


def _read_values(
    values: np.ndarray,
    measures: np.ndarray,
    splits: Mapping[str, np.ndarray],
    name: str,
    value_range: Reading | None,
    like: ImageSpec | None,
) -> tuple[np.ndarray, str, Reading, list[str]]:
    """As `_codes`, of images that come in one container."""
    kinds = sorted({CONTAINERS[kind] for kind in np.unique(measures["container"])})
    if len(kinds) > 1:
        raise DataError(f"'{name}' has pixels of different types ({', '.join(kinds)}): convert them to one.")
    reading = value_range or (
        decide_like(values, measures, like, name) if like else decide(values, measures, splits, name)
    )
    codes, notes = to_codes(values, reading, name, clip=value_range is not None)
    return codes, kinds[0], reading, [filled(values, measures, reading), *notes]


def _without_transparency(codes: np.ndarray, background: str) -> tuple[np.ndarray, str]:
    """RGBA codes ``(N, 4, H, W)`` as RGB, on a background; by default white, or black where most show nothing on white."""
    if not background:
        clear = [row for row in codes if (row[3] < 255).any()]
        lost = sum(vanishes(row[:3] / 255, row[3] / 255, 1.0) for row in clear)
        background = "black" if 2 * lost > len(clear) else "white"
    alpha = codes[:, 3:].astype(np.uint16)
    flat = codes[:, :3] * alpha + 255 * (background == "white") * (255 - alpha)
    return ((flat + 127) // 255).astype(np.uint8), background


def vector_spec(train: np.ndarray) -> VectorSpec:
    """Mean and scale of the columns of rows ``(N, D)``; the scale of constant ones is 1."""
    start = train[0].astype(np.float64)  # far from 0 a column's own digits would be lost in its mean
    scaler = StandardScaler().fit(train - start)
    return VectorSpec(train.shape[1], tuple((start + scaler.mean_).tolist()), tuple(scaler.scale_.tolist()))
