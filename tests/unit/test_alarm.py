"""The live alarm: what it notices, what it lets pass, and that an episode is told once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genarena import alarm as module
from genarena.alarm import (
    COLLAPSED,
    LASTING,
    LOOKS,
    MEMORY,
    OSCILLATION,
    PATIENCE,
    WINDOW,
    WON,
    Watch,
    count_turns,
    nearest,
    watch_for,
)
from genarena.alarm import LOST as LOST_CLASSES
from genarena.data import Dataset, VectorSpec
from genarena.events import Alarm, Event, JsonLines, Live, episodes, read_events
from genarena.files import read_json
from genarena.fit import fit, plan
from genarena.fitted import build
from genarena.models import MODELS
from genarena.models.gan import GAN
from genarena.objectives.adversarial import LOSSES

SPEC = VectorSpec(3, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
N = 200


def rows(n: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def numbers(real: float = 0.1, fake: float = -0.1, loss: float = 1.3, gradient: float = 1.0) -> dict[str, float]:
    logits = {"logit_real": real, "logit_fake": fake}
    return {"loss/discriminator": loss, "loss/generator": 1.0, "gradient/generator": gradient, **logits}


def told(watch: Watch, readings: list[dict[str, float]]) -> list[tuple[int, str, bool]]:
    """Index, name and end of every alarm."""
    return [(i, a.name, a.over) for i, reading in enumerate(readings) for a in watch.log(i, reading)]


HEALTHY, LOST = numbers(), numbers(9.0, -9.0, 2e-4)


# -- the discriminator wins --------------------------------------------------------------------------------------------


def test_a_discriminator_that_wins_is_told_once_an_episode() -> None:
    watch = Watch(SPEC, rows())
    found = told(watch, [HEALTHY] * 40 + [LOST] * 60 + [HEALTHY] * 60 + [LOST] * 60)
    assert [(name, over) for _, name, over in found] == [(WON, False), (WON, True), (WON, False)]
    for (index, *_), start in zip(found, (40, 100, 160), strict=True):
        assert PATIENCE <= index - start <= PATIENCE + WINDOW


def test_an_alarm_says_what_was_seen_and_what_to_try() -> None:
    watch = Watch(SPEC, rows())
    (found,) = [a for i in range(30) for a in watch.log(i, LOST)]
    assert found.numbers == pytest.approx({"logit_real": 9.0, "logit_fake": -9.0, "loss": 2e-4, "gradient": 1.0})
    assert found.text.startswith("discriminator won: ") and "mean logits -9 and 9" in found.text
    assert "penalty=r1" in found.text and "discriminator_learning_rate" in found.text


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        (numbers(2.0, -2.0, 0.25), "a strong discriminator that still errs"),
        (numbers(20.0, -3.0, 0.3), "confident and often wrong"),
        (numbers(-9.0, 9.0, 18.0), "a discriminator that lost"),
    ],
)
def test_what_is_no_victory(reading: dict[str, float], why: str) -> None:
    watch = Watch(SPEC, rows())
    assert told(watch, [HEALTHY] * 20 + [reading] * 50) == [], why


def test_a_short_lead_is_no_victory() -> None:
    watch = Watch(SPEC, rows())
    found = told(watch, ([HEALTHY] * 20 + [LOST] * PATIENCE) * 5)
    assert [name for _, name, _ in found] == [OSCILLATION]  # which it is


def test_a_gradient_that_vanishes_against_its_own_past_is_a_victory() -> None:
    """Under minimax the loss of a discriminator with some errors is not small, but nothing reaches the generator."""
    apart = numbers(9.0, -5.0, 0.3)
    assert told(Watch(SPEC, rows(), "minimax"), [HEALTHY] * 80 + [apart] * 40) == []
    vanished = {**apart, "gradient/generator": 0.01}
    ((_, name, over),) = told(Watch(SPEC, rows(), "minimax"), [HEALTHY] * 80 + [vanished] * 40)
    assert (name, over) == (WON, False)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_penalties_hide_nothing_however_many_readings_meet_one(every: int) -> None:
    lost = {**LOST, "penalty": 5.0, "loss/discriminator": LOST["loss/discriminator"] + 5.0}
    readings = [lost if i % every == 0 else {**LOST, "penalty": 0.0} for i in range(40)]
    assert [name for _, name, _ in told(Watch(SPEC, rows()), readings)] == [WON]


def test_penalties_that_come_and_go_are_no_oscillation() -> None:
    healthy = {**HEALTHY, "penalty": 0.0}
    penalised = {**HEALTHY, "penalty": 5.0, "loss/discriminator": HEALTHY["loss/discriminator"] + 5.0}
    assert told(Watch(SPEC, rows()), ([healthy] * 20 + [penalised] * 20) * 4) == []
    assert told(Watch(SPEC, rows()), [penalised] * 40) == []


@pytest.mark.parametrize(
    ("loss", "reading"),
    [
        ("hinge", numbers(1.4, -1.2, 0.0)),
        ("least-squares", numbers(0.98, 0.03, 1e-3)),
        ("relativistic", numbers(14.0, 6.0, 1e-3)),
    ],
)
def test_every_loss_is_judged_on_its_own_scale(loss: str, reading: dict[str, float]) -> None:
    assert [name for _, name, _ in told(Watch(SPEC, rows(), loss), [reading] * 40)] == [WON]
    assert told(Watch(SPEC, rows()), [{**reading, "loss/discriminator": 0.3}] * 40) == []


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_guessing_is_what_no_logits_that_are_alike_do_better(loss: str) -> None:
    """Where real and fake have the same logit, none has a smaller loss than the one said to be guessing."""
    best = min(float(LOSSES[loss].discriminator(at, at)) for at in torch.linspace(-2, 2, 81).split(1))
    guess = torch.tensor([LOSSES[loss].guess])
    assert float(LOSSES[loss].discriminator(guess, guess)) == pytest.approx(best, abs=1e-6)


def test_least_squares_is_measured_against_a_logit_of_one_half() -> None:
    told_apart = numbers(0.86, 0.14, 0.0196)  # 8 % of the loss of guessing, 0.25
    assert told(Watch(SPEC, rows(), "least-squares"), [told_apart] * 40) == []


def test_a_critic_cannot_win() -> None:
    assert told(Watch(SPEC, rows(), "wasserstein"), [numbers(90.0, -90.0, -180.0)] * 40) == []


# -- oscillation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("amplitude", "expected"), [(2.0, 8), (0.6, 6), (0.49, 0)])
def test_a_sine_turns_twice_a_period_where_it_swings_far_enough(amplitude: float, expected: int) -> None:
    """Of four periods; a small one has no first rise and no last one that are far enough."""
    assert count_turns(amplitude * np.sin(np.linspace(0, 8 * math.pi, 400)), 1.0) == expected
    assert count_turns(-amplitude * np.sin(np.linspace(0, 8 * math.pi, 400)), 1.0) == expected


def test_what_does_not_turn() -> None:
    assert count_turns([], 1.0) == count_turns([3.0], 1.0) == 0
    assert count_turns(np.linspace(0, 50, 100), 1.0) == count_turns(np.linspace(50, 0, 100), 1.0) == 0
    assert count_turns([0, 5, 5, 5, 5], 1.0) == 0
    assert count_turns([0, 5, 0, 0, 0], 1.0) == 1
    assert count_turns([0, 1, 0, 1], 1.0) == 2, "a swing of exactly that size counts"
    assert count_turns(np.random.default_rng(0).uniform(0, 0.9, 1000), 1.0) == 0


def waves(amplitude: float, period: int, count: int = 140) -> list[dict[str, float]]:
    fakes = amplitude * np.sin(2 * math.pi * np.arange(count) / period)
    return [numbers(0.0, float(fake), 1.3) for fake in fakes]


def test_losses_that_swing_widely_are_told_and_forgiven() -> None:
    watch = Watch(SPEC, rows())
    found = told(watch, waves(6.0, 40) + [HEALTHY] * (MEMORY + 30))
    assert [(name, over) for _, name, over in found] == [(OSCILLATION, False), (OSCILLATION, True)]


@pytest.mark.parametrize(
    "readings",
    [
        waves(0.3, 40),
        [numbers(0.0, -i / 10, 1.3) for i in range(140)],
        [numbers(0.0, 0.0, 1.3 + 3 * (i == 50)) for i in range(140)],
        [numbers(0.0, float(f), 1.3) for f in np.random.default_rng(0).normal(0, 0.4, 140)],
    ],
    ids=["small waves", "a drift", "one bad batch", "noise"],
)
def test_what_is_no_oscillation(readings: list[dict[str, float]]) -> None:
    assert told(Watch(SPEC, rows()), readings) == []


def test_samples_that_go_to_and_fro_are_an_oscillation() -> None:
    def found(places: list[float]) -> list[Alarm]:
        watch = Watch(SPEC, rows())
        alarms = []
        for index, place in enumerate(places, start=1):
            alarms += watch.look(index, rows(seed=index) + np.float32(place))
            for _ in range(WINDOW + PATIENCE):
                alarms += watch.log(index, HEALTHY)
        return alarms

    (swaying,) = found([0, 4, 0, 4])
    assert swaying.name == OSCILLATION and "standard deviations" in swaying.text
    assert found([0, 4, 8, 12]) == []  # a journey
    assert found([0, 0.3, 0, 0.3]) == []


# -- collapse ----------------------------------------------------------------------------------------------------------


def looked(watch: Watch, looks: list[np.ndarray]) -> list[tuple[int, bool]]:
    return [(i, a.over) for i, samples in enumerate(looks, start=1) for a in watch.look(i, samples)]


def test_a_collapse_is_told_at_the_second_look_and_forgiven_alike() -> None:
    point = np.zeros((N, 3), np.float32)
    spread = [rows(seed=i) for i in range(3)]
    watch = Watch(SPEC, rows())
    assert looked(watch, [spread[0], point, point, point, spread[1], spread[2]]) == [(1 + LOOKS, False), (6, True)]


def test_the_first_look_says_nothing() -> None:
    watch = Watch(SPEC, rows())
    assert watch.look(0, np.zeros((N, 3), np.float32)) == []
    assert watch.look(1, np.zeros((N, 3), np.float32)) == []
    (alarm,) = watch.look(2, np.zeros((N, 3), np.float32))
    assert alarm.name == COLLAPSED and "0.0% of the variance" in alarm.text and "100% of them" in alarm.text
    assert alarm.numbers["variance"] == pytest.approx(0, abs=1e-9) and alarm.numbers["near_duplicates"] == 1


def test_a_few_samples_again_and_again_are_a_collapse_whatever_their_variance() -> None:
    few = np.repeat(rows(20, seed=5), N // 20, axis=0)
    watch = Watch(SPEC, rows())
    jittered = [few + np.float32(1e-3) * rows(seed=i) for i in range(2)]
    assert looked(watch, jittered) == [(2, False)]


@pytest.mark.parametrize(
    ("real", "looks"),
    [
        (rows(), [rows(seed=i) for i in range(1, 4)]),
        (rows(), [0.6 * rows(seed=i) for i in range(1, 4)]),
        (rows(), [np.float32(s) * rows(seed=1) for s in (0.02, 0.05, 0.1, 0.2, 0.5)]),
        (rows(20), [np.zeros((20, 3), np.float32)] * 3),
        (rows(), [np.full((N, 3), np.nan, np.float32)] * 3),
        (np.repeat(rows(20), N // 20, axis=0), [np.repeat(rows(20, seed=3), N // 20, axis=0)] * 3),
        (
            np.concatenate([rows(120), np.repeat(rows(8, seed=1), 10, axis=0)]),  # 40 % are duplicates
            [np.concatenate([rows(20, seed=5), np.repeat(rows(18, seed=6), 10, axis=0)])] * 3,  # 90 %, not 80 % more
        ),
    ],
    ids=["real", "narrow", "spreading from a point", "too few", "not finite", "repeated", "repeated in part"],
)
def test_what_is_no_collapse(real: np.ndarray, looks: list[np.ndarray]) -> None:
    assert looked(Watch(SPEC, real), looks) == []


# -- classes lost ------------------------------------------------------------------------------------------------------

NAMES = ("ant", "bee", "cat", "dog")


def of_classes(counts: tuple[int, ...], seed: int = 0, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Rows around four corners, so many of each, and their classes."""
    corners = 2 * np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], np.float32)
    labels = np.repeat(np.arange(4), counts)
    return corners[labels] + np.float32(spread) * rows(len(labels), seed), labels


