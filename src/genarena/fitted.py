"""A fitted model, ready to use: arrays in the data's own units in and out, evaluation mode, no gradient, reproducible."""

from __future__ import annotations

import base64
import html
import inspect
import io
import unicodedata
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .best import RECORD, WEIGHTS, read_best
from .card import SAMPLES, model_card
from .checkpoint import RunFolder, finite, read_tensors, write_tensors
from .data import Dataset, ImageSpec, Schema
from .data.adapt import labelled_like, open_like
from .errors import CapabilityError, DataError, RunError, UsageError, one_of, whole
from .files import claim, filling, remove, sha256_of, write_atomic, write_json
from .game import Capability, Model
from .kinds import kind_of, on_device
from .machine import own_generators
from .models import MODELS
from .own_code import OwnCode, Trust, source_of

BATCH = 500
CALIBRATION = "calibration.safetensors"
_LARGEST_CALIBRATION = 2**20  # bytes; training keeps the scores of some thousands


def build(model_class: type[Model], config: Any, schema: Schema, seed: int) -> Model:
    """A freshly initialised model: a pure function of its arguments."""
    with own_generators(seed):
        return model_class(config, schema)


def copy_of(model: Model) -> Any:
    """Another model of the same weights, in evaluation mode on the CPU."""
    copied = build(type(model), model.config, model.schema, 0)
    copied.load_state_dict(model.state_dict())
    return copied.eval()


