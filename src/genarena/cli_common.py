"""What the verbs share: their common options, opening runs and data, writing results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import RunError, UsageError, visible
from .text import cell

if TYPE_CHECKING:
    from .data import Dataset
    from .fitted import FittedModel

# What the shell completes: said here again, since looking it up would import torch at every press of Tab.
MODEL_NAMES = (
    *("pca", "autoencoder", "vae", "gan", "dcgan", "vaegan", "cvae", "cgan", "cvaegan", "biggan", "stylegan"),
)
USE_NAMES = (
    *("generate-fidelity", "generate-diversity", "condition", "reconstruct", "reduce", "detect", "interpolate"),
    *("likelihood", "cost"),
)
DATA_NAMES = ("digits", "ring8", "grid25", "shapes", "stacked-digits", "mnist", "fashion-mnist")


def complete_model(incomplete: str) -> list[str]:
    """The last of names separated by commas."""
    *before, last = incomplete.split(",")
    return [",".join([*before, name]) for name in MODEL_NAMES if name.startswith(last) and name not in before]


def complete_use(incomplete: str) -> list[str]:
    return [name for name in USE_NAMES if name.startswith(incomplete)]


def complete_data(incomplete: str) -> list[str]:
    """A set's name; where none fits, the shell goes on with files."""
    return [name for name in DATA_NAMES if name.startswith(incomplete)]


