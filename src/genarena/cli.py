"""The command line: thin, and quick to start (torch is imported by the commands that need it).

Results go to standard output, everything else to standard error. Exit codes are those of `errors.EXIT_CODES`.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core

from . import __version__, cli_latent, cli_model
from .cli_common import (
    Contender,
    Data,
    DataDir,
    FollowLinks,
    For,
    Json,
    NoLabels,
    Range,
    Run,
    complete_model,
    complete_use,
    named_with_use,
    opened,
    say,
    show,
    show_json,
    tell_opened,
)
from .errors import EXIT_CODES, STOPPED, GenarenaError, IncompleteError, StorageError, UsageError, one_line
from .settings import add_settings, read_settings

if TYPE_CHECKING:
    from .data import Dataset

KEEP = "Keep house"
PANELS = {  # of the help page, by where a verb is written
    __name__: "Train and compare",
    cli_model.__name__: "Use a trained model",
    cli_latent.__name__: "Look into a trained model",
}


class Verbs(typer.core.TyperGroup):
    """The verbs by what they are for, in the order they are written in; one ends well only where it says so itself."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section a panel."""
        panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in (*PANELS.values(), KEEP)}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None)
            panel = panel if isinstance(panel, str) else PANELS[command.callback.__module__]
            panels[panel].append((name, command.get_short_help_str(limit=200)))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SystemExit as end:
            if end.code in STOPPED:
                raise
            raise UsageError(
                f"the model's own code ended the program (sys.exit, {end.code!r}): take that out."
            ) from None


