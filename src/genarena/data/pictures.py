"""One picture of any format and mode, as 8-bit grey or RGB of a given size."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, features

from .containers import plain

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

MEMORY, MAX_RATIO = 256 * 2**20, 100
"""A picture may take so many bytes of memory while it is decoded, or so many times those of its file where that is more."""

_BYTES_A_PIXEL = {"1": 3, "L": 3, "P": 9}  # in memory, with the copies that are made
_BYTES_A_COLOUR = 9
_BYTES_A_SCAN = 6  # coefficients, which a progressive JPEG keeps until its last scan

_GREY_MODES = ("1", "L", "LA", "La", "I")
_QUARTER_TURNS = (5, 6, 7, 8)


def read_header(stream: BinaryIO) -> tuple[int, int, bool]:
    """Return (height, width, whether it is grey) of a picture without decoding it.

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
        return height, width, image.mode in _GREY_MODES or image.mode.startswith("I;16")


def decode(stream: BinaryIO) -> tuple[Image.Image, list[str]]:
    """Decode a picture fully (the first frame), upright, as mode ``L`` or ``RGB``.

    16-bit greys are reduced to 8 bits, transparency is laid on white, and palettes, CMYK and 1-bit pictures are
    converted. Returns the picture and the conversions worth a note.

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
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "I" or upright.mode.startswith("I;16"):
            remarks.append("16-bit grey was reduced to 8 bits")
            return _from_16_bits(upright), remarks
        if upright.mode == "F":
            raise ValueError("floating-point pixels have no known range; save as 8- or 16-bit")
        if upright.has_transparency_data:
            remarks.append("transparency was laid on white")
            return _on_white(upright), remarks
        if upright.mode == "CMYK":
            remarks.append("CMYK was converted to RGB")
        return upright.convert("L" if upright.mode in _GREY_MODES else "RGB"), remarks


def fit(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """Return codes uint8 ``(C, H, W)`` of a picture at ``size`` (height, width).

    Another shape is centre-cropped to the wanted aspect ratio first, then resized with an antialiasing bicubic filter.
    """
    height, width = size
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    codes = np.asarray(image)
    return codes[None] if channels == 1 else codes.transpose(2, 0, 1)


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
    needed = pixels * (_BYTES_A_PIXEL.get(image.mode, _BYTES_A_COLOUR) + _BYTES_A_SCAN * ("progressive" in image.info))
    if needed > max(MEMORY, MAX_RATIO * stored):
        raise ValueError(
            f"{image.width} x {image.height} pixels in only {stored:,} bytes, as in decompression bombs: save a smaller one"
        )


def _is_foreign(profile: bytes) -> bool:
    """Whether a colour profile is of another space than sRGB, by its description (as ASCII, or as UTF-16 in version 4)."""
    return bool(profile) and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit integer pixels have no known range; save as 8- or 16-bit")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return flat.convert("L" if image.mode in _GREY_MODES else "RGB")