def labelled(spread: float = 0.5) -> Watch:
    values, labels = of_classes((300,) * 4, 0, spread)
    return Watch(SPEC, values[::6], labelled=(values, labels, NAMES))


def alarms(watch: Watch, looks: list[np.ndarray]) -> list[tuple[int, str, bool]]:
    return [(i, a.name, a.over) for i, samples in enumerate(looks, start=1) for a in watch.look(i, samples)]


def test_lost_classes_are_told_by_name_after_five_looks_and_found_again() -> None:
    watch = labelled()
    without = [of_classes((50, 0, 50, 0), i)[0] for i in range(LASTING + 1)]
    for index, samples in enumerate(without[: LASTING - 1], start=1):
        assert watch.look(index, samples) == []
    (told,) = watch.look(LASTING, without[LASTING - 1])
    assert (told.name, told.numbers) == (LOST_CLASSES, {"classes": 2})
    assert "hardly any of 100 samples looks like bee, dog." in told.text
    one_back = of_classes((40, 20, 40, 0), 8)[0]
    whole = of_classes((25,) * 4, 9)[0]
    assert alarms(watch, [without[LASTING], one_back, whole]) == [(3, LOST_CLASSES, True)]


def test_another_class_that_one_look_misses_does_not_keep_the_alarm() -> None:
    watch = labelled()
    without = [of_classes((50, 0, 50, 0), i)[0] for i in range(LASTING)]
    other = of_classes((0, 34, 33, 33), 8)[0]
    assert alarms(watch, [*without, other]) == [(LASTING, LOST_CLASSES, False), (LASTING + 1, LOST_CLASSES, True)]


