"""What the paths of pictures say: the split and the class of each, and which of them are masks of others.

A folder is a split by the words of its name (``Training``, ``seg_train``, ``test-images``, ``valSet``), and only where the
folders beside it agree: a lone ``train`` beside ``bus`` and ``car`` is a class. What is left of a path after its split is
its class.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_SPLITS = {
    "train": ("train", "training", "trn", "trainval"),
    "val": ("val", "valid", "validate", "validation", "dev", "devel", "development", "eval", "evaluation"),
    "test": ("test", "tests", "testing", "tst", "holdout", "heldout", "t10k"),
}
_WORDS = {word: split for split, words in _SPLITS.items() for word in words}
_PLAIN = r"sets?|data(?:sets?)?|splits?|images?|img|imgs|pictures?|pics?|photos?|files?|folders?|dir|part"
_GLUED = re.compile(rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?:{_PLAIN})?")
_NEUTRAL = re.compile(rf"{_PLAIN}|\d+")
_PICTURES = re.compile(r"images?|img|imgs|pictures?|photos?|jpegimages|rgb|frames?|inputs?|originals?|scans?|x")
_MASKS = re.compile(r"masks?|annotations?|labels?|gt|groundtruth|segmentations?|segmentation(?:class|object)|y")
_MASK_FILE = re.compile(r"(.+?)[ _-](?:masks?|gt|seg|segmentation|labels?|annotation|groundtruth)(?:[ _-]?\d+)?", re.I)
_FEWEST = 3  # pictures a class, on average, for the sub-folders of a folder to be classes


@dataclass
class Layout:
    """What was found, in the order of the pictures that are used.

    Attributes
    ----------
    rows : list of int
        The pictures that are used.
    splits : list of str
        "train", "val", "test", or "" where the folders say nothing.
    classes : list of str
        The path of folders that names the class, "" where a picture lies in none.
    notes : list of str
    """

    rows: list[int]
    splits: list[str]
    classes: list[str]
    notes: list[str] = field(default_factory=list)


def split_of(name: str) -> tuple[str, str]:
    """The split that a folder's or file's name speaks of ("" for none or several), and what else the name says."""
    kinds, others = set(), []
    for word in _words(name):
        known = _GLUED.fullmatch(word.casefold())
        if known:
            kinds.add(_WORDS[known[1]])
        elif not _NEUTRAL.fullmatch(word.casefold()):
            others.append(word)
    if kinds == {"train", "val"}:  # "train_val" is trained on
        kinds = {"train"}
    return (kinds.pop(), "_".join(others)) if len(kinds) == 1 else ("", "_".join(others))


def read_layout(paths: Sequence[str]) -> Layout:
    """Tell splits, classes and masks from relative paths with ``/``."""
    rows, notes = _without_mask_files(paths)
    folders = [PurePosixPath(paths[row]).parts[:-1] for row in rows]
    folders = _below_common(folders, least=1)
    rows, splits, folders, found = _splits(rows, folders)
    notes += found
    rows, splits, folders, found = _without_mask_folders(rows, splits, folders)
    notes += found
    classes, found = _classes(_below_common(folders, least=2))
    return Layout(rows, splits, classes, notes + found)


def named(items: Iterable[str], most: int = 4) -> str:
    """Some names for a note."""
    every = sorted(set(items))
    return ", ".join(f"'{item}'" for item in every[:most]) + (f" and {len(every) - most} more" if every[most:] else "")


def _words(name: str) -> list[str]:
    """The words of a name: apart by signs, or by capitals and digits."""
    name = re.sub(r"(?i)(?<![a-z])(hold|held)[ _-]?out", r"\1out", name)
    words = []
    for token in re.split(r"[\W_]+", name):
        if _GLUED.fullmatch(token.casefold()):
            words.append(token)
        else:
            words += re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+", token)
    return words


def _below_common(folders: list[tuple[str, ...]], least: int) -> list[tuple[str, ...]]:
    """Without the folders that all have in common, as most zips start with one; of each, ``least`` must have been there."""
    inside = [folder for folder in folders if folder]
    if least == 1 and len(inside) < len(folders):
        return folders
    while inside and min(map(len, inside)) >= least and len({folder[0] for folder in inside}) == 1:
        inside = [folder[1:] for folder in inside]
        folders = [folder[1:] for folder in folders]
    return folders


def _splits(
    rows: list[int], folders: list[tuple[str, ...]]
) -> tuple[list[int], list[str], list[tuple[str, ...]], list[str]]:
    """Rows, the split of each and the folders that are left, from the first level of folders that names splits."""
    for level in range(min(3, max(map(len, folders), default=0))):
        names = _split_names(folders, level)
        if not names:
            continue
        inside = [i for i, folder in enumerate(folders) if len(folder) > level and folder[level] in names]
        if level and 2 * len(inside) < len(folders):
            continue
        notes = []
        if len(inside) < len(rows):
            outside = {"/".join(folder) or "." for i, folder in enumerate(folders) if i not in set(inside)}
            notes.append(
                f"{len(rows) - len(inside)} image(s) outside the folders of splits ({named(names)}) were not used: "
                f"in {named(outside)}"
            )
        said = {name: split for name, (split, _) in names.items()}
        if any(name != split for name, split in said.items()):
            notes.append(
                "splits by folder: " + ", ".join(f"'{name}' is {split}" for name, split in sorted(said.items()))
            )
        left = _left(folders, inside, level, names)
        return [rows[i] for i in inside], [names[folders[i][level]][0] for i in inside], left, notes
    odd = {folder[0] for folder in folders if folder and split_of(folder[0])[0]}
    notes = []
    if odd:
        notes.append(
            f"{named(odd)}: such names look like splits and were taken as classes, since the folders beside them are none"
        )
    return rows, [""] * len(rows), folders, notes


def _split_names(folders: Sequence[tuple[str, ...]], level: int) -> dict[str, tuple[str, str]]:
    """The names at a level that are splits, each with its split and a part of the class that it names, or none.

    Names are splits where a train is among them and another split goes by the same other words (``seg_train``,
    ``seg_test``); where all of them are splits and nothing else; or where `train` alone holds folders.
    """
    there = Counter(folder[level] for folder in folders if len(folder) > level)
    found = {name: said for name in there if (said := split_of(name))[0]}
    families: dict[str, set[str]] = {}
    for split, other in found.values():
        families.setdefault(other, set()).add(split)
    whole = {other for other, kinds in families.items() if "train" in kinds and len(kinds) > 1}
    kinds = {split for split, _ in found.values()}
    if level:
        parents: dict[tuple[str, ...], set[str]] = {}
        for folder in folders:
            if len(folder) > level and folder[level] in found:
                parents.setdefault(folder[:level], set()).add(found[folder[level]][0])
        if not all("train" in some and len(some) > 1 for some in parents.values()):
            return {}
    everywhere = len(found) == len(there) and all(len(folder) > level for folder in folders)
    if whole:
        if everywhere and len(whole) < len(families):
            return {name: (split, _mask_word(other)) for name, (split, other) in found.items()}
        apart = len(whole) > 1  # trainA, trainB, testA, testB: A and B are classes
        return {
            name: (split, other if apart else _mask_word(other))
            for name, (split, other) in found.items()
            if other in whole or _MASKS.fullmatch(other.casefold())
        }
    if len(found) == len(there) and ({"train"} < kinds or set(families) == {""}):
        return {name: (split, "") for name, (split, _) in found.items()}
    lone = [name for name, (split, other) in found.items() if split == "train" and not other]
    deep = {folder[level] for folder in folders if len(folder) > level + 1}
    if len(lone) == 1 and deep == set(lone):
        return {lone[0]: ("train", "")}
    return {}


def _mask_word(other: str) -> str:
    return other if _MASKS.fullmatch(other.casefold()) else ""


def _left(
    folders: Sequence[tuple[str, ...]], inside: Sequence[int], level: int, names: dict[str, tuple[str, str]]
) -> list[tuple[str, ...]]:
    """The folders of each picture without its split: nor a folder that only says it again, or that it holds images."""
    below: dict[str, list[tuple[str, ...]]] = {}
    for i in inside:
        below.setdefault(folders[i][level], []).append(folders[i][level + 1 :])
    skip = {}
    for name, tails in below.items():
        skip[name] = 0
        while all(len(tail) > skip[name] for tail in tails) and len({tail[skip[name]] for tail in tails}) == 1:
            split, other = split_of(tails[0][skip[name]])
            if other != (split and split_of(name)[1]) or split not in ("", names[name][0]):
                break
            skip[name] += 1
    left = []
    for i in inside:
        name = folders[i][level]
        part = (names[name][1],) if names[name][1] else ()
        left.append(folders[i][:level] + part + folders[i][level + 1 + skip[name] :])
    return left


def _without_mask_files(paths: Sequence[str]) -> tuple[list[int], list[str]]:
    """Rows without ``x_mask.png`` beside ``x.png``."""
    stems = {str(PurePosixPath(path).with_suffix("")) for path in paths}

    def masks(path: str) -> bool:
        pure = PurePosixPath(path)
        match = _MASK_FILE.fullmatch(pure.stem)
        return match is not None and str(pure.with_name(match[1])) in stems

    kept = [row for row, path in enumerate(paths) if not masks(path)]
    left_out = len(paths) - len(kept)
    return kept, [f"{left_out} mask(s) beside their images (such as x_mask beside x) were not used"] if left_out else []


def _without_mask_folders(
    rows: list[int], splits: list[str], folders: list[tuple[str, ...]]
) -> tuple[list[int], list[str], list[tuple[str, ...]], list[str]]:
    """Rows without a folder of masks beside a folder of images, and nothing else."""
    for level in range(min(2, max(map(len, folders), default=0))):
        there = {folder[level] for folder in folders if len(folder) > level}
        masks = {name for name in there if _MASKS.fullmatch(_joined(name))}
        pictures = {name for name in there if _PICTURES.fullmatch(_joined(name))}
        flat = any(len(folder) == level for folder in folders)
        if not masks or masks | pictures != there or not (pictures or flat):
            continue
        kept = [i for i, folder in enumerate(folders) if len(folder) <= level or folder[level] not in masks]
        note = f"{len(rows) - len(kept)} image(s) in {named(masks)} are masks of the others and were not used"
        tails = [folders[i][:level] + folders[i][level + 1 :] for i in kept]
        return [rows[i] for i in kept], [splits[i] for i in kept], tails, [note]
    return rows, splits, folders, []


def _joined(name: str) -> str:
    return re.sub(r"[\W_\d]+", "", name).casefold()


def _classes(folders: list[tuple[str, ...]]) -> tuple[list[str], list[str]]:
    """The class of each picture: all its folders, as long as the pictures are more than a few a class."""
    depth = most = max(map(len, folders), default=0)
    inside = [folder for folder in folders if folder]
    while depth > 1 and _FEWEST * len({folder[:depth] for folder in inside}) > len(inside):
        depth -= 1
    if len(inside) > 1 and len({folder[:depth] for folder in inside}) == len(inside):
        return [""] * len(folders), ["every folder holds one image: they were not taken as classes"]
    notes = []
    if depth > 1:
        notes.append(
            f"classes are the paths of nested folders, such as {named(['/'.join(max(inside, key=len)[:depth])])}"
        )
    if depth < most:
        notes.append(f"folders below level {depth} hold hardly more than a picture each: not taken as classes")
    return ["/".join(folder[:depth]) for folder in folders], notes
