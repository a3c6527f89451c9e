"""Imports point one way, and what must not appear in the source does not."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "genarena"

# A module may import modules of a lower rank, and its own package. `docs/architecture.md` draws this.
RANK = {
    "errors": 0,
    "distributed": 0,
    "files": 1,
    "own_code": 2,
    "text": 1,
    "machine": 1,
    "precision": 0,
    "data": 2,
    "budget": 2,
    "settings": 2,
    "events": 2,
    "checkpoint": 2,
    "report": 2,
    "nets": 3,
    "objectives": 3,
    "best": 3,
    "game": 3,
    "metrics": 4,
    "kinds": 4,
    "card": 4,
    "alarm": 5,
    "models": 5,
    "referee": 5,
    "trainer": 6,
    "fitted": 6,
    "fit": 7,
    "duality": 7,
    "uses": 8,
    "estimators": 8,
    "export": 8,
    "catalogue": 8,
    "comparison": 9,
    "latent": 9,
    "api": 11,
    "console": 10,
    "housekeeping": 10,
    "cli_common": 12,
    "cli_latent": 13,
    "cli_model": 13,
    "cli": 14,
    "__main__": 15,
}

# What a module may import where its rank alone would allow more; None is any lower rank.
ONLY = {
    "distributed": set(),
    "machine": {"errors"},
    "files": {"errors"},
    "own_code": {"errors", "files"},
    "text": {"errors"},
    "data": {"errors", "files"},
    "checkpoint": {"errors", "files"},
    "report": {"errors", "files"},
    "precision": set(),
    "nets": {"data", "distributed", "precision"},
    "objectives": {"data", "distributed", "errors", "precision"},
    "metrics": {"data", "nets", "errors", "files", "machine", "own_code"},
    "referee": {"errors", "game", "distributed", "precision"},
    "trainer": {"referee", "game", "data", "budget", "checkpoint", "events", "distributed", "errors", "machine"},
}

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
TORCH_FREE = {"errors", "files", "text", "budget", "events", "report"}  # read and shown without waiting for torch
LENDER = "machine.py"  # borrows torch's global state, and gives it back
GLOBAL_STATE = {
    *("manual_seed", "manual_seed_all", "seed_all", "set_rng_state", "set_rng_state_all", "fork_rng"),
    *("set_num_threads", "set_num_interop_threads", "set_default_dtype", "set_default_device"),
    *("use_deterministic_algorithms"),
}
GENERATORS = {"default_rng", "Generator", "Philox", "SeedSequence", "BitGenerator"}

WRITERS = {
    "write_text", "write_bytes", "unlink", "rmtree", "rename", "touch", "symlink_to", "hardlink_to", "copyfile", "copytree",
    "copy2", "move", "save", "savez", "savez_compressed", "savetxt", "savefig", "save_file", "open_memmap", "mkstemp",
}  # fmt: skip
# Writers that need not go through `files`: file, what is called, and why.
WRITE_ELSEWHERE = {
    ("cli.py", "os.open"): "nowhere, for an output that has closed",
    ("checkpoint.py", "os.open"): "the lock: nothing is written into it, and it is not opened through a link",
    ("checkpoint.py", "final.rename"): "a whole checkpoint moves into place, within a folder that holds no links",
    ("checkpoint.py", "partial.rename"): "the same",
    ("data/decoding.py", "tempfile.mkstemp"): "a new file of an unknown name in our own cache",
    ("data/decoding.py", "np.lib.format.open_memmap"): "the same file, which is mapped because it is large",
    ("data/decoding.py", "part.replace"): "it moves into place once it is filled",
    ("machine.py", "Path('/proc/self/clear_refs').write_text"): "the system's switch, no file",
    ("metrics/degrade.py", "Image.fromarray(pixels[..., 0] if grey else pixels).save"): "into memory",
    ("report/pictures.py", "image.save"): "into memory",
    ("report/plots.py", "figure.savefig"): "into memory",
    ("cli_common.py", "fitted.kind.save"): "our own, which goes through `files`",
    ("export.py", "program.save"): "into the folder that `filling` gave",
    ("export.py", "torch.export.save"): "into memory",
    ("fitted.py", "Image.fromarray(self._gallery()).save"): "into memory, and into the folder that `filling` gave",
    ("kinds/vectors.py", "np.savetxt"): "into memory",
}
FILES = sorted(SOURCE.rglob("*.py"))
by_name = pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())


def module_of(path: Path) -> str:
    """The row of `RANK` a file belongs to."""
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imported(tree: ast.AST, path: Path) -> Iterator[str]:
    """Absolute dotted names of everything a file imports, inside functions too."""
    package = ["genarena", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def needs(path: Path, source: str | None = None) -> set[str]:
    """The rows of `RANK` that a file imports, its own left out."""
    tree = ast.parse(path.read_text(encoding="utf-8") if source is None else source)
    rows = {name.split(".")[1] for name in imported(tree, path) if name.startswith("genarena.")}
    return (rows & set(RANK)) - {module_of(path)}


def dotted(node: ast.expr) -> str:
    """``torch.cuda.manual_seed`` and the like; empty for a method of something computed."""
    text = ast.unparse(node)
    return text if text.replace(".", "").isidentifier() else ""


def offences(source: str, relative: str = "any.py") -> list[str]:
    """What must not appear in our source: ``line: what``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [
            f"{node.lineno}: imports {n}" for n in names if n.split(".")[0] in PICKLES or n in ("random", "torch.load")
        ]
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {what}" for what in _calls(node, relative)]
    return found


