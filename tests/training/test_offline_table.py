"""The offline table: metrics by hand and against scipy, and the whole of it on samples whose best ranker is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from test_train_edge import PAST, SLOTS, made_up

from nextone.cli.main import main
from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY
from nextone.experiments.training.edge.offline_table import METHODS, Seeded, asked_about, measure, trained
from nextone.experiments.training.edge.ranking_metrics import (
    auc_by_line,
    auc_of_all,
    mean_over_seeds,
    ndcg_by_line,
    two_classes,
    weighted_mean,
)
from nextone.experiments.training.edge.samples import Samples, columns_markdown, write_samples
from nextone.experiments.training.edge.train import EdgeSettings
from nextone.policies.networks.paper_features import MAPPED, OURS, mapping_markdown
from nextone.sim.config import Scenario
from nextone.sim.scenario import scenario_toml

NAN = np.nan
DOCS = Path(__file__).parents[2] / "docs" / "edge-models.md"


def test_auc_and_ndcg_by_hand():
    scores = np.array([[3.0, 2.0, 1.0, NAN], [1.0, 1.0, 5.0, 0.0]])
    labels = np.array([[1.0, 0.0, 1.0, NAN], [1.0, 0.0, 0.0, 1.0]])
    assert auc_by_line(scores, labels).tolist() == [0.5, 0.125]  # 1 of 2; a tie of 4
    first = 1 / (1 + 1 / np.log2(3))
    assert ndcg_by_line(scores, labels, 1).tolist() == [1, 0]
    assert ndcg_by_line(scores, labels, 2) == pytest.approx([first, (1 / np.log2(3)) * first])
    assert ndcg_by_line(scores, labels, 5)[0] == pytest.approx((1 + 1 / 2) * first)
    lines = np.array([[1.0, 0, NAN], [1, 1, NAN], [0, NAN, NAN], [NAN] * 3])
    assert two_classes(lines).tolist() == [True, False, False, False]


def test_auc_is_the_mann_whitney_statistic():
    draw = np.random.Generator(np.random.Philox(3))
    scores, labels = draw.integers(0, 9, 300).astype(float), (draw.random(300) < 0.3).astype(float)
    wanted = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic / (labels.sum() * (1 - labels).sum())
    assert auc_of_all(scores, labels, np.arange(300), 300).value == pytest.approx(wanted)
    assert auc_by_line(scores[None], labels[None])[0] == pytest.approx(wanted)


def test_a_weighted_mean_and_its_error_by_hand():
    found = weighted_mean(np.array([1.0, 0.0, 0.5]), np.array([2.0, 1.0, 1.0]), np.array([0, 1, 1]), 3)
    assert found.value == 0.625 and found.influence.tolist() == [0.1875, -0.1875, 0]
    assert found.sd == pytest.approx(0.1875 * 2**0.5)


@pytest.mark.parametrize("metric", ["auc", "gauc"])
def test_standard_errors_are_those_of_repeated_draws(metric):
    """Theory: over worlds of dependent people the mean squared z is 1, within its own error."""
    squares = []
    for world in range(300):
        draw = np.random.Generator(np.random.Philox(key=[9, world]))
        people = np.repeat(np.arange(60), 12)
        labels = (draw.random(len(people)) < 0.4).astype(float)
        skill = np.repeat(draw.normal(0.5, 0.6, 60), 12)  # a person's requests are alike
        scores = draw.normal(size=len(people)) + skill * labels
        if metric == "auc":
            found = auc_of_all(scores, labels, people, 60)
        else:
            lines, told = scores.reshape(-1, 6), labels.reshape(-1, 6)
            mixed = two_classes(told)
            found = weighted_mean(auc_by_line(lines[mixed], told[mixed]), np.full(mixed.sum(), 6.0),
                                  (np.arange(len(lines)) // 2)[mixed], 60)  # fmt: skip
        squares.append((found.value, found.sd))
    values, sds = np.array(squares).T
    ratio = (sds**2).mean() / values.var(ddof=1)
    assert abs(ratio - 1) < 4 * np.sqrt(2 / 300)


def test_seeds_are_averaged_and_add_their_own_error():
    one, two = (weighted_mean(np.array([a, b]), np.ones(2), np.arange(2), 2) for a, b in ((1.0, 0.0), (0.6, 0.0)))
    mean, of_seeds = mean_over_seeds([one, two])
    assert mean.value == 0.4 and of_seeds == pytest.approx(0.1)
    assert mean.influence == pytest.approx([0.2, -0.2])


def columns(rows=240, seed=0):
    """Rows whose effective views are chance: no ranking is right, or wrong, throughout."""
    told, draw = made_up(rows, seed), np.random.Generator(np.random.Philox(seed + 7))
    known = told["shown_after"] >= 0
    told["effective_view"] = np.where(known, draw.integers(0, 2, known.shape), -1).astype(np.int8)
    return told


def test_a_page_is_scored_by_its_first_request():
    asked = asked_about(Samples(columns(), {}))
    page = asked.samples.columns["page"]
    assert page[asked.starts].tolist() == page[asked.drawn].tolist() == list(range(80))
    told = columns()
    first = np.arange(0, 240, 3)
    assert np.array_equal(asked.samples.columns["candidates"][asked.starts], told["candidates"][first])
    assert not np.array_equal(asked.starts, asked.drawn)


def test_scores_that_are_the_labels_are_perfect_and_noise_is_a_half():
    asked = asked_about(Samples(columns(1800), {}))
    told = asked.samples.columns
    full = measure(np.maximum(told["would_engage"], 0) + 0.0, asked, "engaged")["gauc_full"]
    assert full.value == 1 and full.sd == 0
    found = measure(told["engaged"] + 0.0, asked, "engaged")
    assert all(found[name].value == 1 for name in ("gauc", "auc", "ndcg_1", "ndcg_5"))
    draw = np.random.Generator(np.random.Philox(8))
    noise = measure(draw.random(told["engaged"].shape), asked, "engaged")
    for name in ("gauc", "auc", "gauc_full"):
        assert abs(noise[name].value - 0.5) < 4 * noise[name].sd


def test_the_command_prints_theirs_beside_ours(tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    about = {"scenario": scenario_toml(Scenario(), comments=False)}
    write_samples(data, iter([columns()]), SLOTS, PAST, about)
    command = ["offline-table", "--data", str(data), "--out", str(out), "--epochs", "1"]
    assert main(command) == 0
    text = capsys.readouterr().out
    for method in METHODS:
        assert method.name.split(",")[0] in text
        assert method.published is None or f"{method.published:.5f}" in text
    assert "+2.00 %" in text and "-1.61 %" in text and "gauc_full" in text and "dropped" in text
    assert (out / "offline_table.md").read_text().count("|") > 80
    assert main([*command, "--json"]) == 0  # trainings that are there are not repeated
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told["rows"]] == [method.name for method in METHODS]
    assert all(len(row["gauc"]["seeds"]) == (5 if row["kind"] else 1) for row in told["rows"])
    run = out / "kir" / "seed-0"
    task = Seeded("KIR-like", EdgeSettings(kind="kir", epochs=1), data, run)
    files = trained(task.moved(lambda path, reads: path))  # as on another machine: goes on with a copy
    assert files == {str(f.relative_to(run)): f.read_bytes() for f in run.glob("step-*/*")} and len(files) >= 3
    for arguments, said in ((["--seeds", "4"], "5"), (["--label", "liked"], "engaged, effective_view"),
                            (["--epochs", "2"], "other settings")):  # fmt: skip
        assert main(command[:5] + arguments) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert said in line


def test_every_row_of_both_papers_is_mapped_to_columns_that_exist():
    tables = {"candidates": CANDIDATE, "history": HISTORY, "context": CONTEXT}
    names = {array: {feature.name for feature in features} for array, features in tables.items()}
    for mapped in MAPPED:
        assert bool(mapped.columns) == bool(mapped.array) and (mapped.columns or mapped.remark), mapped.id
        assert not mapped.columns or set(mapped.columns) <= names[mapped.array], mapped.id
    for array, columns_, _ in OURS:
        assert set(columns_) <= names[array]
    ids = [mapped.id for mapped in MAPPED]
    wanted = [f"{letter}{k}" for letter, count in (("e", 7), ("d", 12), ("p", 7)) for k in range(1, count + 1)]
    assert ids[:26] == wanted
    assert ids[26:] == ["pXTR", "v_d", "v_c", "v_w", "v_feedback", "v_t", "v_pos", "u_net", "v_buffer"]


def test_what_networks_read_is_in_the_mapping():
    """No column reaches EdgeRec that the table does not explain."""
    from nextone.policies.networks.behaviours import ACTIONS, CLOUD

    explained = {name for m in MAPPED for name in m.columns}
    explained |= {name for _, names, _ in OURS for name in names}
    assert {*ACTIONS, *CLOUD} <= explained


def test_the_documentation_holds_both_tables():
    text = DOCS.read_text(encoding="utf-8")
    assert mapping_markdown() in text and columns_markdown() in text
