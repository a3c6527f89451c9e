"""Small files that stand for much, and files that are none: refused before they take memory or time."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from genarena import cli
from genarena.checkpoint import read_tensors
from genarena.comparison.run import _tail
from genarena.data import ImageSpec, containers, open_dataset, pictures
from genarena.data.archives import open_member, open_zip
from genarena.errors import DataError, GenarenaError, RunError, UsageError
from genarena.events import last_event, read_events
from genarena.files import copy_file, parse_yaml, read_json, sha256_of
from genarena.fitted import load_model
from genarena.metrics.spaces import FeatureSpace

MEGABYTES = 150  # of address space that a reader may take


def within(use: Callable[[], Any], seconds: int = 20) -> str:
    """What a process of its own says after this: the outcome, or the error, of reading with little memory and time."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking a process that has threads: the child uses none
        child = os.fork()
    if not child:
        said = "no memory"
        try:
            signal.alarm(seconds)
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limit = taken + MEGABYTES * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            said = f"read {use()!r:.200}"
        except GenarenaError as error:
            said = str(error)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, said.encode()[:2000])
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0, "it hung"
    return said


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _noise(seed: int = 0, size: tuple[int, int] = (16, 12), channels: int = 1) -> Image.Image:
    shape = (*size, channels) if channels > 1 else size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def _zeros(size: int) -> bytes:
    """A deflated stream of so many megabytes of zeros: one of them, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return once * size + packer.flush()


# ---- no regular files


PIPES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "npy": ("a.npy", open_dataset),
    "npz": ("a.npz", open_dataset),
    "zip": ("a.zip", open_dataset),
    "json": ("a.json", read_json),
    "hash": ("a.bin", sha256_of),
    "tensors": ("a.safetensors", read_tensors),
    "events": ("events.jsonl", read_events),
    "settings": ("a.yaml", lambda path: cli._settings(None, path)),
    "a copy": ("a.bin", lambda path: copy_file(path, path.with_suffix(".new"))),
    "a log": ("worker.log", _tail),
    "a run": ("config.json", lambda path: load_model(path.parent)),
}


@pytest.mark.parametrize("kind", PIPES)
def test_a_pipe_keeps_nobody_waiting(kind: str, tmp_path: Path) -> None:
    name, use = PIPES[kind]
    os.mkfifo(tmp_path / name)
    assert "no regular file" in within(lambda: use(tmp_path / name), 5)


def test_the_last_event_of_a_pipe_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    assert within(lambda: last_event(tmp_path / "events.jsonl"), 5) == "read None"


def test_a_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("/dev/zero")
    assert "no regular file" in within(lambda: read_json(tmp_path / "a.json"))


# ---- records


def test_events_in_a_hole_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    os.truncate(path, 13 * 10**9)
    assert "larger than 16 MB" in within(lambda: read_events(path))
    assert within(lambda: last_event(path)) == "read None"


@pytest.mark.parametrize("unit", ["[],", "{},", '{"a":[1,2]},', "0,"])
def test_json_of_too_many_values_is_refused_before_any_is_made(unit: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + unit * (20 * 2**20 // len(unit)) + "0]")
    assert "more than 1,000,000 values" in within(lambda: read_json(path))


def test_records_of_any_number_of_values_are_bounded_in_events_too(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("{}\n" * 5_000_000)
    assert "more than 1,000,000 values" in within(lambda: read_events(tmp_path / "events.jsonl"))


LAUGHS = "\n".join(
    [
        "a0: &a0 [lol, lol, lol, lol]",
        *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 30)),
    ]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "alias"),
        ("a: &a\n  <<: *a\n", "alias"),
        ("[" * 600 + "]" * 600, "recursion"),
        ("a: " + "9" * 10_000, "digits"),
        ("a: !!timestamp x", "NoneType"),
        ("a: !!python/object/apply:os.getcwd []", "constructor"),
        ("a: b\n" * 100_000, "longer than 64 kB"),
    ],
)
def test_hostile_yaml_is_a_value_error(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match="cannot be read"):
        cli._settings(None, tmp_path / "a.yaml")


def test_a_value_on_the_command_line_may_be_any_text() -> None:
    assert cli._settings(["a=*b", "c=[1, 2]", "d=" + "[" * 600], None) == {"a": "*b", "c": [1, 2], "d": "[" * 600}


# ---- tensors


def _hollow(path: Path, tensors: dict[str, tuple[str, list[int], int]]) -> Path:
    """A safetensors file of zeros that take no room on the disk."""
    header, end = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)
    return path


def test_a_header_of_tensors_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 5 * 2**20) + b"{}".ljust(5 * 2**20))
    with pytest.raises(RunError, match="header is not one of at most 4 MB"):
        read_tensors(path)


def test_a_file_of_tensors_is_bounded(tmp_path: Path) -> None:
    path = _hollow(tmp_path / "a.safetensors", {"anomaly_score": ("F32", [2**28], 2**30)})
    with pytest.raises(RunError, match="larger than 1 MB"):
        read_tensors(path, most=2**20)


@pytest.mark.parametrize("kind", ["conv-classifier", "random-conv"])
def test_networks_of_a_feature_space_are_not_made_before_their_weights_are_seen(kind: str, tmp_path: Path) -> None:
    settings = {"classes": 4096, "width": 1024} if kind == "conv-classifier" else {"seed": 0, "dim": 4092}
    record = {
        "format": 1,
        "id": "a",
        "input": {"kind": "image", "shape": [3, 32, 32]},
        "nets": [{"kind": kind, "settings": settings}] * 16,
    }
    path = tmp_path / "a.safetensors"
    save_file(
        {"mean": torch.zeros(1), "components": torch.zeros(1, 1)}, path, metadata={"genarena": json.dumps(record)}
    )
    assert "not those of its networks" in within(lambda: FeatureSpace.load(path, ImageSpec(3, 32, 32)))


# ---- archives


def _patched(path: Path, name: str, packed: bytes, method: int, promised: int) -> Path:
    """A zip of nine pictures and one member of these packed bytes, which says of itself what it likes."""
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(9):
            archive.writestr(f"{i}.png", _saved(_noise(i), "PNG"))
        archive.writestr(name, packed)
    content = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<HHHIII", content, content.rfind(signature) + at, method, 0, 33, 0, len(packed), promised)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("method", "promised", "reason"),
    [
        (zipfile.ZIP_BZIP2, 1000, "packed by bzip2"),
        (zipfile.ZIP_LZMA, 1000, "packed by lzma"),
        (zipfile.ZIP_DEFLATED, 1000, "Bad CRC-32"),  # and no more than these were unpacked
        (zipfile.ZIP_DEFLATED, 300 * 2**20, "as zip bombs do"),
        (zipfile.ZIP_DEFLATED, 600 * 2**20, "larger than 500 MB"),
    ],
)
def test_zip_members_unpack_to_what_they_promise_at_most(
    method: int, promised: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENARENA_CACHE", str(tmp_path))
    path = _patched(tmp_path / "a.zip", "bomb.bmp", _zeros(300), method, promised)
    assert reason in within(lambda: [bad.reason for bad in open_dataset(path).quarantined])


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = _patched(tmp_path / "a.zip", "bomb.bmp", bytes(5000), zipfile.ZIP_STORED, 5000)
    content = path.read_bytes()
    first, start, end = content.find(b"PK\x01\x02"), content.rfind(b"PK\x01\x02"), content.rfind(b"PK\x05\x06")
    entries = content[first:start] + content[start:end] * 40
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 49, 49, len(entries), first, 0)
    path.write_bytes(content[:first] + entries + tail)
    with pytest.raises(DataError, match="overlap"):
        open_dataset(path)


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _npz(path: Path, members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore", UserWarning)  # of two members of one name
        for name, content in members:
            archive.writestr(name, content)
    return path


SMALL = np.random.default_rng(0).integers(0, 256, (30, 16, 16), dtype=np.uint8)


def test_no_array_comes_from_the_shadow_of_another(tmp_path: Path) -> None:
    shadowed = _npz(tmp_path / "a.npz", [("x.npy", _npy(SMALL)), ("x", _npy(np.zeros((5000, 32, 32), np.uint8)))])
    assert (open_dataset(shadowed).fields["image"].values[:, 0] == SMALL).all()
    twice = _npz(tmp_path / "b.npz", [("x.npy", _npy(SMALL)), ("x.npy", _npy(SMALL[:20]))])
    with pytest.raises(DataError, match="two arrays 'x'"):
        open_dataset(twice)


def test_arrays_that_are_bombs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="as zip bombs do"):
        open_dataset(_npz(tmp_path / "a.npz", [("x.npy", _npy(np.zeros((20_000, 32, 32), np.uint8)))]))
    with pytest.raises(DataError, match="packed by bzip2"):
        open_dataset(_npz(tmp_path / "b.npz", [("x.npy", _npy(SMALL))], zipfile.ZIP_BZIP2))


def test_a_member_is_read_to_its_check_sum(tmp_path: Path) -> None:
    path = _npz(tmp_path / "a.npz", [("x.npy", _npy(SMALL))], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        open_dataset(path)
    with (
        open_zip(path) as archive,
        pytest.raises(zipfile.BadZipFile),
        open_member(archive, archive.infolist()[0]) as stream,
    ):
        stream.read()


# ---- pictures


def _tiff(tags: list[tuple[int, int, int, int]], data: bytes = b"") -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def _grey(side: int, *more: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1), *more]


def _scans(times: int) -> bytes:
    content = _saved(Image.new("L", (64, 64), 77), "JPEG", progressive=True)
    last = content.rfind(b"\xff\xda")
    return content[:last] + content[last:-2] * times + content[-2:]


def _png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    content = _saved(_noise(), "PNG")
    added = b"".join(
        struct.pack(">I4s", len(data), name) + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return content[:33] + added + content[33:]


TILE = zlib.compress(bytes(10_000))
REFUSED = {
    "a tile larger than its picture": (
        _tiff(
            _grey(
                16, (259, 3, 1, 8), (322, 4, 1, 40_000), (323, 4, 1, 40_000), (324, 4, 1, 134), (325, 4, 1, len(TILE))
            ),
            TILE,
        ),
        "tiles of 40000 x 40000",
    ),
    "tags of the same bytes": (
        _tiff(
            _grey(
                16,
                (273, 4, 1, 140),
                (278, 4, 1, 16),
                (279, 4, 1, 256),
                *((40_000 + i, 7, 5000, 140) for i in range(90)),
            ),
            bytes(5000),
        ),
        "its tags say",
    ),
    "scans": (_scans(70), "more than 64 times"),
    "a GIF without end": (_saved(_noise(), "GIF")[:13] + bytes(500_000), "its header has no end"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_pictures_that_are_bombs_are_refused_with_a_reason(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_MAX_CALLS", 100_000)
    content, reason = REFUSED[kind]

    def decode() -> object:
        try:
            return pictures.decode(io.BytesIO(content))
        except ValueError as error:
            return str(error)

    assert reason in within(decode)


def _blank(form: str, mode: str, side: int, **options: Any) -> bytes:
    """A PNG or JPEG whose header promises another size than it has: refused on the header alone."""
    content = bytearray(_saved(Image.new(mode, (16, 16)), form, **options))
    if form == "PNG":
        struct.pack_into(">II", content, 16, side, side)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    else:
        place = next(content.find(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in content)
        struct.pack_into(">HH", content, place + 5, side, side)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        _blank("PNG", "RGBA", 5700),
        _blank("PNG", "RGB", 7000),
        _blank("JPEG", "RGB", 5100, progressive=True),
        _blank("PNG", "LA", 5000),
        _blank("JPEG", "CMYK", 5700),
    ],
)
def test_a_picture_much_larger_than_its_file_is_refused_on_its_header(content: bytes) -> None:
    for use in (pictures.read_header, pictures.decode):
        with pytest.raises(ValueError, match="as in decompression bombs"):
            use(io.BytesIO(content))
