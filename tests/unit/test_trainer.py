"""Training's course: trouble with numbers, disks and signals, and what a run folder accepts."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import genarena
from genarena import best
from genarena import trainer as module
from genarena.best import keep_best, read_best
from genarena.budget import Budget
from genarena.checkpoint import RunFolder, State, finite, read_tensors
from genarena.comparison import cell as cells
from genarena.comparison import run as supervisor
from genarena.comparison.measure import random_space, validation_monitor
from genarena.data import Dataset, Loader, open_dataset
from genarena.errors import CapabilityError, RunError, StorageError, TrainingError, UsageError
from genarena.events import Alarm, Event, read_events
from genarena.files import read_json, sha256_of, write_json
from genarena.fit import fit, plan
from genarena.fitted import FittedModel, build, load_model
from genarena.kinds import kind_of
from genarena.metrics.frechet import frechet_distance
from genarena.models import MODELS
from genarena.models.autoencoder import Autoencoder
from genarena.trainer import Trainer

NETWORK = {"architecture": "mlp", "width": 8, "depth": 2, "decoder_norm": "batch"}
SMALL = {"latent_dim": 2, "batch_size": 16, "network": NETWORK}
ROUNDS = 20


class Memory:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _checkpoint_after_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SHARE", 0)


@pytest.fixture
def make(images: Dataset, tmp_path: Path) -> Callable[..., Trainer]:
    """Makes a trainer of a small autoencoder for 20 rounds in one folder."""

    def trainer(prepare: Callable[[Any], None] = lambda _: None, **options: Any) -> Trainer:
        config = Autoencoder.Config.parse({**SMALL, **options.pop("settings", {})})
        game: Any = build(Autoencoder, config, images.schema, 0)
        served: Any = build(Autoencoder, config, images.schema, 0)
        prepare(game)
        run = RunFolder(options.pop("folder", tmp_path / "run"))
        run.path.mkdir(exist_ok=True)
        return Trainer(
            game,
            Loader(images, batch_size=16, seed=0, normalise=kind_of(images.schema.target).normalise),
            run,
            budget=options.pop("budget", Budget(16.0 * ROUNDS, "images")),
            seed=0,
            device=torch.device("cpu"),
            every=80,
            served=served,
            checkpoint_seconds=options.pop("checkpoint_seconds", 0.0),
            sinks=lambda _: [Memory()],
            **options,
        )

    return trainer


def events_of(trainer: Trainer, kind: str) -> list[Event]:
    (sink,) = trainer.sinks
    return [e for e in sink.events if e.kind == kind]  # type: ignore[attr-defined]


def poison(what: str, batches: range, times: int = 10**6) -> Callable[[Any], None]:
    """Spoil the loss, the gradient or a buffer while the given batches are shown, at most so many times."""

    def prepare(game: Any) -> None:
        original, left = game.loss, [times]

        def loss(batch: Any, draw: Any) -> Any:
            value, terms = original(batch, draw)
            if draw.batches - 1 in batches and left[0]:
                left[0] -= 1
                weight = next(game.decoder.parameters())
                if what == "loss":
                    value = value + torch.inf  # its gradient is finite
                elif what == "gradient":  # the root's slope at 0 is infinite, and 0 times infinity is not a number
                    value = value + (weight.flatten()[0] * 0).sqrt()
                else:
                    next(game.decoder.buffers()).data.fill_(torch.nan)
            return value, terms

        game.loss = loss

    return prepare


# -- numbers that are not finite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_round_that_is_not_finite_is_skipped_and_named(make: Callable[..., Trainer], what: str) -> None:
    trainer = make(poison(what, range(5, 8)))
    progress = trainer.run()
    assert len(events_of(trainer, "warning")) == 3
    assert progress.skips == 0  # forgiven at the next look
    assert progress.images == 16 * ROUNDS
    assert progress.rate == 1
    texts = [e.text for e in events_of(trainer, "warning")]
    assert texts == [
        f"the {what} of player 'autoencoder' is not finite at {16 * n} images (round {n}): round skipped ({n - 4} of 3)"
        for n in (5, 6, 7)
    ]
    assert finite(trainer.game.state_dict())


def test_a_skipped_round_steps_nothing(make: Callable[..., Trainer]) -> None:
    """Weights, optimizer and average after a spoilt first round are those of a run that never had it."""
    trainer = make(poison("gradient", range(0, ROUNDS), times=3), budget=Budget(48.0, "images"))
    fresh = {k: v.clone() for k, v in trainer.game.state_dict().items()}
    trainer.run()
    learned = dict(trainer.game.named_parameters())
    assert all(torch.equal(fresh[k], v) for k, v in learned.items())
    assert trainer.referee.optimizer_state() == {}


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_fourth_rolls_back_with_half_the_rate(make: Callable[..., Trainer], what: str) -> None:
    trainer = make(poison(what, range(5, 9), times=4))
    progress = trainer.run()
    assert (progress.rollbacks, progress.rate, progress.skips) == (1, 0.5, 0)
    assert progress.images == 16 * ROUNDS
    assert trainer.referee.optimizers["autoencoder"].param_groups[0]["lr"] == pytest.approx(1e-3)
    # Skipped rounds leave no checkpoint of their own: the newest is that of round 5.
    assert "rolled back to checkpoint 5, learning rate x 0.5" in events_of(trainer, "warning")[-1].text


def test_a_spoilt_buffer_is_found_before_it_is_saved(make: Callable[..., Trainer]) -> None:
    trainer = make(poison("buffer", range(5, 6), times=1))
    progress = trainer.run()
    assert (progress.rollbacks, progress.rate) == (1, 0.5)
    (warning,) = events_of(trainer, "warning")
    assert warning.text == "a weight or buffer is not finite: rolled back to checkpoint 5, learning rate x 0.5"
    assert finite(trainer.game.state_dict())
    assert trainer.referee.average is not None
    assert finite(trainer.referee.average.state)


@pytest.mark.parametrize("what", ["loss", "gradient", "buffer"])
def test_trouble_that_stays_fails_with_a_diagnosis(make: Callable[..., Trainer], what: str) -> None:
    trainer = make(poison(what, range(5, 1000)))
    named = (
        "a weight or buffer is not finite" if what == "buffer" else rf"the {what} of player 'autoencoder' .*\(round 8\)"
    )
    with pytest.raises(TrainingError, match=f"training diverged: {named}.* Last good checkpoint: 5. Try a lower"):
        trainer.run()
    texts = [e.text for e in events_of(trainer, "warning")]
    assert sum("rolled back" in text for text in texts) == 2
    assert sum("skipped" in text for text in texts) == (0 if what == "buffer" else 9)


def test_rolling_back_passes_over_a_damaged_checkpoint(make: Callable[..., Trainer]) -> None:
    trainer = make(poison("loss", range(5, 9), times=4))
    original = trainer.referee.play_round

    def play_round(draw: Any) -> Any:
        if draw.batches == 8 and not trainer.progress.rollbacks:
            (trainer.folder.checkpoints / "5" / "state.json").write_text("{}")
        return original(draw)

    trainer.referee.play_round = play_round  # type: ignore[method-assign]
    assert trainer.run().rollbacks == 1
    assert any("rolled back to checkpoint 4" in e.text for e in events_of(trainer, "warning"))


def test_a_run_killed_before_a_roll_back_ends_like_one_that_was_not(
    make: Callable[..., Trainer], tmp_path: Path
) -> None:
    """What a roll-back comes back to does not depend on when the clock had checkpoints written."""

    class Killed(Exception):
        pass

    def spoilt(trainer: Trainer, killed_at: int | None = None) -> Trainer:
        original = trainer.game.loss  # type: ignore[operator]

        def loss(batch: Any, draw: Any) -> Any:
            value, terms = original(batch, draw)
            if draw.batches == killed_at:
                raise Killed
            bad = draw.batches in range(14, 18) and not trainer.progress.rollbacks
            return value * torch.nan if bad else value, terms

        trainer.game.loss = loss  # type: ignore[assignment]
        return trainer

    whole = spoilt(make(folder=tmp_path / "whole", checkpoint_seconds=1e9))
    whole.run()
    for killed_at in (13, 16):
        folder = tmp_path / f"killed-{killed_at}"
        with pytest.raises(Killed):
            spoilt(make(folder=folder), killed_at).run()
        resumed = spoilt(make(folder=folder))
        assert resumed.progress.round > 10  # a checkpoint of the clock, newer than the milestone
        resumed.run()
        for trainer in (whole, resumed):
            assert trainer.progress.rollbacks == 1
            assert any("rolled back to checkpoint 10" in e.text for e in events_of(trainer, "warning"))
        for name, tensor in whole.game.state_dict().items():
            assert torch.equal(tensor, resumed.game.state_dict()[name]), name
        assert replace(whole.progress, seconds=0, cpu_seconds=0) == replace(resumed.progress, seconds=0, cpu_seconds=0)


def test_numbers_that_are_not_finite_raise_one_alarm_until_the_next_milestone(make: Callable[..., Trainer]) -> None:
    trainer = make(poison("loss", range(6, 9)))
    trainer.run()
    (alarm,) = events_of(trainer, "alarm")
    assert (alarm.name, alarm.round) == ("non-finite", 7)
    assert (
        alarm.text.startswith("the loss of player 'autoencoder' is not finite at 96 images")
        and "Try a lower" in alarm.text
    )
    (clear,) = events_of(trainer, "clear")
    assert (clear.name, clear.images) == ("non-finite", 160)
    again = make(poison("buffer", range(5, 6), times=1), folder=trainer.folder.path.with_name("again"))
    again.run()
    assert [e.text.partition(".")[0] for e in events_of(again, "alarm")] == ["a weight or buffer is not finite"]


# -- the watch ---------------------------------------------------------------------------------------------------------


def test_a_watch_is_shown_rounds_at_its_cadence_and_changes_nothing(
    make: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, set[str]]] = []

    def watch(images: int, numbers: Any) -> list[Alarm]:
        torch.rand(3)
        shown.append((images, set(numbers)))
        return [Alarm("trouble", {"n": 1.0}, "try this", over=images > 160)] if images in (96, 192) else []

    monkeypatch.setattr(module, "READINGS", 2)  # between two looks, which are 80 images apart
    watched, plain = make(watch=watch), make(folder=tmp_path / "plain")
    watched.run()
    plain.run()
    assert [images for images, _ in shown] == [48, 80, 128, 160, 208, 240, 288, 320]
    assert shown[0][1] == {"loss/autoencoder", "gradient/autoencoder", "mse"}
    assert all(torch.equal(t, plain.game.state_dict()[name]) for name, t in watched.game.state_dict().items())
    assert events_of(watched, "alarm") == []
    monkeypatch.setattr(module, "READINGS", 10**6)
    every = make(watch=watch, folder=tmp_path / "every")
    every.run()
    assert [(e.kind, e.name, e.images, e.text) for e in (*events_of(every, "alarm"), *events_of(every, "clear"))] == [
        ("alarm", "trouble", 96, "try this"),
        ("clear", "trouble", 192, "try this"),
    ]


# -- disks -------------------------------------------------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Collection[int]) -> None:
    """Let the disk be full at some of the commits, counted from 0 (before the first round)."""
    original, count = RunFolder.commit, iter(range(10**6))

    def commit(self: RunFolder, *args: Any) -> None:
        if next(count) in refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, *args)

    monkeypatch.setattr(RunFolder, "commit", commit)


def test_a_full_disk_is_a_warning_twice(make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, range(3, 5))
    trainer = make()
    trainer.run()
    texts = [e.text for e in events_of(trainer, "warning")]
    assert texts == [
        f"no checkpoint at {n} images: No space left on device; the previous one stands, training goes on"
        for n in (48, 64)
    ]
    assert trainer.folder.steps()[0] == ROUNDS


def test_a_disk_that_is_full_now_and_then_ends_nothing(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, {3, 4, 6, 7, 9})
    trainer = make()
    trainer.run()
    assert len(events_of(trainer, "warning")) == 5
    assert trainer.folder.steps()[0] == ROUNDS


def test_a_disk_that_stays_full_is_a_storage_error(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, range(3, 100))
    with pytest.raises(StorageError, match=r"No space left on device.*Free space for .* run the same command again"):
        make().run()
    assert make().progress.round == 2


def test_a_full_disk_at_the_end_is_a_storage_error(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, range(ROUNDS, ROUNDS + 1))
    with pytest.raises(StorageError):
        make().run()


def test_the_newest_checkpoint_is_passed_over_where_it_is_damaged(make: Callable[..., Trainer], tmp_path: Path) -> None:
    whole = make(folder=tmp_path / "whole")
    whole.run()
    make(budget=Budget(160.0, "images")).run()
    path = tmp_path / "run" / "checkpoints" / "10" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    resumed = make()
    assert resumed.progress.round == 9
    (warning,) = events_of(resumed, "warning")
    assert "checkpoint 10 cannot be used" in warning.text
    assert "size or sha256 differs" in warning.text
    assert "Using the one before it" in warning.text
    resumed.run()
    for name, tensor in whole.game.state_dict().items():
        assert torch.equal(tensor, resumed.game.state_dict()[name]), name
    assert resumed.folder.steps() == [ROUNDS, ROUNDS - 1, 15]  # and the milestone


@pytest.mark.parametrize("name", ["autoencoder.99.exp_avg", "autoencoder.first.exp_avg", "exp_avg"])
def test_a_foreign_optimizer_is_refused(make: Callable[..., Trainer], name: str) -> None:
    trainer = make(budget=Budget(16.0, "images"))
    trainer.run()
    loaded = trainer.folder.load(1, trainer.game.state_dict(), trainer.referee.average.state)  # type: ignore[union-attr]
    trainer.folder.commit(replace(loaded, optimizer={name: torch.zeros(3)}), 1)
    resumed = make()
    assert resumed.progress.round == 0
    assert "its optimizer state belongs to other networks" in resumed.warnings[0]


def test_a_moment_of_another_shape_is_refused(make: Callable[..., Trainer]) -> None:
    trainer = make(budget=Budget(16.0, "images"))
    trainer.run()
    average = trainer.referee.average
    assert average is not None
    loaded = trainer.folder.load(1, trainer.game.state_dict(), average.state)
    optimizer = {**loaded.optimizer, "autoencoder.0.exp_avg": torch.zeros(1)}
    trainer.folder.commit(replace(loaded, optimizer=optimizer), 1)
    resumed = make()
    assert resumed.progress.round == 0
    assert "autoencoder.0.exp_avg has another shape than its weight" in resumed.warnings[0]


def test_a_rate_that_was_halved_stays_halved_when_training_goes_on(make: Callable[..., Trainer]) -> None:
    make(poison("loss", range(5, 9), times=4), budget=Budget(160.0, "images")).run()
    resumed = make()
    assert (resumed.progress.rollbacks, resumed.progress.rate) == (1, 0.5)
    resumed.step()
    assert resumed.referee.optimizers["autoencoder"].param_groups[0]["lr"] == pytest.approx(1e-3)


def test_no_intact_checkpoint_is_refused(make: Callable[..., Trainer], tmp_path: Path) -> None:
    make(budget=Budget(32.0, "images")).run()
    for path in (tmp_path / "run" / "checkpoints").glob("*/MANIFEST.json"):
        path.unlink()
    with pytest.raises(RunError, match=r"no intact checkpoint .*MANIFEST.* Move it away"):
        make()


def test_a_kill_before_the_first_round_changes_nothing(make: Callable[..., Trainer]) -> None:
    first = make()
    first._save()
    resumed = make()
    assert resumed.progress.round == 0
    assert events_of(resumed, "resume") == []
    assert resumed.run().images == 16 * ROUNDS


# -- signals -----------------------------------------------------------------------------------------------------------


def signalling(trainer: Trainer, number: int, at: int, times: int = 1) -> None:
    """Send this process a signal while a round is played."""
    original = trainer.referee.play_round

    def play_round(draw: Any) -> Any:
        if draw.batches == at:
            for _ in range(times):
                os.kill(os.getpid(), number)
        return original(draw)

    trainer.referee.play_round = play_round  # type: ignore[method-assign]


@pytest.fixture
def _handlers() -> Iterator[None]:
    """Signals a test gets wrong must not end the test run."""
    before = {n: signal.signal(n, lambda *_: pytest.fail("not handled")) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_and_ends(
    make: Callable[..., Trainer], tmp_path: Path, number: int, ends: type[BaseException]
) -> None:
    whole = make(folder=tmp_path / "whole")
    whole.run()
    trainer = make(checkpoint_seconds=1e6)
    handler = signal.getsignal(number)
    signalling(trainer, number, at=7)
    with pytest.raises(ends) as ended:
        trainer.run()
    assert not isinstance(ended.value, Exception), "anyone's `except Exception` would go on after Ctrl-C"
    assert getattr(ended.value, "code", 143) == 143
    assert trainer.folder.steps()[0] == 8
    assert signal.getsignal(number) is handler
    resumed = make()
    assert resumed.progress.round == 8
    resumed.run()
    assert all(torch.equal(t, resumed.game.state_dict()[name]) for name, t in whole.game.state_dict().items())


@pytest.mark.usefixtures("_handlers")
def test_a_signal_while_the_disk_is_full_is_a_storage_error(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(checkpoint_seconds=1e6)
    signalling(trainer, signal.SIGTERM, at=7)
    refuse(monkeypatch, {2})  # after those of the start and of the first milestone
    with pytest.raises(StorageError, match="No space left on device"):
        trainer.run()


@pytest.mark.usefixtures("_handlers")
def test_a_second_signal_ends_at_once(make: Callable[..., Trainer]) -> None:
    trainer = make(checkpoint_seconds=1e6)
    signalling(trainer, signal.SIGINT, at=7, times=2)
    with pytest.raises(SystemExit) as ended:
        trainer.run()
    assert ended.value.code == 130
    assert trainer.folder.steps() == [5, 0]  # the milestone and the start: nothing of round 8


# -- budgets and arguments ---------------------------------------------------------------------------------------------


def test_a_budget_in_seconds_ends(make: Callable[..., Trainer]) -> None:
    progress = make(budget=Budget(0.1, "seconds")).run()
    assert progress.seconds >= 0.1
    assert progress.round >= 1


def test_time_adds_up_over_rounds_and_resumptions(make: Callable[..., Trainer]) -> None:
    def busy(trainer: Trainer) -> Trainer:
        original = trainer.referee.play_round

        def play_round(draw: Any) -> Any:
            until = time.process_time() + 0.005
            while time.process_time() < until:
                pass
            return original(draw)

        trainer.referee.play_round = play_round  # type: ignore[method-assign]
        return trainer

    half = busy(make(budget=Budget(16.0 * 10, "images"))).run()
    assert half.cpu_seconds >= 0.05 and half.seconds >= 0.05
    whole = busy(make()).run()
    assert whole.cpu_seconds >= half.cpu_seconds + 0.05 and whole.seconds >= half.seconds + 0.05


def test_rounds_and_seeds_draw_different_noise() -> None:
    def noise(seed: int, number: int) -> list[float]:
        return torch.rand(4, generator=torch.Generator().manual_seed(module.round_seed(seed, number))).tolist()

    drawn = [noise(seed, number) for seed in range(20) for number in (0, 1, 2, 10**9)]
    assert len({tuple(row) for row in drawn}) == 80
    assert noise(3, 2) == drawn[14]


def test_what_is_served_is_the_average_where_there_is_one(make: Callable[..., Trainer], tmp_path: Path) -> None:
    averaged, plain = make(), make(folder=tmp_path / "plain", settings={"average_images": 0})
    for trainer in (averaged, plain):
        trainer.run()
    assert averaged.referee.average is not None and plain.referee.average is None
    weights = {name for name, _ in averaged.game.named_parameters()}
    served = averaged.serve().state_dict()
    assert all(torch.equal(served[name], averaged.referee.average.state[name]) for name in weights)
    assert not any(torch.equal(served[name], averaged.game.state_dict()[name]) for name in weights)
    assert all(torch.equal(plain.serve().state_dict()[name], plain.game.state_dict()[name]) for name in weights)


def test_looks_come_at_their_cadence_and_leave_no_trace(make: Callable[..., Trainer], tmp_path: Path) -> None:
    looks: list[int] = []

    def monitor(game: Any, images: int) -> dict[str, float]:
        assert not game.training
        torch.rand(3)
        looks.append(images)
        return {"score": float(images)}

    watched, plain = make(monitor=monitor), make(folder=tmp_path / "plain")
    watched.run()
    plain.run()
    assert looks == [0, 80, 160, 240, 320]
    assert [e.numbers["score"] for e in events_of(watched, "monitor")] == looks
    assert all(torch.equal(t, plain.game.state_dict()[name]) for name, t in watched.game.state_dict().items())


@pytest.mark.parametrize("spoilt", [4, ROUNDS - 1])
def test_a_skipped_round_loses_no_look(spoilt: int, make: Callable[..., Trainer]) -> None:
    """The fifth round is where the model is first looked at, the twentieth is the last."""
    looks: list[int] = []
    trainer = make(poison("loss", range(spoilt, spoilt + 1)), monitor=lambda _, images: looks.append(images) or {})
    trainer.run()
    assert looks == [0, 80, 160, 240, 320]
    assert trainer.folder.steps()[0] == ROUNDS


def test_a_last_round_that_spoils_a_buffer_is_rolled_back_and_played_again(make: Callable[..., Trainer]) -> None:
    trainer = make(poison("buffer", range(ROUNDS - 1, ROUNDS), times=1))
    progress = trainer.run()
    assert (progress.images, progress.rollbacks) == (16 * ROUNDS, 1)
    assert finite(trainer.serve().state_dict())
    assert [e.kind for e in trainer.sinks[0].events][-1] == "end"  # type: ignore[attr-defined]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_buffer_that_is_spoilt_at_a_look_is_rolled_back_behind_it(
    seconds: float, make: Callable[..., Trainer], tmp_path: Path
) -> None:
    """To the look before, and not to where the clock had a checkpoint written."""
    trainer = make(poison("buffer", range(9, 10), times=1), checkpoint_seconds=seconds)
    trainer.run()
    (warning,) = events_of(trainer, "warning")
    assert "rolled back to checkpoint 5" in warning.text
    assert [e.kind for e in trainer.sinks[0].events if e.kind in ("alarm", "clear")] == ["alarm", "clear"]  # type: ignore[attr-defined]


def test_a_disk_that_is_full_at_a_look_is_a_warning(make: Callable[..., Trainer]) -> None:
    def monitor(_game: Any, images: int) -> dict[str, float]:
        if images == 160:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return {"score": float(images)}

    trainer = make(monitor=monitor)
    trainer.run()
    assert [e.numbers["score"] for e in events_of(trainer, "monitor")] == [0, 80, 240, 320]
    texts = [e.text for e in events_of(trainer, "warning")]
    assert texts == ["nothing kept of the look at 160 images: No space left on device"]


@pytest.mark.parametrize("state", ["many", None, True, [1], -1, 1.5])
def test_counters_that_are_no_numbers_are_refused(state: Any, make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.run()
    kept = asdict(trainer.progress)
    assert State.model_validate(kept).images == 320
    with pytest.raises(ValidationError, match="images"):
        State.model_validate({**kept, "images": state})


def run_plan(dataset: Dataset, model: str = "autoencoder", **options: Any) -> Any:
    options.setdefault("budget", "320 images")
    options.setdefault("settings", {"latent_dim": 2} if model == "pca" else SMALL)
    return plan(model, dataset, device="cpu", **options)


def test_a_larger_budget_extends_and_a_smaller_one_is_refused(
    images: Dataset, tmp_path: Path, assert_same_training: Callable
) -> None:
    fit(run_plan(images, budget="640 images"), tmp_path / "whole", threads=1)
    for budget in ("320 images", "640 images"):
        fit(run_plan(images, budget=budget), tmp_path / "run", threads=1)
    assert_same_training(RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run"))
    assert read_json(tmp_path / "run" / "config.json")["budget"] == "640 images"
    for other in ("320 images", "5 epochs"):
        with pytest.raises(RunError, match="made with budget 640 images; it can be extended, not changed to"):
            fit(run_plan(images, budget=other), tmp_path / "run", threads=1)


@pytest.mark.parametrize("budget", ["1234567 images", "1234567.5 images"])
def test_a_budget_of_many_digits_can_be_gone_on_with(images: Dataset, tmp_path: Path, budget: str) -> None:
    decided = run_plan(images, budget=budget)
    write_json(tmp_path / "config.json", {**decided.record, "budget": "320 images", "threads": 1})
    from genarena.fit import _continue

    record = _continue(decided, RunFolder(tmp_path), decided.record, 1)
    assert record["budget"] == budget


def test_other_arguments_are_refused_by_name(images: Dataset, digits: Dataset, tmp_path: Path) -> None:
    fit(run_plan(images), tmp_path, threads=1)
    others = {
        "seed was 0, now 1": run_plan(images, seed=1),
        "model was 'autoencoder', now 'vae'": run_plan(images, "vae"),
        "latent_dim was 2, now 3": run_plan(images, settings={**SMALL, "latent_dim": 3}),
        "width was 8, now 9": run_plan(images, settings={**SMALL, "network": {**NETWORK, "width": 9}}),
        "fingerprint was": run_plan(replace(images, splits={**images.splits, "train": images.splits["train"][1:]})),
    }
    for difference, decided in others.items():
        with pytest.raises(RunError, match=difference):
            fit(decided, tmp_path, threads=1)
    with pytest.raises(RunError, match="threads was 1, now 2"):
        fit(run_plan(images), tmp_path, threads=2)
    fit(run_plan(images), tmp_path)  # threads not asked for are those of the run


def test_a_closed_form_can_be_fitted_again(images: Dataset, tmp_path: Path) -> None:
    for threads in (1, 1, None):
        fitted = fit(run_plan(images, "pca"), tmp_path, threads=threads)
    assert fitted.name == "pca"


def test_two_runs_on_one_folder(images: Dataset, tmp_path: Path) -> None:
    with RunFolder(tmp_path).lock(), pytest.raises(RunError, match="another process is using"):
        fit(run_plan(images), tmp_path, threads=1)
    fit(run_plan(images), tmp_path, threads=1)


@pytest.mark.parametrize("record", [{"format": 99}, {}, {"format": 1, "model": "something"}])
def test_a_foreign_folder_is_refused(images: Dataset, tmp_path: Path, record: Any) -> None:
    write_json(tmp_path / "config.json", record)
    with pytest.raises(RunError):
        fit(run_plan(images), tmp_path, threads=1)


@pytest.mark.parametrize(("settings", "size"), [({}, 15), ({"packing": 2}, 14), ({"batch_size": 8}, 8)])
def test_few_examples_make_a_smaller_batch(
    sixteen: dict[str, Dataset], tmp_path: Path, settings: dict[str, Any], size: int
) -> None:
    data = sixteen["vectors"]
    few = replace(data, splits={**data.splits, "train": data.splits["train"][:15]})
    decided = plan("gan", few, settings={"latent_dim": 2, **settings}, budget="32 images", device="cpu")
    assert decided.config.batch_size == size
    fit(decided, tmp_path, threads=1)
    said = read_json(tmp_path / "result.json")["warnings"]
    assert (
        said == []
        if size == 8
        else said == [f"batch_size is {size}: there are 15 examples to train on, fewer than the usual 64"]
    )


def test_settings_that_do_not_fit_the_data_are_refused(images: Dataset) -> None:
    with pytest.raises(UsageError, match="batch size 1000 does not fit the"):
        run_plan(images, settings={"batch_size": 1000})
    with pytest.raises(UsageError, match=r"there is no model 'vea'\. Did you mean 'vae'\?"):
        run_plan(images, "vea")
    with pytest.raises(UsageError, match="seed=-1"):
        run_plan(images, seed=-1)
    with pytest.raises(UsageError, match="device 'tpu' is unknown"):
        plan("vae", images, device="tpu")


def test_a_run_tells_one_story(images: Dataset, tmp_path: Path) -> None:
    fitted = fit(run_plan(images), tmp_path, threads=1, monitor=lambda fitted, n: {"at": float(n)})
    records = read_events(tmp_path / "events.jsonl")
    assert [r["numbers"]["at"] for r in records if r["kind"] == "monitor"] == [32.0 * n for n in range(11)]
    assert records[-1]["kind"] == "end"
    result = read_json(tmp_path / "result.json")
    assert (result["images"], result["rollbacks"], result["warnings"]) == (320, 0, [])
    assert result["parameters"]["total"] == sum(p.numel() for p in fitted.model.parameters())
    assert result["parameters"]["sampler"] == sum(p.numel() for p in fitted.model.decoder.parameters())


def test_an_unfinished_or_damaged_run_cannot_be_loaded(images: Dataset, tmp_path: Path) -> None:
    fit(run_plan(images), tmp_path, threads=1)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="its sha256 differs"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RunError, match="has no finished model"):
        load_model(tmp_path)


# -- the best weights --------------------------------------------------------------------------------------------------


def distance(fitted: FittedModel, _images: int = 0) -> dict[str, float]:
    """A number that goes up and down as training goes on, and is a function of the weights alone."""
    total = sum(float(p.double().abs().sum()) for p in fitted.model.parameters())
    return {"fd": 100 * total % 1}


def train_best(images: Dataset, folder: Path, **options: Any) -> FittedModel:
    return fit(run_plan(images, **options), folder, threads=1, monitor=distance, checkpoint_seconds=0.0)


def looks_of(folder: Path) -> dict[int, float]:
    return {e["images"]: e["numbers"]["fd"] for e in read_events(folder / "events.jsonl") if e["kind"] == "monitor"}


def test_the_best_look_is_kept(whole: Path) -> None:
    looks = looks_of(whole)
    assert len(looks) == 11
    where = min(looks, key=looks.__getitem__)
    record = read_json(whole / "result.json")["best"]
    assert record == read_best(whole) == {"fd": looks[where], "images": where, "sha256": record["sha256"]}
    assert record["sha256"] == sha256_of(whole / "best.safetensors")
    assert distance(load_model(whole, checkpoint="best")) == {"fd": looks[where]}
    assert distance(load_model(whole)) == {"fd": looks[320]}


def test_the_best_weights_have_no_p_values(whole: Path) -> None:
    assert load_model(whole).calibration is not None
    with pytest.raises(CapabilityError, match="have no p-values"):
        load_model(whole, checkpoint="best").p_value(np.ones(1))


class Killed(BaseException):
    pass


def kill_at(patch: pytest.MonkeyPatch, owner: Any, name: str, number: int, *, after: bool = False) -> None:
    """End the process at the n-th call of something, before or after it is done."""
    original, count = getattr(owner, name), iter(range(1, 10**6))

    def called(*args: Any, **options: Any) -> Any:
        mine = next(count)
        if mine == number and not after:
            raise Killed
        result = original(*args, **options)
        if mine == number:
            raise Killed
        return result

    patch.setattr(owner, name, called)


@pytest.fixture(scope="module")
def whole(images: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run, whose best look is neither the first nor the last."""
    folder = tmp_path_factory.mktemp("whole")
    train_best(images, folder)
    assert 0 < read_best(folder)["images"] < 320  # type: ignore[index]
    return folder


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (RunFolder, "commit", False),
        (best, "write_tensors", True),
        (best, "write_json", True),
    ],
    ids=["before the checkpoint", "before the record", "after the record"],
)
def test_a_kill_between_look_and_save_changes_no_choice(
    images: Dataset, tmp_path: Path, whole: Path, owner: Any, name: str, after: bool
) -> None:
    looks = looks_of(whole)
    record = read_best(whole)
    assert record is not None
    kept = sum(
        value < min(list(looks.values())[:index], default=math.inf) for index, value in enumerate(looks.values())
    )
    # The checkpoint of the best look is that of its round, after one before the first round.
    for number in (1, record["images"] // 16 + 1 if owner is RunFolder else kept):
        folder = tmp_path / f"{number}"
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, owner, name, number, after=after)
            with pytest.raises(Killed):
                train_best(images, folder)
        train_best(images, folder)
        assert read_best(folder) == read_json(folder / "result.json")["best"] == record
        assert looks_of(folder) == looks


