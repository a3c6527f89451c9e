"""What is made of pictures: how they stand, their transparency, channels and profiles, and what is said of it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from genarena.data import ImageSpec, Schema, containers, open_dataset, pictures
from genarena.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENARENA_CACHE", str(tmp_path_factory.mktemp("cache")))


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _noise(seed: int = 0, size: tuple[int, int] = (16, 12), channels: int = 1) -> Image.Image:
    shape = (*size, channels) if channels > 1 else size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def _png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    content = _saved(_noise(), "PNG")
    added = b"".join(
        struct.pack(">I4s", len(data), name) + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return content[:33] + added + content[33:]


# ---- what a picture says beside its pixels


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_pictures_stand_upright_and_have_the_size_after_turning(form: str, turn: int) -> None:
    if form not in pictures.FORMATS:
        pytest.skip(f"this Pillow does not read {form}")
    exif = Image.Exif()
    exif[0x0112] = turn
    content = _saved(_noise(size=(20, 40), channels=3), form, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    height, width, *_ = pictures.read_header(io.BytesIO(content))
    image, remarks = pictures.decode(io.BytesIO(content))
    assert (width, height) == expected.size == ((20, 40) if turn > 4 else (40, 20))
    assert (np.asarray(image) == np.asarray(expected.convert("RGB"))).all()
    assert remarks == (["turned upright as EXIF says"] if turn > 1 else [])


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    content = _saved(_noise(size=(20, 40)), "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I4s", len(data), b"eXIf") + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    late = content[:-12] + chunk + content[-12:]
    assert pictures.read_header(io.BytesIO(late))[:2] == pictures.decode(io.BytesIO(late))[0].size[::-1] == (40, 20)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_xmp_turns_a_picture_where_exif_says_nothing(form: str) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    if form == "PNG":
        content = _png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    else:
        content = _saved(_noise(), form, xmp=xmp)
    assert pictures.decode(io.BytesIO(content))[0].size == (16, 12)


LONG = bytes(range(256)) * 20_000


@pytest.mark.parametrize(
    "content",
    [
        _png_with((b"zTXt", b"a\0\0" + zlib.compress(LONG))),
        _png_with((b"tEXt", b"a\0" + LONG)),
        _png_with((b"iTXt", b"a\0\1\0\0\0" + zlib.compress(LONG))),
        _png_with((b"iCCP", b"sRGB\0\0" + zlib.compress(b"sRGB" + LONG))),
        _png_with((b"eXIf", LONG)),
        _png_with(*[(b"tEXt", b"a\0b")] * 200),
        _saved(_noise(), "PNG")[:-12] + _png_with((b"tEXt", b"a\0" + LONG))[33:-12],
        _saved(_noise(), "JPEG", comment=LONG[:60_000], xmp=b"x" * 60_000, exif=b"Exif\0\0" + LONG[:60_000]),
        _saved(_noise(), "JPEG", icc_profile=b"sRGB" + LONG[:1_000_000]),
        _saved(_noise(), "JPEG") + LONG,
        _saved(_noise(), "WEBP", lossless=True, icc_profile=b"sRGB" + LONG, exif=b"Exif\0\0" + LONG, xmp=LONG),
    ],
)
def test_texts_and_profiles_cost_a_picture_nothing(content: bytes) -> None:
    form = Image.open(io.BytesIO(_saved(_noise(), "PNG"))).format if content.startswith(b"\x89PNG") else None
    plain = containers.plain(io.BytesIO(content)).stream
    assert plain.seek(0, 2) < 2000 + len(_saved(_noise(), "PNG"))
    image, remarks = pictures.decode(io.BytesIO(content))
    assert image.size == (12, 16) and remarks == []
    if form == "PNG" or content.startswith(b"RIFF"):
        assert (np.asarray(image.convert("L")) == np.asarray(_noise())).all()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_colour_profile_that_is_ignored_is_said(form: str) -> None:
    remark = "its colour profile, which is not sRGB, was ignored"
    profiles = {b"Adobe RGB (1998)": [remark], b"..sRGB IEC61966-2.1": [], "sRGB".encode("utf-16-be"): []}
    for profile, expected in profiles.items():
        assert pictures.decode(io.BytesIO(_saved(_noise(), form, icc_profile=profile)))[1] == expected


def test_a_spliced_stream_is_what_it_is_made_of() -> None:
    source, rng = bytes(range(256)), np.random.default_rng(0)
    parts: list[Any] = [(10, 20), b"abc", (0, 0), (100, 256), b"", b"xyz"]
    whole = b"".join(part if isinstance(part, bytes) else source[slice(*part)] for part in parts)
    stream = containers._Spliced(io.BytesIO(source), parts)
    assert stream.read() == whole and stream.read(3) == b"" and stream.seek(0, io.SEEK_END) == len(whole)
    for _ in range(200):
        start, count = rng.integers(0, len(whole) + 5), int(rng.integers(0, 60))
        assert stream.seek(int(start)) == start and stream.read(count) == whole[start : start + count]


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIC"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"8BPS\0\1", "Photoshop"),
        (b"FUJIFILMCCD-RAW", "raw file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "raw file"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"", "empty"),
    ],
)
def test_files_that_are_not_read_are_named(head: bytes, what: str, tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(_saved(_noise(i), "PNG"))
    (tmp_path / "x.png").write_bytes(head)
    [bad] = open_dataset(tmp_path).quarantined
    assert what in bad.reason and "containers" not in bad.reason


def test_pictures_in_formats_that_are_not_read_are_counted(tmp_path: Path) -> None:
    for name in ("a.HEIC", "b.heic", "c.nef", ".hidden.heic"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"2 file\(s\) in HEIC, which is not read: convert them to PNG or JPEG"):
        open_dataset(tmp_path)
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(_saved(_noise(i), "PNG"))
    notes = open_dataset(tmp_path).notes
    assert any("2 file(s) in HEIC" in note for note in notes) and any(
        "1 file(s) in a camera's raw" in note for note in notes
    )
    assert not any("no images" in note for note in notes)


# ---- transparency


def _icon(seed: int, colour: tuple[int, int, int]) -> Image.Image:
    """A disc of one colour, somewhere, on nothing."""
    rng = np.random.default_rng(seed)
    down, across = np.ogrid[:32, :32]
    y, x = rng.uniform(10, 22, 2)
    alpha = np.clip(8 - np.hypot(down - y, across - x), 0, 1) * 255
    pixels = np.empty((32, 32, 4), np.uint8)
    pixels[:, :, :3], pixels[:, :, 3] = colour, alpha
    return Image.fromarray(pixels)


WHITE, BLACK, YELLOW = (255, 255, 255), (10, 10, 10), (255, 255, 60)


def _icons(folder: Path, colours: list[tuple[int, int, int]], form: str = "png") -> tuple[np.ndarray, str]:
    for i, colour in enumerate(colours):
        image = _icon(i, colour)
        if form == "deep png":  # 16 bits of grey and of opacity
            grey, alpha = (257 * np.asarray(image)[:, :, band].astype(">u2") for band in (0, 3))
            rows = np.stack([grey, alpha], 2).astype(">u2")
            content = _png_of_16_bits(rows)
        else:
            content = _saved(image, "PNG")
        (folder / f"{i:02d}.png").write_bytes(content)
    data = open_dataset(folder)
    return data.fields["image"].values, " ".join(data.notes)


def _png_of_16_bits(rows: np.ndarray) -> bytes:
    """Grey with opacity ``(H, W, 2)``, big-endian."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 16, 4, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["png", "deep png"])
