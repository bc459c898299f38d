"""What the texts of the repository refer to, and whether it exists: commands, modules, paths, names, links, targets.

A text is a document, the code of the product, or the docstrings and comments of a test (a test's code holds made-up
names). Python is parsed, never imported. Called by tests/house/test_references.py.
"""

import ast
import io
import re
import shlex
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

SUFFIXES = {".md", ".py", ".toml", ".html"}
OTHER_TEXTS = {"Makefile", ".ci/run"}

UNREACHABLE = re.compile(
    r"\b(?:goal|issue)s?\s+#?\d+|\bthe issue\b|\bAssumed: architecture\b|\btargets\.json\b"
    r"|(?<![\w.])/(?:work|root|home)/\w+",
    re.I,
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|TBD)\b")
EMPTY_CELL = re.compile(r"(?<=\|)[ *]*([A-Z]+(?:_[A-Z]+)+)[ *]*(?=\|)")
QUOTED = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"")
ENVIRONMENT = r"nextone/\w+-v\d"
PATH = re.compile(
    rf"(?<![\w./:*{{}}<>~\\$%-])(?!{ENVIRONMENT})((?:[\w.*-]+/)+[\w.*-]*|[\w-]+\.(?:md|py)(?!\w))"
    r"(?:(?:: |::)([A-Za-z_]\w*(?:\.\w+)*))?"
)
DOTTED = re.compile(r"(?<![\w/.-])nextone((?:\.[A-Za-z_]\w*)+)(?![\w-])(?::([A-Za-z_]\w*))?")
IMPORT = re.compile(r"^[ >]*from (nextone(?:\.\w+)*) import ([\w, ]+)", re.M)
RUN_MODULE = re.compile(r"python3? -m (nextone(?:\.\w+)*)")
STAND_IN = re.compile(r"(?<![\w-])(?!README|LICENSE)[A-Z]{2,}(?=\.|/|$)")  # capitals in place of a name
TEST = re.compile(r"`(test_\w+)")


class Finding(NamedTuple):
    """Something that a text refers to and that does not exist."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


class Text(NamedTuple):
    """A file, by its path from the root, and what of it is read; lines keep their numbers."""

    file: str
    words: str

    def finding(self, offset: int, what: str) -> Finding:
        return Finding(self.file, self.words.count("\n", 0, offset) + 1, what)


class Repository:
    """The files below a root that .gitignore does not name, and what they define."""

    def __init__(self, root: Path, commands: dict[str, frozenset[str]]) -> None:
        """commands: 'train rl' -> its options, '' -> the program's; see `commands_of`."""
        self.root, self.commands = root, commands
        self.files = frozenset(_files(root))
        self.folders = frozenset(str(above) for file in self.files for above in Path(file).parents)
        setup = tomllib.loads((root / "pyproject.toml").read_text()).get("tool", {}).get("setuptools", {})
        self.package_dir: dict[str, str] = setup.get("package-dir", {})
        self.targets = _make_targets(root / "Makefile")
        self.tree = cache(self._tree)
        self.names = cache(self._names)
        self.anywhere = cache(self._anywhere)
        self.tests = cache(self._tests)
        self.written = cache(self._written)

    def texts(self) -> Iterator[Text]:
        for file in sorted(self.files):
            if Path(file).suffix in SUFFIXES or file in OTHER_TEXTS:
                words = (self.root / file).read_text(encoding="utf-8")
                yield Text(file, _prose(words, self.tree(file)) if fnmatch(file, "tests/*.py") else words)

    def exists(self, path: str, beside: str = "") -> bool:
        """Whether a path (with * perhaps) is a file or folder: from the root, from a document, or as the end of one."""
        path = path.rstrip("/")
        here, paths = _normal(Path(beside).parent / path), self.files | self.folders
        if not paths.isdisjoint((path, here)):
            return True
        return any(fnmatch(known, path) or fnmatch(known, here) or fnmatch(known, f"*/{path}") for known in paths)

    def module(self, dotted: str) -> str | None:
        """The file or folder of an import name, or None."""
        parts = dotted.split(".")
        for k in range(len(parts), 0, -1):
            folder = self.package_dir.get(".".join(parts[:k]))
            if folder is not None:
                path = "/".join([folder, *parts[k:]])
                return next((p for p in (f"{path}.py", path) if p in self.files or p in self.folders), None)
        return None

    def _tree(self, file: str) -> ast.Module:
        return ast.parse((self.root / file).read_text(encoding="utf-8"))

    def _names(self, file: str) -> dict[str, frozenset[str] | None]:
        """Names that the top of a Python file binds; of a class also its members."""
        if file in self.folders:
            file = f"{file}/__init__.py"
        if file not in self.files:
            return {}
        return _bound(self.tree(file).body)

    def _anywhere(self, file: str) -> frozenset[str]:
        """Names of functions, classes and variables anywhere in a Python file."""
        nodes = list(ast.walk(self.tree(file)))
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        names = {node.name for node in nodes if isinstance(node, defined)}
        return frozenset(names | {node.id for node in nodes if isinstance(node, ast.Name)})

    def _tests(self) -> frozenset[str]:
        """Names of tests and of their files."""
        files = [f for f in self.files if fnmatch(f, "tests/*.py")]
        return frozenset(Path(f).stem for f in files).union(*(self.names(f) for f in files))

    def _written(self) -> frozenset[str]:
        """Files named between quotes in the product's code, without suffix: what a run may leave somewhere."""
        code = [f for f in self.files if f.endswith(".py") and not f.startswith("tests/")]
        words = "\n".join((self.root / f).read_text(encoding="utf-8") for f in code)
        return frozenset(re.findall(r"\"([\w-]+)\.(?:md|png|\{\w+\})\"", words))


