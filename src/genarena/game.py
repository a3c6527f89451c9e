"""A model is a game of players: the whole contract between models and the rest, without input or output.

A player is a group of networks with one optimizer. `Game.play` is a generator coroutine that reads like the algorithm box
of a paper: it draws batches and yields `Turn`s, each with one loss a player. One player (VAE), two (GAN) or three
(VAE-GAN): the same referee trains them all.

The referee alone calls ``backward``, always with ``inputs=`` the player's own parameters, so a player receives gradient
from its own loss and nothing else. Several players in one `Turn` move simultaneously: all gradients from one shared
forward, then all steps. Several Turns alternate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from . import distributed
from .data import Batch, Schema, VectorSpec
from .errors import UsageError, did_you_mean

Capability = Literal["sample", "condition", "encode", "reconstruct", "log_prob", "anomaly_score"]


class Turn:
    """One move: a loss for each player that moves, and named numbers to log.

    Parameters
    ----------
    terms : mapping of str to Tensor, optional
        Scalars worth a look (``kl``, ``logit_real``); no gradient flows through them.
    **losses : Tensor
        Scalar loss by player.
    """

    def __init__(self, terms: Mapping[str, Tensor] | None = None, /, **losses: Tensor):
        self.terms = dict(terms or {})
        self.losses = losses


class Part(Turn):
    """A part of the next `Turn`: its gradients add up and nothing moves yet, so that a batch need not fit in memory at once.

    Scale the losses of all parts and of the turn to those of the whole batch.
    """


class Stats:
    """Numbers a game decides on: yielding them steps nothing and gives them back averaged over processes."""

    def __init__(self, **numbers: Tensor):
        self.numbers = numbers


@dataclass(frozen=True)
class Report:
    """What a `Turn` gives back: losses and gradient norms by player, averaged over processes."""

    losses: Mapping[str, Tensor]
    gradient_norms: Mapping[str, Tensor]


class Draw(Protocol):
    """Gives the next batch and counts it, so that games which draw several a round keep an image budget honest."""

    images: int
    batches: int

    def __call__(self) -> Batch: ...


Play = Iterator[Turn | Stats]


class ModelConfig(BaseModel):
    """Settings of a model: validated once, frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _keep_nested_defaults(cls, settings: Any) -> Any:
        """``network.width=128`` changes the width alone, and not the rest of a model's own default network."""
        if not isinstance(settings, Mapping):
            return settings
        merged = dict(settings)
        for name, value in settings.items():
            default = cls.model_fields[name].default if name in cls.model_fields else None
            if isinstance(default, BaseModel) and isinstance(value, Mapping):
                merged[name] = {**default.model_dump(), **value}
        return merged

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Any:
        """Validate settings, turning pydantic's report into one line a mistake.

        Raises
        ------
        UsageError
            Naming the key, the nearest valid one, or the value and its bounds.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise UsageError("; ".join(_explain(cls, entry) for entry in error.errors())) from None


def _explain(config: type[BaseModel], entry: Any) -> str:
    place = [str(part) for part in entry["loc"]]
    key = ".".join(place)
    if not place:  # a rule about several settings
        return entry["msg"].removeprefix("Value error, ") + "."
    if isinstance(entry.get("input"), float) and math.isnan(entry["input"]):
        return f"{key} is not a number."
    if entry["type"] != "extra_forbidden":
        return f"{key}={entry.get('input')!r}: {entry['msg'][0].lower()}{entry['msg'][1:]}."
    fields: Any = config
    for part in place[:-1]:
        fields = fields.model_fields[part].annotation
    known = [".".join([*place[:-1], name]) for name in fields.model_fields]
    return f"unknown setting '{key}'.{did_you_mean(key, known)}"


class Model(nn.Module):
    """Anything that can be fitted, saved, loaded and asked: the base of games and closed-form baselines.

    Subclasses set `Config`, `title` and `summary`, build their networks from ``(config, schema)`` alone, and define
    whichever of the methods below they can; `capabilities` gives the reason for the others. Every tensor here is
    normalised as `Batch.x` is; `genarena.load` gives the same methods on arrays in the data's own units.

    A conditional model is told the class of every example. Its latents are noise with the class beside it, one-hot, in the last
    `classes` columns, so that whatever draws, decodes or mixes latents serves it too.

    Attributes
    ----------
    conditional : bool
        Whether models of this class are told labels.
    classes : int
        K, how many there are; 0 where it is told none.
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    title: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    sampler: ClassVar[str | None] = None
    conditional: ClassVar[bool] = False
    frequencies: Tensor

    def __init__(self, config: Any, schema: Schema):
        super().__init__()
        self.config = config
        self.schema = schema
        self.classes = 0
        if self.conditional:
            if schema.label is None:
                raise UsageError(
                    f"a {self.title.lower()} is told the class of every example, and these data have no labels: "
                    "sort images into class folders, or choose a model without labels."
                )
            self.classes = len(schema.label.classes)
            self.register_buffer("frequencies", torch.tensor(schema.label.frequencies), persistent=False)

    def beside_labels(self, noise: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents from noise ``(N, L)``: beside it classes as often as the train split has them, where there are any."""
        if not self.classes:
            return noise
        frequencies = self.frequencies.to(noise.device)
        indices = torch.multinomial(frequencies, len(noise), replacement=True, generator=generator)
        return torch.cat([noise, one_hot(indices, self.classes)], 1)

    def class_of(self, z: Tensor) -> Tensor | None:
        """The one-hot classes ``(N, K)`` within latents; None where the model is told none."""
        return z[:, -self.classes :] if self.classes else None

    def by_class(self, n: int, log_likelihood: Callable[[Tensor], Tensor]) -> Tensor:
        """log p(y) + log p(x | y) of every class, ``(..., N, K)``.

        Parameters
        ----------
        n : int
            N; ``x.shape[0]`` and not ``len(x)``, which an exported program would take for a constant.
        log_likelihood : callable
            Classes, one-hot ``(N, K)`` -> log p(x | y), ``(..., N)``.
        """
        eye = torch.eye(self.classes, device=self.frequencies.device)
        joint = [
            log_likelihood(row.expand(n, -1)) + share.log() for row, share in zip(eye, self.frequencies, strict=True)
        ]
        return torch.stack(joint, -1)

    @property
    def straight(self) -> bool:
        """Whether straight lines between draws stay among likely latents; of a normal prior only arcs do."""
        return False

    def untold(self) -> str | None:
        """Why no class can be asked of it: the reason for the capability ``condition``, or None."""
        return None if self.classes else "it is trained without labels"

    def capabilities(self) -> dict[Capability, str | None]:
        """Name to None where the model can, or to the reason it cannot. Depends on the configuration."""
        raise TypeError(f"{type(self).__name__} does not say what it can do: define capabilities()")

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        """`n` draws from the prior, ``(n, L)``; closer to its middle with a smaller `truncation`."""
        raise TypeError(f"{type(self).__name__} has no prior")

    def decode(self, z: Tensor) -> Tensor:
        """Latents to data, ``(N, *shape)``."""
        raise TypeError(f"{type(self).__name__} has no decoder")

    def encode(self, x: Tensor) -> Tensor:
        """Data to latents, deterministic, ``(N, L)``."""
        raise TypeError(f"{type(self).__name__} has no encoder")

    def reconstruct(self, x: Tensor) -> Tensor:
        """`x` through the bottleneck and back; not a new sample."""
        return self.decode(self.encode(x))

    def remember(self, batches: Iterable[Tensor]) -> None:
        """Measure on training examples, on the weights about to be handed over, what scores have to know of them.

        Parameters
        ----------
        batches : iterable of Tensor
            Normalised examples of the train split, several thousand at most; read only where it is iterated.
        """

    def log_prob(self, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """log p(x) in nats per example, ``(N,)``: of codes for images, a density in data units for vectors."""
        raise TypeError(f"{type(self).__name__} has no likelihood")

    def anomaly_score(self, x: Tensor) -> Tensor:
        """Higher is stranger, ``(N,)``; deterministic."""
        raise TypeError(f"{type(self).__name__} has no anomaly score")


def normal(n: int, dimensions: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
    """Standard normal noise ``(n, L)``; with a `truncation`, values beyond are drawn again (Brock et al. 2019, section 3.1).

    The distribution function does that in one go, however small `truncation` is, and leaves a draw recognisable: it moves
    towards the middle.
    """
    noise = torch.randn(n, dimensions, generator=generator)
    if truncation is None:
        return noise
    share = torch.erf(torch.tensor(truncation / math.sqrt(2), dtype=torch.float64))
    moved = torch.erfinv(share * torch.erf(noise.double() / math.sqrt(2))) * math.sqrt(2)
    return moved.float().clamp(-truncation, truncation)


def one_hot(indices: Tensor, classes: int) -> Tensor:
    """Class indices ``(N,)`` as float32 ``(N, K)``."""
    return torch.nn.functional.one_hot(indices, classes).float()


class Game(Model):
    """A model trained by gradient.

    Attributes
    ----------
    players : dict of str to tuple of str
        The submodules each player trains; together they hold every trainable parameter exactly once.
    """

    players: ClassVar[dict[str, tuple[str, ...]]] = {}

    def play(self, draw: Draw) -> Iterator[Any]:
        """One round of the game."""
        raise TypeError(f"{type(self).__name__} defines neither play() nor loss()")

    def prepare(self, generator: torch.Generator) -> None:
        """Measure again, on the weights about to be served, what belongs to them (a batch norm's standing statistics)."""

    def optimizer(self, player: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of one player."""
        raise TypeError(f"{type(self).__name__} does not say how its players learn: define optimizer()")

    def parameters_of(self, player: str) -> list[nn.Parameter]:
        """Trainable parameters of a player's networks."""
        networks = [self.get_submodule(name) for name in self.players[player]]
        return [p for network in networks for p in network.parameters() if p.requires_grad]

    def noise(self, n: int, *shape: int, like: Tensor) -> Tensor:
        """Standard normal noise ``(n, *shape)`` for this process's examples, drawn for the global batch."""
        return distributed.shard(torch.randn(n * distributed.world(), *shape, device=like.device, dtype=like.dtype))

    def told(self, batch: Batch) -> Tensor | None:
        """The classes of a batch, one-hot ``(N, K)``; None where the model is told none."""
        return one_hot(batch.label, self.classes) if self.classes and batch.label is not None else None


class OnePlayerGame(Game):
    """A game against nobody: define `loss`, and forget about turns."""

    def loss(self, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss of a batch and named terms to log."""
        raise TypeError(f"{type(self).__name__} defines no loss()")

    def play(self, draw: Draw) -> Play:
        loss, terms = self.loss(draw(), draw)
        (player,) = self.players
        yield Turn(terms, **{player: loss})


_Decay = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[_Decay, _Decay]


class AdamConfig(ModelConfig):
    """Optimizer and averaging settings every game shares.

    Attributes
    ----------
    batch_size : int
        Examples of the global batch.
    learning_rate : float, optional
        2e-3 for images and 1e-3 for rows of numbers when absent.
    mirror : bool
        Half of the images, drawn anew each time, are shown mirrored left to right.
    halve_images : int
        Images over which the learning rate halves, again and again; 0 keeps it. (A schedule over the budget would change
        when a run is extended.)
    betas : tuple of float
    precision : {"float32", "bfloat16"}
        Of the matrix products inside the networks while they train, see `genarena.precision`. For GPUs; slower on most
        processors.
    average_images : int
        Half-life, in images, of the exponential moving average of the weights that is served; 0 serves the last weights.
        Early on it is 5 % of the images seen so far (Karras et al. 2020).
    """

    batch_size: int = Field(default=64, ge=1, le=65536)
    learning_rate: float | None = Field(default=None, gt=0, le=10)
    mirror: bool = False
    halve_images: int = Field(default=0, ge=0)
    betas: Betas = (0.9, 0.999)
    precision: Literal["float32", "bfloat16"] = "float32"
    average_images: int = Field(default=10_000, ge=0)


class AdamGame(Game):
    """A game whose players use Adam (Kingma & Ba 2015) with the settings of an `AdamConfig`."""

    epsilon: ClassVar[float] = 1e-8

    def learning_rate(self, player: str) -> float:
        """The step size a player starts with."""
        return self.config.learning_rate or (1e-3 if isinstance(self.schema.target, VectorSpec) else 2e-3)

    def optimizer(self, player: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        first, second = self.config.betas
        return torch.optim.Adam(
            parameters,
            lr=self.learning_rate(player),
            betas=(float(first), float(second)),
            eps=self.epsilon,
            fused=parameters[0].device.type in ("cpu", "cuda"),
        )
