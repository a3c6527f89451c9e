"""What a comparison will do: contenders x views x seeds, fixed before the first run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from ..budget import Budget
from ..data import Dataset
from ..errors import RunError, UsageError, did_you_mean, whole
from ..files import Record, Text, as_record
from ..fit import check_fits, choose_device, model_name
from ..game import Game, Model
from ..machine import cores
from ..models import MODELS, find_model
from ..own_code import OwnCode, refuse_while_loading, source_of
from ..settings import add_settings
from ..uses import USES, find_use, hidden_classes

FORMAT = 1
BASELINE = "pca"
DEFAULT_MODELS = (BASELINE, "vae", "gan", "vaegan")
_NAME = r"\w[\w.@-]{0,79}"  # of a contender, and so of its folders


class _ContenderRecord(Record):
    name: str
    model: str
    settings: dict[str, Any]
    code: Text | None = None
    file: Text = ""


class PlanRecord(Record):
    """``plan.json``."""

    format: int
    contenders: list[_ContenderRecord] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(min_length=1)
    budget: str
    uses: list[str] = Field(min_length=1)
    device: str
    fingerprint: str
    checkpoint: str = "last"
    hidden: list[Text] = Field([])
    normal: Text | None = None
    total: str = ""
    jobs: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class Contender:
    """A model with its settings, under the name it competes by: the same wherever its code lies.

    Attributes
    ----------
    name : str
        The model's, where it was given no other.
    settings : mapping
    model : str
        Its name in the table, or that of the user's own class.
    code : str or None
        The text of a user's own class, which every run is made from, whatever becomes of its file.
    file : str
        Where that text came from.
    own : type or None
        The class itself, in the process that was given it.
    """

    name: str
    settings: Mapping[str, Any]
    model: str
    code: str | None = None
    file: str = field(default="", compare=False)
    own: type[Model] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, model: str | type[Model]) -> Contender:
        """Of a name of the table, ``file.py:Class``, a class, or ``name=model:key=value:key=value``."""
        alias, source, settings = _named(model) if isinstance(model, str) else ("", model, {})
        model_class = find_model(source) if isinstance(source, str) else source
        if model_class in MODELS.values():
            name = model_name(model_class)
            return cls(alias or name, settings, name)
        name, code = model_class.__name__, source_of(model_class)
        return cls(alias or name, settings, name, code.text, str(code.path.absolute()), model_class)

    @property
    def model_class(self) -> type[Model]:
        if self.code is None:
            return find_model(self.model)
        return self.own or OwnCode(Path(self.file), self.code).load(self.model, Model, "model")

    def to_json(self) -> dict[str, Any]:
        record = {"name": self.name, "model": self.model, "settings": dict(self.settings)}
        return record if self.code is None else {**record, "code": self.code, "file": self.file}


@dataclass(frozen=True)
class Cell:
    """One run: a contender, a training seed and a view of the data."""

    contender: str
    seed: int
    view: str

    @property
    def id(self) -> str:
        return f"{self.contender}-{self.seed}" + ("" if self.view == "all" else f"-{self.view}")


@dataclass(frozen=True)
class Plan:
    """A comparison, decided.

    Attributes
    ----------
    hidden : tuple of str
        Names of the classes that the view ``detect`` keeps from training.
    normal : str or None
        The class that the user called normal: then the detector that is handed over has seen no other.
    total : str
        The amount of training that was shared out to the runs, where it was one for all of them.
    jobs : int
        Runs at a time.
    threads : int or None
        CPU threads of each run; None lets each measure what is best.
    """

    contenders: tuple[Contender, ...]
    seeds: tuple[int, ...]
    budget: Budget
    uses: tuple[str, ...]
    device: str
    fingerprint: str
    checkpoint: str = "last"
    hidden: tuple[str, ...] = ()
    normal: str | None = None
    total: str = ""
    jobs: int = 1
    threads: int | None = None

    @property
    def views(self) -> tuple[str, ...]:
        """``all`` comes first, whatever the uses: what is handed over is trained on all data."""
        return tuple(dict.fromkeys(["all", *(USES[name].view for name in self.uses)]))

    @property
    def cells(self) -> list[Cell]:
        """Seed by seed, so that an interrupted comparison has whole seeds.

        A view that no use asks for runs with the first seed alone, for the model that is handed over.
        """
        asked = {USES[name].view for name in self.uses}
        views = {seed: [v for v in self.views if v in asked or seed == self.seeds[0]] for seed in self.seeds}
        return [Cell(c.name, seed, view) for seed in self.seeds for view in views[seed] for c in self.contenders]

    def view(self, dataset: Dataset, name: str) -> Dataset:
        """The data as runs of a view see them."""
        return dataset if name == "all" else dataset.without_classes(self.hidden_in(dataset))

    def hidden_in(self, dataset: Dataset) -> tuple[int, ...]:
        """Indices of the classes that the view ``detect`` hides."""
        classes = dataset.schema.label.classes if dataset.schema.label else ()
        if not set(self.hidden) <= set(classes):
            raise RunError("the comparison's plan hides classes that its data do not have.")
        return tuple(classes.index(name) for name in self.hidden)

    def handed_over(self, use: str) -> str:
        """The view that the model handed over for a use was trained on."""
        return "detect" if self.normal is not None and USES[use].view == "detect" else "all"

    def contender(self, name: str) -> Contender:
        return next(c for c in self.contenders if c.name == name)

    def baselines(self) -> list[str]:
        """Contenders fitted in closed form."""
        return [c.name for c in self.contenders if not issubclass(c.model_class, Game)]

    @property
    def trained(self) -> list[Cell]:
        """The runs that take the budget: all but those of contenders fitted in closed form."""
        closed = self.baselines()
        return [cell for cell in self.cells if cell.contender not in closed]

    def describe(self) -> str:
        """How much training it is, in all."""
        count, budget = len(self.trained), self.budget
        sum_of_it = f" = {replace(budget, amount=budget.amount * count)}" if count > 1 else ""
        closed = len(self.cells) - count
        return f"{count} runs x {budget}{sum_of_it} of training" + (f", {closed} more in closed form" if closed else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "contenders": [c.to_json() for c in self.contenders],
            "seeds": list(self.seeds),
            "budget": str(self.budget),
            "uses": list(self.uses),
            "device": self.device,
            "fingerprint": self.fingerprint,
            "checkpoint": self.checkpoint,
            "hidden": list(self.hidden),
            "normal": self.normal,
            "total": self.total,
            "jobs": self.jobs,
            "threads": self.threads,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Plan:
        """Rebuild a plan; raises `RunError` on a record that no genarena wrote."""
        found = as_record(record, PlanRecord, "the comparison's plan", FORMAT)
        if not all(re.fullmatch(_NAME, entry["name"]) for entry in found["contenders"]):
            raise RunError("the comparison's plan names contenders that genarena does not write.")
        try:
            return cls(
                tuple(_contender_from(entry) for entry in found["contenders"]),
                tuple(found["seeds"]),
                Budget.parse(found["budget"]),
                tuple(find_use(name).name for name in found["uses"]),
                found["device"],
                found["fingerprint"],
                _checkpoint(found.get("checkpoint", "last")),
                tuple(found.get("hidden", ())),
                found.get("normal"),
                found.get("total", ""),
                found.get("jobs", 1),
                found.get("threads"),
            )
        except UsageError as error:
            raise RunError(f"the comparison's plan cannot be read ({error}).") from None


def make_plan(
    dataset: Dataset,
    *,
    models: Sequence[str | type[Model]] = DEFAULT_MODELS,
    budget: str | Budget | None = None,
    total: str | Budget | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    seeds: int = 3,
    use: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    checkpoint: str = "last",
    normal: str | int | None = None,
) -> Plan:
    """Decide a comparison.

    Parameters
    ----------
    dataset : Dataset
    models : sequence of str or type
        Names, ``file.py:Class``, or classes that live in a file. The baseline ``pca`` always takes part. With a name of its
        own and settings, ``vae@beta4=vae:beta=4``, a model takes part more than once.
    budget : str or Budget, optional
        Of every run.
    total : str or Budget, optional
        Of all runs together, in place of `budget`: each gets the same share. Of time it is what the wall clock shows while
        `jobs` runs train at once; measuring comes on top.
    jobs : int, optional
        Runs at a time: by default one for each core up to four, one on a GPU.
    threads : int, optional
        CPU threads of each run; by default the cores shared among the jobs.
    seeds : int
        Training seeds: 0 to ``seeds - 1``.
    use : str, optional
        Only this use, and only the runs it needs.
    settings : mapping, optional
        ``{"vae": {"beta": 4}}`` for one contender; other keys go to every contender that has them.
    device : str
    checkpoint : {"last", "best"}
        Measure every run by the weights at the end of its budget, or by those with the smallest validation distance on the
        way, where it kept some.
    normal : str or int, optional
        The class that is normal, by its name: `detect` hides all others from training. See `hidden_classes` for what it
        hides where none is given.
    """
    seeds = whole(seeds, "seeds", 1, 1000)
    refuse_while_loading()
    entered = [Contender.of(model) for model in models]
    if not entered:
        raise UsageError("no models: name at least one.")
    entered = entered if BASELINE in [c.name for c in entered] else [Contender.of(BASELINE), *entered]
    names = [contender.name for contender in entered]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"'{twice}' is named twice: give one of them a name of its own, {twice}@2={twice}:key=value.")
    given = dict(settings or {})
    known = {key for contender in entered for key in contender.model_class.Config.model_fields}
    for key in set(given) - set(names) - known:
        raise UsageError(f"unknown setting '{key}'.{did_you_mean(key, known | set(names))}")
    contenders = tuple(_with_settings(contender, names, given) for contender in entered)
    has_labels = dataset.schema.label is not None
    conditional = [contender.name for contender in contenders if contender.model_class.conditional]
    if conditional and not has_labels:
        raise UsageError(f"'{conditional[0]}' is told classes, and '{dataset.name}' has no labels: leave it out.")
    _check_fits(contenders, dataset)
    hidden = hidden_classes(dataset, normal)
    if use and "condition" in find_use(use).needs and not conditional:
        able = ", ".join(name for name, model in MODELS.items() if model.conditional)
        raise UsageError(f"none of {', '.join(names)} can be asked for a class: add one of {able}.")
    open_to_all = [u for u in USES.values() if conditional or "condition" not in u.needs]
    measurable = [u.name for u in open_to_all if (has_labels or not u.needs_labels) and (hidden or u.view != "detect")]
    uses = [find_use(use).name] if use else measurable
    if USES[uses[0]].needs_labels and not has_labels:
        raise UsageError(f"'{use}' needs labels, and '{dataset.name}' has none: give some, or leave --for out.")
    views = {USES[name].view for name in uses}
    if "detect" in views and not hidden:
        raise UsageError(
            f"'{use}' hides a class from training, and '{dataset.name}' has no two classes of which the test split has "
            "examples and training has one: give more, or leave --for out."
        )
    if "detect" not in views and normal is not None:
        raise UsageError(f"normal='{normal}' is for the use detect, which is not asked for: leave it out.")
    classes = dataset.schema.label.classes if dataset.schema.label else ()
    names_hidden = tuple(classes[index] for index in hidden) if "detect" in views else ()
    if names_hidden:
        try:
            _check_fits(contenders, dataset.without_classes(hidden))
        except UsageError as error:
            raise UsageError(f"Without {', '.join(names_hidden)}, which detect hides from training: {error}") from None
    decided = Budget.parse(budget) if budget is not None else Budget.default(len(dataset.splits["train"]))
    chosen = _checkpoint(checkpoint)
    where = choose_device(device).type
    plan = Plan(
        contenders,
        tuple(range(seeds)),
        decided,
        tuple(uses),
        where,
        dataset.fingerprint,
        chosen,
        names_hidden,
        None if normal is None else str(normal),
    )
    jobs, threads = share_cores(jobs, threads, where, len(plan.cells))
    plan = replace(plan, jobs=jobs, threads=threads)
    if total is None:
        return plan
    if budget is not None:
        raise UsageError("budget is of each run and total of all of them together: give one of the two.")
    return _shared_out(plan, Budget.parse(total))


def share_cores(jobs: int | None, threads: int | None, device: str, cells: int) -> tuple[int, int | None]:
    """How many runs at a time, and the CPU threads of each."""
    jobs = jobs if jobs is None else whole(jobs, "jobs", 1)
    threads = threads if threads is None else whole(threads, "threads", 1)
    if device != "cpu":
        return jobs or 1, threads
    jobs = jobs or min(4, max(1, cores() // (threads or 1)), cells)
    return jobs, threads or (max(1, cores() // jobs) if jobs > 1 else None)


def _shared_out(plan: Plan, whole_of_it: Budget) -> Plan:
    """The same comparison, each of its runs with an equal share of a total."""
    at_once = plan.jobs if whole_of_it.unit == "seconds" else 1
    amount = whole_of_it.amount / max(1, -(-len(plan.trained) // at_once))
    if whole_of_it.unit != "epochs":
        amount = max(1, int(amount))
    return replace(plan, budget=replace(whole_of_it, amount=float(amount)), total=str(whole_of_it))


def _named(source: str) -> tuple[str, str, dict[str, Any]]:
    """Name of its own, model and settings of ``vae``, ``file.py:Class`` or ``name=model:key=value:key=value``."""
    if "=" not in source:
        return "", source, {}
    name, _, rest = source.partition("=")
    model, *pairs = re.split(r":(?=[\w.]+=)", rest)
    if not re.fullmatch(_NAME, name) or not model:
        raise UsageError(f"'{source}' is not understood: write name=model:key=value, such as vae@beta4=vae:beta=4.")
    if name in MODELS and name != model:
        raise UsageError(f"'{source}' would call {model} by another model's name: choose a name of its own.")
    return name, model, add_settings({}, pairs)


def _check_fits(contenders: Sequence[Contender], dataset: Dataset) -> None:
    """Refuse data that some model cannot be trained on before anything runs, naming all that cannot."""
    refusals = []
    for contender in contenders:
        try:
            check_fits(contender.model_class, contender.settings, dataset)
        except UsageError as error:
            refusals.append(str(error))
    if refusals:
        raise UsageError(" ".join(dict.fromkeys(refusals)))


def _checkpoint(name: Any) -> str:
    if name not in ("last", "best"):
        raise UsageError(f"checkpoint='{name}': last or best.")
    return str(name)


def _with_settings(contender: Contender, names: Sequence[str], settings: Mapping[str, Any]) -> Contender:
    """A contender with the settings meant for it, checked before anything runs."""
    config, name = contender.model_class.Config, contender.name
    shared = {k: v for k, v in settings.items() if k not in names and k in config.model_fields}
    own = settings.get(name, {})
    if not isinstance(own, Mapping):
        raise UsageError(f"'{name}' is a contender: give it settings, {name}.key=value.")
    merged = _merged(shared, _merged(own, contender.settings))
    config.parse(merged)
    return replace(contender, settings=merged)


def _contender_from(entry: Mapping[str, Any]) -> Contender:
    """From a plan's record: of names and text, and no class of a process that is gone."""
    return Contender(entry["name"], dict(entry["settings"]), entry["model"], entry.get("code"), entry.get("file", ""))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of both, groups merged group by group; `above` wins."""
    groups = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **groups}