def _calls(call: ast.Call, relative: str) -> Iterator[str]:
    name = dotted(call.func)
    last = call.func.attr if isinstance(call.func, ast.Attribute) else name
    if name in ("eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "os.system"):
        yield name
    if last in ("extractall", "read_pickle"):
        yield last
    arguments = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
    if arguments.get("shell") is True:
        yield "shell=True"
    if "allow_pickle" in arguments and arguments["allow_pickle"] is not False:
        yield "allow_pickle"
    if name in ("np.load", "numpy.load") and "allow_pickle" not in arguments:
        yield "np.load without allow_pickle=False"
    if name.startswith(("np.random.", "numpy.random.")) and last not in GENERATORS:
        yield f"{name}: NumPy's global generator"
    # `torch.Generator().manual_seed(s)` seeds a generator of its own, and has no dotted name.
    if last in GLOBAL_STATE and name.startswith("torch.") and relative != LENDER:
        yield f"{name}: torch's global state"


def writers(source: str) -> Iterator[str]:
    """Calls that write, move or delete files by other ways than `files`: what they write is not ``with replacing(...)``."""
    tree = ast.parse(source)
    given: dict[ast.AST, set[str]] = {}  # a node within such a block -> the names of the new files
    for node in ast.walk(tree):
        names = given.get(node, set())
        if isinstance(node, ast.With):
            names = names | {
                item.optional_vars.id
                for item in node.items
                if isinstance(item.optional_vars, ast.Name)
                and ast.unparse(item.context_expr).startswith(("replacing(", "filling("))
            }
        given.update((child, names) for child in ast.iter_child_nodes(node))
        if isinstance(node, ast.Call) and _writes(node):
            receiver = node.func.value if isinstance(node.func, ast.Attribute) else node
            places = {n.id for part in [*node.args, receiver] for n in ast.walk(part) if isinstance(n, ast.Name)}
            if not places & names:
                yield ast.unparse(node.func)


def _writes(call: ast.Call) -> bool:
    is_method = isinstance(call.func, ast.Attribute)
    last = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if not is_method and last != "save_file" and last != "open":
        return False
    if last == "open":
        if ast.unparse(call.func) == "os.open":
            return bool(re.search("O_(WRONLY|RDWR|CREAT|APPEND|TRUNC)", ast.unparse(call)))
        modes = [*call.args[0 if is_method else 1 :], *(k.value for k in call.keywords if k.arg == "mode")]
        return any(isinstance(m, ast.Constant) and set(str(m.value)) & set("wax+") for m in modes[:1])
    if last == "replace":  # of a path: that of a text takes two, that of a data class names its changes
        return is_method and len(call.args) == 1 and not call.keywords
    return last in WRITERS


@by_name
def test_files_are_written_in_one_place(path):
    """`files` alone: never through a link, never by half."""
    relative = path.relative_to(SOURCE).as_posix()
    if relative != "files.py":
        allowed = {call for file, call in WRITE_ELSEWHERE if file == relative}
        assert set(writers(path.read_text(encoding="utf-8"))) - allowed == set()


def test_no_leave_to_write_elsewhere_outlives_its_reason():
    assert all(call in set(writers((SOURCE / file).read_text(encoding="utf-8"))) for file, call in WRITE_ELSEWHERE)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("path.write_text(text)", True),
        ("path.open('a')", True),
        ("open(path, mode='w')", True),
        ("path.open('rb')", False),
        ("open(path)", False),
        ("path.replace(other)", True),
        ("text.replace('a', 'b')", False),
        ("with replacing(path) as new: image.save(path)", True),
        ("with replacing(path) as new: image.save(new)", False),
        ("with replacing(path) as new, new.open('w') as file: pass", False),
        ("with filling(folder, last) as new: np.savez(new / 'a.npz', a=1)", False),
        ("with replacing(path) as new: pass\nimage.save(new)", True),
    ],
)
def test_writers_are_found(line, found):
    assert bool(list(writers(line))) == found


