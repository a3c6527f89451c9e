"""Plays rounds until the budget ends, and keeps the run folder such that a kill at any instant loses nothing but time.

Randomness is a pure function of (seed, round): torch's default generators are re-seeded before each round, so noise,
dropout and augmentation replay exactly and a resumed run needs no generator state. Evaluation and pictures draw from
generators of their own. The trainer knows no metric: what is measured on the way is passed in as a callable, and so is
what watches the numbers of the rounds for trouble; neither has any influence on training.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from . import distributed
from .budget import Budget
from .checkpoint import Checkpoint, RunFolder, finite
from .data import Batch, Loader
from .errors import RunError, StorageError, TrainingError
from .events import Alarm, Event, Sink
from .game import Game
from .machine import own_generators, own_threads
from .referee import NonFinite, Referee, Round

MOST_SKIPS = 3  # non-finite rounds before a roll-back
MOST_ROLLBACKS = 2
MOST_FAILED_SAVES = 3
LOG_SECONDS = 1.0  # between two looks at the losses; looking synchronises the device
READINGS = 50  # of a round's numbers, for the watch, between two looks at the model
CHECKPOINT_SHARE = 30  # a checkpoint takes at most one part in so many of the time since the last

Monitor = Callable[[Game, int], dict[str, float]]
Watch = Callable[[int, Mapping[str, float]], Iterable[Alarm]]

NON_FINITE = "non-finite"
_SPOILT = "a weight or buffer is not finite"
_NON_FINITE_TEXT = (
    "{}. Try a lower learning_rate; in an adversarial game also a penalty on the discriminator (penalty=r1), "
    "without which its weights can grow without end."
)


def interruption(number: int) -> BaseException:
    """What a signal becomes once the state is saved: Python's own, which no ``except Exception`` takes for a failed fit."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


@dataclass(frozen=True)
class Progress:
    """Where training stands; all of it goes into the checkpoint."""

    round: int = 0
    batches: int = 0
    images: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    rate: float = 1.0
    skips: int = 0
    rollbacks: int = 0
    milestone: int = 0  # the round that a roll-back comes back to


def numbers_of(result: Round) -> dict[str, float]:
    """A round's losses, terms and gradient norms by name; reading them waits for the device."""
    return {
        **{f"loss/{k}": float(v) for k, v in result.losses.items()},
        **{k: float(v) for k, v in result.terms.items()},
        **{f"gradient/{k}": float(v) for k, v in result.gradient_norms.items()},
    }


class CountedDraw:
    """Gives a game the loader's next batch and counts it."""

    def __init__(self, loader: Loader, progress: Progress):
        self.loader = loader
        self.batches = progress.batches
        self.images = progress.images

    def __call__(self) -> Batch:
        batch = self.loader.batch(self.batches)
        self.batches += 1
        self.images += self.loader.batch_size
        return batch


