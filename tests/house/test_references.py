"""Whatever a text of the repository refers to exists: for every text, and by hand for each kind of dead end."""

from pathlib import Path

import pytest
import typer
from references import Repository, Text, commands_of, findings

from nextone.cli.main import app

ROOT = Path(__file__).parents[2]
COMMANDS = commands_of(typer.main.get_command(app))


@pytest.fixture(scope="module")
def repository() -> Repository:
    return Repository(ROOT, COMMANDS)


def test_every_reference_leads_somewhere(repository: Repository) -> None:
    texts = {text.file: text for text in repository.texts()}
    assert {"README.md", "Makefile", ".ci/run", "docs/design.md", "sim/config.py", "tests/envs/faults.py"} <= set(texts)
    dead = [str(finding) for text in texts.values() for finding in findings(text, repository)]
    assert not dead, "\n".join(["", *dead])


# ---- by hand


DEAD = [
    ("docs/x.md", 1, "see goal 33", "'goal 33'"),
    ("docs/x.md", 1, "Goals 17 and 18", "'Goals 17'"),
    ("sim/x.py", 1, "A = 1  # (issue 2)", "'issue 2'"),
    ("sim/x.py", 1, "A = 1  # issues #5", "'issues #5'"),
    ("sim/x.py", 1, "# as the issue asks", "'the issue'"),
    ("sim/x.py", 1, 'number(3, "videos", "Assumed: architecture")', "'Assumed: architecture'"),
    ("tests/test_x.py", 1, "# targets.json: 3", "'targets.json'"),
    ("docs/x.md", 1, "in /home/somewhere", "'/home/somewhere'"),
    ("sim/x.py", 1, "A = 1  # Source: calibration.md, section 3", "calibration.md: no such file"),
    ("tests/test_x.py", 1, '"""As reliability.md asks."""', "reliability.md: no such file"),
    ("README.md", 1, "| speed | 60 s | SPEED_S |\n", "SPEED_S: a cell"),
    ("README.md", 1, "| speed | **NOT_YET_KNOWN** | 1 |\n", "NOT_YET_KNOWN: a cell"),
    ("experiments/x.py", 1, "# TODO: more", "TODO"),
    ("docs/x.md", 1, "FIXME", "FIXME"),
    ("docs/x.md", 1, "`experiments/no_such_file.py`", "experiments/no_such_file.py: no such file"),
    ("docs/x.md", 1, "`experiments/no_such_folder/`", "experiments/no_such_folder/: no such file"),
    ("docs/x.md", 1, "as docs/no-such-page.md says", "docs/no-such-page.md: no such file"),
    ("docs/x.md", 1, "docs/no*such.md", "docs/no*such.md: no such file"),
    ("sim/x.py", 1, '"""Called by `no_such_file.py`."""', "no_such_file.py: no such file"),
    ("sim/data/x.md", 1, "../../../data", "../../../data: no such file"),
    ("pyproject.toml", 1, '"envs/no_such*.py" = ["T20"]', "envs/no_such*.py: no such file"),
    ("docs/x.md", 1, "`sim/config.py: no_such_name`", "sim/config.py: no_such_name: no such name"),
    ("docs/x.md", 1, "`test_references.py::test_no_such`", "test_references.py: test_no_such: no such name"),
    ("docs/x.md", 1, "`test_no_such_thing`", "test_no_such_thing: no such test"),
    ("docs/x.md", 1, "[here](no-such-page.md)", "link to no-such-page.md: no such file"),
    ("README.md", 1, "![a](docs/no-such.png)", "link to docs/no-such.png: no such file"),
    ("docs/x.md", 1, "[here](../README.md#no-such-heading)", "link to ../README.md#no-such-heading: no such heading"),
    ("docs/x.md", 2, "# One\n[here](#two)", "link to #two: no such heading"),
    ("docs/x.md", 1, "`python -m nextone.experiments.no_such`", "nextone.experiments.no_such: no such module"),
    ("docs/x.md", 1, "`python -m nextone.sim.config`", "python -m nextone.sim.config: does nothing when run"),
    ("docs/x.md", 1, "`python -m nextone.sim`", "python -m nextone.sim: a package without __main__.py"),
    ("docs/x.md", 1, "`nextone.sim.no_such`", "nextone.sim.no_such: no such module or name"),
    ("docs/x.md", 1, "nextone.sim.config.no_such", "nextone.sim.config.no_such: no such module or name"),
    ("docs/x.md", 1, "nextone.sim.config.Scenario.no_such", "nextone.sim.config.Scenario.no_such: no such"),
    ("nextone/x.py", 1, 'entry_point="nextone.envs.single:NoSuch"', "nextone.envs.single:NoSuch: no such"),
    ("docs/x.md", 2, "```\nfrom nextone.sim.config import Scenario, NoSuch\n```", "import NoSuch: no such name"),
    ("docs/x.md", 1, "`nextone compere`", "nextone compere: no such command"),
    ("docs/x.md", 1, "`nextone train no-such`", "nextone train no-such: no such command"),
    ("docs/x.md", 1, "`nextone compare --polices random`", "nextone compare --polices: no such option"),
    ("docs/x.md", 2, "```bash\nnextone compare \\\n    --no-such=1\n```", "nextone compare --no-such: no such option"),
    ("docs/x.md", 3, "a\n\n    nextone compare --no-such  # `x`\n", "nextone compare --no-such: no such option"),
    ("docs/x.toml", 1, "# nextone sweep --no-such", "nextone sweep --no-such: no such option"),
    ("sim/x.py", 3, '"""A.\n\n    nextone run --no-such\n"""', "nextone run --no-such: no such option"),
    ("sim/x.py", 1, 'f"go on with nextone sweep --no-such {folder}"', "nextone sweep --no-such: no such option"),
    ("docs/x.md", 1, "`make no-such`", "make no-such: no such target"),
    (".ci/run", 1, "exec make no-such", "make no-such: no such target"),
]


