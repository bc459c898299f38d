"""Samples: no leak across people and time, labels that are what happened, propensities, and the file itself."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from worlds import replace, scenario

from nextone.cli.main import main
from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY, MOST_S, C, H, X
from nextone.experiments.runs.arms import FRESH, MAX_REPLICATIONS
from nextone.experiments.training.edge import collect as module
from nextone.experiments.training.edge import datasets
from nextone.experiments.training.edge.collect import COLLECTED, SHARES, CollectSettings, collect, split_people
from nextone.experiments.training.edge.episodes import READ, REWARD_PARTS, episodes
from nextone.experiments.training.edge.samples import (
    COLUMNS,
    FILE,
    KINDS,
    LABELS,
    SPLITS,
    SampleError,
    read_samples,
    write_samples,
)
from nextone.policies.networks.behaviours import engaged
from nextone.sim.config import FEEDBACK
from nextone.sim.scenario import SettingError
from nextone.sim.state import CUT, LAST, LONG, VALID

WORLD = scenario(client__history=5, server__candidates=6, server__page_size=3)
MINUTES = 30
A_WORLD = 60
CUT_US = MINUTES * 60e6 / 2


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(folder, what was collected, the log of every world) of 110 people in two worlds."""
    folder, logs = tmp_path_factory.mktemp("samples"), []
    run_batch = module.run_batch

    def noted(*arguments, **options):
        logs.append(run_batch(*arguments, **options))
        return logs[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_batch", noted)
        patch.setattr(module, "A_WORLD", A_WORLD)
        result = collect(CollectSettings(scenario=WORLD, users=110, minutes=MINUTES, explore=0.3, seed=5), folder)
    return folder, result, logs


def test_worlds_that_come_back_in_another_order_give_the_same_bytes(told, tmp_path):
    def backwards(source, workers, run):
        worlds = [*iter(source, None)]
        assert (len(worlds), workers) == (2, 3)
        yield from ((world, run(world)) for world in reversed(worlds))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "A_WORLD", A_WORLD)
        settings = CollectSettings(scenario=WORLD, users=110, minutes=MINUTES, explore=0.3, seed=5)
        assert collect(settings, tmp_path, workers=3, execute=backwards)[1:] == told[1][1:]
    assert (tmp_path / FILE).read_bytes() == (told[0] / FILE).read_bytes()


def split(told, name):
    return read_samples(told[0], name).columns


def test_nobody_is_in_two_parts_and_the_test_is_later(told):
    parts = {name: split(told, name) for name in SPLITS}
    people = {name: set(part["person"].tolist()) for name, part in parts.items()}
    assert all(people.values()) and len(set.union(*people.values())) == sum(map(len, people.values()))
    assert max(parts["train"]["time_us"].max(), parts["valid"]["time_us"].max()) < CUT_US
    assert parts["test"]["time_us"].min() >= CUT_US
    assert max(max(ids) for ids in people.values()) >= A_WORLD  # the second world's people are others
    for name, part in parts.items():
        assert set(split_people(5, np.array(sorted(people[name])))) == {SPLITS.index(name)}
        assert part["split"].tolist() == [SPLITS.index(name)] * len(part["split"])


@pytest.mark.parametrize(("settings", "least", "most"), [
    ({"client__uplink_loss": 0.4}, 0.5, 0.7), ({"client__uplink_s": 300.0}, 0.5, 0.95),
    ({"client__uplink_loss": 1.0}, 0, 0),
])  # fmt: skip
def test_training_has_what_arrived_and_the_test_has_all(settings, least, most, told, tmp_path, monkeypatch):
    """The same rows, fewer: the share that is not lost; a mean of five minutes on the way of a quarter of an hour."""
    monkeypatch.setattr(module, "A_WORLD", A_WORLD)
    world = replace(WORLD, **settings)
    made = collect(CollectSettings(scenario=world, users=110, minutes=MINUTES, explore=0.3, seed=5), tmp_path)
    assert made.rows["test"] == told[1].rows["test"]
    assert least <= made.rows["train"] / told[1].rows["train"] <= most
    if made.rows["train"]:
        whole, kept = split(told, "train"), read_samples(tmp_path, "train").columns
        known = set(zip(whole["person"].tolist(), whole["impression"].tolist(), strict=True))
        assert set(zip(kept["person"].tolist(), kept["impression"].tolist(), strict=True)) < known


