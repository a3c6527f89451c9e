"""Models of a user's own that define as little as `models/README.md` asks for go wherever ours go, or are told why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genarena.catalogue import capability_markdown, capability_rows
from genarena.console import capability_table
from genarena.data import Dataset
from genarena.errors import CapabilityError
from genarena.export import export
from genarena.fit import fit, plan
from genarena.fitted import FittedModel, load_model
from genarena.models import MODELS, find_model

CODES = "no prior: it is a code"
SOURCE = f'''
import math

import torch
from pydantic import Field
from torch import nn

from genarena.game import Game, Model, ModelConfig, OnePlayerGame


class Codes(OnePlayerGame):
    """One player, no sampling."""

    class Config(ModelConfig):
        batch_size: int = Field(default=16, ge=1)

    players = {{"one": ("down", "up")}}

    def __init__(self, config, schema):
        super().__init__(config, schema)
        self.shape = schema.target.shape
        self.down, self.up = nn.Linear(math.prod(self.shape), 3), nn.Linear(3, math.prod(self.shape))

    def optimizer(self, player, parameters):
        return torch.optim.SGD(parameters, lr=1e-4)

    def loss(self, batch, draw):
        return (self.reconstruct(batch.x) - batch.x).flatten(1).square().sum(1).mean(), {{}}

    def capabilities(self):
        return {{"sample": "{CODES}", "encode": None, "reconstruct": None, "log_prob": "{CODES}", "anomaly_score": "{CODES}"}}

    def encode(self, x):
        return self.down(x.flatten(1))

    def decode(self, z):
        return self.up(z).unflatten(1, self.shape)


class Branching(Codes):
    """Its code depends on a value, which no program without Python can follow."""

    def encode(self, x):
        return super().encode(x) if x.mean() > 0 else -super().encode(x)


class Mean(Model):
    """A closed form that samples and scores, and says no more than that."""

    def __init__(self, config, schema):
        super().__init__(config, schema)
        self.register_buffer("mean", torch.zeros(schema.target.shape))

    def fit(self, x, seed):
        self.mean.copy_(torch.from_numpy(x.mean(0)))

    def capabilities(self):
        return {{"sample": None, "anomaly_score": None}}

    def latents(self, n, generator):
        return torch.randn(n, 2, generator=generator)

    def decode(self, z):
        return self.mean + 0.1 * z.sum(1).view(-1, *[1] * self.mean.ndim)

    def anomaly_score(self, x):
        return (x - self.mean).flatten(1).square().sum(1)


class Scores(Mean):
    """It only scores."""

    latents, decode = Model.latents, Model.decode

    def capabilities(self):
        return {{"anomaly_score": None}}
'''
NAMES = ("Codes", "Branching", "Mean", "Scores")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(SOURCE)
    return lambda name: f"{path}:{name}"


@pytest.fixture(scope="module")
def fitted_of(
    own: Callable[[str], str], vectors: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], FittedModel]:
    """Trained, and loaded from its folder by somebody who agrees to run the folder's code."""

    def make(name: str) -> FittedModel:
        folder = tmp_path_factory.mktemp(name)
        fit(plan(own(name), vectors, budget="160 images", device="cpu"), folder, threads=1)
        return load_model(folder, trust=True)

    return make


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the exporter's own calls
@pytest.mark.parametrize(
    ("name", "written", "why"),
    [
        ("Codes", ["decode.pt2", "encode.pt2"], ""),
        ("Mean", ["decode.pt2"], ""),
        ("Branching", [], r"Branching cannot be exported: its \w+\(\) is no program for batches of any size"),
        ("Scores", [], "Scores has nothing to export: it neither decodes nor encodes"),
    ],
)
def test_what_can_be_exported_is_and_the_rest_is_told_why_not(
    name: str, written: list[str], why: str, fitted_of: Callable[[str], FittedModel], tmp_path: Path
) -> None:
    fitted = fitted_of(name)
    if why:
        with pytest.raises(CapabilityError, match=why) as refusal:
            export(fitted, tmp_path, ("torch",))
        assert len(str(refusal.value).splitlines()) == 1
    else:
        assert [path.name for path in export(fitted, tmp_path, ("torch",))] == written


def test_what_a_model_does_not_say_it_cannot(fitted_of: Callable[[str], FittedModel], vectors: Dataset) -> None:
    fitted, values = fitted_of("Mean"), vectors.values("test")[:4]
    assert fitted.sample(3).shape == (3, 4) and np.isfinite(fitted.anomaly_score(values)).all()
    assert set(fitted.capabilities()) == set(fitted_of("Codes").capabilities())
    with pytest.raises(CapabilityError, match="Mean cannot encode: it does not say that it can"):
        fitted.encode(values)
    with pytest.raises(CapabilityError, match="without truncation"):
        fitted.sample(3, truncation=0.5)


def test_they_may_have_rows_in_the_table(
    own: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in NAMES:
        monkeypatch.setitem(MODELS, name.lower(), find_model(own(name)))
    rows: list[dict[str, Any]] = capability_rows()
    assert {frozenset(row["capabilities"]) for row in rows} == {frozenset(rows[0]["capabilities"])}
    assert "| — | — | — | — | — | yes |" in capability_markdown().splitlines()[-1]
    capability_table(rows)
    assert "branching" in capsys.readouterr().out
    json.dumps(rows)
