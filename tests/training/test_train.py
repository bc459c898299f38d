"""Training: masks hold, a resume gives the same bits, and what is trained can be compared.

All of it runs in a small world, in seconds; learning where the optimum is known is test_train_tiny.py's."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from worlds import scenario

from nextone.envs.reward import COMPONENTS, PRESETS, reward_weights
from nextone.experiments.output.figures import frontier_figure
from nextone.experiments.training import progress
from nextone.experiments.training.rl import asking
from nextone.experiments.training.rl import train as train_rl
from nextone.experiments.training.rl.asking import LOOKED_AT, train_asking
from nextone.experiments.training.rl.dqn import MaskedDQN
from nextone.experiments.training.rl.evaluate import Played, chooser, play
from nextone.experiments.training.rl.frontier import above_thresholds, frontier
from nextone.experiments.training.rl.greedy import asks_below
from nextone.experiments.training.rl.ppo import prepared
from nextone.experiments.training.rl.train import (
    TrainSettings,
    describe,
    make_env,
    make_model,
    resume_from,
    settings_of,
    train,
)
from nextone.policies.checkpoint import (
    MODEL,
    TRAINING,
    CheckpointError,
    best_checkpoint,
    newest_checkpoint,
    read_checkpoint,
)
from nextone.policies.networks.pointer.network import DEAD_SCORE
from nextone.policies.rl import RlPolicy, load_rl
from nextone.policies.rules import blend
from nextone.sim.inputs.errors import UserError
from nextone.sim.scenario import SettingError

WORLD = scenario(client__history=5, server__candidates=6, server__page_size=3)
TINY = {
    "maskable_ppo": {"n_steps": 16, "batch_size": 64, "n_epochs": 2, "from_rule": False},
    "dqn": {"buffer_size": 400, "learning_starts": 60, "batch_size": 32, "target_update_interval": 40},
}
ALGORITHMS = list(TINY)
pytestmark = pytest.mark.usefixtures("one_thread")


def settings(algo="maskable_ppo", **changes):
    usual = {
        "scenario": WORLD, "algo": algo, "steps": 8 * 16 * 5, "envs": 8, "hyperparameters": TINY[algo],
        "checkpoints": 5, "evaluation": (16, 1), "threads": 1, "width": 8,
    }  # fmt: skip
    return TrainSettings(**usual | changes)


def contents(checkpoint):
    """The bytes of a checkpoint's tensors."""
    return [(checkpoint / f"{name}.safetensors").read_bytes() for name in (MODEL, TRAINING)]


@pytest.fixture(scope="module", params=ALGORITHMS)
def trained(request, tmp_path_factory):
    """(settings, folder) of a training that nothing interrupted."""
    out = tmp_path_factory.mktemp(request.param)
    chosen = settings(request.param)
    looks = train(chosen, out)
    assert [look["step"] for look in looks] == [0, 128, 256, 384, 512, 640]
    return chosen, out


