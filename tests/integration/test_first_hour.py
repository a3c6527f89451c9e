"""What somebody meets in the first hour: help, completion, what objects show of themselves, files that other programs read."""

from __future__ import annotations

import csv
import json
import re
import webbrowser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from arena_fixture import Done
from PIL import Image

import genarena as package
from genarena import cli, cli_common
from genarena.data.builtin import BUILTIN
from genarena.data.public import PUBLIC
from genarena.models import MODELS
from genarena.uses import USES

SEEDS = 1


def test_help_shows_every_verb_once_by_what_it_is_for(genarena: Callable[..., Done]) -> None:
    short, long = genarena("-h"), genarena("--help")
    assert short.code == 0 and short.out == long.out
    sections = re.split(r"^(\w[\w ]+):$", short.out, flags=re.MULTILINE)
    assert [name for name in sections[1::2] if name in (*cli.PANELS.values(), cli.KEEP)] == [
        *cli.PANELS.values(),
        cli.KEEP,
    ]
    listed = re.findall(r"^  ([a-z][a-z-]+)  ", short.out, re.MULTILINE)
    from typer.main import get_command

    assert sorted(listed) == sorted(get_command(cli.app).commands)  # type: ignore[attr-defined]
    assert "..." not in short.out.partition("\n")[2], "no sentence is cut"
    assert genarena("train", "-h").code == 0


def test_what_is_completed_is_what_there_is() -> None:
    assert tuple(MODELS) == cli_common.MODEL_NAMES
    assert tuple(USES) == cli_common.USE_NAMES
    assert set(cli_common.DATA_NAMES) == {*BUILTIN, *PUBLIC}
    assert cli_common.complete_model("pca,v") == ["pca,vae", "pca,vaegan"]
    assert cli_common.complete_use("generate-f") == ["generate-fidelity"]
    assert cli_common.complete_data("dig") == ["digits"]


def test_models_as_json_say_true_or_false_and_why(genarena: Callable[..., Done]) -> None:
    rows = {row["name"]: row["capabilities"] for row in json.loads(genarena("models", "--json").out)}
    assert rows["vae"]["sample"] == {"can": True, "reason": None}
    assert rows["gan"]["encode"]["can"] is False and rows["gan"]["encode"]["reason"]


def test_a_report_is_opened(genarena: Callable[..., Done], arena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    (arena / "report.html").unlink()
    assert genarena("view", arena).last == str(arena / "report.html")
    assert opened == [(arena / "report.html").resolve().as_uri()] and (arena / "report.html").is_file()
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert "no browser answers" in genarena("view", arena).err


def test_a_dry_run_says_what_it_comes_to(genarena: Callable[..., Done], workplace: Path) -> None:
    what = ("compare", workplace / "bars.npz", "--models", "vae,gan", "--jobs", "2", "--seeds", "3", "--dry-run")
    done = genarena(*what, "--total", "30 min", "--for", "generate-fidelity")
    assert "6 runs x 10 min = 60 min of training, 3 more in closed form" in done.err
    assert json.loads(done.out)["budget"] == "10 min"


def test_samples_are_files_of_their_own(genarena: Callable[..., Done], arena: Path, tmp_path: Path) -> None:
    run = arena / "runs" / "vae-0"
    for form, kind in (("png", "PNG"), ("jpg", "JPEG")):
        folder = tmp_path / form
        assert genarena("sample", run, "--out", folder, "-n", "12", "--format", form).code == 0
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == [f"{index:04d}.{form}" for index in range(12)]
        with Image.open(files[3]) as image:
            assert (image.format, image.size, image.mode) == (kind, (8, 8), "L")
            found = np.asarray(image)
        if form == "png":
            np.testing.assert_array_equal(found, package.load(run).sample(12)[3, 0])
    again = genarena("sample", run, "--out", tmp_path / "png")
    assert again.code == 2 and "is not empty" in again.err
    assert "'tiff' is unknown: png or jpg" in genarena("sample", run, "--out", tmp_path / "x", "--format", "tiff").err


def test_codes_are_a_table(genarena: Callable[..., Done], arena: Path, workplace: Path, tmp_path: Path) -> None:
    run, out = arena / "runs" / "vae-0", tmp_path / "codes.csv"
    assert genarena("encode", run, workplace / "bars.npz", "--out", out).code == 0
    with out.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["row", "z0", "z1", "z2", "z3", "label"] and len(rows) == 200
    fitted = package.load(run)
    codes = fitted.encode(package.open_dataset(workplace / "bars.npz").fields["image"].values)
    np.testing.assert_array_equal(np.array([row[1:5] for row in rows], np.float32), codes)


def test_objects_say_in_short_what_they_are(arena: Path, workplace: Path) -> None:
    fitted = package.load(arena, "reconstruct")
    dataset = package.open_dataset(workplace / "bars.npz")
    assert repr(fitted).startswith("FittedModel('") and len(repr(fitted)) < 200
    assert repr(dataset) == "Dataset('bars': image 1 x 8 x 8, label; train 144, val 16, test 40)"
    assert "<img alt='samples'" in fitted._repr_html_()


def test_a_comparison_shows_verdicts_and_samples(arena: Path, workplace: Path, cells_here: None) -> None:
    from genarena.comparison import Comparison
    from genarena.files import read_json

    record = read_json(arena / "comparison.json")
    record["uses"][0]["reason"] = "<script>"
    shown = Comparison(arena, record, arena / "report.html", [])
    assert repr(shown).startswith("Comparison of 4 contenders") and "reconstruct: " in repr(shown)
    page = shown._repr_html_()
    assert page.count("<figure") == 1 + len(record["pictures"]["samples"]) and "<script>" not in page


def test_the_card_of_a_leader_has_its_scores_samples_limits_and_licence(arena: Path, tmp_path: Path) -> None:
    folder = package.load(arena, "reconstruct").save_pretrained(tmp_path / "saved", license="cc0-1.0")
    card = (folder / "README.md").read_text()
    assert "license: cc0-1.0" in card and "## Limits" in card and "## Scores" in card
    assert "| Reconstruct | " in card
    assert "![Samples](samples.png)" in card and (folder / "samples.png").is_file()
    assert package.load(folder).record["scores"], "a saved model keeps what it scored"
