"""Runs notebooks/NAME.py and keeps it with its outputs as docs/notebooks/NAME.ipynb, for each NAME: `make notebooks`.

A notebook runs in an empty folder, so that it leaves nothing behind. Outputs that name this machine's folders are
refused. Cells and outputs are kept; what changes from run to run (times, ids) is not.
"""

import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "notebooks"
LONGEST_S = 600


def executed(source: Path) -> nbformat.NotebookNode:
    """The notebook of a script, run from its first cell to its last."""
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=LONGEST_S, resources={"metadata": {"path": folder}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop("image/jpeg", None)  # the same picture stands there as PNG
    notebook.metadata.pop("jupytext", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main(names: list[str]) -> None:
    for name in names:
        text = nbformat.writes(executed(SOURCES / f"{name}.py"))
        if str(HERE.parents[1]) in text or tempfile.gettempdir() + "/" in text:
            raise SystemExit(f"{name}: an output names a folder of this machine; print less of the path")
        (HERE / f"{name}.ipynb").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
