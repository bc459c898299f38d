"""Policies from elsewhere: models of stable-baselines3, torch modules, a file named on the command line. TorchRL's
actor is played by its recipe in docs/recipes.md, in an environment of its own."""

import pickle

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN, PPO

import nextone as nx
from nextone.cli.compare import arms_of
from nextone.envs.features import C, Observation, empty_observation
from nextone.envs.sb3 import NextOneVecEnv
from nextone.experiments.runs.arms import parse_arm
from nextone.experiments.runs.names import check_name
from nextone.experiments.runs.provenance import arms_record, provenance
from nextone.experiments.sweeps.plan import Question, plan_of
from nextone.policies.by_name import make_policy
from nextone.policies.contract import options_of
from nextone.policies.from_file import FilePolicy
from nextone.policies.names import UnknownPolicy
from nextone.sim.scenario import SettingError

PEOPLE = 8
SCENARIO = nx.with_settings(nx.Scenario(), ["catalogue.kind=synthetic", "catalogue.videos=300"])


def environment(name="NextOne", **how):
    return gymnasium.make_vec(f"nextone/{name}-v0", PEOPLE, scenario=SCENARIO, autoreset_mode="SameStep", **how)


@pytest.fixture(scope="module")
def seen():
    """What people see after ten decisions: by now some slots are empty."""
    env = environment()
    seen, _ = env.reset(seed=5)
    for _ in range(10):
        seen, *_ = env.step(seen["mask"].argmax(1))
    return {name: array.copy() for name, array in seen.items()}


def observation_of(seen):
    return Observation(seen["candidates"], seen["history"], seen["context"], seen["mask"] != 0)


FLAT, COMPACT = {"name": "NextOneFlat"}, {"name": "NextOneFlat", "features": "compact"}


@pytest.mark.parametrize(
    ("kind", "policy", "how"),
    [(PPO, "MlpPolicy", FLAT), (DQN, "MlpPolicy", COMPACT), (PPO, "MultiInputPolicy", {}),
     (MaskablePPO, "MultiInputPolicy", {"name": "NextOneMasked", "features": "compact"})],
    ids=["flat", "compact", "dict", "masked"],
)  # fmt: skip
def test_a_model_of_sb3_takes_the_slot_that_it_takes_in_its_environment(kind, policy, how, seen):
    env = environment(**how)
    model = kind(policy, NextOneVecEnv(env), policy_kwargs={"net_arch": [8]}, seed=3, device="cpu")
    own, info = env.reset(seed=5)
    for _ in range(10):
        own, _, _, _, info = env.step(seen_first(info))
    masks = np.asarray(info["action_mask"]) != 0
    assert (masks == (seen["mask"] != 0)).all()
    given = {"action_masks": masks} if kind is MaskablePPO else {}
    actions = model.predict(own, deterministic=True, **given)[0]
    taken = nx.from_sb3(model)(observation_of(seen), None)[0].argmax(1)
    assert masks[np.arange(PEOPLE), taken].all()
    for action, slot, mask in zip(actions, taken, masks, strict=True):
        assert abs(slot - action) == min(abs(k - action) for k in np.flatnonzero(mask))


def seen_first(info):
    return np.asarray(info["action_mask"]).argmax(1)


def test_a_model_of_other_shapes_is_refused_in_one_line():
    model = PPO("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(ValueError, match="PPO was not trained on 7 slots and 3 past impressions"):
        nx.from_sb3(model)(empty_observation(2, 7, 3), None)
    with pytest.raises(ValueError, match="must be a model of stable-baselines3"):
        nx.from_sb3("ppo.zip")


class Shortest(torch.nn.Module):
    """Scores by one column."""

    def forward(self, candidates, history, context, mask):
        return -candidates[..., C.duration]


def test_a_torch_module_is_a_policy_wherever_one_is(seen):
    policy = nx.from_torch(Shortest())
    observation = observation_of(seen)
    np.testing.assert_array_equal(policy(observation, None)[0], -observation.candidates[..., C.duration])
    assert options_of(policy).pad_to == 64
    tiny = {"catalogue.kind": "synthetic", "catalogue.videos": 300, "population.users": 12}
    found = nx.compare({"cloud_only": "cloud_only", "mine": policy}, tiny, minutes=1, engine="batch")
    assert [arm.label for arm in found.found.arms] == ["cloud_only", "mine"]
    with pytest.raises(ValueError, match=r"must be a torch\.nn\.Module; a plain function is a policy as it is"):
        nx.from_torch(len)


MINE = """
import helper_of_mine
def policy(observation):
    return observation.candidates[:, :, helper_of_mine.COLUMN].copy()
policy.pad_to = 32
class Kind:
    pass
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "helper_of_mine.py").write_text(f"COLUMN = {C.duration}\n")
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path / 'mine.py'}:policy"


def test_a_file_named_on_the_command_line_is_a_policy(mine, seen):
    longest, short = arms_of(f"cloud_only,{mine}", [f"own={mine} server.page_size=4"], SCENARIO)[1:]
    assert (longest.label, short.label, short.scenario.server.page_size) == (mine, "own", 4)
    observation = observation_of(seen)
    for policy in (longest.policy, pickle.loads(pickle.dumps(longest.policy))):  # as another process gets it
        np.testing.assert_array_equal(policy(observation, policy.start(PEOPLE))[0],
                                      observation.candidates[..., C.duration])  # fmt: skip
        assert (options_of(policy).pad_to, options_of(policy).cost) == (32, None)
    assert arms_record([longest])[0]["policy"] == mine
    how = {"seed": 0, "replications": 10, "minutes": 1, "days": None, "engine": "batch"}
    assert len(provenance([longest], **how)["inputs"][mine]["mine.py"]) == 32


@pytest.mark.parametrize("by", [
    check_name,
    lambda name: plan_of(Question(grid=("server.page_size=2,4",), policies=(name,)), SCENARIO),
    lambda name: parse_arm(f"own={name}", SCENARIO),
    make_policy,
], ids=["a name", "a sweep", "an arm of a file", "a policy"])  # fmt: skip
def test_no_file_may_name_code(by, tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("raise SystemExit('this was run')\n")
    with pytest.raises((SettingError, UnknownPolicy), match="is code in a file: only --policies and --arm of nextone"):
        by(f"{bad}:policy")


@pytest.mark.parametrize(("text", "name", "line"), [
    ("x = 1\n1 / 0\n", "policy", r"own\.py:2: ZeroDivisionError"),
    ("def f(:\n", "policy", r"own\.py:1: SyntaxError"),
    ("def other(o): ...\n", "policy", r"own\.py defines no policy; it has other"),
    ("class policy: ...\n", "policy", "is a class; write"),
    ("policy = 3\n", "policy", "must be a function of an observation"),
    (None, "policy", "there is no file"),
])  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_in_one_line(text, name, line, tmp_path):
    if text is not None:
        (tmp_path / "own.py").write_text(text)
    with pytest.raises(SettingError, match=line):
        FilePolicy(f"{tmp_path / 'own.py'}:{name}")
