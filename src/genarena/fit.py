"""From a model, data and a budget to a finished run folder: what `genarena train` and every cell of a comparison do."""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from . import __version__, distributed
from .alarm import SAMPLES, watch_for
from .best import CRITERION, forget_best, keep_best, read_best
from .budget import Budget
from .checkpoint import FORMAT, RunFolder, write_tensors
from .data import Dataset, Loader, Schema
from .errors import STOPPED, RunError, TrainingError, UsageError, one_of, whole
from .events import JsonConsole, JsonLines, Live, Sink, episodes, read_events
from .files import claim, remove, replacing, sha256_of, write_atomic, write_json
from .fitted import BATCH, CALIBRATION, FittedModel, build, load_model
from .game import Game, Model
from .kinds import kind_of, normalise
from .machine import MemoryMeter, cores, keep_freed_memory, own_threads, reproducible, use_threads
from .models import MODELS, find_model
from .own_code import refuse_while_loading, source_of
from .trainer import Progress, Trainer, images_per_second

LOOKS = 10  # pictures and monitor readings over the first budget of a run
MOST_CALIBRATION = 5000  # held-out examples whose anomaly scores are kept
MOST_REMEMBERED = 5000  # training examples that a model is shown once more before it is handed over

SHOWS = ("quiet", "live", "json")

Monitor = Callable[[FittedModel, int], dict[str, float]]


@dataclass(frozen=True)
class Plan:
    """A run that is fully decided but not started: what ``--dry-run`` prints and ``config.json`` records."""

    model_class: type[Model]
    config: Any
    dataset: Dataset
    budget: Budget
    seed: int
    device: torch.device
    record: dict[str, Any]
    notes: tuple[str, ...] = ()