def commands_of(group: Any, name: str = "") -> dict[str, frozenset[str]]:
    """Options of a click group and of all commands below it, by their words: 'compare', 'train rl'."""
    options = {option for each in group.params for option in (*each.opts, *each.secondary_opts)}
    found = {name: frozenset(options | {"--help", "-h"})}
    for word, command in getattr(group, "commands", {}).items():
        found |= commands_of(command, f"{name} {word}".strip())
    return found


# ---- checks: each yields what one text refers to in vain


def unreachable(text: Text, _: Repository) -> Iterator[Finding]:
    for match in UNREACHABLE.finditer(text.words):
        yield text.finding(match.start(), f"{match[0]!r}: no reader can look it up; give the reason or a public source")


def unfinished(text: Text, _: Repository) -> Iterator[Finding]:
    for match in UNFINISHED.finditer(text.words):
        yield text.finding(match.start(), f"{match[0]}: finish it")
    if text.file.endswith(".md"):
        for match in EMPTY_CELL.finditer(text.words):
            yield text.finding(match.start(1), f"{match[1]}: a cell that was never filled in")


def paths(text: Text, repo: Repository) -> Iterator[Finding]:
    """Paths into folders of the repository, names of documents and scripts, and names in a script, after a colon."""
    for match in PATH.finditer(text.words):
        path, name = match[1].rstrip(".,"), match[2]
        top = path.split("/")[0]
        if not (top == ".." or ("/" in path and top in repo.folders) or path.endswith((".md", ".py", ".png"))):
            continue
        if text.words[match.end() :].startswith("$"):  # a variable follows
            continue
        if top == "results" or path.split(".")[0] in repo.written() or STAND_IN.search(path):
            continue  # what a run writes, or any name
        if not repo.exists(path, text.file):
            yield text.finding(match.start(), f"{path}: no such file or folder")
        elif name and path.endswith(".py"):
            files = [f for f in repo.files if f == path or f.endswith(f"/{path}")]
            if not any(name.split(".")[-1] in repo.anywhere(f) for f in files):
                yield text.finding(match.start(), f"{path}: {name}: no such name in it")


def links(text: Text, repo: Repository) -> Iterator[Finding]:
    """Targets of Markdown links: files, and headings after #."""
    if not text.file.endswith(".md"):
        return
    for match in LINK.finditer(text.words):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = _normal(Path(text.file).parent / path) if path else text.file
        if path and file not in repo.files | repo.folders:
            yield text.finding(match.start(), f"link to {target}: no such file")
        elif heading:
            words = text.words if not path else (repo.root / file).read_text(encoding="utf-8")
            if heading not in _anchors(words):
                yield text.finding(match.start(), f"link to {target}: no such heading")


