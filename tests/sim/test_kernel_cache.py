"""Compiled functions on disk: their key changes with the code and with nothing else, whatever the disk is like.

By hand, on small packages of a few lines, and on a copy of the real one; processes compile one function of one line.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from nextone.experiments.sweeps.sweep import RUNS_A_TASK
from nextone.sim.engine import kernel, kernel_cache, parts
from nextone.sim.engine.kernel_cache import KEPT, KernelCache, compiled_modules
from nextone.sim.engine.sources import code_digest, imported, package_files
from nextone.sim.watching import stay_logit

FILES = package_files()


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def copy_package(home, names):
    """Modules as they lie once installed, all inside `nextone/`."""
    for name in names:
        path = home.joinpath(*name.split(".")[1:])
        path = path / "__init__.py" if FILES[name].name == "__init__.py" else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FILES[name], path)


def key(home):
    files = package_files(home)
    return code_digest(files, compiled_modules(files))


def sweep_key(home):
    files = package_files(home)
    return code_digest(files, imported(files, [RUNS_A_TASK], late=True))


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    home = tmp_path_factory.mktemp("installed") / "nextone"
    copy_package(home, FILES)
    return home


def test_the_key_is_the_same_in_the_repository_and_installed(installed):
    assert package_files(installed).keys() == FILES.keys()
    assert key(installed) == code_digest(FILES, compiled_modules(FILES))
    assert sweep_key(installed) == code_digest(FILES, imported(FILES, [RUNS_A_TASK], late=True))


@pytest.mark.parametrize(
    ("old", "new", "key_changes", "sweep_changes"),
    [
        ("RATE_SCALE = 5.0", "RATE_SCALE = 4.0", True, True),
        ('catalogue_seed: int = number(\n        1, "",', 'catalogue_seed: int = number(\n        2, "",', True, True),
        ("the first 7,248 are the real ones", "of which some are real", False, False),
        ("Assumed: two weeks at 277 impressions", "Assumed: 14 days at 277 impressions", False, False),
        ("_digests[8:] = []", "_digests[9:] = []", False, True),  # of a run, and imported by nothing compiled
        ('"""Products of the residuals of every', '"""The products of residuals of every', False, False),
        ("k = 0  # gaps grow with j", "k = 0  # gaps only grow", False, False),
        ("k = 0  # gaps grow with j", "k = 1", True, False),  # no run imports people's facts
        ('help="Print the version."', 'help="Print it."', False, False),
        ('"""Run the command line; returns the exit code."""', "print(1)", False, False),
    ],
)  # fmt: skip
def test_what_changes_the_keys_of_the_package(installed, old, new, key_changes, sweep_changes):
    [file] = [file for file in installed.rglob("*.py") if old in file.read_text("utf-8")]
    before, text = (key(installed), sweep_key(installed)), file.read_text("utf-8")
    file.write_text(text.replace(old, new), "utf-8")
    try:
        after = key(installed), sweep_key(installed)
    finally:
        file.write_text(text, "utf-8")
    assert (after[0] != before[0], after[1] != before[1]) == (key_changes, sweep_changes)


BASE = {
    "__init__.py": "",
    "sim/__init__.py": '"""The world."""',
    "sim/engine/rows.py": '"""Rows."""\nROWS = 3\n"""How many."""\n\ndef f(x):\n    """Doc."""\n    return x\n',
    "sim/engine/kernel.py": f"from {kernel_cache.__name__} import kept_on_disk\n",
    "experiments/fitting/fast.py": "from nextone.sim.engine.kernel import kernel\nfrom . import helper\n",
    "experiments/fitting/helper.py": "from ..numbers import TWO\n",
    "experiments/numbers.py": "TWO = 2\n\ndef late():\n    from . import report\n",
    "experiments/output/report/report.py": "TITLE = 'a'\n",
    "experiments/broken.py": "def (",
    "cli/main.py": "from nextone.experiments.fitting.fast import kernel\nHELP = 1\n",
}


@pytest.mark.parametrize(
    ("name", "text", "changes"),
    [
        ("sim/engine/rows.py", BASE["sim/engine/rows.py"].replace("ROWS = 3", "ROWS = 4"), True),
        ("sim/engine/rows.py", '# rows\nROWS = 3\n"""So many."""\ndef f(x):\n    return (x)  # it\n', False),
        ("sim/engine/rows.py", "ROWS = 3\ndef f(x):\n    return -x\n", True),
        ("sim/engine/deep/down/new.py", "", True),
        ("envs/new.py", "", True),
        ("policies/networks/new.py", "", True),
        ("experiments/numbers.py", "TWO = 3\n\ndef late():\n    from . import report\n", True),
        ("experiments/fitting/helper.py", "from ..numbers import TWO\nX = 1\n", True),
        ("experiments/output/report/report.py", "TITLE = 'b'\n", False),
        ("experiments/broken.py", "def )", False),
        ("cli/main.py", "HELP = 2\n", False),
    ],
)
def test_what_changes_the_key_by_hand(tmp_path, name, text, changes):
    """Folders of any depth count, files imported by one that compiles as well; late imports and commands do not."""
    home = tmp_path / "nextone"
    write(home, {name: text for name, text in BASE.items() if not name.startswith("cli")})
    write(home, {"cli/main.py": "HELP = 1\n"})
    before = key(home)
    write(home, {name: text})
    assert (key(home) != before) is changes


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("1", "True"), ("'a'", "b'a'"), ("None", "...")])
def test_constants_of_other_types_are_other_code(tmp_path, one, other):
    keys = set()
    for value in (one, other):
        write(tmp_path, {"sim/x.py": f"X = {value}\n"})
        keys.add(key(tmp_path))
    assert len(keys) == 2


def test_a_name_for_type_checkers_is_no_import(tmp_path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import X\nelse:\n    from .c import X\n"
    write(tmp_path, {"experiments/a.py": text, "experiments/b.py": "", "experiments/c.py": ""})
    found = imported(package_files(tmp_path), ["nextone.experiments.a"], late=True)
    assert found == {"nextone.experiments.a", "nextone.experiments.c"}


NUMBAS = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "generated_jit"}
DECORATORS = {"allocating", "called", "compiled", "entry", "inlined", "kernel", "network_kernel", "part", "pasted"}


def words(node):
    """Names and attributes in a piece of code."""
    return {word.attr if isinstance(word, ast.Attribute) else getattr(word, "id", "") for word in ast.walk(node)}


def test_this_installation_uses_it():
    assert isinstance(stay_logit._cache, KernelCache)


def test_every_compiled_function_goes_through_this_cache():
    """Only `sim/engine/kernel.py` uses numba's decorators; whoever uses its own is in the key. `parts.py` compiles what
    Python calls alone, for the life of a process."""
    counted, found = compiled_modules(FILES), set()
    for name in FILES.keys() - {kernel.__name__, parts.__name__}:
        tree = ast.parse(FILES[name].read_bytes())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        used = {word for function in functions for decorator in function.decorator_list for word in words(decorator)}
        taken = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert not NUMBAS & (words(tree) | taken), name
        if used & DECORATORS:
            found.add(name)
    assert len(found) > 20
    assert found <= counted


# -- the disk ---------------------------------------------------------------------------------------------------------

TINY = """
from {kernel} import allocating
from .factor import FACTOR

