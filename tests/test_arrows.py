"""Which part may import which, and what nobody may use; read from the source, nothing is imported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("sim", "envs", "policies", "experiments", "nextone")
FILES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

# sim <- envs.features <- policies <- experiments, and envs.features <- envs <- experiments
MAY_IMPORT = {
    "sim": {"sim"},
    "envs": {"sim", "envs"},
    "policies": {"sim", "policies", "envs.features"},
    "experiments": {"sim", "envs", "policies", "experiments"},
}
GALLERY = ("experiments/drawing.py", "experiments/what_if_figures.py", "experiments/report_figures.py")
# Package: the places it may be imported in, a folder or a file. Training code lives in experiments/train*.py.
ONLY_IN = {
    "simpy": ("sim/event_run.py",),
    "gymnasium": ("envs/", "experiments/train", "nextone/__init__.py"),  # there only to register our ids
    "stable_baselines3": ("envs/", "experiments/train"),
    "sb3_contrib": ("envs/", "experiments/train"),
    "torch": ("policies/", "experiments/train"),
    # people_figures: figures of a log share nothing with those of a comparison; the phone's screen needs text
    "matplotlib": ("experiments/figures.py", "experiments/people_figures.py", "envs/screen.py", *GALLERY),
    "seaborn": ("experiments/figures.py", "experiments/people_figures.py", *GALLERY),
    "onnxruntime": ("policies/engines.py",),
    "MNN": ("policies/engines.py",),
    "typer": ("nextone/cli",),
}
NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp"}
# Global randomness: all draws are keyed. `default_rng` has state too, and is left to tests and the data scripts.
SCRIPTS = {Path("sim/data/derive.py"), Path("experiments/calibrate.py")}
ONLY_LOOKS = {Path("envs/check.py")}  # reads the global state, to find environments that use it


def tree(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def imports(path):
    """(line, dotted name) of every import in a file, relative ones resolved to `nextone.*`; inside functions too."""
    package = ["nextone", *(p for p in path.parent.parts if p != "nextone")]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def own(name):
    """`envs.features` for `nextone.envs.features.observe`; None for what is not ours or a public name."""
    parts = name.split(".")
    if parts[0] in FOLDERS[:4]:
        return "bare " + parts[0]
    if parts[0] != "nextone" or len(parts) < 2 or parts[1] not in MAY_IMPORT:
        return None
    return "envs.features" if parts[1:3] == ["envs", "features"] else parts[1]


def allowed(path, name):
    folder, target = path.parts[0], own(name)
    if target is None or folder == "nextone":
        return target is None or not target.startswith("bare")
    if folder == "envs" and path.name == "features.py":
        return target in {"sim", "envs.features"}
    return target in MAY_IMPORT[folder] or (target == "envs.features" and "envs" in MAY_IMPORT[folder])


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
    for folder in FOLDERS[:4]:
        assert not list(imports(Path(folder, "__init__.py"))), folder


@pytest.mark.parametrize(
    ("path", "name", "fine"),
    [
        ("sim/pool.py", "nextone.envs.features.observe", False),
        ("sim/pool.py", "nextone.sim.config.Scenario", True),
        ("policies/kir.py", "nextone.envs.features.FEATURES", True),
        ("policies/kir.py", "nextone.envs.vector.Env", False),
        ("policies/kir.py", "nextone.experiments.metrics", False),
        ("envs/features.py", "nextone.envs.vector.Env", False),
        ("envs/vector.py", "nextone.envs.features.observe", True),
        ("envs/vector.py", "nextone.policies.kir", False),
        ("experiments/x.py", "nextone.policies.kir", True),
        ("sim/pool.py", "sim.config", False),
        ("sim/pool.py", "numpy.int64", True),
    ],
)
def test_the_rule_itself_by_hand(path, name, fine):
    assert allowed(Path(path), name) is fine


def test_the_ban_itself_by_hand():
    for text in ("np.random.seed(1)", "eval(x)", "torch.load(p)", "np.load(p, allow_pickle=True)", "random.random()",
                 "numpy.random.default_rng(0)"):  # fmt: skip
        assert forbidden(ast.parse(text).body[0].value), text
    for text in ("np.random.Philox(key=1)", "re.compile(p)", "json.load(f)", "rng.random()"):
        assert not forbidden(ast.parse(text).body[0].value), text
