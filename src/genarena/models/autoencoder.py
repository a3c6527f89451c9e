"""The plain autoencoder: a bottleneck and a squared error.

Encoder and decoder are trained to give back their input through a code of `latent_dim` numbers (Rumelhart et al. 1986;
Hinton & Salakhutdinov 2006). It is for dimension reduction, reconstruction and anomaly detection, and it is the control
for everything the VAE claims: nothing shapes its latent space, so there is no distribution to draw new samples from.
We train end to end without layer-wise pre-training, which modern optimizers made unnecessary.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from ..data import Batch, Schema
from ..game import AdamConfig, AdamGame, Capability, Draw, OnePlayerGame
from ..kinds import NetworkConfig, kind_of


class Autoencoder(AdamGame, OnePlayerGame):
    """Encoder and decoder under a squared error."""

    class Config(AdamConfig):
        """Settings.

        Attributes
        ----------
        latent_dim : int, optional
            Numbers of the code; by default a size that fits the data.
        network : NetworkConfig
        """

        latent_dim: int | None = Field(default=None, ge=1, le=65536)
        network: NetworkConfig = NetworkConfig()

    title = "Autoencoder"
    summary = "squeezes data through a small code and back; no way to draw new samples"
    players: ClassVar = {"autoencoder": ("encoder", "decoder")}
    sampler = "decoder"

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        self.kind = kind_of(schema.target)
        latent_dim = config.latent_dim or self.kind.default_latent_dim(schema.target)
        self.encoder = self.kind.encoder(schema.target, latent_dim, config.network)
        self.decoder = self.kind.decoder(schema.target, latent_dim, config.network)

    def loss(self, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        error = (self.reconstruct(batch.x) - batch.x).flatten(1).square()
        return error.sum(1).mean(), {"mse": error.mean()}

    def capabilities(self) -> dict[Capability, str | None]:
        no_prior = "no prior: nothing says how its codes are distributed"
        return {
            "sample": no_prior,
            "condition": no_prior,
            "encode": None,
            "reconstruct": None,
            "log_prob": "no likelihood: it minimises an error",
            "anomaly_score": None,
        }

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.kind.squash(self.decoder(z))

    def anomaly_score(self, x: Tensor) -> Tensor:
        """Squared reconstruction error, summed over values."""
        return (self.reconstruct(x) - x).flatten(1).square().sum(1)
