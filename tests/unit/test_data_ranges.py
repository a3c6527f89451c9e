"""Which numbers are black and white: decided once for a whole set, kept with the model, the same for new data."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genarena.data import Dataset, ImageSpec, open_dataset, pictures
from genarena.data.adapt import open_like, values_like
from genarena.data.fields import Schema
from genarena.errors import DataError, UsageError

SIDE = 9


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENARENA_CACHE", str(tmp_path / "cache"))


def _codes(count: int = 40, seed: int = 0, high: int = 256, shape: tuple[int, ...] = (SIDE, SIDE)) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, high, (count, *shape), dtype=np.uint8)
    values[:, 0, 0], values[:, 0, 1] = 0, high - 1
    return values


def _stored(data: Dataset) -> np.ndarray:
    return np.asarray(data.fields["image"].values)


def _range(data: Dataset) -> tuple[float, float]:
    spec = data.schema.target
    assert isinstance(spec, ImageSpec)
    return spec.value_range


def _png(values: np.ndarray, significant: int = 0) -> bytes:
    """A 16-bit PNG ``(H, W)`` or ``(H, W, 2 to 4)``, with an sBIT chunk where bits are given."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, channels = (*values.shape, 1)[:3]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    bits = chunk(b"sBIT", bytes([significant] * channels)) if significant else b""
    return b"\x89PNG\r\n\x1a\n" + header + bits + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _tiff(values: np.ndarray, tags: dict[int, tuple[str, list[float]]] | None = None) -> bytes:
    """A little-endian TIFF without compression of any type of number, ``(H, W)`` or ``(H, W, 3)``."""
    height, width, channels = (*values.shape, 1)[:3]
    entries: dict[int, tuple[str, list]] = {
        256: ("H", [width]), 257: ("H", [height]), 258: ("H", [8 * values.itemsize] * channels), 259: ("H", [1]),
        262: ("H", [2 if channels == 3 else 1]), 273: ("I", [0]), 277: ("H", [channels]), 278: ("H", [height]),
        279: ("I", [values.nbytes]), 339: ("H", [{"u": 1, "i": 2, "f": 3}[values.dtype.kind]] * channels), **(tags or {}),
    }  # fmt: skip
    start = 10 + 12 * len(entries) + 4
    more = {k: struct.pack(f"<{len(v)}{code}", *v) for k, (code, v) in entries.items()}
    entries[273] = ("I", [start + sum(len(data) for data in more.values() if len(data) > 4)])
    directory, rest = b"", b""
    for tag, (code, numbers) in sorted(entries.items()):
        data = struct.pack(f"<{len(numbers)}{code}", *numbers)
        where = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", start + len(rest))
        rest += data if len(data) > 4 else b""
        directory += struct.pack("<HHI", tag, {"H": 3, "I": 4, "f": 11}[code], len(numbers)) + where
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0)
    return head + rest + values.astype(values.dtype.newbyteorder("<")).tobytes()


def _folder(root: Path, files: list[bytes], suffix: str, split: str = "") -> Path:
    (root / split).mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(files):
        (root / split / f"{i:03}{suffix}").write_bytes(content)
    return root


# -- one range, from evidence ------------------------------------------------------------------------------------------

U = _codes()
TWELVE = np.random.default_rng(1).integers(0, 4096, (40, SIDE, SIDE), dtype=np.uint16)
TWELVE[:, 0, :2] = 0, 4095