@allocating
def times(x):
    '''FACTOR times x.'''
    return FACTOR * x
"""
CALL = """
from nextone.sim.tiny import times
print(times(2), sum(times.stats.cache_hits.values()))
"""


# Each line that it reads is [code, environment, folder, files for output]; a child runs it as a new process would.
STARTED = """
import json, os, sys, traceback
import numba
numba.njit(lambda x: x + 1)(1)
for line in sys.stdin:
    code, environment, folder, *outputs = json.loads(line)
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for stream, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.environ.clear(), os.environ.update(environment), os.chdir(folder)
    numba.config.reload_config()
    sys.path.insert(0, environment["PYTHONPATH"])
    sys.dont_write_bytecode = True
    try:
        exec(code, {"__name__": "__main__"})
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def started():
    """A process that has loaded numba, and nothing of ours, and compiled something: that takes most of the second that
    a process with one function needs. Others are forked from it."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", STARTED], stdin=pipe, stdout=pipe, text=True) as process:
        yield process


class Tiny:
    """A package with one compiled function, and processes that call it: times(2), and whether it was found on disk."""

    def __init__(self, folder, started):
        self.home, self.empty, self.cache = folder / "nextone", folder / "empty", folder / "cache"
        self.started, self.outputs = started, [folder / "out", folder / "err"]
        self.empty.mkdir()
        copy_package(self.home, imported(FILES, [kernel.__name__], late=False))
        write(self.home, {
            "__init__.py": "", "sim/tiny.py": TINY.format(kernel=kernel.__name__), "sim/factor.py": "FACTOR = 3\n"
        })  # fmt: skip

    def run(self, before="", call=CALL, **environment):
        """(what it printed, lines on standard error)."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
        env |= {"NUMBA_CACHE_DIR": str(self.cache), "PYTHONPATH": str(self.home.parent), "HOME": str(self.empty)}
        asked = [before + call, env | environment, str(self.empty), *map(str, self.outputs)]
        self.started.stdin.write(json.dumps(asked) + "\n")
        self.started.stdin.flush()
        failed = int(self.started.stdout.readline())
        out, err = (path.read_text() for path in self.outputs)
        assert not failed, err
        return out.strip(), err.splitlines()

    def block_the_place_beside_the_sources(self):
        """A file stands where the folder would be; permissions would not stop root."""
        where = kernel_cache.__name__.split(".")[1:-1]
        (self.home.joinpath(*where) / "__pycache__").write_text("")

    def only(self, pattern):
        [found] = self.cache.glob(pattern)
        return found


@pytest.fixture
def tiny(tmp_path, started):
    return Tiny(tmp_path, started)


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory, started):
    tiny = Tiny(tmp_path_factory.mktemp("tiny"), started)
    assert tiny.run() == ("6 0", [])
    assert tiny.run() == ("6 1", [])
    return tiny


