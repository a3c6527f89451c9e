"""Built-in sets, arrays, idx folders and named public sets; every bad form of them."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pooch
import pytest

from genarena.data import ImageSpec, VectorSpec, open_dataset, public
from genarena.data.builtin import FACTORS, count_modes, mixture, render_shapes
from genarena.data.sources import infer_levels
from genarena.errors import DataError, UsageError

REAL = os.environ.get("GENARENA_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="GENARENA_DATA is not set")


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("GENARENA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENARENA_DATA", raising=False)


def _images(count=30, shape=(8, 9), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


# ---- built-in sets


def test_digits_have_seventeen_levels_and_fixed_splits():
    data = open_dataset("digits")
    assert data.schema.target == ImageSpec(1, 8, 8, 17) and data.values("train").max() == 16
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 1294, "val": 144, "test": 359}
    assert data.fingerprint == open_dataset("digits").fingerprint


@pytest.mark.parametrize(("name", "count"), [("ring8", 8), ("grid25", 25)])
def test_mixtures_know_their_truth(name, count):
    data = open_dataset(name)
    centres, sigma = mixture(name)
    assert centres.shape == (count, 2) and len(data.schema.label.classes) == count
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [50_000, 5_000, 5_000]
    modes, share = count_modes(data.values("test")[:2500], centres, sigma)
    # Within 3 sigma in two dimensions: 1 - exp(-9 / 2).
    assert modes == count and share == pytest.approx(0.9889, abs=0.008)
    residual = data.values("train") - centres[data.labels("train")]
    assert residual.std() == pytest.approx(sigma, rel=0.01)


def test_count_modes_counts_close_samples_only():
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    samples = np.repeat(np.array([[0.0, 0.29], [5.0, 0.0], [0.0, 5.31]]), [20, 19, 21], axis=0)
    assert count_modes(samples, centres, 0.1) == (1, 39 / 60)
    assert count_modes(samples, centres, 0.1, threshold=19) == (2, 39 / 60)


def test_shapes_follow_their_factors():
    turned = np.array([[0, 5, 0, 0, 0], [0, 5, np.pi / 2, 0, 0], [0, 5, 0, 4, 0], [1, 5, 0, 0, 0], [2, 5, 0, 0, 0]])
    square, quarter, moved, ellipse, heart = render_shapes(turned)[:, 0].astype(int)
    assert np.abs(square - quarter).max() <= 60  # a quarter turn leaves a square alone, but for its edge
    assert (np.roll(square, 4, axis=1) == moved).all()
    assert square.sum() / 255 == pytest.approx((2 * 0.8 * 5) ** 2, rel=0.02)
    assert ellipse.sum() / 255 == pytest.approx(np.pi * 5 * 2.5, rel=0.04)
    assert (heart == heart[:, ::-1]).all() and (heart != heart[::-1]).any()


def test_shapes_carry_their_factors():
    data = open_dataset("shapes")
    factors = data.fields["factors"]
    assert factors.role == "condition" and factors.spec.names == FACTORS
    rows = data.splits["test"][:20]
    assert (render_shapes(factors.values[rows]) == data.fields["image"].values[rows]).all()
    assert (factors.values[:, 0] == data.fields["label"].values).all()


def test_stacked_digits_never_mix_splits():
    digits, stacked = open_dataset("digits"), open_dataset("stacked-digits")
    assert stacked.schema.target == ImageSpec(3, 8, 8, 17) and len(stacked.schema.label.classes) == 1000
    lookup = {image.tobytes(): int(label) for image, label in zip(digits.values("train"), digits.labels("train"))}
    for image, label in zip(stacked.values("train")[:50], stacked.labels("train")):
        assert [lookup[plane.tobytes()] for plane in image] == [int(d) for d in f"{label:03d}"]
    trained = {plane.tobytes() for image in stacked.values("train") for plane in image}
    assert not trained & {image.tobytes() for image in digits.values("test")}


# ---- arrays


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 9), (1, 8, 9)),
        ((8, 9, 3), (3, 8, 9)),
        ((3, 8, 9), (3, 8, 9)),
        ((8, 9, 1), (1, 8, 9)),
        ((1, 9, 8), (1, 9, 8)),
    ],
)
def test_layouts(shape, expected):
    array = _images(shape=shape)
    data = open_dataset(array)
    assert data.schema.target == ImageSpec(*expected)
    stored = data.fields["image"].values
    assert stored.flags.c_contiguous and stored.sum() == array.sum()
    if len(shape) == 3 and shape[2] == 3:
        assert (stored[5, 2] == array[5, :, :, 2]).all()


def test_fortran_order_is_the_same_data():
    array = _images()
    assert open_dataset(np.asfortranarray(array)).fingerprint == open_dataset(array).fingerprint


@pytest.mark.parametrize(
    ("floats", "note"),
    [(lambda u: u / 255, "0 to 1 "), (lambda u: u / 127.5 - 1, "-1 to 1 "), (lambda u: u * 1.0, "0 to 255 ")],
)
def test_float_ranges_become_the_same_codes(floats, note):
    array = _images()
    data = open_dataset(floats(array).astype(np.float32))
    assert (data.fields["image"].values[:, 0] == array).all()
    assert any(f"are read as {note}" in text for text in data.notes)


def test_integers_of_other_types():
    array = _images()
    assert (open_dataset(array.astype(np.int64)).fields["image"].values[:, 0] == array).all()
    assert open_dataset(array > 127).schema.target.levels == 2


def test_rgba_is_laid_on_white():
    array = _images(shape=(8, 9, 4))
    array[0, 0, 0], array[0, 0, 1], array[0, 0, 2] = (10, 20, 30, 0), (10, 20, 30, 255), (0, 0, 0, 128)
    data = open_dataset(array)
    values = data.fields["image"].values
    assert values[0, :, 0, 0].tolist() == [255] * 3 and values[0, :, 0, 1].tolist() == [10, 20, 30]
    assert values[0, :, 0, 2].tolist() == [127] * 3 and "RGBA images were laid on white" in data.notes


def test_rows_are_a_table_scaled_by_the_train_split():
    rows = np.random.default_rng(0).normal(5, 3, (200, 3))
    rows[:, 2] = 4
    data = open_dataset((rows, np.arange(200) % 2))
    spec, train = data.schema.target, data.values("train").astype(np.float64)
    assert isinstance(spec, VectorSpec) and spec.mean == pytest.approx(train.mean(0))
    assert spec.scale[:2] == pytest.approx(train.std(0)[:2]) and spec.scale[2] == 1
    assert data.fields["vector"].values.dtype == np.float64 and data.labels("train").dtype == np.int64


@pytest.mark.parametrize(
    ("codes", "levels", "step"),
    [
        ([0, 255], 2, 255),
        ([0, 85, 170, 255], 4, 85),
        ([0, 17, 51], 16, 17),
        ([0, 1, 2], 256, 1),
        ([0, 2, 4], 256, 1),
        ([0, 0], 256, 1),
        ([7, 250], 256, 1),
    ],
)
def test_levels(codes, levels, step):
    values = np.zeros((600, 1, 8, 8), np.uint8)
    values[-1, 0, 0, : len(codes)] = codes
    assert infer_levels(values) == (levels, step)


def test_binary_images_are_stored_as_zero_and_one():
    array = (_images() > 127).astype(np.uint8) * 255
    data = open_dataset(array)
    assert data.schema.target.levels == 2 and (data.fields["image"].values[:, 0] == array // 255).all()


def test_size_and_channels_apply_to_arrays_and_builtins():
    data = open_dataset("digits", size=(16, 12), channels=3)
    assert data.schema.target == ImageSpec(3, 16, 12, 256) and data.values("train").max() == 255
    assert open_dataset(_images(shape=(8, 9, 3)), channels=1).schema.target == ImageSpec(1, 8, 9)


def test_equal_labels_are_dropped_with_a_note():
    data = open_dataset((_images(), np.zeros(30, int)))
    assert data.schema.label is None and any("one label '0'" in note for note in data.notes)


def test_a_data_set_passes_through():
    data = open_dataset("digits")
    assert open_dataset(data) is data


def _with(array, place, value):
    array = array.copy()
    array[place] = value
    return array


FLOATS = _images() / 255


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (_with(FLOATS, (3, 1, 2), np.nan), r"row 3, pixel \(1, 2\) is nan"),
        (_with(np.ones((2000, 4)), (1999, 2), np.inf), "row 1999, column 2 is inf"),
        (_images().astype(object), "type object"),
        (_images().astype(complex), "type complex"),
        (np.empty((0, 8, 8), np.uint8), "is empty"),
        (_images(1), "too few"),
        (np.zeros(10), r"shape \(10,\)"),
        (_images(shape=(3, 9, 3)), "first or last"),
        (_images(shape=(2, 9, 9)), "neither 1"),
        (_images(shape=(9, 9, 5)), "neither 1"),
        (_images(shape=(7, 9)), "7 x 9 pixels are too small"),
        (np.full((10, 2), 1e300), r"values reach 1e\+300"),
        ((_images(), np.arange(29)), "labels of shape"),
        ((_images(), np.arange(30) - 1), "negative"),
        ((_images(), np.arange(30) + 0.5), r"row 0 is 0\.5"),
        ((_images(), 5), "labels of shape"),
        (([[1, 2], [3]], [0, 1]), "no regular array"),
    ],
)
def test_bad_arrays(source, message):
    with pytest.raises(DataError, match=message):
        open_dataset(source)


# ---- npy and npz


@pytest.mark.parametrize(
    "keys",
    [
        ("images", "labels"),
        ("X", "y"),
        ("data", "targets"),
        ("Image", "Label"),
    ],
)
def test_npz_keys_are_found(tmp_path, keys):
    np.savez_compressed(tmp_path / "a.npz", **{keys[0]: _images(), keys[1]: np.arange(30) % 3, "other": np.ones(4)})
    data = open_dataset(tmp_path / "a.npz")
    assert data.schema.target == ImageSpec(1, 8, 9) and len(data.schema.label.classes) == 3 and data.name == "a"


@pytest.mark.parametrize("form", ["{split}_{key}", "{key}_{split}"])
def test_npz_splits(tmp_path, form):
    arrays = {}
    for split, count in (("train", 20), ("valid", 5), ("test", 6)):
        arrays[form.format(split=split, key="x")] = _images(count, seed=count)
        arrays[form.format(split=split, key="y")] = np.arange(count) % 2
    np.savez(tmp_path / "a.npz", classes=np.array(["no", "yes"]), **arrays)
    data = open_dataset(str(tmp_path / "a.npz"))
    assert (data.values("test")[:, 0] == _images(6, seed=6)).all() and len(data.splits["val"]) == 5
    assert data.schema.label.classes == ("no", "yes") and data.labels("val").tolist() == [0, 1, 0, 1, 0]


def test_npz_named_keys(tmp_path):
    np.savez(tmp_path / "a.npz", faces=_images(), flowers=_images(seed=1), subject=np.arange(30) % 4)
    data = open_dataset(tmp_path / "a.npz", images_key="flowers", labels_key="subject")
    assert (data.fields["image"].values[:, 0] == _images(seed=1)).all() and len(data.schema.label.classes) == 4
    with pytest.raises(DataError, match=r"faces \(30, 8, 9\).*images_key in Python"):
        open_dataset(tmp_path / "a.npz")
    with pytest.raises(UsageError, match="no array is called 'birds'; there are faces"):
        open_dataset(tmp_path / "a.npz", images_key="birds")


def test_the_only_array_needs_no_name(tmp_path):
    np.savez(tmp_path / "a.npz", _images())
    np.save(tmp_path / "b.npy", _images())
    assert open_dataset(tmp_path / "a.npz").fingerprint == open_dataset(tmp_path / "b.npy").fingerprint


def _npz_member(header: dict, payload: bytes) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + payload


def _write_npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


@pytest.mark.parametrize("shape", [(10**9, 100, 100), (30, 8, 9), (2**62, 4), (-30, 8, 9)])
def test_npz_headers_are_checked_before_allocation(tmp_path, shape):
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    _write_npz(tmp_path / "bomb.npz", images=_npz_member(header, b"x" * 100))
    with pytest.raises(DataError, match=r"promises .* bytes, but 100 are stored"):
        open_dataset(tmp_path / "bomb.npz")


def test_npy_headers_are_checked_before_allocation(tmp_path):
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 8, 8)}
    (tmp_path / "bomb.npy").write_bytes(_npz_member(header, b"x" * 100))
    with pytest.raises(DataError, match="promises"):
        open_dataset(tmp_path / "bomb.npy")


def test_object_arrays_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{}, {}, {}], dtype=object))
    np.save(tmp_path / "a.npy", np.array([{}, {}, {}], dtype=object))
    for name in ("a.npz", "a.npy"):
        with pytest.raises(DataError, match="Python objects"):
            open_dataset(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04" + b"\0" * 50])
@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.zip"])
def test_broken_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"not a usable|no readable header"):
        open_dataset(tmp_path / name)


def test_damaged_npz_is_a_data_error(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=_images(200))
    whole = (tmp_path / "a.npz").read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 4):
            damaged[place] ^= int(generator.integers(1, 256))
        (tmp_path / "b.npz").write_bytes(damaged)
        try:
            open_dataset(tmp_path / "b.npz")
        except DataError:
            refused += 1
    assert refused >= 50


def test_labels_that_are_no_classes():
    for labels in ([[1, 2], [1], []] * 10, np.arange(30), np.ones((30, 2), int)):
        data = open_dataset((_images(), labels))
        assert data.schema.label is None and any("no classes, treated as unlabelled" in note for note in data.notes)
        assert not any("label" in note for note in open_dataset((_images(), labels), labels=False).notes)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": _images(), "x_test": _images(5, (9, 9))}, "different shapes"),
        ({"x_train": _images(), "y_train": np.zeros(30, int), "y_test": np.zeros(5, int)}, "has labels for"),
        ({"x_train": _images(), "y_train": np.zeros(29, int)}, "labels of shape"),
        ({"x": _images(), "x_train": _images()}, "both fit"),
        ({"y": np.zeros(30, int)}, "cannot tell which array"),
        ({"images": _images(), "labels": np.zeros(30, int), "classes": np.array([1])}, None),
    ],
)
def test_npz_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    if message is None:
        assert open_dataset(tmp_path / "a.npz").schema.label is None
        return
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "a.npz")


# ---- idx


def _write_idx(path: Path, array: np.ndarray, shape=None):
    content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *(shape or array.shape)) + array.tobytes()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def _write_pair(folder: Path, prefix="train", count=30, end=".gz"):
    folder.mkdir(exist_ok=True)
    _write_idx(folder / f"{prefix}-images-idx3-ubyte{end}", _images(count, seed=count))
    _write_idx(folder / f"{prefix}-labels-idx1-ubyte{end}", (np.arange(count) % 3).astype(np.uint8))


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_folder(tmp_path, end):
    _write_pair(tmp_path, "train", 30, end)
    _write_pair(tmp_path, "t10k", 7, end)
    data = open_dataset(tmp_path)
    assert (data.values("test")[:, 0] == _images(7, seed=7)).all() and data.labels("test").tolist() == [0, 1, 2] * 2 + [
        0
    ]
    assert len(data.splits["train"]) + len(data.splits["val"]) == 30 and data.name == tmp_path.name


@pytest.mark.parametrize("prefix", ["train", "t10k"])
def test_a_lone_idx_pair_is_split_and_said_so(tmp_path, prefix):
    _write_pair(tmp_path, prefix)
    data = open_dataset(tmp_path)
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [22, 2, 6]
    assert any(note.startswith("test: 6 of 30") for note in data.notes)


def test_idx_headers_are_checked_before_allocation(tmp_path):
    for shape, message in [
        ((2**31, 2**10, 2**10), "too many"),
        ((300, 8, 9), "but there are only"),
        ((3, 8, 9), "more"),
    ]:
        _write_idx(tmp_path / "train-images-idx3-ubyte.gz", _images(), shape)
        with pytest.raises(DataError, match=message):
            open_dataset(tmp_path)


def test_bad_idx(tmp_path):
    images = tmp_path / "train-images-idx3-ubyte"
    _write_idx(images, _images(), (31, 8, 9))
    with pytest.raises(DataError, match="but its header"):
        open_dataset(tmp_path)
    images.write_bytes(b"\0\0\x0d\x03 nonsense")
    with pytest.raises(DataError, match="not an idx file"):
        open_dataset(tmp_path)
    images.unlink()
    packed = tmp_path / "train-images-idx3-ubyte.gz"
    _write_idx(packed, _images())
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(tmp_path)
    _write_pair(tmp_path)
    _write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.zeros(29, np.uint8))
    with pytest.raises(DataError, match="29 train labels for 30 train images"):
        open_dataset(tmp_path)
    packed.unlink()
    with pytest.raises(DataError, match="no train images"):
        open_dataset(tmp_path)


def test_idx_files_that_claim_one_place(tmp_path):
    _write_pair(tmp_path)
    _write_idx(tmp_path / "letters-train-images-idx3-ubyte.gz", _images())
    with pytest.raises(DataError, match="keep one set a folder"):
        open_dataset(tmp_path)


# ---- named public sets


@pytest.fixture
def small_public(monkeypatch, tmp_path):
    """A published set of a few images: its content hashes are those of the files in ``tmp_path / 'source'``."""
    source = tmp_path / "source"
    _write_pair(source, "train", 30)
    _write_pair(source, "t10k", 7)
    raw = public.read_idx(source)
    content = {split: public._digest(raw, split) for split in ("train", "test")}
    small = public.PublicSet("http://localhost/", public.PUBLIC["mnist"].files, content, ("a", "b", "c"))
    monkeypatch.setitem(public.PUBLIC, "mnist", small)
    return source


def _no_network(*_args, **_kwargs):
    raise OSError("no network here")


def test_public_sets_are_looked_up_and_checked_by_content(small_public, tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "retrieve", _no_network)
    small_public.rename(tmp_path / "mnist")
    packed = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()), 9, mtime=1))
    data = open_dataset("mnist", data_dir=tmp_path)
    assert data.name == "mnist" and data.schema.label.classes == ("a", "b", "c") and len(data.splits["test"]) == 7
    monkeypatch.setenv("GENARENA_DATA", str(tmp_path))
    assert open_dataset("mnist").fingerprint == data.fingerprint
    _write_pair(tmp_path / "mnist", "train", 31)
    with pytest.raises(DataError, match=r"does not hold the published mnist \(train differs\)"):
        open_dataset("mnist")


def test_public_sets_are_downloaded_with_a_checksum(small_public, monkeypatch):
    asked = {}

    def retrieve(url, known_hash, fname, path):
        asked[url] = known_hash
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes((small_public / fname).read_bytes())

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert len(open_dataset("mnist").splits["test"]) == 7
    assert asked["http://localhost/train-images-idx3-ubyte.gz"] == "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"
    assert len(asked) == 4


@pytest.mark.parametrize("name", sorted(public.PUBLIC))
def test_offline_is_a_clear_error(name, monkeypatch):
    monkeypatch.setattr(pooch, "retrieve", _no_network)
    with pytest.raises(DataError, match=f"'{name}' is neither in --data-dir .* cannot be downloaded"):
        open_dataset(name)


@needs_real
@pytest.mark.parametrize("name", sorted(public.PUBLIC))
def test_real_public_sets(name):
    data = open_dataset(name, data_dir=REAL)
    assert data.schema.target == ImageSpec(1, 28, 28)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 55_000, "val": 5_000, "test": 10_000}


@needs_real
def test_real_arrays_and_tables():
    faces = open_dataset(Path(REAL, "olivetti-faces", "olivetti_faces.npz"), labels_key="subject")
    assert faces.schema.target == ImageSpec(1, 64, 64) and len(faces.schema.label.classes) == 40
    nouns = open_dataset(Path(REAL, "nouns32", "nouns32.npz"))
    assert nouns.schema.target == ImageSpec(3, 32, 32) and len(nouns.schema.label.classes) == 21
    table = open_dataset(Path(REAL, "adbench", "26_optdigits.npz"))
    assert table.schema.target.dim == 64 and len(table.schema.label.classes) == 2


# ---- names, paths and options


def test_unknown_names_get_a_hint(tmp_path):
    with pytest.raises(DataError, match=r"'digts' does not exist.*Did you mean 'digits'"):
        open_dataset("digts")
    with pytest.raises(DataError, match=r"does not exist.*Known: digits"):
        open_dataset(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(Path("digits"))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="no known kind"):
        open_dataset(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("digits", {"size": 4}, "size 4 x 4"),
        ("digits", {"size": (16, 100_000)}, "out of range"),
        ("digits", {"channels": 2}, "channels is 2"),
        ("digits", {"max_bad": 1.5}, "max-bad"),
        ("digits", {"images_key": "x"}, "images_key"),
        ("ring8", {"size": 16}, "rows of numbers"),
        (42, {}, "type int"),
    ],
)
def test_wrong_options(source, options, message):
    with pytest.raises(UsageError, match=message):
        open_dataset(source, **options)
