"""Text from elsewhere, wherever it is shown: nothing acts, nothing is cut."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from genarena import cli_common, console
from genarena.cli_common import say, show
from genarena.data import VectorSpec
from genarena.errors import visible
from genarena.events import Event, Live
from genarena.kinds import vectors as rows
from genarena.metrics import Score
from genarena.text import cell, markdown, shell_word

HOSTILE = "a\x1b[2J\nb\r\tc\x07\x9b31m\u202ed\u2028e\x7f\udcff[red]*x* :warning: <b>|`"
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e\ud800-\udfff]")


def assert_harmless(shown: str) -> None:
    """Nothing acts, markup is shown as it is, and what was one line still is."""
    assert not ACTS.search(shown)
    assert "[red]*x* :warning: <b>" in shown.replace("\n", "")
    assert r"a\x1b[2J\nb\r\tc\x07\x9b31m\u202ed\u2028e\x7f\udcff" in shown.replace("\n", "")


def test_what_acts_is_spelled_out_and_the_rest_stays() -> None:
    assert_harmless(visible(HOSTILE))
    for plain in ("naïve 日本語.png", "👩\u200d🔬", r"C:\x", ""):
        assert visible(plain) == plain


def test_every_line_of_the_terminal_is_harmless(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    live = Live(HOSTILE, 160, None)
    live.emit(Event("alarm", 1, 16, 0.1, 0.1, text=HOSTILE, name=HOSTILE))
    live.emit(Event("end", 10, 160, 1.0, 1.0, {f"loss/{HOSTILE}": 0.25}))
    live.close()
    assert_harmless(capfd.readouterr().err)
    show(Path(HOSTILE))
    say(HOSTILE)
    for stream in capfd.readouterr():
        assert_harmless(stream)
        assert stream.count("\n") == 1
    console.table((HOSTILE, "n"), [(HOSTILE, "1"), ("plain", "2")], title=HOSTILE)
    assert_harmless(capfd.readouterr().out)


def found_in_data(name: str, classes: int = 2) -> dict[str, Any]:
    return {
        "name": name,
        "summary": name,
        "splits": {"train": 1234567, "val": 1234567, "test": 1234567},
        "classes": {name + str(i): {"train": 1234567, "val": 1234567, "test": 1234567} for i in range(classes)},
        "values": {"minimum": -1.23457, "maximum": 123457.0, "levels": None, "constant_share": 0.0},
        "duplicates": {"within train": 1234567},
        "quarantined": [{"path": name, "reason": name}],
        "notes": [name, "another"],
        "fingerprint": "f" * 64,
    }


def test_what_data_are_is_told_harmlessly(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    console.inspection(found_in_data(HOSTILE))
    out = capfd.readouterr().out
    assert_harmless(out)
    assert re.search("^ *another *$", out, re.MULTILINE)  # our own lists keep their lines


class Judge:
    hash, n = "0123456789abcdef", 5000
    floor: ClassVar = {"mse": Score(0.000125, 9)}


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120])
def test_no_number_is_cut_however_narrow_the_terminal(
    columns: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    scores = {
        "fd_inf/random-conv": Score(-123456.7, 9),
        "mse": Score(1.25e-7, 9),
        "ssim": Score(None, 9, reason="no"),
    }
    console.score_table(scores, Judge())  # type: ignore[arg-type]
    console.inspection(found_in_data("some-class"))
    live = Live("vae", 160, None)
    live.emit(Event("end", 10, 160, 1.0, 1.0, {"loss/generator": -1234567.0, "loss/discriminator": 1e-7}))
    live.close()
    done = capfd.readouterr()
    words = done.out.split()
    for number in ("-1.235e+05", "1.25e-07", "0.000125"):
        assert number in words
    assert words.count("1,234,567") >= 6
    assert "-1.23e+06" in done.err.split() and "1e-07" in done.err.split()
    assert max(map(len, (done.out + done.err).splitlines())) <= columns
    assert "…" not in done.out + done.err


def test_a_live_line_shows_only_numbers_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    live = Live("vae", 160, None)
    live.emit(Event("log", 1, 16, 1.0, 1.0, {"loss/generator": -1234567.0, "loss/discriminator": 1e-7}))
    live.close()
    status = live._progress.tasks[0].fields["status"]
    assert status.split("  ") in (["16 img/s"], ["16 img/s", "discriminator 1e-07"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+x", "'+x"), ("-x", "'-x"), (" =1", "' =1"), ("＝1", "'＝1"),
        ("-1.5", "-1.5"), ("+3", "+3"), ("plain", "plain"), ("a=b", "a=b"),
        ("\t=1", r"\t=1"), ("a\nb", r"a\nb"), ("\udcff.png", "\udcff.png"),
    ],
)  # fmt: skip
def test_cells_are_no_formulas(text: str, shown: str) -> None:
    assert cell(text) == shown


def test_the_columns_of_rows_keep_their_names_in_csv(tmp_path: Path) -> None:
    names = ("=cmd|'/c calc'!A0", 'a,"b"', "c\n\x1b[2J", "plain")
    spec = VectorSpec(4, (0.0,) * 4, (1.0,) * 4, names)
    values = np.arange(8, dtype=np.float32).reshape(2, 4) / 3
    rows.save(values, spec, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == ["'=cmd|'/c calc'!A0", 'a,"b"', r"c\n\x1b[2J", "plain"]
    np.testing.assert_array_equal(np.array(lines, dtype=np.float32), values)


def test_markdown_shows_what_was_said() -> None:
    assert markdown("fashion_mnist *x*") == r"fashion\_mnist \*x\*"
    shown = markdown('<img src=x onerror="y">[a](http://b)\n# c | d `e` @f')
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[<>\[\]`|@#]", shown)


def test_a_pasted_word_is_the_very_text(tmp_path: Path) -> None:
    for text in ("plain", "two words", "it's", "a\nb", "a\nb\\c'd\x1b", "tab\there", "é\x85\udcff日"):
        word = shell_word(text)
        assert not ACTS.search(word)
        done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
        assert done.stdout == os.fsencode(text)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_character_is_shown_it_spelled_out(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genarena import cli

    for verb, arguments in (("models", []), ("inspect", ["ring8"]), ("report", ["日本語-é"])):
        raw, errors = io.BytesIO(), io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(errors, encoding=encoding))
        monkeypatch.setattr(sys, "argv", ["genarena", verb, *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        sys.stdout.flush(), sys.stderr.flush()
        shown = (raw.getvalue() + errors.getvalue()).decode(encoding)
        assert stop.value.code in (0, 4) and shown
        if verb == "report":
            assert ("日本語-é" if encoding == "utf-8" else r"\u65e5\u672c\u8a9e-") in shown


def test_a_card_shows_what_it_is_given_as_text() -> None:
    from genarena.card import model_card

    class Model:
        title, summary = "T\n# <script>", "s\n---\nlicense: mit"

    record = {
        "model": "x]\nlicense: evil", "config": {"a": "```\n<b>"}, "seed": 0,
        "data": {"name": "[d](http://x)\n\n# y", "fingerprint": "ab"},
        "scores": [{"use": "|<b>", "metric": "\n# m", "value": 1.23456, "real": None}, "x", {}],
    }  # fmt: skip
    can = {"sample": None, "encode": "no [encoder](http://x)\n# z"}
    card = model_card(Model(), record, can, "mit\nx: y")  # type: ignore[arg-type]
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "library_name": "genarena", "tags": ["genarena", r"x]\nlicense: evil"], "license": r"mit\nx: y"
    }  # fmt: skip
    heads = re.findall("^#.*", body, re.MULTILINE)
    assert heads == [r"# T\\n\# \<script\>", "## Scores", "## Limits", "## Settings"]
    assert "[d](" not in body and "[encoder](" not in body and "\nlicense" not in body and "1.235" in body
    assert json.loads(body.split("```json\n")[1].split("\n```\n")[0]) == record["config"]


def test_the_command_line_prints_through_these_doors_alone() -> None:
    folder = Path(cli_common.__file__).parent
    for path in [*folder.glob("cli*.py"), folder / "housekeeping.py"]:
        source = path.read_text(encoding="utf-8")
        assert "typer.echo" not in source and "typer.secho" not in source, path
        assert source.count("print(") == (3 if path.name == "cli_common.py" else 0), path
