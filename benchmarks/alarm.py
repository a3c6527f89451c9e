"""How often the live alarm speaks where training was broken on purpose, and where it was not.

    python benchmarks/alarm.py           # about five minutes on one core; prints JSON

Every run is short. A planted failure counts as noticed where the alarm that was made for it fires, and `any` where some alarm
does; of healthy runs every alarm is a false one. `noticed_at` is the median share of the budget that had passed by then. The
thresholds in `genarena/alarm.py` were chosen on runs with seeds from 101, that of lost classes also on seeds 0 to 4; here seeds
begin at 200.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genarena.alarm import COLLAPSED, LOST, OSCILLATION, WON
from genarena.data import Batch, open_dataset
from genarena.errors import TrainingError
from genarena.events import episodes, read_events
from genarena.fit import fit, plan
from genarena.game import Draw, Play, Turn
from genarena.models.gan import GAN
from genarena.trainer import NON_FINITE

BUDGETS = {"ring8": 20_000, "grid25": 20_000, "digits": 12_000}


class OneMode(GAN):
    """A generator that ignores its noise."""

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(torch.zeros_like(z))


class Blind(GAN):
    """A game that is never shown the upper half of the classes, and so loses them."""

    def play(self, draw: Draw) -> Play:
        yield from super().play(_LowerHalf(draw))


class _LowerHalf:
    """Batches in which examples of the lower half of the classes stand in for all others."""

    def __init__(self, draw: Draw):
        self.draw = draw

    def __getattr__(self, name: str) -> Any:
        return getattr(self.draw, name)

    def __call__(self) -> Batch:
        batch = self.draw()
        label = batch.schema.label
        kept = (batch.label < len(label.classes) / 2).nonzero().flatten()
        rows = kept[torch.arange(len(batch.x)) % len(kept)]
        return Batch({name: tensor[rows] for name, tensor in batch.tensors.items()}, batch.schema)


class Simultaneous(GAN):
    """Both players move at once, which turns them around the equilibrium."""

    def play(self, draw: Draw) -> Play:
        real = draw().x
        fake = self.make_fakes(self.prior(len(real), real))
        real_logit, fake_logit = self.logit(real), self.logit(fake)
        terms = {"logit_real": real_logit.mean(), "logit_fake": fake_logit.mean()}
        losses = {
            "discriminator": self.discriminator_loss(real_logit, fake_logit),
            "generator": self.generator_loss(fake_logit, lambda: real_logit),
        }
        yield Turn(terms, **losses)


class Overflow(GAN):
    """A discriminator whose loss is not a number from the fortieth batch on."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        loss = super().discriminator_loss(real, fake)
        return loss * torch.nan if self.training and self.batches > 40 else loss

    def play(self, draw: Draw) -> Play:
        self.batches = draw.batches
        yield from super().play(draw)


@dataclass(frozen=True)
class Sort:
    """A sort of run: what is trained, and the alarm that should fire."""

    expected: str | None
    data: tuple[str, ...]
    model: Any = "gan"
    settings: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0  # of the data's budget


STRONG = {"penalty": "none", "learning_rate": 2e-5, "discriminator_learning_rate": 2e-3, "discriminator_steps": 4}
SORTS = {
    "healthy": Sort(None, ("ring8", "grid25", "digits")),
    "discriminator too strong": Sort(WON, ("ring8", "digits"), settings=STRONG),
    "learning rate x 50": Sort(OSCILLATION, ("ring8", "grid25", "digits"), settings={"learning_rate": 0.1}),
    "one mode": Sort(COLLAPSED, ("ring8", "grid25", "digits"), OneMode),
    "half of the classes": Sort(LOST, ("digits", "ring8"), Blind),
    "simultaneous, momentum": Sort(
        OSCILLATION, ("ring8", "grid25"), Simultaneous, {"penalty": "none", "betas": [0.9, 0.99]}
    ),
    "not a number": Sort(NON_FINITE, ("ring8",), Overflow, share=0.2),
}
RELATIVES = {
    "healthy, least squares": Sort(None, ("digits",), settings={"loss": "least-squares"}),
    "healthy, hinge": Sort(None, ("digits",), settings={"loss": "hinge"}),
    "healthy, relativistic": Sort(None, ("digits",), settings={"loss": "relativistic"}),
    "healthy, WGAN-GP": Sort(
        None, ("digits",), settings={"loss": "wasserstein", "penalty": "gradient", "penalty_every": 1}
    ),
    "healthy, dcgan": Sort(None, ("digits",), "dcgan", {"network": {"width": 16}}, share=2.0),
    "healthy, vaegan": Sort(None, ("digits",), "vaegan"),
    "healthy, vae": Sort(None, ("digits",), "vae"),
}


def alarms_of(sort: Sort, data: str, seed: int) -> tuple[list[dict[str, Any]], int]:
    """The alarms of one run and its budget in images."""
    images = round(BUDGETS[data] * sort.share)
    dataset = open_dataset(data)
    decided = plan(sort.model, dataset, budget=f"{images} images", seed=seed, settings=sort.settings, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(TrainingError):  # the last word of a run whose numbers stay non-finite
            fit(decided, folder, threads=1, pictures=False)
        return episodes(read_events(Path(folder) / "events.jsonl")), images


def measure(sort: Sort, runs: int, first_seed: int) -> dict[str, Any]:
    """Rates of one sort over so many runs, its data taken in turn."""
    noticed, any_alarm, names, times = 0, 0, [], []
    for index in range(runs):
        data, seed = sort.data[index % len(sort.data)], first_seed + index // len(sort.data)
        found, images = alarms_of(sort, data, seed)
        names += sorted({a["name"] for a in found})
        any_alarm += bool(found)
        mine = [a["images"] / images for a in found if a["name"] == sort.expected]
        noticed += bool(mine)
        times += mine[:1]
    record: dict[str, Any] = {"runs": runs, "any": any_alarm / runs, "by_name": {n: names.count(n) for n in set(names)}}
    if sort.expected:
        record |= {"expected": sort.expected, "noticed": noticed / runs}
        record["noticed_at"] = round(statistics.median(times), 2) if times else None
    return record


def results(runs: int, healthy: int, relatives: int, first_seed: int) -> Iterator[dict[str, Any]]:
    for name, sort in {**SORTS, **RELATIVES}.items():
        started = time.process_time()
        count = healthy if name == "healthy" else relatives if name in RELATIVES else runs
        found = measure(sort, count, first_seed)
        yield {"sort": name, **found, "cpu_seconds": round(time.process_time() - started, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=12, help="planted failures of each sort")
    parser.add_argument("--healthy", type=int, default=30, help="healthy runs of gan with its default settings")
    parser.add_argument("--relatives", type=int, default=3, help="healthy runs of each relative")
    parser.add_argument("--first-seed", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for record in results(options.runs, options.healthy, options.relatives, options.first_seed):
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
