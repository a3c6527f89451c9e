"""The verbs on latents and features: thin, over `genarena.latent`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    check_out,
    load_run,
    open_like,
    save,
    say,
    show,
    show_json,
    stored,
)
from .errors import DataError, UsageError, did_you_mean
from .files import replacing, write_atomic, write_json
from .text import csv_text

if TYPE_CHECKING:
    from .data import Dataset
    from .fitted import FittedModel
    from .latent import Direction

app = typer.Typer(rich_markup_mode=None)

Picture = Annotated[Path, typer.Option(help=".png or .npz (images), .csv or .npz (rows).")]
Steps = Annotated[int, typer.Option(help="Steps of each inversion (models without an encoder).")]
Component = Annotated[int | None, typer.Option(help="Along this principal direction; 0 has the most variance.")]
AMOUNTS = "-3,-1.5,0,1.5,3"
TRUNCATIONS = "0.3,0.5,0.7,1,none"


@app.command()
def interpolate(
    run: Run,
    out: Annotated[Path, typer.Option(help=".png, .gif (an animation) or .npz.")],
    n: Annotated[int, typer.Option("-n", help="How many ways.")] = 8,
    steps: Annotated[int, typer.Option(help="Points on each way, its ends included.")] = 9,
    seed: Seed = 0,
    data: Annotated[str | None, typer.Option(help="Between these examples (needs an encoder).")] = None,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
) -> None:
    """The ways between pairs: of draws from the prior (along arcs where it is Gaussian), or of examples with --data."""

    at_least_one(n)
    fitted = load_run(run, use, trust, model=model)
    pictures = ".png" in fitted.kind.SUFFIXES
    check_out(out, (*fitted.kind.SUFFIXES, ".gif") if pictures else fitted.kind.SUFFIXES, data)
    if data is None:
        fitted.require("sample")
        ends = fitted.latents(2 * n, seed)
    else:
        ends = fitted.encode(
            stored(open_like(fitted, data, data_dir, value_range, fit, splits=False, follow_links=follow_links))[
                : 2 * n
            ]
        )
    half = len(ends) // 2
    spherical = data is None and not fitted.model.straight
    paths = fitted.interpolate(ends[:half], ends[half : 2 * half], steps, spherical=spherical)
    if out.suffix == ".gif":
        _animate(fitted, paths, out)
    else:
        save(fitted, paths.reshape(-1, *paths.shape[2:]), out, columns=steps)


def _animate(fitted: FittedModel, paths: Any, out: Path) -> None:
    """All ways at once, there and back."""
    from PIL import Image

    from .kinds.images import enlarged

    pictures = [fitted.kind.picture(paths[:, t], fitted.spec, min(8, len(paths))) for t in range(paths.shape[1])]
    frames = [Image.fromarray(enlarged(picture, fitted.spec)) for picture in pictures]
    frames += frames[-2:0:-1]
    with replacing(out) as partial:
        frames[0].save(partial, save_all=True, append_images=frames[1:], duration=100, loop=0)
    show(out)


@app.command()
def edit(
    run: Run,
    data: Data,
    out: Picture,
    attribute: Annotated[str | None, typer.Option(help="Towards this class, by name or index.")] = None,
    against: Annotated[str | None, typer.Option(help="Away from this class (default: from all others).")] = None,
    component: Component = None,
    label: Annotated[str | None, typer.Option(help="The same latents with this class (conditional models).")] = None,
    amounts: Annotated[str, typer.Option(help="How far, in standard deviations of the prior.")] = AMOUNTS,
    n: Annotated[int, typer.Option("-n", help="Examples of the test split, one a row.")] = 8,
    steps: Steps = 300,
    seed: Seed = 0,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
) -> None:
    """Change an attribute of test examples: rows are examples, columns amounts (with --label: before and after)."""
    import numpy as np

    from . import latent

    if sum(option is not None for option in (attribute, component, label)) != 1:
        raise UsageError("say what to change: one of --attribute CLASS, --component NUMBER or --label CLASS.")
    if against is not None and attribute is None:
        raise UsageError("--against names the class that --attribute CLASS leads away from: give both.")
    far = _numbers(amounts)
    fitted = load_run(run, use, trust, model=model)
    check_out(out, fitted.kind.SUFFIXES, data)
    latent.require_decoder(fitted)
    dataset = open_like(fitted, data, data_dir, value_range, fit, told=True, follow_links=follow_links)
    values, labels = _split(dataset, "test", n)
    if label is not None:
        fitted.class_index(label)  # before anything is inverted
        codes = latent.codes_of(fitted, values, steps, seed, labels=labels)
        pair = np.stack([codes, latent.relabel(fitted, codes, label)], 1)
        edited = fitted.decode(pair.reshape(-1, pair.shape[-1]))
        columns = 2
    else:
        direction = (
            _attribute(fitted, dataset, attribute, against, seed)
            if attribute is not None
            else _component(fitted, component or 0, seed, _split(dataset, "train")[0])
        )
        codes = latent.codes_of(fitted, values, steps, seed, labels=labels)
        grid = latent.edit(fitted, codes, direction, far)
        edited, columns = grid.reshape(-1, *grid.shape[2:]), len(far)
    save(fitted, edited, out, columns=columns)


def _attribute(fitted: FittedModel, dataset: Dataset, attribute: str, against: str | None, seed: int) -> Direction:
    """From labelled codes of the train split, or for a GAN from draws that a labeller names."""
    from . import latent

    towards, away = _class_index(dataset, attribute), None if against is None else _class_index(dataset, against)
    values, labels = _split(dataset, "train")
    if fitted.capabilities()["encode"] is None:
        codes = fitted.encode(values)
    else:
        codes, labels = latent.labelled_latents(fitted, latent.linear_labeller(dataset, seed), seed=seed)
    return latent.attribute_direction(latent.LatentSpace.of(fitted, values, seed), codes, labels, towards, away)


def _component(fitted: FittedModel, component: int, seed: int, values: Any) -> Direction:
    from . import latent

    if component < 0:
        raise UsageError(f"component={component}: the first is 0.")
    found = latent.principal_directions(fitted, component + 1, seed=seed, values=values)
    if component >= len(found):
        raise UsageError(f"component={component}: there are {len(found)}, 0 to {len(found) - 1}.")
    return found[component]


@app.command()
def traverse(
    run: Run,
    out: Picture,
    component: Component = None,
    amounts: Annotated[str, typer.Option(help="How far, in standard deviations of the prior.")] = "-3,-2,-1,0,1,2,3",
    n: Annotated[int, typer.Option("-n", help="Rows: the dimensions that change most; draws with --component.")] = 8,
    label: Annotated[str | None, typer.Option(help="Of this class, by name or index (conditional models).")] = None,
    data: Annotated[str | None, typer.Option(help="Examples whose codes stand in for draws from the prior.")] = None,
    seed: Seed = 0,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
) -> None:
    """One latent dimension at a time from the middle of the prior: rows are dimensions, columns amounts."""
    from . import latent

    far = _numbers(amounts)
    at_least_one(n)
    fitted = load_run(run, use, trust, model=model)
    check_out(out, fitted.kind.SUFFIXES, data)
    values = (
        None
        if data is None
        else stored(open_like(fitted, data, data_dir, value_range, fit, splits=False, follow_links=follow_links))
    )
    space = latent.LatentSpace.of(fitted, values, seed)
    if component is not None:
        direction = _component(fitted, component, seed, values)
        codes = fitted.latents(n, seed, label=label) if values is None else fitted.encode(values[:n])
        grid = latent.edit(fitted, codes, direction, far)
    else:
        found = latent.traverse(fitted, latent.middle(fitted, space, label), space.axes(), far)
        grid = found.values[:n]
        for dimension, change in zip(found.order[:n], found.change[:n], strict=True):
            say(f"dimension {dimension}: change {change:.3g}")
    save(fitted, grid.reshape(-1, *grid.shape[2:]), out, columns=len(far))


@app.command()
def invert(
    run: Run,
    data: Data,
    out: Picture,
    steps: Annotated[int, typer.Option(help="Of Adam, for each of four starts.")] = 300,
    n: Annotated[int, typer.Option("-n", help="Examples of the test split.")] = 32,
    seed: Seed = 0,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
) -> None:
    """Find the latents that decode to test examples; a picture alternates rows of originals and inversions."""
    from . import latent
    from .comparison.measure import alternate

    fitted = load_run(run, use, trust, model=model)
    check_out(out, fitted.kind.SUFFIXES, data)
    values, labels = _split(
        open_like(fitted, data, data_dir, value_range, fit, told=True, follow_links=follow_links), "test", n
    )
    found = latent.invert(fitted, values, steps, seed, labels=labels)
    say(f"mean loss {found.before.mean():.4g} at the start, {found.loss.mean():.4g} after {steps} steps")
    restored = fitted.decode(found.latents)
    save(fitted, alternate(values, restored, 8) if out.suffix == ".png" else restored, out, columns=8)


@app.command()
def mix(
    run: Run,
    out: Picture,
    layer: Annotated[int | None, typer.Option(help="The first that takes the fine source (default: half).")] = None,
    n: Annotated[int, typer.Option("-n", help="Sources of each kind.")] = 6,
    seed: Seed = 0,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
) -> None:
    """Mix styles of a StyleGAN: coarse layers of the first column's source, fine layers of the first row's."""
    from . import latent

    fitted = load_run(run, use, trust, model=model)
    check_out(out, fitted.kind.SUFFIXES)
    w = fitted.latents(2 * n, seed)
    grid = latent.mix_grid(fitted, w[:n], w[n:], layer)
    save(fitted, grid.reshape(-1, *grid.shape[2:]), out, columns=n + 1)


@app.command("path-length")
def path_length(
    run: Run,
    n: Annotated[int, typer.Option("-n", help="Ways between two draws.")] = 500,
    seed: Seed = 0,
    as_json: Json = False,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
) -> None:
    """How fast images change on the way between two draws; of a StyleGAN through styles (w) and through noise (z)."""
    from . import latent

    fitted = load_run(run, use, trust, model=model)
    spaces = {"w": False, "z": True} if hasattr(fitted.model, "styles") else {"latents": False}
    found = {}
    for name, noise in spaces.items():
        lengths = latent.perceptual_path_lengths(fitted, n, seed, noise=noise)
        found[name] = {"mean": float(lengths.mean()), "standard_error": float(lengths.std() / n**0.5), "n": n}
    if as_json:
        show_json(found, indent=None)
        return
    for name, row in found.items():
        show(f"{name}: {row['mean']:.4g} (standard error {row['standard_error']:.2g}, {n} ways)")


@app.command()
def truncation(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help=".json.")],
    amounts: Annotated[str, typer.Option(help="As --truncation of sample; none is no truncation.")] = TRUNCATIONS,
    evaluator: Annotated[Path | None, typer.Option(help="Evaluator folder (default: one is built).")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples compared, where one is built.")] = None,
    features_net: FeaturesNet = None,
    seed: Seed = 0,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
) -> None:
    """Precision, recall and Fréchet distance by truncation."""
    import tempfile

    from . import latent
    from .metrics import Evaluator
    from .metrics.own import agreed, require_consent

    far = [None if word.strip() == "none" else _numbers(word, TRUNCATIONS)[0] for word in amounts.split(",")]
    check_out(out, (".json",), data)
    allowed = agreed(features_net)
    if evaluator is not None:
        require_consent(evaluator, allowed)  # before the model's code runs
    fitted = load_run(run, use, trust, model=model)
    for amount in far:
        fitted.latents(1, seed, truncation=amount)  # refuses what cannot be, before an evaluator is built
    dataset = open_like(fitted, data, data_dir, value_range, fit, follow_links=follow_links)
    if evaluator is not None:
        judge = Evaluator.load(evaluator, dataset, trust=allowed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            judge = Evaluator.build(dataset, Path(folder), samples=samples, progress=say)
    rows = latent.truncation_curve(fitted, judge, far, seed)
    write_json(out, {"evaluator": judge.hash, "n": judge.n, "curve": rows})
    _table(rows)
    show(out)


def _table(rows: Sequence[dict[str, Any]]) -> None:
    """Truncation against metrics, one feature space after the other."""
    from .console import table

    for space in dict.fromkeys(key.partition("/")[2] for key in rows[0] if "/" in key):
        shown = []
        for row in rows:
            found = [row[f"{metric}/{space}"] for metric in ("precision", "recall", "fd_inf")]
            amount = "none" if row["truncation"] is None else f"{row['truncation']:g}"
            shown.append((amount, *("—" if value is None else f"{value:.4g}" for value in found)))
        table(("truncation", "precision", "recall", "FD"), shown, title=space)


@app.command()
def probe(
    run: Run,
    data: Data,
    labels: Annotated[
        str | None, typer.Option(help="Numbers of training labels, separated by commas (default: 50,200,all).")
    ] = None,
    seed: Seed = 0,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
    as_json: Json = False,
) -> None:
    """Are the features of its networks better for classification than those of the same networks untrained?"""
    from . import latent

    counts = None if labels is None else [None if w.strip() == "all" else _count(w) for w in labels.split(",")]
    fitted = load_run(run, use, trust, model=model)
    results = latent.probe(
        fitted, open_like(fitted, data, data_dir, value_range, fit, follow_links=follow_links), counts, seed
    )
    if as_json:
        show_json([result.to_json() for result in results])
        return
    for r in results:
        interval = f"{r.difference:+.3f} [{r.low:+.3f}, {r.high:+.3f}]"
        show(
            f"{r.features}, {r.labels} labels: {r.trained:.3f} trained, {r.untrained:.3f} untrained, "
            f"difference {interval}: {r.verdict}"
        )


@app.command()
def density_ratio(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help=".csv: row, log-ratio, ratio, calibrated ratio.")],
    seed: Seed = 0,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
    as_json: Json = False,
) -> None:
    """What its discriminator says of p(x) / q(x), data over fakes, of test examples; with a check of its calibration."""
    from dataclasses import asdict

    import numpy as np

    from . import latent

    check_out(out, (".csv",), data)
    fitted = load_run(run, use, trust, model=model)
    dataset = open_like(fitted, data, data_dir, value_range, fit, told=True, follow_links=follow_links)
    found = latent.calibrate(fitted, dataset, seed)
    log_ratios = latent.log_ratio(fitted, *_split(dataset, "test"))
    lines: list[list[Any]] = [["row", "log_ratio", "ratio", "calibrated_ratio"]]
    for row, logit in zip(dataset.splits["test"], log_ratios, strict=True):
        ratios = (logit, np.exp(logit), np.exp(found(logit)))
        lines.append([row, *(f"{number:.6g}" for number in ratios)])
    write_atomic(out, csv_text(lines))
    if as_json:
        show_json(asdict(found))
        return
    show(f"calibration error {found.before:.3f}; {found.after:.3f} with {found.scale:.3g} * logit {found.bias:+.3g}")
    show(out)


@app.command()
def gap(
    run: Run,
    data: Data,
    steps: Annotated[int, typer.Option(help="Steps that each opponent is trained for.")] = 1000,
    seed: Seed = 0,
    use: For = None,
    model: Contender = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    value_range: Range = None,
    fit: Fit = False,
    follow_links: FollowLinks = False,
    as_json: Json = False,
) -> None:
    """How far a game is from its equilibrium: duality gap, and how well a new discriminator tells fakes from data."""
    from dataclasses import asdict

    from .duality import duality_gap, fresh_discriminator_accuracy

    fitted = load_run(run, use, trust, model=model)
    dataset = open_like(fitted, data, data_dir, value_range, fit, follow_links=follow_links)
    found = duality_gap(fitted, dataset, steps, seed)
    accuracy = fresh_discriminator_accuracy(fitted, dataset, steps, seed)
    if as_json:
        record = {**asdict(found), "gap": found.gap, "fresh_discriminator_accuracy": accuracy, "steps": steps}
        show_json(record)
        return
    show(f"duality gap {found.gap:.3f} nats after {steps} steps of each opponent (0 at an equilibrium)")
    show(f"a new discriminator is right in {100 * accuracy:.1f} % of unseen cases (50 % is guessing)")


# -- shared by these verbs ---------------------------------------------------------------------------------------------


def _numbers(text: str, example: str = AMOUNTS) -> list[float]:
    """Finite numbers separated by commas."""
    import math

    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = [math.nan]
    if not all(math.isfinite(number) for number in found):
        raise UsageError(f"amounts '{text}' are not understood: write numbers, as --amounts={example}.")
    return found


def _count(text: str) -> int:
    if not text.strip().isdecimal():
        raise UsageError(f"labels '{text}' is not understood: write 50, or 50,200,all.")
    return int(text)


def _split(dataset: Dataset, split: str, n: int | None = None) -> tuple[Any, Any]:
    """Stored values and labels (None without) of the first examples of a split."""
    if n is not None:
        at_least_one(n)
    rows = dataset.splits[split][:n]
    if not len(rows):
        raise DataError(f"'{dataset.name}' has no {split} examples.")
    labels = dataset.labels(split)
    return stored(dataset)[rows], None if labels is None else labels[:n]


def _class_index(dataset: Dataset, name: str) -> int:
    """The index of a class of labelled data, by its name or by itself."""
    label = dataset.schema.label
    if label is None:
        raise DataError(f"'{dataset.name}' has no labels, so it names no attributes.")
    if name in label.classes:
        return label.classes.index(name)
    if name.isdecimal() and int(name) < len(label.classes):
        return int(name)
    raise UsageError(f"there is no class '{name}' in '{dataset.name}'.{did_you_mean(name, label.classes)}")