def test_a_young_generator_that_finds_one_class_after_the_other_has_lost_none() -> None:
    looks = [
        (100, 0, 0, 0),
        (50, 50, 0, 0),
        (50, 50, 0, 0),
        (50, 50, 0, 0),
        (34, 33, 33, 0),
        (34, 33, 33, 0),
        (25,) * 4,
    ]
    assert alarms(labelled(), [of_classes(counts, i)[0] for i, counts in enumerate(looks)]) == []
    stuck = [*looks[:4], *[(50, 50, 0, 0)] * 2]
    assert alarms(labelled(), [of_classes(counts, i)[0] for i, counts in enumerate(stuck)]) == [
        (6, LOST_CLASSES, False)
    ]


def test_samples_that_look_like_nothing_real_have_lost_no_class() -> None:
    far = [of_classes((100, 0, 0, 0), i)[0] + np.float32(40) for i in range(6)]
    assert alarms(labelled(), far) == []
    # 15 % that lie among the real ones are enough: as near as 95 % of these are to each other.
    few = [np.concatenate([of_classes((15, 0, 15, 0), i)[0], far[0][:85], far[1][:85]]) for i in range(LASTING)]
    assert alarms(labelled(), few) == [(LASTING, LOST_CLASSES, False)]


@pytest.mark.parametrize(
    "counts", [(25, 25, 25, 25), (40, 20, 20, 20), (55, 15, 15, 15)], ids=["even", "uneven", "more uneven"]
)
def test_a_class_that_is_only_rarer_is_not_lost(counts: tuple[int, ...]) -> None:
    assert alarms(labelled(), [of_classes(counts, i)[0] for i in range(LASTING + 2)]) == []