def test_white_drawings_are_laid_on_black(form: str, tmp_path: Path) -> None:
    values, notes = _icons(tmp_path, [WHITE] * 12, form)
    assert values.max() == values[0].max() and values.min() == 0 and (values.reshape(12, -1).std(1) > 0).all()
    assert "12 image(s): transparency was laid on black" in notes and "white" not in notes


@pytest.mark.parametrize("colour", [BLACK, YELLOW, (128, 128, 128)])
def test_other_drawings_are_laid_on_white(colour: tuple[int, int, int], tmp_path: Path) -> None:
    values, notes = _icons(tmp_path, [colour] * 12)
    assert (values[:, :, 0, 0] == values.max()).all() and "12 image(s): transparency was laid on white" in notes
    assert "shows" not in notes and "throughout" not in notes


def test_the_few_that_the_background_hides_are_said(tmp_path: Path) -> None:
    values, notes = _icons(tmp_path, [BLACK] * 10 + [WHITE] * 2)
    assert (values[10:] == values.max()).all() and (values[:10].reshape(10, -1).std(1) > 0).all()
    assert "2 image(s): nothing of it shows on white" in notes
    assert "2 image(s): it has one colour throughout" in notes


@pytest.mark.parametrize(("colour", "background"), [(WHITE, "black"), (BLACK, "white")])
def test_arrays_with_transparency_are_laid_on_what_shows_them(colour: tuple[int, int, int], background: str) -> None:
    array = np.stack([np.asarray(_icon(i, colour)) for i in range(20)])
    data = open_dataset(array)
    assert f"RGBA images were laid on {background}" in data.notes
    assert (data.fields["image"].values.reshape(20, -1).std(1) > 0).all()


