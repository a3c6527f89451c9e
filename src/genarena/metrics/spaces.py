"""Feature spaces: where examples are compared. Networks, an affine projection, and how to save both.

A space maps stored values to float64 features of few dimensions. The file is safetensors with a JSON record in its
header; a file may come from anyone, so its record only chooses among the networks of `genarena.nets.features`, at sizes
with bounds, and every tensor's shape is checked before it is read. A network of the user's own (`own`) is built where the
caller trusts its code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..data.fields import ImageSpec, VectorSpec
from ..errors import UsageError
from ..files import LARGEST_FILE, open_tensors, parse_json, write_atomic
from ..machine import own_generators
from ..nets.features import ClassifierNet, Pixels, RandomConvFeatures, RandomMLPFeatures, VectorClassifierNet
from ..own_code import Trust
from . import own
from .own import OwnNet

FORMAT = 1
TargetSpec = ImageSpec | VectorSpec
_BATCH = 256
_MAX_BYTES = 256 * 2**20
_MAX_SETTING = {"seed": 2**62, "dim": 4096, "classes": 4096, "width": 1024}
_MAX_NETS = 16
NETS: dict[str, Callable[..., nn.Module]] = {
    "pixels": Pixels,
    "random-conv": RandomConvFeatures,
    "random-mlp": RandomMLPFeatures,
    "conv-classifier": ClassifierNet,
    "mlp-classifier": VectorClassifierNet,
}


@dataclass(frozen=True)
class NetRecord:
    """Which network, and the whole numbers it is built with."""

    kind: str
    settings: dict[str, int]

    @classmethod
    def random(cls, spec: TargetSpec, seed: int, dim: int) -> NetRecord:
        """The random network for data of `spec`."""
        return cls("random-conv" if isinstance(spec, ImageSpec) else "random-mlp", {"seed": seed, "dim": dim})

    def build(self, spec: TargetSpec) -> nn.Module:
        return NETS[self.kind](spec, **self.settings).eval().requires_grad_(False)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "settings": self.settings}


class FeatureSpace:
    """A frozen map from stored values to features: networks side by side, then a projection.

    Attributes
    ----------
    id : str
        "random-conv", "random-mlp", "classifier", "pca" or "user".
    spec : ImageSpec or VectorSpec
    dim : int
        Number of features, fitted to the number of examples compared.
    trained_on, detail : str
        Which data the networks learnt from, and what else a reader should know.
    """

    def __init__(
        self,
        id: str,
        spec: TargetSpec,
        records: Sequence[NetRecord | OwnNet],
        nets: Sequence[nn.Module],
        mean: np.ndarray,
        components: np.ndarray,
        *,
        trained_on: str,
        detail: str,
    ):
        self.id = id
        self.spec = spec
        self.records = list(records)
        self.nets = list(nets)
        self.mean = mean
        self.components = components
        self.trained_on = trained_on
        self.detail = detail

    @property
    def dim(self) -> int:
        return self.components.shape[1]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Features ``(N, dim)``, float64, of stored values ``(N, ...)``."""
        with np.errstate(all="ignore"):  # samples out of range have features that are not finite, and are reported
            return (network_features(self.nets, self.spec, values) - self.mean) @ self.components

    @property
    def classifies(self) -> bool:
        """Whether its one network is a classifier, whose ``forward`` gives logits."""
        return len(self.nets) == 1 and type(self.nets[0]).forward is not nn.Module.forward

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Predicted class probabilities ``(N, K)``, float64; only of a space that `classifies`."""
        with torch.inference_mode():
            predictions = [self.nets[0](x).double().softmax(1) for x in _batches(self.spec, values)]
        return torch.cat(predictions).numpy() if predictions else np.empty((0, 1))

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {
            f"net{i}.{k}": v.contiguous() for i, net in enumerate(self.nets) for k, v in net.state_dict().items()
        }
        return tensors | {"mean": torch.from_numpy(self.mean), "components": torch.from_numpy(self.components)}

    def _record(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.id,
            "input": _input_record(self.spec),
            "nets": [record.to_json() for record in self.records],
            "trained_on": self.trained_on,
            "detail": self.detail,
        }

    @property
    def definition(self) -> dict[str, Any]:
        """What it was made from: its networks without their weights, for data of which shape."""
        record = self._record()
        return {name: record[name] for name in ("format", "id", "input", "nets", "trained_on")}

    @property
    def sha256(self) -> str:
        """Over the record, the networks and the projection."""
        digest = hashlib.sha256(json.dumps(self._record(), sort_keys=True).encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write one safetensors file; beside it, as ``.py``, the code of a network of the user's own."""
        for record in self.records:
            if isinstance(record, OwnNet):
                write_atomic(path.with_suffix(".py"), record.source.text.encode())
        tensors = {
            name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in self._tensors().items()
        }
        write_atomic(path, save(tensors, metadata={"genarena": json.dumps(self._record(), sort_keys=True)}))

    @classmethod
    def load(cls, path: Path, spec: TargetSpec, *, trust: Trust = False) -> FeatureSpace:
        """Read a file that `save` wrote, for data of ``spec``.

        Parameters
        ----------
        path : pathlib.Path
        spec : ImageSpec or VectorSpec
        trust : bool or str
            Run Python code that came with the file (a network of somebody's own).

        Raises
        ------
        UsageError
            Where the file is missing, too large, no genarena feature space, or made for other data.
        RunError
            Where it brings code without `trust`.
        """
        if not path.is_file():
            raise UsageError(
                f"'{path}' is not a file; a feature space is the .safetensors file of an evaluator folder."
            )
        try:
            with open_tensors(path, LARGEST_FILE if trust else _MAX_BYTES) as file:
                record = parse_json((file.metadata() or {})["genarena"])
                records = _checked_nets(record, spec, path.with_suffix(".py"), trust)
                if not any(isinstance(r, OwnNet) for r in records):
                    with torch.device("meta"):  # the networks are made once the file is known to hold their weights
                        _check_shapes(file, [r.build(spec) for r in records])
                with own_generators(0):  # layers draw initial weights, which are replaced below
                    nets = [r.build(spec) for r in records]
                tensors = _checked_tensors(file, nets)
            for index, net in enumerate(nets):
                net.load_state_dict({k: tensors[f"net{index}.{k}"] for k in net.state_dict()})
            mean, components = tensors["mean"].numpy(), tensors["components"].numpy()
            return cls(
                str(record["id"])[:40],
                spec,
                records,
                nets,
                mean,
                components,
                trained_on=str(record["trained_on"])[:400],
                detail=str(record["detail"])[:400],
            )
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"'{path}' is not a feature space for these data ({error}); give a .safetensors file of an evaluator "
                "folder that genarena wrote."
            ) from error