def test_classes_that_neighbours_confuse_are_judged_by_what_is_left_of_them() -> None:
    """At a spread of 2 a fifth of the neighbours are of another class: an absent class still shows some."""
    values, labels = of_classes((300,) * 4, 0, 2.0)
    seen = []
    for counts in ((75,) * 4, (100, 0, 100, 100)):
        watch = Watch(SPEC, values[::4], labelled=(values, labels, NAMES))
        seen.append([a for i in range(1, LASTING + 2) for a in watch.look(i, of_classes(counts, i, 2.0)[0])])
    assert seen[0] == [] and ["looks like bee." in a.text for a in seen[1]] == [True]


def test_classes_too_rare_or_alike_to_tell_are_not_judged() -> None:
    samples = [of_classes((50, 0, 50, 0), i)[0] for i in range(LASTING + 1)]
    values, labels = of_classes((300,) * 4)
    alike = Watch(SPEC, values[::6], labelled=(values, np.random.default_rng(0).permutation(labels), NAMES))
    assert alarms(alike, samples) == []
    values, labels = of_classes((290, 10, 290, 10))
    assert alarms(Watch(SPEC, values[::6], labelled=(values, labels, NAMES)), samples) == []


def test_the_advice_fits_the_game() -> None:
    point = np.zeros((N, 3), np.float32)
    alone, two = Watch(SPEC, rows()), Watch(SPEC, rows())
    assert alone.log(1, {"loss/vae": 3.0}) == []
    two.log(1, HEALTHY)
    texts = [next(a.text for i in (1, 2) for a in watch.look(i, point)) for watch in (alone, two)]
    assert "smaller beta" in texts[0] and "packing=2" not in texts[0]
    assert "packing=2" in texts[1]


