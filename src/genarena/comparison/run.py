"""The supervisor: every cell in a process of its own, so that a crash, a hang or a lack of memory stays in its cell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from ..errors import GenarenaError
from ..events import last_event
from ..files import Record, Text, append_to, open_regular, read_record
from ..trainer import interruption
from .plan import Cell, Plan

POLL_SECONDS = 0.2
SAVE_SECONDS = 10.0  # that workers have to save before they are killed
STALL_SECONDS = 1800.0
MOST_LOG = 2**20  # bytes that are kept of a worker's log when it starts again


@dataclass
class Worker:
    """A running cell."""

    cell: Cell
    run: Path
    process: subprocess.Popen[bytes]
    moved: float = field(default_factory=time.monotonic)
    last_change: float = 0.0

    def stalled(self, limit: float) -> bool:
        """True where nothing in the run folder has changed for `limit` seconds."""
        newest = max((p.stat().st_mtime for p in _files(self.run)), default=0.0)
        if newest != self.last_change:
            self.last_change, self.moved = newest, time.monotonic()
        return time.monotonic() - self.moved > limit


def _files(folder: Path) -> Iterator[Path]:
    for path in (folder / "events.jsonl", folder / "result.json", folder / "pictures"):
        if path.exists():
            yield path


class Pace(Record):
    """What ``config.json`` says of time, once a run has begun."""

    expected_seconds: float = Field(0, ge=0)
    every: int = Field(1, ge=1)


class Failure(Record):
    """``failure.json``."""

    reason: Text


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: ``done`` or ``failed``, and why."""

    cell: Cell
    status: str
    reason: str | None = None


def run_cells(
    folder: Path,
    plan: Plan,
    *,
    jobs: int,
    threads: int | None,
    on_progress: Callable[[Cell, float, str], None],
    stall_seconds: float = STALL_SECONDS,
) -> list[Outcome]:
    """Run all cells of a plan, `jobs` at a time; cells that are done return at once.

    Parameters
    ----------
    folder : Path
        With ``plan.json``, ``data`` and ``evaluator``.
    plan : Plan
    jobs : int
    threads : int, optional
        CPU threads of each run; None lets each measure what is best.
    on_progress : callable
        ``(cell, share done, status)`` whenever something moved.
    stall_seconds : float
        A run that shows no life for so long is ended.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        After SIGINT and SIGTERM, once the runs have saved and ended; a second signal ends them at once.
    """
    waiting = list(plan.cells)
    active: list[Worker] = []
    outcomes: list[Outcome] = []
    with _interruptible(), _ended_at_last(active):
        while waiting or active:
            while waiting and len(active) < jobs:
                active.append(_start(folder, waiting.pop(0), threads))
            time.sleep(POLL_SECONDS)
            for worker in list(active):
                if worker.process.poll() is None and worker.stalled(stall_seconds):
                    _end([worker], signal.SIGKILL)
                    outcome = Outcome(worker.cell, "failed", f"no sign of life for {stall_seconds:g} s: ended")
                elif worker.process.returncode is None:
                    on_progress(worker.cell, _share(worker.run, plan), "")
                    continue
                else:
                    outcome = _outcome(worker)
                active.remove(worker)
                outcomes.append(outcome)
                on_progress(worker.cell, 1.0, outcome.status)
    return outcomes


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise what `interruption` says, so that what runs inside can tidy up."""

    def interrupt(number: int, _frame: object) -> None:
        raise interruption(number)

    ours = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.signal(number, interrupt) for number in ours}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ended_at_last(active: list[Worker]) -> Iterator[None]:
    """Whatever happens inside, no worker outlives it."""
    try:
        yield
    finally:
        _end(active, signal.SIGTERM)


def _start(folder: Path, cell: Cell, threads: int | None) -> Worker:
    run = folder / "runs" / cell.id
    run.mkdir(parents=True, exist_ok=True)
    # A session of its own: Ctrl-C reaches the supervisor alone, which then ends its cells in order.
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    log_path = run / "worker.log"
    # As of an installed command, the current folder is no place to import from; only a checkout's own source is.
    safe = [] if Path.cwd() == Path(__file__).resolve().parents[2] else ["-P"]
    with append_to(log_path, _tail(log_path)) as log:
        process = subprocess.Popen(
            [sys.executable, *safe, "-m", "genarena.comparison.cell", str(folder), cell.id, str(threads or 0)],
            stdin=subprocess.PIPE,  # nothing is written: it closes when this process ends, however it ends
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    return Worker(cell, run, process)


def _tail(path: Path) -> bytes:
    """What a log ends with."""
    try:
        with open_regular(path) as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - MOST_LOG))
            return log.read(MOST_LOG)
    except FileNotFoundError:
        return b""


def _end(workers: Sequence[Worker], number: int) -> None:
    """Signal the workers' whole sessions and wait; those that do not save in time are killed."""
    deadline = time.monotonic() + SAVE_SECONDS
    try:
        for worker in workers:
            _signal(worker, number)
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in workers:
            _signal(worker, signal.SIGKILL)
            worker.process.communicate()


def _signal(worker: Worker, number: int) -> None:
    if worker.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, number)


def _outcome(worker: Worker) -> Outcome:
    worker.process.communicate()  # closes our end of its standard input
    code = worker.process.returncode
    if code == 0:
        return Outcome(worker.cell, "done")
    reason = None
    with contextlib.suppress(GenarenaError):
        reason = read_record(worker.run / "failure.json", Failure)["reason"]
    if code == -signal.SIGKILL:
        reason = "killed by the system, most likely for lack of memory: try fewer --jobs or a smaller batch_size"
    elif code < 0:
        reason = f"ended by signal {signal.Signals(-code).name}; see {worker.run / 'worker.log'}"
    elif reason is None:
        reason = f"ended with exit code {code}; see {worker.run / 'worker.log'}"
    return Outcome(worker.cell, "failed", reason)


def expected_seconds(folder: Path, plan: Plan, trained: Sequence[str], jobs: int) -> float | None:
    """Time that the runs of contenders take, by the speed each measured at its first start; None before."""
    total = 0.0
    for name in trained:
        try:
            first = read_record(folder / "runs" / Cell(name, plan.seeds[0], "all").id / "config.json", Pace)
            total += first["expected_seconds"] * sum(cell.contender == name for cell in plan.cells)
        except (GenarenaError, KeyError, OSError):
            return None
    return total / jobs


def _share(run: Path, plan: Plan) -> float:
    """Share of a run's budget that is done, from the end of its events."""
    last = last_event(run / "events.jsonl")
    if last is None:
        return 0.0
    if plan.budget.unit == "seconds":
        return min(1.0, last.get("seconds", 0) / plan.budget.amount)
    with contextlib.suppress(GenarenaError, KeyError, OSError):
        return min(1.0, last.get("images", 0) / (read_record(run / "config.json", Pace)["every"] * 10))
    return 0.0