def test_training_knows_nothing_of_what_came_after_the_cut(told):
    """Every label of training and early stopping is of an impression that was over before the cut."""
    seen = 0
    for name in ("train", "valid"):
        part = split(told, name)
        for row in range(len(part["person"])):
            log = impressions_of(told, part["person"][row])
            for offset in part["shown_after"][row][part["shown_after"][row] >= 0]:
                shown = log[part["impression"][row] + offset]
                parts = ("startup_us", "play_us", "stall_us", "browse_us", "away_us")
                assert shown["start_us"] + sum(shown[p] for p in parts) < CUT_US
                seen += 1
    assert seen > 500


def impressions_of(told, person):
    log = told[2][person // A_WORLD].impressions
    return log[log["user"] == person % A_WORLD]


@pytest.mark.parametrize("name", SPLITS)
def test_labels_are_what_happened(told, name):
    part = split(told, name)
    for row in range(0, len(part["person"]), 3):
        log = impressions_of(told, part["person"][row])
        first = log[part["impression"][row]]
        shown = part["shown"][row]
        assert part["shown_after"][row][shown] == 0 and part["video"][row][shown] == first["video"]
        assert part["page"][row] == first["request"] and part["session"][row] == first["session"]
        for slot in range(WORLD.server.candidates):
            after = part["shown_after"][row][slot]
            if after < 0:
                assert all(part[label][row][slot] == -1 for label in LABELS)
                continue
            was = log[part["impression"][row] + after]
            assert was["video"] == part["video"][row][slot] and was["request"] == first["request"]
            assert not was["outcome"] & CUT
            hated = was["feedback"] >> FEEDBACK.index("hate") & 1
            wanted = {
                "effective_view": was["outcome"] & VALID > 0, "long_view": was["outcome"] & LONG > 0,
                **{kind: was["feedback"] >> k & 1 > 0 for k, kind in enumerate(KINDS)},
                "has_next": was["outcome"] & LAST == 0,
                "engaged": not hated and (was["outcome"] & LONG > 0 or was["feedback"] > 0),
            }  # fmt: skip
            assert {label: part[label][row][slot] == 1 for label in wanted} == wanted
            played = np.expm1(part["watch"][row][slot] * np.log1p(MOST_S))
            assert played == pytest.approx(min(was["play_us"] * 1e-6, MOST_S), rel=1e-4, abs=1e-4)
            assert part["stall_s"][row][slot] == pytest.approx(was["stall_us"] * 1e-6)


def test_what_would_have_come_is_what_came_where_nothing_stalled(told):
    compared = 0
    for name in SPLITS:
        part = split(told, name)
        rows = np.arange(len(part["shown"]))
        for would, label in (("would_effective_view", "effective_view"), ("would_engage", "engaged")):
            smooth = np.array(
                [
                    impressions_of(told, p)[i]["stall_us"] == 0
                    for p, i in zip(part["person"], part["impression"], strict=True)
                ]
            )
            came = part[label][rows, part["shown"]][smooth]
            assert np.mean(part[would][rows, part["shown"]][smooth] == came) > 0.985  # or left before the first frame
            compared += len(came)
            assert ((part[would] >= 0) == (part["live"] == 1)).all()
    assert compared > 500


def test_leaving_soon_and_wanting_a_page(told):
    """By the log: the session's end within five impressions; no effective view in what is left of the page."""
    part = split(told, "test")
    for row in range(len(part["person"])):
        log = impressions_of(told, part["person"][row])
        session = log[log["session"] == part["session"][row]]
        more = (session["impression"] > part["impression"][row]).sum()
        if more >= 5:
            assert part["leaves_soon"][row] == 0
        else:
            cut = bool(session[-1]["outcome"] & CUT)
            assert part["leaves_soon"][row] == (-1 if cut else 1) or not session[-1]["outcome"] & (LAST | CUT)
        left = session[(session["impression"] >= part["impression"][row]) & (session["request"] == part["page"][row])]
        if len(left) < 2 or (left["outcome"] & CUT).any():
            assert part["wants_page"][row] == -1
        else:
            assert part["wants_page"][row] == (not (left["outcome"] & VALID).any())
    assert set(np.unique(part["leaves_soon"])) >= {0, 1} and set(np.unique(part["wants_page"])) == {-1, 0, 1}


def test_rows_are_what_the_phone_saw_in_server_order(told):
    part = split(told, "train")
    slots, past = WORLD.pool_slots, WORLD.client.history
    assert part["candidates"].shape[1:] == (slots, len(CANDIDATE)) and part["history"].shape[1:] == (past, len(HISTORY))
    assert part["context"].shape[1:] == (len(CONTEXT),)
    live = part["live"] == 1
    assert (np.diff(part["live"].astype(int)) <= 0).all()  # empty slots last
    rank = np.where(live, part["candidates"][..., C.rank] - 9 * part["candidates"][..., C.page_age], 99)
    assert (np.diff(rank) >= 0).all()
    assert not part["candidates"][~live].any() and (part["video"][~live] == -1).all()
    assert np.array_equal(part["page_view"] == 1, engaged(part["history"]))
    before = part["context"][:, X.session_impressions] == 0
    assert (part["history"][before & (part["session"] == 0)][..., H.present] == 0).all() and before.any()


def test_random_picks_come_as_often_as_the_propensity_says(told):
    """Theory: the share of random picks, and inverse propensities that count the candidates, as z-scores."""
    parts = [split(told, name) for name in SPLITS]
    random = np.concatenate([part["picked_at_random"] for part in parts])
    assert abs(random.mean() - 0.3) < 4 * np.sqrt(0.21 / len(random))
    for part in parts:
        rows, live = np.arange(len(part["shown"])), part["live"].sum(1)
        first = part["shown"] == 0  # the server's first live slot: what cloud_only would show
        given = np.where(first, 0.7 + 0.3 / live, 0.3 / live)
        assert np.allclose(part["propensity"], given, atol=1e-6)
        assert (part["shown"][part["picked_at_random"] == 0] == 0).all()
        assert (part["live"][rows, part["shown"]] == 1).all()
    weights = np.concatenate([1 / part["propensity"] for part in parts])
    live = np.concatenate([part["live"].sum(1) for part in parts])
    miss = weights - live  # mean 0
    assert abs(miss.mean()) < 4 * miss.std() / np.sqrt(len(miss))


def test_the_same_bits_again_and_other_luck_with_another_seed(told, tmp_path):
    for seed, same in ((5, True), (6, False)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        settings = CollectSettings(scenario=WORLD, users=A_WORLD, minutes=MINUTES, explore=0.3, seed=seed)
        collect(settings, folder)
        again, part = read_samples(folder, "train").columns, split(told, "train")
        mine = part["person"] < A_WORLD
        same_bits = all(np.array_equal(again[name], part[name][mine], equal_nan=True) for name in again)
        assert same_bits is same


def test_nobody_collected_is_in_a_comparison():
    """Whatever its seed: the replications of a comparison end before those that people are collected from."""
    assert FRESH + MAX_REPLICATIONS <= COLLECTED < 2**32 - 1_000_000


def test_the_reference_is_the_filters_order(told):
    part = split(told, "test")
    live = part["live"] == 1
    assert np.isfinite(part["reference"]).all() and (part["reference"][~live] == 0).all()
    gap = part["reference"][live].std()
    assert gap > 0.01 and np.corrcoef(part["reference"][live], part["candidates"][live][:, C.score])[0, 1] > 0.5


def test_parts_of_people_have_their_shares():
    part = split_people(3, np.arange(20_000))
    for k, name in enumerate(SPLITS):
        share = SHARES[name]
        assert abs(np.mean(part == k) - share) < 4 * np.sqrt(share * (1 - share) / 20_000)


def test_the_file_says_what_its_columns_are(told):
    schema = pq.read_schema(told[0] / FILE)
    assert schema.names == [column.name for column in COLUMNS]
    assert all(field.metadata[b"meaning"] for field in schema)
    about = read_samples(told[0], "test", ()).about
    assert about["run"]["policy"] == "cloud_only" and about["run"]["explore"] == 0.3
    assert list(read_samples(told[0], "test", ("live",)).columns) == ["person", "live"]


def test_what_cannot_be_used_is_refused_in_a_line(told, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(datasets, "find_spec", lambda name: None)
    with pytest.raises(SampleError, match="no such file"):
        read_samples(tmp_path, "train")
    (tmp_path / FILE).write_bytes(b"PAR1 nothing")
    with pytest.raises(SampleError, match="nextone collect writes them"):
        read_samples(tmp_path, "train")
    whole = (told[0] / FILE).read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 0xFF
    (tmp_path / FILE).write_bytes(damaged)
    with pytest.raises(SampleError):
        read_samples(tmp_path, "train")
    with pytest.raises(SettingError, match=r"explore=1.5 must be in \[0, 1\]"):
        CollectSettings(explore=1.5)
    for arguments, said in (
        (["--explore", "2"], "explore=2.0 must be"), (["--policy", "cloudonly"], "did you mean cloud_only"),
        (["--minutes", "-1"], "minutes=-1"),
        (["--set", "server.candidates=1", "--set", "server.page_size=1"], "nothing to choose"),
        (["--temperature", "-1"], "temperature=-1.0 must be in"), (["--as", "minary"], "one of minari, d3rlpy"),
        (["--as", "minari"], "minari is not installed; pip install 'minari[hdf5,create]'"),
        (["--as", "d3rlpy"], "d3rlpy is not installed"), (["--as", "minari", "--reward", "joy"], "reward 'joy'"),
    ):  # fmt: skip
        assert main(["collect", "--out", str(tmp_path / "x"), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x" / FILE).exists()


def test_a_log_of_other_features_is_refused(told, tmp_path, monkeypatch):
    from nextone.experiments.training.edge import samples

    monkeypatch.setattr(samples, "features_hash", lambda: "another")
    with pytest.raises(SampleError, match="another table of features"):
        read_samples(told[0], "train")
    write_samples(tmp_path, iter(()), 6, 5, {})
    with pytest.raises(SampleError, match="no rows for train"):
        read_samples(tmp_path, "train")


def test_other_policies_can_log_too(tmp_path):
    settings = CollectSettings(scenario=WORLD, policy="tag_momentum", users=40, minutes=MINUTES, explore=0.5, seed=1)
    result = collect(settings, tmp_path)
    part = read_samples(tmp_path, "train").columns
    assert sum(result.rows.values()) > 100 and (part["shown"][part["picked_at_random"] == 0] > 0).any()
    known = ~np.isnan(part["propensity"])
    live = part["live"].sum(1)
    assert known.any() and set(np.round(part["propensity"][known] - 0.5 / live[known], 5)) <= {0.0, 0.5}


def test_rewards_of_episodes_sum_to_what_the_log_says(told):
    """Every transition leads to the next impression of its session, or to none; the last of a session is terminal."""
    samples = read_samples(told[0], "test", READ)
    found, (person, session, impression) = episodes(samples), samples.of("person", "session", "impression")
    shown = np.array([impressions_of(told, who)[which] for who, which in zip(person, impression, strict=True)])
    sums = dict(zip(REWARD_PARTS, found.reward.astype(np.float64).sum(0), strict=True))
    assert sums["effective_view"] == (shown["outcome"] & VALID > 0).sum() > 0
    assert sums["long_view"] == (shown["outcome"] & LONG > 0).sum() > 0
    assert [sums[kind] for kind in KINDS] == [(shown["feedback"] >> k & 1).sum() for k in range(len(KINDS))]
    assert sums["watch_s"] == pytest.approx(shown["play_us"].sum() * 1e-6, rel=1e-5)
    assert sums["stall_s"] == pytest.approx(shown["stall_us"].sum() * 1e-6, abs=1e-6)
    assert np.array_equal(found.terminal, shown["outcome"] & LAST > 0) and 0 < found.terminal.sum() < len(shown)
    goes_on = np.flatnonzero(found.next_row >= 0)
    following = found.next_row[goes_on]
    assert len(goes_on) > len(shown) / 2 and not found.terminal[goes_on].any()
    for column, step in ((person, 0), (session, 0), (impression, 1)):
        assert np.array_equal(column[following], column[goes_on] + step)
    assert found.start[0] == 0 and found.start[-1] == len(shown)
    assert np.array_equal(found.start[1:] - 1, np.flatnonzero(found.next_row < 0))
    slots = found.action.astype(np.int64)[:, None]
    assert (np.take_along_axis(split(told, "test")["video"], slots, 1)[:, 0] == shown["video"]).all()


def test_episodes_are_a_file_beside_the_samples_row_by_row(tmp_path):
    assert main(["collect", "--users", "20", "--minutes", "20", "--out", str(tmp_path), "--episodes", "--set",
                 "server.candidates=6", "--set", "server.page_size=3"]) == 0  # fmt: skip
    told, samples = pq.read_table(tmp_path / "episodes.parquet"), pq.read_table(tmp_path / FILE)
    assert told.column_names == ["episode", "action", "propensity", *REWARD_PARTS, "next_row", "terminal"]
    assert len(told) == len(samples) and told["action"].equals(samples["shown"])
    episode, next_row, terminal = (np.asarray(told[name]) for name in ("episode", "next_row", "terminal"))
    goes_on = np.flatnonzero(next_row >= 0)
    assert (next_row[goes_on] == goes_on + 1).all() and (episode[goes_on] == episode[goes_on + 1]).all()
    assert terminal.any() and (np.diff(episode) == (next_row[:-1] < 0)).all()
    impression, person = (np.asarray(samples[name]) for name in ("impression", "person"))
    assert (impression[goes_on] + 1 == impression[goes_on + 1]).all()
    assert (person[goes_on] == person[goes_on + 1]).all()
