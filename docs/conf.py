"""The documentation site: `make docs` builds build/docs/index.html from the pages of docs/, read without network.

Pages are Markdown (MyST). Tables of settings, metrics and policies are made from the code by docs/tables.py.
"""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
os.environ["NO_COLOR"] = "1"

from tables import TABLES, GeneratedTable

from nextone import __version__

project = "nextone"
author = "the nextone authors"
project_copyright = author
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["evidence/test-long.md", "evidence/mutants.md"]
"""Records of runs of the tests, for whoever changes the code: in the repository, but not pages of the site."""
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"nextone {__version__}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"footer_icons": []}

nb_execution_mode = "off"  # notebooks come with their outputs: `make notebooks`
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

default_role = "code"  # docstrings write `name` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True


def setup(app: Sphinx) -> None:
    """Adds a directive for each generated table: `settings-table`, `metrics-table` and so on."""
    for name, made in TABLES.items():
        app.add_directive(f"{name}-table", type(name, (GeneratedTable,), {"made": staticmethod(made)}))
