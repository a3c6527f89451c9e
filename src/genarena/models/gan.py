"""The generative adversarial network (Goodfellow et al. 2014, "Generative Adversarial Nets").

A generator turns noise into data; a discriminator learns to tell its fakes from real data; each learns from the other. It
is for generating: it has no encoder and no likelihood, so it neither compresses nor scores data by probability.

Where we differ from the paper: the generator's default loss is the paper's own non-saturating alternative; the
discriminator has an R1 penalty, without which the game need not converge even in one dimension (Mescheder et al. 2018);
strided convolutions for images instead of maxout; Adam instead of momentum; the weights served are averaged.
Real and fake pass the discriminator in batches of their own. The generator's turn judges the last fakes again: it has not
moved since they were made, and fresh noise cost a forward pass without making samples better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from .. import distributed
from ..data import Schema, VectorSpec
from ..game import AdamConfig, AdamGame, Betas, Capability, Draw, Part, Play, Stats, Turn, normal
from ..kinds import NetworkConfig, kind_of
from ..nets.memory import FeatureMemory
from ..nets.minibatch import GROUP, group_size
from ..objectives.adversarial import (
    LOSSES,
    LossName,
    dragan_penalty,
    feature_matching,
    gradient_penalty,
    r1_penalty,
    smoothing,
)

NO_ENCODER = "no encoder: it maps noise to data and not back"
IMPLICIT = "no likelihood: an implicit model"
WEIGHTS = {"r1": 0.3, "r1+r2": 0.3, "gradient": 10.0, "dragan": 10.0}  # of the penalties, where none is set
PenaltyName = Literal["r1", "r1+r2", "gradient", "dragan", "none"]


class AdversarialConfig(AdamConfig):
    """Settings of every game with a discriminator.

    Attributes
    ----------
    latent_dim : int, optional
        Dimensions of the noise; by default a size that fits the data.
    loss : {"non-saturating", "minimax", "least-squares", "hinge", "wasserstein", "relativistic"}
    penalty : {"r1", "r1+r2", "gradient", "dragan", "none"}
        Zero-centred on real data (R1, Mescheder et al. 2018) or on real and fake (R1 + R2, as relativistic games need: Huang et
        al. 2024), one-centred between them (Gulrajani et al. 2017) or around the data (DRAGAN, Kodali et al. 2017), or none.
    penalty_weight : float, optional
        gamma of R1 and R2 (0.3 when absent), lambda of the one-centred penalties (10, as in their papers).
    penalty_every : int
        Discriminator turns from one penalty to the next; its weight is multiplied to match (Karras et al. 2020).
    clip : float, optional
        Weights of the discriminator are kept within +-clip (Arjovsky et al. 2017); for comparison with the penalties.
    discriminator_learning_rate : float, optional
        Two time scales (TTUR, Heusel et al. 2017); `learning_rate` when absent.
    label_smoothing : float
        The discriminator's target for real examples is 1 - this (one-sided: Salimans et al. 2016).
    packing : int
        Examples the discriminator judges together (PacGAN, Lin et al. 2018).
    network : NetworkConfig
    """

    betas: Betas = (0.0, 0.99)
    latent_dim: int | None = Field(default=None, ge=1, le=65536)
    loss: LossName = "non-saturating"
    penalty: PenaltyName = "r1"
    penalty_weight: float | None = Field(default=None, ge=0)
    penalty_every: int = Field(default=4, ge=1, le=1000)
    clip: float | None = Field(default=None, gt=0)
    discriminator_learning_rate: float | None = Field(default=None, gt=0, le=10)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    packing: int = Field(default=1, ge=1, le=16)
    network: NetworkConfig = NetworkConfig()

    @model_validator(mode="after")
    def _settings_fit(self) -> Any:
        if self.loss == "wasserstein" and self.penalty not in ("gradient", "dragan") and self.clip is None:
            raise ValueError("loss=wasserstein needs penalty=gradient (or clip), which keeps its critic Lipschitz")
        if self.label_smoothing and not LOSSES[self.loss].density_ratio:
            raise ValueError(f"label_smoothing smooths the targets of a cross-entropy; loss={self.loss} has none")
        if self.batch_size % self.packing:
            raise ValueError(f"batch_size={self.batch_size} cannot be packed by {self.packing}: give a multiple")
        comparing, judged = getattr(self.network, "discriminator_minibatch", "none"), self.batch_size // self.packing
        if comparing != "none" and judged < 2:
            raise ValueError("its discriminator compares the examples of a batch: give a batch_size of two at least")
        if comparing == "stddev" and group_size(judged) == 1:
            raise ValueError(
                f"its discriminator compares examples in groups of 2 to {GROUP}, which {judged} cannot be split into: give a "
                f"batch_size that is a multiple of {GROUP * self.packing}"
            )
        return self


class AdversarialGame(AdamGame):
    """A generator, a discriminator and what any game between them needs."""

    sampler = "generator"

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        spec = schema.target
        self.kind = kind_of(spec)
        self.latent_dim = config.latent_dim or self.kind.default_latent_dim(spec)
        self.generator = self.make_generator()
        self.discriminator = self.make_discriminator()
        self.adversarial = LOSSES[config.loss]
        rows = isinstance(spec, VectorSpec) and config.packing == 1
        layers: Any = getattr(self.discriminator, "layers", ()) if rows else ()
        self.memory = FeatureMemory([layer.out_features for layer in layers]) if layers else None

    def make_generator(self) -> nn.Module:
        """The network from latents ``(N, L)`` or ``(N, L + K)`` to what `kinds` squashes into data."""
        return self.kind.decoder(self.schema.target, self.latent_dim + self.classes, self.config.network)

    def make_discriminator(self, outputs: int = 1) -> nn.Module:
        """The network that judges ``(N, ...)``, or packs of examples side by side."""
        return self.kind.discriminator(self.schema.target, self.config.network, outputs, self.config.packing)

    def learning_rate(self, player: str) -> float:
        other = self.config.discriminator_learning_rate
        return other if player == "discriminator" and other else super().learning_rate(player)

    def shape_noise(self, noise: Tensor) -> Tensor:
        """Standard normal noise as the prior has it."""
        return noise

    def prior(self, n: int, like: Tensor) -> Tensor:
        """Fresh latents for `n` fakes, ``(n, L)``, or ``(n, L + K)`` with their classes."""
        noise = torch.randn(n * distributed.world(), self.latent_dim, device=like.device, dtype=like.dtype)
        return distributed.shard(self.beside_labels(self.shape_noise(noise)))

    def make_fakes(self, z: Tensor) -> Tensor:
        """Fakes from latents of `prior`, while training."""
        return self.decode(z)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The discriminator's hidden maps, of packs where it judges packs."""
        if self.config.packing > 1:
            x = x.reshape(len(x) // self.config.packing, -1, *x.shape[2:])
        return self.discriminator.hidden(x)  # type: ignore[operator]

    def classify(self, top: Tensor, y: Tensor | None) -> Tensor:
        """The logit ``(N,)`` from the discriminator's last hidden map, for examples said to be of class `y`."""
        return self.discriminator.classify(top).squeeze(1)  # type: ignore[operator]

    def logit(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The discriminator's opinion, ``(N,)``: positive for real; `y` are the classes ``(N, K)`` it is told."""
        return self.classify(self.hidden(x)[-1], y)

    def remember(self, batches: Iterable[Tensor]) -> None:
        """Where the training set lies in the discriminator's features."""
        if self.memory is not None:
            self.memory.remember(self.hidden(x) for x in batches)

    def anomaly_score(self, x: Tensor) -> Tensor:
        """Of rows, how far from the training set they lie in the discriminator's features; of images, `suspicion`.

        Columns have no bounds, and far from both data and fakes a logit grows in whatever direction its layers happen to point:
        rows that no generator makes look real. Images are bounded, and there it finds more than the distance does.
        """
        if self.config.packing > 1:
            return super().anomaly_score(x)
        return self.suspicion(x) if self.memory is None else self.memory(self.hidden(x))

    def suspicion(self, x: Tensor) -> Tensor:
        """How fake images look, ``(N,)``: minus the discriminator's logit."""
        return -self.logit(x)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Of logits ``(N,)``."""
        loss = self.adversarial.discriminator(real, fake)
        return loss + smoothing(real, self.config.label_smoothing) if self.config.label_smoothing else loss

    def generator_loss(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """Of logits ``(N,)``; those of real examples are asked for where the loss is relative to them."""
        return self.adversarial.generator(fake - real() if self.adversarial.relative else fake)

    def penalty(
        self, real: Tensor, fake: Tensor, turn: int, y: Tensor | None = None, z: Tensor | None = None
    ) -> Tensor:
        """The discriminator's penalty in this turn; zero in turns without.

        Parameters
        ----------
        real, fake : Tensor
        turn : int
            Of the discriminator's, counted from one.
        y : Tensor, optional
            The classes of the real examples.
        z : Tensor, optional
            The latents of the fakes, with their classes.
        """
        config = self.config
        if config.penalty == "none" or turn % config.penalty_every:
            return real.new_zeros(())
        weight = config.penalty_weight if config.penalty_weight is not None else WEIGHTS[config.penalty]
        weight = weight * config.penalty_every
        judge = partial(self.logit, y=y)
        if config.penalty == "r1":
            return weight * r1_penalty(judge, real)
        if config.penalty == "r1+r2":
            judge_fakes = partial(self.logit, y=None if z is None else self.class_of(z))
            return weight * (r1_penalty(judge, real) + r1_penalty(judge_fakes, fake))
        n = len(real) * distributed.world()
        if config.penalty == "dragan":
            uniform = torch.rand(n, *real.shape[1:], device=real.device)
            return weight * dragan_penalty(judge, real, distributed.shard(uniform))
        packs = torch.rand(n // config.packing, device=real.device)
        mix = distributed.shard(packs.repeat_interleave(config.packing))
        return weight * gradient_penalty(judge, real, fake, mix)

    def clip_weights(self) -> None:
        """Put the discriminator's weights back into their box after its step, where they have one."""
        if self.config.clip is not None:
            with torch.no_grad():
                for weight in self.parameters_of("discriminator"):
                    weight.clamp_(-self.config.clip, self.config.clip)

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        noise = self.shape_noise(normal(n, self.latent_dim, generator, truncation))
        return self.beside_labels(noise, generator)

    def decode(self, z: Tensor) -> Tensor:
        return self.kind.squash(self.generator(z))


class GAN(AdversarialGame):
    """Generator against discriminator."""

    class Config(AdversarialConfig):
        """Settings beside those of `AdversarialConfig`.

        Attributes
        ----------
        prior : {"normal", "uniform"}
            Noise N(0, I), or uniform on [-1, 1].
        discriminator_steps : int
            Discriminator turns a round, each on a batch of its own.
        fresh_fakes : bool
            The generator's turn makes fakes of its own (as in the paper) instead of having the last ones judged again.
        accumulate : int
            Batches whose gradients add up to one step; each turn then makes fakes of its own.
        generator_loss : {"adversarial", "feature-matching"}
            Fool the discriminator, or match the mean of its last features (Salimans et al. 2016).
        augment : {"none", "diffaugment", "ada"}
            What the discriminator is shown is altered at random, real and fake, in both turns, with gradients passing through
            (Zhao et al. 2020; Karras et al. 2020a, with a probability that follows how much it overfits). For small sets of
            images.
        """

        prior: Literal["normal", "uniform"] = "normal"
        discriminator_steps: int = Field(default=1, ge=1, le=100)
        fresh_fakes: bool = False
        accumulate: int = Field(default=1, ge=1, le=1024)
        generator_loss: Literal["adversarial", "feature-matching"] = "adversarial"
        augment: Literal["none", "diffaugment", "ada"] = "none"

        @model_validator(mode="after")
        def _logits_have_a_middle(self) -> Any:
            if self.augment == "ada" and self.loss not in ("non-saturating", "minimax", "hinge"):
                raise ValueError(
                    f"augment=ada reads the sign of logits, which loss={self.loss} does not fix: see diffaugment"
                )
            return self

    title = "Generative adversarial network"
    summary = "turns noise into data by trying to fool a discriminator"
    players: ClassVar = {"discriminator": ("discriminator",), "generator": ("generator",)}

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        self.augment = self.kind.augmentation(config.augment)

    def hidden(self, x: Tensor) -> list[Tensor]:
        return super().hidden(self.augment(x))

    def shape_noise(self, noise: Tensor) -> Tensor:
        """The normal's distribution function makes normal noise uniform."""
        return noise if self.config.prior == "normal" else torch.special.ndtr(noise) * 2 - 1

    @property
    def straight(self) -> bool:
        return self.config.prior == "uniform"

    def play(self, draw: Draw) -> Play:
        config = self.config
        moves: list[type[Turn]] = [Part] * (config.accumulate - 1) + [Turn]
        fresh = config.fresh_fakes or config.accumulate > 1
        for _ in range(config.discriminator_steps):
            signs = []
            for move in moves:
                batch = draw()
                real, y = batch.x, self.told(batch)
                z = self.prior(len(real), real)
                with torch.set_grad_enabled(not fresh):
                    fake = self.make_fakes(z)
                real_logit, fake_logit = self.logit(real, y), self.logit(fake.detach(), self.class_of(z))
                loss = self.discriminator_loss(real_logit, fake_logit)
                penalty = self.penalty(real, fake, self.turns(draw), y, z)
                terms = {"logit_real": real_logit.mean(), "logit_fake": fake_logit.mean(), "penalty": penalty}
                yield move(terms, discriminator=(loss + penalty) / config.accumulate)
                signs.append(real_logit.detach().sign().mean())
            self.clip_weights()
            if config.augment == "ada":
                numbers = yield Stats(sign=torch.stack(signs).mean())
                self.augment.adapt(numbers["sign"], config.accumulate * config.batch_size)  # type: ignore[index]
        for move in moves:
            # The generator has not moved since: the same fakes, judged by the discriminator as it is now.
            if fresh:
                z = self.prior(len(real), real)
                fake = self.make_fakes(z)
            loss = self.fool(real, y, fake, self.class_of(z)) + self.generator_penalty(draw, real)
            yield move(generator=loss / config.accumulate)

    def turns(self, draw: Draw) -> int:
        """The discriminator's turns so far, with the one whose batches are being drawn."""
        return -(-draw.batches // self.config.accumulate)

    def fool(self, real: Tensor, y: Tensor | None, fake: Tensor, fake_y: Tensor | None) -> Tensor:
        """What the generator minimises, of a batch of fakes and the last real examples."""
        if self.config.generator_loss == "feature-matching":
            with torch.no_grad():
                wanted = self.hidden(real)[-1]
            return feature_matching(wanted, self.hidden(fake)[-1])
        return self.generator_loss(self.logit(fake, fake_y), lambda: self.logit(real, y))

    def generator_penalty(self, draw: Draw, like: Tensor) -> Tensor:
        """A penalty on the generator in this turn; none here."""
        return like.new_zeros(())

    def capabilities(self) -> dict[Capability, str | None]:
        return {
            "sample": None,
            "condition": self.untold(),
            "encode": NO_ENCODER,
            "reconstruct": NO_ENCODER,
            "log_prob": IMPLICIT,
            "anomaly_score": self._why_not_detect(),
        }

    def _why_not_detect(self) -> str | None:
        if self.config.packing > 1:
            return "its discriminator judges packs, not single examples"
        if self.memory is None and isinstance(self.schema.target, VectorSpec):
            return "its discriminator does not tell its layers, and a logit says little of rows"
        return None
