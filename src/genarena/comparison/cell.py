"""One cell of a comparison, in a process of its own: train, measure, picture.

``python -m genarena.comparison.cell FOLDER ID`` is what the supervisor starts. It reads the comparison's folder and writes
nothing but its own run folder; what goes wrong is left there in ``failure.json``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from ..checkpoint import RunFolder
from ..data.store import load_dataset
from ..errors import STOPPED, GenarenaError, UsageError, one_line
from ..files import read_json, remove, write_json
from ..fit import fit, plan
from ..fitted import load_model
from ..machine import use_threads
from ..metrics import Evaluator
from ..uses import USES, Context
from .measure import draw_pictures, measure_run, monitor, read_scores, weights_of, write_scores
from .plan import Cell, Plan


def run_cell(folder: Path, cell: Cell, comparison: Plan, threads: int | None) -> None:
    """Train and measure; skips what is already done."""
    run = folder / "runs" / cell.id
    dataset = load_dataset(folder / "data")
    evaluator = Evaluator.load(folder / "evaluator", dataset, trust=True)  # `compare` has looked at any code in it
    hidden = comparison.hidden_in(dataset) if cell.view == "detect" else ()
    view = comparison.view(dataset, cell.view)
    contender = comparison.contender(cell.contender)
    decided = plan(
        contender.model_class,
        view,
        budget=comparison.budget,
        seed=cell.seed,
        settings=contender.settings,
        device=comparison.device,
    )
    watch = monitor(evaluator, comparison.uses) if cell.view == "all" else None
    if (run / "config.json").exists():  # the threads of the first start stay, however many runs share the cores now
        threads = RunFolder(run).read_config().get("threads", threads)
    fitted = fit(decided, run, threads=threads, monitor=watch)
    uses = [name for name in comparison.uses if USES[name].view == cell.view]
    if read_scores(run, evaluator.hash, uses, comparison.checkpoint) is not None:
        return
    if fitted.device.type == "cpu" and threads:
        use_threads(threads)
    result = RunFolder(run).read_result()
    checkpoint, digest = weights_of(result, comparison.checkpoint)
    if checkpoint == "best":
        fitted = load_model(run, own=decided.model_class, device=decided.device, checkpoint="best")
    context = Context(fitted, evaluator.dataset if cell.view == "all" else view, evaluator, cell.seed, hidden, result)
    scores = measure_run(context, uses)
    if cell.view == "all":
        draw_pictures(run, fitted, evaluator, cell.seed)
    write_scores(run, evaluator, digest, uses, scores)


def main(arguments: list[str]) -> int:
    """Run one cell; returns an exit code and leaves the reason of a failure in the run folder."""
    folder, cell_id, threads = Path(arguments[0]), arguments[1], int(arguments[2]) or None
    run = folder / "runs" / cell_id
    run.mkdir(parents=True, exist_ok=True)
    failure = run / "failure.json"
    remove(failure)
    try:
        comparison = Plan.from_json(read_json(folder / "plan.json"))
        cell = next((c for c in comparison.cells if c.id == cell_id), None)
        if cell is None:
            raise UsageError(f"the plan has no run '{cell_id}'.")
        run_cell(folder, cell, comparison, threads)
    except KeyboardInterrupt:
        return 130
    except GenarenaError as error:
        write_json(failure, {"reason": str(error)})
        return error.exit_code
    except SystemExit as end:
        if end.code in STOPPED:
            raise
        write_json(
            failure, {"reason": f"the model's own code ended the program (sys.exit), with exit code {end.code!r}"}
        )
        return 1
    except MemoryError:
        write_json(failure, {"reason": "out of memory: try a smaller batch_size or network.width"})
        return 1
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        memory = "not enough memory" in reason or "out of memory" in reason
        write_json(failure, {"reason": "out of memory: try a smaller batch_size" if memory else reason})
        if not memory:
            raise
        return 1
    return 0


def _end_with_supervisor() -> None:
    """Save and stop, as after SIGTERM, when the supervisor is gone and its end of the standard input has closed."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    sys.exit(main(sys.argv[1:]))
