"""Augmentations of what discriminators see: what each transformation does, how often, and that gradients pass through."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from genarena import distributed
from genarena.nets.augment import (
    LOW_PASS,
    AdaptiveAugment,
    DiffAugment,
    Draws,
    _covered,
    _shift,
    geometry,
    recolour,
    warp,
)
from genarena.objectives.adversarial import r1_penalty

MANY = 20_000
GEOMETRY = ("flip", "turns", "whole", "scale", "stretch", "before", "after", "fraction")  # in the order of drawing
COLOUR = ("brightness", "contrast", "luma", "hue", "saturation")


class Kept(Draws):
    """Draws that remember the strengths, and apply one transformation alone where told."""

    def __init__(self, n: int, probability: float = 1.0, names: tuple[str, ...] = GEOMETRY, only: str | None = None):
        super().__init__(torch.empty(n, 0, dtype=torch.float64), torch.tensor(probability, dtype=torch.float64))
        self.names, self.only, self.kept = iter(names), only, dict[str, Tensor]()

    def _applied(self, strength: Tensor, probability: Tensor | None = None) -> Tensor:
        name = next(self.names)
        drawn = super()._applied(strength, probability)
        self.kept[name] = drawn if self.only in (None, name) else torch.zeros_like(drawn)
        return self.kept[name]


def adaptive(probability: float, dtype: torch.dtype = torch.float32) -> AdaptiveAugment:
    augment = AdaptiveAugment().to(dtype).train()
    augment.probability.fill_(probability)
    return augment


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.default_generator.manual_seed(0)


@pytest.fixture(params=["diffaugment", "ada"])
def augment(request: pytest.FixtureRequest) -> nn.Module:
    return DiffAugment().train() if request.param == "diffaugment" else adaptive(1.0)


# -- both --------------------------------------------------------------------------------------------------------------


def test_nothing_happens_in_eval_mode(augment: nn.Module) -> None:
    x = noise(4, 3, 8, 8)
    assert augment.eval()(x) is x
    assert not torch.equal(augment.train()(x), x)


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (3, 3, 13, 21), (1, 3, 32, 32)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_and_layout_are_kept(augment: nn.Module, shape: Any, layout: Any, dtype: torch.dtype) -> None:
    x = noise(*shape, dtype=dtype).contiguous(memory_format=layout)
    y = augment(x)
    assert y.shape == x.shape and y.dtype == x.dtype
    assert y.is_contiguous(memory_format=layout)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("shape", [(2, 1, 5, 4), (2, 3, 4, 4)])
def test_gradients_of_first_and_second_order(augment: nn.Module, shape: Any) -> None:

    def same(x: Tensor) -> Tensor:
        torch.default_generator.manual_seed(7)
        return augment(x)

    x = noise(*shape, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(same, x)
    assert torch.autograd.gradgradcheck(same, x)


def test_a_gradient_penalty_reaches_the_weights(augment: nn.Module) -> None:
    net = nn.Sequential(augment, nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 1)).double()
    x = noise(3, 3, 8, 8, dtype=torch.float64)

    def penalty() -> Tensor:
        torch.default_generator.manual_seed(7)
        return r1_penalty(lambda image: net(image).squeeze(1), x)

    weight: Any = net[1].weight
    (slope,) = torch.autograd.grad(penalty(), weight)
    with torch.no_grad():
        weight[0, 0, 0, 0] += 1e-6
    above = penalty()
    with torch.no_grad():
        weight[0, 0, 0, 0] -= 2e-6
    assert float(slope[0, 0, 0, 0]) == pytest.approx(float((above - penalty()).detach()) / 2e-6, rel=1e-5)


def test_two_processes_equal_one(augment: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(6, 3, 8, 8)
    whole = augment(x)
    monkeypatch.setattr(distributed, "world", lambda: 2)
    for rank, half in enumerate(x.chunk(2)):
        torch.default_generator.manual_seed(0)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        assert torch.allclose(augment(half), whole.chunk(2)[rank], atol=1e-6)


# -- DiffAugment -------------------------------------------------------------------------------------------------------


def by_hand(image: np.ndarray, u: np.ndarray) -> np.ndarray:
    """DiffAugment of one image ``(C, H, W)``, as its paper says it."""
    image = image + (u[0] - 0.5)
    grey = image.mean(0)
    image = grey + (image - grey) * 2 * u[1]
    image = image.mean() + (image - image.mean()) * (u[2] + 0.5)
    size = image.shape[1:]
    most = [int(s / 8 + 0.5) for s in size]
    down, right = (math.floor(v * (2 * m + 1)) - m for v, m in zip(u[3:5], most, strict=True))
    padded = np.pad(image, ((0, 0), (most[0],) * 2, (most[1],) * 2))
    image = padded[:, most[0] - down :, most[1] - right :][:, : size[0], : size[1]].copy()
    side = [int(s / 2 + 0.5) for s in size]
    top, left = (math.floor(v * (s + 1 - c % 2)) - c // 2 for v, s, c in zip(u[5:7], size, side, strict=True))
    image[:, max(top, 0) : top + side[0], max(left, 0) : left + side[1]] = 0
    return image


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 13, 21), (1, 8, 9)])
def test_diffaugment_by_hand(shape: Any) -> None:
    x = noise(40, *shape, dtype=torch.float64)
    found = DiffAugment().train()(x).numpy()
    torch.default_generator.manual_seed(0)
    uniform = torch.rand(40, 7, dtype=torch.float64).numpy()
    for image, u, y in zip(x.numpy(), uniform, found, strict=True):
        assert np.allclose(y, by_hand(image, u))


def test_diffaugment_leaves_no_place_out() -> None:
    """Every shift up to an eighth is as likely as another; cutout hides the middle of a line most, all of it at times."""
    moved = _shift(32, torch.rand(MANY))[:, 0].argmax(2)[:, 16] - 16
    counts = torch.bincount(moved + 4, minlength=9) / MANY
    assert counts.numpy() == pytest.approx(np.full(9, 1 / 9), abs=0.01)
    hidden = _covered(32, torch.rand(MANY)).double()
    assert hidden.sum(1).max() == 16 and hidden.sum(1).min() == 8
    share = hidden.mean(0).numpy()
    assert share[8:24] == pytest.approx(np.full(16, 16 / 33), abs=0.015)
    assert share[[0, 31]] == pytest.approx([9 / 33, 9 / 33], abs=0.015)


# -- how far and how often the adaptive one transforms --------------------------------------------------------------------


def test_it_starts_as_the_identity() -> None:
    x = noise(2, 3, 8, 8)
    state = torch.default_generator.get_state()
    assert AdaptiveAugment().train()(x) is x
    assert torch.equal(torch.default_generator.get_state(), state)


def place_of(only: str, height: int = 24, width: int = 24) -> np.ndarray:
    """The matrices of one transformation alone, always applied."""
    names = tuple(name for name in GEOMETRY if name != "turns" or height == width)
    return geometry(height, width, Kept(MANY, 1.0, names, only)).numpy()


def test_blitting() -> None:
    flips = place_of("flip")
    assert np.array_equal(np.abs(flips), np.broadcast_to(np.eye(2, 3), flips.shape))
    assert (flips[:, 0, 0] < 0).mean() == pytest.approx(0.5, abs=0.015)
    assert (flips[:, 1, 1] == 1).all()
    turns = place_of("turns")
    angles = np.rint(np.degrees(np.arctan2(turns[:, 1, 0], turns[:, 0, 0])) % 360)
    assert {v: (angles == v).mean() for v in np.unique(angles)} == pytest.approx(
        {0: 0.25, 90: 0.25, 180: 0.25, 270: 0.25}, abs=0.015
    )
    assert np.array_equal(place_of("turns", 24, 25), np.broadcast_to(np.eye(2, 3), turns.shape))
    whole = place_of("whole", 24, 40)[:, :, 2]
    assert np.array_equal(whole, np.rint(whole))
    assert np.abs(whole).max(0).tolist() == [5, 3]
    assert whole.std(0) == pytest.approx([40 / 8 / 3**0.5, 24 / 8 / 3**0.5], rel=0.03)
    assert np.corrcoef(whole.T)[0, 1] == pytest.approx(0, abs=0.03)


def test_general_geometry() -> None:
    scale = place_of("scale")
    assert np.log2(scale[:, 0, 0]).std() == pytest.approx(0.2, rel=0.03)
    assert np.allclose(scale[:, 0, 0], scale[:, 1, 1])
    stretch = place_of("stretch")
    assert np.log2(stretch[:, 0, 0]).std() == pytest.approx(0.2, rel=0.03)
    assert np.allclose(stretch[:, 0, 0] * stretch[:, 1, 1], 1)
    for name in ("before", "after"):
        turned = place_of(name)
        angle = np.arctan2(turned[:, 1, 0], turned[:, 0, 0])
        assert np.histogram(angle, 8, (-np.pi, np.pi))[0] / MANY == pytest.approx(np.full(8, 1 / 8), abs=0.015)
    fraction = place_of("fraction", 24, 40)[:, :, 2]
    assert fraction.std(0) == pytest.approx([5, 3], rel=0.03)
    assert fraction.mean(0) == pytest.approx([0, 0], abs=0.15)


def test_each_transformation_has_the_probability_of_its_own() -> None:
    kept = Kept(MANY, 0.36, GEOMETRY + COLOUR)
    geometry(24, 24, kept)
    recolour(torch.zeros(MANY, 3, 1, 1, dtype=torch.float64), kept)
    applied = {name: (v.reshape(MANY, -1) != 0).any(1).double() for name, v in kept.kept.items()}
    found = {name: float(v.mean()) for name, v in applied.items()}
    # Some strengths may be nothing: no flip, no turn; a shift that rounds to zero both ways (|t| < 1/48 of 24 pixels).
    still = {
        "flip": 1 / 2,
        "luma": 1 / 2,
        "turns": 1 / 4,
        "whole": (1 / 6) ** 2,
        "before": 1 - 0.2 / 0.36,
        "after": 1 - 0.2 / 0.36,
    }
    assert found == pytest.approx({name: 0.36 * (1 - still.get(name, 0)) for name in found}, abs=0.015)
    assert float((applied["before"] + applied["after"] > 0).double().mean()) == pytest.approx(0.36, abs=0.015)
    together = np.corrcoef(torch.stack(list(applied.values())).numpy()) - np.eye(len(applied))
    assert np.abs(together).max() < 0.04


def test_colour_strengths() -> None:
    kept = Kept(MANY, 1.0, COLOUR)
    recolour(torch.zeros(MANY, 3, 1, 1, dtype=torch.float64), kept)
    found = {name: float(kept.kept[name].std()) for name in ("brightness", "contrast", "saturation")}
    assert found == pytest.approx({"brightness": 0.2, "contrast": 0.5, "saturation": 1.0}, rel=0.03)
    assert float(kept.kept["luma"].mean()) == pytest.approx(0.5, abs=0.015)
    assert float(kept.kept["hue"].abs().max()) == pytest.approx(math.pi, rel=0.01)


def test_two_images_of_a_batch_are_altered_differently() -> None:
    x = noise(1, 3, 8, 8).expand(64, -1, -1, -1)
    y = adaptive(1.0)(x).flatten(1)
    assert torch.cdist(y, y).add(torch.eye(64) * 9).min() > 1e-3


# -- what the adaptive one computes ---------------------------------------------------------------------------------------


def test_the_matrix_is_the_inverse_of_the_papers_product() -> None:
    kept = Kept(50)
    found = geometry(24, 24, kept).numpy()
    s = {name: value.numpy() for name, value in kept.kept.items()}

    def rotate(angle: float) -> np.ndarray:
        c, d = math.cos(angle), math.sin(angle)
        return np.array([[c, -d, 0], [d, c, 0], [0, 0, 1]])

    def translate(shift: np.ndarray) -> np.ndarray:
        return np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])

    for i, place in enumerate(found):
        forward = np.diag([1 - 2 * s["flip"][i], 1, 1])  # appendix B, each step multiplied from the left
        forward = rotate(-np.pi / 2 * s["turns"][i]) @ forward
        forward = translate(-np.rint(s["whole"][i] * 24)) @ forward
        forward = np.diag([2 ** -s["scale"][i]] * 2 + [1]) @ forward
        forward = rotate(-s["before"][i]) @ forward
        forward = np.diag([2 ** -s["stretch"][i], 2 ** s["stretch"][i], 1]) @ forward
        forward = rotate(-s["after"][i]) @ forward
        forward = translate(-s["fraction"][i] * 24) @ forward
        assert np.allclose(np.linalg.inv(forward)[:2], place)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 44)])
def test_warping_a_smooth_image_agrees_with_scipy(height: int, width: int) -> None:
    """Within 2 % of the image's range, of a cubic spline through it with the same border."""
    rows, columns = np.mgrid[:height, :width]
    image = np.cos(2 * np.pi * rows / height) * np.sin(np.pi * columns / width) + 0.5 * np.cos(np.pi * columns / 8)
    places = geometry(height, width, Kept(20))
    found = warp(torch.from_numpy(image).expand(20, 1, -1, -1), places).numpy()[:, 0]
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    for place, y in zip(places.numpy(), found, strict=True):
        matrix, shift = place[::-1, 1::-1], place[::-1, 2]  # scipy counts rows first, and from the corner
        offset = middle + shift - matrix @ middle
        expected = ndimage.affine_transform(image, matrix, offset, order=3, mode="mirror")
        assert np.abs(y - expected).max() < 0.02 * np.ptp(image)


