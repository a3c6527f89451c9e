"""The user's own models in examples/ train, are saved, and stand in the guide word for word."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from genarena.comparison import make_plan
from genarena.data import open_dataset
from genarena.errors import EXIT_CODES, CapabilityError, RunError
from genarena.fit import fit, plan
from genarena.fitted import load_model
from genarena.models import find_model
from genarena.uses import USES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "my_model.py"


@pytest.fixture(scope="module")
def digits():
    torch.set_num_threads(1)
    return open_dataset("digits")


def test_the_denoising_autoencoder_learns_and_comes_back_from_disk(digits, tmp_path):
    settings = {"network": {"architecture": "mlp", "width": 64, "depth": 1}}
    decided = plan(f"{EXAMPLE}:DenoisingAutoencoder", digits, budget="10k images", settings=settings, device="cpu")
    fitted = fit(decided, tmp_path / "run", threads=1)
    test = digits.values("test").astype(float)
    error = np.square(test - fitted.reconstruct(digits.values("test"))).mean()
    mean_error = np.square(test - digits.values("train").mean(0)).mean()
    assert error < 0.6 * mean_error
    with pytest.raises(CapabilityError, match="no distribution of its codes"):
        fitted.sample(1)
    with pytest.raises(RunError, match="trust"):
        load_model(tmp_path / "run")
    again = load_model(tmp_path / "run", trust=True)
    np.testing.assert_array_equal(again.encode(digits.values("test")), fitted.encode(digits.values("test")))


def test_the_relativistic_gan_approaches_the_data(digits, tmp_path):
    settings = {"network": {"architecture": "mlp", "width": 64, "depth": 2}, "average_images": 0}
    fits = {
        budget: fit(
            plan(f"{EXAMPLE}:RelativisticGAN", digits, budget=budget, settings=settings, device="cpu"),
            tmp_path / budget.replace(" ", "-"),
            threads=1,
        )
        for budget in ("64 images", "10k images")
    }
    real_mean = digits.values("train").mean(0)
    start, end = (np.square(f.sample(300).mean(0) - real_mean).mean() for f in fits.values())
    assert end < 0.5 * start
    with pytest.raises(CapabilityError, match="trained without labels"):
        fits["64 images"].sample(1, label="3")


def test_a_users_class_can_be_a_contender(digits):
    model = find_model(f"{EXAMPLE}:RelativisticGAN")
    decided = make_plan(digits, models=["pca", model, f"{EXAMPLE}:DenoisingAutoencoder"], seeds=1, device="cpu")
    assert [c.name for c in decided.contenders] == ["pca", "RelativisticGAN", "DenoisingAutoencoder"]
    assert decided.baselines() == ["pca"]


def test_the_page_on_adding_models_shows_the_example_word_for_word():
    page = (ROOT / "src" / "genarena" / "models" / "README.md").read_text(encoding="utf-8")
    assert EXAMPLE.read_text(encoding="utf-8").strip() in page


def test_the_guide_lists_every_use_and_exit_code():
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| `([a-z-]+)` \|.+\| `(genarena .+)` \|$", guide, re.MULTILINE)
    assert rows == [(use.aim, use.name, use.command) for use in USES.values()]
    codes = re.findall(r"^\| ([\d, ]+) \|", guide, re.MULTILINE)
    assert {int(code) for group in codes for code in group.split(",")} == set(EXIT_CODES)


def test_the_example_imports_on_its_own():
    spec = importlib.util.spec_from_file_location("my_model", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {"DenoisingAutoencoder", "RelativisticGAN"} <= set(vars(module))