def modules_run(text: Text, repo: Repository) -> Iterator[Finding]:
    """Modules that are run with `python -m` exist and do something when run."""
    for match in RUN_MODULE.finditer(text.words):
        parent, _, last = match[1].rpartition(".")
        if last.isupper() and repo.module(parent):  # a word that stands for any of them
            continue
        file = repo.module(match[1])
        if file is None:
            yield text.finding(match.start(), f"python -m {match[1]}: no such module")
        elif file in repo.folders and f"{file}/__main__.py" not in repo.files:
            yield text.finding(match.start(), f"python -m {match[1]}: a package without __main__.py")
        elif file in repo.files and "__main__" not in (repo.root / file).read_text(encoding="utf-8"):
            yield text.finding(match.start(), f"python -m {match[1]}: does nothing when run")


def names(text: Text, repo: Repository) -> Iterator[Finding]:
    """Dotted names below `nextone`, entry points, and what is imported from there."""
    for match in DOTTED.finditer(text.words):
        dotted = f"nextone{match[1]}" + (f".{match[2]}" if match[2] else "")
        parent, _, last = dotted.rpartition(".")
        stands_in = last.isupper() and len(last) > 1 and repo.module(parent) in repo.folders
        if not stands_in and not _resolves(dotted, repo):
            yield text.finding(match.start(), f"{match[0]}: no such module or name")
    for match in IMPORT.finditer(text.words):
        for each in match[2].split(","):
            name = each.split(" as ")[0].strip()
            if name and not _resolves(f"{match[1]}.{name}", repo):
                yield text.finding(match.start(), f"from {match[1]} import {name}: no such name")


def tests_named(text: Text, repo: Repository) -> Iterator[Finding]:
    """A word between backticks that begins with test_ is a test or a file of tests."""
    for match in TEST.finditer(text.words):
        if match[1] not in repo.tests():
            yield text.finding(match.start(), f"{match[1]}: no such test")


def commands(text: Text, repo: Repository) -> Iterator[Finding]:
    """`nextone COMMAND --option` between backticks, in blocks of code, and in messages where an option follows."""
    for offset, words in [*_quoted(text.words, "nextone "), *_code_lines(text, "nextone (?=[a-z-])")]:
        yield from (text.finding(offset, what) for what in _wrong_command(words, repo.commands))
    known = "|".join(sorted((c for c in repo.commands if c), key=len, reverse=True))
    for match in re.finditer(rf"(?<!`)\bnextone (?:{known})(?: --[a-z-]+)+", text.words):
        yield from (text.finding(match.start(), what) for what in _wrong_command(match[0], repo.commands))


def targets(text: Text, repo: Repository) -> Iterator[Finding]:
    """`make TARGET` between backticks and in blocks of code."""
    for offset, words in [*_quoted(text.words, "make "), *_code_lines(text, "(?:exec )?make ")]:
        for target in re.findall(r"(?<=make )[a-z][\w-]*", words)[:1]:
            if target not in repo.targets:
                yield text.finding(offset, f"make {target}: no such target")


CHECKS: tuple[Callable[[Text, Repository], Iterator[Finding]], ...] = (
    unreachable, unfinished, paths, links, modules_run, names, tests_named, commands, targets,
)  # fmt: skip


def findings(text: Text, repo: Repository) -> list[Finding]:
    """All that one text refers to in vain, by line."""
    return sorted({finding for check in CHECKS for finding in check(text, repo)})


# ---- parts of the above


def _files(root: Path) -> Iterator[str]:
    """Files below root, as paths from it, but for what .gitignore names and folders with a dot (but .ci)."""
    ignored = [line.strip().strip("/") for line in (root / ".gitignore").read_text().split()]

    def below(folder: Path) -> Iterator[str]:
        for path in sorted(folder.iterdir()):
            name = path.relative_to(root).as_posix()
            if any(fnmatch(path.name, rule) or fnmatch(name, rule) for rule in ignored) or path.is_symlink():
                continue
            if path.is_file():
                yield name
            elif path.name == ".ci" or not path.name.startswith("."):
                yield from below(path)

    return below(root)


def _make_targets(makefile: Path) -> frozenset[str]:
    rules = re.findall(r"^([\w -]+):(?!=)", makefile.read_text(), re.M) if makefile.exists() else []
    return frozenset(name for rule in rules for name in rule.split())