def test_watching_draws_nothing_from_any_global_generator(images: Dataset) -> None:
    before = torch.get_rng_state()
    game: Any = build(GAN, GAN.Config.parse({"network": {"width": 8}}), images.schema, 0)
    assert torch.equal(before, torch.get_rng_state())
    watch = watch_for(game, images)
    watch.look(1, images.values("train")[:40])
    watch.log(1, HEALTHY)
    assert torch.equal(before, torch.get_rng_state())


def test_a_game_is_watched_by_its_own_loss_and_player(images: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(module, "Watch", lambda *arguments: made.append(arguments[2:]))
    for name, settings in (("gan", {"loss": "hinge"}), ("vae", {}), ("vaegan", {}), ("autoencoder", {})):
        model = MODELS[name]
        watch_for(build(model, model.Config.parse(settings), images.schema, 0), images)  # type: ignore[arg-type]
    assert made[0][:2] == ("hinge", "generator") and made[2][:2] == ("non-saturating", "generator")
    assert [player for _, player, _ in (made[1], made[3])] == ["vae", "autoencoder"]
    values, labels, names = made[0][2]
    stored = images.values("train"), images.labels("train")
    assert names == images.schema.label.classes and len(values) == len(labels) == len(stored[0])  # type: ignore[union-attr]
    assert np.array_equal(values, stored[0]) and np.array_equal(labels, stored[1])


# -- events ------------------------------------------------------------------------------------------------------------


def test_episodes_are_paired_and_a_resumed_run_begins_anew() -> None:
    def record(kind: str, images: int, name: str = "", text: str = "") -> dict[str, Any]:
        return {"kind": kind, "images": images, "name": name, "text": text}

    records = [
        record("alarm", 10, WON, "one"),
        record("log", 11),
        record("alarm", 20, COLLAPSED, "two"),
        record("clear", 30, WON),
        record("clear", 31, "something else"),
        record("resume", 40),
        record("alarm", 50, COLLAPSED, "three"),
    ]
    assert episodes(records) == [
        {"name": WON, "images": 10, "until": 30, "text": "one"},
        {"name": COLLAPSED, "images": 20, "until": 40, "text": "two"},
        {"name": COLLAPSED, "images": 50, "until": None, "text": "three"},
    ]
    assert episodes([]) == []


def test_the_live_line_shows_what_stands(capsys: pytest.CaptureFixture) -> None:
    sink = Live("mine", 160, None)
    sink.emit(Event("alarm", 1, 16, 0.1, 0.1, {}, "collapsed [thus]: try this", COLLAPSED))
    sink.emit(Event("end", 2, 32, 0.2, 0.2, {"loss/g": 1.0}))
    sink.emit(Event("clear", 3, 48, 0.3, 0.3, name=COLLAPSED))
    sink.emit(Event("end", 10, 160, 1.0, 1.0, {"loss/g": 1.0}))
    sink.close()
    lines = capsys.readouterr().err.splitlines()
    assert "mine: collapsed [thus]: try this" in lines
    assert [f"! {COLLAPSED}" in line for line in lines if "img/s" in line] == [True, False]


def test_an_alarm_is_a_record_with_its_name(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "events.jsonl", 0)
    sink.emit(Event("alarm", 1, 16, 0.1, 0.1, {"variance": 0.0}, "text", COLLAPSED))
    sink.close()
    (record,) = read_events(tmp_path / "events.jsonl")
    assert (record["kind"], record["name"], record["numbers"]) == ("alarm", COLLAPSED, {"variance": 0.0})


class OneMode(GAN):
    """A generator that ignores its noise."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return super().decode(torch.zeros_like(z))


@pytest.mark.parametrize(("model", "names"), [(OneMode, {COLLAPSED}), ("gan", set())])
def test_a_run_keeps_its_alarms(vectors: Dataset, tmp_path: Path, model: Any, names: set[str]) -> None:
    settings = {"batch_size": 32, "network": {"width": 32}}
    # With seed 0 the short game goes from one class to the other and back, and says so.
    decided = plan(model, vectors, budget="6400 images", seed=1, settings=settings, device="cpu")
    fit(decided, tmp_path, threads=1, pictures=False)
    alarms = read_json(tmp_path / "result.json")["alarms"]
    assert {alarm["name"] for alarm in alarms} == names
    assert alarms == episodes(read_events(tmp_path / "events.jsonl"))


def test_examples_that_are_the_same_are_no_distance_apart() -> None:
    features = torch.randn(40, 24, generator=torch.Generator().manual_seed(0)).repeat(8, 1) + 5
    assert not nearest(features).any()
