"""What a training is asked for: rewards as text, the command and its refusals, and the rule that a reward suggests."""

import json

import numpy as np
import pytest
from test_train import settings
from worlds import scenario

import nextone as nx
from nextone.cli.main import main
from nextone.envs.reward import PRESETS, RewardWeights, reward_weights
from nextone.experiments.training.rl import train as train_rl
from nextone.experiments.training.rl.evaluate import chooser
from nextone.experiments.training.rl.greedy import RewardGreedy
from nextone.experiments.training.rl.train import TrainSettings, make_model, rule_of
from nextone.policies.rl import RlPolicy
from nextone.policies.rules import blend
from nextone.sim.scenario import SettingError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_reward_as_text():
    assert reward_weights("watch") == PRESETS["watch"] and reward_weights("default") == RewardWeights()
    nothing = dict.fromkeys(RewardWeights.__dataclass_fields__, 0.0)
    assert reward_weights("like=5, hate=-1") == RewardWeights(**nothing | {"like": 5.0, "hate": -1.0})
    for wrong in ("nonsense", "like=much", "lik=5", "like=inf"):
        with pytest.raises(SettingError):
            reward_weights(wrong)


def test_train_then_compare(tmp_path, capsys, monkeypatch):
    """`nextone train rl`, `--resume` and `compare --policies rl:DIR`, also with two processes."""
    monkeypatch.setattr(train_rl, "HELD_OUT", (16, 1))
    out, small = tmp_path / "rl", ["--set", "catalogue.kind=synthetic", "--set", "sessions.leave_per_min=9"]
    common = ["--envs", "16", "--threads", "1", "--json"]
    assert main(["train", "rl", "--out", str(out), "--steps", "512", "--reward", "watch", *small, *common]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {u["rule"] for u in result["uplifts"]} >= {"cloud_only", "tag_momentum"}
    assert main(["train", "rl", "--resume", str(out), "--steps", "1024", "--json"]) == 0
    assert main(["train", "curves", str(out), "--out", str(tmp_path / "curves.png")]) == 0
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert list((out / "tensorboard").iterdir())
    capsys.readouterr()
    arms = ["compare", "--policies", f"cloud_only,rl:{out}", "--users", "8", "--minutes", "3", "--json", *small]
    tables = []
    for workers in ("1", "2"):
        assert main([*arms, "--workers", workers]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] and f"rl:{out}" in tables[0]


def test_a_training_from_python_is_an_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(train_rl, "HELD_OUT", (16, 1))
    small = {"catalogue.kind": "synthetic", "sessions.leave_per_min": 9}
    answer = nx.train(tmp_path / "rl", small, steps=16, envs=16, threads=1)
    assert "held-out episodes" in answer.verdict[0] and "over cloud_only" in str(answer)
    assert isinstance(answer.found, RlPolicy)
    assert set(answer.frame()["rule"]) >= {"cloud_only", "tag_momentum"}
    assert nx.load(tmp_path / "rl") == answer
    answer.plot(tmp_path / "curves.png")
    with pytest.raises(SettingError, match="already holds a training"):
        nx.train(str(tmp_path / "rl"), small)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "rl"], "--out is missing"),
        (["train", "rl", "--out", "x", "--algo", "ppo"], "--algo"),
        (["train", "rl", "--out", "x", "--reward", "lke=1"], "did you mean"),
        (["train", "rl", "--out", "x", "--reward", "retention"], "give days"),
        (["train", "rl", "--out", "x", "--prices", "-1"], "--prices"),
        (["train", "rl", "--resume", "nowhere"], "holds no checkpoint"),
        (["train", "rl", "--resume", "nowhere", "--seed", "1"], "--seed cannot be changed"),
        (["train", "rl", "--resume", "nowhere", "--days", "2"], "--days cannot be changed"),
        (["compare", "--policies", "cloud_only,rl:nowhere"], "holds no checkpoint"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_settings_are_checked():
    for wrong in ({"steps": 0}, {"seed": -1}, {"seed": 1 << 31}, {"algo": "a2c"}, {"envs": 0}):
        with pytest.raises(SettingError):
            replace_settings(**wrong)


def replace_settings(**changes):
    return settings(**{"hyperparameters": {}} | changes) if "algo" not in changes else TrainSettings(**changes)


@pytest.mark.parametrize(
    ("reward", "rule_for"),
    [("plays", lambda weights: RewardGreedy(weights, per_second=True)), ("default", lambda _: blend)],
)
def test_a_training_starts_from_the_rule_that_its_reward_suggests(reward, rule_for):
    settings = TrainSettings(scenario=scenario(), envs=64, threads=1, reward=PRESETS[reward])
    model = make_model(settings)
    rule, network = chooser(rule_for(settings.reward)), chooser(RlPolicy(model.policy.network))
    seen, alike = model.env.reset(), []
    for _ in range(20):
        action = rule(seen)
        alike.append(network(seen) == action)
        seen, *_ = model.env.step(action)
    # Rounding may part two that are as good. Measured: none of 1,280, with seeds 0 to 2, by AVX-512 and by SSE2.
    assert np.mean(alike) > 0.995


@pytest.mark.parametrize(("reward", "expected"), [("default", (1.0, 0.0)), ("plays", (0.0, 1.0))])
def test_the_rule_of_a_reward(reward, expected):
    """Where time is paid for, what pleases; otherwise events by how likely they are in a time."""
    plain, per_time = rule_of(reward_weights(reward))
    total = plain[0] + per_time[0]
    assert (plain[0] / total, per_time[0] / total) == pytest.approx(tuple(np.array(expected) / sum(expected)))


def test_a_reward_that_no_choice_foresees_has_no_rule():
    assert rule_of(reward_weights({"requests": -1.0})) is None