def _prose(code: str, tree: ast.Module) -> str:
    """Docstrings and comments of Python code, each on its line; the rest is blank."""
    lines = code.split("\n")
    kept = [""] * len(lines)
    for node in _statements(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            kept[node.lineno - 1 : node.end_lineno] = lines[node.lineno - 1 : node.end_lineno]
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            kept[token.start[0] - 1] = token.string
    return "\n".join(kept)


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a module, class or function, and theirs."""
    for each in getattr(node, "body", []):
        yield each
        yield from _statements(each)


def _bound(body: list[ast.stmt]) -> dict[str, frozenset[str] | None]:
    found: dict[str, frozenset[str] | None] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = frozenset(_bound(node.body))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name] = None
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(each.asname or each.name).split(".")[0]: None for each in node.names}
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For)):
            found |= _bound([*node.body, *getattr(node, "orelse", [])])
        else:
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            found |= {n.id: None for n in stored}
    return found


def _resolves(dotted: str, repo: Repository) -> bool:
    parts = dotted.split(".")
    for k in range(len(parts), 0, -1):
        file = repo.module(".".join(parts[:k]))
        if file is None:
            continue
        rest, bound = parts[k:], repo.names(file)
        if not rest:
            return True
        if rest[0] not in bound:
            return rest[0] in ("__file__", "__path__", "__name__", "__doc__")
        members = bound[rest[0]]
        return len(rest) == 1 or members is None or rest[1] in members
    return False


def _quoted(words: str, start: str) -> Iterator[tuple[int, str]]:
    """(offset, what stands between backticks) where it begins like that; a line break in it is a blank."""
    for match in QUOTED.finditer(words):
        if match[1].startswith(start):
            yield match.start(1), re.sub(r"\n\s*#?\s*", " ", match[1])


def _code_lines(text: Text, start: str) -> Iterator[tuple[int, str]]:
    """(offset, line) in fences, in blocks indented by four, in shell files and TOML; in a module's docstring."""
    offset, fenced, block, before, words = 0, False, False, "", text.words
    if text.file.endswith(".py"):
        offset, words = 3, words.split('"""')[1] if words.startswith('"""') else ""
    for line in re.sub(r"\\\n", "\\\\\f", words).split("\n"):  # a continued line is one; lines keep their offsets
        indented = line.startswith("    ")
        block = indented and (block or not before.strip())
        if line.lstrip().startswith("```"):
            fenced = not fenced
        command = line.replace("\\\f", " ").strip().removeprefix("$ ")
        if text.file.endswith(".toml"):
            command = command.removeprefix("# ")
        shell = not text.file.endswith((".md", ".py"))
        if (fenced or block or shell) and re.match(start, command):
            yield offset + len(line) - len(line.lstrip()), command
        offset, before = offset + len(line) + 1, line


def _wrong_command(words: str, known: dict[str, frozenset[str]]) -> Iterator[str]:
    try:
        tokens = shlex.split(words, comments=True)[1:]
    except ValueError:  # a quote that the text never closes
        tokens = words.split()[1:]
    command = ""
    while tokens and f"{command} {tokens[0]}".strip() in known:
        command = f"{command} {tokens.pop(0)}".strip()
    is_group = any(other.startswith(f"{command} ".lstrip()) for other in known if other != command)
    if is_group and tokens and not tokens[0].startswith(("-", "...", "…")):
        if not re.fullmatch(r"[A-Z]+", tokens[0]):  # capitals stand for any command
            yield f"nextone {command} {tokens[0]}".replace("  ", " ") + ": no such command"
        return
    for token in tokens:
        if token in ("|", ">", ">>", "&&", ";", "2>"):
            return
        option = re.match(r"--[a-z][\w-]*|-[a-z]\b", token)
        if option and option[0] not in known[command]:
            yield f"nextone {command} {option[0]}".replace("  ", " ") + ": no such option"


def _anchors(words: str) -> set[str]:
    headings = re.findall(r"^#+ +(.+?) *$", words, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _normal(path: Path) -> str:
    """A path from the root without `..`; one that leaves the root keeps it."""
    parts: list[str] = []
    for part in path.as_posix().split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or "."
