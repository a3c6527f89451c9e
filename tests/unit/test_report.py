"""The report: safe to open whatever the names say, whole whatever is missing, clear about what it cannot read."""

from __future__ import annotations

import base64
import itertools
import json
import re
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_fixture import NAMES, comparison, write_comparison

from genarena.errors import RunError, StorageError
from genarena.files import write_json
from genarena.report import build_report, schema
from genarena.report.numbers import interval, number
from genarena.report.pictures import embed_picture
from genarena.report.plots import COLORS, GLYPHS, MARKERS, Plot, Theme, learning_curves
from genarena.report.schema import Curve, read_comparison

CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
VOID = {"meta", "link", "br", "img", "source"}
STRUCTURAL = {"status", "verdict", "better"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}%{% raw %}",
    "javascript:alert(1)",
    "</style><svg onload=alert(1)>",
    "name-that-goes-on-" * 12,
]


class Page(HTMLParser):
    """A page as a browser sees it; unclosed or crossed elements fail."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(folder: Path, value: dict[str, Any] | None = None) -> Page:
    if value is not None:
        write_json(folder / "comparison.json", value)
    return Page(build_report(folder).read_text(encoding="utf-8"))


def unplotted() -> dict[str, Any]:
    """A comparison without plots, which take most of a report's time."""
    return {**comparison(), "curves": [], "spectra": None}


def poisoned(value: Any, name: str, key: str = "") -> Any:
    """`value` with the VAE called `name`, and `name` behind every text that a user or a file may have chosen."""
    if isinstance(value, dict):
        return {name if k == "vae" else k: poisoned(v, name, k) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(item, name, key) for item in value]
    if value == "vae":
        return name
    if isinstance(value, str) and key not in STRUCTURAL and value not in NAMES and not value.startswith("pictures/"):
        return value + name
    return value