def test_a_models_own_background_is_kept(tmp_path: Path) -> None:
    for name in ("learned", "new"):
        (tmp_path / name).mkdir()
    _icons(tmp_path / "learned", [WHITE] * 12)
    spec = open_dataset(tmp_path / "learned").schema.target
    assert isinstance(spec, ImageSpec) and spec.background == "black"
    assert Schema.from_json(open_dataset(tmp_path / "learned").schema.to_json()).target.background == "black"  # type: ignore[union-attr]
    _icons(tmp_path / "new", [YELLOW] * 12)
    for source in (tmp_path / "new", np.stack([np.asarray(_icon(i, YELLOW)) for i in range(12)])):
        alone, alike = open_dataset(source), open_dataset(source, like=spec, fit=True)
        assert alone.fields["image"].values[0, :, 0, 0].min() > 0 == alike.fields["image"].values[0, :, 0, 0].max()


def test_pictures_without_transparency_have_no_background(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(_saved(_noise(i), "PNG"))
    spec = open_dataset(tmp_path).schema.target
    assert isinstance(spec, ImageSpec) and spec.background == ""


def test_blank_pictures_are_said(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(
            _saved(Image.new("RGB", (16, 16), (i, 50, 90)) if i < 5 else _noise(i), "PNG")
        )
    assert "5 image(s): it has one colour throughout" in open_dataset(tmp_path, size=16).notes


# ---- channels and frames


def _raw_tiff(pixels: np.ndarray, photometric: int, extra: tuple[int, ...] | None) -> bytes:
    """An uncompressed TIFF of pixels ``(H, W, C)`` of 8 or 16 bits."""
    height, width, channels = pixels.shape
    data = pixels.tobytes()
    bits, kinds = struct.pack(f"<{channels}H", *[8 * pixels.itemsize] * channels), extra or ()
    count = 9 + (extra is not None)
    start = 14 + 12 * count
    at = {"data": start, "bits": start + len(data), "extra": start + len(data) + len(bits)}

    def short(tag: int, values: tuple[int, ...] | bytes, place: str) -> tuple[int, int, int, bytes]:
        packed = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}H", *values)
        inside = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", at[place])
        return tag, 3, len(packed) // 2, inside

    tags = [
        (256, 4, 1, struct.pack("<I", width)),
        (257, 4, 1, struct.pack("<I", height)),
        short(258, bits, "bits"),
        short(259, (1,), ""),
        short(262, (photometric,), ""),
        (273, 4, 1, struct.pack("<I", at["data"])),
        short(277, (channels,), ""),
        (278, 4, 1, struct.pack("<I", height)),
        (279, 4, 1, struct.pack("<I", len(data))),
    ]
    if extra is not None:
        tags.append(short(338, kinds, "extra"))
    entries = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags)
    tail = struct.pack(f"<{len(kinds)}H", *kinds)
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4) + data + bits + tail


