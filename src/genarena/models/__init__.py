"""Learning principles. One row a model; `README.md` beside this file says how to add one."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path

from ..errors import UsageError, did_you_mean
from ..game import Model
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
    path, _, class_name = name.rpartition(":")
    if not path.endswith(".py"):
        raise UsageError(f"there is no model '{name}'.{did_you_mean(name, MODELS)} Your own: file.py:Class.")
    return load_class(Path(path), class_name)


def load_class(path: Path, class_name: str) -> type[Model]:
    """Import a model from a file of the user's. This runs the file."""
    if not path.is_file():
        raise UsageError(f"model file '{path}' does not exist.")
    module_name = f"genarena_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"model file '{path}' is not Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"model file '{path}' failed to import: {type(error).__name__}: {error}.") from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Model)):
        names = [n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, Model)]
        raise UsageError(f"'{path}' has no model class '{class_name}'.{did_you_mean(class_name, names)}")
    return found


__all__ = ["MODELS", "find_model", "load_class"]