def test_every_module_has_a_rank_and_the_page_on_architecture_shows_it():
    assert {module_of(path) for path in FILES} - {"__init__"} == set(RANK)
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", page, re.MULTILINE)
    assert {name: int(rank) for rank, names in rows for name in re.findall(r"`(\w+)`", names)} == RANK


@by_name
def test_imports_point_to_lower_ranks(path):
    module = module_of(path)
    if module == "__init__":
        return  # the public names, imported on first use
    assert {name for name in needs(path) if RANK[name] >= RANK[module]} == set()
    assert needs(path) <= ONLY.get(module, set(RANK))


@by_name
def test_nothing_dangerous_or_globally_random(path):
    assert offences(path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix()) == []


@by_name
def test_report_and_the_plain_modules_do_without_torch(path):
    if module_of(path) in TORCH_FREE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [name for name in imported(tree, path) if name.split(".")[0] == "torch"]


@by_name
def test_only_one_file_knows_torch_distributed(path):
    text = path.read_text(encoding="utf-8")
    knows = any(name.startswith("torch.distributed") for name in imported(ast.parse(text), path))
    assert knows == (path.name == "distributed.py")


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import random",
        "torch.load(path)",
        "eval(text)",
        "exec(text)",
        "yaml.load(text)",
        "subprocess.run(command, shell=True)",
        "archive.extractall(folder)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "np.random.seed(0)",
        "x = np.random.randn(3)",
        "torch.manual_seed(0)",
        "torch.default_generator.manual_seed(0)",
        "torch.cuda.manual_seed_all(0)",
        "torch.set_num_threads(2)",
        "with torch.random.fork_rng(devices=[]): pass",
    ],
)
def test_the_checker_finds_what_it_looks_for(line):
    assert offences(line)


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "np.load(path, allow_pickle=False)",
        "rng = np.random.default_rng(0)",
        "g = torch.Generator().manual_seed(0)",
        "yaml.safe_load(text)",
        "spec.loader.exec_module(module)",
    ],
)
def test_the_checker_lets_good_code_pass(line):
    assert not offences(line)


@pytest.mark.parametrize(
    "line",
    [
        "from ..trainer import Trainer",
        "from .. import trainer",
        "import genarena.trainer",
        "from genarena import trainer",
    ],
)
def test_every_way_to_import_upwards_is_seen(line):
    inside = SOURCE / "data" / "fields.py"
    assert needs(inside, line) == {"trainer"}


@pytest.mark.parametrize("path", sorted((SOURCE.parents[1] / "benchmarks").glob("*.py")), ids=lambda p: p.name)
def test_benchmarks_import_what_there_is(path: Path) -> None:
    """Long measurements run seldom: what they import may have moved on."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genarena"):
            module = importlib.import_module(node.module or "")
            lost = [name.name for name in node.names if not hasattr(module, name.name)]
            assert [n for n in lost if importlib.util.find_spec(f"{node.module}.{n}") is None] == []
