"""Named public sets: found in the user's data folder, else downloaded, and either way checked by decoded content.

MNIST: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
Fashion-MNIST: Xiao, Rasul and Vollgraf, arXiv:1708.07747.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from ..errors import DataError
from .decoding import cache_folder
from .idx import find_idx, read_idx
from .raw import Raw


@dataclass(frozen=True)
class PublicSet:
    """Where a set is published, the md5 its authors give for each file, and the sha256 of each split's content.

    The content hash covers the pixels, then the labels, as unsigned bytes: a file that was packed again has other
    gzip bytes and the same content.
    """

    url: str
    files: dict[str, str]
    content: dict[str, str]
    classes: tuple[str, ...]


PUBLIC = {
    "mnist": PublicSet(
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        files={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        content={
            "train": "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
            "test": "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b",
        },
        classes=tuple("0123456789"),
    ),
    "fashion-mnist": PublicSet(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        files={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        content={
            "train": "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
            "test": "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
        },
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
}


def read_public(name: str, data_dir: Path | None) -> Raw:
    """Read a named public set from ``data_dir``, ``$GENARENA_DATA`` or the cache, or download it.

    Raises
    ------
    DataError
        If it is nowhere and cannot be downloaded, or its content is not what was published.
    """
    places = [data_dir, os.environ.get("GENARENA_DATA")]
    folders = [Path(place) / name for place in places if place]
    root = next((folder for folder in folders if folder.is_dir() and find_idx(folder)), None) or _download(name)
    raw = read_idx(root)
    for split, expected in PUBLIC[name].content.items():
        if _digest(raw, split) != expected:
            raise DataError(
                f"'{root}' does not hold the published {name} ({split} differs): repair it, or remove it to download "
                "the set anew. To use it as it is, give its path instead of the name."
            )
    raw.name, raw.classes = name, PUBLIC[name].classes
    return raw


def _digest(raw: Raw, split: str) -> str:
    if split not in raw.splits or raw.labels is None:
        return "absent"
    rows = raw.splits[split]
    return hashlib.sha256(raw.values[rows].tobytes() + raw.labels[rows].tobytes()).hexdigest()


def _download(name: str) -> Path:
    public, folder = PUBLIC[name], cache_folder() / "public" / name
    for file, md5 in public.files.items():
        try:
            pooch.retrieve(public.url + file, known_hash=f"md5:{md5}", fname=file, path=folder)
        except (OSError, ValueError) as error:  # no network, no room, or a file with another checksum
            raise DataError(
                f"'{name}' is neither in --data-dir nor in $GENARENA_DATA, and cannot be downloaded "
                f"({type(error).__name__}). Put {', '.join(public.files)} into a folder '{name}' there."
            ) from error
    return folder
