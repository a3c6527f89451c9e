"""Learning principles. One row a model; `README.md` beside this file says how to add one."""

from __future__ import annotations

from ..errors import UsageError, did_you_mean
from ..game import Model
from ..own_code import load_class, split_source
from .autoencoder import Autoencoder
from .biggan import BigGAN
from .cgan import ConditionalGAN
from .cvae import ConditionalVAE
from .cvaegan import ConditionalVAEGAN
from .dcgan import DCGAN
from .gan import GAN
from .pca import PCA
from .stylegan import StyleGAN
from .vae import VAE
from .vaegan import VAEGAN

MODELS: dict[str, type[Model]] = {
    "pca": PCA,
    "autoencoder": Autoencoder,
    "vae": VAE,
    "gan": GAN,
    "dcgan": DCGAN,
    "vaegan": VAEGAN,
    "cvae": ConditionalVAE,
    "cgan": ConditionalGAN,
    "cvaegan": ConditionalVAEGAN,
    "biggan": BigGAN,
    "stylegan": StyleGAN,
}


def find_model(name: str) -> type[Model]:
    """The model of a name in the table, or the class of ``path/to/file.py:Class``.

    Raises
    ------
    UsageError
        For an unknown name, a file that cannot be imported, or a class that is no model.
    """
    if name in MODELS:
        return MODELS[name]
    if ".py:" not in name:
        raise UsageError(f"there is no model '{name}'.{did_you_mean(name, MODELS)} Your own: file.py:Class.")
    return load_class(*split_source(name, "model"), Model, "model")


__all__ = ["MODELS", "find_model"]
