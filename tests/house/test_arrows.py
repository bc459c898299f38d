"""Which part may import which, and what nobody may use; read from the source, nothing is imported."""

import ast
import tomllib
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("sim", "envs", "policies", "experiments", "nextone")
FILES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

# By top folder: sim <- envs.features <- policies <- experiments <- nextone, and envs.features <- envs <- experiments.
# `envs.features` and `version` are single files that others may import, too.
MAY_IMPORT = {
    "sim": {"sim"},
    "envs": {"sim", "envs", "envs.features"},
    "policies": {"sim", "policies", "envs.features"},
    "experiments": {"sim", "envs", "envs.features", "policies", "experiments", "version"},
    "nextone": {"sim", "envs", "envs.features", "policies", "experiments", "version", "nextone"},
}
PEOPLE = "experiments/fitting/people/figures.py"  # figures of a log share nothing with those of a comparison
GALLERY = ("experiments/output/drawing.py", "experiments/questions/figures.py",
           "experiments/questions/headroom_shown.py", "experiments/questions/must_be_true_shown.py",
           "experiments/output/report/figures.py")  # fmt: skip
# Package: the places it may be imported in, a folder or a file. Training code lives in experiments/training/.
ONLY_IN = {
    "simpy": ("sim/event_run.py", "experiments/speed/parts.py"),  # the bench times SimPy alone
    "gymnasium": ("envs/", "experiments/training/", "nextone/__init__.py"),  # there only to register our ids
    "stable_baselines3": ("envs/", "experiments/training/", "experiments/speed/training.py"),
    "sb3_contrib": ("envs/", "experiments/training/", "experiments/speed/training.py"),
    "torch": ("policies/", "experiments/training/", "experiments/speed/training.py"),
    # the phone's screen needs text; landscape.py, timeline.py and answers.py name the type of a figure
    "matplotlib": ("envs/canvas.py", "experiments/output/figures.py", "experiments/output/report/landscape.py",
                   "experiments/output/timeline.py", "nextone/answers.py", PEOPLE, *GALLERY),
    "seaborn": ("experiments/output/figures.py", PEOPLE, *GALLERY),
    "onnxruntime": ("policies/phone/engines.py",),
    "MNN": ("policies/phone/engines.py",),
    "ai_edge_litert": ("policies/phone/engines.py",),
    "litert_torch": ("policies/phone/engines.py",),
    "typer": ("nextone/cli/",),
    "ray": ("experiments/runs/on_ray.py",),
    "dash": ("experiments/output/dashboard/page/", "nextone/cli/dashboard.py"),
    "flask": ("experiments/output/dashboard/page/",),
    "werkzeug": ("experiments/output/dashboard/page/",),
    "torchrl": ("envs/playing.py",),
    "tensordict": ("envs/playing.py",),
    "d3rlpy": ("experiments/training/edge/datasets.py",),
    "minari": ("experiments/training/edge/datasets.py",),
}
NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp"}
# Global randomness: all draws are keyed. `default_rng` has state too, and is left to tests and the data scripts.
SCRIPTS = {Path("sim/data/derive.py"), Path("experiments/fitting/people/calibrate.py")}
ONLY_LOOKS = {Path("envs/checker/check.py")}  # reads the global state, to find environments that use it