def test_a_longer_budget_goes_on_choosing(images: Dataset, tmp_path: Path) -> None:
    train_best(images, tmp_path)
    train_best(images, tmp_path, budget="640 images")
    looks = looks_of(tmp_path)
    assert max(looks) == 640
    assert read_json(tmp_path / "result.json")["best"]["fd"] == min(looks.values())


def test_the_first_of_equals_stays_and_what_is_not_finite_is_never_best(tmp_path: Path) -> None:
    for images, value in enumerate([math.nan, math.inf, 2.0, 1.0, 1.0, math.nan, -math.inf, 3.0]):
        keep_best(tmp_path, value, images, {"w": torch.full((2,), float(images))})
    record = read_best(tmp_path)
    assert record is not None and (record["fd"], record["images"]) == (1.0, 3)
    assert read_tensors(tmp_path / "best.safetensors")["w"].tolist() == [3, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.json", "best.safetensors"]


def test_best_weights_that_are_not_those_of_the_record_are_none(tmp_path: Path) -> None:
    keep_best(tmp_path, 1.0, 5, {"w": torch.ones(2)})
    save = (tmp_path / "best.safetensors").read_bytes()
    (tmp_path / "best.safetensors").write_bytes(save[:-1] + b"\x00")
    assert read_best(tmp_path) is None
    keep_best(tmp_path, 9.0, 6, {"w": torch.ones(2)})
    assert read_best(tmp_path)["images"] == 6  # type: ignore[index]
    (tmp_path / "best.safetensors").unlink()
    assert read_best(tmp_path) is None


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"fd": "low", "images": 1, "sha256": 3}', '{"fd": NaN}'])
def test_a_damaged_record_is_none(tmp_path: Path, record: str) -> None:
    assert read_best(tmp_path) is None
    keep_best(tmp_path, 1.0, 5, {"w": torch.ones(2)})
    (tmp_path / "best.json").write_text(record)
    assert read_best(tmp_path) is None
    keep_best(tmp_path, 9.0, 6, {"w": torch.ones(2)})
    assert read_best(tmp_path)["images"] == 6  # type: ignore[index]


