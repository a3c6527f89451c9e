"""Feed small files that stand for much to whatever reads them, and see what it costs to refuse them.

    python benchmarks/bombs.py            # prints a table; --only WORD for some
    python benchmarks/bombs.py --limit 8  # gigabytes of address space a reader may take before it is stopped

Every bomb is read by a process of its own, forked from one that has everything imported. Its peak of resident memory is
given above that of one that reads nothing.
"""

from __future__ import annotations

import argparse
import bz2
import io
import json
import lzma
import os
import resource
import signal
import struct
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from genarena import cli
from genarena.data import ImageSpec, open_dataset
from genarena.errors import GenarenaError
from genarena.events import last_event, read_events
from genarena.files import read_json
from genarena.fit import fit, plan
from genarena.fitted import load_model
from genarena.housekeeping import examine
from genarena.metrics.spaces import FeatureSpace

Feed = Callable[[], Any]
Maker = Callable[[Path], tuple[Feed, str]]
BOMBS: dict[str, Maker] = {}
PATIENCE = 60  # seconds


def bomb(name: str) -> Callable[[Maker], Maker]:
    """A function that makes a bomb in a folder, and returns what reads it and what it would become."""

    def add(maker: Maker) -> Maker:
        BOMBS[name] = maker
        return maker

    return add


# ---- archives


def _png(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _zip(path: Path, name: str, packed: bytes, method: int, promised: int, crc: int = 0) -> Path:
    """Nine pictures and one member of these packed bytes, which promises a size of its own."""
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(9):
            archive.writestr(f"{i}.png", _png(i))
        archive.writestr(name, packed)
    content = path.read_bytes()
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.rfind(signature) + at
        flags = struct.pack("<HHH", method, 0, 33) + struct.pack("<III", crc, len(packed), promised)
        content = content[:place] + flags + content[place + len(flags) :]
    path.write_bytes(content)
    return path


def _pack(method: int, size: int) -> bytes:
    block = bytes(2**20)
    if method == zipfile.ZIP_LZMA:
        packer: Any = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 2**20}])
        head = b"\x09\x04\x05\x00" + struct.pack("<BI", 93, 2**20)
    else:
        packer = bz2.BZ2Compressor() if method == zipfile.ZIP_BZIP2 else zlib.compressobj(9, zlib.DEFLATED, -15)
        head = b""
    return head + b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def _packed(method: int, promised: int | None) -> Maker:
    def make(folder: Path) -> tuple[Feed, str]:
        size = 2**30
        path = _zip(folder / "a.zip", "bomb.bmp", _pack(method, size), method, promised or size)
        return lambda: open_dataset(path), f"{size:,} bytes"

    return make


BOMBS["zip: a bz2 member that promises 1 kB"] = _packed(zipfile.ZIP_BZIP2, 1000)
BOMBS["zip: an LZMA member that promises 1 kB"] = _packed(zipfile.ZIP_LZMA, 1000)
BOMBS["zip: a deflated member that promises 1 kB"] = _packed(zipfile.ZIP_DEFLATED, 1000)
BOMBS["zip: a deflated member that promises the truth"] = _packed(zipfile.ZIP_DEFLATED, None)


@bomb("zip: members that overlap")
def _(folder: Path) -> tuple[Feed, str]:
    size, times = 2**24, 800
    path = _zip(
        folder / "a.zip", "bomb.bmp", bytes(2**18) + _pack(zipfile.ZIP_DEFLATED, size), zipfile.ZIP_STORED, size
    )
    content = path.read_bytes()
    end = content.rfind(b"PK\x05\x06")
    start = content.rfind(b"PK\x01\x02")
    entry = content[start:end]
    first = content.find(b"PK\x01\x02")
    entries = content[first:start] + entry * times
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 9 + times, 9 + times, len(entries), first, 0)
    path.write_bytes(content[:first] + entries + tail)
    return lambda: open_dataset(path), f"{size * times:,} bytes"


@bomb("zip: a list of 600,000 members")
def _(folder: Path) -> tuple[Feed, str]:
    path, count = folder / "a.zip", 600_000
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, len(entry) * count, 0, 0)
    path.write_bytes(entry * count + end)
    return lambda: open_dataset(path), f"{count:,} members"


