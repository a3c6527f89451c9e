"""The Python interface: `train`, `compare`, `load`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import comparison as comparing
from .budget import Budget
from .comparison import Comparison
from .comparison.measure import validation_monitor
from .data import Dataset, open_dataset
from .errors import RunError
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
    device: str = "auto",
    threads: int | None = None,
    show: str = "quiet",
    value_range: tuple[float, float] | None = None,
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
    device : {"auto", "cpu", "cuda", "mps"}
    threads : int, optional
        CPU threads; measured when absent.
    show : {"quiet", "live", "json"}
    value_range : (float, float), optional
        The pixel values that are black and white; decided from evidence when absent, see `open_dataset`.

    Returns
    -------
    FittedModel
    """
    dataset = open_dataset(data, value_range=value_range)
    decided = plan(model, dataset, budget=budget, seed=seed, settings=settings, device=device)
    return fit(decided, out, threads=threads, show=show, monitor=validation_monitor(dataset))


def compare(
    data: Any, out: str | Path, *, value_range: tuple[float, float] | None = None, **options: Any
) -> Comparison:
    """Train several models on the same data and say which to use for what.

    Parameters
    ----------
    data : str, Path, array, (array, labels) or Dataset
        See `open_dataset`.
    out : str or Path
        The comparison's folder; ``report.html`` appears in it.
    value_range : (float, float), optional
        The pixel values that are black and white; decided from evidence when absent, see `open_dataset`.
    **options
        See `genarena.comparison.compare`: ``models``, ``budget``, ``seeds``, ``use``, ``settings``, ``jobs`` and more.
    """
    dataset: Dataset = open_dataset(data, value_range=value_range)
    if isinstance(data, str | Path):
        options = {"source": str(data), **options}
    return comparing.compare(dataset, out, **options)


def load(
    source: str | Path,
    use: str | None = None,
    *,
    trust: Trust = False,
    checkpoint: str | None = None,
    device: str = "cpu",
) -> FittedModel:
    """Load a run folder, a saved model, or a comparison's best for a use.

    Parameters
    ----------
    source : str or Path
    use : str, optional
        With a comparison's folder: the purpose, such as "detect".
    trust : bool or str
        Run Python code that came with the folder (a model of somebody's own); the first digits of its sha256 allow no other.
    checkpoint : {"last", "best"}, optional
        The weights at the end, or those with the smallest validation distance on the way; by default the last, or those
        that the comparison measured.
    device : {"cpu", "auto", "cuda", "mps"}
        Where it computes.
    """
    chosen = choose_device(device)
    if use is not None:
        return comparing.load_winner(Path(source), use, trust=trust, checkpoint=checkpoint, device=chosen)
    if not Path(source).is_dir():
        raise RunError(f"'{source}' is no folder. A model on the hub: FittedModel.from_pretrained(id).")
    return FittedModel.from_pretrained(source, trust=trust, checkpoint=checkpoint or "last", device=chosen)


__all__: Sequence[str] = ["compare", "load", "train"]
