"""Observation models p(x | z): what a decoder's numbers say about the data.

A decoder returns `parameters_per_value` numbers for every value of x; a likelihood turns them into log-probabilities, in nats
per example. Discrete likelihoods give probabilities of the stored codes. Continuous ones give densities of the
normalised values, which become a bound on the probability of the codes by uniform dequantisation (Theis et al. 2016):
log P(code) >= E_u log p(x + u) + D log(step), u uniform over one quantisation step.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import distributed
from ..data import ImageSpec, Spec, VectorSpec
from ..errors import UsageError

LikelihoodName = Literal["gaussian", "bernoulli", "logistic", "categorical"]


def quantisation_step(spec: Spec) -> float | None:
    """Distance between neighbouring grey levels of an image in [-1, 1]; None for real-valued data."""
    return 2 / (spec.levels - 1) if isinstance(spec, ImageSpec) else None


class Likelihood(nn.Module):
    """Base: one parameter a value, squashed to the data's range as the mean.

    Attributes
    ----------
    parameters_per_value : int
        Numbers the decoder must give for each value of x.
    discrete : bool
        True where `log_prob` is of codes and not of a density.
    """

    parameters_per_value = 1
    discrete = False

    def __init__(self, spec: Spec):
        super().__init__()
        self.spec = spec
        self.bounded = isinstance(spec, ImageSpec)

    def mean(self, raw: Tensor) -> Tensor:
        """E[x | z] in normalised units, the shape of x."""
        return raw.tanh() if self.bounded else raw

    def observe(self, x: Tensor) -> Tensor:
        """What the model is shown of x (a Bernoulli model sees binarised pixels)."""
        return x

    def encoder_input(self, x: Tensor) -> Tensor:
        """What an encoder is shown of normalised values."""
        return x

    def start(self) -> Tensor | None:
        """What a decoder should give at first, for each channel ``(C,)``; None where it does not matter."""
        return None

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """log p(x | z), nats per example, shape ``(N,)``."""
        raise TypeError(f"{type(self).__name__} defines no log_prob")


class Gaussian(Likelihood):
    """N(mean, sigma^2) with one sigma shared by all values.

    sigma is learned by gradient, or fixed where `sigma` is given: fixed at 1 it is the "MSE / 2 + KL" of many tutorials and
    the main cause of the blur the survey blames on VAEs (Rybkin et al. 2021). A learned one starts at 1 and falls no faster
    than Adam moves any weight: while it is large the KL term rules, and codes come to lie as the prior has them before
    details are learned. A sigma that ran ahead made samples much worse (docs/results.md). It has a floor of half a grey
    level, below which a density on discrete data would grow without limit.
    """

    def __init__(self, spec: Spec, sigma: float | None = None):
        super().__init__(spec)
        step = quantisation_step(spec)
        self.floor = math.log(step / 2) if step else math.log(1e-3)
        self.fixed = None if sigma is None else math.log(sigma)
        if sigma is None:
            self.raw_log_sigma = nn.Parameter(torch.zeros(()))

    @property
    def log_sigma(self) -> Tensor:
        """log sigma in normalised units; a learned one is softly kept above its floor (Rybkin et al. 2021, appendix)."""
        if self.fixed is not None:
            return torch.tensor(self.fixed)
        return self.floor + F.softplus(self.raw_log_sigma - self.floor)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        log_sigma = self.log_sigma
        error = (self.mean(raw) - x).flatten(1).square().sum(1)
        dimensions = x[0].numel()
        return -0.5 * error * (-2 * log_sigma).exp() - dimensions * (log_sigma + 0.5 * math.log(2 * math.pi))


class Bernoulli(Likelihood):
    """Binary pixels; grey levels are probabilities, binarised afresh whenever an image is shown (Burda et al. 2016)."""

    discrete = True

    def mean(self, raw: Tensor) -> Tensor:
        return raw.sigmoid() * 2 - 1

    def observe(self, x: Tensor) -> Tensor:
        # Drawn for the global batch, so that several processes binarise as one would.
        uniform = distributed.shard(torch.rand(len(x) * distributed.world(), *x.shape[1:], device=x.device))
        return torch.where(uniform < (x + 1) / 2, 1.0, -1.0)

    def encoder_input(self, x: Tensor) -> Tensor:
        """Probabilities or binary pixels: a background of 0 and not of -1, which would drown the rest in its mean."""
        return (x + 1) / 2

    def start(self) -> Tensor | None:
        """The logit of the mean grey value: getting there with large steps would saturate the layers below."""
        mean = torch.tensor(self.spec.mean)  # type: ignore[union-attr]
        return mean.clamp(1e-3, 1 - 1e-3).logit() if len(mean) else None

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(raw, (x + 1) / 2, reduction="none").flatten(1).sum(1)


class DiscretisedLogistic(Likelihood):
    """Mass of a logistic density over each grey level, the outer levels open-ended (Kingma et al. 2016, section 6.2).

    One log-scale is shared by all values, so that its decoder is the Gaussian's.
    """

    discrete = True

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.log_scale = nn.Parameter(torch.tensor(-2.0))

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        half = (quantisation_step(self.spec) or 0.0) / 2
        inverse = (-self.log_scale).exp()
        upper, lower = (x + half - self.mean(raw)) * inverse, (x - half - self.mean(raw)) * inverse
        # log(sigmoid(upper) - sigmoid(lower)) without cancellation; the outer levels reach to infinity.
        inner = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))
        first, last = x < -1 + half, x > 1 - half
        log_mass = torch.where(first, F.logsigmoid(upper), torch.where(last, F.logsigmoid(-lower), inner))
        return log_mass.flatten(1).sum(1)


class Categorical(Likelihood):
    """A free probability for every grey level of every value (van den Oord et al. 2016)."""

    discrete = True
    grid: Tensor

    def __init__(self, spec: ImageSpec):
        super().__init__(spec)
        self.parameters_per_value = spec.levels
        self.register_buffer("grid", torch.linspace(-1, 1, spec.levels), persistent=False)

    def _logits(self, raw: Tensor) -> Tensor:
        """``(N, levels, C, H, W)`` from the decoder's ``(N, levels * C, H, W)``."""
        return raw.unflatten(1, (self.spec.levels, -1))  # type: ignore[union-attr]

    def mean(self, raw: Tensor) -> Tensor:
        return torch.einsum("nlchw,l->nchw", self._logits(raw).softmax(1), self.grid)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        codes = ((x + 1) / 2 * (self.spec.levels - 1)).round().long()  # type: ignore[union-attr]
        return -F.cross_entropy(self._logits(raw), codes, reduction="none").flatten(1).sum(1)


