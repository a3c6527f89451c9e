"""Folders and zips of pictures: every mode, every kind of broken file, hostile archives, and the cache."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genarena.data import ImageSpec, decoding, open_dataset, pictures
from genarena.errors import DataError, StorageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GENARENA_CACHE", str(tmp_path_factory.mktemp("cache")))


def _noise(seed, size=(12, 10), mode="RGB"):
    shape = (*size, 3) if mode == "RGB" else size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def _bytes(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _many(count=10, **options):
    return {f"{i:02d}.png": _bytes(_noise(i, **options)) for i in range(count)}


def _labelled():
    files = {}
    for i in range(24):
        split = ("train", "valid", "Test")[min(i // 10, 2)]
        files[f"{split}/{'cat' if i % 2 else 'ape'}/{i}.png"] = _bytes(_noise(i))
    return files


def _decode(content: bytes):
    return pictures.decode(io.BytesIO(content))


# ---- layout


def test_folder_and_zip_are_the_same_data(tmp_path):
    folder = open_dataset(_write(tmp_path / "set", _labelled()))
    packed = open_dataset(_zip(tmp_path / "set.zip", _labelled()))
    wrapped = open_dataset(_zip(tmp_path / "in.zip", {f"top/{name}": data for name, data in _labelled().items()}))
    assert folder.fingerprint == packed.fingerprint == wrapped.fingerprint and folder.name == packed.name == "set"
    assert folder.schema.target == ImageSpec(3, 12, 10) and folder.schema.label.classes == ("ape", "cat")
    assert {split: len(rows) for split, rows in folder.splits.items()} == {"train": 10, "val": 10, "test": 4}
    first = np.asarray(_noise(0)).transpose(2, 0, 1)
    assert any((image == first).all() for image in folder.values("train")[folder.labels("train") == 0])


def test_order_of_listing_does_not_matter(tmp_path, monkeypatch):
    root = _write(tmp_path, {f"{name}/{i}.png": _bytes(_noise(i)) for i in range(15) for name in ("b", "a", "é", "Z")})
    before = open_dataset(root)
    walk = os.walk

    def shuffled(*args, **options):
        shuffle = random.Random(0).shuffle
        for folder, directories, files in walk(*args, **options):
            shuffle(directories)
            shuffle(files)
            yield folder, directories, files

    monkeypatch.setattr(os, "walk", shuffled)
    assert open_dataset(root).fingerprint == before.fingerprint
    assert before.schema.label.classes == ("Z", "a", "b", "é")


def test_flat_folder_has_no_labels(tmp_path):
    data = open_dataset(_write(tmp_path, _many()))
    assert data.schema.label is None and [len(rows) for rows in data.splits.values()] == [7, 1, 2]


def test_few_labels_are_none_and_few_unlabelled_images_are_left_out(tmp_path):
    data = open_dataset(
        _write(tmp_path / "few", _many() | {"a/x.png": _bytes(_noise(77)), "b/y.png": _bytes(_noise(78))})
    )
    assert data.schema.label is None and sum(map(len, data.splits.values())) == 12
    # nor are they classes where every folder holds one image
    assert "every folder holds one image: they were not taken as classes" in data.notes
    files = _many(2) | {
        f"{name}/{i}.png": _bytes(_noise(50 + i + 20 * (name == "a"))) for i in range(9) for name in "ab"
    }
    root = _write(tmp_path / "most", files)
    data = open_dataset(root)
    assert data.schema.label.classes == ("a", "b") and len(data.files) == 20
    assert sum(map(len, data.splits.values())) == 18
    assert all((data.labels(split) >= 0).all() for split in data.splits)
    assert any(note.startswith("2 of 20 examples have no label and were left out (--no-labels") for note in data.notes)
    everything = open_dataset(root, labels=False)
    assert everything.schema.label is None and sum(map(len, everything.splits.values())) == 20


def test_test_may_be_a_class(tmp_path):
    files = {f"{name}/{i}.png": _bytes(_noise(i + 50 * (name == "test"))) for i in range(6) for name in ("test", "cat")}
    data = open_dataset(_write(tmp_path, files))
    assert data.schema.label.classes == ("cat", "test")


def test_images_outside_the_splits_are_left_out_with_a_note(tmp_path):
    data = open_dataset(_write(tmp_path, _labelled() | {"extra/a.png": _bytes(_noise(99))}))
    assert len(data.fields["image"].values) == 24 and any(
        "1 image(s) outside the folders of splits" in note for note in data.notes
    )


def test_other_and_hidden_files_are_ignored(tmp_path):
    hidden = {".DS_Store": b"", "__MACOSX/._a.png": b"x", "._b.png": b"x", "notes.txt": b"x"}
    packed = open_dataset(_zip(tmp_path / "a.zip", _many() | hidden))
    assert len(packed.fields["image"].values) == 10 and not packed.quarantined
    folder = open_dataset(_write(tmp_path / "a", _many() | {".hidden/a.png": b"x", "notes.txt": b"x"}))
    assert folder.fingerprint == packed.fingerprint and "1 file(s) that are no images were ignored" in folder.notes


def test_names_of_every_kind(tmp_path):
    root = _write(
        tmp_path, {f"{name}/{i}.png": _bytes(_noise(i)) for i in range(3) for name in ("[a]", "-b", "c d", "😀")}
    )
    os.makedirs(os.fsencode(root) + b"/\xff")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff/1.png")).write_bytes(_bytes(_noise(5)))
    classes = open_dataset(root).schema.label.classes
    assert classes == ("-b", "[a]", "c d", "😀", "\udcff")


# ---- sizes and modes


def test_sizes(tmp_path):
    files = _many(6) | {f"wide{i}.png": _bytes(_noise(i, (20, 40))) for i in range(3)}
    root = _write(tmp_path, files)
    data = open_dataset(root)
    assert data.schema.target == ImageSpec(3, 12, 10)
    assert any(note.startswith("3 image(s) of other sizes") for note in data.notes)
    assert open_dataset(root, size=(16, 24)).schema.target == ImageSpec(3, 16, 24)
    assert open_dataset(root, size=16, channels=1).schema.target == ImageSpec(1, 16, 16)


def test_many_sizes_become_a_square_of_the_median_shorter_side(tmp_path):
    root = _write(tmp_path, {f"{i}.png": _bytes(_noise(i, (10 + i, 30 - i))) for i in range(9)})
    assert open_dataset(root).schema.target == ImageSpec(3, 14, 14)


def test_photographs_are_reduced_by_default(tmp_path):
    root = _write(tmp_path, {f"{i}.jpg": _bytes(_noise(i, (300, 600)), "JPEG") for i in range(3)})
    assert open_dataset(root).schema.target == ImageSpec(3, 128, 256)


def test_resizing_crops_the_middle_and_antialiases():
    stripes = np.zeros((64, 128), np.uint8)
    stripes[:, ::2] = 255
    stripes[:, :32] = stripes[:, 96:] = 10  # outside the middle square
    codes = pictures.fit(Image.fromarray(stripes), (8, 8), 1)
    assert codes.shape == (1, 8, 8) and np.abs(codes[0, :, 1:-1].astype(int) - 127).max() <= 3


def test_grey_stays_one_channel_judged_by_pixels(tmp_path):
    grey = {f"{i}.png": _bytes(_noise(i, mode="L")) for i in range(5)}
    assert open_dataset(_write(tmp_path / "a", grey)).schema.target.channels == 1
    mixed = grey | {"rgb.png": _bytes(_noise(9, mode="L").convert("RGB"))}
    data = open_dataset(_write(tmp_path / "b", mixed))
    assert data.schema.target.channels == 1 and any("kept as one channel" in note for note in data.notes)
    assert open_dataset(_write(tmp_path / "c", mixed | {"z.png": _bytes(_noise(7))})).schema.target.channels == 3


def test_one_bit_images_have_two_levels(tmp_path):
    root = _write(tmp_path, {f"{i}.png": _bytes(_noise(i, mode="L").convert("1")) for i in range(5)})
    assert open_dataset(root).schema.target == ImageSpec(1, 12, 10, 2)


def test_transparency_is_laid_on_white():
    rgba = Image.new("RGBA", (9, 8), (200, 0, 0, 0))
    palette = Image.new("P", (9, 8), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    grey_alpha = Image.new("LA", (9, 8), (0, 0))
    for content in (_bytes(rgba), _bytes(palette, transparency=1), _bytes(grey_alpha), _bytes(rgba, "WEBP")):
        image, remarks = _decode(content)
        assert np.asarray(image).min() == 255 and remarks == ["transparency was laid on white"]
    assert _decode(_bytes(grey_alpha))[0].mode == "L"
    assert np.asarray(_decode(_bytes(palette))[0])[0, 0].tolist() == [200, 0, 0]


def test_cmyk_and_exif():
    red = Image.new("RGB", (9, 8), (255, 0, 0))
    image, remarks = _decode(_bytes(red.convert("CMYK"), "JPEG"))
    assert np.abs(np.asarray(image).astype(int) - [255, 0, 0]).max() < 8 and remarks == ["CMYK was converted to RGB"]
    wide = Image.new("L", (20, 10))
    wide.paste(255, (0, 0, 10, 10))  # white left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    content = _bytes(wide, "JPEG", exif=exif)
    image, remarks = _decode(content)
    upright = np.asarray(image)
    assert upright.shape == (20, 10) and upright[:8].min() > 200 > 50 > upright[12:].max()
    assert remarks == ["turned upright as EXIF says"]
    assert pictures.read_header(io.BytesIO(content)) == (20, 10, True, False)


def test_first_frame_only():
    frames = [Image.new("L", (9, 8), 255 * (i % 2)) for i in range(4)]
    for form in ("GIF", "TIFF", "PNG"):
        image, remarks = _decode(_bytes(frames[0], form, save_all=True, append_images=frames[1:]))
        assert np.asarray(image).max() == 0 and "first of several frames" in remarks[0]


# ---- broken and hostile files


def _png_header(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _truncated_jpeg():
    return _bytes(_noise(0, (64, 64)), "JPEG", quality=95)[:-600]


def test_a_truncated_jpeg_passes_verify_but_not_us():
    with Image.open(io.BytesIO(_truncated_jpeg())) as image:
        image.verify()
    with pytest.raises(OSError, match="truncated"):
        _decode(_truncated_jpeg())


BAD = {
    "empty.png": (b"", "it is empty"),
    "text.png": (b"this is no picture", "cannot identify image file"),
    "cut.png": (_bytes(_noise(1))[:200], ""),
    "cut.jpg": (_truncated_jpeg(), "truncated"),
    "cut.gif": (_bytes(_noise(1, (40, 40)), "GIF")[:900], "truncated"),
    "cut.webp": (_bytes(_noise(1), "WEBP")[:60], ""),
    "crc.png": (_bytes(_noise(1)).replace(b"IDAT", b"IDAX"), ""),
    "bomb.png": (_png_header(13_000, 13_000), "13000 x 13000 pixels are more than 50,000,000"),
    "huge.png": (_png_header(65_535, 65_535), ""),
    "eps.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is PostScript: convert it"),
}


def test_bad_files_are_quarantined_with_path_and_reason(tmp_path):
    root = _write(tmp_path, {f"good/{i:02d}.png": _bytes(_noise(i)) for i in range(60)})
    _write(root / "good", {name: content for name, (content, _) in BAD.items()})
    _write(root / "good", {"wrong-suffix.png": _bytes(_noise(70), "JPEG")})
    data = open_dataset(root)
    assert len(data.fields["image"].values) == 61
    assert {Path(bad.path).name for bad in data.quarantined} == set(BAD)
    for bad in data.quarantined:
        assert bad.reason and BAD[Path(bad.path).name][1] in bad.reason and "_io" not in bad.reason


def test_too_many_bad_files(tmp_path):
    root = _write(tmp_path, _many(7) | {"x.png": b"no", "y.png": b"no", "cut.jpg": _truncated_jpeg()})
    with pytest.raises(DataError, match=r"3 of 10 images cannot be used, first '.*': .*--max-bad \(now 0\.2\)"):
        open_dataset(root)
    data = open_dataset(root, max_bad=0.3)
    assert len(data.fields["image"].values) == 7 and len(data.quarantined) == 3


def test_labels_stay_with_their_images_when_files_are_bad(tmp_path):
    files = {
        f"{'dark' if i % 2 else 'light'}/{i}.png": _bytes(Image.new("L", (9, 8), i + 100 * (1 - i % 2)))
        for i in range(30)
    }
    files |= {"dark/1.png": b"broken", "light/20.png": b"broken"}
    data = open_dataset(_write(tmp_path, files))
    brightness = data.fields["image"].values[:, 0, 0, 0]
    assert ((brightness >= 100) == (data.fields["label"].values == data.schema.label.classes.index("light"))).all()
    assert [int(Path(file).stem) for file in data.files] == [int(code) % 100 for code in brightness]
    assert [file.split("/")[0] for file in data.files] == ["light" if code >= 100 else "dark" for code in brightness]


def test_no_crash_on_mutated_files():
    generator = np.random.default_rng(0)
    seeds = [_bytes(_noise(1), form) for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")]
    members = []
    for i in range(140):
        content = bytearray(seeds[i % len(seeds)])
        for place in generator.integers(0, len(content), 6):
            content[place] = int(generator.integers(0, 256))
        members.append(decoding.Member(f"{i}.png", "", lambda content=bytes(content): io.BytesIO(content)))
    members.append(decoding.Member("good.png", "", lambda: io.BytesIO(seeds[0])))
    decoded = decoding.decode_all(members, decoding.PictureOptions(size=(8, 8), max_bad=1))
    assert len(decoded.values) + len(decoded.quarantined) == 141 and decoded.quarantined
    assert all(bad.reason for bad in decoded.quarantined)


def test_empty_and_tiny_folders(tmp_path):
    with pytest.raises(DataError, match="no images"):
        open_dataset(tmp_path)
    _zip(tmp_path / "set.zip", _many())
    with pytest.raises(DataError, match=r"It holds 'set\.zip'"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="1 example"):
        open_dataset(_write(tmp_path / "one", _many(1)))
    with pytest.raises(DataError, match="no images"):
        open_dataset(_zip(tmp_path / "none.zip", {"a.txt": b"x"}))


def test_all_equal_images_still_open(tmp_path):
    data = open_dataset(_write(tmp_path, {f"{i}.png": _bytes(Image.new("L", (8, 8))) for i in range(12)}))
    assert all(len(rows) for rows in data.splits.values()) and data.schema.target.levels == 256


def test_links_are_counted_and_followed_where_asked_and_loops_end(tmp_path):
    root = _write(tmp_path / "set", {f"a/{name}": content for name, content in _many().items()})
    _write(tmp_path / "outside", {f"{i}.png": _bytes(_noise(90 + i)) for i in range(4)})
    (root / "a" / "file.png").symlink_to(tmp_path / "outside" / "0.png")
    (root / "b").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    (root / "a" / "round").symlink_to(root / "a" / "round")
    (root / "a" / "inside.png").symlink_to(root / "a" / "00.png")
    data = open_dataset(root)
    assert len(data.fields["image"].values) == 11 and data.schema.label is None
    notes = " / ".join(data.notes)
    assert (
        "2 link(s) that lead out of the folder were passed over (--follow-links takes them): 'a/file.png', 'b'" in notes
    )
    assert "1 link(s) to folders were passed over (--follow-links takes them): 'loop'" in notes
    assert "1 link(s) that lead nowhere were passed over: 'a/round'" in notes
    followed = open_dataset(root, follow_links=True)
    assert len(followed.fields["image"].values) == 16 and followed.schema.label.classes == ("a", "b")
    assert sum(file.startswith("b/") for file in followed.files) == 4


def test_a_folder_of_nothing_but_links_says_how_many(tmp_path):
    _write(tmp_path / "store", _many())
    (tmp_path / "set").mkdir()
    for path in (tmp_path / "store").iterdir():
        (tmp_path / "set" / path.name).symlink_to(path)
    with pytest.raises(DataError, match=r"no images .*10 link\(s\) that lead out of the folder .*--follow-links"):
        open_dataset(tmp_path / "set")
    assert open_dataset(tmp_path / "set", follow_links=True).fingerprint == open_dataset(tmp_path / "store").fingerprint


@pytest.mark.parametrize(
    ("file", "record"),
    [
        ("config.json", {"genarena": "1", "model": "vae", "schema": {}}),
        ("plan.json", {"contenders": [], "seeds": [0], "fingerprint": ""}),
        ("comparison.json", {"genarena": "1", "contenders": [], "plan": {}}),
        ("evaluator.json", {"protocol": {}, "spaces": [], "hash": ""}),
    ],
)
def test_what_genarena_wrote_is_no_data(tmp_path, file, record):
    root = _write(tmp_path / "set", _many())
    before = open_dataset(root)
    _write(root / "arena", {file: json.dumps(record).encode(), "pictures/a.png": _bytes(_noise(77))})
    _write(root / "mine", {"config.json": b'{"model": "my camera"}', "x.png": _bytes(_noise(78))})
    data = open_dataset(root)
    assert len(data.fields["image"].values) == len(before.fields["image"].values) + 1
    assert "1 folder(s) that genarena wrote were left out: 'arena'" in data.notes
    with pytest.raises(DataError, match="was written by genarena"):
        open_dataset(root / "arena")
    _write(root, {file: json.dumps(record).encode(), "samples/a.png": _bytes(_noise(79))})
    assert open_dataset(root).fingerprint == data.fingerprint  # a run in the very folder of its data


def test_unsafe_zip_names_are_skipped(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    path = _zip(tmp_path / "a.zip", _many())
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../up.png", "a/../../up.png", "/abs.png", "C:/drive.png", "..\\back.png", "\\\\host\\share.png"):
            archive.writestr(name, _bytes(_noise(99)))
        archive.writestr(link, "/etc/passwd")
    before = sorted(path.parent.parent.rglob("*"))
    data = open_dataset(path)
    assert len(data.fields["image"].values) == 10 and "7 member(s) with unsafe names" in " ".join(data.notes)
    assert sorted(path.parent.parent.rglob("*")) == before


def test_zip_bombs_are_refused(tmp_path):
    bomb = _zip(tmp_path / "a.zip", _many(9) | {"bomb.bmp": b"BM" + bytes(20_000_000)})
    [bad] = open_dataset(bomb).quarantined
    assert bad.path == "bomb.bmp" and "zip bombs" in bad.reason


def test_zip_promises_are_checked(tmp_path, monkeypatch):
    path = _zip(tmp_path / "a.zip", _many())
    monkeypatch.setattr("genarena.data.archives.MAX_LIST", 500)
    with pytest.raises(DataError, match="list of members has 520 bytes, more than 500"):
        open_dataset(path)
    monkeypatch.undo()
    monkeypatch.setattr("genarena.data.archives.MAX_BYTES", 1000)
    with pytest.raises(DataError, match="unpack to more"):
        open_dataset(path)


def test_encrypted_and_damaged_zips(tmp_path):
    path = _zip(tmp_path / "a.zip", _many())
    whole = path.read_bytes()
    encrypted = bytearray(whole)
    for place in (whole.find(b"PK\x03\x04") + 6, whole.find(b"PK\x01\x02") + 8):
        encrypted[place] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(DataError, match="encrypted"):
        open_dataset(path)
    path.write_bytes(whole[:300])
    with pytest.raises(DataError, match="not a usable zip"):
        open_dataset(path)
    damaged = bytearray(whole)
    damaged[60] ^= 255
    path.write_bytes(damaged)
    [bad] = open_dataset(path).quarantined
    assert bad.path == "00.png"


# ---- the cache


def test_large_sets_are_memory_mapped_and_equal(tmp_path, monkeypatch):
    root = _write(tmp_path, _many() | {"bad.png": b"broken"})
    small = open_dataset(root)
    monkeypatch.setattr(decoding, "MEMORY_LIMIT", 1000)
    first = open_dataset(root)
    assert isinstance(first.fields["image"].values, np.memmap) and first.fingerprint == small.fingerprint
    monkeypatch.setattr(pictures, "decode", None)  # a hit decodes nothing
    again = open_dataset(root)
    assert again.fingerprint == first.fingerprint and again.quarantined == first.quarantined != ()
    with pytest.raises(DataError, match="--max-bad"):
        open_dataset(root, max_bad=0.01)
    assert sorted(path.suffix for path in decoding.cache_folder().iterdir()) == [".json", ".npy"]


def test_changed_files_and_damaged_caches_are_decoded_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MEMORY_LIMIT", 1000)
    root = _write(tmp_path, _many())
    first = open_dataset(root).fingerprint
    [stored] = decoding.cache_folder().glob("*.npy")
    stored.write_bytes(stored.read_bytes()[:500])
    assert open_dataset(root).fingerprint == first
    stored.with_suffix(".json").write_text("{")
    assert open_dataset(root).fingerprint == first
    (root / "00.png").write_bytes(_bytes(_noise(99)))
    assert open_dataset(root).fingerprint != first


def test_the_cache_is_of_one_folder_and_of_its_content(tmp_path, monkeypatch):
    """Same names, sizes and times with other pixels, in another folder and in the same."""
    monkeypatch.setattr(decoding, "MEMORY_LIMIT", 1000)

    def folder(name, shade):
        images = {f"{i:02d}.bmp": _bytes(Image.new("L", (12, 10), shade + i), "BMP") for i in range(10)}
        root = _write(tmp_path / name, images)
        for path in root.iterdir():
            os.utime(path, (1_000_000, 1_000_000))
        return root

    assert open_dataset(folder("a", 0)).fields["image"].values.max() == 9
    assert open_dataset(folder("b", 100)).fields["image"].values.max() == 109
    assert open_dataset(folder("a", 200)).fields["image"].values.max() == 209
    [newest] = [path for path in decoding.cache_folder().glob("*.npy") if path.read_bytes().count(209)]
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 255
    newest.write_bytes(damaged)
    assert open_dataset(tmp_path / "a").fields["image"].values.min() == 200


def test_grey_kept_as_one_channel_survives_the_cache(tmp_path, monkeypatch):
    root = _write(tmp_path, {f"{i}.png": _bytes(_noise(i, mode="L").convert("RGB")) for i in range(10)})
    small = open_dataset(root)
    monkeypatch.setattr(decoding, "MEMORY_LIMIT", 1000)
    assert open_dataset(root).fingerprint == open_dataset(root).fingerprint == small.fingerprint


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MEMORY_LIMIT", 1000)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("GENARENA_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="point GENARENA_CACHE elsewhere"):
        open_dataset(_write(tmp_path / "set", _many()))


def test_interruption_leaves_no_part_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MEMORY_LIMIT", 1000)

    def interrupt(stage, done, total):
        if stage == "images" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_dataset(_write(tmp_path, _many()), progress=interrupt)
    assert list(decoding.cache_folder().iterdir()) == []


def test_decoded_size_is_capped(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="smaller --size"):
        open_dataset(_write(tmp_path, _many()))


def test_progress_is_reported(tmp_path):
    seen = []
    open_dataset(_write(tmp_path, _many(4)), progress=lambda *record: seen.append(record))
    assert seen[-1] == ("images", 4, 4) and ("headers", 1, 4) in seen and len(seen) == 8