app = typer.Typer(
    name="genarena",
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    result_callback=tell_opened,
    help="VAE or GAN? Trains both families on your data and says, with evidence, which to use for what.",
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + ".",
)

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Size = Annotated[str | None, typer.Option(help="Resize images: 64 or 48x64 (height x width).")]
MaxBad = Annotated[float, typer.Option(help="Share of unusable files that is tolerated.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, key=value; keys may be dotted. Repeat for more.")
]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file of settings; --set overrides it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads (default: measured at the first start).")]
Budget = Annotated[str | None, typer.Option(help="'200k images', '20 epochs', '10 min'.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")]


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A model's name, or file.py:Class.", autocompletion=complete_model)],
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder; the same command goes on where it stopped.")],
    budget: Budget = None,
    seed: int = 0,
    setting: Set = None,
    config: Config = None,
    device: Device = "auto",
    threads: Threads = None,
    size: Size = None,
    value_range: Range = None,
    data_dir: DataDir = None,
    max_bad: MaxBad = 0.2,
    no_labels: NoLabels = False,
    follow_links: FollowLinks = False,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Train one model, or go on where it stopped."""
    from . import distributed
    from .comparison.measure import validation_monitor
    from .console import tell
    from .fit import choose_device, fit, plan

    distributed.init(choose_device(device))
    try:
        dataset = _open(data, size, value_range, data_dir, max_bad, no_labels, follow_links)
        decided = plan(model, dataset, budget=budget, seed=seed, settings=_settings(setting, config), device=device)
        if dry_run:
            show_json({k: v for k, v in decided.record.items() if k != "code"})
            return
        if distributed.is_main() and not quiet:
            tell(dataset)
        watched = "json" if as_json else "quiet" if quiet else "live"
        fit(decided, out, threads=threads, show=watched, monitor=validation_monitor(dataset))
        if distributed.is_main() and not as_json:
            show(out)
    finally:
        distributed.shutdown()


@app.command()
def compare(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Folder (default: arena-DATA); the same command goes on.")] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Names, file.py:Class or name=model:key=value, separated by commas.", autocompletion=complete_model
        ),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Of each run: '200k images', '20 epochs', '10 min'.")] = None,
    total: Annotated[
        str | None, typer.Option(help="Of all runs together, shared out evenly: '30 min' of wall clock, '5M images'.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds a model.")] = 3,
    jobs: Annotated[
        int | None, typer.Option(help="Runs at a time (default: one a core, at most 4; one on a GPU).")
    ] = None,
    use: Annotated[
        str | None,
        typer.Option("--for", help="Only this use, and only the runs it needs.", autocompletion=complete_use),
    ] = None,
    setting: Set = None,
    config: Config = None,
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of a run (default: the cores shared among the jobs).")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Samples compared (default: 5000, or as many as there are).")
    ] = None,
    evaluator: Annotated[Path | None, typer.Option(help="Evaluator folder of an earlier comparison.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="One more feature space: another evaluator's, or your own weights (safetensors)."),
    ] = None,
    features_net: Annotated[
        str | None, typer.Option(help="The network of your own weights, file.py:Class; this runs the file.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Weights measured: last, or best by validation distance.")] = "last",
    normal: Annotated[
        str | None,
        typer.Option(help="The normal class: detect hides all others from training (default: the rarest is hidden)."),
    ] = None,
    stall: Annotated[float, typer.Option(help="Seconds without a sign of life after which a run is ended.")] = 1800,
    size: Size = None,
    value_range: Range = None,
    data_dir: DataDir = None,
    max_bad: MaxBad = 0.2,
    no_labels: NoLabels = False,
    follow_links: FollowLinks = False,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Train several models under one budget and report which to use for what."""
    from . import comparison
    from .console import Board, tell

    dataset = _open(data, size, value_range, data_dir, max_bad, no_labels, follow_links)
    plan = comparison.make_plan(
        dataset,
        models=[name.strip() for name in models.split(",")] if models else comparison.DEFAULT_MODELS,
        budget=budget,
        total=total,
        jobs=jobs,
        threads=threads,
        seeds=seeds,
        use=use,
        settings=_settings(setting, config),
        device=device,
        checkpoint=checkpoint,
        normal=normal,
    )
    if dry_run:
        say(plan.describe())
        show_json(plan.to_json())
        return
    folder = out or Path(f"arena-{Path(data).stem}")
    if not quiet:
        tell(dataset)
    with Board(plan, quiet=quiet) as board:
        result = comparison.compare(
            dataset,
            plan,
            folder,
            samples=samples,
            evaluator=evaluator,
            features=features,
            features_net=features_net,
            stall_seconds=stall,
            command="genarena " + shlex.join(sys.argv[1:]),
            source=data,
            say=board.say,
            on_progress=board.progress,
        )
        for entry in result.record["uses"]:
            board.say(f"{entry['title']}: {entry['verdict']}. {entry['reason']}")
        for failure in result.failed:
            board.say(f"{failure.cell.id} failed: {failure.reason}")
    if as_json:
        show_json({"report": str(result.report), **result.verdicts()}, indent=None)
    else:
        show(result.report)
    if result.failed:
        raise IncompleteError(f"{len(result.failed)} of {len(plan.cells)} runs failed; the report says why.")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A comparison's folder.")]) -> None:
    """Write the report of a comparison again."""
    from .report import build_report

    show(build_report(folder))


@app.command()
def view(folder: Annotated[Path, typer.Argument(help="A comparison's folder.")]) -> None:
    """Open the report of a comparison in the browser."""
    import webbrowser

    from .report import build_report

    page = folder / "report.html"
    if not page.is_file():
        page = build_report(folder)
    show(page)
    if not webbrowser.open(page.resolve().as_uri()):
        say("no browser answers here: open that file in one.")


@app.command()
def models(as_json: Json = False) -> None:
    """The models, and what each can do."""
    from .catalogue import capability_rows
    from .console import capability_table

    rows = capability_rows()
    if as_json:
        for row in rows:
            reasons = row["capabilities"].items()
            row["capabilities"] = {name: {"can": why is None, "reason": why} for name, why in reasons}
        show_json(rows)
    else:
        capability_table(rows)


