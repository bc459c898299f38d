"""Plans are strangers' files: what is wrong with one is told in one line, and nothing in it is run."""

import re
import time
from pathlib import Path

import pytest

from nextone.experiments.release.faults import KINDS, Fault, fault_named, with_fault
from nextone.experiments.release.plan import plan_of, read_plan
from nextone.experiments.runs.arms import Arm
from nextone.policies.names import SHIPPED_RULES
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError

WHOLE = {
    "version1": "old=tag_momentum", "version2": "new=tag_momentum server.page_size=4", "users": 1000,
    "wave": [{"share": 0.01, "minutes": 20}, {"share": 0.5, "minutes": 30}],
    "gate": [{"metric": "valid_play", "worse_pct": 2}, {"metric": "failures", "limit": 0.01, "action": "hold"}],
    "set": {"phone.inference_ms": [60, 40, 20, 15], "client": {"ttl_s": 300}},
}  # fmt: skip


def test_a_whole_plan():
    plan = plan_of(WHOLE | {"fault": {"kind": "crash", "size": 0.1}}, Scenario(), name="file")
    first, second = plan.versions
    assert (plan.name, plan.shortest_min, plan.hours) == ("file", 50, (60 + 50 + 2 + 60) / 60)
    assert first.scenario.client.ttl_s == 300 and second.scenario.server.page_size == 4
    assert plan.fault == Fault("crash", 0.1) and [gate.action for gate in plan.gates] == ["roll_back", "hold"]
    assert plan_of(WHOLE, Scenario(), users=500).versions[0].scenario.population.users == 500
    assert plan_of(WHOLE, Scenario(), settings=["client.ttl_s=90"]).versions[0].scenario.client.ttl_s == 90


def test_what_a_plan_names_is_looked_for_beside_it(tmp_path, monkeypatch):
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "mine.toml").write_bytes((SHIPPED_RULES / "avoid_stutter.toml").read_bytes())
    (tmp_path / "here.toml").write_bytes((SHIPPED_RULES / "ask_at_random.toml").read_bytes())
    (tmp_path / "plans" / "link.csv").write_text("time_s,mbps\n0,5\n10,5\n")
    (tmp_path / "plans" / "plan.toml").write_text(
        'version1 = "old=rules:here.toml"\nversion2 = "new=rules:mine.toml"\n[[wave]]\nshare = 0.5\nminutes = 30\n'
        '[set]\nnetwork.traces = "link.csv"\n'
    )
    monkeypatch.chdir(tmp_path)
    first, second = read_plan(Path("plans/plan.toml")).versions
    assert (first.policy, second.policy) == ("rules:here.toml", "rules:plans/mine.toml")
    assert Path(second.scenario.network.traces) == Path("plans/link.csv")


def changed(**entries):
    return {name: value for name, value in (WHOLE | entries).items() if value is not None}


def wave(**entries):
    return changed(wave=[WHOLE["wave"][0] | entries])


def gate(**entries):
    return changed(gate=[{"metric": "failures", "limit": 0.1} | entries])


