"""What decoders are given of a picture file: its pixels, how it is turned, and nothing else.

Texts, profiles and thumbnails are nothing to us, may be broken, and may be bombs: every tag of EXIF may stand for the same
megabytes. So they are left out before Pillow opens the file, whose bytes are not copied for that.
"""

from __future__ import annotations

import bisect
import io
import itertools
import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

MAX_SCANS = 64
"""Of a JPEG, each of which passes over the whole picture; programs write a dozen."""

_MAX_PARTS = 100_000  # chunks or segments of a file
_MAX_CALLS = 1_000_000  # small reads of one file: a header without end is read byte by byte
_MAX_AT_ONCE = 64 * 2**20  # bytes of a file that its decoder reads as a whole
_MAX_TAGS = 64 * 2**20  # bytes of a TIFF's tags
_MAX_NUMBERS = 1_000_000  # in a TIFF's tags
_LARGEST_TILE = 4_000_000  # pixels, whatever the size of the picture
_LOOKED_AT = 2**16  # bytes of a block of EXIF, XMP or a profile that are read for what they say

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"sBIT", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"))
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # within pixels: stuffed zeros and restarts belong to them
_XMP_TURN = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_TYPE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # others: 1
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF, which the installed Pillow does not read"),
    **dict.fromkeys((b"isom", b"iso2", b"mp41", b"mp42", b"M4V ", b"qt  ", b"avc1", b"3gp4", b"3gp5"), "a film"),
    b"crx ": "a camera's raw file (CR3)",
}
_MAGIC = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP document"),
    (128, b"DICM", "DICOM"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (0, b"IIRO", "a camera's raw file (ORF)"),
    (0, b"IIRS", "a camera's raw file (ORF)"),
    (0, b"IIU\0", "a camera's raw file (RW2)"),
    (0, b"II\x1a\0\0\0HEAPCCDR", "a camera's raw file (CRW)"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"DDS ", "a texture (DDS)"),
    (0, b"qoif", "QOI"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x89HDF", "HDF5"),
    (344, b"n+1\0", "NIfTI"),
    (344, b"ni1\0", "NIfTI"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"\x1aE\xdf\xa3", "a film"),
    (0, b"RIFF", "a film or a sound"),
    (0, b"PK\3\4", "a zip file or a document"),
    (0, b"\x1f\x8b", "packed by gzip"),
)
_SUB_DIRECTORIES = (330, 34665, 34853, 40965)


@dataclass(frozen=True)
class Plain:
    """A file as it goes to a decoder, its orientation inside; and the first bytes of its colour profile, if it has one."""

    stream: BinaryIO
    profile: bytes = b""


class _Spliced(io.RawIOBase):
    """Parts of another stream, and bytes between them, as one stream."""

    def __init__(self, source: BinaryIO, parts: list[bytes | tuple[int, int]]):
        self.source = source
        self.parts = [part for part in parts if (len(part) if isinstance(part, bytes) else part[1] > part[0])]
        lengths = (len(part) if isinstance(part, bytes) else part[1] - part[0] for part in self.parts)
        self.ends = list(itertools.accumulate(lengths))
        self.place = self.calls = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.place = max(0, offset + (0, self.place, self.ends[-1] if self.ends else 0)[whence])
        return self.place

    def read(self, size: int | None = -1, /) -> bytes:
        self.calls += 1
        if self.calls > _MAX_CALLS:
            raise ValueError("its header has no end")
        end = self.ends[-1] if self.ends else 0
        stop = end if size is None or size < 0 else min(end, self.place + size)
        found = []
        while self.place < stop:
            index = bisect.bisect_right(self.ends, self.place)
            part, last = self.parts[index], self.ends[index]
            count = min(stop, last) - self.place
            if isinstance(part, bytes):
                at = len(part) - (last - self.place)
                block = part[at : at + count]
            else:
                self.source.seek(part[1] - (last - self.place))
                block = self.source.read(count)
            if not block:
                break
            found.append(block)
            self.place += len(block)
        return found[0] if len(found) == 1 else b"".join(found)


def plain(stream: BinaryIO, *, whole: bool = True) -> Plain:
    """A picture file without what is nothing to its pixels; ``whole`` where these will be decoded.

    Raises
    ------
    ValueError
        For a file that would take much more memory or time than its pixels need.
    """
    stream.seek(0)
    magic = stream.read(16)
    size = stream.seek(0, io.SEEK_END)
    if magic.startswith(_PNG):
        return _png(stream)
    if magic.startswith(_JPEG):
        return _jpeg(stream, whole)
    if magic.startswith(_TIFF):
        _check_tiff(stream, size)
        stream.seek(0)
        return Plain(stream)  # as it is: libtiff reads a file by its number
    if magic.startswith(b"BM") and int.from_bytes(magic[14:16], "little") > 1000:
        raise ValueError("its header is larger than that of any BMP")
    if magic[8:12] in (b"WEBP", b"avif", b"avis") and size > _MAX_AT_ONCE:
        raise ValueError(f"the file is larger than {_MAX_AT_ONCE >> 20} MB")
    if magic[8:12] == b"WEBP":
        return _webp(stream, size)
    if magic[4:8] == b"ftyp":
        return _avif(stream, size)
    return _spliced(stream, [(0, size)])


def named(stream: BinaryIO) -> str | None:
    """What a file is that no decoder knows, where it is something known that is not read here."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(512)
    if head.startswith(_TIFF):
        values = {tag: value for tag, _, count, value in _directory(stream, size) if count == 1}
        count = values.get(277, 1)
        return (
            f"it is a TIFF of {count} channel(s) that are no colours known here: save it as grey or RGB of 8 or 16 bits"
        )
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it only points to a file that Git LFS keeps: fetch that (git lfs pull)"
    if text.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, as failed downloads are"
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        return "it is SVG, a drawing: convert it to PNG at the size you want"
    kind = _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    kind = kind or next((name for at, magic, name in _MAGIC if head[at : at + len(magic)] == magic), None)
    return f"it is {kind}: convert it to PNG, JPEG or TIFF" if kind else None


def _spliced(stream: BinaryIO, parts: list[bytes | tuple[int, int]], profile: bytes = b"") -> Plain:
    return Plain(_Spliced(stream, parts), profile)  # type: ignore[arg-type]


def _keep(parts: list[bytes | tuple[int, int]], start: int, stop: int) -> None:
    """Add a part of the source, joined with the one before where that ends here."""
    last = parts[-1] if parts else b""
    if not isinstance(last, bytes) and last[1] == start:
        parts[-1] = (last[0], stop)
    else:
        parts.append((start, stop))
    if len(parts) > _MAX_PARTS:
        raise ValueError("it is cut into more parts than any program writes")


def _png(stream: BinaryIO) -> Plain:
    parts: list[bytes | tuple[int, int]] = []
    turn, profile, place = 0, b"", 33  # behind the signature and the header
    for _ in range(10 * _MAX_PARTS):
        stream.seek(place)
        length, name = struct.unpack(">I4s", stream.read(8).ljust(8, b"\0"))
        if not name.isalpha():
            break
        if name in _PNG_KEPT:
            _keep(parts, place, place + length + 12)
        else:
            block = stream.read(min(length, _LOOKED_AT))
            if name == b"eXIf":
                turn = turn or _turn(block)
            elif name == b"iTXt" and block.startswith(b"XML:com.adobe.xmp\0\0"):
                turn = turn or _xmp_turn(block)
            elif name == b"iCCP":
                profile = _inflated(block.partition(b"\0")[2][1:])
        place += length + 12
        if name == b"IEND":
            break
    exif = _exif(turn or 1)  # even where it says nothing: Pillow would look for it behind the pixels
    chunk = struct.pack(">I4s", len(exif), b"eXIf") + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    return _spliced(stream, [(0, 33), chunk, *parts], profile)


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _LOOKED_AT)
    except zlib.error:
        return b""


def _jpeg(stream: BinaryIO, whole: bool) -> Plain:
    parts: list[bytes | tuple[int, int]] = []
    turn, profile, place, scans, pixels = 0, b"", 2, 0, 0
    end = stream.seek(0, io.SEEK_END)
    for _ in range(_MAX_PARTS):
        stream.seek(place)
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xD9:
            break
        length = int.from_bytes(head[2:], "big") + 2
        if head[1] == 0xFF or head[1] in range(0xD0, 0xD9):  # filling, and markers without content
            length = 1 if head[1] == 0xFF else 2
        elif head[1] == 0xE1:
            block = stream.read(min(length - 4, _LOOKED_AT))
            turn = turn or (_turn(block[6:]) if block.startswith(b"Exif\0\0") else _xmp_turn(block))
        elif head[1] == 0xE2:
            block = stream.read(min(length - 4, _LOOKED_AT))
            profile = profile or (block[14:] if block.startswith(b"ICC_PROFILE\0") else b"")
        elif not pixels and (head[1] in (0xE0, 0xEE) or not 0xE0 <= head[1] <= 0xFE) and head[1] != 0xDA:
            _keep(parts, place, place + length)
        place += length
        if head[1] == 0xDA:
            pixels = pixels or place - length
            scans += 1
            if scans > MAX_SCANS:
                raise ValueError(f"it passes over its pixels more than {MAX_SCANS} times, as decompression bombs do")
            place = _next_marker(stream, place) if whole else end
    else:
        raise ValueError("it is cut into more parts than any program writes")
    # The first end of the picture ends it: some cameras put a film behind.
    tail = [(pixels, min(end, place + 2))] if pixels else [(place, end)]
    exif = b"Exif\0\0" + _exif(turn)
    segment = [b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif] if turn else []
    return _spliced(stream, [_JPEG, *segment, *parts, *tail], profile)


def _next_marker(stream: BinaryIO, place: int) -> int:
    """Where the pixels that begin here end."""
    block = b""
    while True:
        stream.seek(place)
        block = stream.read(2**20)
        found = _JPEG_MARKER.search(block)
        if found:
            return place + found.start()
        if len(block) < 2:
            return place + len(block)
        place += len(block) - 1  # a marker may lie across


def _webp(stream: BinaryIO, size: int) -> Plain:
    parts: list[bytes | tuple[int, int]] = []
    turn, profile, place, extended = 0, b"", 12, b""
    while place + 8 <= size and len(parts) < _MAX_PARTS:
        stream.seek(place)
        name, length = struct.unpack("<4sI", stream.read(8))
        stop = min(size, place + 8 + length + length % 2)
        if name in (b"EXIF", b"XMP ", b"ICCP"):
            block = stream.read(min(length, _LOOKED_AT))
            if name == b"ICCP":
                profile = block
            else:
                turn = turn or (_turn(block.removeprefix(b"Exif\0\0")) if name == b"EXIF" else _xmp_turn(block))
        elif name == b"VP8X" and not extended:
            extended = stream.read(length if length <= 64 else 0)
        else:
            _keep(parts, place, stop)
        place = stop
    exif = _exif(turn)
    if extended:  # its first byte says which of the blocks there are
        flags = extended[0] & ~0x2C | (8 if turn else 0)
        parts.insert(0, b"VP8X" + struct.pack("<IB", len(extended), flags) + extended[1:])
    if turn and extended:
        parts.append(b"EXIF" + struct.pack("<I", len(exif)) + exif)
    total = sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in parts)
    return _spliced(stream, [b"RIFF" + struct.pack("<I", total + 4) + b"WEBP", *parts], profile)


def _avif(stream: BinaryIO, size: int) -> Plain:
    """Without EXIF, which does not turn such pictures: other properties do, and Pillow reads those."""
    parts: list[bytes | tuple[int, int]] = []
    place = 0
    while place + 8 <= size and len(parts) < _MAX_PARTS:
        stream.seek(place)
        length, name, long = struct.unpack(">I4sQ", stream.read(16).ljust(16, b"\0"))
        stop = min(size, place + (long if length == 1 else length or size))
        if stop < place + 8:
            break
        if name == b"meta":
            stream.seek(place)
            parts.append(stream.read(stop - place).replace(b"Exif", b"none"))
        else:
            _keep(parts, place, stop)
        place = stop
    return _spliced(stream, [*parts, (place, size)])


def _exif(turn: int) -> bytes:
    """EXIF that says how a picture is turned and nothing else: one directory of one tag."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, turn, 0, 0)


def _turn(exif: bytes) -> int:
    """Orientation, 1 to 8, by a block of EXIF; 0 where it does not say."""
    for tag, kind, count, value in _directory(io.BytesIO(exif), len(exif)):
        if tag == 274 and kind in (3, 4) and count == 1:
            return value if value in range(1, 9) else 0
    return 0


def _xmp_turn(xmp: bytes) -> int:
    found = _XMP_TURN.search(xmp)
    return int(found[1]) if found else 0


def _directory(stream: BinaryIO, size: int, place: int | None = None) -> list[tuple[int, int, int, int]]:
    """The entries (tag, type, count, value or where the values lie) of a directory, or of the first one of TIFF or EXIF."""
    stream.seek(0)
    head = stream.read(16).ljust(16, b"\0")
    if head[:2] not in (b"II", b"MM"):
        return []
    order, big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
    if place is None:
        place = int(struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4)[0])
    width, layout, number = (20, "HHQQ", "Q") if big else (12, "HHII", "H")
    counted = struct.calcsize(f"{order}{number}")
    if place + counted > size:
        return []
    stream.seek(place)
    (count,) = struct.unpack(f"{order}{number}", stream.read(counted))
    content = stream.read(width * min(count, 65_535))
    entries = []
    for tag, kind, many, value in struct.iter_unpack(order + layout, content[: len(content) // width * width]):
        room = 8 if big else 4
        bits = 8 * _TYPE_BYTES.get(kind, 1)
        if many == 1 and bits < 8 * room:  # the value itself lies in the first bytes of its place
            value = value >> (8 * room - bits) if order == ">" else value & (1 << bits) - 1
        entries.append((tag, kind, many, value))
    return entries


def _check_tiff(stream: BinaryIO, size: int) -> None:
    """Raise `ValueError` where tags, or a tile, take much more memory than the file has bytes."""
    entries = _directory(stream, size)
    values = {tag: value for tag, _, count, value in entries if count == 1}
    pixels = values.get(256, 0) * values.get(257, 0)
    if values.get(322, 0) * values.get(323, 0) > max(_LARGEST_TILE, 4 * pixels):
        raise ValueError(f"tiles of {values[322]} x {values[323]} pixels in a picture of {pixels:,}")
    taken = numbers = 0
    for _ in range(2):  # Pillow reads directories in the first one, and those in them
        for _, kind, count, _ in entries:
            taken += count * _TYPE_BYTES.get(kind, 1)
            numbers += count if kind in _TYPE_BYTES else 0
        if taken > min(_MAX_TAGS, size) or numbers > _MAX_NUMBERS:
            raise ValueError(f"its tags say that they take {taken:,} bytes, of a file of {size:,}")
        inner = [value for tag, _, count, value in entries if tag in _SUB_DIRECTORIES and count == 1]
        entries = [entry for place in inner[:8] for entry in _directory(stream, size, place)]
