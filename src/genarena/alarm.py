"""A live alarm: says while a game trains that it goes wrong, how, and what to try.

`Watch` is fed with the numbers of rounds and, now and then, with samples, and gives back alarms that begin or end. It judges
only what it is shown and changes nothing, so training is the same with and without it. It remembers nothing beyond its own
lifetime: after a run is resumed it warms up again.

What it knows, besides numbers that are not finite (the trainer sees those):

- *discriminator won*: it tells nearly all fakes from real examples for good, and the generator learns no more from it
  (Arjovsky & Bottou 2017, section 2);
- *oscillation*: the two chase each other around the equilibrium instead of approaching it (Mescheder et al. 2018, section 2);
- *generator collapsed*: its samples hardly differ, whatever the noise (Goodfellow 2016, section 5.1.1);
- *classes lost*: where the data have labels, a class that hardly any sample looks like, by its nearest real examples.

Games without a discriminator are watched by their samples alone, and so are those whose loss has no scale to judge it by (a
Wasserstein critic's). A generator that leaves out some of many modes that no label tells of, and varies within the others, is
not noticed here: read the coverage that a comparison measures.

The thresholds were chosen on runs of `gan` and its relatives on ring8, grid25 and digits; `benchmarks/alarm.py` measures, with
other seeds, how often planted failures and healthy runs raise an alarm.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .data import Dataset
from .events import Alarm
from .game import Game
from .kinds import kind_of
from .nets.features import random_features
from .objectives.adversarial import LOSSES

WON, OSCILLATION, COLLAPSED = "discriminator won", "oscillation", "generator collapsed"
LOST = "classes lost"

WINDOW = 10  # readings whose medians are judged: the noise of single batches goes
PATIENCE = 10  # judgements in a row until an alarm begins or ends
SATURATED = 0.05  # of the loss of guessing: healthy games on MNIST-like data stay above 0.2, also without a penalty
VANISHED = 0.05  # of the run's median gradient norm; a learning rate that decays does not touch gradients
HISTORY = 5 * WINDOW  # readings before a run has a history

MEMORY = 150  # readings in which swings are counted: three looks
SMOOTH = 5  # readings in a running median, before swings are counted
SWING = 1.0  # of the loss of guessing, up or down: in healthy games single swings reach half of it
TURNS = 3  # of direction: up, down and up again is an oscillation, once up and down is an accident
MOVES = 3  # of the samples' mean from look to look
FAR = 1.2  # standard deviations of real data, the mean of such moves; fast but healthy beginnings move by up to 1.0
BACK = 0.5  # share of the whole way that is left of it in the end, at most: further is a journey, not an oscillation

SAMPLES = 256  # samples, and real examples, of a look
LEAST = 32  # real examples below which samples are not judged
NARROW = 0.05  # share of the real data's variance; healthy samples pass it within a tenth of a short budget
NEAR = 0.25  # of the real examples' median distance to their nearest: two samples that near are near-duplicates
REPEATED = (
    0.8  # share of near-duplicates beyond that among real examples; young generators, still on a curve, reach 0.6
)
SPREADING = 1.2  # variance that grows so from look to look is a beginning, not a collapse
LOOKS = 2  # in a row until a collapse is one

LABELLED = 2048  # real examples, at most, that tell what class a sample looks like
FEW = 16  # samples of a class below which none may be chance: such classes are not judged
ABSENT = 0.25  # of the way from what an absent class would still show, by mistaken neighbours, to its real share
LASTING = 5  # looks in a row without a class until it is lost, if the classes missing have become no fewer by then:
#              a young generator begins without many, and finds them one by one
LIKELY = 0.1  # share of samples as near to a real example as 95 % of real ones: below, they show no class at all
NAMED = 5  # lost classes that a text lists

_TRY = {
    WON: (
        "Try a penalty on the discriminator (penalty=r1, or a larger penalty_weight), two time scales (a lower "
        "discriminator_learning_rate), fewer discriminator_steps; with few images augment=ada or diffaugment."
    ),
    OSCILLATION: (
        "Try a lower learning_rate, no momentum (betas=[0,0.99]), a penalty (penalty=r1), and serve averaged weights "
        "(average_images)."
    ),
    COLLAPSED: (
        "Try a penalty (penalty=r1), a lower learning_rate, packing=2 or "
        "network.discriminator_minibatch=stddev, which let the discriminator see that samples repeat."
    ),
    LOST: (
        "Train longer, or try a penalty (penalty=r1), packing=2 or network.discriminator_minibatch=stddev, or a model that is "
        "told the classes."
    ),
}
_TRY_ALONE = "Try a lower learning_rate, and for a VAE a smaller beta."


class Reading(NamedTuple):
    """The numbers of a round that tell how the two players stand."""

    real: float
    fake: float
    loss: float
    gradient: float


class Watch:
    """Sees trouble in what it is shown.

    Parameters
    ----------
    spec : ImageSpec or VectorSpec
    real : numpy.ndarray
        Stored values of real examples ``(N, ...)``, as many as there will be samples.
    loss : str
        A key of `objectives.adversarial.LOSSES`.
    generator : str
        The player whose gradient norm is the generator's.
    labelled : (numpy.ndarray, numpy.ndarray, sequence of str), optional
        Stored values of real examples, their labels and the names of the classes.
    """

    def __init__(
        self,
        spec: Any,
        real: np.ndarray,
        loss: str = "non-saturating",
        generator: str = "generator",
        labelled: tuple[np.ndarray, np.ndarray, Sequence[str]] | None = None,
    ):
        self.generator = generator
        self._loss = LOSSES[loss]
        self._chance = self._judge(self._loss.guess, self._loss.guess)
        self._readings: list[Reading] = []
        self._swings: dict[str, deque[float]] = {name: deque(maxlen=MEMORY) for name in ("discriminator", "generator")}
        self._adversarial = False
        self._swaying = 0.0
        self._won = _Episode(WON, PATIENCE)
        self._oscillation = _Episode(OSCILLATION, PATIENCE)
        self._collapse = _Episode(COLLAPSED, LOOKS)
        self._lost = _Episode(LOST, 1)
        self._missing: deque[set[str]] = deque(maxlen=LASTING)
        self._space = _Space(spec)
        self._classes = _Classes(self._space(labelled[0]), *labelled[1:]) if labelled else None
        self._real = self._space(real)
        self._centres: deque[np.ndarray] = deque(maxlen=MOVES + 1)
        self._spread = math.inf

    # -- numbers -----------------------------------------------------------------------------------------------------

    def log(self, images: int, numbers: Mapping[str, float]) -> list[Alarm]:
        """A round: ``loss/<player>``, ``gradient/<player>``, ``penalty``, and the mean ``logit_real`` and ``logit_fake``.

        A lazy penalty is in the loss of some rounds only, which readings may meet every time or never: it is taken out.
        """
        if not {"loss/discriminator", "logit_real", "logit_fake"} <= set(numbers):
            return []
        self._adversarial = True
        gradient = numbers.get(f"gradient/{self.generator}", math.nan)
        loss = numbers["loss/discriminator"] - numbers.get("penalty", 0.0)
        reading = Reading(numbers["logit_real"], numbers["logit_fake"], loss, gradient)
        self._readings.append(reading)
        if len(self._readings) < WINDOW:
            return []
        return [*self._look_who_won(), *self._look_for_swings()]

    def _judge(self, real: float, fake: float) -> float:
        """The discriminator's loss on these logits."""
        return float(self._loss.discriminator(torch.tensor([real]), torch.tensor([fake])))

    def _fooled(self, real: float, fake: float) -> float:
        """The generator's."""
        return float(self._loss.generator(torch.tensor([fake - real if self._loss.relative else fake])))

    def _look_who_won(self) -> list[Alarm]:
        if not self._chance:
            return []
        now = Reading(*np.median(self._readings[-WINDOW:], axis=0))
        usual = float(np.median([r.gradient for r in self._readings])) if len(self._readings) >= HISTORY else 0.0
        apart = self._judge(now.real, now.fake) < SATURATED * self._chance
        helpless = now.loss < SATURATED * self._chance or now.gradient < VANISHED * usual
        text = (
            f"{WON}: it tells nearly all fakes from real examples (mean logits {now.fake:.3g} and {now.real:.3g}; its loss is "
            f"{now.loss:.2g}, that of guessing {self._chance:.2g}), and the generator learns little from it. {_TRY[WON]}"
        )
        numbers = {"logit_real": now.real, "logit_fake": now.fake, "loss": now.loss, "gradient": now.gradient}
        return self._won.observe(apart and helpless, numbers, text)

    def _look_for_swings(self) -> list[Alarm]:
        last = Reading(*np.median(self._readings[-SMOOTH:], axis=0))
        self._swings["discriminator"].append(last.loss)
        self._swings["generator"].append(self._fooled(last.real, last.fake))
        size = SWING * self._chance
        turns = {name: count_turns(values, size) if size else 0 for name, values in self._swings.items()}
        player = max(turns, key=turns.__getitem__)
        seen = f"the {player}'s loss turned {turns[player]} times within {len(self._swings[player])} readings"
        if turns[player] < TURNS:
            seen = f"the mean of the samples moved by {self._swaying:.1f} standard deviations from look to look, to and fro"
        numbers = {"turns": turns[player], "moves": self._swaying}
        swings = turns[player] >= TURNS or self._swaying > 0
        text = f"{OSCILLATION}: {seen}; the players chase each other. {_TRY[OSCILLATION]}"
        return self._oscillation.observe(swings, numbers, text)

    # -- samples -----------------------------------------------------------------------------------------------------

    def look(self, images: int, samples: np.ndarray) -> list[Alarm]:
        """A look at `SAMPLES` samples, stored values ``(N, ...)``; the untrained model's say nothing."""
        if not images or min(len(self._real), len(samples)) < LEAST:
            return []
        features = self._space(samples[: len(self._real)])
        if not torch.isfinite(features).all():
            return []
        self._sway(features)
        spread = variance(features) / max(variance(self._real), 1e-12)
        radius = NEAR * float(nearest(self._real).median())
        repeated, usual = (float((nearest(f) <= radius).double().mean()) for f in (features, self._real))
        spreading = spread > SPREADING * self._spread
        self._spread = spread
        text = (
            f"{COLLAPSED}: samples have {spread:.1%} of the variance of real data, and {repeated:.0%} of them have a "
            f"near-duplicate ({usual:.0%} of real examples). {_TRY[COLLAPSED] if self._adversarial else _TRY_ALONE}"
        )
        seen = (spread < NARROW or repeated > usual + REPEATED) and not spreading
        collapse = self._collapse.observe(seen, {"variance": spread, "near_duplicates": repeated, "real": usual}, text)
        return [*collapse, *self._look_for_classes(features)]

    def _look_for_classes(self, features: Tensor) -> list[Alarm]:
        if self._classes is None:
            return []
        self._missing.append(self._classes.missing(features))
        before, now = self._missing[0], self._missing[-1]
        if self._lost.on:
            lost = now & self._missing[-2]
        elif len(self._missing) == LASTING and len(now) >= len(before):
            lost = set.intersection(*self._missing)
        else:
            lost = set()
        names = [name[:40] for name in self._classes.names if name in lost]
        some = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        advice = _TRY[LOST] if self._adversarial else _TRY_ALONE
        text = f"{LOST}: hardly any of {len(features)} samples looks like {some}. {advice}"
        return self._lost.observe(bool(lost), {"classes": len(lost)}, text)

    def _sway(self, features: Tensor) -> None:
        """Whether the samples' mean moves far without getting anywhere."""
        self._centres.append(features.mean(0).numpy() / math.sqrt(max(variance(self._real), 1e-12)))
        centres = list(self._centres)
        way = sum(float(np.linalg.norm(b - a)) for a, b in itertools.pairwise(centres))
        left = float(np.linalg.norm(centres[-1] - centres[0]))
        to_and_fro = len(centres) > MOVES and way > MOVES * FAR and left < BACK * way
        self._swaying = way / MOVES if to_and_fro else 0.0


