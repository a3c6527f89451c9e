"""One picture of any format and mode, as grey or RGB of a given size: 8-bit, or with all the bits it has."""

from __future__ import annotations

import io
import struct
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, features

from .containers import plain
from .fields import CONTAINERS
from .ranges import measure

AVIF = features.check("avif")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM", *(("AVIF",) if AVIF else ()))
SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
) | ({".avif"} if AVIF else set())
FOREIGN = {
    **dict.fromkeys((".heic", ".heif"), "HEIC"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), "a camera's raw format"),
    **dict.fromkeys((".jp2", ".j2k"), "JPEG 2000"),
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
    ".dcm": "DICOM",
    ".svg": "SVG",
    ".psd": "Photoshop's format",
    ".exr": "OpenEXR",
}
"""Suffixes of pictures that are not read."""
MAX_PIXELS = 50_000_000
"""Larger pictures are refused on their header alone, before a pixel is decoded."""

MEMORY, MAX_RATIO = 300_000_000, 200
"""A picture may take so many bytes of memory while it is decoded, or so many times those of its file where that is more."""

# In memory, with the copies that are made: measured, see benchmarks/bombs.py.
_BYTES_A_PIXEL = {"1": 3, "L": 3, "P": 9, "RGB": 12, "CMYK": 12, "YCbCr": 12}
_BYTES_A_COLOUR = 16
_BYTES_A_DEEP = 40  # of more than 8 bits
_BYTES_OF_A_FORMAT = {"WEBP": 24, "AVIF": 20}  # whose decoders keep several pictures

_GREY_MODES = ("1", "L", "LA", "La", "I")
_QUARTER_TURNS = (5, 6, 7, 8)
_FULL = 65535
_LEAST_CONTRAST = 0.04  # of what is to be seen with its background; grey levels from 0 to 1
_LOOKED_AT = 256  # pixels a side, which are enough to see that
_BAND = 256  # rows
_LEAST_KEPT, _MOST_ENLARGED = 0.5, 4
_CHANNELS, _PLANES, _FURTHER = 277, 284, 338  # TIFF: SamplesPerPixel, PlanarConfiguration, ExtraSamples
_BITS, _PHOTOMETRIC, _FORMAT, _LOWEST, _HIGHEST = 258, 262, 339, 340, 341  # TIFF; the last are sample values


@dataclass(frozen=True)
class Deep:
    """A picture with more than 8 bits a value.

    Attributes
    ----------
    values : numpy.ndarray
        The numbers of the file, float32 ``(C, H, W)`` with one channel or three.
    measures : numpy.ndarray
        One row of `ranges.MEASURES`.
    """

    values: np.ndarray
    measures: np.ndarray


def read_header(stream: BinaryIO) -> tuple[int, int, bool, bool]:
    """Return (height, width, whether it is grey, whether it is `Deep`) of a picture without decoding it.

    Raises
    ------
    ValueError
        For more than `MAX_PIXELS` pixels. Pillow raises errors of many types for broken files.
    """
    stream = plain(stream, whole=False).stream
    with Image.open(stream, formats=FORMATS) as image:
        _check_pixels(image, stream)
        width, height = image.size
        # Of a TIFF, Pillow gives the size after turning.
        if image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS:
            width, height = height, width
        grey = image.mode in (*_GREY_MODES, "F") or image.mode.startswith("I;16") or _rawmode(image) == "LA;16B"
        return height, width, grey, _container(image) != "uint8"