@cache
def tree(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def module_of(path):
    """`nextone.sim.data` for sim/data/__init__.py, the import name of a file of the product."""
    parts = path.with_suffix("").parts
    return ".".join([*(() if parts[0] == "nextone" else ("nextone",)), *parts]).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports_in(code, path):
    """(line, dotted name) of every import in the code of a file, relative ones resolved to `nextone.*`. Those inside
    functions count, and those for types only: a reader who follows a type goes in a circle as well."""
    package = module_of(path).split(".")[: None if path.name == "__init__.py" else -1]
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


@cache
def imports(path):
    return tuple(imports_in(tree(path), path))


def room(name):
    """`sim`, `envs.features`, ... for an import name; "bare sim" for a folder without `nextone.`; None for a package
    that is not ours."""
    parts = name.split(".")
    if parts[0] in FOLDERS[:4]:
        return "bare " + parts[0]
    if parts[0] != "nextone":
        return None
    if parts[1:3] == ["envs", "features"]:
        return "envs.features"
    return parts[1] if parts[1:2] and parts[1] in {*FOLDERS[:4], "version"} else "nextone"


def allowed(path, name):
    target = room(name)
    if room(module_of(path)) == "envs.features":
        return target in {None, "sim", "envs.features"}
    return target is None or target in MAY_IMPORT[path.parts[0]]


def file_of(name, modules):
    """The longest beginning of a dotted name that is one of the modules; None for what is not ours."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def cycle(graph):
    """Names of a cycle in {module: modules it imports}, first and last the same; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]  # the sorter lists who is imported before who imports
    return []


def test_no_files_import_each_other():
    """The tree as a whole: a file can be read without those above it. Importing from a package counts as importing its
    `__init__` only for what stands there."""
    graph = {module: {file_of(name, MODULES) for _, name in imports(path)} for module, path in MODULES.items()}
    assert not cycle({module: targets - {None, module} for module, targets in graph.items()})