def network_features(nets: Sequence[nn.Module], spec: TargetSpec, values: np.ndarray) -> np.ndarray:
    """The networks' features of stored values, side by side: ``(N, F)``, float64."""
    with torch.inference_mode():
        blocks = [torch.cat([_features(net, x) for net in nets], 1) for x in _batches(spec, values)]
    return torch.cat(blocks).double().numpy() if blocks else np.empty((0, 0))


def _features(net: Any, x: Tensor) -> Tensor:
    return net.features(x)


def normalise(values: np.ndarray, spec: TargetSpec) -> Tensor:
    """Stored values as networks see them: images in [-1, 1], rows standardised; float32."""
    if isinstance(spec, ImageSpec):
        return torch.from_numpy(np.asarray(values, dtype=np.float32)) * (2 / (spec.levels - 1)) - 1
    standard = (np.asarray(values, dtype=np.float64) - np.asarray(spec.mean)) / np.asarray(spec.scale)
    with np.errstate(over="ignore"):  # a sample beyond float32 has infinite features, and is reported as such
        return torch.from_numpy(standard.astype(np.float32))


def _batches(spec: TargetSpec, values: np.ndarray) -> Iterator[Tensor]:
    return (normalise(values[i : i + _BATCH], spec) for i in range(0, len(values), _BATCH))


def _input_record(spec: TargetSpec) -> dict[str, Any]:
    return {"kind": "image" if isinstance(spec, ImageSpec) else "vector", "shape": list(spec.shape)}


def _checked_nets(record: dict[str, Any], spec: TargetSpec, code: Path, trust: Trust) -> Sequence[NetRecord | OwnNet]:
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']!r}, this version reads {FORMAT}")
    if record["input"] != _input_record(spec):
        raise ValueError(f"it was made for {record['input']}, the data are {_input_record(spec)}")
    if [net["kind"] for net in record["nets"]] == [own.KIND]:
        return [OwnNet.from_json(record["nets"][0], code, trust)]
    image = isinstance(spec, ImageSpec)
    if not 1 <= len(record["nets"]) <= _MAX_NETS:
        raise ValueError(f"it lists {len(record['nets'])} networks")
    known = {"pixels", *(("random-conv", "conv-classifier") if image else ("random-mlp", "mlp-classifier"))}
    for net in record["nets"]:
        if net["kind"] not in known:
            raise ValueError(f"network {net['kind']!r} does not take such data")
        for name, value in net["settings"].items():
            if type(value) is not int or not 0 <= value <= _MAX_SETTING.get(name, -1):
                raise ValueError(f"network setting {name} is {value!r}")
    return [NetRecord(net["kind"], dict(net["settings"])) for net in record["nets"]]


def _states(nets: Sequence[nn.Module]) -> dict[str, Tensor]:
    return {f"net{i}.{k}": v for i, net in enumerate(nets) for k, v in net.state_dict().items()}


def _check_shapes(file: Any, nets: Sequence[nn.Module]) -> None:
    """Raise `ValueError` unless the file holds tensors of the names and shapes of the networks and of a projection."""
    states = _states(nets)
    if set(file.keys()) != set(states) | {"mean", "components"}:
        raise ValueError("its tensors are not those of its networks")
    shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a mapping
    for name, state in states.items():
        if shapes[name] != list(state.shape):
            raise ValueError(f"tensor {name} has shape {shapes[name]} instead of {list(state.shape)}")
    if len(shapes["mean"]) != 1 or len(shapes["components"]) != 2 or shapes["components"][0] != shapes["mean"][0]:
        raise ValueError("its projection has no valid shape")


def _checked_tensors(file: Any, nets: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The file's tensors, once names, shapes and types are known to be those of the networks and the projection."""
    _check_shapes(file, nets)
    states = _states(nets)
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    for name, tensor in tensors.items():
        dtype = states[name].dtype if name in states else torch.float64
        if tensor.dtype != dtype or not tensor.isfinite().all():
            raise ValueError(f"tensor {name} is not finite or of another type")
    return tensors