def test_another_line_is_the_same_code_and_another_constant_is_not(tiny):
    assert tiny.run() == ("6 0", [])
    source = tiny.home / "sim" / "tiny.py"
    source.write_text("# A line more.\n" + source.read_text().replace("FACTOR times", "Three times"))
    assert tiny.run() == ("6 1", [])
    write(tiny.home, {"sim/factor.py": "FACTOR = 4\n"})
    assert tiny.run() == ("8 0", [])
    assert len(list(tiny.cache.iterdir())) == 2


def test_nothing_is_kept_of_sources_that_changed_since_they_were_read(tiny):
    edit = f"import nextone.sim.tiny\nopen({str(tiny.home / 'sim' / 'factor.py')!r}, 'w').write('FACTOR = 40')\n"
    assert tiny.run(edit) == ("6 0", [])
    assert tiny.run() == ("80 0", [])


def complained(tiny, words, before="", **environment):
    """The function was compiled, and one line on standard error says why."""
    printed, [line] = tiny.run(before, **environment)
    assert printed == "6 0" and words in line


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda data: data[: len(data) // 2], lambda data: flipped(data, 3),
     lambda data: flipped(data, len(data) // 2)],
    ids=["empty", "truncated", "bit of the checksum", "bit of the code"],
)  # fmt: skip
def test_damage_is_a_miss_with_one_line_and_is_mended(compiled_once, damage):
    file = compiled_once.only("kernels-*/times-*")
    file.write_bytes(damage(file.read_bytes()))
    complained(compiled_once, "damaged")
    assert compiled_once.run() == ("6 1", [])


def test_a_sound_file_that_cannot_be_understood_is_a_miss(compiled_once):
    file = compiled_once.only("kernels-*/times-*")
    kernel_cache._write(file, b"no object")
    complained(compiled_once, "damaged")


FULL = """
import errno, pathlib
def full(*_): raise OSError(errno.ENOSPC, "No space left on device")
pathlib.Path.write_bytes = full
"""
NOT_EVEN_TEMPORARY = "import tempfile\ntempfile.tempdir = '/proc/nowhere'\n"
UNKNOWN_USER = """
import os, pwd
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
del os.environ["HOME"]
"""


def test_a_full_disk(tiny):
    complained(tiny, "No space left on device", FULL)


def test_a_folder_that_cannot_be_made(tiny):
    complained(tiny, "/proc/nowhere", NUMBA_CACHE_DIR="/proc/nowhere")


def test_nothing_can_be_written(tiny):
    tiny.block_the_place_beside_the_sources()
    complained(tiny, "compiled at every start", NOT_EVEN_TEMPORARY, NUMBA_CACHE_DIR="", HOME="/nonexistent")


def test_an_unknown_user_without_home_has_a_private_folder_among_temporary_files(tiny):
    tiny.block_the_place_beside_the_sources()
    environment = {"NUMBA_CACHE_DIR": "", "TMPDIR": str(tiny.empty)}
    assert tiny.run(UNKNOWN_USER, **environment) == ("6 0", [])
    assert tiny.run(UNKNOWN_USER, **environment) == ("6 1", [])
    [folder] = tiny.empty.glob("nextone-*/kernels-*")
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700


def test_beside_the_sources_otherwise(tiny):
    assert tiny.run(NUMBA_CACHE_DIR="") == ("6 0", [])
    assert len(list(tiny.home.rglob("__pycache__/kernels-*/times-*"))) == 1
    assert not list(tiny.empty.iterdir())


@pytest.mark.parametrize("which", ["folder", "parent"])
def test_a_folder_that_others_may_write_to_is_not_used(tiny, which):
    assert tiny.run() == ("6 0", [])
    (tiny.only("kernels-*") if which == "folder" else tiny.cache).chmod(0o777)
    complained(tiny, "others may write there")


def test_folders_of_old_code_are_removed_but_for_the_last_used(tiny):
    now = time.time()
    for k in range(KEPT + 4):
        folder = tiny.cache / f"kernels-{k:016x}"
        write(folder, {"f": ""})
        used = now - 10 if k == 0 else now - 86_400 * k
        os.utime(folder, (used, used))
    write(tiny.cache, {"kernels-mine/f": "", "other/f": ""})
    assert tiny.run() == ("6 0", [])
    new = tiny.only("kernels-*/times-*").parent.name
    stay = {f"kernels-{k:016x}" for k in range(KEPT)}
    assert {path.name for path in tiny.cache.iterdir()} == {new, "kernels-mine", "other", *stay}


def test_a_folder_that_may_be_in_use_stays(tiny):
    for k in range(KEPT + 4):
        write(tiny.cache, {f"kernels-{k:016x}/f": ""})
    assert tiny.run() == ("6 0", [])
    assert len(list(tiny.cache.iterdir())) == KEPT + 5


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_a_command_that_computes_nothing_creates_nothing(tmp_path, argument):
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    script = f"import sys\nfrom nextone.cli.main import main\nmain([{argument!r}])\nassert 'numba' not in sys.modules"
    env = os.environ | places | {"PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True, cwd=tmp_path)
    assert not list(tmp_path.iterdir())