@app.command()
def inspect(
    data: Data,
    size: Size = None,
    value_range: Range = None,
    data_dir: DataDir = None,
    max_bad: MaxBad = 0.2,
    no_labels: NoLabels = False,
    follow_links: FollowLinks = False,
    as_json: Json = False,
) -> None:
    """What the data are: shapes, counts, splits, labels, duplicates, bad files."""
    from .console import inspection
    from .data import inspect_dataset

    found = inspect_dataset(_open(data, size, value_range, data_dir, max_bad, no_labels, follow_links, splits=None))
    if as_json:
        show_json(found)
    else:
        inspection(found)


@app.command(rich_help_panel=KEEP)
def doctor(run: Run, use: For = None, model: Contender = None, as_json: Json = False) -> None:
    """Check every file of a run: checkpoints against their hashes, the model, what went wrong."""
    from .housekeeping import examine

    folder = run
    named_with_use(use, model)
    if use is not None:
        from .comparison import winner_folder

        folder = winner_folder(run, use, model)
    findings = examine(folder)
    if as_json:
        show_json([{"ok": ok, "what": text} for ok, text in findings])
    else:
        for ok, text in findings:
            show(f"{'ok     ' if ok else 'BROKEN '} {text}")
    if not all(ok for ok, _ in findings):
        raise typer.Exit(4)


@app.command(rich_help_panel=KEEP)
def prune(
    folder: Annotated[Path, typer.Argument(help="A run or a comparison.")],
    keep: Annotated[
        int, typer.Option(help="Checkpoints left in each finished run; 0 means it cannot be extended.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be freed, and delete nothing.")] = False,
) -> None:
    """Delete old checkpoints of finished runs."""
    from .housekeeping import prune_checkpoints

    freed, count = prune_checkpoints(folder, keep, dry_run=dry_run)
    show(f"{'would free' if dry_run else 'freed'} {freed / 2**20:.1f} MB in {count} checkpoints")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    opened.clear()
    if version:
        show(__version__)
        raise typer.Exit


app.add_typer(cli_model.app)
app.add_typer(cli_latent.app)


# -- shared by commands ------------------------------------------------------------------------------------------------


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 2 or not all(p.isdigit() and int(p) > 0 for p in parts):
        raise UsageError(f"size '{text}' is not understood: write 64, or 48x64 (height x width).")
    return int(parts[0]), int(parts[-1])


def _open(
    data: str,
    size: str | None,
    value_range: tuple[float, float] | None,
    data_dir: Path | None,
    max_bad: float,
    no_labels: bool,
    follow_links: bool,
    *,
    splits: bool | None = True,
) -> Dataset:
    from .console import decoding_progress
    from .data import open_dataset

    with decoding_progress() as progress:
        return open_dataset(
            data,
            size=_size(size),
            value_range=value_range,
            data_dir=data_dir,
            max_bad=max_bad,
            labels=not no_labels,
            follow_links=follow_links,
            splits=splits,
            progress=progress,
        )


def _settings(pairs: list[str] | None, config: Path | None) -> dict[str, Any]:
    """Settings from a YAML file, then from pairs."""
    return add_settings({} if config is None else read_settings(config), pairs or [], "--set ")


def main() -> None:
    """Run the command line; a user's mistake ends in one or two lines and a documented code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot say a character is shown it spelled out
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="genarena")
    except GenarenaError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        where = f": '{os.fsdecode(error.filename)}'" if isinstance(error.filename, str | bytes) else ""
        _end(f"{error.strerror or one_line(error)}{where}.", StorageError.exit_code)
    except SystemExit as end:  # typer turns Ctrl-C into one too
        if end.code in STOPPED:
            _end("stopped; what was begun is saved, and the same command goes on from here.", int(end.code or 0))
        raise


def _end(message: str, code: int) -> NoReturn:
    say(f"genarena: {message}")
    with contextlib.suppress(OSError, ValueError):  # what standard output refused must not be tried again at the end
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(nowhere, sys.stdout.fileno())
        finally:
            os.close(nowhere)
    sys.exit(code)