@pytest.mark.parametrize("path", FILES, ids=str)
def test_arrows_between_packages(path):
    wrong = [f"{path}:{line}: {name}" for line, name in imports(path) if not allowed(path, name)]
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=str)
def test_packages_stay_in_their_place(path):
    wrong = []
    for line, name in imports(path):
        package = name.split(".")[0]
        places = ONLY_IN.get(package)
        if package in NEVER or (places and not str(path).startswith(places)):
            wrong.append(f"{path}:{line}: {name}")
    assert not wrong


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def forbidden(call):
    name = dotted(call.func)
    if name in {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load"}:
        return True
    if name.split(".")[-1] == "load" and any(k.arg == "allow_pickle" for k in call.keywords):
        return True
    module, _, function = name.rpartition(".")
    return module in {"np.random", "numpy.random", "random"} and function not in {"Philox", "Generator", "SeedSequence"}


@pytest.mark.parametrize("path", [path for path in FILES if path not in SCRIPTS | ONLY_LOOKS], ids=str)
def test_no_code_from_data_and_no_global_randomness(path):
    wrong = [
        f"{path}:{node.lineno}: {dotted(node.func)}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and forbidden(node)
    ]
    assert not wrong
    assert not [name for _, name in imports(path) if name == "random" or name.startswith("random.")]


def test_package_markers_import_nothing():
    """So that importing a file loads what that file imports, and no more. `nextone` itself names its public names."""
    for path in FILES:
        if path.name == "__init__.py" and path.parent not in (Path("nextone"), Path("sim/data")):
            assert not list(imports(path)), path


def test_every_folder_of_code_is_installed():
    """pyproject.toml lists packages by hand; one that it lacks is missing from a wheel, and from nothing else."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted({module_of(path.parent / "__init__.py") for path in FILES})
    assert all(path.parent / "__init__.py" in FILES for path in FILES)


def test_no_folder_and_no_file_is_too_large_to_find_ones_way_in():
    """25 files of code in a folder, 400 lines in a file, also of tests. sim/config.py is a table of numbers."""
    others = [path.relative_to(ROOT) for folder in ("tests", "notebooks") for path in (ROOT / folder).rglob("*.py")]
    folders = Counter(path.parent for path in FILES + others)
    assert not {str(folder): files for folder, files in folders.items() if files > 25}
    lines = {str(path): (ROOT / path).read_text(encoding="utf-8").count("\n") for path in FILES + others}
    assert not {path: n for path, n in lines.items() if n > 400 and path != "sim/config.py"}


@pytest.mark.parametrize(
    ("path", "name", "fine"),
    [
        ("sim/pool.py", "nextone.envs.features.observe", False),
        ("sim/pool.py", "nextone.sim.config.Scenario", True),
        ("policies/networks/kir/network.py", "nextone.envs.features.FEATURES", True),
        ("policies/networks/kir/network.py", "nextone.envs.vector.Env", False),
        ("policies/networks/kir/network.py", "nextone.experiments.runs.metrics", False),
        ("envs/features.py", "nextone.envs.vector.Env", False),
        ("envs/vector.py", "nextone.envs.features.observe", True),
        ("envs/vector.py", "nextone.policies.networks.kir.network", False),
        ("experiments/x.py", "nextone.policies.networks.kir.network", True),
        ("experiments/fitting/logs/x.py", "nextone.version.__version__", True),
        ("experiments/fitting/logs/x.py", "nextone.cli.main.main", False),
        ("experiments/x.py", "nextone.Scenario", False),
        ("envs/checker/x.py", "nextone.envs.features.observe", True),
        ("envs/checker/x.py", "nextone.experiments.runs.compare", False),
        ("sim/engine/x.py", "nextone.version.SEMANTICS", False),
        ("nextone/cli/x.py", "nextone.experiments.runs.compare", True),
        ("nextone/cli/x.py", "experiments.compare", False),
        ("sim/pool.py", "sim.config", False),
        ("sim/pool.py", "numpy.int64", True),
    ],
)
def test_the_rule_itself_by_hand(path, name, fine):
    assert allowed(Path(path), name) is fine


def test_names_of_imports_by_hand():
    code = ast.parse(
        "import numpy.typing\nfrom . import near\nfrom .file import name\n"
        "if TYPE_CHECKING:\n    from ..above import Type\ndef f():\n    from ...sim.pool import join\n"
    )
    deep = ["numpy.typing", "nextone.experiments.fitting.near", "nextone.experiments.fitting.file.name",
            "nextone.experiments.above.Type", "nextone.sim.pool.join"]  # fmt: skip
    assert sorted(name for _, name in imports_in(code, Path("experiments/fitting/x.py"))) == sorted(deep)
    package = {name for _, name in imports_in(ast.parse("from . import near"), Path("experiments/fitting/__init__.py"))}
    assert package == {"nextone.experiments.fitting.near"}
    assert module_of(Path("nextone/cli/main.py")) == "nextone.cli.main"
    assert file_of("nextone.sim.pool.join", MODULES) == "nextone.sim.pool"
    assert file_of("numpy.typing", MODULES) is None


def test_cycles_by_hand():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert cycle({"a": {"b"}, "b": {"a"}}) in (["a", "b", "a"], ["b", "a", "b"])
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}})) == {"b", "c", "d"}


def test_the_ban_itself_by_hand():
    for text in ("np.random.seed(1)", "eval(x)", "torch.load(p)", "np.load(p, allow_pickle=True)", "random.random()",
                 "numpy.random.default_rng(0)"):  # fmt: skip
        assert forbidden(ast.parse(text).body[0].value), text
    for text in ("np.random.Philox(key=1)", "re.compile(p)", "json.load(f)", "rng.random()"):
        assert not forbidden(ast.parse(text).body[0].value), text


def written_params(code, of_own):
    """Lines that assign to an entry of `world.params`, or of a variable `params` where `of_own`."""
    targets = [
        target
        for node in ast.walk(code)
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return [
        target.lineno
        for target in targets
        if isinstance(target, ast.Subscript)
        and (dotted(target.value).endswith(".params") or (of_own and dotted(target.value) == "params"))
    ]


def test_one_file_writes_the_parameters_of_a_run():
    """Elsewhere a variable `params` may be a record that no world has: a fit tries values."""
    writers = {str(path) for path in FILES if written_params(tree(path), path.parts[0] == "sim")}
    assert writers == {"sim/world.py"}
    code = ast.parse('params["edge"] = 1\nx = world.params["edge"]\nw.params["quiet"] += 2')
    assert (written_params(code, True), written_params(code, False)) == ([1, 3], [3])
