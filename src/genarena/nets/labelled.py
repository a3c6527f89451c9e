"""Networks that are told a class: discriminators of an example and its label, and a prior that depends on it.

Shapes: N batch, K classes, F features, L latent dimensions. Labels are one-hot rows ``(N, K)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..precision import mixed
from .norm import spectral_norm

FEATURES = 128  # of an example, where the two are joined
LABEL_FEATURES = 32


class _Labelled(nn.Module):
    """A net whose hidden maps see the example alone; its classifier, the label too."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    @property
    def layers(self) -> nn.ModuleList:
        """The net's layers; each has a hidden map."""
        return self.net.layers  # type: ignore[return-value]

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The net's hidden maps."""
        return self.net.hidden(x)  # type: ignore[operator]


class ProjectionDiscriminator(_Labelled):
    """A logit plus the inner product of the label's vector with the features (Miyato & Koyama 2018, eq. 3).

    With psi linear, ``<V y, phi(x)> + psi(phi(x))`` is one linear layer of 1 + K outputs, of which the label chooses.

    Parameters
    ----------
    net : Module
        A discriminator with 1 + K outputs.
    """

    def classify(self, top: Tensor, y: Tensor) -> Tensor:
        """The logit ``(N, 1)`` from the last hidden map and the labels."""
        outputs = self.net.classify(top)  # type: ignore[operator]
        return outputs[:, :1] + (outputs[:, 1:] * y).sum(1, keepdim=True)


class JointDiscriminator(_Labelled):
    """Features of example and label side by side, then a joint hidden layer (Mirza & Osindero 2014, section 3.2).

    Parameters
    ----------
    net : Module
        A discriminator with `FEATURES` outputs.
    classes : int
        K.
    spectral : bool
        Whether the net's layers have a spectral norm, as those here then do.
    """

    def __init__(self, net: nn.Module, classes: int, spectral: bool = False):
        super().__init__(net)
        self.label = nn.Linear(classes, LABEL_FEATURES)
        self.joint = nn.Linear(FEATURES + LABEL_FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, 1)
        self.activation = nn.LeakyReLU(0.2)
        if spectral:
            for layer in (self.label, self.joint, self.head):
                spectral_norm(layer)

    @mixed
    def classify(self, top: Tensor, y: Tensor) -> Tensor:
        """The logit ``(N, 1)`` from the last hidden map and the labels."""
        features = torch.cat([self.net.classify(top), self.label(y)], 1)  # type: ignore[operator]
        return self.head(self.activation(self.joint(self.activation(features))))


class ClassPrior(nn.Module):
    """A Gaussian prior with a mean and a scale for each class (Sohn et al. 2015, p(z | y), z being v here).

    A place v in latent space has the standardised coordinates z = (v - m_y) / s_y, which are N(0, I) for every class. All
    start at N(0, I) in v too.

    Parameters
    ----------
    latent_dim, classes : int
        L and K.
    """

    def __init__(self, latent_dim: int, classes: int):
        super().__init__()
        self.latent_dim = latent_dim
        self.mean = nn.Parameter(torch.zeros(classes, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(classes, latent_dim))

    def standardise(self, mean: Tensor, log_variance: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of a place, each ``(N, L)``, in the coordinates of its class."""
        log_scale = y @ self.log_scale
        return (mean - y @ self.mean) * (-log_scale).exp(), log_variance - 2 * log_scale

    def forward(self, latents: Tensor) -> Tensor:
        """Standardised latents beside classes to places beside classes, ``(N, L + K)``."""
        z, y = latents[:, : self.latent_dim], latents[:, self.latent_dim :]
        return torch.cat([y @ self.mean + (y @ self.log_scale).exp() * z, y], 1)
