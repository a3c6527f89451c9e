"""Latent and feature tools: their mathematics on models with closed forms, and their verbs on small trained ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import norm
from torch import Tensor, nn
from typer.testing import CliRunner

from genarena import cli_latent, latent
from genarena.cli import app
from genarena.data import Dataset, Field, Schema, VectorSpec, open_dataset
from genarena.duality import duality_gap
from genarena.errors import CapabilityError, DataError, GenarenaError, UsageError
from genarena.fit import fit, plan
from genarena.fitted import FittedModel, build, slerp
from genarena.game import Game, Model, ModelConfig, normal
from genarena.kinds import kind_of
from genarena.latent.inversion import POOL, _starts
from genarena.latent.probe import _compared, _features, _untrained, pooled
from genarena.latent.ratio import platt
from genarena.metrics import Evaluator, Score
from genarena.models import MODELS
from genarena.models.stylegan import StyleGAN
from genarena.objectives.adversarial import LOSSES
from genarena.uses import interpolate as interpolating

SMALL = {"latent_dim": 4, "network": {"architecture": "mlp", "width": 16}}
CAN = {"sample": None, "condition": "no", "encode": "no", "reconstruct": "no", "log_prob": "no", "anomaly_score": "no"}


@pytest.fixture(scope="module")
def workplace(bars: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bars.npz`` with labels, ``plain.npy`` without, and a run folder for each model that a test asks for."""
    folder = tmp_path_factory.mktemp("latent")
    np.savez(folder / "bars.npz", images=bars[0], labels=bars[1])
    np.save(folder / "plain.npy", bars[0])
    return folder


@pytest.fixture(scope="module")
def dataset(workplace: Path) -> Dataset:
    return open_dataset(workplace / "bars.npz")


@pytest.fixture(scope="module")
def run_of(workplace: Path, dataset: Dataset) -> Callable[[str], Path]:
    """The run folder of a briefly trained model."""

    def make(name: str) -> Path:
        folder = workplace / name
        if not folder.exists():
            settings = {"latent_dim": 4} if name == "pca" else SMALL
            fit(
                plan(
                    name,
                    dataset,
                    budget="20k images" if name == "cgan" else "3k images",
                    settings=settings,
                    device="cpu",
                ),
                folder,
                threads=1,
                pictures=False,
            )
        return folder

    return make


@pytest.fixture(scope="module")
def model_of(run_of: Callable[[str], Path]) -> Callable[[str], FittedModel]:
    return lambda name: FittedModel.from_pretrained(run_of(name))


def fresh(name: str, dataset: Dataset, **settings: Any) -> FittedModel:
    """An untrained model."""
    config = MODELS[name].Config.parse({**SMALL, **settings})
    return FittedModel(build(MODELS[name], config, dataset.schema, 0), {"model": name, "seed": 0})


def of_class(model_class: type[Model], dataset: Dataset) -> FittedModel:
    """A model that a test made up."""
    model = build(model_class, ModelConfig(), dataset.schema, 0)
    return FittedModel(model, {"model": model_class.__name__, "seed": 0})


# -- the space ---------------------------------------------------------------------------------------------------------


def test_an_arc_begins_and_ends_where_asked_and_keeps_its_radius() -> None:
    a, b = np.array([[1.0, 0, 0]]), np.array([[0, 1.0, 0]])
    t = np.array([[0.0], [0.5], [1.0]])
    arc = slerp(np.repeat(a, 3, 0), np.repeat(b, 3, 0), t)
    np.testing.assert_allclose(arc, [a[0], [0.5**0.5, 0.5**0.5, 0], b[0]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), 1, atol=1e-6)
    for end in (a, 2 * a, -a):
        np.testing.assert_allclose(slerp(a, end, t), a + t * (end - a), atol=1e-9)


def test_ways_end_at_plain_decodings(model_of: Callable[[str], FittedModel]) -> None:
    vae = model_of("vae")
    z = vae.latents(6)
    paths = vae.interpolate(z[:3], z[3:], 5, spherical=True)
    np.testing.assert_array_equal(paths[:, 0], vae.decode(z[:3]))
    np.testing.assert_array_equal(paths[:, -1], vae.decode(z[3:]))
    assert interpolating.STEPS == 9


class Plane(Model):
    """Three columns that are linear in two latents, along straight lines or arcs."""

    title = "Plane"
    sampler = "decoder"

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        self.decoder = nn.Linear(2, schema.target.dim)

    def capabilities(self) -> dict[Any, str | None]:
        return {"sample": None}

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        return torch.randn(n, 2, generator=generator)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


class Straight(Plane):
    straight = True


class Same(nn.Module):
    def features(self, x: Tensor) -> Tensor:
        return x