def test_a_run_that_begins_anew_forgets_its_best(images: Dataset, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    train_best(images, tmp_path)
    shutil.rmtree(run.checkpoints)
    run.result.unlink()
    keep_best(tmp_path, -1.0, 5, {"w": torch.ones(2)})
    train_best(images, tmp_path)
    assert read_best(tmp_path)["fd"] == min(looks_of(tmp_path).values())  # type: ignore[index]


def test_where_no_best_was_kept(images: Dataset, tmp_path: Path) -> None:
    fit(run_plan(images), tmp_path / "run", threads=1)
    fit(run_plan(images, "pca"), tmp_path / "pca")
    for folder in (tmp_path / "run", tmp_path / "pca"):
        assert read_json(folder / "result.json")["best"] is None
        with pytest.raises(RunError, match="kept no best weights"):
            load_model(folder, checkpoint="best")
    with pytest.raises(UsageError, match="checkpoint='worst' is unknown: last or best"):
        load_model(tmp_path / "run", checkpoint="worst")


def test_damaged_best_weights_are_not_loaded(images: Dataset, tmp_path: Path) -> None:
    train_best(images, tmp_path)
    content = bytearray((tmp_path / "best.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "best.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="is not what was written"):
        load_model(tmp_path, checkpoint="best")


def test_warnings_survive_a_kill(images: Dataset, tmp_path: Path) -> None:
    """What is told of a run comes from its record, and not from the process that ended it."""
    fit(run_plan(images), tmp_path, threads=1)
    with (tmp_path / "events.jsonl").open("a") as file:
        event = {"kind": "warning", "round": 20, "images": 320, "seconds": 0, "cpu_seconds": 0, "numbers": {}}
        file.write(json.dumps({**event, "text": "round skipped", "name": ""}) + "\n")
    fitted = fit(run_plan(images, budget="640 images"), tmp_path, threads=1)
    assert fitted.record["budget"] == "640 images"
    assert read_json(tmp_path / "result.json")["warnings"] == ["round skipped"]


def test_a_run_without_checkpoints_cannot_be_extended(images: Dataset, tmp_path: Path) -> None:
    fit(run_plan(images), tmp_path, threads=1)
    before = sha256_of(tmp_path / "model.safetensors")
    shutil.rmtree(tmp_path / "checkpoints")
    fit(run_plan(images), tmp_path, threads=1)  # finished: nothing to do
    with pytest.raises(RunError, match="is finished and has no checkpoint to go on from"):
        fit(run_plan(images, budget="640 images"), tmp_path, threads=1)
    assert sha256_of(tmp_path / "model.safetensors") == before


def test_examples_that_are_measured_are_of_every_class() -> None:
    """Data may come sorted by class: a prefix of a split would be a part of the classes."""
    labels = np.arange(4000) // 1000
    images = (np.random.default_rng(0).random((4000, 8, 8)) * 40 + 60 * labels[:, None, None]).astype(np.uint8)
    dataset = replace(open_dataset(images), splits={"train": np.arange(0, 4000, 2), "val": np.arange(1, 4000, 2)})
    some = dataset.rows("val", 400)
    assert np.bincount(labels[some], minlength=4).min() > 70
    assert (np.diff(some) > 0).all() and np.array_equal(some, dataset.rows("val", 400))
    assert not np.array_equal(some, dataset.rows("val", 400, seed=1))
    assert np.array_equal(dataset.rows("val", 5000), dataset.splits["val"])
    model = MODELS["gan"]
    config = model.Config.parse({"network": {"architecture": "mlp", "width": 8}})
    fitted = FittedModel(build(model, config, dataset.schema, 0), {"model": "gan"})
    fitted.sample = lambda n, seed=0: images[:, None][np.random.default_rng(seed).permutation(4000)[:n]]  # type: ignore[assignment]
    every = validation_monitor(dataset)(fitted, 0)["fd"]
    fitted.sample = lambda n, seed=0: images[:1000, None][:n]  # type: ignore[assignment]
    assert every < 0.1 * validation_monitor(dataset)(fitted, 0)["fd"]


def test_the_validation_distance_is_that_of_the_val_split(digits: Dataset) -> None:
    space = random_space(digits.schema.target)
    model = MODELS["gan"]
    config = model.Config.parse({"network": {"architecture": "mlp", "width": 8}})
    fitted = FittedModel(build(model, config, digits.schema, 0), {"model": "gan"})
    expected = frechet_distance(space(digits.values("val")), space(fitted.sample(1000)))
    without_test = replace(digits, splits={**digits.splits, "test": digits.splits["test"][:0]})
    assert validation_monitor(without_test)(fitted, 0) == {"fd": pytest.approx(expected)}
    without_val = replace(digits, splits={**digits.splits, "val": digits.splits["val"][:0]})
    assert validation_monitor(without_val)(fitted, 0) == {}
    autoencoder = FittedModel(
        build(Autoencoder, Autoencoder.Config.parse(SMALL), digits.schema, 0), {"model": "autoencoder"}
    )
    assert validation_monitor(digits)(autoencoder, 0) == {}


def test_samples_that_are_not_finite_are_infinitely_far_from_the_val_split(vectors: Dataset) -> None:
    model = MODELS["gan"]
    config = model.Config.parse({"network": {"architecture": "mlp", "width": 8}})
    fitted = FittedModel(build(model, config, vectors.schema, 0), {"model": "gan"})
    fitted.sample = lambda n, seed=0: np.full((n, 4), np.nan, dtype=np.float32)  # type: ignore[assignment]
    assert validation_monitor(vectors)(fitted, 0) == {"fd": math.inf}


def test_a_comparison_measures_the_weights_it_was_asked_for(
    bars: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(folder: Path, cell: Any, threads: int | None) -> Any:
        code = cells.main([str(folder), cell.id, "1"])
        process = SimpleNamespace(returncode=code, poll=lambda: code, communicate=lambda: None, pid=-1)
        return supervisor.Worker(cell, folder / "runs" / cell.id, process)  # type: ignore[arg-type]

    monkeypatch.setattr(supervisor, "_start", start)
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0)
    # Best at the sixth of eleven looks.
    monkeypatch.setattr(cells, "monitor", lambda *_: lambda _, images: {"fd": 1.0 + abs(images - 1024) / 1024})
    settings = {"latent_dim": 2, "network": {"architecture": "mlp", "width": 16}}
    options: dict[str, Any] = {"models": ["gan"], "budget": "2k images", "seeds": 1, "samples": 20}
    options["use"] = "generate-fidelity"
    dataset, folder = open_dataset(bars[0]), tmp_path / "out"
    measured = {}
    for checkpoint in ("best", "last"):
        record = genarena.compare(dataset, folder, settings=settings, jobs=1, checkpoint=checkpoint, **options).record
        runs = {run["id"]: run for run in record["runs"]}
        assert record["plan"]["checkpoint"] == checkpoint
        assert runs["gan-0"]["checkpoint"] == checkpoint and runs["pca-0"]["checkpoint"] == "last"
        assert runs["gan-0"]["best"] == {"fd": 1.0, "images": 1024}
        assert runs["gan-0"]["alarms"] == read_json(folder / "runs" / "gan-0" / "result.json")["alarms"]
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert ("smallest validation distance on the way" in page) == (checkpoint == "best")
        fd = next(metric for metric in record["metrics"] if metric["name"] == "fd_inf/random-conv")
        measured[checkpoint] = fd["scores"]["gan"]["by_seed"]["0"]
    assert measured["last"] != measured["best"]
    with pytest.raises(UsageError, match="last or best"):
        genarena.compare(dataset, tmp_path / "other", checkpoint="first", **options)
