"""Training speed, as ratios: ``make bench`` on an otherwise idle machine.

Every comparison interleaves its sides A B A B ... and reports the median of the ratios of neighbouring segments, so that
a slow minute of the machine hits both. Prints a line of JSON for every comparison.

- ``loop``: genarena's trainer against the barest correct PyTorch loop with the same nets, optimizer, averaging and finite
  check (1.0 is the same speed; the target is at least 0.97). Both sides of a pair live in one process, and where its heap
  puts their weights moves the ratio by some per cent: the median over several processes is reported, in half of which the
  bare loop is made first, with the range; ``control`` is the bare loop against itself.
- ``dcgan``: against a loop as tutorials write it (32 px, width 64, batch 64; target 1.25).
- ``pythae``: against pythae 0.1.2's trainer on its default MLP VAE at batch 100 (target 1.4); skipped where it is not
  installed (``pip install pythae==0.1.2``).

- ``games``: images a second and CPU seconds per 1,000 images of every game with its default settings, at 32 and 64 pixels; on a
  GPU at 128 and 256 too, in both precisions, and where the time of a round goes.
- ``memory``: megabytes that resident memory grows from the first tenth of a training to its end.

``--device cuda`` runs ``loop`` and ``games`` on a GPU, where both sides of a loop are in the precision of ``--precision``.

The sides of ``dcgan`` and ``pythae`` run as a user would run them, each in a process of its own, of which one sleeps while
the other works: what a trainer does to its process (genarena's keeps freed memory) is a part of what is compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genarena.budget import Budget
from genarena.checkpoint import RunFolder
from genarena.data import open_dataset
from genarena.fit import make_game, plan
from genarena.game import Game, one_hot
from genarena.machine import keep_freed_memory, reproducible
from genarena.models import MODELS
from genarena.models.gan import WEIGHTS
from genarena.nets.biggan import filters
from genarena.precision import PRECISIONS, products_in
from genarena.trainer import Trainer

SEGMENTS = 9
PROCESSES = 6  # in which a loop is compared; on a GPU, where the heap plays no part, this one alone
WARM = 17  # rounds on a GPU, which chooses kernels for every lazy penalty at its first turn
Step = Callable[[], int]


@dataclass(frozen=True)
class Run:
    """Where and how the sides of a comparison run; `seconds` are those of one segment."""

    threads: int
    device: str
    precision: str
    seconds: float


def images(n: int, size: int, channels: int) -> Any:
    """Random images of ten classes: speed does not depend on what they show."""
    rng = np.random.default_rng(0)
    return open_dataset((rng.integers(0, 256, (n, channels, size, size), dtype=np.uint8), np.arange(n) % 10))


def trainer_of(model: str, dataset: Any, settings: dict[str, Any], folder: str, device: str = "cpu") -> Trainer:
    decided = plan(model, dataset, budget="1000 epochs", settings=settings, device=device)
    game, loader = make_game(decided)
    served, _ = make_game(decided)
    keep_freed_memory()  # as `fit` does
    return Trainer(
        game, loader, RunFolder(folder), budget=Budget.parse("1000 epochs"), seed=0, device=decided.device,
        every=10**12, served=served,
    )  # fmt: skip


def ours(trainer: Trainer) -> Step:
    def step() -> int:
        before = trainer.progress.images
        trainer.step()
        return trainer.progress.images - before

    return step


def segment(step: Step, seconds: float) -> float:
    """Images a second over one segment."""
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += step()
    return done / (time.perf_counter() - started)


def warm(step: Step, seconds: float) -> Callable[[], float]:
    """A side after its first steps, which pay for allocation and the choice of kernels."""
    for _ in range(5):
        step()
    return lambda: segment(step, seconds)


def interleave(a: Callable[[], float], b: Callable[[], float]) -> dict[str, float]:
    """Median speeds of both sides and the median ratio a / b of neighbouring segments."""
    pairs = [(a(), b()) if i % 2 else (b(), a())[::-1] for i in range(SEGMENTS)]
    return {
        "genarena": round(statistics.median(x for x, _ in pairs), 1),
        "other": round(statistics.median(y for _, y in pairs), 1),
        "ratio": round(statistics.median(x / y for x, y in pairs), 4),
    }


class Side:
    """A side in a process of its own, which works only while it is asked for a segment."""

    def __init__(self, make: Callable[[str], Step], run: Run):
        context = multiprocessing.get_context("spawn")
        self.ours, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make, run), daemon=True)
        self.process.start()
        self.ours.recv()

    def __call__(self) -> float:
        self.ours.send(None)
        return float(self.ours.recv())


def _serve(pipe: Any, make: Callable[[str], Step], run: Run) -> None:
    torch.set_num_threads(run.threads)
    with tempfile.TemporaryDirectory() as folder:
        side = warm(make(folder), run.seconds)
        pipe.send(None)
        while True:
            pipe.recv()
            pipe.send(side())


def apart(a: Callable[[str], Step], b: Callable[[str], Step], run: Run) -> dict[str, float]:
    """`interleave` two sides, made from a scratch folder, in processes of their own."""
    sides = Side(a, run), Side(b, run)
    try:
        return interleave(*sides)
    finally:
        for side in sides:
            side.process.kill()


class BareLoop:
    """Data on the device, one optimizer a player, weight averaging and a finite check: nothing else."""

    def __init__(self, dataset: Any, game: Game, batch: int):
        self.game, self.batch = game.train(), batch
        self.device = next(game.parameters()).device
        stored = (dataset.values("train"), dataset.labels("train"))
        self.x, self.y = (torch.from_numpy(values).to(self.device) for values in stored)
        self.order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(0))
        self.at = 0
        self.players = {p: game.parameters_of(p) for p in game.players}
        self.optimizers = {p: game.optimizer(p, w) for p, w in self.players.items()}
        live = {k: v for k, v in game.state_dict(keep_vars=True).items() if v.is_floating_point()}
        self.live = [v.detach() for v in live.values()]
        self.mean = [v.clone() for v in self.live]
        self.counts = [v for v in game.state_dict(keep_vars=True).values() if not v.is_floating_point()]
        self.copies = [v.clone() for v in self.counts]

    def labelled(self) -> tuple[Tensor, Tensor]:
        if self.at + self.batch > len(self.order):
            self.at = 0
        rows = self.order[self.at : self.at + self.batch].to(self.device)
        self.at += self.batch
        x = self.x.index_select(0, rows).float().mul_(2 / 255).sub_(1)
        return x, one_hot(self.y.index_select(0, rows), 10)

    def move(self, player: str, loss: Tensor) -> None:
        self.move_all({player: loss})

    def move_all(self, losses: dict[str, Tensor]) -> None:
        """Every player's gradients from its own loss, then their steps."""
        *_, last = losses
        for player, loss in losses.items():
            self.optimizers[player].zero_grad(set_to_none=True)
            loss.backward(inputs=self.players[player], retain_graph=player != last)
            norm = torch.stack(torch._foreach_norm([w.grad for w in self.players[player]])).norm()
            if not torch.isfinite(loss.detach() + norm):
                raise ArithmeticError("not finite")
        for player in losses:
            self.optimizers[player].step()

    def average(self) -> None:
        if self.game.config.average_images:
            torch._foreach_lerp_(self.mean, self.live, 1e-3)
            for copy, count in zip(self.copies, self.counts, strict=True):
                copy.copy_(count)