class FittedModel:
    """What training hands over.

    Arrays are *stored values*: for images uint8 codes ``(N, C, H, W)`` from 0 to ``levels - 1`` (0 to 255 unless the data have
    fewer levels), for vectors float64 rows ``(N, D)`` in the data's units.

    Attributes
    ----------
    model : Model
        The network, in evaluation mode.
    record : dict
        What ``config.json`` holds.
    calibration : numpy.ndarray or None
        Anomaly scores of the held-out examples (val split) of the data it was trained on, ``(N,)``.
    """

    def __init__(self, model: Model, record: dict[str, Any], device: torch.device | str = "cpu"):
        self.model = model.to(device).eval().requires_grad_(False)
        self.record = record
        self.schema = model.schema
        self.spec: Any = model.schema.target
        self.kind = kind_of(self.spec)
        self.device = torch.device(device)
        self.calibration: np.ndarray | None = None

    def __repr__(self) -> str:
        can = ", ".join(name.replace("_", " ") for name, why in self.capabilities().items() if why is None)
        of = " x ".join(map(str, self.spec.shape))
        return f"FittedModel({self.name!r} of {of}, {self.record.get('budget', 'not trained')}; can: {can})"

    def _repr_html_(self) -> str:
        """For notebooks: the same, and samples where there are any."""
        text = f"<p>{html.escape(repr(self))}</p>"
        if self.capabilities()["sample"] is not None:
            return text
        picture = io.BytesIO()
        Image.fromarray(self._gallery()).save(picture, "PNG")
        data = base64.b64encode(picture.getvalue()).decode("ascii")
        return f"{text}<img alt='samples' style='min-width:320px;image-rendering:pixelated' src='data:image/png;base64,{data}'>"

    def _gallery(self) -> np.ndarray:
        """Samples to look at, uint8 ``(H, W, 3)``."""
        return self.kind.picture(self.gallery(self.kind.picture_count(self.spec)), self.spec)

    @property
    def name(self) -> str:
        """The model's name in the table, or its class name."""
        return self.record["model"]

    def capabilities(self) -> dict[Capability, str | None]:
        """Name to None where the model can, or to the reason it cannot."""
        unsaid: dict[Capability, str | None] = dict.fromkeys(get_args(Capability), "it does not say that it can")
        return {**unsaid, "condition": self.model.untold(), **self.model.capabilities()}

    def require(self, capability: Capability) -> None:
        """Raise `CapabilityError` with the reason where the model cannot."""
        reason = self.capabilities()[capability]
        if reason:
            raise CapabilityError(f"{self.name} cannot {capability.replace('_', ' ')}: {reason}.")

    # -- generation --------------------------------------------------------------------------------------------------

    def sample(
        self, n: int, seed: int = 0, *, label: str | int | None = None, truncation: float | None = None
    ) -> np.ndarray:
        """`n` new examples from the model; the first k of them do not depend on n. The arguments are those of `latents`."""
        return self.decode(self.latents(n, seed, label=label, truncation=truncation))

    def gallery(self, n: int, seed: int = 0) -> np.ndarray:
        """`n` samples to look at: those of `sample`, class by class where the model is told any."""
        z, classes = self.latents(n, seed), self.model.classes
        return self.decode(z[np.argsort(z[:, -classes:].argmax(1), kind="stable")] if classes else z)

    def latents(
        self, n: int, seed: int = 0, *, label: str | int | None = None, truncation: float | None = None
    ) -> np.ndarray:
        """`n` draws from the prior, float32 ``(n, L)``; of a conditional model ``(n, L + K)``, the class in the last columns.

        Parameters
        ----------
        n, seed : int
        label : str or int, optional
            The class they are to be of, by name or index; drawn as often as in the data when absent.
        truncation : float, optional
            Stay near the middle of the prior: better examples, fewer kinds. Of Gaussian noise the largest absolute value; of
            a StyleGAN's styles the share of the way from their mean.

        Raises
        ------
        UsageError
            For fewer than one, a class the data do not have, or a truncation that is not positive.
        CapabilityError
            Where the model does not sample, or is not told classes.
        """
        n, seed = whole(n, "n", 1), whole(seed, "seed")
        if truncation is not None and not truncation > 0:
            raise UsageError(f"truncation={truncation:g}: give a positive number; small ones stay near the middle.")
        self.require("sample")
        generator = torch.Generator().manual_seed(seed)
        sizes = [BATCH] * -(-n // BATCH)  # whole batches, so that a longer draw starts with the shorter one
        if truncation is not None and "truncation" not in inspect.signature(self.model.latents).parameters:
            raise CapabilityError(f"{self.name} draws its latents without truncation: leave it out.")
        options = {} if truncation is None else {"truncation": truncation}
        with torch.inference_mode():
            z = torch.cat([self.model.latents(size, generator, **options) for size in sizes])[:n].cpu().numpy()
        if label is not None:
            z = self.with_classes(z, self.class_index(label))
        return z

    def with_classes(self, z: np.ndarray, indices: int | np.ndarray) -> np.ndarray:
        """Latents ``(N, L + K)`` of a conditional model with other classes, by index, beside the same noise."""
        classes = np.eye(self.model.classes, dtype=z.dtype)[np.broadcast_to(indices, len(z))]
        return np.concatenate([z[:, : -self.model.classes], classes], 1)

    def labelled(self, dataset: Dataset) -> Dataset:
        """Data with the class indices that the model was told, by the classes' names; as they are where it was told none.

        Raises
        ------
        DataError
            Where examples are of a class that it was never told.
        """
        return labelled_like(dataset, self.schema.label) if self.model.classes else dataset

    def class_index(self, label: str | int) -> int:
        """The index of a class, by its name or by itself."""
        self.require("condition")
        classes = self.schema.label.classes if self.schema.label else ()
        name = unicodedata.normalize("NFC", str(label))
        found = classes.index(name) if name in classes else int(label) if name.isdecimal() else len(classes)
        if found < len(classes):
            if not self.model.frequencies[found]:
                raise UsageError(
                    f"class '{classes[found]}' was never trained on: the train split has no example of it."
                )
            return found
        shown = ", ".join(classes[:12]) + (", …" if len(classes) > 12 else "")
        raise UsageError(f"there is no class '{label}'; there are {len(classes)}: {shown}.")

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Latents ``(N, L)`` to stored values; of a StyleGAN also ``(N, layers, L)``.

        Raises
        ------
        DataError
            For latents of another width, or not finite.
        """
        z = np.ascontiguousarray(z, np.float32)
        if z.ndim < 2 or z.shape[-1] != self.latent_width:
            raise DataError(f"{self.name} takes latents of shape (N, {self.latent_width}); got {z.shape}.")
        if not np.isfinite(z).all():
            raise DataError("the latents hold values that are not finite.")
        return self._map(torch.from_numpy(z), lambda z: self.model.decode(z.to(self.device)), self._denormalise)

    @cached_property
    def latent_width(self) -> int:
        """Numbers of a latent, those of the class included."""
        if self.capabilities()["sample"] is None:
            return self.latents(1).shape[-1]
        with torch.inference_mode():
            return self.model.encode(torch.zeros(1, *self.spec.shape, device=self.device)).shape[-1]

    # -- new data ----------------------------------------------------------------------------------------------------

    def open(self, source: Any, *, fit: bool = False, **options: Any) -> Dataset:
        """Open data as the model's own: pixel values by the range of its training data, in the shape it takes.

        Its ``values("test")``, or the ``values`` of its target field, are the stored values that all methods take.

        Parameters
        ----------
        source : str, Path, array, (array, labels) or Dataset
            See `open_dataset`.
        fit : bool
            Crop, resize and convert images of another shape; without it they are refused, unless the training data were
            resized too.
        **options
            ``value_range``, ``data_dir``, ``max_bad`` and more, see `open_dataset`.

        Raises
        ------
        DataError
            For data of another kind or shape, or whose pixel values cannot be brought to the model's range.
        """
        return open_like(source, self.spec, fit=fit, **options)

    # -- inference ---------------------------------------------------------------------------------------------------

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Stored values to latents, float32 ``(N, L)``; the posterior mean where there is a posterior."""
        self.require("encode")
        return self._map(self._stored(values), lambda v: self.model.encode(self._normalise(v)))

    def reconstruct(self, values: np.ndarray) -> np.ndarray:
        """Stored values through the bottleneck and back."""
        self.require("reconstruct")
        return self._map(self._stored(values), lambda v: self.model.reconstruct(self._normalise(v)), self._denormalise)

    def anomaly_score(self, values: np.ndarray) -> np.ndarray:
        """Higher is stranger, float32 ``(N,)``; compare scores of one model only."""
        self.require("anomaly_score")
        return self._map(self._stored(values), lambda v: self.model.anomaly_score(self._normalise(v)))

    def p_value(self, scores: np.ndarray) -> np.ndarray:
        """Conformal p-values of anomaly scores, ``(N,)``: how often a normal example scores at least as high.

        (1 + #{held-out scores >= score}) / (1 + #held-out): calling p <= 0.05 strange errs on at most 5 % of normal examples
        (Vovk et al. 2005).

        Raises
        ------
        CapabilityError
            Where no held-out examples were scored when it was trained.
        """
        if self.calibration is None or not len(self.calibration):
            raise CapabilityError(f"{self.name} was trained without held-out examples, so its scores have no p-values.")
        ordered = np.sort(self.calibration)
        above = len(ordered) - np.searchsorted(ordered, scores, side="left")
        return (1 + above) / (1 + len(ordered))

    def log_prob(self, values: np.ndarray, samples: int = 100, seed: int = 0) -> np.ndarray:
        """log p(x) in nats, float32 ``(N,)``: probability of codes for images, density in data units for vectors.

        Parameters
        ----------
        values : numpy.ndarray
        samples : int
            K of the importance-weighted bound where the model has no exact likelihood; K = 1 is the ELBO.
        seed : int
            Of the posterior and dequantisation noise.
        """
        self.require("log_prob")
        samples, seed = whole(samples, "samples", 1), whole(seed, "seed")
        generator = torch.Generator().manual_seed(seed)
        return self._map(
            self._stored(values), lambda v: self.model.log_prob(self._normalise(v), samples, generator), batch=100
        )

    def interpolate(self, start: np.ndarray, end: np.ndarray, steps: int = 9, *, spherical: bool = False) -> np.ndarray:
        """Decoded points on the way between latents, stored values ``(N, steps, *shape)``.

        Parameters
        ----------
        start, end : numpy.ndarray
            Latents ``(N, L)``, from `latents` or `encode`.
        steps : int
            Points, both ends included.
        spherical : bool
            Along an arc, for draws from a Gaussian prior: in many dimensions the straight line between two draws crosses
            a middle where the prior has no mass.

        Raises
        ------
        UsageError
            For fewer than two points, or no latents.
        """
        steps = whole(steps, "steps", 2)
        if not len(start):
            raise UsageError("there are no latents to start from: give at least one way.")
        t = np.linspace(0, 1, steps, dtype=np.float32)[None, :, None]
        a, b = start[:, None], end[:, None]
        path = (1 - t) * a + t * b
        if spherical:
            noise = slice(0, path.shape[-1] - self.model.classes)  # classes mix in a straight line
            path[..., noise] = slerp(a[..., noise], b[..., noise], t)
        flat = self.decode(path.reshape(-1, path.shape[-1]))
        return flat.reshape(len(start), steps, *flat.shape[1:])

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies and other processes (scikit-learn's): a model is built again from its record and its weights."""
        weights = {name: tensor.cpu().numpy() for name, tensor in self.model.state_dict().items()}
        return _rebuild, (type(self.model), self.record, weights, str(self.device), self.calibration)

    # -- files -------------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, *, license: str = "other") -> Path:
        """Write ``config.json``, ``model.safetensors`` and a model card with samples; returns the folder.

        Parameters
        ----------
        folder : str or Path
        license : str
            What others may do with the weights, as an identifier the hub knows: it depends on the data, so nobody else can say.

        Raises
        ------
        RunError
            Where the folder holds anything else than a saved model, or a card that somebody has written on.
        StorageError
            Where it cannot be written.
        """
        folder = Path(folder)
        claim(folder, "config.json", "saved model")
        card = folder / "README.md"
        if (folder / "config.json").exists():
            before = RunFolder(folder).read_config()
            if "sha256" not in before:
                raise RunError(f"'{folder}' holds a run: choose an empty folder.")
            if card.exists() and before.get("card") != sha256_of(card):
                raise RunError(
                    f"'{card}' is no longer the one that was written: move it away, or choose another folder."
                )
        can = self.capabilities()
        with filling(folder, "config.json") as new:
            write_tensors(new / "model.safetensors", self.model.state_dict())
            digests = {"sha256": sha256_of(new / "model.safetensors"), "calibration": None}
            if self.calibration is not None:
                write_tensors(new / CALIBRATION, {"anomaly_score": torch.from_numpy(self.calibration)})
                digests["calibration"] = sha256_of(new / CALIBRATION)
            if self.record.get("code") is not None:
                write_atomic(new / "model.py", self.record["code"].encode())
            if can["sample"] is None:
                Image.fromarray(self._gallery()).save(new / SAMPLES)
            write_atomic(new / card.name, model_card(self.model, self.record, can, license).encode())
            digests["card"] = sha256_of(new / card.name)
            write_json(new / "config.json", {**self.record, **digests})
        if self.calibration is None:
            remove(folder / CALIBRATION)  # of a model that was saved here before
        return folder

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, trust: Trust = False, checkpoint: str = "last", device: torch.device | str = "cpu"
    ) -> FittedModel:
        """Load a saved model from a folder, or from the Hugging Face hub by its id; see `load_model`."""
        if not Path(source).is_dir():
            source = _download(str(source))
        return load_model(Path(source), trust=trust, checkpoint=checkpoint, device=device)

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Upload to the Hugging Face hub; returns the address. `options` go to `create_repo`, ``license`` to the card."""
        import tempfile

        from huggingface_hub import HfApi

        license = options.pop("license", "other")
        api = HfApi()
        repository = api.create_repo(repository, exist_ok=True, **options).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, license=license)
            return str(api.upload_folder(repo_id=repository, folder_path=folder))

    # -- between arrays and tensors ----------------------------------------------------------------------------------

    def _stored(self, values: np.ndarray) -> Tensor:
        """Check that values are as stored, and make a tensor of them."""
        values = np.asarray(values)
        if values.ndim < 2 or values.shape[1:] != self.spec.shape:
            raise DataError(f"{self.name} takes arrays of shape (N, {_shape(self.spec)}); got {values.shape}.")
        if isinstance(self.spec, ImageSpec):
            if values.dtype != np.uint8 or (values.size and values.max() >= self.spec.levels):
                raise DataError(
                    f"{self.name} takes uint8 codes from 0 to {self.spec.levels - 1}; got {values.dtype}. Its open(data) "
                    "makes such codes of pixel values, by the range of its training data."
                )
        elif not np.isfinite(values).all():
            raise DataError("the rows hold values that are not finite.")
        return self.kind.to_tensor(values)

    def _normalise(self, values: Tensor) -> Tensor:
        return on_device(values, self.spec, self.device)

    def _denormalise(self, x: Tensor) -> np.ndarray:
        return self.kind.denormalise(x, self.spec)

    def _map(
        self,
        inputs: Tensor,
        function: Callable[[Tensor], Tensor],
        finish: Callable[[Tensor], np.ndarray] = lambda t: t.cpu().numpy(),
        batch: int = BATCH,
    ) -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate([finish(function(part)) for part in inputs.split(batch)])


def _download(name: str) -> Path:
    """A copy of the files of a model on the Hugging Face hub."""
    from huggingface_hub import snapshot_download

    wanted = ["config.json", "*.safetensors", "*.md", "model.py"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError) as error:  # its own errors and the network's are kinds of these
        first = str(error).strip().partition("\n")[0]
        raise RunError(f"'{name}' is no folder here, and no model that the hub gives us ({first}).") from None


def _rebuild(
    model_class: type[Model],
    record: dict[str, Any],
    weights: dict[str, np.ndarray],
    device: str,
    calibration: np.ndarray | None,
) -> FittedModel:
    model = build(model_class, model_class.Config.parse(record["config"]), Schema.from_json(record["schema"]), 0)
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    fitted = FittedModel(model, record, device)
    fitted.calibration = calibration
    return fitted


def _shape(spec: Any) -> str:
    return ", ".join(str(s) for s in spec.shape)


def slerp(start: np.ndarray, end: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Spherical interpolation along the last axis (Shoemake 1985); a straight line where the ends are parallel."""
    cosine = (start * end).sum(-1, keepdims=True)
    cosine = cosine / np.maximum(np.linalg.norm(start, axis=-1) * np.linalg.norm(end, axis=-1), 1e-12)[..., None]
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    straight = sine < 1e-4
    safe = np.where(straight, 1, sine)
    a = np.where(straight, 1 - t, np.sin((1 - t) * angle) / safe)
    b = np.where(straight, t, np.sin(t * angle) / safe)
    return a * start + b * end


def load_model(
    folder: Path,
    *,
    trust: Trust = False,
    own: type[Model] | None = None,
    device: torch.device | str = "cpu",
    checkpoint: str = "last",
) -> FittedModel:
    """Load a run folder or a saved model.

    Parameters
    ----------
    folder : Path
    trust : bool or str
        Run the folder's own ``model.py`` where the model is a user's class; the first digits of its sha256 allow no other.
    own : type, optional
        A class that is at hand: it is taken where the folder's ``model.py`` is the text that it was made by, and nothing runs.
    device : torch.device or str
    checkpoint : {"last", "best"}
        The weights at the end, or those with the smallest validation distance on the way.

    Raises
    ------
    RunError
        Where the folder is no run, of a newer format, unfinished or damaged, or kept no best weights.
    """
    run = RunFolder(folder)
    record = run.read_config()
    model_class = class_of(record, folder, trust, own)
    if not (folder / "model.safetensors").is_file():
        raise RunError(f"'{folder}' has no finished model: run its `genarena train` command again to finish it.")
    written = record if "sha256" in record or not run.result.is_file() else run.read_result()
    if written.get("sha256") != sha256_of(folder / "model.safetensors"):
        raise RunError(f"'{folder / 'model.safetensors'}' is not what was written: its sha256 differs.")
    schema = Schema.from_json(record["schema"])
    config = model_class.Config.parse(record["config"])
    weights = folder / ("model.safetensors" if checkpoint == "last" else WEIGHTS)
    one_of(checkpoint, "checkpoint", ("last", "best"))
    if checkpoint == "best" and not (folder / RECORD).is_file():
        raise RunError(f"'{folder}' kept no best weights: its training measured no validation distance; take the last.")
    if checkpoint == "best" and read_best(folder) is None:
        raise RunError(f"'{weights}' is not what was written: its sha256 differs; take the last.")
    if model_class in MODELS.values():
        _check_size(model_class, config, schema, weights)
    model = build(model_class, config, schema, 0)
    state = read_tensors(weights, model.state_dict())
    if not finite(state):
        raise RunError(f"'{weights}' holds values that are not finite.")
    model.load_state_dict(state)
    fitted = FittedModel(model, record, device)
    if checkpoint == "last":  # whose scores the calibration holds
        fitted.calibration = _calibration(folder / CALIBRATION, written.get("calibration"))
    return fitted


def _calibration(path: Path, digest: str | None) -> np.ndarray | None:
    """The held-out scores that the record of a model's weights names by their sha256; None where it names none."""
    if digest is None and not path.exists():
        return None
    if not path.is_file() or sha256_of(path, _LARGEST_CALIBRATION) != digest:
        raise RunError(f"'{path}' is not what was written with these weights: it is missing, or its sha256 differs.")
    scores = read_tensors(path, most=_LARGEST_CALIBRATION).get("anomaly_score")
    if scores is None or scores.ndim != 1 or not len(scores) or not finite({"anomaly_score": scores}):
        raise RunError(f"'{path}' holds no anomaly scores.")
    return scores.float().numpy()


def _check_size(model_class: type[Model], config: Any, schema: Schema, path: Path) -> None:
    """Refuse a configuration whose networks would not fit in the file that should hold them, before building any."""
    with torch.device("meta"):
        state = build(model_class, config, schema, 0).state_dict()
    if sum(t.numel() * t.element_size() for t in state.values()) > path.stat().st_size:
        raise RunError(f"'{path}' is too small to hold the networks that its configuration describes.")


def class_of(record: dict[str, Any], folder: Path, trust: Trust, own: type[Model] | None = None) -> type[Model]:
    """The class a ``config.json`` names; `own` where that was made by the same text."""
    if record.get("code") is None:
        if record["model"] not in MODELS:
            raise RunError(f"'{folder}' holds a model '{record['model']}' that this genarena does not have.")
        return MODELS[record["model"]]
    code = OwnCode.read(folder / "model.py", "model")
    if code.text != record["code"]:
        raise RunError(f"'{code.path}' is not the code that this model was trained with.")
    if own is not None and own.__name__ == record["model"] and source_of(own).text == code.text:
        return own
    code.require(trust, "--trust")
    return code.load(record["model"], Model, "model")