def decode(stream: BinaryIO, background: str = "white") -> tuple[Image.Image | Deep, list[str]]:
    """Decode a picture fully (the first frame), upright, as mode ``L`` or ``RGB``, or as `Deep`.

    Transparency is laid on the background, "white" or "black", and palettes, CMYK and 1-bit pictures are converted. Returns
    the picture and the conversions worth a note.

    Raises
    ------
    ValueError
        For too many pixels or a pixel type of unknown range. Pillow raises errors of many types for broken files.
    """
    container = plain(stream)
    stream = container.stream
    with Image.open(stream, formats=FORMATS) as image:
        _check_pixels(image, stream)
        remarks = []
        if getattr(image, "is_animated", False):  # counting the frames would walk through all of them
            remarks.append("only the first of several frames was used")
        if _is_foreign(container.profile or image.info.get("icc_profile") or b""):
            remarks.append("its colour profile, which is not sRGB, was ignored")
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            remarks.append("turned upright as EXIF says")
        further = _further_channels(image)
        if further:
            remarks.append(f"{further} more channel(s), not said to be transparency, were left out")
        if _container(image) != "uint8":
            deep, found = _decode_deep(image, stream, background, opaque=further > 0)
            return deep, remarks + found
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data and not further:
            flat, lost = _flatten(upright, background)
            return flat, [*remarks, laid_on(background), *([lost_on(background)] if lost else [])]
        if upright.mode == "CMYK":
            remarks.append("CMYK was converted to RGB")
        return upright.convert("L" if upright.mode in _GREY_MODES else "RGB"), remarks


def fit(image: Image.Image | Deep, size: tuple[int, int], channels: int) -> np.ndarray:
    """Return codes uint8 ``(C, H, W)`` of a picture at ``size`` (height, width), or numbers float32 of a `Deep` one.

    Another shape is centre-cropped to the wanted aspect ratio first, then resized with an antialiasing bicubic filter.
    """
    height, width = size
    if isinstance(image, Deep):
        bands = image.values
        if channels == 1 and len(bands) == 3:
            bands = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), bands, 1)[
                None
            ]  # as for 8 bits (ITU-R BT.601)
        if bands.shape[1:] != size:
            low, high = bands.min(), bands.max()
            fitted = [ImageOps.fit(Image.fromarray(b), (width, height), Image.Resampling.BICUBIC) for b in bands]
            bands = np.stack([np.asarray(band) for band in fitted]).clip(low, high)  # bicubic filters overshoot
        return np.broadcast_to(bands, (channels, height, width))
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    codes = np.asarray(image)
    return codes[None] if channels == 1 else codes.transpose(2, 0, 1)


def fitted_badly(image: Image.Image | Deep, size: tuple[int, int]) -> list[str]:
    """Remarks on what `fit` makes of a picture: crops, and enlargements, that leave little of it."""
    height, width = image.values.shape[1:] if isinstance(image, Deep) else image.size[::-1]
    shape = (height * size[1]) / (width * size[0])
    remarks = []
    if min(shape, 1 / shape) < _LEAST_KEPT:
        remarks.append(f"more than {1 - _LEAST_KEPT:.0%} of it was cropped away (--size)")
    if min(height / size[0], width / size[1]) < 1 / _MOST_ENLARGED:
        remarks.append(f"it was enlarged more than {_MOST_ENLARGED} times")
    return remarks


def refit(values: np.ndarray, size: tuple[int, int], channels: int) -> np.ndarray:
    """Apply `fit` to decoded images: uint8 ``(N, C, H, W)`` in full range to ``(N, channels, *size)``."""
    fitted = np.empty((len(values), channels, *size), dtype=np.uint8)
    for row, codes in zip(fitted, values, strict=True):
        pixels = codes[0] if len(codes) == 1 else codes.transpose(1, 2, 0)
        row[:] = fit(Image.fromarray(np.ascontiguousarray(pixels)), size, channels)
    return fitted


def _check_pixels(image: Image.Image, stream: BinaryIO) -> None:
    """Raise `ValueError` for a picture that would take too much memory, by its header and the size of its file."""
    pixels, stored = image.width * image.height, stream.seek(0, io.SEEK_END)
    if pixels > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")
    usual = _BYTES_A_PIXEL.get(image.mode, _BYTES_A_COLOUR) if _container(image) == "uint8" else _BYTES_A_DEEP
    needed = pixels * _BYTES_OF_A_FORMAT.get(image.format or "", usual)
    if needed > max(MEMORY, MAX_RATIO * stored):
        raise ValueError(
            f"{image.width} x {image.height} pixels in only {stored:,} bytes, as in decompression bombs: save a smaller one"
        )