class _Episode:
    """One kind of trouble: begins once it was seen so many times in a row, ends once it was not."""

    def __init__(self, name: str, patience: int):
        self.name, self.patience = name, patience
        self.on, self.streak = False, 0

    def observe(self, seen: bool, numbers: Mapping[str, float], text: str) -> list[Alarm]:
        self.streak = self.streak + 1 if seen != self.on else 0
        if self.streak < self.patience:
            return []
        self.on, self.streak = seen, 0
        return [Alarm(self.name, dict(numbers), text if seen else "", over=not seen)]


class _Space:
    """Features of stored values by a fixed random network, ``(N, F)``, float64."""

    def __init__(self, spec: Any):
        self.spec, self.kind = spec, kind_of(spec)
        self.net: Any = random_features(spec, 0, 96)

    def __call__(self, values: np.ndarray) -> Tensor:
        batches = (values[start : start + SAMPLES] for start in range(0, len(values), SAMPLES))
        tensors = (self.kind.normalise(self.kind.to_tensor(batch), self.spec) for batch in batches)
        return torch.cat([self.net.features(x).double() for x in tensors])


class _Classes:
    """What classes samples look like, by their nearest neighbour among labelled real examples.

    Neighbours are mistaken now and then, and more often for some classes than for others: how often is measured on the real
    examples themselves, each left out in turn.

    Parameters
    ----------
    features : Tensor
        Of real examples, ``(N, F)``.
    labels : numpy.ndarray
        ``(N,)``.
    names : sequence of str
        Of the K classes.
    """

    def __init__(self, features: Tensor, labels: np.ndarray, names: Sequence[str]):
        self.features, self.labels, self.names = features, torch.as_tensor(labels), names
        distance, neighbour = torch.cdist(features, features).fill_diagonal_(math.inf).min(1)
        count = len(names)
        confused = torch.zeros(count, count, dtype=torch.float64)
        pairs = self.labels, self.labels[neighbour]
        confused.index_put_(pairs, torch.full((len(labels),), 1 / len(labels), dtype=torch.float64), accumulate=True)
        self.near = distance.quantile(0.95)
        self.share, self.present = confused.sum(1), confused.sum(0)
        # What would still be taken for a class of which nothing is there, the others being as before.
        self.absent = (self.present - confused.diagonal()) / (1 - self.share).clamp_min(1e-12)

    def missing(self, features: Tensor) -> set[str]:
        """The classes that samples' features ``(M, F)`` hardly show; none where the samples look like nothing real."""
        distance, neighbour = torch.cdist(features, self.features).min(1)
        if (distance <= self.near).double().mean() < LIKELY:
            return set()
        shown = torch.bincount(self.labels[neighbour], minlength=len(self.names)).double() / len(features)
        distinct = self.present - self.absent
        judged = (self.share * len(features) >= FEW) & (distinct > 0.5 * self.present)
        missing = judged & (shown < self.absent + ABSENT * distinct)
        return {self.names[i] for i in missing.nonzero().flatten().tolist()}


