"""The verbs on a trained model: thin, over `genarena.fitted`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_common import (
    Contender,
    Data,
    DataDir,
    FeaturesNet,
    Fit,
    FollowLinks,
    For,
    Json,
    Range,
    Run,
    Seed,
    Trust,
    at_least_one,
    check_folder,
    check_out,
    load_run,
    open_like,
    save,
    say,
    show,
    show_json,
    stored,
    write_csv,
)
from .errors import UsageError, one_of
from .files import write_arrays

app = typer.Typer(rich_markup_mode=None)

Checkpoint = Annotated[
    str | None,
    typer.Option(help="Weights: last, or best by validation distance (default: last, or what was measured)."),
]


@app.command()
def sample(
    run: Run,
    out: Annotated[
        Path,
        typer.Option(help="A new folder (a file an image), .png (one grid) or .npz for images; .csv or .npz for rows."),
    ],
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    form: Annotated[str, typer.Option("--format", help="Of files in a folder: png or jpg.")] = "png",
    seed: Seed = 0,
    label: Annotated[str | None, typer.Option(help="Of this class, by name or index (conditional models).")] = None,
    truncation: Annotated[
        float | None, typer.Option(help="Stay near the middle of the prior: better examples, fewer kinds.")
    ] = None,
    checkpoint: Checkpoint = None,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
) -> None:
    """Draw new examples."""
    one_of(form, "format", ("png", "jpg"))
    fitted = load_run(run, use, trust, checkpoint, model)
    if out.suffix:
        check_out(out, fitted.kind.SUFFIXES)
    else:
        check_folder(out)
    samples = fitted.sample(n, seed, label=label, truncation=truncation)
    if out.suffix:
        save(fitted, samples, out)
    else:
        fitted.kind.save_each(samples, fitted.spec, out, form)
        show(out)


@app.command()
def reconstruct(
    run: Run, data: Data, out: Annotated[Path, typer.Option(help=".png (beside the originals), .npz or .csv.")],
    n: Annotated[int | None, typer.Option("-n", help="How many (default: 32 in a picture, else all).")] = None,
    use: For = None, model: Contender = None, trust: Trust = False, data_dir: DataDir = None,
    value_range: Range = None, fit: Fit = False, follow_links: FollowLinks = False,
) -> None:  # fmt: skip
    """Send examples through the bottleneck and back; a picture alternates rows of originals and reconstructions."""
    from .comparison.measure import alternate

    if n is not None:
        at_least_one(n)
    fitted = load_run(run, use, trust, model=model)
    check_out(out, fitted.kind.SUFFIXES, data)
    dataset = open_like(fitted, data, data_dir, value_range, fit, splits=False, follow_links=follow_links)
    values = stored(dataset)[: n or (32 if out.suffix == ".png" else None)]
    restored = fitted.reconstruct(values)
    save(fitted, alternate(values, restored, 8) if out.suffix == ".png" else restored, out)


@app.command()
def encode(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help=".npz or .csv: codes; labels (-1: none) and files where there are any.")],
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
) -> None:
    """Codes of examples, in the data's order, with the labels and files where there are any."""
    import numpy as np

    check_out(out, (".npz", ".csv"), data)
    fitted = load_run(run, use, trust, model=model)
    dataset = open_like(fitted, data, data_dir, value_range, fit, splits=False, follow_links=follow_links)
    codes = fitted.encode(stored(dataset))
    if out.suffix == ".csv":
        header = [f"z{index}" for index in range(codes.shape[1])]
        write_csv(
            out, ["row", *header], ([row, *map("{:.9g}".format, code)] for row, code in enumerate(codes)), dataset
        )
    else:
        arrays = {"codes": codes}
        if dataset.schema.label_name:
            arrays["labels"] = np.asarray(dataset.fields[dataset.schema.label_name].values)
        if dataset.files:
            arrays["files"] = np.array(dataset.files)
        write_arrays(out, **arrays)
    show(out)


@app.command()
def detect(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help=".csv: row, score, p-value; label and file where there are any.")],
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
) -> None:
    """Anomaly scores (higher is stranger) with conformal p-values from held-out normal examples."""
    check_out(out, (".csv",), data)
    fitted = load_run(run, use, trust, model=model)
    dataset = open_like(fitted, data, data_dir, value_range, fit, splits=False, follow_links=follow_links)
    scores = fitted.anomaly_score(stored(dataset))
    p_values = fitted.p_value(scores)
    rows = ([row, f"{s:.6g}", f"{p:.4g}"] for row, (s, p) in enumerate(zip(scores, p_values, strict=True)))
    write_csv(out, ["row", "score", "p_value"], rows, dataset)
    show(out)


@app.command()
def evaluate(
    run: Run,
    data: Annotated[str | None, typer.Argument(help="The data (default: those of the comparison).")] = None,
    evaluator: Annotated[
        Path | None, typer.Option(help="Evaluator folder (default: the run's own, built once).")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Samples compared.")] = None,
    features_net: FeaturesNet = None,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
    as_json: Json = False,
) -> None:
    """Measure a model with a frozen evaluator."""
    from .comparison import evaluator_of
    from .comparison.measure import measure_model
    from .files import only_files
    from .metrics import Evaluator
    from .metrics.own import agreed, require_consent

    allowed = agreed(features_net)
    require_consent(evaluator or run / "evaluator", allowed)  # before the model's code runs
    fitted = load_run(run, use, trust, model=model)
    if data is None:
        if not (run / "evaluator").is_dir() or not (run / "data").is_dir():
            raise UsageError(f"'{run}' is no comparison: name the data to measure on.")
        judge = evaluator_of(run, trust=allowed)
    else:
        dataset = open_like(fitted, data, data_dir, value_range, fit, told=True, follow_links=follow_links)
        own = evaluator or run / "evaluator"
        found = (own / "evaluator.json").exists()
        if found:
            judge = Evaluator.load(own, dataset, trust=allowed)
            if samples and judge.n != min(samples, *(len(judge.dataset.splits[split]) for split in ("train", "test"))):
                raise UsageError(f"the evaluator in '{own}' compares {judge.n} samples: leave --samples out.")
        else:
            if evaluator is None:
                only_files(run)
            judge = Evaluator.build(dataset, own, samples=samples, progress=say)
    scores = measure_model(fitted, judge)
    if as_json:
        record = {k: s.to_json() for k, s in scores.items()}
        show_json({"evaluator": judge.hash, "scores": record}, indent=None)
        return
    from .console import score_table

    score_table(scores, judge)


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    form: Annotated[str, typer.Option("--format", help="torch, onnx or both.")] = "both",
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
) -> None:
    """Write the networks for other programs (torch.export, ONNX)."""
    from .export import FORMATS
    from .export import export as write

    formats = FORMATS if form == "both" else (form,)
    for path in write(load_run(run, use, trust, model=model), out, formats):
        show(path)