WRONG = {
    "unknown entry": (changed(waves=[]), "unknown entry 'waves'; did you mean wave?"),
    "no wave": (changed(wave=[]), "there is no wave"),
    "waves that shrink": (changed(wave=WHOLE["wave"][::-1]), "wave 2: share=0.01 must be more than the 0.5"),
    "waves alike": (changed(wave=[WHOLE["wave"][0]] * 2), "wave 2: share=0.01 must be more"),
    "a wave of nobody": (wave(share=1e-9), "share=1e-09 of 1,000 people is nobody"),
    "no share": (wave(share=0), "wave 1: share=0 must be > 0 and <= 1"),
    "negative share": (wave(share=-0.5), "wave 1: share=-0.5"),
    "more than all": (wave(share=1.5), "wave 1: share=1.5"),
    "share that is no number": (wave(share=float("nan")), "wave 1: share=nan"),
    "share of words": (wave(share="half"), "wave 1: share='half' must be a number"),
    "share of truth": (wave(share=True), "wave 1: share='True' must be a number"),
    "wave without minutes": (changed(wave=[{"share": 0.5}]), "wave 1: has no minutes"),
    "wave without time": (wave(minutes=0), "wave 1: minutes=0 must be 1 to 1440"),
    "endless wave": (wave(minutes=float("inf")), "wave 1: minutes=inf"),
    "unknown entry of a wave": (wave(shares=1), "wave 1: unknown entry 'shares'; did you mean share?"),
    "waves of numbers": (changed(wave=[1]), "wave must be [[wave]] tables"),
    "a wave that is no list": (changed(wave={"share": 1}), "wave=\"{'share': 1}\" must be [[tables]]"),
    "many waves": (changed(wave=WHOLE["wave"] * 40), "80 waves are more than 50"),
    "unknown metric": (gate(metric="valid_plays"), "gate 1: metric='valid_plays' is not monitored; did you mean valid"),
    "no metric": (changed(gate=[{"limit": 1}]), "gate 1: metric='' is not monitored"),
    "two limits": (gate(worse_pct=1), "gate 1: give either limit"),
    "no limit": (changed(gate=[{"metric": "failures"}]), "gate 1: give either limit"),
    "negative limit": (gate(limit=-1), "gate 1: limit=-1 must be a number >= 0"),
    "limit of drift": (gate(metric="score"), "neither more nor less of score is better"),
    "unknown test": (gate(test="sometimes"), "gate 1: test='sometimes' must be one of always, fixed, value"),
    "unknown action": (gate(action="panic"), "gate 1: action='panic' must be one of roll_back, hold"),
    "few people": (gate(least=1), "least=1 must be at least 2"),
    "unknown fault": (changed(fault={"kind": "crsh"}), "unknown fault 'crsh'; did you mean crash?"),
    "fault too large": (changed(fault={"kind": "crash", "size": 2}), "fault crash: size=2 must be > 0 and <= 1"),
    "fault of words": (changed(fault="crash"), "fault='crash' must be a table"),
    "no version": (changed(version2=None), "there is no version2"),
    "version without label": (changed(version1="tag_momentum"), "version1: arm 'tag_momentum' must read"),
    "versions alike": (changed(version2="old=random"), "both versions are called 'old'"),
    "unknown policy": (changed(version1="old=tag_momentun"), "did you mean tag_momentum?"),
    "code": (changed(version1="old=/tmp/evil.py:run"), "is code in a file"),
    "no delay": (changed(delay_min=0), "delay_min=0 must be 0.0833333 to 1440"),
    "too short": (changed(hours=1), "hours=1 must be at least 1.83333"),
    "unknown setting": (changed(set={"server.pages": 3}), "unknown setting server.pages"),
    "users in settings": (changed(set={"population.users": 3}), "write users = ..."),
    "users of words": (changed(users="many"), "users='many' must be a whole number"),
    "no users": (changed(users=0), "population.users=0 must be >= 1"),
    "name of lines": (changed(name="a\nb"), "name must be one printable line"),
}  # fmt: skip


@pytest.mark.parametrize(("table", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(table, told):
    with pytest.raises(SettingError, match=re.escape(told)) as caught:
        plan_of(table, Scenario())
    assert "\n" not in str(caught.value)


HOSTILE = {
    "no toml": "wave = [",
    "deep": "a = " + "[" * 5_000 + "]" * 5_000,
    "long number": "users = " + "9" * 100_000,
    "a number of hex": "users = 0x" + "f" * 50_000,
    "binary": "\0\0\0",
    "many entries": "\n".join(f"a{k} = 1" for k in range(20_000)),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_within_a_second(text, tmp_path):
    (tmp_path / "plan.toml").write_text(text)
    begun = time.process_time()
    with pytest.raises(SettingError, match=r"plan\.toml") as caught:
        read_plan(tmp_path / "plan.toml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert time.process_time() - begun < 1


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    for name in ("loop.toml", "", "nowhere.toml"):
        with pytest.raises(SettingError):
            read_plan(tmp_path / name)


def arm(policy="tag_momentum", **settings):
    return plan_of(WHOLE | {"version2": f"new={policy}", **settings}, Scenario()).versions


def test_what_faults_change_of_the_settings():
    first, second = arm()
    assert with_fault(first, second, None) == second == with_fault(first, second, fault_named("crash"))
    assert with_fault(first, second, fault_named("stale")).scenario.server.feature_lag_s == 600
    slow = with_fault(first, second, fault_named("slow")).scenario.phone
    assert slow.inference_ms == (180, 40, 20, 15) and slow.reference_ms == second.scenario.phone.reference_ms
    other = Arm("new", "random", second.scenario)
    assert with_fault(first, other, fault_named("harmless")) == Arm("new", "tag_momentum", first.scenario)
    assert all(fault_named(kind).size == KINDS[kind].usual and str(fault_named(kind)) for kind in KINDS)


class Network:
    """It takes as long as the usual network."""

    downloaded = True

    def __call__(self, observation):
        return observation


def test_faults_without_effect_are_refused():
    with pytest.raises(SettingError, match="cloud_only and decides nothing"):
        with_fault(*arm("cloud_only"), fault_named("crash"))
    with pytest.raises(SettingError, match="take no time, and 3 times none is none"):
        with_fault(*arm(set={}), fault_named("slow"))
    network = Arm("new", Network(), Scenario())
    assert with_fault(network, network, fault_named("slow", 2)).scenario.phone.reference_ms[0] == 380
