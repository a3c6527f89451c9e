"""Hand a model to other programs: torch.export and ONNX, with a free batch size."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import __version__
from .errors import CapabilityError, UsageError, visible
from .files import claim, filling, sha256_of, write_arrays, write_atomic, write_json
from .fitted import FittedModel, copy_of
from .game import Model

FORMATS = ("torch", "onnx")
RECORD = "export.json"  # of what was written, so that the folder is known as ours


RUNNER = '''"""This model with NumPy and ONNX Runtime alone: ``python run.py`` decodes the latents in run.npz."""

from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).parent
given = np.load(here / "run.npz")
(x,) = onnxruntime.InferenceSession(here / "decode.onnx").run(None, {"input": given["latents"]})
values = x * given["scale"] + given["offset"]  # images from 0 to 255, or columns in their own units
print("decoded", *values.shape, "from", values.min(), "to", values.max())
if (here / "encode.onnx").exists():
    (codes,) = onnxruntime.InferenceSession(here / "encode.onnx").run(None, {"input": x})
    print("encoded", *codes.shape)
'''
DRAWS = 16  # latents for it


class _Part(nn.Module):
    """One method of a model as a network."""

    def __init__(self, model: Model, method: str):
        super().__init__()
        self.model = model
        self.method = method

    def forward(self, inputs: Tensor) -> Tensor:
        return getattr(self.model, self.method)(inputs)


def export(fitted: FittedModel, folder: Path, formats: tuple[str, ...] = FORMATS) -> list[Path]:
    """Write ``decode`` (latents to normalised data) and, where there is one, ``encode`` (normalised data to latents).

    Images are normalised to [-1, 1], rows to zero mean and unit variance by column. With ONNX comes
    ``run.py``, which needs NumPy and ONNX Runtime alone, and ``run.npz``: draws of the prior, and the
    scale and offset back to the data's units.

    Parameters
    ----------
    fitted : FittedModel
    folder : Path
    formats : tuple of str
        Of "torch" (``.pt2``) and "onnx" (needs the extra ``onnx``).

    Returns
    -------
    list of Path

    Raises
    ------
    UsageError
        For an unknown format, or ONNX without its packages.
    CapabilityError
        Where the model neither decodes nor encodes, or does so in a way that cannot be written down as a program.
    """
    unknown = set(formats) - set(FORMATS)
    if unknown:
        raise UsageError(f"format '{unknown.pop()}' is unknown: {', '.join(FORMATS)}.")
    if "onnx" in formats:
        _require_onnx()
    claim(folder, RECORD, "export")
    model = copy_of(fitted.model).requires_grad_(False)  # the one that serves stays where it is
    can = fitted.capabilities()
    x = torch.zeros(2, *fitted.spec.shape)
    samples = can["sample"] is None
    parts = {"encode": x} if can["encode"] is None else {}
    if type(model).decode is not Model.decode and (samples or parts):
        z = fitted.latents(1) if samples else model.encode(x)
        parts = {"decode": torch.zeros(2, z.shape[1]), **parts}
    if not parts:
        raise CapabilityError(f"{fitted.name} has nothing to export: it neither decodes nor encodes.")
    with filling(folder, RECORD) as new:
        names = [
            name for method, example in parts.items() for name in _write(fitted, model, method, example, formats, new)
        ]
        if "onnx" in formats and "decode" in parts:
            latents = fitted.latents(DRAWS) if samples else np.zeros((DRAWS, z.shape[1]), np.float32)
            scale, offset = fitted.kind.units(fitted.spec)
            write_arrays(new / "run.npz", latents=latents, scale=scale, offset=offset)
            write_atomic(new / "run.py", RUNNER.encode())
            names += ["run.npz", "run.py"]
        files = {path.name: sha256_of(path) for path in sorted(new.iterdir())}
        write_json(new / RECORD, {"format": 1, "genarena": __version__, "model": fitted.name, "files": files})
    return [folder / name for name in names]


def _write(
    fitted: FittedModel, model: Model, method: str, example: Tensor, formats: tuple[str, ...], folder: Path
) -> list[str]:
    """One method's networks; the names of their files."""
    network = _Part(model, method).eval()
    batch = {0: torch.export.Dim("batch", min=1)}
    with _explained(fitted, method):
        program = torch.export.export(network, (example,), dynamic_shapes=(batch,))
    for node in program.graph.nodes:  # which say where on this machine the source of each lies
        node.meta.pop("stack_trace", None)
    names = []
    if "torch" in formats:
        content = io.BytesIO()  # its own writer hides what a disk refuses
        torch.export.save(program, content)
        write_atomic(folder / f"{method}.pt2", content.getvalue())
        names.append(f"{method}.pt2")
    if "onnx" in formats:
        with _explained(fitted, method):
            names.append(_onnx(network, example, batch, folder / f"{method}.onnx").name)
    return names


@contextmanager
def _explained(fitted: FittedModel, method: str) -> Iterator[None]:
    """Say in a line what cannot be exported, whatever the exporter raises for it."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CapabilityError(
            f"{fitted.name} cannot be exported: its {method}() is no program for batches of any size ({visible(why[:200])}). "
            "Ask for sizes with x.shape[0], and branch on no values."
        ) from error


def _require_onnx() -> None:
    try:
        import onnxscript  # noqa: F401
    except (ImportError, RuntimeError):
        raise UsageError(
            "ONNX export needs two more packages: pip install 'genarena[onnx]'; or leave it out, --format torch."
        ) from None


def _onnx(network: nn.Module, example: Tensor, batch: dict, path: Path) -> Path:
    with warnings.catch_warnings():
        # The exporter warns of its own internals, and of torchvision, which is not needed.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=(batch,),
            input_names=["input"],
            output_names=["output"],
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():  # as above
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    program.save(path)
    return path
