"""The notebooks as a reader runs them, at a tiny size; and that they import and call, and define next to nothing."""

import ast
from pathlib import Path

import jupytext
import pytest

from nextone.experiments.output.report import landscape as report_landscape

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))
SYNTHETIC = "catalogue.kind=synthetic"
TINY = {
    "one_session": {"steps": 3, "settings": ["population.users=12", SYNTHETIC, "catalogue.videos=300"], "minutes": 30},
    "off_policy": {
        "people": 20, "few_people": 20, "minutes": 1, "target": "tag_momentum",
        "settings": [SYNTHETIC, "catalogue.videos=300", "sessions.leave_per_min=3"],
    },
    "page_size_and_ttl": {
        "people": 6, "minutes": 3, "replications": 10, "pages": "2,4", "ttls": "30,inf",
    },
    "training_a_policy": {
        "steps": 128, "envs": 4, "evaluation": (12, 1), "people": 6, "minutes": 3,
        "hyperparameters": {"n_steps": 16, "batch_size": 32, "n_epochs": 1},
    },
    "your_own_log": {"people": 110, "rows_each": 25, "simulated": 50, "rounds": 1},
    "your_own_policy": {"people": 6, "minutes": 3, "replications": 10},
}  # fmt: skip


def tiny(path, folder):
    """The notebook with its parameter cell followed by small values, as papermill does; files go to `folder`."""
    notebook = jupytext.read(path)
    places = [k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    assert len(places) == 1, "one cell is tagged parameters"
    values = dict(TINY[path.stem])
    names = {t.id for node in ast.walk(ast.parse(notebook.cells[places[0]].source)) if isinstance(node, ast.Name)
             and isinstance(node.ctx, ast.Store) for t in [node]}  # fmt: skip
    assert values.keys() <= names
    text = [f"{name} = {value!r}" for name, value in values.items()]
    if "out" in names:
        text.append(f"out = Path({str(folder)!r}) / out.name")
    notebook.cells[places[0]].source += "\n" + "\n".join(text)
    return notebook


def test_each_notebook_has_a_size_here():
    assert {path.stem for path in NOTEBOOKS} == set(TINY)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_as_a_script(path, tmp_path, monkeypatch, capsys):
    """All cells in order, in this process: IPython's `display` prints where there is no notebook."""
    code = jupytext.writes(tiny(path, tmp_path), fmt="py:percent")
    file = tmp_path / path.name
    file.write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report_landscape, "SHOWN", ())  # draw one metric: figures take seconds
    exec(compile(code, str(file), "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_runs_in_a_kernel_and_converts(tmp_path):
    """One of them in Jupyter's own kernel: text, a table and an image come out of its cells."""
    from nbclient import NotebookClient

    notebook = tiny(FOLDER / "one_session.py", tmp_path)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    kinds = {kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds
    text = jupytext.writes(notebook, fmt="ipynb")
    assert jupytext.reads(text, fmt="ipynb").cells[-1].outputs


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_imports_and_calls_only(path):
    """No function over ten lines, no class; every notebook survives a round trip through jupytext."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.ClassDef)
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 10
    notebook = jupytext.read(path)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    again = jupytext.reads(jupytext.writes(notebook, fmt="py:percent"), fmt="py:percent")
    assert [(c.cell_type, c.source) for c in again.cells] == [(c.cell_type, c.source) for c in notebook.cells]
