"""The main jobs from Python: the answers' contract (sentences, frame, figure, HTML, files read back equal), the forms
in which worlds and policies are given, and the examples of the docstrings."""

import doctest
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import IPython
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

import nextone as nx
from nextone import api
from nextone.answers import _let_notebooks_draw, of_comparison
from nextone.cli.main import main
from nextone.experiments.fitting.logs.user_log import read_user_log
from nextone.experiments.fitting.people.fit_file import fit_path, load_fit
from nextone.experiments.output.figures import uplift_figure
from nextone.policies.checkpoint import CheckpointError, best_checkpoint, newest_checkpoint
from nextone.policies.phone.loading import load_edge
from nextone.policies.rl import load_rl
from nextone.sim.scenario import SettingError

TINY = {"catalogue.kind": "synthetic", "catalogue.videos": 300, "population.users": 20}
SMALL = {"minutes": 1, "engine": "batch", "workers": 1}


def first(observation):
    """A policy of a user's own: the pool's order."""
    return np.where(observation.mask, -np.arange(observation.mask.shape[1], dtype=np.float32), 0.0)


@pytest.fixture(scope="module")
def compared():
    return nx.compare({"cloud_only": "cloud_only", "<b>mine</b>": first}, TINY, **SMALL)


@pytest.fixture(scope="module")
def swept():
    return nx.sweep({"server.page_size": [2, 8]}, TINY, max_replications=10, **SMALL)


@pytest.fixture(scope="module")
def lived():
    return nx.timeline(scenario=TINY, minutes=1)


@pytest.mark.parametrize("name", ["compare", "sweep", "timeline"])
def test_the_examples_of_the_docstrings(name):
    found = doctest.DocTestFinder().find(getattr(api, name), name, globs={})
    runner = doctest.DocTestRunner()
    assert found[0].examples
    assert runner.run(found[0]) == (0, len(found[0].examples))


@pytest.mark.parametrize("which", ["compared", "swept", "lived"])
def test_what_is_saved_loads_back_equal(which, request, tmp_path):
    answer = request.getfixturevalue(which)
    assert all(path.is_file() for path in answer.save(tmp_path / "new"))
    assert nx.load(tmp_path / "new") == answer
    answer.plot(tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_another_number_is_another_answer(compared):
    values = compared.found.values.copy()
    values[1, 3] *= 1.01
    assert of_comparison(replace(compared.found, values=values)) != compared


def test_a_frame_is_tidy_and_says_its_units(compared, swept):
    frame = compared.frame()
    assert len(frame) == frame.groupby(["policy", "metric"]).ngroups == 2 * len(compared.found.metrics)
    units = frame.attrs["units"]
    assert (units["app_min"], units["diff_pct"]) == ("min/person", "% of the baseline's mean")
    frame = swept.frame()
    assert len(frame) == frame.groupby(["server.page_size", "policy", "metric"]).ngroups
    other = frame[(frame.metric == "requests") & (frame["server.page_size"] == 8)].iloc[0]
    assert other.vs_default_low <= other.vs_default_diff <= other.vs_default_high < 0  # larger pages, fewer requests


def test_a_notebook_shows_the_sentences_first_and_escapes_labels(compared):
    html = compared._repr_html_()
    assert html.index("time in the app") < html.index("<table>")
    assert "<b>mine" not in html
    assert "&lt;b&gt;mine&lt;/b&gt;" in html
    assert str(compared).startswith(compared.verdict[0][:60])


def test_a_notebook_draws_the_figure(compared, monkeypatch):
    nothing = SimpleNamespace(register=lambda event, what: None)
    shell, figure = SimpleNamespace(display_formatter=DisplayFormatter(), events=nothing), compared.plot()
    assert "image/png" not in shell.display_formatter.format(figure)[0]
    with monkeypatch.context() as patch:
        patch.setattr(IPython, "get_ipython", lambda: shell)
        _let_notebooks_draw()
    assert "image/png" in shell.display_formatter.format(figure)[0]


def test_worlds_and_policies_are_given_in_any_form(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[server]\npage_size = 3\n")
    pages = {name: api._world(given, None).server.page_size for name, given in (
        ("none", None), ("name", "kir"), ("text", str(file)), ("path", file), ("settings", {"server.page_size": 4}),
        ("words", {"server.page_size": "5"}), ("scenario", nx.with_settings(nx.Scenario(), ["server.page_size=7"])),
    )}  # fmt: skip
    assert pages == {"none": nx.Scenario().server.page_size, "name": 6, "text": 3, "path": 3, "settings": 4,
                     "words": 5, "scenario": 7}  # fmt: skip
    assert api._world({}, 30).population.users == api._world(nx.Scenario(), 30).population.users == 30
    assert api._world(nx.Scenario(), None, 400).population.users == 400
    with pytest.raises(SettingError, match="must be a Scenario, a name, a file or"):
        api._world(7, None)
    base = nx.Scenario()
    for given in ("random,cloud_only", ["random", "cloud_only"]):
        assert [arm.label for arm in api._arms(given, (), base)] == ["cloud_only", "random"]
    small = nx.parse_arm("small=cloud_only server.page_size=2", base)
    assert [arm.label for arm in api._arms(["random", small, first], (), base)] == ["random", "small", "first"]
    assert api._arms(None, ["small=cloud_only server.page_size=2"], base) == [small]
    assert [arm.label for arm in api._arms(None, (), base)][:2] == ["cloud_only", "tag_momentum"]


@pytest.mark.parametrize("page", ["python", "your-own-policy"])
def test_the_last_example_of_a_page(page, tmp_path, monkeypatch):
    """As it stands there, but for fewer people and a shorter window."""
    text = (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[-1]
    small = code.replace('"population.users": 100', '"population.users": 12')
    small = small.replace("minutes=10", "minutes=1, workers=1")
    assert small != code
    monkeypatch.chdir(tmp_path)
    exec(compile(small, page, "exec"), {"__name__": page})
    assert page != "python" or {each.name for each in (tmp_path / "results").iterdir()} == {"mine", "uplift.png"}


def test_files_and_folders_are_named_by_text(compared, tmp_path):
    """Whatever takes a Path takes its text."""
    named = str(tmp_path / "a.png")
    uplift_figure(compared.found, named)
    assert (tmp_path / "a.png").stat().st_size > 1000
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        newest_checkpoint(str(tmp_path))
    for load in (load_rl, best_checkpoint, lambda path: load_edge("kir", path)):
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            load(str(tmp_path))
    assert load_fit("kir") == load_fit(None)
    assert fit_path(str(tmp_path / "mine.toml")) == tmp_path / "mine.fit.json"


def test_a_run_is_written_as_a_log_that_is_large_enough_to_fit_people_to(tmp_path):
    """The command of docs/your-own-log.md, with fewer people."""
    file = tmp_path / "log.csv"
    world = ["--set", "catalogue.kind=synthetic", "--set", "catalogue.videos=3000"]
    assert main(["run", "--users", "110", "--engine", "batch", *world, "--as-log", str(file)]) == 0
    log = read_user_log(str(file))
    assert log.users >= 100 and len(log.user) >= 2000
    assert not [each for each in log.findings if "left out" in str(each)]
    assert main(["run", "--users", "110"]) == 2


def test_a_folder_without_an_answer_is_refused_in_one_line(tmp_path):
    with pytest.raises(SettingError, match=r"holds no answer; give a folder of \.save\(\)"):
        nx.load(tmp_path)
    (tmp_path / "comparison.parquet").write_bytes(b"x")
    with pytest.raises(SettingError, match=r"replications\.parquet.*cannot be read"):
        nx.load(tmp_path)