Data = Annotated[
    str,
    typer.Argument(
        help="Built-in or public name, folder, zip, .npz, .npy, .csv or image file.", autocompletion=complete_data
    ),
]
Run = Annotated[Path, typer.Argument(help="Run folder, saved model, or comparison (with --for).")]
For = Annotated[
    str | None,
    typer.Option("--for", help="With a comparison: take its leader for this use.", autocompletion=complete_use),
]
Contender = Annotated[
    str | None,
    typer.Option("--model", help="With --for: this contender, and not the leader.", autocompletion=complete_model),
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the Python code that the model's folder brings.")]
FeaturesNet = Annotated[
    str | None,
    typer.Option(help="file.py:Class of the evaluator's own network; this runs it where its text is the same."),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Range = Annotated[
    tuple[float, float] | None,
    typer.Option("--range", metavar="LOW HIGH", help="Pixel values that are black and white (default: see the notes)."),
]
Fit = Annotated[bool, typer.Option("--fit", help="Resize and convert images of another shape than the model's.")]
NoLabels = Annotated[bool, typer.Option("--no-labels", help="Look for no labels: take all examples as unlabelled.")]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Take what links in and out of a folder lead to.")]
DataDir = Annotated[Path | None, typer.Option(help="Where public sets lie (default: $GENARENA_DATA).")]


opened: list[Dataset] = []  # by the verb that runs, of a model's data
RECORDS = (
    *("config.json", "result.json", "best.json", "plan.json", "comparison.json", "evaluator.json", "dataset.json"),
    *("export.json", "failure.json", "state.json", "MANIFEST.json"),
)  # names of what genarena writes of its own work


def _seed(value: int) -> int:
    if not 0 <= value < 2**32:  # what scikit-learn takes
        raise UsageError(f"seed={value}: give a whole number from 0 to {2**32 - 1}.")
    return value


Seed = Annotated[int, typer.Option(callback=_seed, help="Of every draw.")]


def show(line: object) -> None:
    """A line of the result, on standard output."""
    print(visible(str(line)), flush=True)


def show_json(record: Any, indent: int | None = 1) -> None:
    """A result for programs, in ASCII."""
    print(json.dumps(record, indent=indent), flush=True)


def say(line: str) -> None:
    """A line on standard error."""
    print(visible(line), file=sys.stderr, flush=True)


def open_like(
    fitted: FittedModel,
    data: str,
    data_dir: Path | None,
    value_range: tuple[float, float] | None,
    fit: bool,
    *,
    told: bool = False,
    splits: bool = True,
    follow_links: bool = False,
) -> Dataset:
    """Open data as a model's own: in the shape and on the range it takes, and with its classes where it is told any."""
    options = {"data_dir": data_dir, "value_range": value_range, "splits": splits, "follow_links": follow_links}
    dataset = fitted.open(data, fit=fit, **options)
    opened.append(dataset)
    return fitted.labelled(dataset) if told else dataset


def tell_opened(*_: object, **__: object) -> None:
    """How the data of a verb were read, once it has ended well: of one that fails, the mistake is all there is to say."""
    from .console import tell

    for dataset in opened:
        tell(dataset)


def stored(dataset: Dataset) -> Any:
    """Every example's stored values, in the data's order."""
    import numpy as np

    return np.asarray(dataset.fields[dataset.schema.target_name].values)


def named_with_use(use: str | None, model: str | None) -> None:
    """Refuse a contender without a use."""
    if model is not None and use is None:
        raise UsageError(f"--model {model} names a contender of a comparison: say --for which use.")


def load_run(
    run: Path, use: str | None, trust: bool, checkpoint: str | None = None, model: str | None = None
) -> FittedModel:
    """The model of a run folder, or of a comparison: its leader for a use, or the contender named."""
    from .api import load
    from .comparison import provisional

    named_with_use(use, model)
    if not run.exists():
        raise RunError(f"'{run}' does not exist.")
    if use is None and (run / "plan.json").exists():
        raise UsageError(f"'{run}' is a comparison: say --for which use its leader is wanted.")
    if use is None and not (run / "config.json").exists():
        raise RunError(f"'{run}' is no run folder: it has no config.json.")
    if checkpoint not in (None, "last", "best"):
        raise UsageError(f"checkpoint '{checkpoint}' is unknown: last or best.")
    fitted = load(run, use, model=model, trust=trust, checkpoint=checkpoint)
    if use is not None and model is None and (why := provisional(run, use)):
        say(why)
    return fitted


def at_least_one(n: int) -> None:
    """Refuse a number of examples that is none."""
    if n < 1:
        raise UsageError(f"n={n}: ask for at least one.")


def check_out(path: Path, allowed: tuple[str, ...], data: str | None = None) -> None:
    """Refuse a file that cannot be written, or would replace a record of ours or the data, before anything is computed."""
    from .files import check_writable

    if path.suffix not in allowed:
        raise UsageError(f"'{path}' has no format known here: use {' or '.join(allowed)}.")
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder: name a file.")
    if not path.parent.is_dir():
        raise UsageError(f"the folder '{path.parent}' does not exist.")
    there = path.resolve()
    if there.exists() and (there.name in RECORDS or (data and Path(data).resolve() in (there, *there.parents))):
        raise UsageError(
            f"'{path}' would replace {'a record' if there.name in RECORDS else 'the data'}: name another file."
        )
    check_writable(path.parent)


def check_folder(path: Path) -> None:
    """Refuse a folder that holds something before anything is computed for it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"'{path}' is not empty: name a new folder, or a file with an ending.")


def save(fitted: FittedModel, values: Any, out: Path, columns: int | None = None) -> None:
    """Write stored values in the format of the file's name."""
    fitted.kind.save(values, fitted.spec, out, columns)
    show(out)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], dataset: Dataset) -> None:
    """Write a table of one row an example, with the label and file of each where there are any."""
    import csv

    from .files import replacing

    label, name = dataset.schema.label, dataset.schema.label_name
    named: dict[str, Sequence[str]] = {}
    if label and name:
        named["label"] = [label.classes[index] if index >= 0 else "" for index in dataset.fields[name].values]
    if dataset.files:
        named["file"] = dataset.files
    with replacing(path) as new, new.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([*header, *named])
        for row, texts in zip(rows, zip(*named.values(), strict=True) if named else repeat(()), strict=False):
            writer.writerow([*row, *map(cell, texts)])
