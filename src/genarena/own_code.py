"""A user's own classes, from files that the user named or agreed to run.

The text of a file is read once, and it is that text which is shown, hashed, kept with what was made by it, and run: no
importer looks at the path again, so that neither cached bytecode nor a file that changes meanwhile runs in its place. Own
code is one file. A module beside it would be neither read, nor hashed, nor kept, and is therefore not imported.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import hashlib
import inspect
import linecache
import symtable
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import ExecutionLoader
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

from .errors import RunError, UsageError, did_you_mean, one_line
from .files import LARGEST_CODE, read_bytes

Base = TypeVar("Base")
Trust = bool | str
"""Consent to code that a folder brings: to its file, whatever it holds, or to the text of this sha256 (12 digits suffice)."""

_GUARD = 'put what it does under `if __name__ == "__main__":`, or the class into a file of its own.'
_FUTURE = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
_LEAST_DIGITS = 12  # of a sha256 that is to name one text
_running: list[OwnCode] = []
_known: weakref.WeakKeyDictionary[type, OwnCode] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class OwnCode:
    """The text of a file of Python; `path` says where it came from."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path, what: str) -> OwnCode:
        """Read a file; raises `UsageError` where there is none, or it is no text of bounded size."""
        if not path.is_file():
            raise UsageError(f"{what} file '{path}' does not exist.")
        try:
            return cls(path, read_bytes(path, LARGEST_CODE).decode())  # and no ends of lines changed
        except (OSError, ValueError) as error:
            raise UsageError(f"{what} file '{path}' cannot be read as UTF-8 text ({one_line(error)}).") from error

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __str__(self) -> str:
        return f"'{self.path}', {len(self.text.splitlines())} lines, sha256 {self.sha256[:16]}"

    def require(self, trust: Trust, how: str) -> None:
        """Raise the `RunError` of code that came with a folder where `trust` does not allow this text; `how` to allow it."""
        named = isinstance(trust, str) and len(trust) >= _LEAST_DIGITS and self.sha256.startswith(trust.lower())
        if trust is not True and not named:
            raise RunError(
                f"'{self.path.parent}' brings its own Python code: {self}. Read it, then allow it with {how} (trust=True; "
                f"trust='{self.sha256[:16]}' allows this text alone)."
            )

    def load(self, class_name: str, base: type[Base], what: str) -> type[Base]:
        """The subclass of `base` of that name. This runs the code, the first time.

        Raises
        ------
        UsageError
            Where it cannot be imported, imports a module beside it, trains meanwhile, or has no such class.
        """
        unique = hashlib.sha256(f"{self.path}\0{self.text}".encode()).hexdigest()[:16]
        name = f"genarena_user_{self.path.stem}_{unique}"
        module = sys.modules.get(name) or self._run(name, what)
        found = getattr(module, class_name, None)
        if not (inspect.isclass(found) and issubclass(found, base)):
            names = [n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, base)]
            raise UsageError(f"'{self.path}' has no {what} class '{class_name}'.{did_you_mean(class_name, names)}")
        return found

    def _run(self, name: str, what: str) -> Any:
        spec = ModuleSpec(name, _Loader(self), origin=str(self.path))
        spec.has_location = True
        module = module_from_spec(spec)
        sys.modules[name] = module
        _running.append(self)
        try:
            self.check_imports()
            with _installed_only(self.path):
                _Loader(self).exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception | SystemExit) and not isinstance(error, UsageError):
                kind = type(error).__name__  # a file that ends the program is one that cannot be imported
                raise UsageError(f"{what} file '{self.path}' failed to import: {kind}: {one_line(error)}.") from error
            raise
        finally:
            _running.pop()
        return module

    def check_imports(self) -> None:
        """Refuse code that imports what is found beside it, or in the current folder, and not as an installed package."""
        try:
            nodes = list(ast.walk(ast.parse(self.text.removeprefix("\ufeff"))))
        except (SyntaxError, ValueError, RecursionError):
            return  # running it will say so
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        names |= {node.module or "" for node in froms if not node.level}
        beside = ["." * node.level + (node.module or "") for node in froms if node.level]
        for top in sorted({name.partition(".")[0] for name in names} - {"genarena"}):
            if _is_found(top):
                with _installed_only(self.path):
                    beside += [] if _is_found(top) else [top]
        if beside:
            raise UsageError(
                f"'{self.path}' imports '{beside[0]}', which is no installed package: own code is one file, which is all that "
                "is read, hashed and kept. Put the two together, or install the other."
            )


class _Loader(ExecutionLoader):
    """Runs a text, and knows it: a class that it defined is traced back to what ran, whatever lies at the path now."""

    def __init__(self, code: OwnCode):
        self.code = code

    def get_filename(self, fullname: str) -> str:
        return str(self.code.path)

    def get_source(self, fullname: str) -> str:
        return self.code.text.removeprefix("\ufeff")


def split_source(source: str, what: str) -> tuple[Path, str]:
    """File and class of ``path/to/file.py:Class``; `what` it is, "model" or "network", is said in errors."""
    path, _, class_name = source.rpartition(":")
    if not path.endswith(".py") or not class_name:
        raise UsageError(f"'{source}' names no {what} class: give file.py:Class.")
    return Path(path), class_name