def test_the_path_length_is_the_squared_speed_of_what_is_decoded(
    vectors: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a line from a to b it is ||W (b - a)||^2; on an arc that of W times its derivative, which autograd gives."""
    monkeypatch.setattr("genarena.latent.paths.random_features", lambda spec, seed: Same())
    for model_class in (Straight, Plane):
        fitted = of_class(model_class, vectors)
        rng = np.random.default_rng(7)
        a, b = (torch.from_numpy(fitted.latents(20, int(s))).double() for s in rng.integers(2**31, size=2))
        t = torch.from_numpy(rng.random((20, 1)))
        angle = torch.acos((a * b).sum(1, keepdim=True) / (a.norm(dim=1, keepdim=True) * b.norm(dim=1, keepdim=True)))

        def way(
            t: torch.Tensor, a: Any = a, b: Any = b, angle: Any = angle, straight: bool = fitted.model.straight
        ) -> Any:
            if straight:
                return a + t * (b - a)
            return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)

        t.requires_grad_(True)
        points = way(t)
        speed = torch.cat([torch.autograd.grad(p.sum(), t, retain_graph=True)[0] for p in points.unbind(1)], 1)
        weight = fitted.model.decoder.weight.detach().double()
        expected = (speed @ weight.T).square().sum(1)
        found = latent.perceptual_path_lengths(fitted, 20, seed=7)
        np.testing.assert_allclose(found, expected, rtol=1e-2)
        assert np.array_equal(found, latent.perceptual_path_lengths(fitted, 20, seed=7))


def test_a_stylegan_has_paths_through_styles_and_through_noise(dataset: Dataset) -> None:
    small = StyleGAN.Config.parse({"network": {"width": 8, "channel_max": 16, "w_dim": 8}})
    stylegan = FittedModel(build(StyleGAN, small, dataset.schema, 0), {"model": "stylegan", "seed": 0})
    before = {k: v.clone() for k, v in stylegan.model.state_dict().items()}
    w, z = (latent.perceptual_path_lengths(stylegan, 40, noise=noise) for noise in (False, True))
    finer = latent.perceptual_path_lengths(stylegan, 40, epsilon=1e-5)
    assert w.shape == z.shape == (40,) and (w > 0).all() and (z > 0).all() and not np.allclose(w, z)
    assert finer.mean() == pytest.approx(w.mean(), rel=0.02)
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in stylegan.model.state_dict().items())


def test_paths_through_uniform_noise_are_straight(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    small = StyleGAN.Config.parse({"prior": "uniform", "network": {"width": 8, "channel_max": 16, "w_dim": 8}})
    stylegan = FittedModel(build(StyleGAN, small, dataset.schema, 0), {"model": "stylegan", "seed": 0})
    seen, mapped = [], StyleGAN.styles
    monkeypatch.setattr(StyleGAN, "styles", lambda self, z: (seen.append(z), mapped(self, z))[1])
    latent.perceptual_path_lengths(stylegan, 40, noise=True, epsilon=0.5)
    near, far = (torch.cat(halves) for halves in zip(*(pair.chunk(2) for pair in seen), strict=True))
    rng = np.random.default_rng(0)
    start, end = (torch.special.ndtr(torch.from_numpy(x)) * 2 - 1 for x in rng.standard_normal((2, 40, near.shape[1])))
    t = torch.from_numpy(rng.random((40, 1)))
    assert torch.allclose(near, start + t * (end - start)) and torch.allclose(far - near, 0.5 * (end - start))


@pytest.mark.parametrize("name", ["cgan", "cvae"])
def test_the_class_stays_on_a_path(
    name: str, model_of: Callable[[str], FittedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, seen = model_of(name), []
    decode = type(fitted.model).decode
    monkeypatch.setattr(type(fitted.model), "decode", lambda self, z: (seen.append(z), decode(self, z))[1])
    assert np.isfinite(latent.perceptual_path_lengths(fitted, 8, epsilon=0.5)).all()
    near, far = seen[0][:, 4:].chunk(2)
    start = fitted.latents(8, int(np.random.default_rng(0).integers(2**31, size=2)[0]))
    assert np.array_equal(near, start[:, 4:]) and torch.equal(near, far)


def test_paths_that_there_are_not_are_refused(model_of: Callable[[str], FittedModel]) -> None:
    with pytest.raises(CapabilityError, match="no mapping network"):
        latent.perceptual_path_lengths(model_of("gan"), noise=True)
    with pytest.raises(CapabilityError, match="autoencoder has no prior"):
        latent.perceptual_path_lengths(model_of("autoencoder"))
    for wrong in ({"n": 0}, {"epsilon": 0.0}, {"epsilon": 1.0}):
        with pytest.raises(UsageError, match=r"from 1 up|between 0 and 1"):
            latent.perceptual_path_lengths(model_of("gan"), **wrong)


@pytest.mark.parametrize("dimensions", [1, 4, 64])
def test_a_space_knows_a_standard_normal_prior(dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    draws = rng.normal(size=(4000, dimensions))
    space = latent.LatentSpace(draws)
    assert space.normal and space.isotropic
    assert (space.centre == 0).all() and (space.spread == 1).all()
    assert space.along(rng.normal(size=dimensions)).scale == 1
    uniform = latent.LatentSpace(rng.uniform(-1, 1, (4000, dimensions)))
    assert uniform.isotropic and not uniform.normal
    assert uniform.along(rng.normal(size=dimensions)).scale == pytest.approx(3**-0.5, rel=0.05)
    for changed in (draws * 1.3, draws + 0.3, uniform.draws * 3**0.5):
        assert not latent.LatentSpace(changed).normal


def test_amounts_are_in_standard_deviations_of_the_draws() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 3)) * [1, 5, 0.2] + 7
    space = latent.LatentSpace(draws, classes=2)
    assert not space.isotropic
    np.testing.assert_allclose([axis.scale for axis in space.axes()], [1, 5, 0.2], rtol=0.05)
    found = space.along(np.array([3.0, 4.0, 0.0]))
    np.testing.assert_allclose(found.vector, [0.6, 0.8, 0, 0, 0])  # unit, and nothing in the columns of the class
    assert found.scale == pytest.approx((0.36 + 0.64 * 25) ** 0.5, rel=0.05)
    with pytest.raises(UsageError, match="no length"):
        space.along(np.zeros(3))


def test_a_model_without_a_prior_needs_examples(model_of: Callable[[str], FittedModel], dataset: Dataset) -> None:
    autoencoder = model_of("autoencoder")
    with pytest.raises(CapabilityError, match=r"autoencoder has no prior.*name data"):
        latent.LatentSpace.of(autoencoder)
    space = latent.LatentSpace.of(autoencoder, dataset.values("train"))
    np.testing.assert_array_equal(space.draws, autoencoder.encode(dataset.values("train")))
    assert not space.normal


class Encoding(Model):
    """Has an encoder alone."""

    def capabilities(self) -> Any:
        return {**CAN, "sample": "no decoder", "encode": None}

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2]


def test_nothing_is_edited_without_a_decoder(dataset: Dataset) -> None:
    fitted, values = of_class(Encoding, dataset), dataset.values("test")[:2]
    direction = latent.Direction(np.eye(2)[0], 1.0)
    for use in (
        lambda: latent.edit(fitted, fitted.encode(values), direction, [0]),
        lambda: latent.traverse(fitted, np.zeros(2), [direction], [0]),
        lambda: latent.invert(fitted, values),
        lambda: latent.principal_directions(fitted, 1, values=values),
    ):
        with pytest.raises(CapabilityError, match="Encoding has no decoder"):
            use()


# -- directions and edits ----------------------------------------------------------------------------------------------


def test_an_attributes_direction_is_the_difference_of_mean_codes() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 50)
    codes = rng.normal(size=(150, 4))
    space = latent.LatentSpace(rng.normal(size=(4000, 4)))
    means = [codes[labels == k].mean(0) for k in range(3)]
    for other, wanted in ((None, means[1] - codes[labels != 1].mean(0)), (2, means[1] - means[2])):
        found = latent.attribute_direction(space, codes, labels, 1, other)
        assert np.linalg.norm(found.vector) == pytest.approx(1)
        np.testing.assert_allclose(found.vector, wanted / np.linalg.norm(wanted), rtol=1e-5)
    for attribute, other in ((7, None), (1, 7)):
        with pytest.raises(UsageError, match="is of class 7"):
            latent.attribute_direction(space, codes, labels, attribute, other)


def test_an_edit_decodes_the_moved_code(model_of: Callable[[str], FittedModel], dataset: Dataset) -> None:
    vae = model_of("vae")
    codes = vae.encode(dataset.values("test")[:3])
    direction = latent.Direction(np.array([0.6, 0, 0.8, 0], np.float32), 0.5)
    grid = latent.edit(vae, codes, direction, [-2, 0, 3])
    assert grid.shape == (3, 3, 1, 8, 8)
    np.testing.assert_array_equal(grid[:, 1], vae.decode(codes))
    np.testing.assert_array_equal(grid[:, 2], vae.decode(codes + 1.5 * direction.vector))
    for amounts in ([], ["far"], [float("nan")], [[1.0]]):
        with pytest.raises(UsageError, match="not numbers"):
            latent.edit(vae, codes, direction, amounts)


def test_moving_towards_a_class_arrives_there(model_of: Callable[[str], FittedModel], dataset: Dataset) -> None:
    pca, labeller = model_of("pca"), latent.linear_labeller(dataset)
    assert np.mean(labeller(dataset.values("test")) == dataset.labels("test")) > 0.95
    codes, labels = pca.encode(dataset.values("train")), dataset.labels("train")
    direction = latent.attribute_direction(latent.LatentSpace.of(pca), codes, labels, 1)  # type: ignore[arg-type]
    grid = latent.edit(pca, pca.latents(100, 1), direction, [-3, 0, 3])
    less, plain, more = (np.mean(labeller(grid[:, i]) == 1) for i in range(3))
    assert less < 0.1 < plain < 0.9 < more


def test_a_labeller_gives_a_gan_attributes(model_of: Callable[[str], FittedModel]) -> None:
    gan = model_of("gan")

    def bright(values: np.ndarray) -> np.ndarray:
        means = values.reshape(len(values), -1).mean(1)
        return (means > np.median(means)).astype(int)

    z, labels = latent.labelled_latents(gan, bright, 1000)
    np.testing.assert_array_equal(labels, bright(gan.decode(z)))
    direction = latent.attribute_direction(latent.LatentSpace.of(gan), z, labels, 1)
    grid = latent.edit(gan, gan.latents(100, 1), direction, [-2, 0, 2]).reshape(100, 3, -1).mean((0, 2))
    assert (np.diff(grid) > 0).all()


def test_another_class_beside_the_same_noise(model_of: Callable[[str], FittedModel]) -> None:
    cvae = model_of("cvae")
    z = cvae.latents(20)
    changed = latent.relabel(cvae, z, "2")
    np.testing.assert_array_equal(changed[:, :4], z[:, :4])
    np.testing.assert_array_equal(changed[:, 4:], np.tile([0, 0, 1], (20, 1)))
    with pytest.raises(UsageError, match="no class 'nine'"):
        latent.relabel(cvae, z, "nine")
    with pytest.raises(CapabilityError, match="trained without labels"):
        latent.relabel(model_of("vae"), z[:, :4], 0)


def test_principal_directions_of_a_linear_decoder_are_its_components(
    model_of: Callable[[str], FittedModel], dataset: Dataset
) -> None:
    pca = model_of("pca")  # its decoder scales axis i by the i-th largest standard deviation
    found = latent.principal_directions(pca, 2, n=4000)
    np.testing.assert_allclose([d.vector for d in found], np.eye(4)[:2], atol=0.1)
    assert [d.scale for d in found] == [1, 1]
    of_codes = latent.principal_directions(pca, 9, values=dataset.values("train"))
    vectors = np.stack([d.vector for d in of_codes])
    assert len(of_codes) == 4  # as many as there are
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(4), atol=1e-5)
    spreads = (pca.encode(dataset.values("train")) @ vectors.T).std(0)
    assert (np.diff(spreads) <= 1e-5).all()
    with pytest.raises(UsageError, match="k=0"):
        latent.principal_directions(pca, 0)


def test_principal_directions_of_a_conditional_model_are_those_within_classes(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgan = fresh("cgan", dataset)

    def decode(z: Tensor) -> Tensor:  # the class shows most, then the third entry of the noise
        x = torch.cat([1.8 * z[:, 4:] - 0.9, 0.2 * z[:, 2:3], torch.zeros(len(z), 60)], 1)
        return x.view(-1, *cgan.spec.shape)

    monkeypatch.setattr(cgan.model, "decode", decode)
    (found,) = latent.principal_directions(cgan, 1)
    np.testing.assert_allclose(found.vector, np.eye(7)[2], atol=0.1)


def test_a_traversal_shows_what_changes_most_first(model_of: Callable[[str], FittedModel]) -> None:
    pca = model_of("pca")
    space = latent.LatentSpace.of(pca)
    start = latent.middle(pca, space)
    amounts = [-1.0, 0.0, 1.0]
    axes = space.axes()[::-1]
    found = latent.traverse(pca, start, axes, amounts)
    assert found.order.tolist() == [3, 2, 1, 0]
    for row, index in enumerate(found.order):
        np.testing.assert_array_equal(found.values[row, 2], pca.decode((start + axes[index].vector)[None])[0])
        assert (found.values[row, 1] == pca.decode(start[None])[0]).all()
    deviations = pca.model.variances.sqrt().numpy()  # along axis i, x moves by its deviation times a unit component
    np.testing.assert_allclose(found.change, deviations * (2 / 3 / 64) ** 0.5, rtol=0.05)


def test_the_middle_of_a_conditional_prior_is_of_one_class(
    model_of: Callable[[str], FittedModel], dataset: Dataset
) -> None:
    cvae = model_of("cvae")
    space = latent.LatentSpace.of(cvae)
    frequent = int(np.bincount(dataset.labels("train")).argmax())  # type: ignore[arg-type]
    np.testing.assert_array_equal(latent.middle(cvae, space), [0] * 4 + np.eye(3)[frequent].tolist())
    np.testing.assert_array_equal(latent.middle(cvae, space, 0), [0, 0, 0, 0, 1, 0, 0])
    with pytest.raises(CapabilityError, match="without labels"):
        latent.middle(model_of("vae"), latent.LatentSpace.of(model_of("vae")), 0)


# -- inversion ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "accuracy"), [("pca", 0.1), ("gan", 0.1)])
def test_inversion_recovers_the_latents_of_the_models_own_samples(
    name: str, accuracy: float, model_of: Callable[[str], FittedModel]
) -> None:
    fitted = model_of(name)
    z = fitted.latents(12, seed=5, truncation=1)  # which a linear decoder keeps within the grey levels
    values = fitted.decode(z)
    found = latent.invert(fitted, values, 150)
    assert found.latents.shape == z.shape and found.loss.shape == found.before.shape == (12,)
    assert (found.loss <= found.before).all()
    if name == "gan":
        assert found.loss.mean() < 0.2 * found.before.mean()
    assert np.median(np.abs(found.latents - z)) < accuracy
    error = fitted.decode(found.latents).astype(float) - values
    assert np.abs(error).mean() < 2  # of 255 grey levels
    again = latent.invert(fitted, values, 150)
    np.testing.assert_array_equal(found.latents, again.latents)


def test_more_steps_and_more_starts_are_no_worse(model_of: Callable[[str], FittedModel], dataset: Dataset) -> None:
    gan, values = model_of("gan"), dataset.values("test")[:8]
    short, long = latent.invert(gan, values, 5), latent.invert(gan, values, 80)
    assert long.loss.mean() < short.loss.mean() < short.before.mean()
    assert latent.invert(gan, values, 80, starts=1).loss.mean() >= long.loss.mean()
    for wrong in ({"steps": 0}, {"starts": 0}):
        with pytest.raises(UsageError, match="from 1 up"):
            latent.invert(gan, values, **wrong)


def test_an_encoder_gives_the_first_start(model_of: Callable[[str], FittedModel], dataset: Dataset) -> None:
    values = dataset.values("test")[:6]
    for name in ("autoencoder", "vae"):
        fitted = model_of(name)
        np.testing.assert_array_equal(latent.codes_of(fitted, values), fitted.encode(values))
        found = latent.invert(fitted, values, 60, starts=1)
        assert (found.loss < found.before).all()  # better than the code, which is where it began
    single = latent.invert(model_of("autoencoder"), values[:1], 3)  # nothing to take a variance of
    assert np.isfinite(single.loss).all()


def test_the_best_latents_are_kept_where_descent_overshoots(
    model_of: Callable[[str], FittedModel], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genarena.latent.inversion.RATE", 30.0)
    gan = model_of("gan")
    found = latent.invert(gan, dataset.values("test")[:8], 3, starts=2)
    np.testing.assert_array_equal(found.loss, found.before)
    assert (np.abs(found.latents[:, None] - gan.latents(POOL, 0)).max(2).min(1) < 1e-6).all()  # where they began


class Flat(Plane):
    def capabilities(self) -> dict[Any, str | None]:
        return CAN


def test_what_does_not_show_is_pulled_to_the_middle_of_the_prior(vectors: Dataset) -> None:
    fitted = of_class(Flat, vectors)
    fitted.model.decoder.weight.data[:, 1] = 0  # type: ignore[union-attr, operator, index]
    z = fitted.latents(8, 1)
    found = latent.invert(fitted, fitted.decode(z), 150)
    np.testing.assert_allclose(found.latents, z * [1, 0], atol=0.05)


def test_starts_are_the_nearest_of_their_class(model_of: Callable[[str], FittedModel], dataset: Dataset) -> None:
    cgan, values = model_of("cgan"), dataset.values("test")[:9]
    labels = (dataset.labels("test")[:9] + 1) % 3  # type: ignore[index]  # not the classes of what is nearest
    starts, distance = _starts(cgan, values, latent.LatentSpace.of(cgan), 0, 4, labels)
    z = cgan.latents(POOL, 0)
    kind = kind_of(cgan.spec)
    x, pool = (kind.normalise(kind.to_tensor(v), cgan.spec) for v in (values, cgan.decode(z)))
    wanted = distance.parts(x)
    for index, label in enumerate(labels):
        own = z[:, 4:].argmax(1) == label
        apart = distance(pool[own], [part[index] for part in wanted])
        np.testing.assert_array_equal(starts[index], z[own][apart.topk(4, largest=False).indices])


def test_a_known_class_is_kept(model_of: Callable[[str], FittedModel], dataset: Dataset) -> None:
    cgan, values, labels = model_of("cgan"), dataset.values("test")[:9], dataset.labels("test")[:9]  # type: ignore[index]
    np.testing.assert_array_equal(latent.codes_of(cgan, values, 3, labels=labels)[:, 4:].argmax(1), labels)
    assert set(np.unique(latent.codes_of(cgan, values, 3)[:, 4:])) == {0.0, 1.0}
    with pytest.raises(UsageError, match="not among the 3 classes"):
        latent.invert(cgan, values, 3, labels=labels + 3)


# -- styles ------------------------------------------------------------------------------------------------------------


class Styled(Model):
    """Four layers, each adding its style to two rows of the picture; styles have one wide direction."""

    layers = 4

    def capabilities(self) -> Any:
        return CAN

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        share = 1.0 if truncation is None else truncation
        return share * normal(n, 8, generator) * torch.tensor([0.05] * 7 + [0.3])

    def mix(self, coarse: Tensor, fine: Tensor, layer: int) -> Tensor:
        by_layer = [coarse] * layer + [fine] * (self.layers - layer)
        return torch.stack(by_layer, 1)

    def decode(self, z: Tensor) -> Tensor:
        w = z[:, None].expand(-1, self.layers, -1) if z.ndim == 2 else z
        return w.repeat_interleave(2, 1)[:, None].clamp(-1, 1)  # (N, 1, 8, 8): a style is a row


def test_mixed_styles(dataset: Dataset) -> None:
    styled = of_class(Styled, dataset)
    coarse, fine = styled.latents(3, 0), styled.latents(2, 1)
    fine[0] = coarse[0]
    grid = latent.mix_grid(styled, coarse, fine, 1)
    assert grid.shape == (4, 3, 1, 8, 8) and not grid[0, 0].any()
    np.testing.assert_array_equal(grid[1:, 0], styled.decode(coarse))
    np.testing.assert_array_equal(grid[0, 1:], styled.decode(fine))
    np.testing.assert_array_equal(grid[1, 1], styled.decode(coarse[:1])[0])  # mixed with itself
    np.testing.assert_array_equal(grid[3, 2, :, :2], styled.decode(coarse[2:])[0, :, :2])
    np.testing.assert_array_equal(grid[3, 2, :, 2:], styled.decode(fine[1:])[0, :, 2:])
    np.testing.assert_array_equal(latent.mix_grid(styled, coarse, fine), latent.mix_grid(styled, coarse, fine, 2))
    for layer in (0, 4):
        with pytest.raises(UsageError, match="mix from 1 to 3"):
            latent.mix_grid(styled, coarse, fine, layer)


def test_a_stylegan_mixes(dataset: Dataset) -> None:
    small = StyleGAN.Config.parse({"network": {"width": 8, "channel_max": 16, "w_dim": 8}})
    stylegan = FittedModel(build(StyleGAN, small, dataset.schema, 0), {"model": "stylegan", "seed": 0})
    w = stylegan.latents(4)
    grid = latent.mix_grid(stylegan, w[:2], w[2:])
    np.testing.assert_array_equal(grid[1:, 0], stylegan.decode(w[:2]))
    np.testing.assert_array_equal(grid[0, 1:], stylegan.decode(w[2:]))
    itself = latent.mix_grid(stylegan, w[:2], w[:2], 1)
    np.testing.assert_array_equal(itself[[1, 2], [1, 2]], stylegan.decode(w[:2]))
    assert not latent.LatentSpace.of(stylegan).normal
    (first,) = latent.principal_directions(stylegan, 1)
    (last,) = latent.principal_directions(stylegan, 8)[-1:]
    assert first.scale > 1.2 * last.scale
    by_layer = np.repeat(w[:, None], stylegan.model.generator.layers, 1)
    moved = latent.edit(stylegan, by_layer, first, [0, 1])
    np.testing.assert_array_equal(moved, latent.edit(stylegan, w, first, [0, 1]))


def test_mix_verb(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    styled = of_class(Styled, dataset)
    monkeypatch.setattr(cli_latent, "load_run", lambda *_, **__: styled)
    genarena("mix", "run", "-n", 2, "--layer", 1, "--seed", 4, "--out", tmp_path / "mix.npz")
    w = styled.latents(4, 4)
    with np.load(tmp_path / "mix.npz") as stored:
        grid = stored["images"].transpose(0, 3, 1, 2).reshape(3, 3, 1, 8, 8)
    np.testing.assert_array_equal(grid, latent.mix_grid(styled, w[:2], w[2:], 1))
    genarena("mix", "run", "-n", 2, "--out", tmp_path / "mix.png")
    assert grid_of(tmp_path / "mix.png") == (3, 3)


def test_only_styles_mix(model_of: Callable[[str], FittedModel]) -> None:
    z = model_of("gan").latents(2)
    with pytest.raises(CapabilityError, match="gan cannot mix styles"):
        latent.mix_grid(model_of("gan"), z, z, 1)


def test_styles_by_layer_are_edited_and_their_wide_direction_is_found(dataset: Dataset) -> None:
    styled = of_class(Styled, dataset)
    (first,) = latent.principal_directions(styled, 1)
    np.testing.assert_allclose(first.vector, np.eye(8)[7], atol=0.05)
    assert first.scale == pytest.approx(0.3, rel=0.05)
    w = np.repeat(styled.latents(2)[:, None], 4, 1)
    grid = latent.edit(styled, w, first, [0, 1])
    np.testing.assert_array_equal(grid[:, 0], styled.decode(w))
    np.testing.assert_array_equal(grid[:, 1], styled.decode(w[:, 0] + first.scale * first.vector))


class Judge:
    """Stands in for an evaluator: its recall is the spread of the samples, and it knows no Fréchet distance."""

    n, hash = 30, "abc"
    spaces: ClassVar = {"pca": None}

    def panel(self, samples: np.ndarray, *, seed: int) -> dict[str, Score]:
        assert len(samples) == self.n
        recall = Score(float(samples.std(0).mean()), self.n)
        return {
            "precision/pca": Score(0.25, self.n),
            "recall/pca": recall,
            "fd_inf/pca": Score(None, self.n, reason="no"),
        }


def test_truncation_costs_variety(
    run_of: Callable[[str], Path], model_of: Callable[[str], FittedModel], workplace: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Evaluator, "load", lambda folder, dataset, trust: Judge())
    out = tmp_path / "curve.json"
    what = ["truncation", run_of("pca"), workplace / "bars.npz", "--seed", 3, "--amounts", "0.05, 1,none", "--out", out]
    printed = genarena(*what, "--evaluator", workplace / "evaluator")
    record = json.loads(out.read_text())
    assert (record["evaluator"], record["n"]) == ("abc", 30)
    assert [row["truncation"] for row in record["curve"]] == [0.05, 1, None]
    recalls = [row["recall/pca"] for row in record["curve"]]
    assert (np.diff(recalls) > 0).all()
    assert recalls[2] == Judge().panel(model_of("pca").sample(30, 3), seed=3)["recall/pca"].value
    assert [line.split() for line in printed.splitlines()[2:5]] == [
        [amount, "0.25", f"{recall:.4g}", "—"] for amount, recall in zip(("0.05", "1", "none"), recalls, strict=True)
    ]


def test_the_path_length_verb_gives_the_mean_of_the_ways(run_of: Callable[[str], Path]) -> None:
    what = ["path-length", run_of("vae"), "-n", 20, "--seed", 4]
    lengths = latent.perceptual_path_lengths(FittedModel.from_pretrained(run_of("vae")), 20, 4)
    (row,) = json.loads(genarena(*what, "--json")).values()
    assert row == {"mean": lengths.mean(), "standard_error": lengths.std() / 20**0.5, "n": 20}
    assert genarena(*what).startswith(f"latents: {lengths.mean():.4g} (standard error ")


# -- probes ------------------------------------------------------------------------------------------------------------


class Gated(Game):
    """Its discriminator shows the picture through a gate, closed before training."""

    players: ClassVar = {"discriminator": ("discriminator",)}

    def __init__(self, config: Any, schema: Any):
        super().__init__(config, schema)
        self.discriminator = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.discriminator.weight)

    def capabilities(self) -> Any:
        return {**CAN, "sample": "no"}

    def hidden(self, x: Tensor) -> list[Tensor]:
        return [x * self.discriminator.weight, torch.zeros(len(x), 3)]  # the layer that shows it need not be the last


def test_a_probe_sees_what_training_opened(dataset: Dataset) -> None:
    gated = of_class(Gated, dataset)
    (before,) = latent.probe(gated, dataset, [None])
    assert (before.trained, before.difference, before.low, before.high) == (before.untrained, 0, 0, 0)
    assert before.verdict == "no benefit"
    gated.model.discriminator.weight.fill_(1.0)  # type: ignore[operator, union-attr]
    few, all_labels = latent.probe(gated, dataset, [30, None])
    assert (few.features, few.labels, all_labels.labels) == ("discriminator", 30, len(dataset.splits["train"]))
    assert all_labels.trained == 1 and all_labels.untrained == before.trained < 0.6
    assert all_labels.low < all_labels.difference == pytest.approx(1 - all_labels.untrained)
    assert few.verdict == all_labels.verdict == "better than untrained"
    half = np.sqrt(all_labels.untrained * (1 - all_labels.untrained) / len(dataset.splits["test"])) * 1.96
    assert (all_labels.high - all_labels.low) / 2 == pytest.approx(half, rel=0.2)


def test_the_interval_of_a_probe_holds_the_truth() -> None:
    """Five draws of labels, each with an effect of its own, on many test examples: nominal 95 %."""
    rng, held = np.random.default_rng(0), 0
    for trial in range(200):
        effects = 0.05 * rng.standard_normal((5, 1))
        trained = rng.random((5, 2000)) < 0.7 + effects
        untrained = rng.random((5, 2000)) < 0.7
        found = _compared("encoder", 50, trained.astype(float), untrained.astype(float), trial)
        held += found.low <= 0 <= found.high
    assert 0.91 <= held / 200 <= 0.99


def test_the_interval_of_a_probe_is_that_of_examples_and_of_draws_of_labels() -> None:
    rng = np.random.default_rng(1)
    for gain, half in (
        (rng.normal(0.1, 1, (1, 2000)), lambda gain: 1.96 * gain.std() / 2000**0.5),
        (np.repeat(rng.normal(0.1, 1, (5, 1)), 50, 1), lambda gain: 2.776 * gain[:, 0].std(ddof=1) / 5**0.5),
    ):
        found = _compared("encoder", 50, gain, np.zeros_like(gain), 0)
        assert found.high - found.low == pytest.approx(2 * half(gain), rel=0.08)


def test_a_probe_compares_with_the_networks_that_training_began_from(
    model_of: Callable[[str], FittedModel], dataset: Dataset
) -> None:
    cvae, values = model_of("cvae"), dataset.values("train")
    began = _untrained(cvae, values, 7).model
    first = build(type(cvae.model), cvae.model.config, cvae.schema, cvae.record["seed"])
    assert all(torch.equal(a, b) for a, b in zip(began.parameters(), first.parameters(), strict=True))
    assert not any(part.training for part in began.modules())
    codes = _features(cvae)["encoder"](values[:5])  # without the class that it guessed
    np.testing.assert_allclose(codes, cvae.encode(values[:5])[:, :4], rtol=1e-5)


def test_both_networks_of_a_vaegan_are_probed(model_of: Callable[[str], FittedModel], dataset: Dataset) -> None:
    results = latent.probe(model_of("vaegan"), dataset, [50])
    assert [r.features for r in results] == ["discriminator", "encoder"]
    for result in results:
        assert result.low <= result.difference <= result.high
        assert result.difference == pytest.approx(result.trained - result.untrained)
    assert results == latent.probe(model_of("vaegan"), dataset, [50])


def test_hidden_maps_are_pooled_to_sixteen_cells() -> None:
    x = torch.arange(2 * 3 * 8 * 8).float().view(2, 3, 8, 8)
    assert pooled(x).shape == (2, 48)
    np.testing.assert_array_equal(pooled(x)[0, 0], x[0, 0, :2, :2].max())
    assert pooled(x[..., :2, :2]).shape == (2, 12)
    assert pooled(torch.zeros(2, 5)).shape == (2, 5)


def test_what_cannot_be_probed(model_of: Callable[[str], FittedModel], dataset: Dataset, workplace: Path) -> None:
    with pytest.raises(DataError, match="no labels"):
        latent.probe(model_of("gan"), open_dataset(workplace / "plain.npy"))
    with pytest.raises(CapabilityError, match="closed form"):
        latent.probe(model_of("pca"), dataset)
    with pytest.raises(CapabilityError, match="nothing to probe"):
        latent.probe(fresh("gan", dataset, packing=2), dataset)
    for count in (2, 10_000):
        with pytest.raises(UsageError, match=f"labels={count}"):
            latent.probe(model_of("gan"), dataset, [count])


# -- density ratios ----------------------------------------------------------------------------------------------------


class TwoGaussians(Model):
    """Makes N(-1, 1); its discriminator knows the ratio of N(1, 1) to that, exp(2 x), as slope * 2 x + offset."""

    adversarial = LOSSES["non-saturating"]
    slope, offset = 1.0, 0.0

    def capabilities(self) -> Any:
        return CAN

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        return normal(n, 1, generator)

    def decode(self, z: Tensor) -> Tensor:
        return kind_of(self.schema.target).normalise(z - 1, self.schema.target)

    def logit(self, x: Tensor) -> Tensor:
        spec: Any = self.schema.target
        return self.slope * 2 * (x[:, 0] * spec.scale[0] + spec.mean[0]) + self.offset


@pytest.fixture(scope="module")
def gaussian() -> Dataset:
    """4,000 draws of N(1, 1) to calibrate on and 3,990 to test on."""
    rows = np.random.default_rng(0).normal(1, 1, (8010, 1)).astype(np.float32)
    spec = VectorSpec(1, (float(rows.mean()),), (float(rows.std()),))
    bounds = {"train": (0, 10), "val": (10, 4010), "test": (4010, 8000)}
    return Dataset("gaussian", {"x": Field(spec, "target", rows)}, {k: np.arange(*b) for k, b in bounds.items()})


def test_an_ideal_discriminator_gives_the_ratio_of_two_gaussians(gaussian: Dataset) -> None:
    fitted = of_class(TwoGaussians, gaussian)
    values = gaussian.values("test")[:50]
    np.testing.assert_allclose(
        latent.density_ratio(fitted, values), (norm.pdf(values, 1) / norm.pdf(values, -1))[:, 0], rtol=1e-4
    )
    found = latent.calibrate(fitted, gaussian)
    assert found.scale == pytest.approx(1, abs=0.05) and found.bias == pytest.approx(0, abs=0.05)
    assert max(found.before, found.after) < 0.02
    assert (found.fitted_on, found.tested_on) == (4000, 3990)


def test_calibration_undoes_a_slope_and_an_offset(gaussian: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TwoGaussians, "slope", 3.0)
    monkeypatch.setattr(TwoGaussians, "offset", 1.0)
    fitted = of_class(TwoGaussians, gaussian)
    found = latent.calibrate(fitted, gaussian)
    assert found.scale == pytest.approx(1 / 3, abs=0.02) and found.bias == pytest.approx(-1 / 3, abs=0.05)
    assert found.after < 0.02 < 0.05 < found.before
    values = gaussian.values("test")[:50]
    ratio = latent.density_ratio(fitted, values, calibration=found)
    np.testing.assert_allclose(np.log(ratio), 2 * values[:, 0], atol=0.25)


def test_calibration_errors_of_known_cases() -> None:
    real = np.repeat([True, False], [70, 30])
    assert latent.expected_calibration_error(np.zeros(100), real) == pytest.approx(0.2)  # says 0.5, is 0.7
    assert latent.expected_calibration_error(np.full(100, np.log(7 / 3)), real) == pytest.approx(0)
    assert latent.expected_calibration_error(np.where(real, 50.0, -50.0), real) == pytest.approx(0)
    certain = latent.expected_calibration_error(np.array([50.0, 3.0]), np.array([False, True]))
    assert certain == pytest.approx(0.5 / (1 + np.exp(-3)))  # 1 lies in the last bin, with 0.95
    scale, bias = platt(np.where(real, 50.0, -50.0), real)  # separable, and yet finite
    assert np.isfinite([scale, bias]).all() and 0 < scale < 1
    said = 1 / (1 + np.exp(-(scale * np.array([50.0, -50.0]) + bias)))
    np.testing.assert_allclose(said, [71 / 72, 1 / 32], atol=1e-3)  # Platt's targets


def test_a_told_discriminator_is_asked_about_the_class(
    model_of: Callable[[str], FittedModel], dataset: Dataset
) -> None:
    cgan, values, labels = model_of("cgan"), dataset.values("test"), dataset.labels("test")
    with pytest.raises(DataError, match="told the labels"):
        latent.density_ratio(cgan, values)
    told = latent.log_ratio(cgan, values, labels)
    x = kind_of(cgan.spec).normalise(kind_of(cgan.spec).to_tensor(values), cgan.spec)
    y = torch.eye(3)[torch.from_numpy(labels)]
    np.testing.assert_allclose(told, cgan.model.logit(x, y).numpy(), rtol=1e-4, atol=1e-5)  # type: ignore[operator]
    assert np.isfinite(latent.calibrate(cgan, dataset).after)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("gan", {"loss": "hinge"}, "its loss is hinge"),
        ("gan", {"loss": "least-squares"}, "its loss is least-squares"),
        ("gan", {"loss": "relativistic"}, "its loss is relativistic"),
        ("gan", {"loss": "wasserstein", "penalty": "gradient"}, "its loss is wasserstein"),
        ("gan", {"packing": 2}, "packs"),
        ("gan", {"label_smoothing": 0.1}, "label_smoothing"),
        ("vaegan", {}, "reconstructions too"),
        ("vae", {}, "no discriminator"),
    ],
)
def test_where_there_is_no_ratio(name: str, settings: dict[str, Any], reason: str, dataset: Dataset) -> None:
    fitted = fresh(name, dataset, **settings)
    for use in (
        lambda: latent.calibrate(fitted, dataset),
        lambda: latent.density_ratio(fitted, dataset.values("test")),
    ):
        with pytest.raises(CapabilityError, match=f"{name} gives no density ratio: .*{reason}"):
            use()


# -- verbs -------------------------------------------------------------------------------------------------------------


def genarena(*arguments: object) -> str:
    """What a verb prints; its errors are raised."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def grid_of(path: Path) -> tuple[int, int]:
    """Columns and rows of a grid of 8 x 8 pictures, which are enlarged to 96 x 96."""
    with Image.open(path) as picture:
        return (picture.width // 12 + 1) // 9, (picture.height // 12 + 1) // 9


def test_interpolations_are_animated(run_of: Callable[[str], Path], workplace: Path, tmp_path: Path) -> None:
    genarena("interpolate", run_of("vae"), "-n", 3, "--steps", 5, "--out", tmp_path / "way.gif")
    with Image.open(tmp_path / "way.gif") as film:
        assert (film.n_frames, film.size) == (8, (12 * 26, 12 * 8))  # type: ignore[attr-defined]  # five there, three back
    genarena("interpolate", run_of("vae"), "-n", 3, "--steps", 5, "--out", tmp_path / "way.png")
    assert grid_of(tmp_path / "way.png") == (5, 3)
    data = ["--data", workplace / "bars.npz"]
    genarena("interpolate", run_of("autoencoder"), *data, "-n", 2, "--out", tmp_path / "codes.png")


def test_edit_verb(run_of: Callable[[str], Path], workplace: Path, dataset: Dataset, tmp_path: Path) -> None:
    out, data = tmp_path / "edit.png", workplace / "bars.npz"
    for more in (["--attribute", "1"], ["--attribute", "1", "--against", "2"], ["--component", "0"]):
        genarena("edit", run_of("vae"), data, *more, "--amounts=-3,0,3", "-n", 4, "--out", out)
        assert grid_of(out) == (3, 4)
    genarena("edit", run_of("cgan"), data, "--attribute", "1", "--steps", 3, "-n", 2, "--out", out)
    assert grid_of(out) == (5, 2)
    genarena("edit", run_of("cvae"), data, "--label", "2", "-n", 3, "--out", tmp_path / "edit.npz")
    with np.load(tmp_path / "edit.npz") as stored:
        cvae = FittedModel.from_pretrained(run_of("cvae"))
        codes = cvae.encode(dataset.values("test")[:3])
        pairs = stored["images"].transpose(0, 3, 1, 2).reshape(3, 2, 1, 8, 8)
        np.testing.assert_array_equal(pairs[:, 0], cvae.decode(codes))
        np.testing.assert_array_equal(pairs[:, 1], cvae.decode(latent.relabel(cvae, codes, 2)))


def test_traverse_and_invert_verbs(run_of: Callable[[str], Path], workplace: Path, tmp_path: Path) -> None:
    genarena("traverse", run_of("vae"), "-n", 3, "--out", tmp_path / "t.png")
    assert grid_of(tmp_path / "t.png") == (7, 3)
    genarena("traverse", run_of("cvae"), "--label", "1", "--component", 1, "-n", 2, "--out", tmp_path / "t.png")
    assert grid_of(tmp_path / "t.png") == (7, 2)
    data = workplace / "bars.npz"
    genarena("traverse", run_of("autoencoder"), "--data", data, "--amounts=-1,1", "--out", tmp_path / "t.png")
    assert grid_of(tmp_path / "t.png") == (2, 4)
    genarena("invert", run_of("gan"), data, "--steps", 3, "-n", 10, "--out", tmp_path / "i.png")
    assert grid_of(tmp_path / "i.png") == (8, 3)  # eight, eight, and two of each
    genarena("invert", run_of("gan"), data, "--steps", 3, "-n", 10, "--out", tmp_path / "i.npz")


def test_probe_and_ratio_verbs(
    run_of: Callable[[str], Path], workplace: Path, dataset: Dataset, tmp_path: Path
) -> None:
    data = workplace / "bars.npz"
    (result,) = json.loads(genarena("probe", run_of("gan"), data, "--labels", "50", "--json"))
    assert (result["labels"], result["features"]) == (50, "discriminator")
    assert result["verdict"] in ("no benefit", "better than untrained", "worse than untrained")
    assert "verdict" not in (text := genarena("probe", run_of("vae"), data, "--labels", "all")) and "encoder" in text
    out = tmp_path / "ratios.csv"
    found = json.loads(genarena("density-ratio", run_of("gan"), data, "--out", out, "--json"))
    assert found["tested_on"] == len(dataset.splits["test"])
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == dataset.splits["test"].tolist()
    wanted = latent.density_ratio(FittedModel.from_pretrained(run_of("gan")), dataset.values("test"))
    np.testing.assert_allclose([float(row["ratio"]) for row in rows], wanted, rtol=1e-4)
    log_ratios = np.array([float(row["log_ratio"]) for row in rows])
    calibrated = np.exp(found["scale"] * log_ratios + found["bias"])
    np.testing.assert_allclose([float(row["calibrated_ratio"]) for row in rows], calibrated, rtol=1e-3)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["edit", "vae", "bars.npz", "--attribute", "blonde"], UsageError, "no class 'blonde'"),
        (["edit", "vae", "bars.npz", "--attribute", "1", "--against", "7"], UsageError, "no class '7'"),
        (["edit", "vae", "plain.npy", "--attribute", "1"], DataError, "no labels"),
        (["edit", "vae", "bars.npz"], UsageError, "one of --attribute"),
        (["edit", "vae", "bars.npz", "--attribute", "1", "--label", "1"], UsageError, "one of --attribute"),
        (["edit", "vae", "bars.npz", "--attribute", "1", "--amounts", "low,high"], UsageError, "'low,high'"),
        (["edit", "vae", "bars.npz", "--attribute", "1", "--amounts", "nan"], UsageError, "'nan'"),
        (["edit", "vae", "bars.npz", "--label", "1"], CapabilityError, "without labels"),
        (["edit", "vae", "bars.npz", "--component", "4"], UsageError, "there are 4"),
        (["edit", "vae", "bars.npz", "--component", "-1"], UsageError, "the first is 0"),
        (["edit", "vae", "bars.npz", "--component", "0", "-n", "0"], UsageError, "n=0"),
        (["interpolate", "vae", "-n", "0"], UsageError, "n=0"),
        (["interpolate", "vae", "--steps", "1"], UsageError, "a whole number from 2 up"),
        (["interpolate", "vae", "--steps", "-2"], UsageError, "a whole number from 2 up"),
        (["traverse", "vae", "-n", "0"], UsageError, "n=0"),
        (["traverse", "autoencoder"], CapabilityError, "no prior"),
        (["traverse", "vae", "--label", "1"], CapabilityError, "without labels"),
        (["traverse", "vae", "--amounts", "a"], UsageError, "'a'"),
        (["invert", "gan", "bars.npz", "--steps", "0"], UsageError, "steps=0"),
        (["mix", "vae"], CapabilityError, "cannot mix styles"),
        (["truncation", "vae", "bars.npz", "--amounts", "half"], UsageError, "'half'.*--amounts=0.3,0.5"),
        (["truncation", "autoencoder", "bars.npz"], CapabilityError, "cannot sample"),
        (["truncation", "vae", "bars.npz", "--amounts", "0"], UsageError, "positive"),
        (["path-length", "gan", "-n", "0"], UsageError, "n=0"),
        (["path-length", "autoencoder"], CapabilityError, "has no prior"),
        (["probe", "gan", "bars.npz", "--labels", "many"], UsageError, "'many'"),
        (["probe", "gan", "plain.npy"], DataError, "no labels"),
        (["density-ratio", "vae", "bars.npz"], CapabilityError, "no discriminator"),
    ],
)
def test_mistakes(
    words: list[str],
    error: type[GenarenaError],
    message: str,
    run_of: Callable[[str], Path],
    workplace: Path,
    tmp_path: Path,
) -> None:
    verb, model, *rest = words
    rest = [str(workplace / word) if "." in word else word for word in rest]
    suffix = {"truncation": "json", "density-ratio": "csv"}.get(verb, "png")
    out = [] if verb in ("probe", "path-length") else ["--out", tmp_path / f"out.{suffix}"]
    with pytest.raises(error, match=message):
        genarena(verb, run_of(model), *rest, *out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["edit", "traverse", "invert", "mix", "truncation", "density-ratio"])