def plan(
    model: str | type[Model],
    dataset: Dataset,
    *,
    budget: str | Budget | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
) -> Plan:
    """Decide everything about a run.

    Raises
    ------
    UsageError
        For an unknown model, a wrong setting, data it cannot be trained on, a negative seed or a device this machine lacks.
    """
    refuse_while_loading()
    model_class = find_model(model) if isinstance(model, str) else model
    seed = whole(seed, "seed")
    config, notes = check_fits(model_class, settings or {}, dataset)
    chosen = choose_device(device)
    decided = Budget.parse(budget) if budget is not None else Budget.default(len(dataset.splits["train"]))
    record = {
        "format": FORMAT,
        "genarena": __version__,
        "model": model_name(model_class),
        "code": None if model_class in MODELS.values() else source_of(model_class).text,
        "config": config.model_dump(mode="json"),
        "schema": dataset.schema.to_json(),
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "seed": seed,
        "device": chosen.type,
        "budget": str(decided),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    as_stored = json.loads(json.dumps(record))  # tuples are lists on disk, and a resumed run compares the two
    return Plan(model_class, config, dataset, decided, seed, chosen, as_stored, notes)


def check_fits(model_class: type[Model], settings: Mapping[str, Any], dataset: Dataset) -> tuple[Any, tuple[str, ...]]:
    """The configuration of a model for these data, and notes on what was fitted to them: its batch, if none was asked for.

    Raises the `UsageError` of a model that cannot be trained on them: its settings, its networks, its batches. The networks of
    a user's own model are not tried: they may need real tensors.
    """
    config, notes = _with_fitting_batch(model_class, settings, len(dataset.splits["train"]))
    if model_class in MODELS.values():
        with torch.device("meta"):
            build(model_class, config, dataset.schema, 0)
    if issubclass(model_class, Game):
        _loader(config, dataset, 0, torch.device("cpu"))
    return config, notes


def _with_fitting_batch(
    model_class: type[Model], settings: Mapping[str, Any], examples: int
) -> tuple[Any, tuple[str, ...]]:
    """The configuration with the largest batch that it allows and the examples fill, where its usual one is larger."""
    config = model_class.Config.parse(settings)
    if not issubclass(model_class, Game) or "batch_size" in settings or config.batch_size <= examples:
        return config, ()
    world = distributed.world()
    for size in range(examples - examples % world, 0, -world):
        with contextlib.suppress(UsageError):
            smaller = model_class.Config.parse({**settings, "batch_size": size})
            why = f"there are {examples} examples to train on, fewer than the usual {config.batch_size}"
            return smaller, (f"batch_size is {size}: {why}",)
    return config, ()


def model_name(model_class: type[Model]) -> str:
    """The name in the table, or the class name of a user's own model."""
    return next((name for name, known in MODELS.items() if known is model_class), model_class.__name__)


def choose_device(name: str | torch.device) -> torch.device:
    """``auto`` is cuda, else mps, else cpu."""
    name = str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device '{name}' is unknown: auto, cpu, cuda or mps.")
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise UsageError("this machine or this torch has no CUDA: leave --device out, or see the README for CUDA.")
        return torch.device("cuda", distributed.local_rank())
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("this machine has no Apple GPU: leave --device out.")
    return torch.device(name)


def fit(
    plan: Plan,
    folder: str | Path,
    *,
    threads: int | None = None,
    monitor: Monitor | None = None,
    show: str = "quiet",
    checkpoint_seconds: float = 30.0,
    pictures: bool = True,
) -> FittedModel:
    """Train in a run folder, or go on where it stopped.

    The same call on the same folder continues; a larger budget extends a finished run.

    Parameters
    ----------
    plan : Plan
    folder : str or Path
    threads : int, optional
        CPU threads; measured at the first start and kept ever after.
    monitor : callable, optional
        ``(fitted model, images) -> numbers``, before training and at ten points of the budget. The weights with the smallest
        ``fd`` are kept as ``best.safetensors``: let it be measured on the val split, or be biased where it is reported.
    show : {"live", "json", "quiet"}
    checkpoint_seconds : float
        Least time between two checkpoints.
    pictures : bool
        Whether to draw samples of fixed noise, before training and at ten points of the budget.

    Returns
    -------
    FittedModel

    Raises
    ------
    UsageError
        For fewer threads than one.
    RunError
        Where the folder is in use, or was made with other arguments (they are named).
    TrainingError
        Where training diverged.
    """
    one_of(show, "show", SHOWS)
    threads = threads if threads is None else whole(threads, "threads", 1)
    run = RunFolder(folder)
    if not distributed.is_main():
        with reproducible(plan.device), own_threads(threads):
            return _fit_locked(plan, run, threads, None, "quiet", checkpoint_seconds)
    look = functools.partial(_look, plan, run, pictures, monitor)
    claim(run.path, "config.json", "run", "worker.log", "failure.json")  # those of the cell of a comparison
    if run.config.exists():
        run.read_config()  # refuses what is somebody else's before anything is written beside it
    with own_threads(threads), run.lock(), reproducible(plan.device):
        try:
            return _fit_locked(plan, run, threads, look, show, checkpoint_seconds)
        except SystemExit as end:
            if end.code in STOPPED:
                raise
            raise TrainingError(
                f"the model's own code ended the program (sys.exit, {end.code!r}): take that out."
            ) from None


def _fit_locked(
    plan: Plan, run: RunFolder, threads: int | None, look: Monitor | None, show: str, checkpoint_seconds: float
) -> FittedModel:
    trainer_of = _train if issubclass(plan.model_class, Game) else _fit_closed_form
    previous = run.read_config() if run.config.exists() else None
    record = dict(plan.record) if previous is None else _continue(plan, run, previous, threads)
    if previous is not None and _is_finished(run, record):
        return load_model(run.path, own=plan.model_class, device=plan.device)
    if trainer_of is _train and run.result.exists() and not run.steps():
        raise RunError(f"'{run.path}' is finished and has no checkpoint to go on from: choose another --out.")
    return trainer_of(plan, run, record, threads, look, show, checkpoint_seconds)


def _continue(plan: Plan, run: RunFolder, previous: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """Check that a run goes on with the arguments it began with; only a larger budget is new."""
    previous["schema"] = json.loads(json.dumps(Schema.from_json(previous["schema"]).to_json()))  # of before, too
    if "sha256" in previous:
        raise RunError(f"'{run.path}' holds a saved model and no run: choose another --out.")
    asked = {**plan.record, "threads": threads}
    keys = ["model", "code", "config", "data", "schema", "seed", "device"]
    if threads and "threads" in previous:  # a closed form has no use for threads
        keys.append("threads")
    for key in keys:
        if previous.get(key) != asked[key]:
            what = _difference(key, previous.get(key), asked[key])
            raise RunError(
                f"'{run.path}' was made with other arguments: {what}. Use another --out, or the same arguments."
            )
    before = Budget.parse(previous.get("budget", ""))
    if before.unit != plan.budget.unit or before.amount > plan.budget.amount:
        raise RunError(
            f"'{run.path}' was made with budget {before}; it can be extended, not changed to {plan.budget}. Use another "
            "--out."
        )
    record = {**previous, "budget": str(plan.budget)}
    now, versions = _versions(plan.record), [_versions(previous), *previous.get("continued", [])]
    return record if versions[-1] == now else {**record, "continued": [*versions[1:], now]}


def _versions(record: Mapping[str, Any]) -> dict[str, str]:
    return {"genarena": record.get("genarena", "unknown"), **record.get("versions", {})}


def _several_versions(record: Mapping[str, Any]) -> str:
    """What there is to say of a run that several versions have trained."""
    versions = [_versions(record), *record["continued"]]
    several = {name: list(dict.fromkeys(v.get(name, "unknown") for v in versions)) for name in versions[-1]}
    changes = "; ".join(f"{name} {', then '.join(found)}" for name, found in several.items() if len(found) > 1)
    return f"trained by several versions ({changes}): it may end otherwise than in one go"


def _difference(key: str, old: Any, new: Any) -> str:
    if key == "code":
        return "the model's source file has changed"
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                return _difference(name, old.get(name), new.get(name))
    return f"{key} was {old!r:.80}, now {new!r:.80}"


def _is_finished(run: RunFolder, record: dict[str, Any]) -> bool:
    """Whether what is served is there, intact and of this budget; what is damaged is written again.

    Raises
    ------
    RunError
        Where its events have changed, which nothing can write again.
    """
    if not run.result.exists():
        return False
    result = run.read_result()
    if result["budget"] != record["budget"]:
        return False
    check_events(run, result)
    served = {"sha256": run.model, "calibration": run.path / CALIBRATION}
    return all(result.get(key) == _sha256(path) for key, path in served.items())


def check_events(run: RunFolder, result: Mapping[str, Any]) -> None:
    """Raise the `RunError` of a finished run whose events are not those that led to its result."""
    if result.get("events") != _sha256(run.events):
        raise RunError(f"'{run.events}' is not what was written: its sha256 differs. Train in another folder.")


def _sha256(path: Path) -> str | None:
    return sha256_of(path) if path.exists() else None


def _fit_closed_form(plan: Plan, run: RunFolder, record: dict[str, Any], *_: Any) -> FittedModel:
    """Fit a baseline that needs no rounds."""
    model: Any = build(plan.model_class, plan.config, plan.dataset.schema, plan.seed)
    spec = plan.dataset.schema.target
    values = plan.dataset.values("train")
    memory = MemoryMeter(plan.device)
    started, cpu = time.perf_counter(), time.process_time()
    x = kind_of(spec).normalise(kind_of(spec).to_tensor(values), spec).numpy()
    model.fit(x, plan.seed)
    progress = Progress(
        images=len(values), seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - cpu
    )
    return _finish(plan, run, record, model, progress, memory)


def _train(
    plan: Plan,
    run: RunFolder,
    record: dict[str, Any],
    threads: int | None,
    look: Monitor | None,
    show: str,
    checkpoint_seconds: float,
) -> FittedModel:
    """Play the game until the budget ends."""
    keep_freed_memory()
    make = functools.partial(make_game, plan)
    if "threads" not in record:
        speeds = _measure_threads(plan, make, threads)
        record["threads"] = max(speeds, key=speeds.__getitem__)
        expected = plan.budget.images(len(plan.dataset.splits["train"]))
        speed = speeds[record["threads"]]
        record["every"] = max(1, round((expected or plan.budget.amount * speed) / LOOKS))
        record["expected_seconds"] = round(expected / speed if expected else plan.budget.amount, 1)
    use_threads(record["threads"])
    if distributed.is_main():
        _write_record(run, record)
    distributed.barrier()
    memory = MemoryMeter(plan.device)
    game, loader = make()
    served = FittedModel(build(plan.model_class, plan.config, plan.dataset.schema, plan.seed), record, plan.device)
    watch = watch_for(game, plan.dataset) if look else None

    def look_at(_game: Game, images: int) -> dict[str, float]:
        if watch and served.capabilities()["sample"] is None:
            trainer.alarm(watch.look(images, served.sample(SAMPLES)))
        return look(served, images) if look else {}

    trainer = Trainer(
        game,
        loader,
        run,
        budget=plan.budget,
        seed=plan.seed,
        device=plan.device,
        every=record["every"],
        served=served.model,  # type: ignore[arg-type]
        monitor=look_at if look else None,
        watch=watch.log if watch else None,
        sinks=functools.partial(_sinks, plan, run, show),
        checkpoint_seconds=checkpoint_seconds,
    )
    if distributed.is_main() and trainer.progress.round == 0:
        forget_best(run.path)
    for note in plan.notes if trainer.progress.round == 0 else ():
        trainer.emit("warning", text=note)
    expected = record["expected_seconds"]
    if "continued" in record:
        trainer.emit("warning", text=_several_versions(record))
    trainer.emit("start", text=f"{plan.budget}, about {duration(expected)} with {record['threads']} threads")
    progress = trainer.run()
    distributed.barrier()
    return _finish(plan, run, record, trainer.serve(), progress, memory)


def _write_record(run: RunFolder, record: dict[str, Any]) -> None:
    """Write what a run is, with the source of a user's own model beside it."""
    write_json(run.config, record)
    if record["code"] is not None:
        write_atomic(run.path / "model.py", record["code"].encode())


def make_game(plan: Plan) -> tuple[Game, Loader]:
    """A fresh game on its device and the loader that feeds it."""
    game: Any = build(plan.model_class, plan.config, plan.dataset.schema, plan.seed).to(plan.device)
    game = game.to(memory_format=torch.channels_last)
    return game, _loader(plan.config, plan.dataset, plan.seed, plan.device)


def _loader(config: Any, dataset: Dataset, seed: int, device: torch.device) -> Loader:
    return Loader(
        dataset,
        batch_size=config.batch_size,
        seed=seed,
        device=device,
        normalise=normalise,
        mirror=getattr(config, "mirror", False),
        rank=distributed.rank(),
        world=distributed.world(),
    )


def _measure_threads(plan: Plan, make: Callable[[], tuple[Game, Loader]], threads: int | None) -> dict[int, float]:
    """Images a second by number of threads; one entry where there is no choice."""
    if distributed.world() > 1:
        # Measured speeds differ from rank to rank; a game measured alone would also wait for the others.
        return {threads or max(1, cores() // distributed.world()): 1e3}
    choices = [threads] if threads else sorted({1, min(cores(), 2), cores()}) if plan.device.type == "cpu" else [1]
    # A game that is not finite from the start has no speed: the trainer will find out, and say more.
    return {n: images_per_second(make, plan.device, n) or 1.0 for n in choices}


def _remember(plan: Plan, model: Model) -> None:
    """Show a model training examples once more, on the weights that are kept: a function of these and the seed."""
    spec = plan.dataset.schema.target
    kind = kind_of(spec)
    values = plan.dataset.fields[plan.dataset.schema.target_name].values
    rows = plan.dataset.rows("train", MOST_REMEMBERED, plan.seed)
    parts = (np.asarray(values[rows[start : start + BATCH]]) for start in range(0, len(rows), BATCH))
    with torch.no_grad():
        model.remember(kind.normalise(kind.to_tensor(part).to(plan.device), spec) for part in parts)


def _look(
    plan: Plan, run: RunFolder, pictures: bool, monitor: Monitor | None, served: FittedModel, images: int
) -> dict[str, float]:
    """Picture fixed noise in a run's folder, take the monitor's reading, and keep the weights where they are the best."""
    if pictures and served.capabilities()["sample"] is None:
        run.samples.mkdir(exist_ok=True)
        picture = served.kind.picture(served.gallery(served.kind.picture_count(served.spec)), served.spec)
        with replacing(run.samples / f"{images:010d}.png") as partial:
            Image.fromarray(picture).save(partial)
    numbers = monitor(served, images) if monitor else {}
    if CRITERION in numbers:
        _remember(plan, served.model)
        keep_best(run.path, numbers[CRITERION], images, served.model.state_dict())
    return numbers


def _sinks(plan: Plan, run: RunFolder, show: str, resumed_round: int) -> list[Sink]:
    sinks: list[Sink] = [JsonLines(run.events, resumed_round)]
    if show == "json":
        sinks.append(JsonConsole())
    elif show == "live":
        total = plan.budget.images(len(plan.dataset.splits["train"]))
        sinks.append(Live(plan.record["model"], total, None if total else plan.budget.amount))
    return sinks


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _finish(
    plan: Plan,
    run: RunFolder,
    record: dict[str, Any],
    model: Model,
    progress: Progress,
    memory: MemoryMeter,
) -> FittedModel:
    """Write what is served and how training went."""
    fitted = FittedModel(model, record, plan.device)
    _remember(plan, fitted.model)
    if distributed.is_main():
        _write_record(run, record)
        write_tensors(run.model, model.state_dict())
        # After the weights that it belongs to: until the result names these, a run killed in between is not loaded.
        remove(run.path / CALIBRATION)
        held_out = plan.dataset.of_trained_classes().values("val", MOST_CALIBRATION)
        if len(held_out) and fitted.capabilities()["anomaly_score"] is None:
            fitted.calibration = fitted.anomaly_score(held_out)
            write_tensors(run.path / CALIBRATION, {"anomaly_score": torch.from_numpy(fitted.calibration)})
        events = list(read_events(run.events))
        result = {
            "sha256": sha256_of(run.model),
            "calibration": _sha256(run.path / CALIBRATION),
            "events": _sha256(run.events),
            "budget": record["budget"],
            "round": progress.round,
            "images": progress.images,
            "seconds": round(progress.seconds, 3),
            "cpu_seconds": round(progress.cpu_seconds, 3),
            "rollbacks": progress.rollbacks,
            "peak_memory_mb": round(memory.peak(), 1),
            "parameters": count_parameters(model),
            "warnings": [event.get("text", "") for event in events if event.get("kind") == "warning"],
            "alarms": episodes(events),
            "best": read_best(run.path),
        }
        write_json(run.result, result)
    distributed.barrier()
    return fitted


def count_parameters(model: Model) -> dict[str, int]:
    """Numbers learned: in total, by network, and of the sampler."""
    counted = {name: sum(p.numel() for p in net.parameters()) for name, net in model.named_children()}
    learned = {name: count for name, count in counted.items() if count}
    if not isinstance(model, Game):
        learned = {"buffers": sum(b.numel() for b in model.buffers())}
    counts = {"total": sum(learned.values()), **learned}
    sampler = learned.get(model.sampler or "")
    return {**counts, "sampler": sampler} if sampler is not None else counts