def inferred(game: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The KL term of every example, and a draw from its posterior; beside the class, and in its coordinates, if told."""
    mean, log_variance = game.encoder(x).chunk(2, 1)
    log_variance = 15 * torch.tanh(log_variance / 15)
    if game.conditional:
        place, log_scale = y @ game.class_prior.mean, y @ game.class_prior.log_scale
        mean, log_variance = (mean - place) / log_scale.exp(), log_variance - 2 * log_scale
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    kl = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1)
    return kl, torch.cat([z, y], 1) if game.conditional else z


def bare_vae(dataset: Any, game: Any, batch: int) -> Step:
    loop = BareLoop(dataset, game, batch)

    def step() -> int:
        x, y = loop.labelled()
        kl, z = inferred(game, x, y)
        loop.move("vae", (kl - game.likelihood.log_prob(game.decoder(z), x)).mean())
        loop.average()
        return batch

    return step


def bare_gan(dataset: Any, game: Any, batch: int) -> Step:
    loop = BareLoop(dataset, game, batch)
    softplus = nn.functional.softplus
    config = game.config
    rounds = 0

    def step() -> int:
        nonlocal rounds
        rounds += 1
        x, _ = loop.labelled()
        fake = game.generator(torch.randn(batch, game.latent_dim, device=x.device)).tanh()
        loss = softplus(-game.discriminator(x)).mean() + softplus(game.discriminator(fake.detach())).mean()
        if config.penalty == "r1" and rounds % config.penalty_every == 0:
            penalty = bare_penalty(game.discriminator, x)
            loss = loss + WEIGHTS[config.penalty] * config.penalty_every * penalty
        loop.move("discriminator", loss)
        loop.move("generator", softplus(-game.discriminator(fake)).mean())
        loop.average()
        return batch

    return step


def bare_penalty(discriminator: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """R1, without its weight."""
    x = x.detach().requires_grad_(True)
    with products_in(torch.float32):
        (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return 0.5 * slope.flatten(1).square().sum(1).mean()


def fakes(game: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Fakes of random classes, and the classes."""
    batch, device = len(like), like.device
    y = one_hot(torch.randint(0, 10, (batch,), device=device), 10)
    return game.generator(torch.cat([torch.randn(batch, game.latent_dim, device=device), y], 1)).tanh(), y


def logit_of(game: Any, x: Tensor, y: Tensor) -> Tensor:
    """The logits of a discriminator that is told the classes."""
    return game.discriminator.classify(game.discriminator.hidden(x)[-1], y)


def bare_cgan(dataset: Any, game: Any, batch: int) -> Step:
    loop = BareLoop(dataset, game, batch)
    softplus, config = nn.functional.softplus, game.config
    rounds = 0

    def step() -> int:
        nonlocal rounds
        rounds += 1
        x, y = loop.labelled()
        fake, wanted = fakes(game, x)
        loss = softplus(-logit_of(game, x, y)).mean() + softplus(logit_of(game, fake.detach(), wanted)).mean()
        if rounds % config.penalty_every == 0:
            penalty = bare_penalty(lambda x: logit_of(game, x, y), x)
            loss = loss + WEIGHTS[config.penalty] * config.penalty_every * penalty
        loop.move("discriminator", loss)
        loop.move("generator", softplus(-logit_of(game, fake, wanted)).mean())
        loop.average()
        return batch

    return step


def bare_biggan(dataset: Any, game: Any, batch: int) -> Step:
    loop = BareLoop(dataset, game, batch)
    judge = partial(logit_of, game)

    def step() -> int:
        for _ in range(2):
            x, y = loop.labelled()
            with torch.no_grad():
                fake, wanted = fakes(game, x)
            loss = (1 - judge(x, y)).relu().mean() + (1 + judge(fake, wanted)).relu().mean()
            loop.move("discriminator", loss)
        fake, wanted = fakes(game, x)
        penalty = 0.0
        for weight in filters(game.generator):
            rows = weight.flatten(1)
            gram = rows @ rows.T
            penalty = penalty + (gram - gram.diagonal().diag()).square().sum()
        loop.move("generator", -judge(fake, wanted).mean() + 1e-4 * penalty)
        loop.average()
        return 2 * batch

    return step


def bare_vaegan(dataset: Any, game: Any, batch: int) -> Step:
    loop = BareLoop(dataset, game, batch)
    softplus, config = nn.functional.softplus, game.config
    rounds = 0

    def judge(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        hidden = game.discriminator.hidden(x)[-1]
        return game.discriminator.classify(hidden, *[y] * game.conditional), hidden

    def decode(z: Tensor) -> Tensor:
        return game.generator(game.class_prior(z) if game.conditional else z).tanh()

    def step() -> int:
        nonlocal rounds
        rounds += 1
        x, y = loop.labelled()
        kl, z = inferred(game, x, y)
        wanted = one_hot(torch.randint(0, 10, (batch,), device=x.device), 10)
        noise = torch.randn(batch, game.latent_dim, device=x.device)
        back, fake = decode(z), decode(torch.cat([noise, wanted], 1) if game.conditional else noise)
        (real_logit, real), (back_logit, again), (fake_logit, _) = judge(x, y), judge(back, y), judge(fake, wanted)
        kl, error = kl.mean(), (real - again).flatten(1).square()
        distortion = 0.5 * error.shape[1] * (error.mean() + 1e-8).log()
        fooled = 0.5 * (softplus(-back_logit).mean() + softplus(-fake_logit).mean())
        told = softplus(-real_logit).mean() + 0.5 * (softplus(back_logit).mean() + softplus(fake_logit).mean())
        if rounds % config.penalty_every == 0:
            penalty = bare_penalty(lambda x: judge(x, y)[0], x)
            told = told + WEIGHTS[config.penalty] * config.penalty_every * penalty
        losses = {"encoder": kl + distortion, "generator": config.gamma * distortion + fooled, "discriminator": told}
        loop.move_all(losses)
        loop.average()
        return batch

    return step


def tutorial_dcgan(dataset: Any, game: Any, batch: int) -> Step:
    """The loop of the common DCGAN tutorials: plain backward, sigmoid and BCE, default Adam, contiguous tensors."""
    generator, discriminator = game.generator.train(), game.discriminator.train()
    optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    data = torch.utils.data.TensorDataset(torch.from_numpy(dataset.values("train")).float() / 127.5 - 1)
    loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
    criterion = nn.BCELoss()
    batches = iter(loader)

    def step() -> int:
        nonlocal batches
        try:
            (x,) = next(batches)
        except StopIteration:
            batches = iter(loader)
            (x,) = next(batches)
        discriminator.zero_grad()
        label = torch.full((batch,), 1.0)
        criterion(discriminator(x).sigmoid().view(-1), label).backward()
        fake = generator(torch.rand(batch, game.latent_dim) * 2 - 1).tanh()
        label.fill_(0.0)
        loss = criterion(discriminator(fake.detach()).sigmoid().view(-1), label)
        loss.backward()
        optimizers[1].step()
        generator.zero_grad()
        label.fill_(1.0)
        fooled = criterion(discriminator(fake).sigmoid().view(-1), label)
        fooled.backward()
        optimizers[0].step()
        loss.item(), fooled.item()
        return batch

    return step


def game_of(
    model: str, dataset: Any, settings: dict[str, Any], device: str = "cpu", *, channels_last: bool = True
) -> Game:
    game, _ = make_game(plan(model, dataset, settings=settings, device=device))
    return game if channels_last else game.to(memory_format=torch.contiguous_format)


MLP = {"network": {"architecture": "mlp", "depth": 1}}
Loop = tuple[str, tuple[int, int, int], dict[str, Any], Callable[[Any, Any, int], Step]]
LOOPS: dict[str, Loop] = {
    "vae mlp 28px": ("vae", (4000, 28, 1), MLP, bare_vae),
    "vae conv 28px": ("vae", (4000, 28, 1), {}, bare_vae),
    "gan conv 28px": ("gan", (4000, 28, 1), {}, bare_gan),
    "cvae conv 28px": ("cvae", (4000, 28, 1), {}, bare_vae),
    "cgan conv 28px": ("cgan", (4000, 28, 1), {}, bare_cgan),
    "vaegan conv 28px": ("vaegan", (4000, 28, 1), {}, bare_vaegan),
    "cvaegan conv 28px": ("cvaegan", (4000, 28, 1), {}, bare_vaegan),
    "biggan 32px": ("biggan", (2000, 32, 3), {}, bare_biggan),
}


def loop_pair(name: str, control: bool, bare_first: bool, run: Run) -> float:
    """genarena's speed (or, as a control, the bare loop's) over that of a bare loop, both in this process."""
    torch.set_num_threads(run.threads)
    model, shape, settings, bare = LOOPS[name]
    settings = {**settings, "precision": run.precision}
    dataset = images(*shape)
    batch = plan(model, dataset, settings=settings, device=run.device).config.batch_size
    keep_freed_memory()

    def other() -> Callable[[], float]:
        step = bare(dataset, game_of(model, dataset, settings, run.device), batch)

        def rounded() -> int:
            with products_in(PRECISIONS[run.precision]):
                return step()

        return warm(rounded, run.seconds)

    def one(folder: str) -> Callable[[], float]:
        return other() if control else warm(ours(trainer_of(model, dataset, settings, folder, run.device)), run.seconds)

    with tempfile.TemporaryDirectory() as folder, reproducible(torch.device(run.device)):
        first, second = (other(), one(folder)) if bare_first else (one(folder), other())
        ratio = interleave(first, second)["ratio"]
    return 1 / ratio if bare_first else ratio


def loop(run: Run) -> Iterator[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    for name, control in [*((name, False) for name in LOOPS), ("vae mlp 28px", True)]:
        ratios = [] if run.device == "cpu" else [loop_pair(name, control, first, run) for first in (False, True)]
        for number in range(PROCESSES if run.device == "cpu" else 0):
            with context.Pool(1) as pool:
                ratios.append(pool.apply(loop_pair, (name, control, bool(number % 2), run)))
        ratio, ends = round(statistics.median(ratios), 4), [round(r, 4) for r in (min(ratios), max(ratios))]
        yield {"of": "control, " * control + name, "ratio": ratio, "range": ends}


DCGAN = {"batch_size": 64}
PYTHAE = {"batch_size": 100, "latent_dim": 10, "network": {"architecture": "mlp", "depth": 1, "width": 512}}


def our_dcgan(folder: str) -> Step:
    return ours(trainer_of("dcgan", images(2000, 32, 3), DCGAN, folder))


def their_dcgan(folder: str) -> Step:
    dataset = images(2000, 32, 3)
    return tutorial_dcgan(dataset, game_of("dcgan", dataset, DCGAN, channels_last=False), 64)


def dcgan(run: Run) -> Iterator[dict[str, Any]]:
    yield apart(our_dcgan, their_dcgan, run)


def our_vae(folder: str) -> Step:
    return ours(trainer_of("vae", images(10_000, 28, 1), PYTHAE, folder))


def their_vae(folder: str) -> Step:
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    x = torch.from_numpy(images(10_000, 28, 1).values("train")).float() / 255
    config = BaseTrainerConfig(output_dir=folder, num_epochs=1, per_device_train_batch_size=100, no_cuda=True)
    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=10))
    peer = BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=config)
    peer.prepare_training()
    peer.callback_handler.callbacks = []  # its progress bar
    epoch = iter(range(1, 10**9))

    def step() -> int:
        peer.train_step(next(epoch))
        return len(x)

    return step