@pytest.mark.parametrize(
    ("channels", "extra", "dtype"),
    [
        (4, (0,), np.uint8),
        (4, None, np.uint8),
        (5, (0, 0), np.uint8),
        (6, (0, 0, 0), np.uint8),
        (4, (0,), np.uint16),
        (4, None, np.uint16),
    ],
)
def test_channels_that_are_no_transparency_are_left_out(
    channels: int, extra: tuple[int, ...] | None, dtype: type
) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (12, 10, channels), dtype=dtype)
    image, remarks = pictures.decode(io.BytesIO(_raw_tiff(pixels, 2, extra)))
    found = image.values.transpose(1, 2, 0) if isinstance(image, pictures.Deep) else np.asarray(image)
    assert (found == pixels[:, :, :3]).all()
    assert remarks == [f"{channels - 3} more channel(s), not said to be transparency, were left out"]


def test_a_channel_that_is_said_to_be_transparency_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 4), dtype=np.uint8)
    pixels[:, :, 3] = 0
    image, remarks = pictures.decode(io.BytesIO(_raw_tiff(pixels, 2, (2,))))
    assert np.asarray(image).min() == 255 and remarks == ["transparency was laid on white"]


def test_a_tiff_of_many_bands_is_said_to_be_one(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(_saved(_noise(i), "PNG"))
    pixels = np.zeros((12, 10, 5), np.uint8)
    (tmp_path / "x.tif").write_bytes(_raw_tiff(pixels, 1, (0, 0, 0, 0)))
    [bad] = open_dataset(tmp_path).quarantined
    assert "a TIFF of 5 channel(s)" in bad.reason


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG", "WEBP", "AVIF"])
def test_the_first_of_several_frames_is_used_and_that_is_said(form: str) -> None:
    if form not in pictures.FORMATS:
        pytest.skip(f"this Pillow does not read {form}")
    frames = [Image.new("RGB", (16, 16), 3 * (60 * i,)) for i in range(4)]
    content = _saved(frames[0], form, save_all=True, append_images=frames[1:])
    image, remarks = pictures.decode(io.BytesIO(content))
    assert np.asarray(image).max() == 0 and remarks == ["only the first of several frames was used"]


@pytest.mark.parametrize("bits", [8, 16])
def test_white_may_be_zero(bits: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**bits, (12, 10, 1), dtype=f"uint{bits}")
    image, _ = pictures.decode(io.BytesIO(_raw_tiff(pixels, 0, None)))
    found = image.values[0] if isinstance(image, pictures.Deep) else np.asarray(image)
    assert (found == 2**bits - 1 - pixels[:, :, 0]).all()


# ---- shapes


def test_little_that_is_left_of_a_picture_is_said(tmp_path: Path) -> None:
    sizes = [(32, 32)] * 12 + [(32, 200), (300, 20), (1, 1)]
    for i, size in enumerate(sizes):
        (tmp_path / f"{i}.png").write_bytes(_saved(_noise(i, size), "PNG"))
    data = open_dataset(tmp_path)
    assert data.fields["image"].values.shape == (15, 1, 32, 32)
    assert "2 image(s): more than 50% of it was cropped away (--size)" in data.notes
    assert "1 image(s): it was enlarged more than 4 times" in data.notes


def test_pictures_of_one_pixel_are_refused(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(_saved(_noise(i, (1, 1)), "PNG"))
    with pytest.raises(DataError, match="1 x 1 pixels are too small"):
        open_dataset(tmp_path)
