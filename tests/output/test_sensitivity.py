"""`nextone sensitivity`: every assumed setting is walked or says why not; at a tiny size, its numbers by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nextone.cli import main as cli
from nextone.experiments.fitting.people.claims import depends_markdown
from nextone.experiments.fitting.people.domain import fields
from nextone.experiments.fitting.people.fit_file import load_fit
from nextone.experiments.questions.sensitivity import GAINS, LEVELS, name_of, plan_of, run
from nextone.experiments.questions.sensitivity_file import (
    GAIN,
    LEVEL,
    Answer,
    Drawn,
    Move,
    NotWalked,
    Row,
    Span,
    Table,
    parse_table,
    save_sensitivity,
    shipped_table,
    table_csv,
    table_json,
    table_markdown,
)
from nextone.experiments.questions.sensitivity_shown import sensitivity_tables
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.metrics import column_of
from nextone.experiments.runs.statistics import gains, mean_interval, paired
from nextone.sim.config import Scenario
from nextone.sim.plausible import is_assumed
from nextone.sim.scenario import SettingError, with_settings

FIT = load_fit(None)
SMALL = with_settings(Scenario(), ["population.users=20", "catalogue.videos=7248"])
ASSUMED = {name for name, field in fields() if is_assumed(field)}
ONLY = ("sessions.leave_satisfaction", "phone.old_model", "population.users")


@pytest.fixture(scope="module")
def plan():
    return plan_of(SMALL, FIT, draws=2, only=ONLY)


@pytest.fixture(scope="module")
def told():
    """What the run says it has left to do: (runs, seconds)."""
    return []


@pytest.fixture(scope="module")
def table(plan, told):
    return run(plan, replications=10, minutes=4.0, estimate=lambda runs, s: told.append((runs, s)))


def test_every_assumed_setting_is_walked_or_says_why_not():
    whole = plan_of(Scenario(), FIT, draws=0)
    walked, without = {walk.setting for walk in whole.walks}, {each.setting for each in whole.not_walked}
    assert walked | without == ASSUMED and not walked & without and whole.drawn == ()
    assert all(each.why for each in whole.not_walked)
    assert not [each for each in whole.not_walked if "does not fit" in each.why]
    for walk in whole.walks:
        assert walk.low or walk.high, walk
        for world in filter(None, (walk.low, walk.high)):
            section, field = walk.setting.split(".")
            own, there = (getattr(getattr(s, section), field) for s in (Scenario(), world.scenario))
            assert own != there, walk
    labels = [world.label for world in whole.worlds]
    assert len(set(labels)) == len(labels) and whole.worlds[0].scenario == Scenario()


def test_what_the_cloud_assumes_follows_what_is_true():
    (walk,) = plan_of(Scenario(), FIT, draws=0, only=["interests.intent_half_life_min"]).walks
    for world in (walk.low, walk.high):
        assert world.scenario.server.assumed_half_life_min == world.scenario.interests.intent_half_life_min
    (alone,) = plan_of(Scenario(), FIT, draws=0, only=["server.assumed_half_life_min"]).walks
    assert alone.high.scenario.interests == Scenario().interests


def test_an_end_that_does_not_fit_is_not_walked():
    large = with_settings(Scenario(), ["server.page_size=50", "server.candidates=100"])
    plan = plan_of(large, FIT, draws=0)
    (found,) = (each for each in plan.not_walked if each.setting == "server.candidates")
    assert "does not fit the scenario" in found.why and "page_size" in found.why


def test_what_is_drawn_again(plan):
    catalogue, days, parameters, everything = (again.worlds for again in plan.drawn)
    usual = SMALL.catalogue.catalogue_seed
    assert [w.scenario.catalogue.catalogue_seed for w in catalogue] == [usual + 1, usual + 2]
    assert [w.scenario.network.trace_seed for w in days] == [1, 2]
    stays = [w.scenario.watching.stay for w in parameters]
    assert stays == [pytest.approx(draw["watching.stay"], rel=1e-4) for draw in FIT.draws[:2]]
    assert [w.scenario.watching.stay for w in everything] == stays
    assert [w.scenario.network.trace_seed for w in everything] == [1, 2]
    assert [w.seed for w in (*catalogue, *days, *parameters)] == [0] * 6 and [w.seed for w in everything] == [1, 2]


def test_gains_of_replications_are_the_paired_gain():
    a, b = np.array([3.0, 4, 5, 4, 3, 6, 5, 4, 3, 7]), np.array([3.5, 4, 6, 4, 4, 6, 5, 5, 3, 9])
    d, interval = paired(a, b), mean_interval(gains(a, b))
    assert (interval.mean, interval.low, interval.high) == pytest.approx(
        (d.diff_pct, d.diff_pct_low, d.diff_pct_high)
    )  # fmt: skip
    assert np.isnan(gains(np.zeros(10), b)).all()


def test_moves_by_hand(plan, table):
    """The same arms compared: a move is the difference of gains, replication by replication."""
    (walk,) = (walk for walk in plan.walks if walk.setting == ONLY[0])
    arms = [
        Arm(f"{policy} {k}", policy, world.scenario)
        for k, world in enumerate((plan.base, walk.high))
        for policy in ("cloud_only", "reference_filter")
    ]
    values = compare(arms, replications=10, minutes=4.0, engine="batch").values
    row = table.rows[[row.setting for row in table.rows].index(ONLY[0])]
    m = column_of("valid_play")
    own, there = (gains(values[2 * k, :, m], values[2 * k + 1, :, m]) for k in (0, 1))
    move = next(move for move in row.moves if move.answer == "gain in valid_play")
    assert move.at_high == Span(*mean_interval(there - own)[:3])
    level = next(move for move in row.moves if move.answer == LEVELS[0])
    d = paired(values[0, :, 0], values[2, :, 0])
    assert (level.at_high.mean, level.at_high.low) == pytest.approx((d.diff_pct, d.diff_pct_low))
    assert level.at_high.low > 0 > level.at_low.high, "satisfied people stay: sessions are longer the more that counts"
    found = {answer.name: answer for answer in table.answers}
    assert found["gain in valid_play"].found == Span(*mean_interval(own)[:3])
    assert list(found) == [*GAINS, *LEVELS]


def test_what_no_policy_downloads_moves_nothing_and_comes_last(table):
    assert [row.setting for row in table.rows] == [ONLY[0], ONLY[1]], "users are not varied"
    nothing = Span(0.0, 0.0, 0.0)
    assert all(move.at_low == move.at_high == nothing for move in table.rows[1].moves)
    assert [each.setting for each in table.not_walked] == [ONLY[2]]


def test_the_minutes_are_told_once_before_the_rest(plan, table, told):
    ((runs, seconds),) = told
    assert runs == (len(plan.worlds) - 1) * 2 * 10 and seconds > 0 and table.took_min > 0


def test_draws_by_hand(table):
    assert len(table.drawn) == 4 * 4 and {each.draws for each in table.drawn} == {2}
    for each in table.drawn:
        assert each.found.low <= each.found.mean <= each.found.high
        assert (each.agree is None) == (each.answer in LEVELS)


def by_hand():
    """Three settings: one whose gain surely moves, one whose gain only seems to move more, one of the level alone."""
    sure, wide, none = Span(0.5, 0.3, 0.7), Span(2.0, -1.0, 5.0), Span(0.0, 0.0, 0.0)
    names = ("gain in app_min", LEVELS[0])

    def row(name, gain, level):
        moves = (Move(names[0], gain, none), Move(names[1], none, level))
        return Row(name, "s", "1", "0", "2", "why", moves)

    rows = (row("a.sure", sure, none), row("b.wide", wide, none), row("c.level", none, Span(-30.0, -31.0, -29.0)))
    answers = (Answer(names[0], GAIN, "%", Span(1.0, 0.5, 1.5)), Answer(names[1], LEVEL, "min", Span(30.0, 29.0, 31.0)))
    drawn = (Drawn("days", "the days", names[0], 3, Span(0.5, -0.25, 1.0), 0.75),
             Drawn("days", "the days", names[1], 3, None, None))  # fmt: skip
    return Table("the default scenario", "0", 5, 1.0, 10, 0, 2.0, answers, rows, drawn, (NotWalked("d.none", "off"),))


def test_the_order_is_by_the_least_move_of_a_gain():
    found = by_hand()
    sizes = [row.size(("gain in app_min",)) for row in found.rows]
    assert sizes == [(0.3, 0.5), (0.0, 2.0), (0.0, 0.0)] and sizes == sorted(sizes, reverse=True)
    assert [row.sure for row in found.rows] == [True, False, True]
    assert found.rows[2].size(LEVELS) == (29.0, 30.0)
    assert found.level_moves_most() == "The level of app_min moves most with c.level (0, −30 ±1.0* %)."


def test_the_terminal_shows_what_moves_a_gain_and_names_the_rest():
    moves, answers = sensitivity_tables(by_hand())
    assert moves.row_count == 1 and answers.row_count == 2
    said = str(moves.caption)
    assert "Only the level moves (--out says how far): c.level." in said and "from 0: b.wide." in said
    assert "Not varied (--out says why): d.none." in said


def test_markdown_and_csv_by_hand():
    text = table_markdown(by_hand())
    assert "| luck and people | +1 ±0.50* | 30.00 ±1.00 |" in text
    assert "| the days (3 draws) | −0.25 to 1.00 (75%) | – |" in text
    assert "| `a.sure` | 1 | 0 to 2 | +0.50 ±0.20*, 0 | 0, 0 |" in text
    assert "No move of these settings can be told from 0: `b.wide` (0 to 2)." in text and "- `d.none`: off" in text
    lines = table_csv(by_hand()).splitlines()
    assert len(lines) == 1 + 3 * 2 * 2 and lines[1] == "1,a.sure,s,1,gain in app_min,low,0,0.5,0.3,0.7"


def test_a_table_is_saved_and_read_back(table, tmp_path):
    files = save_sensitivity(table, tmp_path)
    assert sorted(file.name for file in files) == ["sensitivity.csv", "sensitivity.json", "sensitivity.md"]
    assert parse_table(files[0].read_bytes(), "x") == table
    with pytest.raises(SettingError, match="x: is not a table written by nextone sensitivity"):
        parse_table('{"rows": 3}', "x")
    assert json.loads(table_json(replace(table, rows=())))["rows"] == []


def test_the_shipped_table_is_of_the_default_scenario():
    found = shipped_table()
    assert found.scenario == name_of(None, ()) and found.drawn and found.replications >= 10
    assert {row.setting for row in found.rows} <= ASSUMED and len(found.rows) > 50
    assert [answer.name for answer in found.answers] == [*GAINS, *LEVELS]
    order = [row.size(GAINS) for row in found.rows]
    assert order == sorted(order, reverse=True)


def test_the_page_says_which_defaults_have_changed_since():
    (name, default) = "sessions.away_s", f"{Scenario().sessions.away_s:g}"
    row = replace(by_hand().rows[0], setting=name, default=default)
    fresh = replace(by_hand(), rows=(row,))
    assert "other defaults" not in depends_markdown(fresh)
    stale = replace(fresh, rows=(replace(row, default="44"),))
    assert f"They were made with other defaults of `{name}` (44)" in depends_markdown(stale)


def test_what_is_wrong_is_refused_before_anything_runs(capsys):
    assert cli.main(["sensitivity", "--replications", "9"]) == 2
    assert cli.main(["sensitivity", "--only", "server.page_size"]) == 2
    assert cli.main(["sensitivity", "--draws", "100000"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "replications=9 must be >= 10" in errors[0] and "is not an assumed setting" in errors[1]
    assert "draws=100000 must be <=" in errors[2]


def test_the_command(capsys, tmp_path):
    few = ["sensitivity", "--only", "client.ask_at", "--draws", "0", "--users", "2", "--minutes", "1", "--workers", "1",
           "--replications", "10", "--set", "catalogue.videos=7248"]  # fmt: skip
    assert cli.main([*few, "--out", str(tmp_path / "a"), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["scenario"] == "the default scenario catalogue.videos=7248" and found["people"] == 2
    assert [row["setting"] for row in found["rows"]] == ["client.ask_at"] and "20 runs are left, " in err
    assert (tmp_path / "a" / "sensitivity.md").is_file()