def _npy(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@bomb("npz: zeros")
def _(folder: Path) -> tuple[Feed, str]:
    size = 3 * 2**30
    with (
        zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(_npy((size >> 10, 32, 32)))
        for _ in range(size >> 20):
            stream.write(bytes(2**20))
    return lambda: open_dataset(folder / "a.npz"), f"{size:,} bytes"


@bomb("npz: a member 'x' in the shadow of 'x.npy'")
def _(folder: Path) -> tuple[Feed, str]:
    size, small = 2**30, np.random.default_rng(0).integers(0, 256, (50, 16, 16), dtype=np.uint8)
    with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as stream:
            np.save(stream, small)
        with archive.open("x", "w", force_zip64=True) as stream:
            stream.write(_npy((size >> 8, 16, 16)))
            for _ in range(size >> 20):
                stream.write(bytes(2**20))
    return lambda: open_dataset(folder / "a.npz"), f"{size:,} bytes"


@bomb("idx.gz: zeros")
def _(folder: Path) -> tuple[Feed, str]:
    import gzip

    size = 2**30
    with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb", 1) as stream:
        stream.write(struct.pack(">HBBIII", 0, 8, 3, size >> 10, 32, 32))
        for _ in range(size >> 20):
            stream.write(bytes(2**20))
    return lambda: open_dataset(folder), f"{size:,} bytes"


# ---- pictures


def _in_folder(folder: Path, name: str, content: bytes, size: int = 0) -> Feed:
    """A folder of nine pictures and one of these bytes, followed by a hole up to `size` bytes."""
    for i in range(9):
        (folder / f"{i}.png").write_bytes(_png(i))
    with (folder / name).open("wb") as file:
        file.write(content)
        if size:
            file.truncate(size)
    return lambda: open_dataset(folder)


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _tiff(tags: list[tuple[int, int, int, int]], data: bytes = b"") -> bytes:
    """One directory of (tag, type, count, value or offset), then the data, which begin at ``10 + 12 * tags + 4``."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def _grey(side: int, *more: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1), *more]


@bomb("TIFF: a tile of 40,000 x 40,000 in a picture of 16 x 16")
def _(folder: Path) -> tuple[Feed, str]:
    packed = zlib.compress(bytes(2**24), 9)
    at = 14 + 12 * 10
    tags = _grey(
        16, (259, 3, 1, 8), (322, 4, 1, 40_000), (323, 4, 1, 40_000), (324, 4, 1, at), (325, 4, 1, len(packed))
    )
    return _in_folder(folder, "bomb.tif", _tiff(tags, packed)), "1,600,000,000 bytes"


@bomb("TIFF: 4,000 tags of the same 500 kB")
def _(folder: Path) -> tuple[Feed, str]:
    size, count = 500_000, 4000
    at = 14 + 12 * (count + 8)
    shared = [(40_000 + i, 7, size, at) for i in range(count)]
    tags = _grey(16, (273, 4, 1, at), (278, 4, 1, 16), (279, 4, 1, 256), *shared)
    return _in_folder(folder, "bomb.tif", _tiff(tags, bytes(size))), f"{size * count:,} bytes"


@bomb("TIFF: 100 million offsets of strips, in a hole")
def _(folder: Path) -> tuple[Feed, str]:
    count = 100_000_000
    tags = _grey(16, (273, 4, count, 200), (278, 4, 1, 1), (279, 4, 1, 256))
    return _in_folder(folder, "bomb.tif", _tiff(tags), 490_000_000), f"{count:,} numbers"


def _exif(size: int, count: int) -> bytes:
    return _tiff([(274, 3, 1, 6), *((40_000 + i, 7, size, 14) for i in range(count))], bytes(size))


@bomb("PNG: EXIF of 5,000 tags of the same 500 kB")
def _(folder: Path) -> tuple[Feed, str]:
    return _in_folder(
        folder, "bomb.png", _saved(Image.new("L", (16, 16)), "PNG", exif=_exif(500_000, 5000))
    ), "2,500,000,000 bytes"


@bomb("JPEG: EXIF of 4,000 tags of the same 60 kB in ten segments")
def _(folder: Path) -> tuple[Feed, str]:
    content, exif = _saved(Image.new("L", (16, 16)), "JPEG"), _exif(500_000, 4000)
    parts = [exif[i : i + 65_000] for i in range(0, len(exif), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in parts)
    return _in_folder(folder, "bomb.jpg", content[:2] + segments + content[20:]), "2,000,000,000 bytes"


@bomb("AVIF: EXIF of 5,000 tags of the same 500 kB")
def _(folder: Path) -> tuple[Feed, str]:
    content = _saved(Image.new("RGB", (16, 16)), "AVIF", exif=b"Exif\0\0" + _exif(500_000, 5000))
    return _in_folder(folder, "bomb.avif", content), "2,500,000,000 bytes"


@bomb("PNG: text of 200 MB")
def _(folder: Path) -> tuple[Feed, str]:
    packed = b"a\0\0" + zlib.compress(bytes(200_000_000))
    text = struct.pack(">I4s", len(packed), b"zTXt") + packed + struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    content = _saved(Image.new("L", (16, 16)), "PNG")
    return _in_folder(folder, "bomb.png", content[:33] + text + content[33:]), "200,000,000 bytes"


def _blank(mode: str, form: str, name: str, side: tuple[int, int], **options: Any) -> Maker:
    def make(folder: Path) -> tuple[Feed, str]:
        feed = _in_folder(folder, name, _saved(Image.new(mode, side), form, **options))
        return feed, f"{side[0]:,} x {side[1]:,} pixels"

    return make


BOMBS["PNG: blank RGBA of 49 megapixels"] = _blank("RGBA", "PNG", "bomb.png", (7000, 7000))
BOMBS["PNG: blank RGBA of 32 megapixels"] = _blank("RGBA", "PNG", "bomb.png", (5700, 5700))
BOMBS["PNG: blank 16-bit of 49 megapixels"] = _blank("I;16", "PNG", "bomb.png", (7000, 7000))
BOMBS["JPEG: blank CMYK of 32 megapixels"] = _blank("CMYK", "JPEG", "bomb.jpg", (5700, 5700))
BOMBS["JPEG: blank, progressive, of 49 megapixels"] = _blank("RGB", "JPEG", "bomb.jpg", (7000, 7000), progressive=True)
BOMBS["WebP: blank RGBA of 49 megapixels"] = _blank("RGBA", "WEBP", "bomb.webp", (7000, 7000), lossless=True, method=0)


TURNED = Image.Exif()
TURNED[274] = 6
# What is read: as large as pictures may be whose files are small.
BOMBS["PNG: blank RGB of 25 megapixels, turned"] = _blank("RGB", "PNG", "bomb.png", (4990, 4990), exif=TURNED)
BOMBS["PNG: blank RGBA of 18 megapixels, turned"] = _blank("RGBA", "PNG", "bomb.png", (4300, 4300), exif=TURNED)
BOMBS["PNG: blank grey of 49 megapixels, turned"] = _blank("L", "PNG", "bomb.png", (7000, 7000), exif=TURNED)
BOMBS["PNG: blank 16-bit grey of 7 megapixels, turned"] = _blank("I;16", "PNG", "bomb.png", (2700, 2700), exif=TURNED)
BOMBS["TIFF: blank floats of 7 megapixels"] = _blank(
    "F", "TIFF", "bomb.tif", (2700, 2700), compression="tiff_adobe_deflate"
)
BOMBS["TIFF: blank CMYK of 25 megapixels"] = _blank(
    "CMYK", "TIFF", "bomb.tif", (4990, 4990), compression="tiff_adobe_deflate"
)
BOMBS["JPEG: blank, progressive, of 25 megapixels, turned"] = _blank(
    "RGB", "JPEG", "bomb.jpg", (4990, 4990), progressive=True, exif=TURNED
)
BOMBS["WebP: blank RGBA of 12 megapixels"] = _blank("RGBA", "WEBP", "bomb.webp", (3530, 3530), lossless=True, method=0)
BOMBS["GIF: blank of 29 megapixels"] = _blank("P", "GIF", "bomb.gif", (5400, 5400))
BOMBS["AVIF: blank RGBA of 15 megapixels"] = _blank("RGBA", "AVIF", "bomb.avif", (3870, 3870), speed=10)


@bomb("JPEG: 2,000 scans of 12 megapixels")
def _(folder: Path) -> tuple[Feed, str]:
    content = _saved(Image.new("L", (3500, 3500), 77), "JPEG", progressive=True)
    last = content.rfind(b"\xff\xda")
    return _in_folder(
        folder, "bomb.jpg", content[:last] + content[last:-2] * 2000 + content[-2:]
    ), "24,500,000,000 steps"


@bomb("GIF: a hole of 490 MB behind its header")
def _(folder: Path) -> tuple[Feed, str]:
    content = _saved(Image.new("L", (16, 16)), "GIF")
    return _in_folder(folder, "bomb.gif", content[:13] + bytes(768), 490_000_000), "490,000,000 steps"


@bomb("PNG: a chunk of 490 MB that nobody knows, in a hole")
def _(folder: Path) -> tuple[Feed, str]:
    content = _saved(Image.new("L", (16, 16)), "PNG")
    head = content[:33] + struct.pack(">I4s", 480_000_000, b"abCd")
    return _in_folder(folder, "bomb.png", head, 490_000_000), "480,000,000 bytes"


# ---- records


@bomb("events.jsonl: a hole of 13 GB")
def _(folder: Path) -> tuple[Feed, str]:
    os.truncate(_touch(folder / "events.jsonl"), 13 * 10**9)
    return lambda: (last_event(folder / "events.jsonl"), read_events(folder / "events.jsonl")), "13,000,000,000 bytes"


@bomb("events.jsonl: 16 MB of empty records")
def _(folder: Path) -> tuple[Feed, str]:
    (folder / "events.jsonl").write_text("{}\n" * (2**24 // 3))
    return lambda: read_events(folder / "events.jsonl"), "5,592,405 records"


@bomb("JSON: 24 MB of empty lists")
def _(folder: Path) -> tuple[Feed, str]:
    (folder / "a.json").write_text("[" + "[]," * (2**23 - 10) + "[]]")
    return lambda: read_json(folder / "a.json"), "8,388,599 lists"


@bomb("JSON: 24 MB of a long text with one character of four bytes")
def _(folder: Path) -> tuple[Feed, str]:
    (folder / "a.json").write_text('["' + "a" * (24 * 2**20 - 10) + '😀"]')
    return lambda: read_json(folder / "a.json"), "twice 100,000,000 bytes; a record like any other"


@bomb("YAML: a billion laughs")
def _(folder: Path) -> tuple[Feed, str]:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path = folder / "a.yaml"
    path.write_text("\n".join([*lines, "batch_size: *a8"]))
    return lambda: plan("vae", open_dataset("digits"), settings=cli._settings(None, path)), "1,000,000,000 texts"


@bomb("YAML: 64 kB of empty lists")
def _(folder: Path) -> tuple[Feed, str]:
    (folder / "a.yaml").write_text("a: [" + "[]," * (2**16 // 3 - 4) + "]")
    return lambda: cli._settings(None, folder / "a.yaml"), "21,841 lists; settings like any other"


def _touch(path: Path) -> Path:
    path.touch()
    return path


def _fifo(name: str, feed: Callable[[Path], Any]) -> Maker:
    def make(folder: Path) -> tuple[Feed, str]:
        os.mkfifo(folder / name)
        return lambda: feed(folder), "a wait without end"

    return make


BOMBS["a pipe as .npy"] = _fifo("a.npy", lambda folder: open_dataset(folder / "a.npy"))
BOMBS["a pipe as .npz"] = _fifo("a.npz", lambda folder: open_dataset(folder / "a.npz"))
BOMBS["a pipe as .zip"] = _fifo("a.zip", lambda folder: open_dataset(folder / "a.zip"))
BOMBS["a pipe as config.json"] = _fifo("config.json", load_model)
BOMBS["a pipe as events.jsonl"] = _fifo("events.jsonl", lambda folder: read_events(folder / "events.jsonl"))
BOMBS["a pipe as --config"] = _fifo("a.yaml", lambda folder: cli._settings(None, folder / "a.yaml"))


@bomb("a device as JSON")
def _(folder: Path) -> tuple[Feed, str]:
    (folder / "a.json").symlink_to("/dev/zero")
    return lambda: read_json(folder / "a.json"), "zeros without end"


# ---- run folders


def _run(folder: Path) -> Path:
    decided = plan("vae", open_dataset("digits"), budget="160 images", settings={"latent_dim": 2}, device="cpu")
    fit(decided, folder, threads=1, pictures=False)
    return folder


@bomb("run: a pipe as model.safetensors")
def _(folder: Path) -> tuple[Feed, str]:
    run = _run(folder)
    (run / "model.safetensors").unlink()
    os.mkfifo(run / "model.safetensors")
    return lambda: examine(run), "a wait without end"


@bomb("run: 2^28 calibration scores, in a hole")
def _(folder: Path) -> tuple[Feed, str]:
    run, count = _run(folder), 2**28
    _hollow(run / "calibration.safetensors", {"anomaly_score": ("F32", [count], 4 * count)})
    return lambda: load_model(run), f"{count:,} scores"


@bomb("run: a safetensors header of 90 MB")
def _(folder: Path) -> tuple[Feed, str]:
    run = _run(folder)
    _hollow(run / "calibration.safetensors", {f"{i}": ("F32", [0], 0) for i in range(1_500_000)})
    return lambda: load_model(run), "1,500,000 tensors"


def _hollow(path: Path, tensors: dict[str, tuple[str, list[int], int]], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file of zeros that take no room on the disk."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


@bomb("evaluator: sixteen classifiers of 300 million weights")
def _(folder: Path) -> tuple[Feed, str]:
    spec = ImageSpec(3, 32, 32)
    nets = [{"kind": "conv-classifier", "settings": {"classes": 4096, "width": 1024}}] * 16
    record = {"format": 1, "id": "a", "input": {"kind": "image", "shape": [3, 32, 32]}, "nets": nets}
    tensors = {"mean": torch.zeros(1), "components": torch.zeros(1, 1)}
    save_file(tensors, folder / "a.safetensors", metadata={"genarena": json.dumps(record)})
    return lambda: FeatureSpace.load(folder / "a.safetensors", spec), "about 8,000,000,000 bytes"


# ---- measuring


def read(feed: Feed, limit: int, report: int) -> None:
    """What a process does: read, and write what came of it."""
    signal.alarm(PATIENCE)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        result = feed()
        bad = getattr(result, "quarantined", ())
        said = f"set aside: {bad[0].reason}" if bad else "read"
    except GenarenaError as error:
        said = f"refused: {error}"
    except MemoryError:
        said = "OUT OF MEMORY"
    except Exception as error:
        said = f"CRASHED: {type(error).__name__}: {error}"
    os.write(report, said.encode(errors="replace")[:1000])


def measure(feed: Feed, limit: int) -> tuple[str, float, float]:
    """What came of reading, seconds, and the peak of resident memory in MB."""
    reader, writer = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if not child:
        code = 1
        try:
            read(feed, limit, writer)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        said = f"HUNG for {PATIENCE} s" if number == signal.SIGALRM else f"KILLED by {signal.Signals(number).name}"
    return said or "DIED", seconds, used.ru_maxrss / 1024


def row(name: str, gigabytes: float) -> None:
    """Make a bomb, measure it and print its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bomb").mkdir()
        os.environ["GENARENA_CACHE"] = folder
        feed, becomes = BOMBS[name](Path(folder, "bomb"))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = taken + int(gigabytes * 1e9)
        base = measure(lambda: None, limit)[2]
        said, seconds, peak = measure(feed, limit)
        said = said.replace(folder, "…").replace("|", "/").replace("\n", " ")
        kilobytes = sum(path.lstat().st_blocks * 512 for path in Path(folder, "bomb").rglob("*")) / 1000
        print(f"| {name} | {kilobytes:,.0f} | {becomes} | {said} | {seconds:.1f} | {peak - base:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="bombs whose names hold this")
    parser.add_argument(
        "--limit", type=float, default=4.0, help="gigabytes of address space above what is taken already"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| bomb | on disk, kB | would become | outcome | seconds | MB above the base |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in BOMBS:
        if arguments.only in name:
            child = os.fork()  # a process of its own makes each, so that what making takes is not inherited
            if not child:
                try:
                    row(name, arguments.limit)
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
