"""The Python interface: `train`, `compare`, `load`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from . import comparison as comparing
from . import distributed
from .budget import Budget
from .comparison import Comparison
from .comparison.measure import validation_monitor
from .console import Board, tell
from .data import open_dataset
from .errors import RunError, UsageError, one_of
from .fit import choose_device, fit, plan
from .fitted import FittedModel
from .game import Model
from .own_code import Trust


def train(
    model: str | type[Model],
    data: Any,
    out: str | Path,
    *,
    budget: str | Budget | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    threads: int | None = None,
    show: str = "live",
    value_range: tuple[float, float] | None = None,
    labels: bool = True,
    follow_links: bool = False,
) -> FittedModel:
    """Train one model in a run folder, or go on where it stopped.

    Parameters
    ----------
    model : str or type
        A name (``genarena models`` lists them), ``file.py:Class``, or your own class.
    data : str, Path, array, (array, labels) or Dataset
        See `open_dataset`.
    out : str or Path
        The run folder.
    budget : str, optional
        "200k images", "20 epochs", "10 min"; by default 20 epochs, at least 50k and at most 200k images.
    seed : int
    settings : mapping, optional
        The model's settings, ``{"latent_dim": 32, "network": {"width": 64}}``.
    device : {"auto", "cpu", "cuda", "mps"} or torch.device
    threads : int, optional
        CPU threads; measured when absent.
    show : {"live", "quiet", "json"}
        Progress on standard error, none, or a record a line on standard output.
    value_range : (float, float), optional
        The pixel values that are black and white; decided from evidence when absent, see `open_dataset`.
    labels, follow_links : bool
        Whether to look for labels, and to follow links out of a folder, see `open_dataset`.

    Returns
    -------
    FittedModel
    """
    dataset = open_dataset(data, value_range=value_range, labels=labels, follow_links=follow_links)
    decided = plan(model, dataset, budget=budget, seed=seed, settings=settings, device=device)
    if show == "live" and distributed.is_main():
        tell(dataset)
    return fit(decided, out, threads=threads, show=show, monitor=validation_monitor(dataset))


def compare(
    data: Any,
    out: str | Path,
    *,
    models: Sequence[str | type[Model]] = comparing.DEFAULT_MODELS,
    budget: str | Budget | None = None,
    total: str | Budget | None = None,
    seeds: int = 3,
    use: str | None = None,
    normal: str | int | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    jobs: int | None = None,
    threads: int | None = None,
    samples: int | None = None,
    evaluator: str | Path | None = None,
    features: str | Path | None = None,
    features_net: str | None = None,
    checkpoint: str = "last",
    stall_seconds: float = comparing.STALL_SECONDS,
    show: str = "live",
    value_range: tuple[float, float] | None = None,
    labels: bool = True,
    follow_links: bool = False,
) -> Comparison:
    """Train several models on the same data and say which to use for what. The same call goes on where it was interrupted.

    Every run is a process of its own: a script with a model of your own in ``models`` needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    data : str, Path, array, (array, labels) or Dataset
        See `open_dataset`.
    out : str or Path
        The comparison's folder; ``report.html`` appears in it.
    models : sequence of str or type
        Names (``genarena models`` lists them), ``file.py:Class``, or classes of your own. ``"vae@beta4=vae:beta=4"`` is a model
        under another name, with settings.
    budget : str, optional
        Of each run: "200k images", "20 epochs", "10 min".
    total : str, optional
        Of all runs together, in place of `budget`: "30 min" of training by the clock, "5M images".
    seeds : int
        Training seeds of each model.
    use : str, optional
        Only this use, such as "detect", and only the runs it needs.
    normal : str or int, optional
        The class that is normal: `detect` hides all others from training.
    settings : mapping, optional
        ``{"vae": {"beta": 4}}`` for one contender; other keys go to every contender that has them.
    device : {"auto", "cpu", "cuda", "mps"} or torch.device
    jobs, threads : int, optional
        Runs at a time, and CPU threads of each; by default the cores are shared out.
    samples : int, optional
        Samples compared; by default 5000, or as many as there are.
    evaluator : str or Path, optional
        The evaluator of an earlier comparison on the same data.
    features, features_net : str or Path, optional
        One more feature space: weights, and the network they are of, as ``file.py:Class``.
    checkpoint : {"last", "best"}
        The weights measured.
    stall_seconds : float
        A run that shows no life for so long is ended.
    show : {"live", "quiet"}
        Progress on standard error, or none.
    value_range : (float, float), optional
        The pixel values that are black and white; decided from evidence when absent, see `open_dataset`.
    labels, follow_links : bool
        Whether to look for labels, and to follow links out of a folder, see `open_dataset`.

    Returns
    -------
    Comparison
    """
    one_of(show, "show", ("live", "quiet"))
    dataset = open_dataset(data, value_range=value_range, labels=labels, follow_links=follow_links)
    plan = comparing.make_plan(
        dataset,
        models=models,
        budget=budget,
        total=total,
        jobs=jobs,
        threads=threads,
        seeds=seeds,
        use=use,
        settings=settings,
        device=device,
        checkpoint=checkpoint,
        normal=normal,
    )
    if show == "live":
        tell(dataset)
    with Board(plan, quiet=show == "quiet") as board:
        return comparing.compare(
            dataset,
            plan,
            out,
            samples=samples,
            evaluator=evaluator,
            features=features,
            features_net=features_net,
            stall_seconds=stall_seconds,
            source=str(data) if isinstance(data, str | Path) else None,
            say=board.say,
            on_progress=board.progress,
        )


def load(
    source: str | Path,
    use: str | None = None,
    *,
    model: str | None = None,
    trust: Trust = False,
    checkpoint: str | None = None,
    device: str | torch.device = "cpu",
) -> FittedModel:
    """Load a run folder, a saved model, or a comparison's best for a use.

    Parameters
    ----------
    source : str or Path
    use : str, optional
        With a comparison's folder: the purpose, such as "detect".
    model : str, optional
        With a use: the contender of this name, and not the leader.
    trust : bool or str
        Run Python code that came with the folder (a model of somebody's own); the first digits of its sha256 allow no other.
    checkpoint : {"last", "best"}, optional
        The weights at the end, or those with the smallest validation distance on the way; by default the last, or those
        that the comparison measured.
    device : {"cpu", "auto", "cuda", "mps"} or torch.device
        Where it computes.
    """
    chosen = choose_device(device)
    if use is not None:
        return comparing.load_winner(Path(source), use, model=model, trust=trust, checkpoint=checkpoint, device=chosen)
    if model is not None:
        raise UsageError(f"model='{model}' names a contender of a comparison: say for which use.")
    if not Path(source).is_dir():
        raise RunError(f"'{source}' is no folder. A model on the hub: FittedModel.from_pretrained(id).")
    return FittedModel.from_pretrained(source, trust=trust, checkpoint=checkpoint or "last", device=chosen)


__all__: Sequence[str] = ["compare", "load", "train"]