def test_a_format_is_refused_before_anything_is_done(verb: str, run_of: Callable[[str], Path], workplace: Path) -> None:
    data = [] if verb in ("traverse", "mix") else [workplace / "bars.npz"]
    more = ["--component", 0] if verb == "edit" else []
    for out, message in (("out.txt", "no format known"), ("nowhere/out.txt", "no format known")):
        with pytest.raises(UsageError, match=message):
            genarena(verb, run_of("gan"), *data, *more, "--out", workplace / out)


# -- other data --------------------------------------------------------------------------------------------------------


def test_classes_are_those_of_their_names(dataset: Dataset, model_of: Callable[[str], FittedModel]) -> None:
    """Data with other classes than the model's tell it what its own are called, and not by number."""
    cgan, images, labels = model_of("cgan"), dataset.values("test"), dataset.labels("test")
    assert labels is not None and cgan.schema.label is not None and cgan.schema.label.classes == ("0", "1", "2")
    names = labels[labels != 0].astype(str)
    fewer = open_dataset((images[labels != 0], names))
    assert fewer.schema.label is not None and fewer.schema.label.classes == ("1", "2")
    told = cgan.labelled(fewer)
    assert told.schema.label is not None and told.schema.label.classes == ("0", "1", "2")
    field = told.fields[told.schema.label_name or ""]
    np.testing.assert_array_equal(field.values, names.astype(int))
    assert told.schema.label.frequencies[0] == 0 and sum(told.schema.label.frequencies) == pytest.approx(1)
    found, expected = (latent.log_ratio(cgan, d.values("test"), d.labels("test")) for d in (told, dataset))
    rows = [int(np.flatnonzero((images == x).all((1, 2, 3)))[0]) for x in told.values("test")]
    np.testing.assert_allclose(found, expected[rows], rtol=1e-5)
    plain = open_dataset(images)
    assert (cgan.labelled(dataset), cgan.labelled(plain)) == (dataset, plain)
    assert model_of("gan").labelled(fewer) is fewer  # it was told of none
    strange = open_dataset((images, np.where(labels == 2, "cat", labels.astype(str))))
    for refused in (cgan.labelled, lambda data: latent.calibrate(cgan, data), lambda data: duality_gap(cgan, data, 1)):
        with pytest.raises(DataError, match="examples of class 'cat', and the model was told of 0, 1, 2"):
            refused(strange)
