"""Zip files from anybody: what a member promises is checked before any of it is unpacked."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from ..errors import DataError
from ..files import open_regular
from .raw import MAX_BYTES

MAX_RATIO, RATIO_FROM_BYTES = 100, 10_000_000
MAX_LIST = 20_000_000
"""Bytes of the list of members: 200,000 with names of usual length. In memory it takes fifteen times as much."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack any amount from one read


class _Capped(io.BufferedReader):
    """A file that gives at most `most` bytes at once."""

    most: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most is not None and size is not None and size > self.most:
            raise zipfile.BadZipFile(f"its list of members has {size:,} bytes, more than {self.most:,}")
        return super().read(size)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file whose members neither overlap nor promise more than `MAX_BYTES` together.

    Raises
    ------
    DataError
        Where it cannot be opened, or is not one.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_Capped(open_regular(path).detach()))
            file.most = MAX_LIST
            archive = stack.enter_context(zipfile.ZipFile(file))
            file.most = None
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > MAX_BYTES:
                raise ValueError(f"it would unpack to more than {MAX_BYTES / 1e9:.0f} GB")
            if sum(info.compress_size for info in infos) > os.fstat(file.fileno()).st_size:
                raise ValueError("its members overlap, as those of zip bombs do")
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(f"'{path}' is not a usable {path.suffix[1:]} file: {error}.") from error
        yield archive


def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A member as a stream, which never gives more than ``info.file_size`` bytes.

    Raises
    ------
    ValueError
        Where it would unpack to much more than it takes, or is packed in a way that cannot be unpacked bit by bit.
    """
    if info.compress_type not in _METHODS:
        name = zipfile.compressor_names.get(info.compress_type, f"method {info.compress_type}")  # type: ignore[attr-defined]
        raise ValueError(f"it is packed by {name}: pack it again by deflate, as zip programs do unless told otherwise")
    if info.file_size > RATIO_FROM_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise ValueError(f"it unpacks to more than {MAX_RATIO} times its size, as zip bombs do: store it uncompressed")
    return archive.open(info)
