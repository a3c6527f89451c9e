"""The settings every default network has, whatever the kind of data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class NetworkConfig(BaseModel):
    """Architecture of encoder, decoder and discriminator.

    Attributes
    ----------
    architecture : {"auto", "conv", "mlp"}
        ``auto`` is ``conv`` for images and ``mlp`` for vectors.
    width : int, optional
        Channels next to the image (default 32), or units of a hidden layer (default 256).
    depth : int
        Hidden layers of an MLP; a convolutional net has as many as the image size asks for.
    decoder_norm : {"batch", "none"}
        None by default: one network has to serve every principle. Batch norm makes a GAN's images better, but a VAE's
        samples much worse (its statistics are those of posterior samples), and loses most modes of a grid of points.
    encoder_norm : {"batch", "none", "spectral"}
    discriminator_norm : {"batch", "none", "spectral"}
    discriminator_minibatch : {"none", "stddev", "discrimination"}
        What the discriminator is told of the rest of the batch, against mode collapse: how much groups of four examples differ
        (Karras et al. 2018), or how close each is to all others (Salimans et al. 2016). A trained one is told what it is
        usually told, so that its judgement of an example is the example's own.
    activation : str
        Of encoder and decoder. Discriminators use leaky ReLU with slope 0.2 (Radford et al. 2016).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["auto", "conv", "mlp"] = "auto"
    width: int | None = Field(default=None, ge=1, le=4096)
    depth: int = Field(default=3, ge=1, le=32)
    decoder_norm: Literal["batch", "none"] = "none"
    encoder_norm: Literal["batch", "none", "spectral"] = "none"
    discriminator_norm: Literal["batch", "none", "spectral"] = "none"
    discriminator_minibatch: Literal["none", "stddev", "discrimination"] = "none"
    activation: Literal["relu", "leaky-relu", "tanh", "silu"] = "relu"