def _is_foreign(profile: bytes) -> bool:
    """Whether a colour profile is of another space than sRGB, by its description (as ASCII, or as UTF-16 in version 4)."""
    return bool(profile) and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile


def _rawmode(image: Image.Image) -> str:
    """How the pixels lie in the file, as Pillow names it."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _container(image: Image.Image) -> str:
    """What the numbers of an opened picture come in, one of `CONTAINERS`; `ValueError` where not all their bits are read."""
    tags = getattr(image, "tag_v2", {})
    several = len(image.getbands()) > 1 and tags and max(tags.get(_BITS, (8,))) > 8
    if several and (tags.get(_PLANES) == 2 or not _wide(_rawmode(image))):
        raise ValueError(
            f"its {image.mode} channels of more than 8 bits lie in a way that is not read: save it as plain RGB"
        )
    if image.mode == "F":
        return "float"
    if tags and 2 in tuple(tags.get(_FORMAT, ())):
        return "int"  # signed, of 8, 16 or 32 bits
    if image.mode == "I":
        return "uint16" if max(tags.get(_BITS, (16,))) <= 16 else "int"
    return "uint16" if image.mode.startswith("I;16") or _wide(_rawmode(image)) else "uint8"


def _wide(rawmode: str) -> bool:
    return rawmode == "LA;16B" or rawmode.startswith(("RGB;16", "RGBA;16", "RGBX;16"))


def laid_on(background: str) -> str:
    """The remark that there was transparency."""
    return f"transparency was laid on {background}"


def lost_on(background: str) -> str:
    """The remark that a background hides all that there was."""
    return f"nothing of it shows on {background}"


def vanishes(colour: np.ndarray, alpha: np.ndarray, background: float) -> bool:
    """Whether what is to be seen of a picture ``(C, H, W)``, by its opacity ``(H, W)``, is all but the background.

    All of them lie between 0 and 1.
    """
    visible = float(alpha.sum())
    return visible > 0 and float((alpha * np.abs(colour - background).mean(0)).sum()) < _LEAST_CONTRAST * visible


def _further_channels(image: Image.Image) -> int:
    """Channels of a TIFF that are neither colour nor said to be opacity."""
    tags: Any = getattr(image, "tag_v2", {})
    colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(tags.get(_PHOTOMETRIC), 1)
    further = tags.get(_CHANNELS, 1) - colours
    return max(0, further - any(kind in (1, 2) for kind in tags.get(_FURTHER, ()))) if tags else 0


def _decode_deep(image: Image.Image, stream: BinaryIO, background: str, opaque: bool) -> tuple[Deep, list[str]]:
    """All the bits of a picture, upright, with transparency laid on a background unless all of it is opaque."""
    remarks: list[str] = []
    rawmode, container, form = _rawmode(image), _container(image), image.format
    tags, transparent = getattr(image, "tag_v2", {}), image.info.get("transparency")
    declared = _declared(tags) or ((0, _FULL) if form == "PPM" and container == "uint16" else None)  # Pillow scales it
    if rawmode == "LA;16B":
        halves = _load(stream, "RGBA")  # which Pillow has no mode for: four bytes a pixel, as they lie in the file
        bands = (halves[:, :, (0, 2)].astype(np.uint16) << 8) + halves[:, :, (1, 3)]
    elif _wide(rawmode):
        # Pillow keeps one byte of two: the file is read once for the upper and once for the lower.
        mode, order = rawmode.split(";16")
        upper = order if order in "LB" else {"little": "L", "big": "B"}[sys.byteorder]
        lower = {"L": "B", "B": "L"}[upper]
        bands = (_load(stream, f"{mode};16{upper}").astype(np.uint16) << 8) + _load(stream, f"{mode};16{lower}")
    else:
        bands = np.asarray(ImageOps.exif_transpose(image))
        if container == "int" and image.mode == "L":
            bands = bands.view(np.int8)
        elif image.mode == "I" and tags and 1 in tuple(tags.get(_FORMAT, (1,))):
            bands = bands.view(np.uint32)
    bands = bands.transpose(2, 0, 1) if bands.ndim == 3 else bands[None]
    if container == "uint16" and tags and tags.get(_PHOTOMETRIC) == 0:  # white is zero
        top = 2 ** max(tags[_BITS]) - 1
        bands, declared = top - bands, (0, top)
    if not np.isfinite(bands).all():
        raise ValueError("some pixels are no finite numbers")
    if transparent is not None and not isinstance(transparent, bytes):
        clear = (bands == np.reshape(transparent, (-1, 1, 1))).all(0)
        bands = np.concatenate([bands, np.where(clear, 0, _FULL).astype(bands.dtype)[None]])
    if len(bands) in (2, 4) and not opaque:
        bands, remarks = _flatten_deep(bands, background)
        declared = (0, _FULL) if remarks else declared
    bands = bands[:3]
    measures = measure(bands[None])
    measures["container"] = CONTAINERS.index(container)
    measures["bits"] = _significant_bits(stream) if form == "PNG" else 0
    if declared:
        measures["first"], measures["last"] = declared
    return Deep(bands.astype(np.float32), measures), remarks


def _load(stream: BinaryIO, rawmode: str) -> np.ndarray:
    """The bytes of a picture, upright, read as if they lay in the file as ``rawmode`` says."""
    stream.seek(0)
    with Image.open(stream, formats=FORMATS) as image:
        assert isinstance(image, ImageFile.ImageFile)
        tiles = []
        for tile in image.tile:
            args = (rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode
            tiles.append(tile._replace(args=args))
        image.tile = tiles
        image.load()
        return np.asarray(ImageOps.exif_transpose(image))


def _flatten_deep(bands: np.ndarray, background: str) -> tuple[np.ndarray, list[str]]:
    """Bands ``(2 or 4, H, W)`` of 16 bits without their last, which is opacity, and remarks where that was used."""
    colour, alpha = bands[:-1], bands[-1]
    opaque = int(alpha.max())
    if (
        alpha.min() == opaque and opaque >= 255 and opaque & (opaque + 1) == 0
    ):  # all bits set, of however many there are
        return colour, []
    base, step = _FULL * (background == "white"), max(1, max(alpha.shape) // _LOOKED_AT)
    lost = vanishes(colour[:, ::step, ::step] / _FULL, alpha[::step, ::step] / _FULL, base / _FULL)
    flat = np.rint(colour * (alpha / _FULL) + base * (1 - alpha / _FULL))
    return flat, [laid_on(background), *([lost_on(background)] if lost else [])]


def _declared(tags: object) -> tuple[float, float] | None:
    """Black and white as the tags of a TIFF say."""
    if not tags:
        return None
    found = tags.get(_LOWEST), tags.get(_HIGHEST)  # type: ignore[attr-defined]
    lows, highs = (set(np.ravel(value).tolist()) if value is not None else set() for value in found)
    if len(highs) == 1 and len(lows) <= 1:
        return float(min(lows, default=0)), float(min(highs))
    bits = max(tags.get(_BITS, (16,)))  # type: ignore[attr-defined]
    return (0, 2**bits - 1) if 8 < bits < 16 else None


def _significant_bits(stream: BinaryIO) -> int:
    """The most significant bits of a channel that a PNG declares (its sBIT chunk), 0 where it does not."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"sBIT":
            return max(stream.read(min(length, 4)), default=0)
        if name in (b"IDAT", b"PLTE"):
            break
        stream.seek(length + 4, 1)
    return 0


def _flatten(image: Image.Image, background: str) -> tuple[Image.Image, bool]:
    """A transparent picture on a background, and whether nothing of it shows there."""
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    flat = Image.new("L" if image.mode in _GREY_MODES else "RGB", rgba.size)
    for top in range(0, rgba.height, _BAND):  # a few copies of a part, and not of the whole
        band = rgba.crop((0, top, rgba.width, min(rgba.height, top + _BAND)))
        flat.paste(Image.alpha_composite(Image.new("RGBA", band.size, background), band).convert(flat.mode), (0, top))
    small = np.asarray(rgba.reduce(max(1, max(rgba.size) // _LOOKED_AT)), np.float32).transpose(2, 0, 1) / 255
    return flat, vanishes(small[:3], small[3], float(background == "white"))