def count_turns(values: Iterable[float], size: float) -> int:
    """How often a series turns, counting only swings of at least `size` between turns."""
    turns, direction, low, high = 0, 0, math.inf, -math.inf
    for value in values:
        low, high = min(low, value), max(high, value)
        if direction >= 0 and high - value >= size:
            turns, direction, low = turns + direction, -1, value
        elif direction <= 0 and value - low >= size:
            turns, direction, high = turns - direction, 1, value
    return turns


def variance(features: Tensor) -> float:
    """Total variance of features ``(N, F)``."""
    return float(features.var(0).sum())


def nearest(features: Tensor) -> Tensor:
    """The distance of each to its nearest other, ``(N,)``."""
    # By differences: products of matrices would leave 1e-8 between examples that are the same.
    distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.fill_diagonal_(math.inf).min(1).values


def watch_for(game: Game, dataset: Dataset) -> Watch:
    """The watch of a game that learns these data."""
    loss = getattr(game.config, "loss", None)
    player = next((name for name, networks in game.players.items() if game.sampler in networks), "generator")
    known = loss if loss in LOSSES else "non-saturating"
    label, labels = dataset.schema.label, dataset.labels("train", LABELLED, seed=1)
    labelled = None
    if label is not None and labels is not None:
        labelled = dataset.values("train", LABELLED, seed=1), labels, label.classes
    return Watch(dataset.schema.target, dataset.values("train", SAMPLES), known, player, labelled)
