"""A user's own network as a feature space: its class in a Python file, its weights in a safetensors file.

    class Net(torch.nn.Module):
        def __init__(self, spec): ...   # an ImageSpec or VectorSpec
        def features(self, x): ...      # (N, C, H, W) in [-1, 1], or standardised rows (N, D) -> (N, F)
        def forward(self, x): ...       # optional, of a classifier: logits (N, K) for an Inception Score of its own

The text of the file is kept with the evaluator, as ``<space>.py`` beside its tensors, and is a part of its hash. It is run
again only where the user consents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.fields import ImageSpec, VectorSpec
from ..errors import RunError, UsageError, one_line
from ..files import open_tensors, sha256_of
from ..machine import own_generators
from ..own_code import OwnCode, Trust, split_source

KIND = "own"
USER = "user"  # the name of the space: the only one that may bring code
_MOST_NAMED = 3


@dataclass(frozen=True)
class OwnNet:
    """A network class, and the text of its file."""

    source: OwnCode
    class_name: str

    @classmethod
    def of(cls, source: str) -> OwnNet:
        """From ``file.py:Class``."""
        path, class_name = split_source(source, "network")
        return cls(OwnCode.read(path, "network"), class_name)

    @classmethod
    def from_json(cls, record: dict[str, Any], path: Path, trust: Trust) -> OwnNet:
        """The network of a saved space, whose code lies at `path`.

        Raises
        ------
        RunError
            Without `trust`, or where the code is not the one that was saved.
        """
        source = OwnCode.read(path, "network")
        source.require(trust, f"--features-net {path}:{str(record['class'])[:80]}")
        if source.text != record["code"]:
            raise RunError(f"'{path}' is not the code that this feature space was made with.")
        return cls(source, str(record["class"]))

    def to_json(self) -> dict[str, Any]:
        return {"kind": KIND, "class": self.class_name, "code": self.source.text}

    def build(self, spec: ImageSpec | VectorSpec) -> nn.Module:
        """The network, in eval mode, without gradients.

        Raises
        ------
        UsageError
            Where it cannot be built or has no ``features``.
        """
        network_class = self.source.load(self.class_name, nn.Module, "network")
        if not callable(getattr(network_class, "features", None)):
            raise UsageError(f"network class '{self.class_name}' in '{self.source.path}' has no method features(x).")
        try:
            return network_class(spec).eval().requires_grad_(False)
        except (Exception, SystemExit) as error:
            raise self._failed("cannot be built for these data", error) from error

    def load(self, weights: Path, spec: ImageSpec | VectorSpec) -> nn.Module:
        """The network with weights from a safetensors file, tried on a few inputs.

        Raises
        ------
        UsageError
            Where names or shapes are others than the network's, a weight is not finite, or what the network gives is not
            one row of features an example, the same each time.
        """
        with own_generators(0):
            net = self.build(spec)
        state = net.state_dict()
        try:
            with open_tensors(weights) as file:
                names = set(file.keys())
                missing, unknown = sorted(set(state) - names), sorted(names - set(state))
                if missing or unknown:
                    raise UsageError(
                        f"'{weights}' does not hold the weights of {self.class_name}: "
                        f"missing {_some(missing)}, without a place {_some(unknown)}."
                    )
                for name, tensor in state.items():
                    shape = file.get_slice(name).get_shape()
                    if shape != list(tensor.shape):
                        raise UsageError(f"'{weights}': {name} has shape {shape} instead of {list(tensor.shape)}.")
                    tensor.copy_(file.get_tensor(name))
                    if not tensor.isfinite().all():
                        raise UsageError(f"'{weights}': {name} holds values that are not finite.")
        except (ValueError, OSError) as error:
            raise UsageError(f"'{weights}' is not a safetensors file ({error}).") from error
        self._try(net, spec)
        return net

    def _try(self, net: Any, spec: ImageSpec | VectorSpec) -> None:
        x = torch.randn(3, *spec.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
        try:
            with torch.inference_mode():
                first, again = net.features(x), net.features(x)
        except (Exception, SystemExit) as error:
            raise self._failed(f"fails on a batch of shape {tuple(x.shape)}", error) from error
        if not isinstance(first, torch.Tensor) or first.ndim != 2 or len(first) != len(x):
            found = tuple(first.shape) if isinstance(first, torch.Tensor) else type(first).__name__
            raise UsageError(f"{self.class_name}.features gives {found} for {len(x)} examples, and not ({len(x)}, F).")
        if not first.isfinite().all():
            raise UsageError(f"{self.class_name}.features gives values that are not finite.")
        if not torch.equal(first, again):
            raise UsageError(f"{self.class_name}.features gives other values for the same input each time: no judge.")

    def _failed(self, what: str, error: BaseException) -> UsageError:
        return UsageError(
            f"network class '{self.class_name}' in '{self.source.path}' {what}: {type(error).__name__}: {one_line(error)}."
        )


def agreed(features_net: str | None) -> Trust:
    """Consent to the text of the file that the user names, wherever a copy of it lies."""
    return OwnNet.of(features_net).source.sha256 if features_net else False


def require_consent(evaluator: Path, trust: Trust) -> None:
    """Raise the `RunError` of an evaluator's folder that brings code which `trust` does not allow; nothing is run."""
    path = evaluator / f"{USER}.py"
    if path.exists():
        OwnCode.read(path, "network").require(trust, f"--features-net {path}:CLASS")


def identity(features: Path, features_net: str | None) -> dict[str, str | None]:
    """What tells the feature space that a user asked for from any other: hashes of weights and code, and the class."""
    if not features.is_file():
        raise UsageError(f"'{features}' is not a file.")
    net = OwnNet.of(features_net) if features_net else None
    return {
        "weights": sha256_of(features),
        "class": net.class_name if net else None,
        "code": net.source.sha256 if net else None,
    }


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(repr(name[:80]) for name in names[:_MOST_NAMED]) + more if names else "nothing"
