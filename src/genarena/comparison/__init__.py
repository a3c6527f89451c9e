"""Compare: plan the runs, run them, measure them with one frozen evaluator, and say what follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..budget import Budget
from ..checkpoint import RunFolder
from ..data import Dataset
from ..data.store import load_dataset, save_dataset
from ..errors import DataError, RunError, UsageError
from ..files import Record as Form
from ..files import Text, claim, copy_file, only_files, read_json, read_record, write_json
from ..fit import check_fits, duration
from ..fitted import FittedModel, load_model
from ..game import Model
from ..machine import own_threads
from ..metrics import Evaluator
from ..metrics.own import agreed, identity
from ..own_code import Trust
from ..report import build_report, notebook_html
from ..report.schema import Comparison as Record
from ..report.schema import read_comparison
from ..uses import USES, find_use
from .assemble import assemble
from .measure import weights_of
from .plan import DEFAULT_MODELS, Cell, Plan, make_plan
from .run import STALL_SECONDS, Outcome, expected_seconds, run_cells

Progress = Callable[[Cell, float, str], None]


class _Use(Form):
    name: str
    leader: str | None = None
    reason: Text = ""
    verdict: str = ""


class _Run(Form):
    id: str
    status: str
    sha256: str | None = None


class Led(Form):
    """What ``comparison.json`` says of its leaders."""

    uses: list[_Use]
    runs: list[_Run]


@dataclass(frozen=True, repr=False)
class Comparison:
    """A finished comparison.

    Attributes
    ----------
    folder : Path
    record : dict
        What ``comparison.json`` holds.
    report : Path
        The HTML file.
    failed : list of Outcome
        Runs that failed, with the reason.
    own : mapping
        The user's own classes, by contender: what a run brings is loaded as one of these, or not.
    """

    folder: Path
    record: dict[str, Any]
    report: Path
    failed: list[Outcome]
    own: Mapping[str, type[Model]] = field(default_factory=dict)

    def __repr__(self) -> str:
        lines = [f"  {name}: {text}" for name, text in self.verdicts().items()]
        return "\n".join([f"Comparison of {len(self.record['contenders'])} contenders, see '{self.report}'", *lines])

    def _repr_html_(self) -> str:
        return notebook_html(self.record, self.folder)

    def verdicts(self) -> dict[str, str]:
        """One sentence a use."""
        return {use["name"]: f"{use['verdict']}: {use['reason']}" for use in self.record["uses"]}

    def best(self, use: str, model: str | None = None) -> FittedModel:
        """The leader's model for a use, or that of the contender named, trained with the first seed."""
        return load_winner(self.folder, use, model=model, own=self.own)