def assert_harmless(page: Page) -> None:
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "iframe", "object", "embed", "form", "base", "svg"})
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/", "data:,")), (tag, attributes[name][:80])
        assert re.fullmatch(r"[-a-z0-9:;%. ]*", attributes.get("style", "")), attributes["style"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("digits")
    write_comparison(folder)
    return page_of(folder)


def test_page_runs_nothing_and_asks_for_nothing(rendered: Page) -> None:
    assert_harmless(rendered)
    assert {"http-equiv": "Content-Security-Policy", "content": CSP} in rendered.all("meta")
    css = [attributes for tag, attributes in rendered.elements if tag == "link"]
    assert css == [{"rel": "icon", "href": "data:,"}]


def test_the_headline_is_english_and_the_pictures_come_first(rendered: Page) -> None:
    text = rendered.text
    headline = [
        "To draw realistic examples, use ◆gan To draw examples as varied as the data, use ▲vae",
        "1 of 6 uses is undecided: what may settle it",
        "Samples Real examples first",
        "Undecided: Detect. Too close to call: Reduce.",
        "5 seeds instead of 3 may settle it; the runs that are there are kept: cd '/home/me/my work' && genarena compare",
    ]
    order = [*headline, "One line for each use", "Before you rely on this", "Every use, every contender"]
    order += [
        "Rows alternate",
        "Learning curves One line",
        "How much detail",
        "Mean over the seeds",
        "What was held equal",
    ]
    order += ["what happened", "About the data", "Ready to be pasted"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert rendered.all("img")[0]["alt"] == "Real examples"
    assert "For Reduce: ▲vae and ▼vaegan are too close to call" in text  # a use whose aim the file does not tell
    assert "To notice what is unlike the data: undecided, ▲vae leads" in text


def test_what_would_settle_open_verdicts_is_told(tmp_path: Path) -> None:
    value = unplotted()
    detect = next(use for use in value["uses"] if use["name"] == "detect")
    stuck = {**detect, "name": "reconstruct", "title": "Reconstruct", "settle": None}
    value["uses"] = [detect, stuck]
    text = page_of(tmp_path, value).text
    assert "2 of 2 uses are undecided: what may settle them" in text
    assert "may settle Detect; the runs" in text and "It is not more seeds that would settle Reconstruct:" in text
    detect["settle"] = {"seeds": 5, "command": None}
    assert "call genarena.compare again with seeds=5." in page_of(tmp_path, value).text
    value["uses"] = [stuck]
    stuck["provisional"] = True
    text = page_of(tmp_path, value).text
    assert "▲vae leads, but not for sure" in text
    assert "1 of 1 use is undecided" in text and "what may settle" not in text and "more seeds that" not in text
    value["uses"] = comparison()["uses"][:2]
    text = page_of(tmp_path, value).text
    assert "No use is undecided" in text and "instead of 3" not in text


def test_what_weakens_a_verdict_stands_beside_it(rendered: Page) -> None:
    text = rendered.text
    caveats = text[text.index("Before you rely on this") : text.index("Every use, every contender")]
    for words in (
        "1 of 30 runs did not finish",
        "2 runs raised an alarm or a warning",
        "Not converged: ▲vae still moved when the budget ended (Generate: diversity).",
        "Hidden from training, to see who notices what it never saw: class 4, with every seed.",
        "Not known to have converged: Detect;",
        "some run saw fewer images than these data get by default (50k images)",
        "3 exact copies across splits: test also in train.",
        "1 file could not be used",
        "2 notes on how the data were read",
    ):
        assert words in caveats, words
    assert "within train" not in caveats and "val also" not in caveats
    data = text[text.index("About the data") :]
    assert "Exact copies: 12 within train, 3 test also in train." in data and "17 grey levels." in data
    assert "Whether training had come to rest was not watched for it." in text  # detect has no curve
    assert "The curve of vae would pass its lead." in text


def test_nothing_is_claimed_where_a_file_says_nothing(tmp_path: Path) -> None:
    value = unplotted()
    for key in ("duplicates", "notes", "quarantined"):
        del value["data"][key]
    for run in value["runs"]:
        run.pop("hidden")
    value["plan"].pop("hidden")
    for use in value["uses"]:
        use.pop("settle", None), use.pop("moving", None)
    text = page_of(tmp_path, value).text
    for words in ("Hidden from training", "copies", "notes on how", "could not be used", "instead of 3"):
        assert words not in text
    assert "Not converged: Generate: diversity." in text


def test_many_hidden_classes_are_counted(tmp_path: Path) -> None:
    value = unplotted()
    value["plan"]["hidden"] = [f"c{index}" for index in range(20)]
    assert "classes c0, c1, c2, c3, c4, c5, c6, c7 and 12 more, with every seed" in page_of(tmp_path, value).text


def test_metrics_are_folded_by_feature_space(rendered: Page) -> None:
    text = rendered.text
    assert len([a for a in rendered.all("details") if "fold" in a.get("class", "")]) == 3
    places = [text.index(f"Feature space {space} ") for space in ("classifier", "random-conv")]
    places.append(text.index("Without a feature space"))
    assert places == sorted(places)
    assert "Feature space classifier 2 metrics: FD∞, Recall" in text
    assert "32 dimensions, trained on train split: 97.5 % test accuracy." in text
    assert "Without a feature space 3 metrics: Sharpness ratio, Reconstruction error, Density (whitened PCA)" in text


def test_whoever_cannot_see_or_has_a_phone_reaches_everything(rendered: Page) -> None:
    ids = {attributes["id"] for _, attributes in rendered.elements if "id" in attributes}
    links = [a["href"].removeprefix("#") for a in rendered.all("a")]
    assert links[0] == "verdict" and set(links) <= ids
    assert len(rendered.all("caption")) == len(rendered.all("table"))
    assert len(rendered.all("figcaption")) == len(rendered.all("figure"))
    matrices = [a for a in rendered.all("table") if "matrix" in a.get("class", "")]
    assert len(matrices) == 1 + 3 + 1 and all(a["role"] == "table" for a in matrices)
    labels = [a for a in rendered.all("span") if a.get("class", "").startswith("label")]
    rows = len(comparison()["uses"]) * 5 + len(comparison()["metrics"]) * (5 + 1) + 8 * 5
    assert len(labels) == rows  # every cell names its contender where the head of its column is out of sight
    assert all(a.get("tabindex") == "0" for a in rendered.all("div") if "scroll" in a.get("class", ""))


def test_matrix_shows_values_flags_and_reasons(rendered: Page) -> None:
    text = rendered.text
    assert "0.410 real data" in text and "18.3 blurred real" in text
    for words in ("6.8 ✓ best", "6.3 to 7.4", "— no encoder", "≈ close", "? undecided", "↗ not converged"):
        assert words in text
    assert {attributes["scope"] for attributes in rendered.all("th")} == {"row", "col"}


def test_failures_protocol_and_commands_are_told(rendered: Page) -> None:
    text = rendered.text
    assert "1 of 30 runs did not finish" in text
    assert "two rollbacks did not help" in text
    assert "samplers' parameter counts differ by more than 5 %: pca 1,056, vae 55,105" in text
    assert "Not used: on this space a blurred copy scores better than real data" in text
    assert "scan-0031.jpg: truncated after 4,096 bytes" in text
    assert comparison()["evaluator"]["hash"] in text and comparison()["data"]["fingerprint"] in text
    for use in comparison()["uses"]:
        assert use["command"] in text
    assert "Replace DATA by a file or folder of yours." in text and "Replace DIR" not in text


def test_pictures_are_embedded_with_alternative_text(rendered: Page) -> None:
    images = rendered.all("img")
    assert all(image["alt"] for image in images)
    assert images[0]["alt"] == "Real examples" and images[0]["class"] == "pixelated"
    assert [i["alt"] for i in images if i["alt"].startswith("Samples of")] == [
        f"Samples of {name}" for name in ("pca", "vae", "gan", "vaegan")
    ]
    assert len(rendered.all("source")) == 3  # dark versions of two learning curves and the spectra


def test_unequal_samplers_are_not_claimed_where_they_are_equal(tmp_path: Path) -> None:
    value = unplotted()
    value["contenders"][0]["parameters"]["sampler"] = 55_105 - 2_000
    assert "differ by more than 5 %" not in page_of(tmp_path, value).text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_literally(tmp_path: Path, name: str) -> None:
    page = page_of(tmp_path, poisoned({**unplotted(), "pictures": write_comparison(tmp_path)["pictures"]}, name))
    assert_harmless(page)
    assert f"use ▲{name}" in page.text
    assert page.text.count(name) > 100
    assert "49%" not in page.text


def test_hostile_names_of_curves_are_shown_literally(tmp_path: Path) -> None:
    name = "$\\frac{" + HOSTILE[0]  # what would also be an error as a formula in a plot
    value = {**unplotted(), "curves": comparison()["curves"][:1], "spectra": comparison()["spectra"]}
    page = page_of(tmp_path, poisoned(value, name))
    assert_harmless(page)
    assert f"▲{name}" in page.text and len(page.all("source")) == 3


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("lone\ud800", "lone\\ud800"),
        ("n\x00l", "n\\x00l"),
    ],
)
def test_acting_characters_are_spelled_out(tmp_path: Path, name: str, shown: str) -> None:
    value = unplotted()
    value["data"]["name"] = name
    page = page_of(tmp_path, value)
    assert shown in page.text and name not in page.text


