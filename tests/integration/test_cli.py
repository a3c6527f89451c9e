"""Every verb on one small comparison, every mistake of a user, and the frozen set of options."""

from __future__ import annotations

import csv
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from arena_fixture import SMALL, Done
from PIL import Image

from genarena import load
from genarena.checkpoint import RunFolder
from genarena.cli import app
from genarena.errors import EXIT_CODES
from genarena.files import read_json, write_json
from genarena.models import MODELS
from genarena.uses import USES

SEEDS = 1  # of the comparison that these tests share
COMMANDS: Any = typer.main.get_command(app)
OPTIONS = {
    "compare": "--budget --checkpoint --config --data-dir --range --device --dry-run --evaluator --features --features-net "
    "--for "
    "--jobs --json --max-bad --models --normal --out --quiet --samples --seeds --set --size --stall --threads --total"
    " --follow-links --no-labels DATA",
    "density-ratio": "--data-dir --range --fit --follow-links --for --json --out --seed --trust DATA RUN",
    "detect": "--data-dir --range --fit --for --out --trust --follow-links DATA RUN",
    "doctor": "--for --json RUN",
    "edit": "--against --amounts --attribute --component --data-dir --range --fit --follow-links "
    "--for --label --out --seed --steps "
    "--trust -n DATA RUN",
    "encode": "--data-dir --range --fit --for --out --trust --follow-links DATA RUN",
    "evaluate": "--data-dir --range --fit --evaluator --features-net --for --json --samples --trust"
    " --follow-links DATA RUN",
    "export": "--for --format --out --trust RUN",
    "gap": "--data-dir --range --fit --follow-links --for --json --seed --steps --trust DATA RUN",
    "inspect": "--data-dir --range --json --max-bad --size --follow-links --no-labels DATA",
    "interpolate": "--data --data-dir --range --fit --follow-links --for --out --seed --steps --trust -n RUN",
    "invert": "--data-dir --range --fit --follow-links --for --out --seed --steps --trust -n DATA RUN",
    "mix": "--for --layer --out --seed --trust -n RUN",
    "models": "--json",
    "path-length": "--for --json --seed --trust -n RUN",
    "probe": "--data-dir --range --fit --follow-links --for --json --labels --seed --trust DATA RUN",
    "prune": "--dry-run --keep FOLDER",
    "reconstruct": "--data-dir --range --fit --for --out --trust -n --follow-links DATA RUN",
    "report": "FOLDER",
    "sample": "--checkpoint --for --format --label --out --seed --truncation --trust -n RUN",
    "train": "--budget --config --data-dir --range --device --dry-run --json "
    "--max-bad --out --quiet --seed --set --size --threads"
    " --follow-links --no-labels DATA MODEL",
    "traverse": "--amounts --component --data --data-dir --range --fit --follow-links "
    "--for --label --out --seed --trust -n RUN",
    "truncation": "--amounts --data-dir --range --fit --follow-links "
    "--evaluator --features-net --for --out --samples --seed --trust DATA RUN",
    "view": "FOLDER",
}


@pytest.fixture
def vae(arena: Path) -> Path:
    return arena / "runs" / "vae-0"


# -- the interface -----------------------------------------------------------------------------------------------------


def test_the_options_of_every_command_are_frozen() -> None:
    found = {
        name: sorted(
            opt for p in command.params for opt in (p.opts if p.param_type_name == "option" else [p.name.upper()])
        )
        for name, command in COMMANDS.commands.items()
    }
    # Every verb on the model of a comparison takes a use's leader or another contender.
    named = {name: ["--model"] * ("--for" in options and name != "compare") for name, options in OPTIONS.items()}
    assert found == {name: sorted(options.split() + named[name]) for name, options in OPTIONS.items()}


@pytest.mark.parametrize("verb", sorted(OPTIONS))
def test_every_verb_explains_itself(verb: str, genarena: Callable[..., Done]) -> None:
    done = genarena(verb, "--help")
    assert done.code == 0 and done.err == ""
    assert COMMANDS.commands[verb].help.splitlines()[0].split(".")[0][:40] in " ".join(done.out.split())
    for option in OPTIONS[verb].split():
        assert option.lower() in done.out.lower()
    undocumented = [p.name for p in COMMANDS.commands[verb].params if p.param_type_name == "argument" and not p.help]
    assert undocumented == []