def compare(
    dataset: Dataset,
    plan: Plan,
    out: str | Path,
    *,
    samples: int | None = None,
    evaluator: str | Path | None = None,
    features: str | Path | None = None,
    features_net: str | None = None,
    stall_seconds: float = STALL_SECONDS,
    command: str = "",
    source: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_progress: Progress = lambda *_: None,
) -> Comparison:
    """Train every model with every seed, measure, decide, report. The same call goes on where it was interrupted.

    Parameters
    ----------
    dataset : Dataset
    plan : Plan
        From `make_plan`.
    out : str or Path
        The comparison's folder.
    samples : int, optional
        Samples compared; by default 5000, or as many as there are.
    evaluator : str or Path, optional
        The folder of an evaluator built on the same data, to compare with earlier scores.
    features : str or Path, optional
        One more feature space, as one more opinion (safetensors): another evaluator's, or the weights of `features_net`.
    features_net : str, optional
        A network of your own, ``file.py:Class``: see `genarena.metrics.own`. This runs the file.
    stall_seconds : float
        A run that shows no life for so long is ended.
    command, source : str
        What began the comparison, and the data as the user gave them: for the report.
    say, on_progress : callable
        Told what happens, in words and by run.

    Returns
    -------
    Comparison

    Raises
    ------
    RunError
        Where the folder is in use, or holds something else than this comparison so far.
    StorageError
        Where the folder cannot be written.
    """
    folder = Path(out)
    if not stall_seconds > 0:
        raise UsageError(f"stall={stall_seconds:g}: give a number of seconds.")
    claim(folder, "plan.json", "comparison")
    with RunFolder(folder).lock(), own_threads(plan.threads):
        plan = _prepare(folder, plan, dataset, say)
        judge = _evaluator(folder, dataset, samples, evaluator, features, features_net, say)
        _say_what_cannot_be_measured(plan, judge, say)
        usual = Budget.default(len(dataset.splits["train"]))
        if (plan.budget.images(len(dataset.splits["train"])) or usual.amount) < usual.amount:
            say(f"a budget of {plan.budget} is below the default of {usual}: with more, other models may win")
        write_json(folder / "plan.json", plan.to_json())  # not before nothing more is to be refused
        each = f" with {plan.threads} threads each" if plan.threads else ""
        for contender in plan.contenders:
            for note in check_fits(contender.model_class, contender.settings, dataset)[1]:
                say(f"{contender.name}: {note}")
        say(f"{plan.describe()}, {plan.jobs} at a time{each}")
        if plan.hidden:
            say(f"detect hides from training, with every seed: {', '.join(plan.hidden)}")
        trained = [c.name for c in plan.contenders if c.name not in plan.baselines()]
        forecast: list[float] = []

        def progress(cell: Cell, share: float, status: str) -> None:
            if not forecast and (seconds := expected_seconds(folder, plan, trained, plan.jobs)):
                forecast.append(seconds)
                say(f"training takes about {duration(seconds)}; measuring comes on top")
            on_progress(cell, share, status)

        outcomes = run_cells(
            folder,
            plan,
            jobs=plan.jobs,
            threads=plan.threads,
            on_progress=progress,
            stall_seconds=stall_seconds,
        )
        say("deciding")
        record = assemble(folder, plan, dataset, judge, outcomes, command=command, source=source)
        for run in record["runs"]:
            for name in dict.fromkeys(alarm["name"] for alarm in run.get("alarms", [])):
                say(f"{run['id']} raised an alarm in training: {name}; the report says more")
        ended = zip(plan.cells, record["runs"], strict=True)  # where a run that cannot be read has failed too
        failed = [Outcome(cell, "failed", run["reason"]) for cell, run in ended if run["status"] == "failed"]
        own = {c.name: c.model_class for c in plan.contenders if c.code is not None}
        return Comparison(folder, record, build_report(folder), failed, own)


def _prepare(folder: Path, plan: Plan, dataset: Dataset, say: Callable[[str], None]) -> Plan:
    """Write plan and data, or check that the folder's can become these; returns what is to be done."""
    path = folder / "plan.json"
    own = {c.name: c.own for c in plan.contenders}
    plan = Plan.from_json(json.loads(json.dumps(plan.to_json())))  # as it will be read again
    plan = replace(plan, contenders=tuple(replace(c, own=own[c.name]) for c in plan.contenders))
    if path.exists():
        before = Plan.from_json(read_json(path))
        if before.fingerprint != plan.fingerprint:
            raise RunError(f"'{folder}' compares other data: choose another --out.")
        for contender in plan.contenders:
            old = next((c for c in before.contenders if c.name == contender.name), contender)
            if old.code != contender.code:
                raise RunError(f"'{folder}' has '{contender.name}' made by other code: choose another --out.")
            if old != contender:
                raise RunError(f"'{folder}' has '{contender.name}' with other settings: choose another --out.")
        if "detect" in before.views and "detect" in plan.views and before.hidden != plan.hidden:
            was = ", ".join(before.hidden) or "another class with every seed"
            raise RunError(
                f"'{folder}' hides {was} from training and not {', '.join(plan.hidden)}: choose another --out."
            )
        if plan.total and plan.total == before.total:
            plan = replace(plan, budget=before.budget)  # shared out when it began, maybe among other runs at a time
        left = ", ".join(sorted({c.name for c in before.contenders} - {c.name for c in plan.contenders}))
        if left:
            say(f"left out now, though their runs are kept: {left}")
        if before.budget.unit != plan.budget.unit or before.budget.amount > plan.budget.amount:
            raise RunError(f"'{folder}' has runs of {before.budget}: they can be extended, not cut to {plan.budget}.")
    else:
        write_json(path, plan.to_json())
    if not (folder / "data" / "dataset.json").exists():
        save_dataset(dataset, folder / "data")
    return plan