def make_likelihood(name: LikelihoodName, spec: Spec, sigma: float | None = None) -> Likelihood:
    """Build an observation model for data of a spec.

    Raises
    ------
    UsageError
        For a likelihood of grey levels on data that have none.
    """
    if name == "gaussian":
        return Gaussian(spec, sigma)
    if sigma is not None:
        raise UsageError(f"sigma belongs to likelihood='gaussian', not to '{name}': leave it out.")
    if not isinstance(spec, ImageSpec):
        raise UsageError(f"likelihood='{name}' needs images (grey levels); use likelihood='gaussian' for vectors.")
    if name == "categorical":
        if spec.levels > 256 or spec.levels * spec.channels > 768:
            raise UsageError(f"likelihood='categorical' with {spec.levels} levels is too large; use 'logistic'.")
        return Categorical(spec)
    return Bernoulli(spec) if name == "bernoulli" else DiscretisedLogistic(spec)


def dequantisation_term(spec: Spec) -> float:
    """What turns a log-density of normalised values into log-probability of codes (or a density in data units), in nats.

    D log(step) for images; minus the sum of the log column scales for vectors.
    """
    if isinstance(spec, ImageSpec):
        return math.prod(spec.shape) * math.log(quantisation_step(spec) or 1.0)
    return -sum(math.log(s) for s in spec.scale) if isinstance(spec, VectorSpec) else 0.0
