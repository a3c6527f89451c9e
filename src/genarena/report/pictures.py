"""Pictures of a comparison's folder as data URIs: checked before they are decoded, and encoded anew."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from genarena.files import open_regular

MAX_BYTES = 16 * 2**20
MAX_PIXELS = 16_000_000
MOST_EMBEDDED = 200_000_000  # characters of all pictures of a page together
# Grids of photographs compress badly as PNG; above this many bytes near-lossless WebP keeps the page light.
LOSSLESS_BYTES = 160_000
LARGEST_WEBP = 16_383  # pixels a side, by its format
# Below this width a picture is shown enlarged, so its pixels stay sharp; above, it is shrunk and has to be smoothed.
PIXEL_ART_WIDTH = 420


@dataclass(frozen=True)
class Picture:
    """An embedded picture, or the reason why there is none.

    Parameters
    ----------
    uri
        `data:` URI; empty where `problem` is set.
    width, height
        Size in pixels.
    problem
        Why it cannot be shown.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    problem: str | None = None

    @property
    def pixelated(self) -> bool:
        return self.width <= PIXEL_ART_WIDTH


def embed_picture(folder: Path, name: str) -> Picture:
    """Return the PNG at `folder / name` as a data URI.

    A report outlives a lost or damaged picture, so nothing is raised: the reason stands in the picture's place.
    Only regular files inside `folder` are opened, and only as PNG.
    """
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return Picture(problem=f"refused: {name} lies outside of the comparison's folder")
        if not path.is_file():
            return Picture(problem=f"missing: {name}")
        if path.stat().st_size > MAX_BYTES:
            return Picture(problem=f"refused: {name} is larger than {MAX_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            # Pillow warns at its own, higher pixel limit; ours is checked below, before any pixel is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with open_regular(path, MAX_BYTES) as file, Image.open(file, formats=["PNG"]) as image:
                if image.width * image.height > MAX_PIXELS:
                    return Picture(problem=f"refused: {name} has {image.width} x {image.height} pixels")
                plain = image.convert(_plain_mode(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Picture(problem=f"cannot be read as PNG: {name}")
    return Picture(_data_uri(plain), plain.width, plain.height)


def _plain_mode(image: Image.Image) -> str:
    if image.mode in {"1", "L", "I", "I;16", "F"}:
        return "L"
    return "RGBA" if image.has_transparency_data else "RGB"


def _data_uri(image: Image.Image) -> str:
    kind, buffer = "png", io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    if buffer.tell() > LOSSLESS_BYTES and max(image.size) <= LARGEST_WEBP:
        kind, buffer = "webp", io.BytesIO()
        image.save(buffer, "WEBP", quality=92)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