def test_joiners_and_right_to_left_letters_stay(tmp_path: Path) -> None:
    value = unplotted()
    value["data"]["name"] = "می\u200cشود 👩\u200d🔬"
    assert value["data"]["name"] in page_of(tmp_path, value).text


def test_everything_optional_may_be_missing(tmp_path: Path) -> None:
    value = comparison()
    for key in ("evaluator", "spectra"):
        value[key] = None
    for key in ("curves", "runs", "metrics", "uses"):
        value[key] = []
    del value["pictures"]
    page = page_of(tmp_path, value)
    assert_harmless(page)
    assert "No clear winner on digits" in page.text
    assert page.all("img") == []


def test_runs_that_all_failed_still_give_a_report(tmp_path: Path) -> None:
    value = unplotted()
    for run in value["runs"]:
        run.update(status="failed", reason="out of memory", images=None, train_seconds=None)
    for use in value["uses"]:
        use.update(verdict="not possible", winner=None, leader=None, runner_up=None, difference=None, command=None)
        use["cells"] = {}
    page = page_of(tmp_path, value)
    assert "30 of 30 runs did not finish" in page.text
    assert "no contender can be named" in page.text and "out of memory" in page.text


def test_missing_numbers_are_dashes(tmp_path: Path) -> None:
    value = comparison()
    value["uses"][0]["cells"]["gan"].update(value=None, reason="diverged")
    value["metrics"][0]["floor"] = None
    value["curves"][0]["points"][3]["value"] = None
    page = page_of(tmp_path, value)
    assert "— diverged" in page.text
    assert not re.search(r"\b(nan|inf)\b", page.text)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 64))]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_pictures_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    (folder / "link.png").symlink_to(tmp_path / "x.png")
    for name in ("../x.png", "../../x.png", str(tmp_path / "x.png"), "link.png"):
        assert "refused" in (embed_picture(folder, name).problem or ""), name
    value = unplotted()
    value["pictures"] = {"real": "../x.png", "samples": {"vae": "pictures/gone.png"}}
    page = page_of(folder, value)
    assert "refused: ../x.png lies outside" in page.text and "missing: pictures/gone.png" in page.text
    assert page.all("img") == []


