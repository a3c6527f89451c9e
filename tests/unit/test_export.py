"""Exported networks give what the model gives, at any batch size."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import genarena
from genarena.data import Dataset
from genarena.errors import UsageError
from genarena.export import export
from genarena.fit import fit, plan
from genarena.fitted import FittedModel

# The exporter's own calls are deprecated ones; what it writes is what counts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
CASES = [("vae", "images"), ("pca", "images"), ("vaegan", "vectors"), ("cvae", "vectors")]
cases = pytest.mark.parametrize(("model", "kind"), CASES)


@pytest.fixture(scope="module")
def fitted_of(
    images: Dataset, vectors: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], FittedModel]:
    def make(model: str, kind: str) -> FittedModel:
        settings = {"latent_dim": 3} if model == "pca" else {"latent_dim": 3, "batch_size": 16, "network": {"width": 8}}
        dataset = images if kind == "images" else vectors
        decided = plan(model, dataset, budget="160 images", settings=settings, device="cpu")
        return fit(decided, tmp_path_factory.mktemp(model), threads=1, pictures=False)

    return make


def expected(fitted: FittedModel, method: str, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs of a method and what the model makes of them."""
    shape = (3 + fitted.model.classes,) if method == "decode" else fitted.spec.shape
    inputs = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(rows))
    with torch.inference_mode():
        return inputs, getattr(fitted.model, method)(inputs)


def methods(fitted: FittedModel) -> list[str]:
    return ["decode", *(["encode"] if fitted.capabilities()["encode"] is None else [])]


@cases
def test_torch_programs_equal_the_model(
    model: str, kind: str, fitted_of: Callable[[str, str], FittedModel], tmp_path: Path
) -> None:
    fitted = fitted_of(model, kind)
    written = export(fitted, tmp_path / "out", ("torch",))
    assert written == [tmp_path / "out" / f"{method}.pt2" for method in methods(fitted)]
    for path in written:
        network = torch.export.load(io.BytesIO(path.read_bytes())).module()
        for rows in (1, 5):
            inputs, outputs = expected(fitted, path.stem, rows)
            found = network(inputs)
            assert not found.requires_grad
            torch.testing.assert_close(found, outputs, rtol=1e-5, atol=1e-5)


@cases
def test_onnx_files_equal_the_model(
    model: str, kind: str, fitted_of: Callable[[str, str], FittedModel], tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="ONNX export is an extra")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX export is an extra")
    fitted = fitted_of(model, kind)
    written = export(fitted, tmp_path, ("onnx",))
    networks = [f"{method}.onnx" for method in methods(fitted)]
    assert [path.name for path in written] == [*networks, "run.npz", "run.py"]
    for path in written[: len(networks)]:
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for rows in (1, 5):
            inputs, outputs = expected(fitted, path.stem, rows)
            (found,) = session.run(["output"], {"input": inputs.numpy()})
            np.testing.assert_allclose(found, outputs.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_files_say_nothing_of_the_machine(
    form: str, fitted_of: Callable[[str, str], FittedModel], tmp_path: Path
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxscript", reason="ONNX export is an extra")
    places = [str(Path(place.__file__).parent) for place in (genarena, torch)] + [str(Path.home()), str(tmp_path)]
    for path in export(fitted_of("vae", "images"), tmp_path, (form,)):
        contents = [path.read_bytes()]
        if form == "torch":
            with zipfile.ZipFile(path) as archive:
                contents += [archive.read(name) for name in archive.namelist()]
        for place in places:
            assert not any(place.encode() in content for content in contents), place


def test_an_unknown_format_is_named(fitted_of: Callable[[str, str], FittedModel], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="format 'tflite' is unknown: torch, onnx"):
        export(fitted_of("pca", "images"), tmp_path, ("tflite",))


@pytest.mark.parametrize(("model", "kind"), [("vae", "images"), ("vaegan", "vectors"), ("autoencoder", "images")])
def test_the_folder_runs_with_numpy_and_onnx_runtime_alone(
    model: str, kind: str, fitted_of: Callable[[str, str], FittedModel], tmp_path: Path
) -> None:
    fitted = fitted_of(model, kind)
    export(fitted, tmp_path / "out", ("onnx",))
    alone = "import runpy, sys; sys.modules.update(torch=None, genarena=None); runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-c", alone, str(tmp_path / "out" / "run.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"decoded 16 {' '.join(map(str, fitted.spec.shape))} from" in done.stdout
    assert "encoded 16 3" in done.stdout
    given = np.load(tmp_path / "out" / "run.npz", allow_pickle=False)
    low, high = map(float, re.findall(r"from (\S+) to (\S+)", done.stdout)[0])
    values = fitted.decode(given["latents"]).astype(np.float64)
    if kind == "images":
        values = values * 255 / (fitted.spec.levels - 1)
    np.testing.assert_allclose((low, high), (values.min(), values.max()), atol=0.51 if kind == "images" else 1e-3)