def pythae(run: Run) -> Iterator[dict[str, Any]]:
    if importlib.util.find_spec("pythae") is None:
        yield {"skipped": "pythae is not installed"}
    else:
        yield apart(our_vae, their_vae, run)


def games(run: Run) -> Iterator[dict[str, Any]]:
    """Images and CPU seconds of every game with its default settings, on colour images."""
    for size in (32, 64) if run.device == "cpu" else (32, 64, 128, 256):
        dataset = images(1000 if size <= 64 else 200, size, 3)
        for name in (name for name, model in MODELS.items() if issubclass(model, Game)):
            yield {"of": f"{name} {size}px", **speed_of(name, dataset, run)}


def speed_of(name: str, dataset: Any, run: Run) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, reproducible(torch.device(run.device)):
        step = ours(trainer_of(name, dataset, {"precision": run.precision}, folder, run.device))
        for _ in range(2 if run.device == "cpu" else WARM):
            step()
        started, cpu, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started < run.seconds * SEGMENTS:
            done += step()
        speed, spent = done / (time.perf_counter() - started), 1000 * (time.process_time() - cpu) / done
        row = {"images_per_second": round(speed, 1), "cpu_seconds_per_1000": round(spent, 2)}
        return {**row, **(profile(step) if run.device != "cpu" else {})}