def round_seed(seed: int, number: int) -> int:
    """The seed of torch's default generators in one round (splitmix64 of seed and round)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xD1B54A32D192ED03) & (2**64 - 1)
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    return (mixed ^ (mixed >> 27)) & (2**63 - 1)


class Trainer:
    """Trains one game in one run folder.

    Parameters
    ----------
    game : Game
        Freshly built from its seed, on `device`.
    loader : Loader
    folder : RunFolder
        Locked by the caller.
    budget : Budget
    seed : int
    device : torch.device
    served : Game
        Another of the same kind, which takes the weights to be looked at and handed over.
    every : int
        Images between two looks at the model (monitor and pictures).
    monitor : callable, optional
        ``(served game in eval mode, images) -> numbers``, run at every look in the main process.
    watch : callable, optional
        ``(images, a round's numbers) -> alarms``, run `READINGS` times between two looks in the main process.
    sinks : callable
        ``round -> sinks``: where events go, for a run that starts at this round.
    checkpoint_seconds : float
        Least time between two checkpoints.
    """

    def __init__(
        self,
        game: Game,
        loader: Loader,
        folder: RunFolder,
        *,
        budget: Budget,
        seed: int,
        device: torch.device,
        every: int,
        served: Game,
        monitor: Monitor | None = None,
        watch: Watch | None = None,
        sinks: Callable[[int], Sequence[Sink]] = lambda _: (),
        checkpoint_seconds: float = 30.0,
    ):
        self.game, self.loader, self.folder = game, loader, folder
        self.budget, self.seed, self.device = budget, seed, device
        self.every, self.monitor, self.watch, self.served = every, monitor, watch, served
        self.checkpoint_seconds = checkpoint_seconds
        self.total = budget.images(len(loader))
        self.referee = Referee(game.train())
        self.progress = Progress()
        self.draw = CountedDraw(loader, self.progress)
        self.warnings: list[str] = []
        self.sinks: Sequence[Sink] = ()
        self._signal: int | None = None
        self._failed_saves = 0
        self._alarmed = False  # about numbers that are not finite
        resumed = self._resume()
        self.sinks = sinks(self.progress.round) if distributed.is_main() else ()
        for warning in self.warnings:
            self.emit("warning", text=warning)
        if resumed:
            self.emit("resume", text=f"resumed at {self.progress.images:,} images")

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Train until the budget ends; returns where training stands.

        Raises
        ------
        TrainingError
            Where skipping and rolling back did not help.
        KeyboardInterrupt, SystemExit
            After SIGINT and SIGTERM, once the state is saved.
        """
        # Only the main thread may handle signals; a training in another one leaves them to its host.
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        previous = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            self._loop()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            for sink in self.sinks:
                sink.close()
        return self.progress

    def _loop(self) -> None:
        if self.progress.round == 0:
            self._look()
            if not self.folder.steps():
                self._save()
        saved_at = logged_at = time.monotonic()
        save_seconds = 0.0
        while not self._finished():
            before = self.progress.images
            result = None
            try:
                result = self.step()
                self._read(result, before)
            except NonFinite as trouble:
                self._recover(trouble)
            passed = self.progress.images // self.every > before // self.every
            if passed or self._finished():
                self._look()
            if passed and result and not self._finished():
                # Isolated bad rounds are forgiven. A roll-back comes back to here and not to where the clock had a
                # checkpoint written, so that a run that was killed in between ends like one that was not.
                if finite(self.game.state_dict()):
                    self.progress = replace(self.progress, skips=0, milestone=self.progress.round)
                    self._clear()
                else:
                    self._roll_back(_SPOILT)
            now = time.monotonic()
            if result and now - logged_at > LOG_SECONDS:
                logged_at = now
                self._log(result)
            due = now - saved_at > max(self.checkpoint_seconds, CHECKPOINT_SHARE * save_seconds)
            due = result is not None and (due or self.progress.milestone == self.progress.round)
            stop, save = distributed.any_([self._signal is not None, due], self.device)
            if stop or save or self._finished():
                if result:
                    self._log(result)
                began = time.monotonic()
                self._save()
                saved_at = time.monotonic()
                save_seconds = saved_at - began
            if stop:
                raise interruption(self._signal or signal.SIGTERM)
        self.emit("end", text="budget reached")

    def step(self) -> Round:
        """Play one round and count it; raises `NonFinite` where it came to nothing."""
        started, cpu = time.perf_counter(), time.process_time()
        with own_generators(round_seed(self.seed, self.progress.round), self.device):
            result = self.referee.play_round(self.draw)
        self.progress = replace(
            self.progress,
            round=self.progress.round + 1,
            batches=self.draw.batches,
            images=self.draw.images,
            seconds=self.progress.seconds + time.perf_counter() - started,
            cpu_seconds=self.progress.cpu_seconds + time.process_time() - cpu,
        )
        return result

    def _finished(self) -> bool:
        if self.total is not None:
            return self.progress.images >= self.total
        (over,) = distributed.any_([self.progress.seconds >= self.budget.amount], self.device)
        return over

    def _on_signal(self, number: int, _frame: Any) -> None:
        if self._signal is not None:
            raise SystemExit(128 + number)
        self._signal = number

    # -- looking -----------------------------------------------------------------------------------------------------

    def serve(self) -> Game:
        """The game with the weights to be served (averaged where there is an average), in eval mode."""
        average = self.referee.average
        self.served.load_state_dict(average.state if average else self.game.state_dict())
        self.served.prepare(torch.Generator().manual_seed(self.seed))
        return self.served.eval()

    def _look(self) -> None:
        if self.monitor is None or not distributed.is_main():
            return
        try:
            with torch.no_grad():
                numbers = self.monitor(self.serve(), self.progress.images)
        except OSError as error:  # of what it writes; the checkpoint will say whether training can go on
            self._warn(f"nothing kept of the look at {self.progress.images:,} images: {error.strerror or error}")
            return
        if numbers:
            self.emit("monitor", numbers)

    def _read(self, result: Round, before: int) -> None:
        """Show the watch a round; `before` is where the round began, in images."""
        stride = max(1, self.every // READINGS)
        if self.watch and distributed.is_main() and self.progress.images // stride > before // stride:
            self.alarm(self.watch(self.progress.images, numbers_of(result)))

    def _log(self, result: Round) -> None:
        self.emit("log", numbers_of(result))

    def alarm(self, alarms: Iterable[Alarm]) -> None:
        """Tell the sinks of alarms that begin or end."""
        for alarm in alarms:
            self.emit("clear" if alarm.over else "alarm", alarm.numbers, alarm.text, alarm.name)

    def emit(self, kind: str, numbers: Mapping[str, float] | None = None, text: str = "", name: str = "") -> None:
        """Send an event, stamped with where training stands, to every sink."""
        p = self.progress
        event = Event(kind, p.round, p.images, round(p.seconds, 4), round(p.cpu_seconds, 4), numbers or {}, text, name)
        for sink in self.sinks:
            sink.emit(event)

    # -- state -------------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Commit a checkpoint, unless the state is not finite (roll back) or the disk refuses (warn, try again later)."""
        if not finite(self.game.state_dict()):
            self._roll_back(_SPOILT)
            return
        last = self._finished() or self._signal is not None  # asked of all processes, before all but one leave
        if not distributed.is_main():
            return
        average = self.referee.average
        checkpoint = Checkpoint(
            asdict(self.progress),
            self.game.state_dict(),
            average.state if average else {},
            self.referee.optimizer_state(),
        )
        try:
            self.folder.commit(checkpoint, self.progress.round, self.progress.milestone)
            self._failed_saves = 0
        except OSError as error:
            self._failed_saves += 1
            text = (
                f"no checkpoint at {self.progress.images:,} images: {error.strerror or error}; the previous one stands"
            )
            if self._failed_saves >= MOST_FAILED_SAVES or last:
                raise StorageError(
                    f"{text}. Free space for '{self.folder.path}' and run the same command again."
                ) from None
            self._warn(text + ", training goes on")

    def _resume(self) -> bool:
        """Continue from the newest intact checkpoint, if there is any; True where anything had been trained."""
        return self._restore_newest(self.folder.steps()) is not None and self.progress.round > 0

    def _restore_newest(self, steps: Sequence[int]) -> int | None:
        """Restore the first of these checkpoints that is intact and return its step; None where there are none."""
        reason = ""
        for step in steps:
            try:
                self._restore(step)
                return step
            except (RunError, OSError) as error:
                reason = str(error)
                self._warn(f"checkpoint {step} cannot be used: {error} Using the one before it.")
        if steps:
            raise RunError(
                f"no intact checkpoint in '{self.folder.checkpoints}' (the oldest: {reason}) Move it away to start again."
            )
        return None

    def _restore(self, step: int) -> None:
        average = self.referee.average
        loaded = self.folder.load(step, self.game.state_dict(), average.state if average else {})
        state = {k: v for k, v in loaded.state.items() if k in Progress.__dataclass_fields__}
        self.game.load_state_dict(loaded.model)
        if average:
            for name, tensor in average.state.items():
                tensor.copy_(loaded.ema[name])
        try:
            self.referee.load_optimizer_state(dict(loaded.optimizer))
        except (ValueError, IndexError) as error:
            raise RunError(f"its optimizer state belongs to other networks ({error}).") from None
        self.progress = Progress(**state)
        self.referee.rate = self.progress.rate
        self.draw = CountedDraw(self.loader, self.progress)

    # -- trouble -----------------------------------------------------------------------------------------------------

    def _recover(self, trouble: NonFinite) -> None:
        """Skip a round that is not finite; after too many, roll back."""
        place = f"{trouble} at {self.progress.images:,} images (round {self.progress.round})"
        self.progress = replace(
            self.progress,
            round=self.progress.round + 1,
            batches=self.draw.batches,
            images=self.draw.images,
            skips=self.progress.skips + 1,
        )
        self._sound(place)
        if self.progress.skips <= MOST_SKIPS:
            self._warn(f"{place}: round skipped ({self.progress.skips} of {MOST_SKIPS})")
        else:
            self._roll_back(place)

    def _roll_back(self, place: str) -> None:
        """Go back to the last milestone with half the learning rate."""
        self._sound(place)
        rollbacks, rate = self.progress.rollbacks + 1, self.progress.rate / 2
        distributed.barrier()  # until the main process has committed what all will read
        steps = [step for step in self.folder.steps() if step <= self.progress.milestone]
        if rollbacks > MOST_ROLLBACKS or not steps:
            raise TrainingError(
                f"training diverged: {place}, after {rollbacks - 1} roll-backs. "
                f"Last good checkpoint: {steps[0] if steps else 'none'}. Try a lower learning_rate."
            )
        step = self._restore_newest(steps)
        self.progress = replace(self.progress, rollbacks=rollbacks, rate=rate, skips=0)
        self.referee.rate = rate
        self._warn(f"{place}: rolled back to checkpoint {step}, learning rate x {rate:g}")

    def _sound(self, place: str) -> None:
        """Raise the alarm about numbers that are not finite, once until the next milestone."""
        if not self._alarmed:
            self._alarmed = True
            self.alarm([Alarm(NON_FINITE, {"skips": self.progress.skips}, _NON_FINITE_TEXT.format(place))])

    def _clear(self) -> None:
        if self._alarmed:
            self._alarmed = False
            self.alarm([Alarm(NON_FINITE, over=True)])

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.emit("warning", text=text)


def images_per_second(make: Callable[[], tuple[Game, Loader]], device: torch.device, threads: int) -> float:
    """Training speed with some number of threads: the best of a few rounds on a throw-away copy; 0 if not finite."""
    game, loader = make()
    referee = Referee(game.train())
    draw = CountedDraw(loader, Progress())
    best = 0.0
    deadline = time.perf_counter() + 2.0
    with own_threads(threads), contextlib.suppress(NonFinite):
        for number in range(12):
            start, images = time.perf_counter(), draw.images
            with own_generators(round_seed(0, number), device):
                referee.play_round(draw)
            now = time.perf_counter()
            if number:  # the first round pays for allocation and kernel selection
                best = max(best, (draw.images - images) / (now - start))
            if now > deadline and number:
                return best
        return best
    return 0.0