@pytest.mark.parametrize(("file", "line", "words", "what"), DEAD, ids=[what for *_, what in DEAD])
def test_a_dead_end_is_found_at_its_line(repository: Repository, file: str, line: int, words: str, what: str) -> None:
    found = [str(finding) for finding in findings(Text(file, words), repository)]
    assert any(each.startswith(f"{file}:{line}: ") and what in each for each in found), found


ALIVE = [
    ("docs/x.md", "a goal, 33 issues, `README.md`, `design.md`, [page](design.md), [head](../README.md#two-commands)"),
    ("docs/x.md", "[far](https://example.org/no/such.md), https://x.org/no/such.md, `results/no/such.md`, `DIR/a.md`"),
    ("docs/x.md", "| `MAX_SIZE` | 1 | OK |\n"),
    ("docs/x.md", "`sim/*.py`, `sim/config.py: Scenario.params`, `docs/`, `nextone/NextOne-v0`, `test_references.py`"),
    ("docs/x.md", "`python -m nextone.experiments.fitting.people.claims FILE`, `python -m nextone.experiments.NAME`"),
    ("docs/x.md", "`nextone.sim.config.Scenario.params`, `nextone.__version__`, nextone.egg-info, `nextone.sim.data`"),
    ("docs/x.md", "```\nfrom nextone import Scenario, compare as c\nnextone compare --users=2 -h | less --no\n```"),
    (
        "docs/x.md",
        "`nextone train COMMAND --a`, `nextone train rl --out DIR`, `nextone\nscenario --show`, nextone runs",
    ),
    ("docs/x.md", "```\nnextone compare --arm 'x=random a.b=2' --json > x.json  # --no\n```\n`make test`, make up"),
    ("Makefile", "\t$(BIN)/nextone compare --out results/demo\n\t@$(MAKE) -j 2 lint\n"),
]


@pytest.mark.parametrize(("file", "words"), ALIVE)
def test_what_exists_is_not_reported(repository: Repository, file: str, words: str) -> None:
    assert findings(Text(file, words), repository) == []


def test_of_a_test_only_docstrings_and_comments_are_read(tmp_path: Path) -> None:
    code = '"""A page."""\nPATH = "docs/no-such.md"  # as docs/gone.md says\n\n\ndef f():\n    """docs/lost.md"""\n'
    repo = made_up(tmp_path, {"tests/test_x.py": code, "docs/a.md": ""}, {})
    found = [str(finding) for text in repo.texts() for finding in findings(text, repo)]
    assert [each.split(": no such")[0] for each in found] == [
        "tests/test_x.py:2: docs/gone.md", "tests/test_x.py:6: docs/lost.md"
    ]  # fmt: skip


def made_up(root: Path, files: dict[str, str], package_dir: dict[str, str]) -> Repository:
    """A repository of these files, with one ignored folder."""
    mapping = "".join(f'"{name}" = "{folder}"\n' for name, folder in package_dir.items())
    setup = f"[tool.setuptools.package-dir]\n{mapping}"
    for name, words in (files | {"pyproject.toml": setup, ".gitignore": "/results/\n*.egg-info\n"}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(words)
    return Repository(root, {"": frozenset()})


@pytest.mark.parametrize("listed", [{}, {"nextone.lab.runs": "lab/runs"}])
def test_modules_are_found_at_any_depth(tmp_path: Path, listed: dict[str, str]) -> None:
    run = 'LIMIT: int = 3\n\n\nclass Arm:\n    label = ""\n\n\nif __name__ == "__main__":\n    pass\n'
    repo = made_up(
        tmp_path, {"lab/runs/deep/go.py": run, "lab/runs/__init__.py": "", "results/a.md": "goal 1"},
        {"nextone": "nextone", "nextone.lab": "lab"} | listed,
    )  # fmt: skip
    assert repo.module("nextone.lab.runs.deep.go") == "lab/runs/deep/go.py"
    assert repo.module("nextone.lab.runs") == "lab/runs"
    assert repo.module("nextone.lab.go") is None
    words = "`nextone.lab.runs.deep.go.Arm.label` `nextone.lab.runs.deep.go.LIMIT` `python -m nextone.lab.runs.deep.go`"
    assert findings(Text("docs/x.md", words), repo) == []
    words = "`nextone.lab.runs.deep.go.Arm.size` `python -m nextone.lab.go`"
    assert [f.what for f in findings(Text("docs/x.md", words), repo)] == [
        "nextone.lab.go: no such module or name",
        "nextone.lab.runs.deep.go.Arm.size: no such module or name",
        "python -m nextone.lab.go: no such module",
    ]
    assert {text.file for text in repo.texts()} == {"lab/runs/deep/go.py", "lab/runs/__init__.py", "pyproject.toml"}