def profile(step: Step, rounds: int = 8) -> dict[str, Any]:
    """Milliseconds of a round, kernels it launches, how long the GPU worked on which kind of them, and peak memory."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for _ in range(rounds):
        step()
    wall = time.perf_counter() - started
    with torch.profiler.profile(activities=activities) as recorded:
        for _ in range(rounds):
            step()
    kernels: dict[str, float] = {}
    launched = 0
    for event in recorded.key_averages():
        kind = next((kind for kind, words in KERNELS.items() if any(w in event.key.lower() for w in words)), "other")
        kernels[kind] = kernels.get(kind, 0.0) + event.self_device_time_total / 1000 / rounds
        launched += event.count
    return {
        "round_ms": round(1000 * wall / rounds, 2),
        "peak_mb": round(torch.cuda.max_memory_allocated() / 2**20),
        "kernels": round(launched / rounds),
        "gpu_ms": {kind: round(ms, 2) for kind, ms in sorted(kernels.items(), key=lambda item: -item[1])},
    }


KERNELS = {
    "products": ("gemm", "conv", "cudnn", "wgrad", "dgrad", "fprop", "cutlass", "xmma", "gemv", "dot_kernel", "nvjet"),
    "layout and copies": ("nchwtonhwc", "nhwctonchw", "memcpy", "memset", "copy"),
    "norms and sums": ("reduce", "norm", "bn_"),
    "optimizer and averages": ("multi_tensor", "adam", "lerp"),
    "elementwise": ("elementwise", "vectorized", "fill"),
}


def memory(run: Run) -> Iterator[dict[str, Any]]:
    def resident() -> float:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of("gan", images(4000, 28, 1), {}, folder)
        for _ in range(60):
            trainer.step()
        early = resident()
        for _ in range(540):
            trainer.step()
        yield {"early_mb": round(early, 1), "late_mb": round(resident(), 1), "growth_mb": round(resident() - early, 2)}


if __name__ == "__main__":
    parts: dict[str, Callable[[Run], Iterator[dict[str, Any]]]] = {
        "loop": loop, "dcgan": dcgan, "pythae": pythae, "games": games, "memory": memory,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="which (default: all)")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=list(PRECISIONS))
    parser.add_argument("--seconds", type=float, default=1.0, help="of one segment")
    arguments = parser.parse_args()
    for count in arguments.threads:
        torch.set_num_threads(count)
        run = Run(count, arguments.device, arguments.precision, arguments.seconds)
        for part in arguments.parts or parts:
            for record in parts[part](run):
                print(json.dumps({"part": part, **record, **asdict(run), "torch": torch.__version__}), flush=True)
