"""Ready-made what-ifs: every table can be asked; one is, at a tiny size, and its numbers are checked by hand."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextone.cli import main as cli
from nextone.experiments.ab.designs import save
from nextone.experiments.ab.trial import check_arms
from nextone.experiments.questions.answer import answer_table, arms, ask, ask_sweep, ask_test, sentences
from nextone.experiments.questions.figures import sweep_figure, what_if_figure
from nextone.experiments.questions.ready_made import NAMES, load, question_of
from nextone.experiments.questions.what_if import ABIf, SweepIf, WhatIf, along
from nextone.experiments.runs.arms import parse_arm
from nextone.experiments.runs.metrics import METRICS
from nextone.experiments.runs.statistics import mean_interval, paired
from nextone.experiments.sweeps.plan import Question, plan_of
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings

KNOWN = {metric.name for metric in METRICS}
SMALL = WhatIf(
    axis="page size",
    values=along("server.page_size", 2, 6),
    series={"cloud_only": "cloud_only", "random": "random"},
    usual="6",
    show=(("level", "requests"), ("change", "requests"), ("gain", "requests"), ("level", "stale_picks")),
    world="catalogue.kind=synthetic catalogue.videos=300 server.workers=3",
    users=8,
    minutes=4,
)


@pytest.fixture(scope="module")
def answer():
    return ask(SMALL, "How often does a phone ask?")


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_question_and_a_table(name):
    asked, question = load(name)
    module = import_module(f"nextone.experiments.questions.ready.{name}")
    assert question.endswith("?") and question == question_of(module.__doc__)
    assert "minute on 2 cores" in (said := " ".join(module.__doc__.split())) or "minutes on 2 cores" in said
    assert len(Path(module.__file__).read_text().splitlines()) <= 60
    if isinstance(asked, SweepIf):
        base = with_settings(Scenario(), [f"population.users={asked.users}"])
        assert plan_of(Question(grid=asked.grid, policies=asked.policies, minutes=asked.minutes), base).cells
        return
    if isinstance(asked, ABIf):
        base = with_settings(Scenario(), [f"population.users={asked.users}", *asked.world.split()])
        check_arms([parse_arm(text, base) for text in (asked.control, asked.treatment)])
        return
    made = arms(asked)
    assert made[0].label == f"{next(iter(asked.series))} at {asked.usual}"
    assert len({arm.label for arm in made}) == len(made) == len(asked.values) * len(asked.series)
    assert all(metric in KNOWN and kind in ("level", "change", "gain") for kind, metric in asked.show)
    worlds = {(arm.policy, arm.scenario.model_dump_json()) for arm in made}
    assert len(worlds) == len(made), "two arms are the same"


def test_no_file_in_the_folder_is_forgotten():
    import nextone.experiments.questions.ready as room

    tables = {file.stem for file in Path(next(iter(room.__path__))).glob("*.py")}
    assert tables == {*NAMES, "__init__"}


def test_levels_changes_and_gains_by_hand(answer):
    m = [metric.name for metric in METRICS].index("requests")
    values = {arm.label: block[:, m] for arm, block in zip(answer.result.arms, answer.result.values, strict=True)}
    small, usual, other = values["cloud_only at 2"], values["cloud_only at 6"], values["random at 2"]
    assert answer.level("2", "cloud_only", "requests") == mean_interval(small)
    assert answer.change("2", "cloud_only", "requests") == paired(usual, small)
    assert answer.change("2", "random", "requests") == paired(usual, other)
    assert answer.gain("2", "random", "requests") == paired(small, other)
    assert answer.gain("2", "cloud_only", "requests") is answer.change("6", "cloud_only", "requests") is None
    assert small.mean() > usual.mean()


def test_the_answer_says_what_a_series_gains_at_each_value(answer):
    (said,) = sentences(answer)
    assert said.startswith("random over cloud_only, time in the app: ") and " at 2" in said and "6" in said
    changes = replace(answer, asked=replace(answer.asked, show=(("change", "requests"),)))
    assert "random at 2" in sentences(changes, ("interests.intent_sd",))[0]
    assert "depend most on interests.intent_sd" in sentences(changes, ("interests.intent_sd",))[-1]


def test_table_and_figure(answer, tmp_path):
    table = answer_table(answer)
    assert table.row_count == 4 and len(table.columns) == 6
    assert "10 replications" in str(table.caption) and "seed 0" in str(table.caption)
    what_if_figure(answer, tmp_path / "small.png")
    pixels = np.asarray(Image.open(tmp_path / "small.png").convert("L"))
    assert pixels.shape[0] > 500 and pixels.min() < 100 and pixels.max() == 255


PAGES = SweepIf(
    grid=("server.page_size=2,6", "client.ttl_s=30,600"), policies=("cloud_only",),
    world="catalogue.kind=synthetic catalogue.videos=300 server.workers=3", users=6, minutes=3,
)  # fmt: skip


def only_asked(next_task, workers):
    """Instead of running tasks: says for how many people the first is, if there is any."""
    task = next_task()
    if task is not None:
        raise LookupError(f"{task.arm.scenario.population.users} people")
    yield from ()


def test_a_sweep_asked_again_is_read_and_at_another_size_run_anew(tmp_path):
    first = ask_sweep(PAGES, "Which page size?", tmp_path)
    again = ask_sweep(PAGES, "Which page size?", tmp_path, execute=only_asked)
    assert again.plan == first.plan
    for key, of_arm in first.values.items():
        np.testing.assert_array_equal(again.values[key], of_arm)
    sweep_figure(first, tmp_path / "map.png")
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"))
    grey = (pixels == (0xE4, 0xE7, 0xEC)).all(axis=2).sum()
    assert grey > 10_000 * (len(first.arms) - len(first.pareto)) > 0  # pixels of the cells of what is dominated
    for _ in "a run", "and again, after it was broken off":
        with pytest.raises(LookupError, match="5 people"):
            ask_sweep(replace(PAGES, users=5), "Which page size?", tmp_path, execute=only_asked)
    with pytest.raises(SettingError, match="another question; give --out another name"):
        ask_sweep(PAGES, "Which servers?", tmp_path)


def test_an_ab_test_is_asked_with_each_share(tmp_path):
    small = ABIf("six=cloud_only", "two=cloud_only server.page_size=2", (0.2, 0.5), minutes=3, users=40,
                   world="catalogue.kind=synthetic catalogue.videos=300 server.workers=1")  # fmt: skip
    found = ask_test(small)
    assert [each.label for each in found.judged] == ["20 %", "50 %"] and found.replications == 10
    figure, numbers = save(found, tmp_path / "x.png")
    assert len(json.loads(numbers.read_text())["tests"]) == 2
    pixels = np.asarray(Image.open(figure).convert("L"))
    assert pixels.shape[0] > 500 and pixels.min() < 100


def test_unknown_name_is_refused(capsys):
    assert cli.main(["what-if", "page_sise_ttl"]) == 2
    assert "did you mean page_size_ttl?" in capsys.readouterr().err


def test_too_few_replications_are_refused(capsys, tmp_path):
    assert cli.main(["what-if", "intent_speed", "--replications", "3", "--out", str(tmp_path / "x.png")]) == 2
    assert "replications=3 must be >= 10" in capsys.readouterr().err
    assert not list(tmp_path.glob("*"))


def test_the_list(capsys):
    assert cli.main(["what-if"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES) and all(line.endswith("?") for line in lines)


def test_the_gallery_shows_each(request):
    docs = request.config.rootpath / "docs"
    page = (docs / "gallery.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"(`{name}`)" in page and f"](gallery/{name}.png)" in page
        assert (docs / "gallery" / f"{name}.png").stat().st_size > 20_000
        assert "Found:" in (import_module(f"nextone.experiments.questions.ready.{name}").__doc__ or ""), name
