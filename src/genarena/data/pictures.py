"""One picture of any format and mode, as 8-bit grey or RGB of a given size."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
MAX_PIXELS = 50_000_000
"""Larger pictures are refused on their header alone, before a pixel is decoded."""

_GREY_MODES = ("1", "L", "LA", "La", "I")
_QUARTER_TURNS = (5, 6, 7, 8)


def read_header(stream: BinaryIO) -> tuple[int, int, bool]:
    """Return (height, width, whether it is grey) of a picture without decoding it.

    Raises
    ------
    ValueError
        For more than `MAX_PIXELS` pixels. Pillow raises errors of many types for broken files.
    """
    with Image.open(stream, formats=FORMATS) as image:
        _check_pixels(image)
        width, height = image.size
        # PNG may keep EXIF behind its pixels; looking there would decode the whole picture.
        if image.format != "PNG" and image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS:
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
    with Image.open(stream, formats=FORMATS) as image:
        _check_pixels(image)
        remarks = []
        if getattr(image, "is_animated", False):  # counting the frames would walk through all of them
            remarks.append("only the first of several frames was used")
        image.load()
        upright = ImageOps.exif_transpose(image)
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            remarks.append("turned upright as EXIF says")
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


def _check_pixels(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit integer pixels have no known range; save as 8- or 16-bit")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return flat.convert("L" if image.mode in _GREY_MODES else "RGB")