@pytest.mark.parametrize(
    ("array", "expected", "codes"),
    [
        (U, (0, 255), U),
        (U.astype(np.uint16), (0, 255), U),
        (U.astype(np.int16), (0, 255), U),
        (U.astype(np.int64), (0, 255), U),
        (U.astype(np.float64), (0, 255), U),
        (U.astype(np.float16), (0, 255), U),
        (U / 255, (0, 1), U),
        ((U / 255).astype(np.float32), (0, 1), U),
        (U / 127.5 - 1, (-1, 1), U),
        (U.astype(np.uint16) * 257, (0, 65535), U),
        (U.astype(np.uint16) // 4 * 257, (0, 65535), U // 4),  # dark, and 8 bits times 257 all the same
        (TWELVE, (0, 4095), np.rint(TWELVE / 4095 * 255)),
        (TWELVE * 16, (0, 65520), np.rint(TWELVE / 4095 * 255)),  # shifted to the left
        (TWELVE.astype(np.int32), (0, 4095), np.rint(TWELVE / 4095 * 255)),
        (TWELVE.astype(np.float32), (0, 4095), np.rint(TWELVE / 4095 * 255)),
        (TWELVE // 4, (0, 1023), np.rint(TWELVE // 4 / 1023 * 255)),
        (TWELVE.astype(np.int16) - 1024, (-1024, 3071), np.rint(TWELVE / 4095 * 255)),  # computed tomography
        (TWELVE / 819 + 100, (100, 105), np.rint(TWELVE / 4095 * 255)),
    ],
)  # fmt: skip
def test_any_container_gives_the_right_range(
    array: np.ndarray, expected: tuple[float, float], codes: np.ndarray
) -> None:
    data = open_dataset(array)
    assert _range(data) == pytest.approx(expected)
    np.testing.assert_array_equal(_stored(data)[:, 0], codes)
    assert any("are read as" in note and "they fill" in note for note in data.notes)


@pytest.mark.parametrize(
    ("array", "levels"),
    [
        (U > 127, 2),
        ((U > 127).astype(np.uint8), 2),
        ((U > 127).astype(np.uint8) * 255, 2),
        ((U > 127).astype(np.int32), 2),
        ((U > 127).astype(np.float32), 2),
        ((U > 127) * 2.0 - 1, 2),
        ((U > 127).astype(np.uint16) * 65535, 2),
        (U // 16 * 17, 16),
        (U // 16 * np.uint16(17 * 257), 16),
        (U // 128 * 0, 256),
        (U // 128 * 0 + 7, 256),
    ],
)
def test_true_levels_are_kept(array: np.ndarray, levels: int) -> None:
    data = open_dataset(array)
    spec = data.schema.target
    assert isinstance(spec, ImageSpec) and spec.levels == levels
    if levels < 256:
        ranks = np.unique(array, return_inverse=True)[1].reshape(array.shape)
        np.testing.assert_array_equal(_stored(data)[:, 0], ranks)


def test_few_dark_codes_are_not_two_levels() -> None:
    dark = _codes(high=3)
    data = open_dataset(dark)
    assert data.schema.target == ImageSpec(1, SIDE, SIDE, 256) and _stored(data).max() == 2
    assert any("they fill 0.784 % of that, 99 % of them only 0.784 %" in note for note in data.notes)
    spread = open_dataset(dark, value_range=(0, 2))
    assert spread.schema.target == ImageSpec(1, SIDE, SIDE, 3) and (_stored(spread)[:, 0] == dark).all()
    for values in (dark * 8, dark * 8.0, dark.astype(np.int32) * 8):
        seventeen = open_dataset(
            np.minimum(values + (np.arange(SIDE) % 2).astype(values.dtype), 16), value_range=(0, 16)
        )
        assert seventeen.schema.target == ImageSpec(1, SIDE, SIDE, 17) and _stored(seventeen).max() == 16
        assert not any("rounded" in note for note in seventeen.notes)
    assert open_dataset(dark / 2, value_range=(0, 16)).schema.target == ImageSpec(1, SIDE, SIDE, 256)


def _deep_files(kind: str, values: np.ndarray) -> tuple[list[bytes], str]:
    colour = np.stack([values, values[:, ::-1], values // 2], -1)
    return {
        "grey png": ([_png(v) for v in values], ".png"),
        "colour png": ([_png(v) for v in colour], ".png"),
        "opaque png": ([_png(np.dstack([v, np.full_like(v[..., 0], 65535)])) for v in colour], ".png"),
        "grey tiff": ([_tiff(v) for v in values], ".tif"),
        "signed tiff": ([_tiff(v.astype(np.int16)) for v in values], ".tif"),
        "int32 tiff": ([_tiff(v.astype(np.int32)) for v in values], ".tif"),
        "colour tiff": ([_tiff(v) for v in colour], ".tif"),
        "float tiff": ([_tiff(v.astype(np.float32)) for v in values], ".tif"),
        "unit float tiff": ([_tiff((v / values.max()).astype(np.float32)) for v in values], ".tif"),
    }[kind]


@pytest.mark.parametrize("high", [255, 4095, 65535])
@pytest.mark.parametrize(
    "kind",
    ["grey png", "colour png", "opaque png", "grey tiff", "int32 tiff", "colour tiff", "float tiff", "unit float tiff"],
)
def test_files_of_more_than_8_bits_keep_them(tmp_path: Path, kind: str, high: int) -> None:
    values = np.random.default_rng(2).integers(0, high + 1, (12, SIDE, SIDE)).astype(np.uint16)
    values[:, 0, :2] = 0, high
    data = open_dataset(_folder(tmp_path, *_deep_files(kind, values)))
    assert _range(data) == ((0, 1) if kind.startswith("unit") else (0, high))
    np.testing.assert_array_equal(_stored(data)[:, 0], np.rint(values / (high / 255)))


def test_signed_files_and_masks_are_read(tmp_path: Path) -> None:
    signed = TWELVE[:12].astype(np.int16) - 1024
    data = open_dataset(_folder(tmp_path / "ct", [_tiff(v) for v in signed], ".tif"))
    assert _range(data) == (-1024, 3071)
    np.testing.assert_array_equal(_stored(data)[:, 0], np.rint((signed + 1024) / 4095 * 255))
    small = (U[:12].astype(np.int16) - 128).astype(np.int8)
    data = open_dataset(_folder(tmp_path / "int8", [_tiff(v) for v in small], ".tif"))
    assert _range(data) == (-128, 127) and (_stored(data)[:, 0] == U[:12]).all()
    masks = (U[:12] > 99).astype(np.int32)
    data = open_dataset(_folder(tmp_path / "masks", [_tiff(v) for v in masks], ".tif"))
    assert data.schema.target == ImageSpec(1, SIDE, SIDE, 2) and (_stored(data)[:, 0] == masks).all()


@pytest.mark.parametrize(
    ("values", "significant", "expected"),
    [
        (TWELVE // 8, 12, 4095),  # to the right of 16 bits, and dark: the file says what the values do not
        (TWELVE * 16, 12, 65535),  # as the standard wants it
        (TWELVE * 16 + TWELVE // 256, 12, 65535),
        (TWELVE // 8, 16, 65535),
        (TWELVE // 64, 12, 4095),
    ],
)
def test_significant_bits_of_a_png(tmp_path: Path, values: np.ndarray, significant: int, expected: float) -> None:
    data = open_dataset(_folder(tmp_path, [_png(v, significant) for v in values[:12]], ".png"))
    assert _range(data) == (0, expected)
    np.testing.assert_array_equal(_stored(data)[:, 0], np.rint(values[:12] / (expected / 255)))


def test_declared_sample_values_of_a_tiff(tmp_path: Path) -> None:
    values = (TWELVE[:12] // 8).astype(np.uint16)
    tags = {340: ("H", [0]), 341: ("H", [4095])}
    data = open_dataset(_folder(tmp_path / "a", [_tiff(v, tags) for v in values], ".tif"))
    assert _range(data) == (0, 4095) and any("as declared" in note for note in data.notes)
    heat = (values / 100 + 250).astype(np.float32)
    tags = {340: ("f", [200.0]), 341: ("f", [400.0])}
    assert _range(open_dataset(_folder(tmp_path / "b", [_tiff(v, tags) for v in heat], ".tif"))) == (200, 400)
    # What each file says of itself alone is no range of the set.
    own = [_tiff(v, {340: ("H", [int(v.min())]), 341: ("H", [int(v.max()) - i])}) for i, v in enumerate(values)]
    assert _range(open_dataset(_folder(tmp_path / "c", own, ".tif"))) == (0, 1023)


def test_white_may_be_zero_and_planes_are_not_read_wrongly(tmp_path: Path) -> None:
    inverted = [_tiff(v, {262: ("H", [0])}) for v in 65535 - TWELVE[:12] * 16]
    data = open_dataset(_folder(tmp_path, inverted, ".tif"))
    assert _range(data) == (0, 65535)
    np.testing.assert_array_equal(_stored(data)[:, 0], np.rint(TWELVE[:12] * 16 / 257.0))
    colour = np.stack([TWELVE[0]] * 3, -1)
    with pytest.raises(ValueError, match="lie in a way that is not read"):
        pictures.decode(io.BytesIO(_tiff(colour, {284: ("H", [2])})))


def test_pgm_says_its_maximum(tmp_path: Path) -> None:
    files = [f"P5\n{SIDE} {SIDE}\n4095\n".encode() + v.astype(">u2").tobytes() for v in TWELVE[:12]]
    np.testing.assert_array_equal(
        _stored(open_dataset(_folder(tmp_path, files, ".pgm")))[:, 0], np.rint(TWELVE[:12] / 4095 * 255)
    )


def test_8_bit_files_among_others_are_8_bits(tmp_path: Path) -> None:
    deep = [_png(v) for v in TWELVE[:9]]
    plain = []
    for v in U[:3]:
        file = io.BytesIO()
        Image.fromarray(v).save(file, "PNG")
        plain.append(file.getvalue())
    data = open_dataset(_folder(tmp_path, plain + deep, ".png"))
    assert _range(data) == (0, 4095) and (_stored(data)[:3, 0] == U[:3]).all()
    np.testing.assert_array_equal(_stored(data)[3:, 0], np.rint(TWELVE[:9] / 4095 * 255))


def test_palettes_and_few_bits_are_what_they_show(tmp_path: Path) -> None:
    for bits in (1, 2, 4):
        levels = 2**bits
        grey = _codes(12, high=levels)
        files = []
        for v in grey:
            picture = Image.fromarray(v).convert("P")
            picture.putpalette([c for i in range(levels) for c in [i * 255 // (levels - 1)] * 3])
            file = io.BytesIO()
            picture.save(file, "PNG", bits=bits)
            files.append(file.getvalue())
        data = open_dataset(_folder(tmp_path / str(bits), files, ".png"))
        assert data.schema.target == ImageSpec(1, SIDE, SIDE, levels) and (_stored(data)[:, 0] == grey).all()


def test_transparency_of_16_bits_is_laid_on_white() -> None:
    values = np.full((4, 4, 4), 30_000, np.uint16)
    values[0, 0, 3], values[1:, :, 3] = 0, 65535
    image, remarks = pictures.decode(io.BytesIO(_png(values)))
    assert isinstance(image, pictures.Deep) and remarks == ["transparency was laid on white"]
    assert image.values[:, 0, 0].tolist() == [65535] * 3 and (image.values[:, 1:] == 30_000).all()
    grey = np.dstack([values[..., 0], values[..., 3]])
    image, _ = pictures.decode(io.BytesIO(_png(grey)))
    assert isinstance(image, pictures.Deep) and image.values[:, 0, 0] == 65535 and (image.values[:, 1:] == 30_000).all()


def test_resizing_keeps_all_bits_and_the_cache_knows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.repeat(np.linspace(0, 4094, 20)[None], 20, 0).astype(np.uint16)
    root = _folder(tmp_path / "set", [_png(np.roll(ramp, i, 0) + i % 2) for i in range(12)], ".png")
    small = open_dataset(root, size=10)
    spec = small.schema.target
    assert isinstance(spec, ImageSpec) and spec.resized and spec.value_range == (0, 4095)
    assert len(np.unique(_stored(small))) > 8 and _stored(small).max() > 240
    monkeypatch.setattr("genarena.data.decoding.MEMORY_LIMIT", 100)
    first = open_dataset(root, size=10)
    monkeypatch.setattr("genarena.data.decoding._decode", None)  # never again
    again = open_dataset(root, size=10)
    assert first.fingerprint == again.fingerprint == small.fingerprint and again.schema.target == spec


# -- contradictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (U / 255, U * 1.0),
        (U / 255, U),
        (U / 255, U / 127.5 - 1),
        (U, TWELVE * 16),
        (U, TWELVE),
        ((U > 99).astype(np.uint8), U),
        (TWELVE.astype(np.int16) - 1024, U.astype(np.int16)),
    ],
)
def test_splits_that_disagree_are_refused(tmp_path: Path, train: np.ndarray, test: np.ndarray) -> None:
    for first, second in ((train, test), (test, train)):
        np.savez(tmp_path / "a.npz", x_train=first, x_test=second)
        with pytest.raises(DataError, match=r"splits of 'a' disagree: train .* test .*--range LOW HIGH"):
            open_dataset(tmp_path / "a.npz")
        assert open_dataset(tmp_path / "a.npz", value_range=(0, 255)).schema.target == ImageSpec(1, SIDE, SIDE, 256)


def test_folders_whose_splits_disagree_are_refused(tmp_path: Path) -> None:
    _folder(tmp_path, [_png(v) for v in TWELVE[:9] // 16], ".png", "train")
    _folder(tmp_path, [_png(v) for v in TWELVE[:9]], ".png", "test")
    with pytest.raises(DataError, match=r"splits of .* disagree"):
        open_dataset(tmp_path)


def test_a_smaller_or_black_split_does_not_disagree(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=TWELVE, x_val=TWELVE[:5] // 4, x_test=TWELVE[:5] * 0)
    assert _range(open_dataset(tmp_path / "a.npz")) == (0, 4095)


def test_a_stray_value_is_asked_for() -> None:
    floats = U / 255
    floats[3, 4, 5] = 1.5
    with pytest.raises(DataError, match=r"from 0 to 1\.5.*--range 0 1 clips.*--range 0 1\.5 keeps"):
        open_dataset(floats)
    data = open_dataset(floats, value_range=(0, 1))
    assert _stored(data)[3, 0, 4, 5] == 255 and _range(data) == (0, 1)
    assert (np.delete(_stored(data)[:, 0], 3, 0) == np.delete(U, 3, 0)).all()
    assert any("were clipped" in note for note in data.notes)
    assert _stored(open_dataset(floats, value_range=(0, 1.5))).max() == 255
    hot = U.astype(np.uint16)
    hot[3, 4, 5] = 60_000
    with pytest.raises(DataError, match=r"from 0 to 60000.*--range 0 255 clips.*--range 0 65535 keeps"):
        open_dataset(hot)
    spots = np.zeros((40, SIDE, SIDE), np.uint16)
    spots[:, 4, 4], spots[:, 5, 5] = 65535, 30_000
    assert _range(open_dataset(spots)) == (0, 65535)  # mostly black, and nothing speaks against it


def test_rounding_to_256_levels_is_said() -> None:
    assert any("rounded to 256 levels between 0 and 4095" in note for note in open_dataset(TWELVE).notes)
    for exact in (U, U / 255, (U / 255).astype(np.float32), (U / 255).astype(np.float16), U.astype(np.uint16) * 257):
        assert not any("rounded" in note for note in open_dataset(exact).notes)


def test_pixels_that_are_no_numbers_are_set_aside(tmp_path: Path) -> None:
    values = (U[:12] / 255).astype(np.float32)
    values[5, 3, 3] = np.nan
    data = open_dataset(_folder(tmp_path, [_tiff(v) for v in values], ".tif"))
    assert [(q.path, q.reason) for q in data.quarantined] == [("005.tif", "some pixels are no finite numbers")]
    assert (_stored(data)[:, 0] == np.delete(U[:12], 5, 0)).all()


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, float("nan")), (float("-inf"), 0)])
def test_no_range(value_range: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="give the pixel value that is black"):
        open_dataset(U, value_range=value_range)
    with pytest.raises(UsageError, match="range do not apply"):
        open_dataset(np.ones((20, 3)), value_range=(0, 1))


# -- new data by the model's range -------------------------------------------------------------------------------------

CONTAINERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "uint8": lambda u: u,
    "uint16": lambda u: u.astype(np.uint16) * 257,
    "int64": lambda u: u.astype(np.int64),
    "unit float": lambda u: u / 255,
    "signed float": lambda u: u / 127.5 - 1,
    "byte float": lambda u: u * 1.0,
}


# The same type of number in smaller units may be a dark picture, and the whole of one: that is asked.
AMBIGUOUS = {("byte float", "unit float"), ("signed float", "unit float"), ("uint16", "int64")}


@pytest.mark.parametrize("new", CONTAINERS)
@pytest.mark.parametrize("trained", CONTAINERS)
def test_the_same_pictures_are_the_same_codes_in_any_container(trained: str, new: str) -> None:
    spec = open_dataset(CONTAINERS[trained](U)).schema.target
    for some in (U[:5], U[:5, ::-1]):
        if (trained, new) in AMBIGUOUS:
            with pytest.raises(DataError, match="nothing says how the one becomes the other"):
                open_like(CONTAINERS[new](some), spec)
            continue
        like = open_like(CONTAINERS[new](some), spec)
        assert like.schema.target == spec and (_stored(like)[:, 0] == some).all()


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_covered_lens_stays_dark(name: str) -> None:
    spec = open_dataset(CONTAINERS[name](U)).schema.target
    dark = _codes(5, high=4)
    assert (_stored(open_like(CONTAINERS[name](dark), spec))[:, 0] == dark).all()
    assert (_stored(open_like(CONTAINERS[name](dark * 0), spec))[:, 0] == 0).all()


def test_new_data_of_fewer_bits_keep_the_models_range(tmp_path: Path) -> None:
    spec = open_dataset(TWELVE).schema.target
    dark = TWELVE[:5] // 64
    np.testing.assert_array_equal(_stored(open_like(dark, spec))[:, 0], np.rint(dark / 4095 * 255))
    ct = open_dataset(TWELVE.astype(np.int16) - 1024).schema.target
    water = np.full((5, SIDE, SIDE), 0, np.int16)
    assert (_stored(open_like(water, ct)) == round(1024 / 4095 * 255)).all()
    binary = open_dataset(U > 127).schema.target
    assert (_stored(open_like(U[:5], binary))[:, 0] == (U[:5] > 127)).all()
    assert (_stored(open_like(U[:5] > 127, open_dataset(U).schema.target))[:, 0] == 255 * (U[:5] > 127)).all()


def test_what_lies_outside_is_clipped_and_said_or_refused() -> None:
    spec = open_dataset(U / 255).schema.target
    new = U[:5] / 255
    new[0, 0, 0] = 1.5
    like = open_like(new, spec)
    assert _stored(like)[0, 0, 0, 0] == 255 and (_stored(like)[1:, 0] == U[1:5]).all()
    assert any("were clipped" in note for note in like.notes)
    for strange, of in ((U[:5] / 100, U / 255), (TWELVE[:5].astype(np.int16) - 900, U), (TWELVE[:5], U)):
        with pytest.raises(DataError, match=r"give black and white of these data, --range LOW HIGH"):
            open_like(strange, open_dataset(of).schema.target)
    like = open_like(TWELVE[:5], open_dataset(U).schema.target, value_range=(0, 4095))
    np.testing.assert_array_equal(_stored(like)[:, 0], np.rint(TWELVE[:5] / 4095 * 255))


def test_other_shapes_are_refused_without_consent(tmp_path: Path) -> None:
    spec = open_dataset(U).schema.target
    other = _codes(5, shape=(20, 20))
    with pytest.raises(DataError, match=r"5 of 5 images .* are not of the model's 9 x 9 pixels.*--fit"):
        open_like(other, spec)
    with pytest.raises(DataError, match=r"colour images, the model's are grey: --fit"):
        open_like(_codes(5, shape=(SIDE, SIDE, 3)), spec)
    assert open_like(other, spec, fit=True).schema.target.shape == (1, SIDE, SIDE)
    resized = open_dataset(_codes(30, shape=(30, 30)), size=SIDE).schema.target
    like = open_like(other, resized)
    assert like.schema.target.shape == (1, SIDE, SIDE) and any("converted to" in note for note in like.notes)
    colour = open_dataset(_codes(shape=(SIDE, SIDE, 3))).schema.target
    assert (_stored(open_like(U[:5], colour)) == U[:5, None]).all()  # a grey picture is a colour picture


def test_an_opened_set_is_put_on_the_models_range() -> None:
    spec = open_dataset(TWELVE).schema.target
    dark = open_dataset(TWELVE // 4)
    assert _range(dark) == (0, 1023)
    codes = _stored(values_like(dark, spec))[:, 0]
    assert np.abs(codes.astype(int) - np.rint((TWELVE // 4) / 4095 * 255)).max() <= 1
    assert values_like(open_dataset(U), open_dataset(U / 255).schema.target).values("train").max() == 255


def test_the_range_is_kept_in_the_record() -> None:
    schema = open_dataset(TWELVE).schema
    again = Schema.from_json(schema.to_json()).target
    assert isinstance(again, ImageSpec) and again.value_range == (0, 4095) and again.container == "uint16"
    old = {k: v for k, v in schema.to_json()["image"].items() if k not in ("value_range", "container", "resized")}
    assert Schema.from_json({"image": old}).target == again  # as written before there was a range
    for wrong in ({"value_range": [1, 0]}, {"value_range": [0, "x"]}, {"container": "object"}, {"resized": 3}):
        with pytest.raises(DataError, match="cannot be read"):
            Schema.from_json({"image": {**schema.to_json()["image"], **wrong}})
    assert open_dataset(U).fingerprint == open_dataset(U / 255).fingerprint