def test_one_picture_that_many_contenders_show_does_not_swell_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(folder / "x.png")
    monkeypatch.setattr("genarena.report.build.MOST_EMBEDDED", 7000)  # one of them takes 5,600 characters
    value = unplotted()
    value["pictures"] = {"real": "x.png", "samples": {name: "x.png" for name in ("pca", "vae", "gan", "vaegan")}}
    page = page_of(folder, value)
    assert len(page.all("img")) == 2 and "left out: x.png, for the size of the page" in page.text


def test_damaged_foreign_and_huge_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("<svg onload=alert(1)>")
    Image.new("RGB", (8, 8)).save(tmp_path / "jpeg.png", format="JPEG")
    (tmp_path / "cut.png").write_bytes(png_claiming(64, 64)[:45])
    (tmp_path / "bomb.png").write_bytes(png_claiming(60_000, 60_000))
    (tmp_path / "large.png").write_bytes(png_claiming(9_000, 9_000))
    for name in ("text.png", "jpeg.png", "cut.png"):
        assert embed_picture(tmp_path, name).problem == f"cannot be read as PNG: {name}"
    assert embed_picture(tmp_path, "bomb.png").problem is not None
    assert embed_picture(tmp_path, "large.png").problem == "refused: large.png has 9000 x 9000 pixels"
    assert embed_picture(tmp_path, "name\0.png").problem is not None


def test_pictures_are_encoded_anew_without_their_metadata(tmp_path: Path) -> None:
    image = Image.radial_gradient("L").convert("RGB")
    image.save(tmp_path / "a.png", exif=b"Exif\0\0secret-place", pnginfo=None)
    picture = embed_picture(tmp_path, "a.png")
    kind, data = picture.uri.split(",", 1)
    assert kind == "data:image/png;base64" and b"secret-place" not in base64.b64decode(data)
    assert (picture.width, picture.height, picture.problem) == (256, 256, None)


def test_large_grids_become_webp(tmp_path: Path) -> None:
    Image.effect_noise((600, 600), 90).save(tmp_path / "noise.png")
    picture = embed_picture(tmp_path, "noise.png")
    assert picture.uri.startswith("data:image/webp") and not picture.pixelated


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ("[]", "has no digest"),
        ('{"format": 1, "digest": 1}', "is not what was written"),
        ({}, "has format None"),
        ({"format": 2}, "has format 2, this genarena reads format 1"),
        ({"format": 1}, "comparison.json: genarena: Field required"),
    ],
)
def test_unreadable_comparisons_are_refused(tmp_path: Path, text: str | dict[str, int], message: str) -> None:
    path = tmp_path / "comparison.json"
    write_json(path, text) if isinstance(text, dict) else path.write_text(text)
    with pytest.raises(RunError, match=re.escape(message)):
        build_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_missing_mistyped_and_misencoded_comparisons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"No comparison\.json in"):
        build_report(tmp_path)
    value = comparison()
    value["uses"][1]["verdict"] = "perhaps"
    write_json(tmp_path / "comparison.json", value)
    with pytest.raises(RunError, match=r"uses\.1\.verdict: Input should be 'winner'"):
        build_report(tmp_path)
    (tmp_path / "comparison.json").write_bytes(b'{"format": 1, "genarena": "\xff"}')
    with pytest.raises(RunError, match="not readable JSON"):
        build_report(tmp_path)


def test_a_folder_in_the_way_is_a_storage_error(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .* is a folder"):
        build_report(tmp_path)


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    first = build_report(tmp_path).read_bytes()
    assert build_report(tmp_path).read_bytes() == first
    assert len(first) < 1_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (float("inf"), "—"),
        (0, "0"),
        (1797, "1,797"),
        (0.0123456, "0.0123"),
        (-31.26, "−31.3"),
        (4e-9, "4.0×10⁻⁹"),
        (-2.5e12, "−2.5×10¹²"),
    ],
)
def test_numbers_read_well(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((6.8213, 6.31, 7.44), ("6.8", "6.3 to 7.4")),
        ((1234.5, 1100.0, 1400.0), ("1,230", "1,100 to 1,400")),
        ((1667482.45, 1395481.47, 1943819.39), ("1,670,000", "1,400,000 to 1,940,000")),
        ((0.9719, 0.9018, 1.0), ("0.97", "0.90 to 1.00")),
        ((0.003, -0.006, 0.012), ("0.003", "−0.006 to 0.012")),
        ((-148.8596, -149.6498, -147.9941), ("−148.9", "−149.6 to −148.0")),
        ((0.0107, 0.010695, 0.010705), ("0.010700", "0.010695 to 0.010705")),
        ((2.3e-9, 2.1e-9, 2.4e-9), ("2.3×10⁻⁹", "2.1×10⁻⁹ to 2.4×10⁻⁹")),
        ((2.0, 2.0, 2.0), ("2", "2 to 2")),
        ((0.1 + 0.2, 0.3, 0.1 + 0.2), ("0.300", "0.300 to 0.300")),
        ((2.5, None, 3.0), ("2.50", "")),
        ((None, None, None), ("—", "")),
    ],
)
def test_intervals_carry_no_idle_decimals(ends: tuple[float | None, ...], text: tuple[str, str]) -> None:
    assert interval(*ends) == text


