"""A folder of small pictures to try genarena on: moons, stars and suns. `python make_pictures.py sky 900`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FINE = 4  # drawn that many times larger, and shrunk: smooth edges


def sky(rng: np.random.Generator, dark: bool) -> Image.Image:
    """A background that brightens towards the ground, 40 to 56 pixels high and wide."""
    height, width = rng.integers(40, 57, size=2) * FINE
    above = rng.normal((20, 24, 70) if dark else (70, 140, 220), 8)
    below = above + rng.uniform(20, 60)
    rows = np.linspace(above, below, height)[:, None, :].repeat(width, axis=1)
    return Image.fromarray(rows.clip(0, 255).astype(np.uint8))


def draw(kind: str, rng: np.random.Generator) -> Image.Image:
    """One picture: a body of random place, size, turn and colour before its sky."""
    image = sky(rng, dark=kind != "sun")
    mask = Image.new("L", image.size)
    pen = ImageDraw.Draw(mask)
    centre = np.array(image.size) / 2 + rng.uniform(-5, 5, size=2) * FINE
    radius, turn = rng.uniform(9, 14) * FINE, rng.uniform(0, 2 * np.pi)

    def ring(points: int, *radii: float) -> list[tuple[float, float]]:
        angles = turn + np.arange(points) * 2 * np.pi / points
        reach = np.resize(radii, points)[:, None]
        return [tuple(p) for p in centre + reach * np.column_stack([np.cos(angles), np.sin(angles)])]

    if kind == "star":
        pen.polygon(ring(10, radius, 0.45 * radius), fill=255)
    if kind == "sun":
        pen.polygon(ring(24, 1.3 * radius, radius), fill=255)
    if kind == "moon":
        shade = centre + 0.55 * radius * np.array([np.cos(turn), np.sin(turn)])
        pen.ellipse([*(centre - radius), *(centre + radius)], fill=255)
        pen.ellipse([*(shade - 0.9 * radius), *(shade + 0.9 * radius)], fill=0)
    image.paste(tuple(int(c) for c in rng.normal((245, 215, 90), 8).clip(0, 255)), mask=mask)
    return image.resize((image.width // FINE, image.height // FINE), Image.Resampling.BOX)


def main(folder: str, count: str) -> None:
    """Write `count` pictures into `folder`, a sub-folder for each kind."""
    rng = np.random.default_rng(0)
    for number in range(int(count)):
        kind = ("moon", "star", "sun")[number % 3]
        path = Path(folder) / kind / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(kind, rng).save(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