def place(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor([rows], dtype=torch.float32)


@pytest.mark.parametrize("size", [8, 15])
def test_flips_quarters_and_whole_shifts_are_exact(size: int) -> None:
    x = noise(1, 2, size, size)
    exact = {"atol": 1e-5, "rtol": 0}
    assert torch.allclose(warp(x, place((1, 0, 0), (0, 1, 0))), x, **exact)
    assert torch.allclose(warp(x, place((-1, 0, 0), (0, 1, 0))), x.flip(3), **exact)
    assert torch.allclose(warp(x, place((0, -1, 0), (1, 0, 0))), torch.rot90(x, 1, (2, 3)), **exact)
    shifted = warp(x, place((1, 0, 2), (0, 1, -1)))
    assert torch.allclose(shifted[:, :, 1:, :-2], x[:, :, :-1, 2:], **exact)
    assert torch.allclose(shifted[:, :, 1:, -2:], x[:, :, :-1, -3:-1].flip(3), **exact)  # mirrored about the last pixel


def test_half_a_pixel_is_cubic_interpolation() -> None:
    x = noise(1, 1, 9, 9)
    found = warp(x, place((1, 0, 0.5), (0, 1, 0)))[0, 0]
    line = x[0, 0]
    expected = 9 / 16 * (line[:, 3] + line[:, 4]) - 1 / 16 * (line[:, 2] + line[:, 5])
    assert torch.allclose(found[:, 3], expected, atol=1e-5)


def test_the_filter_and_linear_interpolation_reconstruct() -> None:
    """The CDF 5/3 pair: what is interpolated to half pixels and filtered is what it was."""
    both_ways = np.convolve(LOW_PASS, (1 / 2, 1, 1 / 2))
    assert both_ways[1::2].tolist() == [0, 1, 0]
    assert (
        np.dot(LOW_PASS, [1, 1, 1, 1, 1]) == 1 and np.dot(LOW_PASS, [1, -1, 1, -1, 1]) == 0
    )  # flat passes, the finest not


def test_shrinking_lets_less_alias_through_than_interpolation() -> None:
    """Stripes too fine for the shrunk image fade."""
    stripes = torch.cos(2 * math.pi * 0.42 * torch.arange(64.0)).expand(1, 1, 64, 64)
    shrunk = place((1.6, 0, 0), (0, 1.6, 0))
    plain = nn.functional.grid_sample(
        stripes, nn.functional.affine_grid(shrunk, [1, 1, 64, 64], align_corners=True), align_corners=True
    )
    inside = slice(16, 48)
    assert warp(stripes, shrunk)[..., inside, inside].std() < 0.6 * plain[..., inside, inside].std()


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_by_hand(channels: int) -> None:
    """Five steps, one after the other, as in the paper's appendix B."""
    x = noise(30, channels, 4, 5, dtype=torch.float64)
    kept = Kept(30, 0.8, COLOUR)
    found = recolour(x, kept).numpy()
    s = {name: value.numpy() for name, value in kept.kept.items()}
    for i, image in enumerate(x.numpy()):
        image = np.broadcast_to(image, (3, 4, 5)) + s["brightness"][i]
        image = image * 2 ** s["contrast"][i]
        image = image - 2 * s["luma"][i] * image.mean(0)
        rotation = Rotation.from_rotvec(np.full(3, s["hue"][i] / math.sqrt(3)))
        image = rotation.apply(image.reshape(3, -1).T).T.reshape(3, 4, 5)
        image = image.mean(0) + (image - image.mean(0)) * 2 ** s["saturation"][i]
        assert np.allclose(found[i], image[:channels])


def test_geometry_comes_before_colour_and_both_happen() -> None:
    x = noise(5, 3, 8, 8)
    draws = Draws(x, torch.tensor(0.7))
    expected = recolour(warp(x, geometry(8, 8, draws)), draws)
    torch.default_generator.manual_seed(0)
    assert torch.equal(adaptive(0.7)(x), expected)


# -- how it adapts -----------------------------------------------------------------------------------------------------


def test_the_probability_follows_overfitting() -> None:
    augment = AdaptiveAugment()
    for turns, sign, images, expected in (
        (3, 0.9, 64, 0.0),
        (1, 0.9, 64, 4 * 64 / 500_000),  # it moves after every fourth turn
        (4, 0.9, 64, 8 * 64 / 500_000),
        (4, 0.3, 64, 4 * 64 / 500_000),
        (12, -1.0, 64, 0.0),
        (4, 1.0, 700_000, 1.0),
    ):
        for _ in range(turns):
            augment.adapt(torch.tensor(sign), images)
        assert float(augment.probability) == pytest.approx(expected)


def test_the_probability_follows_the_mean_of_four_turns() -> None:
    """Single turns on one side of the target do not outvote the mean on the other."""
    augment = AdaptiveAugment()
    for signs, moves in (([0.5, 0.5, 0.5, 1.0], 1), ([0.7, 0.7, 0.7, 0.2], 0)):
        for sign in signs:
            augment.adapt(torch.tensor(sign), 16)
        assert float(augment.probability) * 500_000 / 64 == pytest.approx(moves, abs=1e-4)


def test_the_probability_is_state() -> None:
    augment, other = AdaptiveAugment(), AdaptiveAugment()
    for _ in range(6):
        augment.adapt(torch.tensor(1.0), 62_500)
    other.load_state_dict(augment.state_dict())
    assert float(other.probability) == pytest.approx(0.5)
    for layer in (augment, other):
        for _ in range(2):
            layer.adapt(torch.tensor(1.0), 62_500)
        assert float(layer.probability) == 1
    assert not list(augment.parameters())