def load_class(path: Path, class_name: str, base: type[Base], what: str) -> type[Base]:
    """A subclass of `base` from a file. This runs the file; raises as `OwnCode.read` and `OwnCode.load`."""
    return OwnCode.read(path, what).load(class_name, base, what)


def refuse_while_loading() -> None:
    """Raise the `UsageError` of code that trains while its class is loaded: it would do so without end."""
    if _running:
        raise UsageError(f"'{_running[-1].path}' trains when its class is loaded: {_GUARD}")


def source_of(own: type) -> OwnCode:
    """The text that a class was made by: a file, a notebook's cell, or what `OwnCode.load` ran.

    It has to give the class again wherever a run is loaded; what it cannot is refused now, before anything is trained.

    Raises
    ------
    UsageError
        Where there is none, it is not what the class was made by, does not stand on its own, or would train again.
    """
    loader = getattr(getattr(sys.modules.get(own.__module__), "__spec__", None), "loader", None)
    if isinstance(loader, _Loader):
        return loader.code
    found = _known.get(own) or _text_of(own)
    if own.__module__ == "__main__":
        _refuse_unguarded(found)
    _known[own] = found
    return found


def _text_of(own: type) -> OwnCode:
    name = own.__name__
    functions = [
        c for f in vars(own).values() if (c := _code_of(f)) and c.co_qualname.startswith(f"{own.__qualname__}.")
    ]
    file = functions[0].co_filename if functions else getattr(sys.modules.get(own.__module__), "__file__", None)
    file = file or _cell_with(name)
    if file is not None and Path(file).is_file():
        code = OwnCode.read(Path(file).resolve(), "model")
    else:
        code = OwnCode(Path(file or ""), "".join(linecache.getlines(file)) if file else "")
    if not code.text:
        raise UsageError(f"the source of {name} cannot be found, so no run could keep it: put the class into a file.")
    flags = functions[0].co_flags & _FUTURE if functions else 0
    try:
        whole = compile(code.text.removeprefix("\ufeff"), "", "exec", flags, dont_inherit=True)
        tree = ast.parse(code.text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"'{code.path}', which has {name}, is no plain Python ({one_line(error)}): use a file."
        ) from None
    if own.__qualname__ != name or name not in {n.name for n in _top_level(tree) if isinstance(n, ast.ClassDef)}:
        raise UsageError(
            f"{name} is made inside of something: define it at the top level of '{code.path}', to be found there."
        )
    if not {c for c in functions if c.co_filename == file} <= set(_codes(whole)):
        raise UsageError(
            f"'{code.path}' has changed since {name} was made by it: start Python anew, or run the cell again."
        )
    missing = [] if Path(file or "").is_file() else _undefined(code.text)
    if missing:
        raise UsageError(
            f"the cell of {name} does not define '{missing[0]}', and a run keeps that cell alone: import and define in it "
            "what the class needs, or put all of it into a file."
        )
    code.check_imports()
    return code


def _code_of(value: Any) -> CodeType | None:
    """The code of a method, below what decorates it."""
    value = getattr(value, "fget", None) or getattr(value, "__func__", value)
    return getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements of a module, those in its conditions and the like too."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _top_level(node)


def _cell_with(name: str) -> str | None:
    """The one notebook cell that defines a class of this name, which has no method to tell."""
    cells = []
    for file in list(linecache.cache):
        if not Path(file).is_file() and f"class {name}" in "".join(linecache.getlines(file)):
            cells.append(file)
    return cells[0] if len(cells) == 1 else None


def _undefined(text: str) -> list[str]:
    """Names that a text uses and does not define."""
    table = symtable.symtable(text, "", "exec")
    defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    used: set[str] = set()

    def walk(table: symtable.SymbolTable) -> None:
        top = table.get_type() == "module"
        used.update(s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global()))
        for child in table.get_children():
            walk(child)

    walk(table)
    return [] if "*" in text and "import *" in text else sorted(used - defined - set(dir(builtins)) - {"__file__"})


def _refuse_unguarded(code: OwnCode) -> None:
    """Refuse to train a class of a script from outside of the script's guard."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        is_main = frame.f_globals.get("__name__") == "__main__" and frame.f_locals is frame.f_globals
        if is_main and Path(frame.f_code.co_filename).absolute() == code.path.absolute():
            line = frame.f_lineno
            body = ast.parse(code.text.removeprefix("\ufeff")).body
            here = next((node for node in body if node.lineno <= line <= (node.end_lineno or 0)), None)
            if not (isinstance(here, ast.If) and "__name__" in ast.unparse(here.test)):
                raise UsageError(f"'{code.path}' would train again wherever its class is loaded: {_GUARD}")
        frame = frame.f_back


@contextmanager
def _installed_only(file: Path) -> Iterator[None]:
    """No module is imported from the folder of a file, nor from the current one."""
    before = sys.path[:]
    hidden = {Path.cwd(), file.absolute().parent.resolve()}
    sys.path[:] = [place for place in before if Path(place or ".").resolve() not in hidden]
    try:
        yield
    finally:
        sys.path[:] = before


def _is_found(top: str) -> bool:
    """Whether a module of that name could be imported; imports nothing."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            if find is not None and find(top, None) is not None:
                return True
        except (ImportError, ValueError, AttributeError):
            continue
    return False
