"""Numbers and words that Python callers pass: NumPy's are taken, others refused in one line before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import genarena
from genarena.comparison import make_plan
from genarena.errors import DataError, UsageError, whole
from genarena.fit import choose_device

ROWS = np.random.default_rng(0).normal(size=(120, 3))


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> genarena.FittedModel:
    return genarena.train("vae", ROWS, tmp_path_factory.mktemp("run") / "vae", budget="1 epochs", threads=1)


def test_numpys_integers_are_integers(vae: genarena.FittedModel, tmp_path: Path) -> None:
    fitted = genarena.train("vae", ROWS, tmp_path / "run", budget="1 epochs", seed=np.int64(0), threads=np.int32(1))
    np.testing.assert_array_equal(fitted.sample(np.int64(3), np.uint8(2)), vae.sample(3, 2))
    np.testing.assert_array_equal(fitted.log_prob(ROWS[:2], np.int64(2), np.int64(1)), vae.log_prob(ROWS[:2], 2, 1))
    assert make_plan(genarena.open_dataset(ROWS), seeds=np.int64(2)).seeds == (0, 1)


@pytest.mark.parametrize("value", [1.0, "1", None, np.float32(1), [1], -1, 2**63], ids=repr)
def test_what_is_no_whole_number_is_refused(vae: genarena.FittedModel, value: object, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: whole(value, "seed"),
        lambda: vae.sample(2, value),  # type: ignore[arg-type]
        lambda: vae.log_prob(ROWS[:2], seed=value),  # type: ignore[arg-type]
        lambda: genarena.train("vae", ROWS, tmp_path / "run", seed=value),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(UsageError, match="seed="):
            call()


def test_a_device_is_a_word_or_torchs_own(tmp_path: Path) -> None:
    assert choose_device(torch.device("cpu")) == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="'tpu' is unknown"):
        choose_device("tpu")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run, out: genarena.train("vae", ROWS, out, show="liv"), "show='liv' is unknown: quiet, live or json"),
        (lambda run, out: genarena.load(run, checkpoint="lsat"), "checkpoint='lsat' is unknown: last or best"),
        (lambda run, out: genarena.train("vae", ROWS, out, budget=1000), "budget '1000' is not understood"),
    ],
    ids=["show", "checkpoint", "budget"],
)
def test_unknown_words_are_refused(
    call: Callable[..., object], words: str, vae: genarena.FittedModel, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    vae.save_pretrained(run)
    with pytest.raises(UsageError, match=words):
        call(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z: z[:, 1:], "takes latents of shape"),
        (lambda z: z[0], "takes latents of shape"),
        (lambda z: z * np.nan, "not finite"),
    ],
    ids=["narrow", "one", "nan"],
)
def test_latents_that_the_model_does_not_have_are_refused(
    change: Callable[[np.ndarray], np.ndarray], words: str, vae: genarena.FittedModel
) -> None:
    with pytest.raises(DataError, match=words):
        vae.decode(change(vae.latents(3)))