def _evaluator(
    folder: Path,
    dataset: Dataset,
    samples: int | None,
    given: str | Path | None,
    features: str | Path | None,
    features_net: str | None,
    say: Callable[[str], None],
) -> Evaluator:
    """The folder's evaluator, a copy of a given one, or a new one."""
    own, trust = folder / "evaluator", agreed(features_net)
    if not (own / "evaluator.json").exists():
        if given is None:
            weights = Path(features) if features else None
            return Evaluator.build(
                dataset, own, samples=samples, features=weights, features_net=features_net, progress=say
            )
        only_files(Path(given))
        Evaluator.load(Path(given), dataset, trust=trust)
        own.mkdir(exist_ok=True)
        for path in sorted(Path(given).iterdir(), key=lambda p: p.name == "evaluator.json"):  # which makes it complete
            if path.is_file():
                copy_file(path, own / path.name)
    found = Evaluator.load(own, dataset, trust=trust)
    other = given and Evaluator.load(Path(given), dataset, trust=trust).hash != found.hash
    if other or (features and identity(Path(features), features_net) != found.features):
        raise RunError(f"'{folder}' has an evaluator of its own: choose another --out for another one.")
    if samples and found.n != min(samples, *(len(found.dataset.splits[split]) for split in ("train", "test"))):
        raise RunError(f"'{folder}' compares {found.n} samples: choose another --out to compare {samples}.")
    return found


def _say_what_cannot_be_measured(plan: Plan, judge: Evaluator, say: Callable[[str], None]) -> None:
    """Before anything is trained for it; an error where nothing else is asked for."""
    for use in (USES[name] for name in plan.uses):
        if use.needs_space and use.needs_space not in judge.spaces:
            why = next((note for note in judge.notes if use.needs_space in note), "these data have none")
            lost = f"'{use.name}' cannot be measured: the evaluator has no {use.needs_space} space ({why})"
            if len(plan.uses) == 1:
                raise DataError(f"{lost}. Give more or larger examples of every class.")
            say(lost)


def load_winner(
    folder: Path,
    use: str,
    *,
    model: str | None = None,
    trust: Trust = False,
    own: Mapping[str, type[Model]] | None = None,
    checkpoint: str | None = None,
    device: torch.device | str = "cpu",
) -> FittedModel:
    """The model a comparison recommends for a use, with the weights it measured or those of `checkpoint`.

    See `winner_folder` and `load_model`; `own` are classes at hand, by contender.
    """
    run = winner_folder(folder, use, model)
    plan = Plan.from_json(read_json(folder / "plan.json"))
    known = next(((own or {}).get(cell.contender) for cell in plan.cells if cell.id == run.name), None)
    if checkpoint is None:  # runs on a part of the data keep no best weights: they were measured by the last
        asked = plan.checkpoint if find_use(use).view == "all" else "last"
        checkpoint = weights_of(RunFolder(run).read_result(), asked)[0]
    fitted = load_model(run, trust=trust, own=known, checkpoint=checkpoint, device=device)
    fitted.record["scores"] = _scores_of(run.name, read_comparison(folder))
    return fitted


