"""A user's own network as a feature space: judged by, saved, trusted or not, and every way to bring a wrong one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import genarena
from genarena import comparison
from genarena.data.fields import Dataset, Field, ImageSpec, VectorSpec
from genarena.errors import RunError, UsageError
from genarena.metrics import Evaluator
from genarena.metrics.own import agreed, require_consent
from genarena.own_code import load_class

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_features.py"
NET = f"{EXAMPLE}:MyFeatures"


@pytest.fixture(scope="module")
def data() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (120, 1, 12, 12), dtype=np.uint8)
    order = np.arange(120)
    parts = {"train": order[:70], "val": order[70:80], "test": order[80:]}
    return Dataset("noise", {"image": Field(ImageSpec(1, 12, 12), "target", images)}, parts)


@pytest.fixture(scope="module")
def weights(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = load_class(EXAMPLE, "MyFeatures", nn.Module, "network")(data.schema.target)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def folder(data: Dataset, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluator")
    Evaluator.build(data, folder, features=weights, features_net=NET)
    return folder


def test_it_is_one_more_space_of_the_network_and_weights_given(data: Dataset, weights: Path, folder: Path) -> None:
    evaluator = Evaluator.load(folder, data, trust=True)
    space = evaluator.spaces["user"]
    net = load_class(EXAMPLE, "MyFeatures", nn.Module, "network")(data.schema.target)
    net.load_state_dict(load_file(weights))
    values = data.values("test")
    with torch.no_grad():
        raw = net.features(torch.from_numpy(values).float() * (2 / 255) - 1).double().numpy()
    np.testing.assert_allclose(space(values), (raw - space.mean) @ space.components, rtol=1e-5, atol=1e-8)
    scores = evaluator.panel(values, seed=0)
    assert scores["fd_inf/user"].value is not None
    assert "MyFeatures with weights.safetensors" in space.detail


def test_what_is_loaded_is_what_was_built(data: Dataset, weights: Path, folder: Path, tmp_path: Path) -> None:
    again = Evaluator.build(data, tmp_path, features=weights, features_net=NET)
    assert again.hash == Evaluator.load(folder, data, trust=True).hash
    without = Evaluator.build(data, tmp_path / "without")
    assert without.hash != again.hash and "user" not in without.spaces


def test_code_runs_only_with_consent(data: Dataset, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RunError,
        match=r"Python code: '.*user.py', 34 lines, sha256 .*Read it, then.*--features-net.*user.py:MyFeatures",
    ):
        Evaluator.load(folder, data)
    shutil.copytree(folder, tmp_path / "changed")
    (tmp_path / "changed" / "user.py").write_text("raise SystemExit('ran')")
    with pytest.raises(RunError, match="is not the code that this feature space was made with"):
        Evaluator.load(tmp_path / "changed", data, trust=True)


def test_consent_to_a_model_is_none_to_an_evaluator(data: Dataset, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"user.py', 34 lines, sha256 .*--features-net"):
        require_consent(folder, agreed(None))
    require_consent(folder, agreed(NET))
    assert Evaluator.load(folder, data, trust=agreed(NET)).spaces["user"]
    shutil.copytree(folder, tmp_path / "edited")
    with (tmp_path / "edited" / "user.py").open("a") as file:
        file.write("raise SystemExit('it ran')\n")
    for refuse in (require_consent, lambda place, trust: Evaluator.load(place, data, trust=trust)):
        with pytest.raises(RunError, match="brings its own Python code"):
            refuse(tmp_path / "edited", agreed(NET))


def test_only_the_space_of_the_user_may_bring_code(data: Dataset, folder: Path, tmp_path: Path) -> None:
    """Consent to ``user.py`` is none to another file of the folder."""
    shutil.copytree(folder, tmp_path / "hidden")
    for ending in ("safetensors", "py"):
        shutil.copy(tmp_path / "hidden" / f"user.{ending}", tmp_path / "hidden" / f"pca.{ending}")
    with pytest.raises(RunError, match=r"brings its own Python code: '.*pca.py'"):
        Evaluator.load(tmp_path / "hidden", data, trust=True)


def test_a_comparison_goes_on_with_the_same_features_and_refuses_others(
    data: Dataset, weights: Path, tmp_path: Path
) -> None:
    def compare(out: Path, **options: object) -> comparison.Comparison:
        return genarena.compare(data, out, models=["pca"], seeds=1, budget="1 epochs", jobs=1, **options)

    out, own = tmp_path / "arena", {"features": weights, "features_net": NET}
    first = compare(out, **own)
    assert not first.failed and "fd_inf/user" in (out / "comparison.json").read_text()
    assert compare(out, **own).record["evaluator"] == first.record["evaluator"]
    with pytest.raises(RunError, match="brings its own Python code"):
        compare(out)
    other = tmp_path / "other.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, other)
    with pytest.raises(RunError, match="has an evaluator of its own"):
        compare(out, features=other, features_net=NET)
    edited = tmp_path / "edited.py"
    edited.write_text(EXAMPLE.read_text() + "\n# edited\n")
    with pytest.raises(RunError, match="brings its own Python code"):
        compare(out, features=weights, features_net=f"{edited}:MyFeatures")
    # Somebody else's evaluator: the file that the user names is the consent, and has to be the same.
    with pytest.raises(RunError, match="brings its own Python code"):
        compare(tmp_path / "second", evaluator=out / "evaluator")
    second = compare(tmp_path / "third", evaluator=out / "evaluator", features_net=NET)
    assert second.record["evaluator"]["hash"] == first.record["evaluator"]["hash"]


def test_a_comparison_with_a_space_of_another_evaluator_goes_on(data: Dataset, folder: Path, tmp_path: Path) -> None:
    def compare(space: str) -> comparison.Comparison:
        features = folder / f"{space}.safetensors"
        return genarena.compare(data, tmp_path, models=["pca"], seeds=1, budget="1 epochs", jobs=1, features=features)

    assert compare("random-conv").record["evaluator"] == compare("random-conv").record["evaluator"]
    with pytest.raises(RunError, match="has an evaluator of its own"):
        compare("pca")


def test_a_classifier_of_the_users_own_gives_an_inception_score(data: Dataset, folder: Path, tmp_path: Path) -> None:
    body = (
        EMPTY + FEATURES.format("x.flatten(1)") + "    def forward(self, x):\n        return 9 * x.flatten(1)[:, :4]\n"
    )
    save_file({}, tmp_path / "none.safetensors")
    source = _write(tmp_path / "net.py", body)
    own = Evaluator.build(data, tmp_path / "out", features=tmp_path / "none.safetensors", features_net=source)
    values = data.values("test")
    logits = 9 * (values.reshape(len(values), -1)[:, :4] / 127.5 - 1)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert own.panel(values, seed=0)["inception_score/user"].value == pytest.approx(expected, rel=1e-5)
    assert "inception_score/user" in own.floor and "inception_score/user" in own.self_test
    assert "inception_score/user" not in Evaluator.load(folder, data, trust=True).floor  # its network is no classifier


def _write(path: Path, body: str) -> str:
    path.write_text("import torch\nfrom torch import nn\n" + body)
    return f"{path}:Net"


FEATURES = "    def features(self, x):\n        return {}\n"
EMPTY = "class Net(nn.Module):\n    def __init__(self, spec):\n        super().__init__()\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("class Net(nn.Module):\n    pass\n", "has no method features"),
        ("class Net:\n    pass\n", "has no network class 'Net'"),
        ("class Net(nn.Module):\n    pass\nraise ValueError('no')\n", "failed to import: ValueError: no"),
        (EMPTY.replace("spec", "") + FEATURES.format("x"), "cannot be built for these data: TypeError"),
        (EMPTY + FEATURES.format("x"), r"gives \(3, 1, 12, 12\) for 3 examples"),
        (EMPTY + FEATURES.format("x.flatten(1)[:2]"), r"gives \(2, 144\) for 3 examples"),
        (EMPTY + FEATURES.format("[x]"), "gives list for 3 examples"),
        (EMPTY + FEATURES.format("x.flatten(1) / 0"), "not finite"),
        (EMPTY + FEATURES.format("torch.rand(3, 2)"), "other values for the same input"),
        (EMPTY + FEATURES.format("x @ torch.ones(3, 3)"), r"fails on a batch of shape \(3, 1, 12, 12\): RuntimeError"),
    ],
)
def test_networks_that_are_none_are_refused(data: Dataset, tmp_path: Path, body: str, message: str) -> None:
    save_file({}, tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match=message):
        Evaluator.build(
            data,
            tmp_path / "out",
            features=tmp_path / "none.safetensors",
            features_net=_write(tmp_path / "net.py", body),
        )
    assert not (tmp_path / "out" / "evaluator.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("first.bias"), "missing 'first.bias', without a place nothing"),
        (lambda t: t.update(head=torch.ones(2)), "missing nothing, without a place 'head'"),
        (lambda t: t.update({n: torch.ones(2) for n in "abc"}), r"without a place 'a', 'b', 'c'\.$"),
        (lambda t: t.update({n: torch.ones(2) for n in "abcde"}), r"without a place 'a', 'b', 'c' and 2 more\.$"),
        (lambda t: t.update({"first.bias": torch.ones(3)}), r"first.bias has shape \[3\] instead of \[16\]"),
        (lambda t: t["first.bias"].fill_(float("nan")), "first.bias holds values that are not finite"),
    ],
)
def test_weights_of_another_network_are_refused(
    data: Dataset, weights: Path, tmp_path: Path, change, message: str
) -> None:
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=message):
        Evaluator.build(data, tmp_path / "out", features=tmp_path / "w.safetensors", features_net=NET)


def test_a_pickle_is_no_weights_file(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"\x80\x04cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(UsageError, match="not a safetensors file"):
        Evaluator.build(data, tmp_path / "out", features=tmp_path / "w.pt", features_net=NET)
    with pytest.raises(UsageError, match="is not a file"):
        Evaluator.build(data, tmp_path / "out", features=tmp_path / "absent.safetensors", features_net=NET)
    with pytest.raises(UsageError, match="needs its weights"):
        Evaluator.build(data, tmp_path / "out", features_net=NET)
    with pytest.raises(UsageError, match=r"give file\.py:Class"):
        Evaluator.build(data, tmp_path / "out", features=tmp_path / "w.pt", features_net="MyFeatures")


def test_half_precision_weights_rows_and_any_ends_of_lines_are_taken(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    spec = VectorSpec(3, (0.0,) * 3, (1.0,) * 3)
    order = np.arange(100)
    rows = Dataset(
        "rows", {"x": Field(spec, "target", values)}, {"train": order[:60], "val": order[60:70], "test": order[70:]}
    )
    body = "class Net(nn.Linear):\n    def __init__(self, spec):\n        super().__init__(spec.dim, 5)\n"
    source = _write(tmp_path / "net.py", body + FEATURES.format("self(x)"))
    (tmp_path / "net.py").write_bytes((tmp_path / "net.py").read_bytes().replace(b"\n", b"\r\n"))
    save_file({"weight": torch.randn(5, 3).half(), "bias": torch.zeros(5).half()}, tmp_path / "w.safetensors")
    space = Evaluator.build(rows, tmp_path / "out", features=tmp_path / "w.safetensors", features_net=source).spaces[
        "user"
    ]
    assert space.dim == 3  # a linear map of three columns has no more
    assert (tmp_path / "out" / "user.py").read_bytes() == (tmp_path / "net.py").read_bytes()
    Evaluator.load(tmp_path / "out", rows, trust=True)