def test_the_exit_codes_stand_in_the_help(genarena: Callable[..., Done]) -> None:
    text = " ".join(genarena("--help").out.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in text
    assert set(OPTIONS) == set(COMMANDS.commands)


# -- verbs on a comparison's winner and on a run -----------------------------------------------------------------------


def test_sample(arena: Path, vae: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    out = tmp_path / "samples.npz"
    done = genarena("sample", vae, "-n", "5", "--seed", "3", "--out", out)
    assert (done.code, done.last, done.err) == (0, str(out), "")
    with np.load(out) as stored:
        (key,) = stored.files
        expected = load(vae).sample(5, 3)
        assert stored[key].shape[0] == 5
        np.testing.assert_array_equal(stored[key].reshape(expected.shape), expected)
    trusted = genarena("sample", arena, "--for", "generate-fidelity", "--trust", "--out", tmp_path / "winner.png")
    assert trusted.code == 0
    with Image.open(tmp_path / "winner.png") as picture:
        assert picture.width >= 64
    undecided = next(
        u for u in read_json(arena / "comparison.json")["uses"] if u["verdict"] == "undecided" and u["leader"]
    )
    told = genarena("doctor", arena, "--for", undecided["name"], "--model", "gan")
    assert told.code == 0 and undecided["provisional"]
    leads = genarena("sample", arena, "--for", undecided["name"], "--trust", "--out", tmp_path / "leader.png")
    assert f"leads '{undecided['name']}' provisionally" in leads.err
    named = genarena("sample", arena, "--for", undecided["name"], "--model", "gan", "--out", tmp_path / "gan.png")
    assert (named.code, named.err) == (0, "")
    assert_is_told(genarena("sample", arena, "--model", "gan", "--out", tmp_path / "gan.png"), 2, "say --for which use")
    assert_is_told(genarena("doctor", vae, "--model", "gan"), 2, "say --for which use")


def test_a_class_is_asked_for_and_odd_requests_are_refused(
    tmp_path: Path, vae: Path, genarena: Callable[..., Done]
) -> None:
    """`shapes` has a condition of numbers beside its images, which has to be normalised in its own way."""
    run, out = tmp_path / "run", tmp_path / "hearts.npz"
    small = ["--set", "network.width=4", "--budget", "640 images", "--threads", "1", "--quiet"]
    assert genarena("train", "cgan", "shapes", "--out", run, *small).code == 0
    assert genarena("sample", run, "--label", "heart", "-n", "3", "--checkpoint", "best", "--out", out).code == 0
    assert genarena("gap", run, "shapes", "--steps", "2", "--json").code == 0
    for words, said in (
        ((run, "--label", "cat"), "there is no class 'cat'; there are 3: square, ellipse, heart"),
        ((run, "--truncation", "0"), "give a positive number"),
        ((run, "--checkpoint", "first"), "last or best"),
        ((vae, "--label", "0"), "it is trained without labels"),
    ):
        done = genarena("sample", *words, "--out", out)
        assert done.code != 0 and said in done.err


def test_models_of_classes_and_of_square_images_say_what_they_need(
    tmp_path: Path, workplace: Path, genarena: Callable[..., Done]
) -> None:
    np.savez(tmp_path / "unlabelled.npz", images=np.zeros((40, 9, 9), np.uint8))
    for words, said in (
        (("cgan", tmp_path / "unlabelled.npz"), "these data have no labels"),
        (("stylegan", tmp_path / "unlabelled.npz"), "8, 16, 32, 64, 128, 256, 512 or 1024 pixels"),
        (("gan", "ring8", "--set", "batch_size=9", "--set", "packing=2"), "cannot be packed by 2"),
        (("gan", "ring8", "--set", "loss=wasserstein"), "needs penalty=gradient"),
        (("gan", "ring8", "--set", "augment=ada"), "rows of numbers"),
    ):
        done = genarena("train", *words, "--out", tmp_path / "run")
        assert done.code != 0 and said in done.err
    done = genarena("compare", tmp_path / "unlabelled.npz", "--models", "cgan", "--out", tmp_path / "arena")
    assert done.code != 0 and "'cgan' is told classes" in done.err


def test_reconstruct(vae: Path, workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    assert genarena("reconstruct", vae, workplace / "bars.npz", "--out", tmp_path / "a.png").code == 0
    assert genarena("reconstruct", vae, workplace / "bars.npz", "-n", "7", "--out", tmp_path / "a.npz").code == 0
    with np.load(tmp_path / "a.npz") as stored:
        assert len(stored[stored.files[0]]) == 7


def test_encode_keeps_the_datas_order(
    vae: Path, workplace: Path, bars: tuple[np.ndarray, np.ndarray], tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    assert genarena("encode", vae, workplace / "bars.npz", "--out", tmp_path / "codes.npz").code == 0
    with np.load(tmp_path / "codes.npz") as stored:
        np.testing.assert_array_equal(stored["codes"], load(vae).encode(bars[0][:, None]))
        np.testing.assert_array_equal(stored["labels"], bars[1])


def test_odd_numbers_and_wrong_folders_are_refused_before_anything_runs(
    arena: Path, workplace: Path, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    data, out = workplace / "bars.npz", tmp_path / "out"
    for words, said in (
        (("train", "gan", data, "--threads", "-3", "--out", out), "threads=-3: give a whole number from 1 up."),
        (("train", "gan", data, "--set", "learning_rate=.nan", "--out", out), "learning_rate is not a number."),
        (("train", "biggan", data, "--size", "12", "--out", out), "biggan makes square images"),
        (("compare", data, "--models", "vae,biggan", "--size", "12", "--out", out), "biggan makes square images"),
        (("compare", data, "--models", "vae", "--stall", "-1", "--out", out), "stall=-1: give a number of seconds."),
        (("doctor", arena), "is a comparison: name a use (--for)"),
    ):
        done = genarena(*words)
        assert done.code in (2, 4) and said in done.err and not out.exists(), done.err


def test_files_that_are_set_aside_are_told(
    arena: Path, bars: tuple[np.ndarray, np.ndarray], tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(bars[0][:6]):
        Image.fromarray(picture.squeeze()).save(tmp_path / "pictures" / f"{number}.png")
    (tmp_path / "pictures" / "3.png").write_bytes(b"broken")
    odd = os.fsdecode(b"\xff.png")  # no valid Unicode
    (tmp_path / "pictures" / "5.png").rename(tmp_path / "pictures" / odd)
    done = genarena("detect", arena / "runs" / "vae-0", tmp_path / "pictures", "--out", tmp_path / "scores.csv")
    assert done.code == 0 and "1 file set aside, not counted in rows; the first: 3.png" in done.err
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["0.png", "1.png", "2.png", "4.png", odd]
    done = genarena("encode", arena / "runs" / "vae-0", tmp_path / "pictures", "--out", tmp_path / "codes.npz")
    with np.load(tmp_path / "codes.npz") as stored:
        assert stored["files"].tolist() == ["0.png", "1.png", "2.png", "4.png", odd] and len(stored["codes"]) == 5


@pytest.mark.parametrize("verb", ["detect", "encode", "reconstruct"])
def test_one_image_is_enough_to_look_at(
    verb: str, vae: Path, bars: tuple[np.ndarray, np.ndarray], tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    Image.fromarray(bars[0][7].squeeze()).save(tmp_path / "one.PNG")
    np.save(tmp_path / "one.npy", bars[0][7:8])
    out = {"detect": "a.csv", "encode": "a.npz", "reconstruct": "a.npz"}[verb]
    found = []
    for source in ("one.PNG", "one.npy"):
        done = genarena(verb, vae, tmp_path / source, "--out", tmp_path / out)
        assert done.code == 0
        if verb == "detect":
            with (tmp_path / out).open(newline="") as file:
                [row] = csv.DictReader(file)
            found.append([float(row["score"])])
        else:
            with np.load(tmp_path / out) as stored:
                found.append(stored[stored.files[0]])
    np.testing.assert_array_equal(*found)
    expected = {"detect": "anomaly_score"}.get(verb, verb)
    np.testing.assert_allclose(
        np.ravel(found[0]), np.ravel(getattr(load(vae), expected)(bars[0][7:8, None])), rtol=1e-4
    )


def test_one_image_can_be_inspected(
    bars: tuple[np.ndarray, np.ndarray], tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    Image.fromarray(bars[0][7].squeeze()).save(tmp_path / "one.png")
    found = json.loads(genarena("inspect", tmp_path / "one.png", "--json").out)
    assert found["splits"] == {"train": 1, "val": 0, "test": 0}
    assert "1 example(s): too few for splits, and to train on" in found["notes"]
    assert genarena("inspect", tmp_path / "one.png").code == 0
    for verb in (["train", "pca"], ["compare"]):
        assert_is_told(genarena(*verb, tmp_path / "one.png", "--out", tmp_path / "out"), 3, "too few")
    assert not (tmp_path / "out").exists()


def test_what_was_noticed_in_the_data_is_told_before_training(
    bars: tuple[np.ndarray, np.ndarray], tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    """Pictures of the test split that are in train too, files that are broken, a folder left out, few examples."""
    for i, (picture, label) in enumerate(zip(*bars, strict=True)):
        for split in ["Training"] * (i < 40) + ["Testing"] * (30 <= i < 60):
            (tmp_path / "set" / split / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.squeeze()).save(tmp_path / "set" / split / str(label) / f"{i}.png")
    (tmp_path / "set" / "Training" / "0" / "broken.png").write_bytes(b"no")
    (tmp_path / "set" / "more").mkdir()
    Image.fromarray(bars[0][99].squeeze()).save(tmp_path / "set" / "more" / "x.png")
    small = ["--budget", "64 images", *SMALL, "--out", tmp_path / "run"]
    done = genarena("train", "vae", tmp_path / "set", *small)
    assert done.code == 0
    for said in (
        "warning: 10 of the 30 test examples are also in train and val, exactly alike",
        "1 image(s) outside the folders of splits ('Testing', 'Training')",
        "'Training' is train",
        "broken.png",
        "batch_size is 36",
    ):
        assert said in done.err, done.err
    quiet = genarena("train", "pca", tmp_path / "set", "--out", tmp_path / "pca", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert genarena("inspect", tmp_path / "set", "--no-labels").code == 0


def test_detect_writes_scores_and_p_values(
    arena: Path, workplace: Path, bars: tuple[np.ndarray, np.ndarray], tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    out = tmp_path / "scores.csv"
    assert genarena("detect", arena / "runs" / "vae-0", workplace / "bars.npz", "--out", out).code == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(200))
    assert [int(row["label"]) for row in rows] == bars[1].tolist()
    scores = load(arena / "runs" / "vae-0").anomaly_score(bars[0][:, None])
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores, rtol=1e-5)
    p_values = np.array([float(row["p_value"]) for row in rows])
    assert ((p_values > 0) & (p_values <= 1)).all()
    assert np.corrcoef(np.argsort(np.argsort(scores)), p_values)[0, 1] < -0.5  # stranger, less probable


def test_interpolate(vae: Path, workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    assert genarena("interpolate", vae, "-n", "3", "--steps", "5", "--out", tmp_path / "a.npz").code == 0
    with np.load(tmp_path / "a.npz") as stored:
        assert len(stored[stored.files[0]]) == 15
    data = ["--data", workplace / "bars.npz"]
    assert genarena("interpolate", vae, *data, "--out", tmp_path / "b.png").code == 0


def test_evaluate(arena: Path, genarena: Callable[..., Done]) -> None:
    done = genarena("evaluate", arena, "--for", "reduce", "--trust", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["evaluator"] == read_json(arena / "evaluator" / "evaluator.json")["hash"]
    assert found["scores"]["probe_accuracy"]["value"] > 0.5
    table = genarena("evaluate", arena, "--for", "reduce", "--trust")
    assert table.code == 0 and "Probe accuracy" in table.out


def test_export(vae: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    done = genarena("export", vae, "--format", "torch", "--out", tmp_path / "exported")
    assert done.code == 0
    assert done.out.splitlines() == [str(tmp_path / "exported" / f"{name}.pt2") for name in ("decode", "encode")]


def test_report_again(arena: Path, genarena: Callable[..., Done]) -> None:
    done = genarena("report", arena)
    assert (done.code, done.out) == (0, f"{arena / 'report.html'}\n")


def test_models(genarena: Callable[..., Done]) -> None:
    rows = json.loads(genarena("models", "--json").out)
    assert [row["name"] for row in rows] == list(MODELS)
    table = genarena("models")
    assert table.code == 0 and all(name in table.out for name in MODELS)


def test_inspect(workplace: Path, genarena: Callable[..., Done]) -> None:
    found = json.loads(genarena("inspect", workplace / "bars.npz", "--json").out)
    assert "fingerprint" in json.dumps(found) and "200" in json.dumps(found)
    table = genarena("inspect", workplace / "bars.npz")
    assert table.code == 0 and "splits" in table.out


def test_doctor(arena: Path, vae: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    done = genarena("doctor", vae)
    assert done.code == 0 and "BROKEN" not in done.out
    assert genarena("doctor", arena, "--for", "cost").code == 0
    shutil.copytree(vae, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"something else")
    broken = genarena("doctor", tmp_path / "run")
    assert broken.code == 4 and "BROKEN  model.safetensors has changed" in broken.out
    findings = json.loads(genarena("doctor", tmp_path / "run", "--json").out)
    assert [f["what"] for f in findings if not f["ok"]] == ["model.safetensors has changed"]


def test_prune(vae: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    shutil.copytree(vae, tmp_path / "run")
    count = len(RunFolder(vae).steps())
    assert f"in {count} checkpoints" in genarena("prune", tmp_path / "run", "--keep", "0", "--dry-run").out
    assert len(RunFolder(tmp_path / "run").steps()) == count
    assert f"in {count} checkpoints" in genarena("prune", tmp_path / "run", "--keep", "0").out
    assert RunFolder(tmp_path / "run").steps() == []


def train(workplace: Path, out: Path, *more: object, model: str = "autoencoder") -> list[object]:
    return ["train", model, workplace / "bars.npz", "--out", out, "--budget", "320 images", "--quiet", *SMALL, *more]


def test_train_and_train_on(workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    out = tmp_path / "run"
    done = genarena(*train(workplace, out))
    assert (done.code, done.out) == (0, f"{out}\n")
    assert genarena(*train(workplace, out, "--budget", "640 images")).code == 0
    assert read_json(out / "result.json")["images"] == 640
    lines = genarena(*train(workplace, tmp_path / "json", "--json")).out.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds[0] == "start" and kinds[-1] == "end"


def test_dry_runs_write_nothing(workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    planned = json.loads(genarena(*train(workplace, tmp_path / "run", "--dry-run")).out)
    assert planned["config"]["latent_dim"] == 4 and planned["budget"] == "320 images"
    done = genarena("compare", workplace / "bars.npz", "--dry-run", "--out", tmp_path / "arena")
    assert json.loads(done.out)["uses"] == [use for use in USES if use != "condition"]  # nobody is told classes
    assert list(tmp_path.iterdir()) == []


def test_settings_from_a_file(workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    (tmp_path / "settings.yaml").write_text("latent_dim: 7\nnetwork:\n  width: 24\n")
    what = ["train", "vae", workplace / "bars.npz", "--out", tmp_path / "run", "--dry-run"]
    config = ["--config", tmp_path / "settings.yaml", "--set", "network.width=12", "--set", "betas=[0.5, 0.9]"]
    found = json.loads(genarena(*what, *config).out)["config"]
    assert (found["latent_dim"], found["network"]["width"], found["betas"]) == (7, 12, [0.5, 0.9])
    for text, message in (("- a list", "not a mapping"), ("a: [", "cannot be read")):
        (tmp_path / "settings.yaml").write_text(text)
        done = genarena(*what, *config)
        assert done.code == 2 and message in done.err


# -- mistakes ----------------------------------------------------------------------------------------------------------


def assert_is_told(done: Done, code: int, *parts: str) -> None:
    """A documented code, one or two lines, no traceback, nothing on standard output."""
    assert done.code == code, done.err
    assert code in EXIT_CODES
    lines = done.err.strip().splitlines()
    assert 1 <= len(lines) <= 2, done.err
    assert lines[0].startswith("genarena: ")
    assert "Traceback" not in done.err and done.out == ""
    for part in parts:
        assert part in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--set", "latent_dmi=3"], 2, ["unknown setting 'latent_dmi'", "'latent_dim'"]),
        (["--set", "network.widht=3"], 2, ["unknown setting 'network.widht'", "'network.width'"]),
        (["--set", "latent_dim=0"], 2, ["latent_dim=0", "greater than or equal to 1"]),
        (["--set", "latent_dim=many"], 2, ["latent_dim='many'"]),
        (["--set", "latent_dim"], 2, ["write key=value"]),
        (["--set", "batch_size=145"], 2, ["batch size 145 does not fit the 144 examples"]),
        (["--budget", "10 bananas"], 2, ["budget '10 bananas'", "'200k images'"]),
        (["--budget=-5 images"], 2, ["budget '-5 images'"]),
        (["--budget", "0 images"], 2, ["budget '0 images'"]),
        (["--seed=-1"], 2, ["seed=-1"]),
        (["--device", "gpu"], 2, ["device 'gpu' is unknown"]),
        (["--size", "big"], 2, ["size 'big'"]),
        (["--size", "4"], 2, ["8 to 4096 pixels"]),
        (["--max-bad", "2"], 2, ["max-bad is 2"]),
        (["--config", "nowhere.yaml"], 2, ["nowhere.yaml"]),
    ],
)  # fmt: skip
def test_wrong_options(
    arguments: list[str], code: int, parts: list[str], workplace: Path, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    assert_is_told(genarena(*train(workplace, tmp_path / "run", *arguments)), code, *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("vea", ["no model 'vea'", "'vae'"]),
        ("nowhere.py:Model", ["'nowhere.py' does not exist"]),
        ("my.py:MyGNA", ["no model class 'MyGNA'", "'MyGAN'"]),
        ("broken.py:Model", ["'broken.py' failed to import", "SyntaxError"]),
    ],
)
def test_unknown_models(
    name: str, parts: list[str], workplace: Path, tmp_path: Path, genarena: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text((workplace / "my.py").read_text())
    (tmp_path / "broken.py").write_text("class Model(")
    assert_is_told(genarena(*train(workplace, tmp_path / "run", model=name)), 2, *parts)
    models = ["--models", f"pca,{name}"]
    assert_is_told(genarena("compare", workplace / "bars.npz", *models, "--out", tmp_path / "arena"), 2, *parts)
    assert not (tmp_path / "run").exists() and not (tmp_path / "arena").exists()


def _rows_with_nan(folder: Path) -> Path:
    rows = np.zeros((30, 4), np.float32)
    rows[17, 2] = np.nan
    np.save(folder / "rows.npy", rows)
    return folder / "rows.npy"


def _objects(folder: Path) -> Path:
    np.save(folder / "objects.npy", np.array([[1, "a"], [None, 2]], dtype=object), allow_pickle=True)
    return folder / "objects.npy"


def _five_dimensions(folder: Path) -> Path:
    np.save(folder / "five.npy", np.zeros((3, 2, 2, 8, 8)))
    return folder / "five.npy"


def _neither_first_nor_last(folder: Path) -> Path:
    np.save(folder / "channels.npy", np.zeros((30, 9, 10, 11), np.uint8))
    return folder / "channels.npy"


def _broken_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("a.png", b"x" * 1000)
    path = folder / "images.zip"
    path.write_bytes(path.read_bytes()[:500])
    return path


def _empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _labels_of_another_length(folder: Path) -> Path:
    np.savez(folder / "labels.npz", images=np.zeros((30, 8, 8), np.uint8), labels=np.zeros(29, int))
    return folder / "labels.npz"


def _labels_out_of_range(folder: Path) -> Path:
    labels = np.arange(30) % 3 - 1
    classes = np.array(["a", "b", "c"])
    np.savez(folder / "range.npz", images=np.zeros((30, 8, 8), np.uint8), labels=labels, classes=classes)
    return folder / "range.npz"


def _nowhere(folder: Path) -> Path:
    return folder / "nowhere"


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (_rows_with_nan, ["row 17, column 2 is nan"]),
        (_objects, ["objects"]),
        (_five_dimensions, ["(3, 2, 2, 8, 8)", "N x H x W"]),
        (_neither_first_nor_last, ["(9, 10, 11)"]),
        (_broken_zip, ["images.zip"]),
        (_empty_folder, ["empty"]),
        (_labels_of_another_length, ["labels of shape (29,) for 30 examples"]),
        (_labels_out_of_range, ["label -1 in row 0"]),
        (_nowhere, ["does not exist"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("verb", ["inspect", "train", "compare"])
def test_data_that_cannot_be_used(
    make: Callable[[Path], Path], parts: list[str], verb: str, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    data = make(tmp_path)
    out = [] if verb == "inspect" else ["--out", tmp_path / "out"]
    done = genarena(verb, *(["vae"] if verb == "train" else []), data, *out)
    assert_is_told(done, 3, *parts)
    assert not (tmp_path / "out").exists()


def test_too_few_examples_for_an_evaluator(tmp_path: Path, genarena: Callable[..., Done]) -> None:
    np.save(tmp_path / "few.npy", np.random.default_rng(0).integers(0, 256, (21, 8, 8), dtype=np.uint8))
    done = genarena("compare", tmp_path / "few.npy", "--models", "pca", "--out", tmp_path / "out", "--quiet")
    assert_is_told(done, 3, "needs at least 8 of each. About 40 are enough")


@pytest.mark.parametrize("verb", ["train", "compare", "sample", "encode", "export"])
def test_out_that_cannot_be_written(
    verb: str, vae: Path, workplace: Path, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    data = workplace / "bars.npz"
    if verb == "train":
        assert_is_told(genarena(*train(workplace, out)), 74, str(out))
    elif verb == "compare":
        assert_is_told(genarena("compare", data, "--models", "pca", "--out", out, "--quiet"), 74, str(out))
    elif verb == "export":
        assert_is_told(genarena("export", vae, "--out", out), 74, str(out))
    else:
        more = [data] if verb == "encode" else []
        assert_is_told(genarena(verb, vae, *more, "--out", f"{out}.npz"), 2, str(tmp_path / "file"))
        assert_is_told(genarena(verb, vae, *more, "--out", tmp_path / "a.jpeg"), 2, "a.jpeg", ".npz")


def test_a_run_folder_of_another_model(vae: Path, workplace: Path, genarena: Callable[..., Done]) -> None:
    before = (vae / "config.json").read_bytes()
    assert_is_told(genarena(*train(workplace, vae, model="gan")), 4, "other arguments", "'vae'", "'gan'")
    assert (vae / "config.json").read_bytes() == before


def test_a_run_folder_of_a_newer_version(
    vae: Path, workplace: Path, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    shutil.copytree(vae, tmp_path / "run")
    write_json(tmp_path / "run" / "config.json", {**read_json(vae / "config.json"), "format": 99})
    for done in (
        genarena(*train(workplace, tmp_path / "run", model="vae")),
        genarena("sample", tmp_path / "run", "--out", tmp_path / "a.png"),
    ):
        assert_is_told(done, 4, "newer genarena", "upgrade")


def test_two_processes_on_one_run_folder(workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    with RunFolder(tmp_path / "run").lock():
        assert_is_told(genarena(*train(workplace, tmp_path / "run")), 4, "another process is using")


def test_a_folder_of_something_else(workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    done = genarena("compare", workplace / "bars.npz", "--models", "pca", "--out", tmp_path, "--quiet")
    assert_is_told(done, 4, "holds files, but no comparison")
    assert_is_told(genarena("sample", tmp_path, "--out", tmp_path / "a.png"), 4, "config.json")
    assert_is_told(genarena("report", tmp_path), 4, "comparison.json")
    assert_is_told(genarena("doctor", tmp_path), 4, "no run folder")
    assert_is_told(genarena("prune", tmp_path), 4, "neither a run nor a comparison")
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_runs_that_cannot_be_used(
    arena: Path, vae: Path, workplace: Path, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    out = ["--out", tmp_path / "a.npz"]
    assert_is_told(genarena("sample", tmp_path / "nowhere", *out), 4, "does not exist")
    assert_is_told(genarena("sample", arena, *out), 2, "--for")
    assert_is_told(genarena("sample", arena, "--for", "detecting", *out), 2, "Did you mean 'detect'")
    assert_is_told(genarena("sample", arena / "runs" / "MyGAN-0", *out), 4, "--trust")
    gan = arena / "runs" / "gan-0"
    assert_is_told(genarena("encode", gan, workplace / "bars.npz", *out), 7, "gan cannot encode")
    assert_is_told(genarena("sample", vae, "-n", "0", *out), 2, "n=0")
    shutil.copytree(vae, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"something else")
    assert_is_told(genarena("sample", tmp_path / "damaged", *out), 4, "not what was written")
    np.save(tmp_path / "rows.npy", np.ones((30, 4)))
    assert_is_told(genarena("encode", vae, tmp_path / "rows.npy", *out), 2, "rows of numbers")
    assert_is_told(genarena("evaluate", vae), 2, "name the data")
    assert_is_told(genarena("export", vae, "--format", "tflite", "--out", tmp_path / "x"), 2, "'tflite'")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--models", "vae,vae"], ["'vae' is named twice"]),
        (["--seeds", "0"], ["seeds=0"]),
        (["--jobs", "0"], ["jobs=0"]),
        (["--threads", "0"], ["threads=0"]),
        (["--for", "detecting"], ["Did you mean 'detect'"]),
        (["--samples", "3"], ["at least 8 samples"]),
        (["--set", "vae.bta=2"], ["unknown setting 'bta'", "'beta'"]),
        (["--set", "latent_dmi=2"], ["unknown setting 'latent_dmi'", "'latent_dim'"]),
    ],
)
def test_wrong_comparisons(
    arguments: list[str], parts: list[str], workplace: Path, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    what = ["compare", workplace / "bars.npz", "--out", tmp_path / "out", "--quiet", *arguments]
    assert_is_told(genarena(*what), 2, *parts)


def test_labels_are_needed_to_detect(workplace: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    done = genarena("compare", workplace / "plain.npy", "--for", "detect", "--out", tmp_path / "out", "--quiet")
    assert_is_told(done, 2, "labels")


def test_unknown_verbs_and_options_are_usage_errors(genarena: Callable[..., Done]) -> None:
    for arguments in (["trian"], ["sample", "run", "--oot", "a.png"], ["train", "vae"]):
        done = genarena(*arguments)
        assert done.code == 2 and done.out == ""
        assert "Traceback" not in done.err and "-h" in done.err


def test_names_that_would_act_on_a_terminal_are_spelled_out(tmp_path: Path, genarena: Callable[..., Done]) -> None:
    record = {"format": 1, "model": "\x1b[2J\x07evil", "config": {}, "schema": {}}
    write_json(tmp_path / "config.json", record)
    (tmp_path / "model.safetensors").write_bytes(b"")
    done = genarena("sample", tmp_path, "--out", tmp_path / "x.png")
    assert_is_told(done, 4, r"\x1b[2J\x07evil")
    assert "\x1b" not in done.err and "\x07" not in done.err


@pytest.mark.parametrize(
    "change",
    [
        {"model": ["gan"]},
        {"config": [1]},
        {"schema": []},
        {"schema": {}},
        {"schema": {"image": 3}},
        {"schema": {"label": {"spec": "label", "role": "target", "classes": ["a"], "frequencies": [1.0]}}},
    ],
)
def test_damaged_configurations(
    change: dict[str, Any], vae: Path, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    shutil.copytree(vae, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    write_json(path, {**read_json(path), **change})
    done = genarena("sample", tmp_path / "run", "--out", tmp_path / "x.png")
    assert done.code in (3, 4)
    assert_is_told(done, done.code)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_are_none(seed: int, vae: Path, tmp_path: Path, genarena: Callable[..., Done]) -> None:
    assert_is_told(genarena("sample", vae, "--seed", seed, "--out", tmp_path / "x.png"), 2, f"seed={seed}: give")
    assert_is_told(genarena("path-length", vae, "--seed", seed), 2, f"seed={seed}: give")


def test_evaluate_again_with_the_same_words(
    vae: Path, workplace: Path, tmp_path: Path, genarena: Callable[..., Done]
) -> None:
    words = ["evaluate", vae, workplace / "bars.npz", "--evaluator", tmp_path / "judge", "--samples", 500, "--json"]
    first, again = genarena(*words), genarena(*words)  # more than there are: as many as there are
    assert (first.code, again.code) == (0, 0), again.err
    before, after = (json.loads(done.last) for done in (first, again))
    assert before["evaluator"] == after["evaluator"]
    assert before["scores"]["fd_inf/random-conv"] == after["scores"]["fd_inf/random-conv"]
    assert_is_told(genarena(*words[:5], "--samples", 7), 2, "leave --samples out")


def test_classes_that_would_act_on_a_terminal_are_spelled_out(tmp_path: Path, genarena: Callable[..., Done]) -> None:
    names = np.array(["\x1b[2Ja", "\u202eb"])[np.arange(60) % 2]
    np.savez(tmp_path / "d.npz", images=np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8), labels=names)
    done = genarena("inspect", tmp_path / "d.npz")
    assert done.code == 0 and "\x1b[2J" not in done.out and "\u202e" not in done.out
    assert r"\x1b[2Ja" in done.out