def test_an_interval_has_one_or_two_digits_of_its_own() -> None:
    for width in np.geomspace(0.01, 5, 61):
        ends = interval(3.0, 3.0, 3.0 + width)[1].split(" to ")
        first, second = (len(end.partition(".")[2]) for end in ends)
        assert first == second and 7 < width * 10**first < 72


def test_an_end_that_is_not_zero_does_not_look_like_it() -> None:
    assert interval(0.6, 0.03, 1.1) == ("0.6", "just above 0 to 1.1")
    assert interval(-0.3, -0.6, -0.004) == ("−0.30", "−0.60 to just below 0")
    assert interval(0.00137, 4e-7, 0.0029) == ("0.0014", "just above 0 to 0.0029")
    assert interval(0.5, 0.0, 1.1) == ("0.5", "0.0 to 1.1")  # a bound
    assert interval(0.6, -1e-9, 1.1) == ("0.6", "0.0 to 1.1")  # as good as zero


def test_curves_are_logarithmic_only_where_a_line_would_be_lost() -> None:
    def plot(values: list[float]) -> Plot | None:
        points = [{"images": i, "cpu_seconds": None, "value": v} for i, v in enumerate(values)]
        curve = Curve.model_validate({"contender": "vae", "seed": 0, "metric": "fd", "points": points})
        return learning_curves([curve], {"vae": 0}, "images")

    wide, narrow, signed = plot([100.0, 1.0]), plot([3.0, 1.0]), plot([100.0, -1.0])
    assert wide and wide.logarithmic
    assert narrow and not narrow.logarithmic
    assert signed and not signed.logarithmic
    assert plot([]) is None


# sRGB to XYZ (IEC 61966-2-1), and full colour vision, protanopia, deuteranopia, tritanopia on linear RGB
# (Machado, Oliveira & Fernandes 2009, table 1, severity 1).
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
VISION = [
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
]


def linear(color: str) -> np.ndarray:
    """Linear RGB of ``#rrggbb``."""
    v = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of linear RGB."""
    t = XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(axis=1)
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(("theme", "background"), [("light", "#ffffff"), ("dark", "#171a1f")])
def test_contenders_are_told_apart_by_colour_and_marker(theme: Theme, background: str) -> None:
    assert len(GLYPHS) == len(MARKERS) == len(set(GLYPHS))
    for color in COLORS[theme]:
        low, high = sorted(XYZ[1] @ linear(shade) for shade in (color, background))
        assert (high + 0.05) / (low + 0.05) >= 3, color  # WCAG 2.2, criterion 1.4.11
    for vision in VISION:
        for one, other in itertools.combinations(COLORS[theme], 2):
            assert np.linalg.norm(lab(vision @ linear(one)) - lab(vision @ linear(other))) > 25, (one, other)


def test_the_documented_schema_names_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparison-schema.md").read_text(encoding="utf-8")
    records = [
        record for record in vars(schema).values() if isinstance(record, type) and issubclass(record, schema.Record)
    ]
    names = {field.alias or name for record in records for name, field in record.model_fields.items()}
    assert len(names) > 60
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparison-schema.md").read_text(encoding="utf-8")
    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example
    write_json(tmp_path / "comparison.json", json.loads(example[1]))
    assert read_comparison(tmp_path).contenders
    assert "For Generate: fidelity, use ▲gan" in page_of(tmp_path).text


def test_report_imports_neither_torch_nor_the_rest_of_genarena() -> None:
    code = (
        "import sys, genarena.report; names = [n for n in sys.modules if n.split('.')[0] in ('torch', 'genarena')];"
        "print(*sorted(n for n in names if not n.startswith('genarena.report')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["genarena", "genarena.errors", "genarena.files"]


def test_a_report_is_not_written_through_a_link(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (tmp_path / "report.html").symlink_to(victim)
    with pytest.raises(StorageError, match="is a link"):
        build_report(tmp_path)
    assert victim.read_text() == "mine"