def _scores_of(run_id: str, record: Record) -> list[dict[str, Any]]:
    """What a run scored by the metric of each use: for the card of the model."""
    run = next(run for run in record.runs if run.id == run_id)
    metrics = {metric.name: metric for metric in record.metrics}
    scores = []
    for use in record.uses:
        metric = metrics.get(use.metric)
        score = metric and metric.scores.get(run.contender)
        value = score and score.by_seed.get(str(run.seed))
        if metric and value is not None:
            scores.append({"use": use.title, "metric": metric.title, "value": value, "real": metric.floor})
    return scores


def winner_folder(folder: Path, use: str, model: str | None = None) -> Path:
    """The run a comparison recommends for a use: its leader's with the first seed that finished.

    It was trained on all data; for ``detect`` on the class that was called normal, where one was.

    Parameters
    ----------
    folder : Path
    use : str
    model : str, optional
        The contender of this name, and not the leader.

    Raises
    ------
    RunError
        Where the folder is no finished comparison.
    UsageError
        Where no contender serves that use, or there is none of that name.
    """
    entry, done = _verdict_of(folder, use)
    chosen = model or entry.get("leader")
    if chosen is None:
        raise UsageError(
            f"the comparison in '{folder}' has no leader for '{use}': {entry.get('reason')} Any contender can be named: "
            "--model (model=)."
        )
    plan = Plan.from_json(read_json(folder / "plan.json"))
    names = [c.name for c in plan.contenders]
    if model is not None and model not in names:
        raise UsageError(f"the comparison in '{folder}' has no '{model}', but {', '.join(names)}.")
    if chosen not in names:
        raise RunError(f"'{folder}' names a leader that its plan does not have.")
    cells = [Cell(str(chosen), seed, plan.handed_over(use)) for seed in plan.seeds]
    found = next((cell.id for cell in cells if cell.id in done), None)
    if found is None:  # whatever else lies in the folder
        raise RunError(f"the comparison in '{folder}' has no finished run of '{chosen}': run its command again.")
    run = folder / "runs" / found
    if weights_of(RunFolder(run).read_result(), plan.checkpoint)[1] != done[found]:
        raise RunError(f"'{run}' is not the run that was compared: the sha256 of its weights differs.")
    return run


def provisional(folder: Path, use: str) -> str | None:
    """What somebody should know who is handed the leader of a use that nobody has won; None of others."""
    entry, _ = _verdict_of(folder, use)
    if entry.get("leader") is None or entry.get("verdict") != "undecided":
        return None
    return f"{entry['leader']} leads '{use}' provisionally: undecided. {entry.get('reason')}"


def _verdict_of(folder: Path, use: str) -> tuple[dict[str, Any], dict[str, str | None]]:
    """What a comparison says of a use, and the sha256 of its finished runs by id; raises where it was not asked."""
    find_use(use)
    if not (folder / "comparison.json").exists():
        if (folder / "plan.json").exists():
            raise RunError(f"the comparison in '{folder}' is not finished: run its `genarena compare` command again.")
        raise RunError(f"'{folder}' is no comparison: leave --for out where it is a run.")
    record = read_record(folder / "comparison.json", Led)
    entries = {entry["name"]: entry for entry in record["uses"]}
    done = {run["id"]: run.get("sha256") for run in record["runs"] if run["status"] == "done"}
    if use not in entries:
        others = ", ".join(name for name, entry in entries.items() if entry.get("leader")) or "none"
        raise UsageError(
            f"the comparison in '{folder}' has no leader for '{use}': it was not asked for. Uses with a leader: {others}."
        )
    return entries[use], done


def evaluator_of(folder: Path, *, trust: Trust = False) -> Evaluator:
    """A comparison's evaluator, with its data; `trust` runs code that came with it."""
    return Evaluator.load(folder / "evaluator", load_dataset(folder / "data"), trust=trust)


__all__ = [
    "DEFAULT_MODELS",
    "STALL_SECONDS",
    "Cell",
    "Comparison",
    "Outcome",
    "Plan",
    "compare",
    "evaluator_of",
    "load_winner",
    "make_plan",
    "provisional",
    "run_cells",
    "winner_folder",
]