def test_torch_keeps_its_threads_when_numba_starts_its_own():
    """Both share one OpenMP: whoever starts sets the other's number. In a process where nobody did yet."""
    code = """
import nextone, numba, torch
from nextone.experiments.training.state import torch_threads
with torch_threads(1):
    numba.get_num_threads()
    print(torch.get_num_threads())
"""
    environ = os.environ | {"NUMBA_NUM_THREADS": "2"}
    environ.pop("OMP_NUM_THREADS", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.split() == ["1"]


# -- resume ------------------------------------------------------------------------------------------------------------


def test_a_resume_gives_the_same_weights_bit_for_bit(trained, tmp_path):
    """The newest checkpoint is truncated: training goes on from the one before, and writes the same bytes again."""
    chosen, out = trained
    newest = newest_checkpoint(out).path
    expected, about = contents(newest), read_checkpoint(newest).about
    again = tmp_path / "again"
    shutil.copytree(out, again)
    file = again / newest.name / "training.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    read, checkpoint = resume_from(again)
    assert json.dumps(describe(read)) == json.dumps(describe(chosen))
    assert checkpoint.step == 512
    train(read, again, resume=checkpoint)
    assert contents(again / newest.name) == expected
    assert read_checkpoint(again / newest.name).about == about


def test_a_training_stopped_after_its_first_checkpoint_goes_on(trained, tmp_path):
    """Before the first update there are no moments to be restored."""
    chosen, out = trained
    train_until(chosen, tmp_path, 0, None)
    read, checkpoint = resume_from(tmp_path)
    assert checkpoint.step == 0
    train(read, tmp_path, resume=checkpoint)
    assert contents(newest_checkpoint(tmp_path).path) == contents(newest_checkpoint(out).path)


def test_progress_is_a_line_now_and_then_where_nobody_watches(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    train(settings(steps=128, checkpoints=1), tmp_path, progress=True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and lines[0] == "nextone: 0 of 128 steps"
    first = next(line for line in lines if "reward" in line)
    assert first.startswith("nextone: 0 of 128 steps: reward ") and "over cloud_only" in first
    assert lines[-1].startswith("nextone: 128 of 128 steps: reward ")


def test_a_thread_that_meets_a_full_disk_prints_no_traceback(tmp_path, capsys):
    """TensorBoard's does; who writes next is told. pytest makes a failure of any other error in a thread."""

    def write():
        raise OSError("No space left on device")

    with train_rl.logging_to(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert capsys.readouterr().err == ""


def test_a_run_may_be_named_by_text(trained):
    _, out = trained
    assert load_rl(str(out)).__name__ == f"rl:{out}"


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = ["..", "."]
from test_train import resume_from, settings, train
out = Path(sys.argv[1])
if any(out.iterdir()):
    chosen, checkpoint = resume_from(out)
    train(chosen, out, resume=checkpoint)
else:
    train(settings(steps=int(sys.argv[2]), checkpoints=int(sys.argv[3])), out)
"""


def killed(out, steps, checkpoints, when):
    """Train in a process of its own, and kill it as soon as `when(names in out)` says so; whether it was."""
    command = [sys.executable, "-c", SCRIPT, str(out), str(steps), str(checkpoints)]
    process = subprocess.Popen(command, cwd=os.path.dirname(__file__))
    while process.poll() is None:
        if when(sorted(name for name in os.listdir(out) if name.startswith("step-"))):
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    assert process.returncode == 0
    return False


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    """Really killed, at whatever it was doing after its first checkpoint."""
    alone, broken = tmp_path / "alone", tmp_path / "broken"
    broken.mkdir()
    assert killed(broken, 16 * 8 * 400, 400, lambda names: len(names) >= 1)
    chosen, checkpoint = resume_from(broken)
    stop = checkpoint.step + 2 * 128
    alone.mkdir()
    for folder, start in ((broken, checkpoint), (alone, None)):
        model_out = tmp_path / f"{folder.name}-short"
        model_out.mkdir()
        train_until(chosen, model_out, stop, start)
    names = [newest_checkpoint(tmp_path / f"{name}-short").path for name in ("alone", "broken")]
    assert names[0].name == names[1].name and contents(names[0]) == contents(names[1])


class Enough(Exception):
    """Training has come as far as the test needs."""


def train_until(chosen, out, stop, start):
    """Train with a schedule made for more, and stop at a checkpoint."""
    usual = train_rl.save_checkpoint

    def save_and_stop(run, step, about, tensors):
        path = usual(run, step, about, tensors)
        if step >= stop:
            raise Enough
        return path

    train_rl.save_checkpoint = save_and_stop
    try:
        with pytest.raises(Enough):
            train(chosen, out, resume=start)
    finally:
        train_rl.save_checkpoint = usual


@pytest.mark.long
def test_twenty_kills_and_the_weights_of_none(tmp_path):
    """One training killed 20 times, at random moments of writing, learning and starting, each time resumed."""
    alone, broken = tmp_path / "alone", tmp_path / "broken"
    alone.mkdir(), broken.mkdir()
    steps, checkpoints = 16 * 8 * 60, 60
    train(settings(steps=steps, checkpoints=checkpoints), alone)
    luck = np.random.default_rng(0)
    for kill in range(20):
        goal, delay = 2 * kill, luck.exponential(0.05)
        reached = []

        def when(names, goal=goal, delay=delay, reached=reached):
            if names and int(names[-1][5:]) >= goal * 128 and not reached:
                reached.append(time.monotonic() + delay)
            return bool(reached) and time.monotonic() > reached[0]

        assert killed(broken, steps, checkpoints, when)
    chosen, checkpoint = resume_from(broken)
    train(chosen, broken, resume=checkpoint)
    left, right = newest_checkpoint(alone).path, newest_checkpoint(broken).path
    assert left.name == right.name and contents(left) == contents(right)


def test_what_does_not_fit_is_refused_in_one_line(trained, tmp_path):
    chosen, out = trained
    with pytest.raises(SettingError, match="already holds a training"):
        train(chosen, out)
    _, checkpoint = resume_from(out)
    with pytest.raises(CheckpointError, match=r"weights .* are float32 \(8"):
        train(settings(chosen.algo, width=4), tmp_path, resume=checkpoint)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        resume_from(tmp_path)
    for wrong in ({}, {"steps": "x"}, {"nonsense": 1}):
        about = checkpoint.about | {"settings": wrong and checkpoint.about["settings"] | wrong}
        with pytest.raises(CheckpointError, match="do not suit"):
            settings_of(checkpoint._replace(about=about))


# -- masks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refresh", [False, True])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_nothing_masked_is_ever_chosen(algo, refresh):
    """The environment raises if it is: in exploration, before learning starts and after."""
    chosen = settings(algo, refresh=refresh, options={"invalid_action": "raise"}, steps=600)
    model = make_model(chosen)
    own = {"use_masking": False} if algo == "maskable_ppo" else {}
    model.learn(600, **own)
    model._last_obs["mask"][0, 1] = 0  # whatever is live by now, one slot is not
    dead = model._last_obs["mask"] == 0
    seen = {name: torch.from_numpy(array) for name, array in model._last_obs.items()}
    scores, _ = model.policy.network(seen["candidates"], seen["history"], seen["context"], seen["mask"])
    assert (scores.detach().numpy()[dead] == DEAD_SCORE).all()
    if isinstance(model, MaskedDQN):
        assert (model.q_net_target(seen).detach().numpy()[dead] == DEAD_SCORE).all(), "targets know the mask too"
        model.exploration_rate = 1.0
        explored = [model._sample_action(0)[0] for model.num_timesteps in range(10**6, 10**6 + 300)]
        rows = np.arange(8)
        assert all((model._last_obs["mask"][rows, actions] == 1).all() for actions in explored)
        for row in rows:
            assert len({a[row] for a in explored}) == (~dead[row]).sum(), "and every other one is"


def test_ppo_knows_the_chances_of_what_it_does():
    """By hand: the share of each action among many draws is its probability, masked ones never."""
    model = make_model(settings())
    obs = model.env.reset()
    seen = {name: torch.from_numpy(np.repeat(array[:1], 4000, 0)) for name, array in obs.items()}
    seen["mask"][:, 2:4] = 0
    with torch.no_grad():
        actions, _, log_chance = model.policy(seen)
        _, same, entropy = model.policy.evaluate_actions(prepared(seen), actions)
    assert torch.equal(log_chance, same)
    chances = torch.exp(log_chance)
    for action in actions.unique():
        p = float(chances[actions == action][0])
        share = float((actions == action).float().mean())
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 4000)
        assert action not in (2, 3)
    assert np.isclose(float(entropy[0]), float(-log_chance.mean()), atol=0.1)


# -- what is looked at -------------------------------------------------------------------------------------------------


def test_people_are_the_same_under_every_policy_and_in_any_number_of_rows():
    chosen = settings()
    plays = [play(make_env(chosen, rows), chooser("server_score"), 5, 1) for rows in (4, 9)]
    assert (plays[0].components == plays[1].components[:4]).all()
    assert (plays[0].reward(PRESETS["watch"]) == plays[0].column("watch_s")).all()
    other = play(make_env(chosen, 9), chooser("longest_first"), 5, 1)
    assert (other.components != plays[1].components).any()


def test_thresholds_trade_requests_for_fresh_pages(trained, tmp_path):
    """Who asks at every chance asks more than who never does; a policy trained to ask is a point beside the rules."""
    chosen = settings(refresh=True, steps=256, checkpoints=1)
    train(chosen, tmp_path / "asks")
    points = frontier(chosen, [str(tmp_path / "asks")], size=(32, 2))
    assert [p.name for p in points[:-1]] == ["never", *(f"left <= {left}" for left in range(3))]
    never, *_, always = points[:-1]
    assert always.requests.mean > never.requests.mean  # the same people
    assert never.gained.mean == 0.0 and always.gained.mean == pytest.approx(always.watch_s.mean - never.watch_s.mean)
    assert [p.trained for p in points] == [False] * 4 + [True]
    frontier_figure(points, tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").stat().st_size > 10_000


def test_above_a_mixture_of_two_thresholds():
    """A point of the mixture lies 0 above it, whoever is in it; 3 s more lie 3 above; beyond the ends is nothing."""
    luck = np.random.default_rng(0)
    worth = luck.normal(100.0, 30.0, 4000)

    def sessions(requests, watched):
        components = np.zeros((4000, len(COMPONENTS)))
        components[:, list(COMPONENTS).index("requests")] = requests
        components[:, list(COMPONENTS).index("watch_s")] = watched
        return Played(components, np.ones(4000, np.int64))

    fixed = [sessions(10.0, worth), sessions(20.0, worth + 50.0)]
    half = luck.random(4000) < 0.5
    mixed = sessions(np.where(half, 10.0, 20.0), worth + np.where(half, 0.0, 50.0))
    found = above_thresholds(mixed, fixed)
    assert abs(found.low) < 1e-9 and abs(found.high) < 1e-9  # who is in it makes no difference
    better = above_thresholds(sessions(15.0, worth + 28.0), fixed)
    assert better.mean == pytest.approx(3.0)
    assert above_thresholds(sessions(21.0, worth), fixed) is None


def test_the_first_policy_asks_as_its_threshold_does():
    """What training starts from is `rules.blend` with a fixed threshold, on nine choices of ten and in the mean."""
    begun = TINY["maskable_ppo"] | {"from_rule": True}
    chosen = settings(refresh=True, reward=reward_weights("watch_s=1,requests=-6"), hyperparameters=begun)
    network = make_model(chosen, 1).policy.network
    env = make_env(chosen, 64)
    network_plays, rule_plays = (
        play(env, chooser(p), 5, 4) for p in (RlPolicy(network), asks_below(blend, 1))
    )
    asked = [p.column("requests").mean() for p in (network_plays, rule_plays)]
    # Measured: the same to every bit, with seeds 0 to 2, by AVX-512 and by SSE2.
    assert asked[0] == pytest.approx(asked[1], rel=0.02)
    assert np.mean(network_plays.steps == rule_plays.steps) > 0.9


def test_when_to_ask_is_searched_for(tmp_path, monkeypatch):
    """A few tries: the best is no worse than the start on the people searched with, and `rl:DIR` plays it. What cannot
    be saved is told."""
    brief = scenario(client__history=5, server__candidates=6, server__page_size=3, sessions__leave_per_min=3.0)
    chosen = settings(refresh=True, reward=reward_weights("watch_s=1,requests=-6"), scenario=brief)
    moves = train_asking(chosen, tmp_path / "asks", sessions=16, tries=20)
    assert moves.shape == (1 + len(LOOKED_AT),)

    def full(*_):
        raise UserError("no room")

    monkeypatch.setattr(asking, "save_checkpoint", full)
    with pytest.raises(UserError, match="no room; found: shift=") as again:
        train_asking(chosen, tmp_path / "again", sessions=16, tries=20)
    told = [float(part.partition("=")[2]) for part in str(again.value).partition("found: ")[2].split(", ")]
    assert told == pytest.approx(moves.tolist(), rel=1e-5)
    about = best_checkpoint(tmp_path / "asks").about
    assert list(about["moves"].values()) == moves.tolist() and about["refresh"]
    assert load_rl(tmp_path / "asks", chosen.scenario).network.ask is not None
    with pytest.raises(SettingError, match="already holds a training"):
        train_asking(chosen, tmp_path / "asks", sessions=16, tries=20)
    with pytest.raises(SettingError, match="says nothing about videos"):
        train_asking(settings(refresh=True, reward=reward_weights("requests=-1")), tmp_path / "none")
