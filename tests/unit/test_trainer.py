"""Training's course: trouble with numbers, disks and signals, and what a run folder accepts."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from genarena import trainer as module
from genarena.budget import Budget
from genarena.checkpoint import RunFolder, finite, read_json, write_json
from genarena.data import Dataset, Loader
from genarena.errors import RunError, StorageError, TrainingError, UsageError
from genarena.events import Event, read_events
from genarena.fit import fit, plan
from genarena.fitted import build, load_model
from genarena.kinds import kind_of
from genarena.models.autoencoder import Autoencoder
from genarena.trainer import Interrupted, Trainer

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
                    value = value * torch.nan
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


# -- disks -------------------------------------------------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, refused: range) -> None:
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


def test_no_intact_checkpoint_is_refused(make: Callable[..., Trainer], tmp_path: Path) -> None:
    make(budget=Budget(32.0, "images")).run()
    for path in (tmp_path / "run" / "checkpoints").glob("*/MANIFEST.json"):
        path.unlink()
    with pytest.raises(RunError, match=r"no intact checkpoint .* move it away"):
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
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends(make: Callable[..., Trainer], tmp_path: Path, number: int, code: int) -> None:
    whole = make(folder=tmp_path / "whole")
    whole.run()
    trainer = make(checkpoint_seconds=1e6)
    handler = signal.getsignal(number)
    signalling(trainer, number, at=7)
    with pytest.raises(Interrupted) as ended:
        trainer.run()
    assert ended.value.exit_code == code
    assert trainer.folder.steps()[0] == 8
    assert signal.getsignal(number) is handler
    resumed = make()
    assert resumed.progress.round == 8
    resumed.run()
    assert all(torch.equal(t, resumed.game.state_dict()[name]) for name, t in whole.game.state_dict().items())


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


@pytest.mark.parametrize("record", [{"format": 99}, ["config"], {"format": 1, "model": "something"}])
def test_a_foreign_folder_is_refused(images: Dataset, tmp_path: Path, record: Any) -> None:
    write_json(tmp_path / "config.json", record)
    with pytest.raises(RunError):
        fit(run_plan(images), tmp_path, threads=1)


def test_settings_that_do_not_fit_the_data_are_refused(images: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch size 1000 does not fit the"):
        fit(run_plan(images, settings={"batch_size": 1000}), tmp_path / "batch", threads=1)
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
