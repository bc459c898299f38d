"""The package's own source code as text to compare: which files import which, and a digest of what they do.

Files are only parsed; nothing is imported or run. Called by `kernel_cache`, and by sweeps, which keep results of
different code apart. It uses the standard library alone, since it runs at every start.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

PARTS = ("sim", "envs", "policies", "experiments")
"""Folders that stand beside `nextone/` in the repository and inside it once installed."""
TEXTS = {"number": slice(2, 4)}
"""Arguments of these functions that are only there to be read: the source and the meaning of a scenario's field."""
HOME = Path(__file__).parents[__name__.count(".") - 1]
"""The folder that holds `sim/`, however deep in it this file stands."""


class Source(NamedTuple):
    """One file, parsed."""

    digest: str
    imports: frozenset[str]  # modules, and names that may be modules, which it imports when it is imported
    late: frozenset[str]  # those it imports inside functions


def package_files(home: Path = HOME) -> dict[str, Path]:
    """Every source file of the package, by the name it is imported as."""
    beside = (home / "nextone").is_dir()
    roots = {f"nextone.{part}": home / part for part in PARTS} | {"nextone": home / "nextone" if beside else home}
    files: dict[str, Path] = {}
    for package, root in roots.items():
        for file in root.rglob("*.py"):
            parts = file.relative_to(root).with_suffix("").parts
            name = ".".join([package, *parts]).removesuffix(".__init__")
            files.setdefault(name, file)
    return files


def imported(files: Mapping[str, Path], start: Iterable[str], *, late: bool) -> set[str]:
    """The modules of `start`, and all that they import, directly or not, within the package.

    late: follow imports inside functions, too. Raises KeyError for a start that is not in the package."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        source = parsed(name, files[name])
        wanted = source.imports | source.late if late else source.imports
        packages = {module[:dot] for module in wanted for dot, letter in enumerate(module) if letter == "."}
        waiting += [module for module in wanted | packages if module in files]
    return found


def code_digest(files: Mapping[str, Path], names: Iterable[str]) -> str:
    """SHA-256 of these modules and their names: of what their code does, not of comments, docstrings or layout."""
    lines = [f"{name} {parsed(name, files[name]).digest}\n" for name in sorted(names)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def parsed(name: str, file: Path) -> Source:
    """A file, parsed. One with an error of syntax has the digest of its text and no imports."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return _parsed(package, file.read_bytes())


@lru_cache(maxsize=1024)
def _parsed(package: str, text: bytes) -> Source:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return Source(hashlib.sha256(text).hexdigest(), frozenset(), frozenset())
    now, late = frozenset(_imports(tree, package, False)), frozenset(_imports(tree, package, True))
    words: list[str] = []
    _words(tree, words)
    return Source(hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).hexdigest(), now, late - now)


def _imports(tree: ast.AST, package: str, late: bool) -> Iterator[str]:
    """Dotted names after `import` and `from`, relative ones resolved; not those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join(start + ([node.module] if node.module else []))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _imports(ast.Module(node.orelse, []), package, late)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if late:
                yield from _imports(node, package, late)
        elif isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield from _imports(node, package, late)


def _words(value: object, words: list[str]) -> None:
    """A syntax tree as words, the same in every version of Python; what nobody but a reader looks at is left out."""
    if isinstance(value, ast.AST):
        words.append(type(value).__name__)
        for field in value._fields:
            part = getattr(value, field, None)
            if part is None and isinstance(value, ast.Constant) and field == "value":
                words.append("None")
            elif part is not None and part != [] and field not in ("ctx", "kind", "type_comment"):
                words.append(field)
                _words(_without_texts(value) if isinstance(value, ast.Call) and field == "args" else part, words)
    elif isinstance(value, list):
        words.append("[")
        for item in value:
            if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)):  # docstrings
                _words(item, words)
        words.append("]")
    else:
        words.append(repr(value))


def _without_texts(call: ast.Call) -> list[ast.expr]:
    """A call's arguments but for its TEXTS."""
    texts = TEXTS.get(call.func.id) if isinstance(call.func, ast.Name) else None
    return [a for a in call.args if texts is None or a not in call.args[texts] or not isinstance(a, ast.Constant)]
