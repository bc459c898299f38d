"""What a step tells and a screen shows: a reward is the sum of its components; text, pictures and videos."""

import re
from time import thread_time

import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo
from singles_and_vectors import single, some_action, vector

from nextone.envs.reward import COMPONENTS, PRESETS, RewardWeights
from nextone.envs.screen import HEIGHT, WIDTH

# -- reward ------------------------------------------------------------------------------------------------------------


def test_reward_is_the_weighted_sum_of_its_components():
    weights = RewardWeights(watch_s=0.5, requests=-1.5, leaving=-3.0)
    for given in ("default", "watch", "plays", weights, {"stall_s": -1.0, "wasted_mb": -0.25}):
        env = single(reward=given).unwrapped
        used = env.batch.weights
        observation, _ = env.reset(seed=21)
        for step in range(8):
            observation, reward, over, _, info = env.step(some_action(observation, step))
            expected = sum(getattr(used, name) * info[f"reward_{name}"] for name in COMPONENTS)
            assert reward == pytest.approx(expected, rel=1e-12, abs=1e-12)
            if over:
                break
    assert PRESETS["default"] == RewardWeights() and PRESETS["plays"].hate == -10 and PRESETS["watch"].like == 0


# -- rendering ---------------------------------------------------------------------------------------------------------


def test_text_screen():
    env = single(render_mode="ansi")
    env.reset(seed=5)
    assert "last: nothing yet" in env.render()
    env.step(4)
    shown = env.render()
    assert shown.startswith("person 0") and "last (slot 4): " in shown and "\n   4 " not in shown


def test_the_screen_after_a_session_says_how_many_videos_it_had():
    env = single(render_mode="ansi")
    seen, _ = env.reset(seed=5)
    over, shown = False, ""
    while not over:
        before = shown
        seen, _, over, _, _ = env.step(some_action(seen, 0))
        shown = env.render()
    last, all_of_them = (int(re.search(r"(\d+) videos? shown", text)[1]) for text in (before, shown))
    assert "has left" in shown and last <= all_of_them <= last + 1 and all_of_them > 0


def test_picture_and_video(tmp_path):
    env = single(render_mode="rgb_array", max_steps=4)
    env.reset(seed=5)
    first = env.render()
    took = []
    for _ in range(10):
        start = thread_time()
        env.render()
        took.append(thread_time() - start)
    assert min(took) < 0.03  # seconds of one core; matplotlib's own figures take ten times as long
    assert first.shape == (HEIGHT, WIDTH, 3) and first.dtype == np.uint8 and first.std() > 20
    video = RecordVideo(env, str(tmp_path / "video"), disable_logger=True)
    observation, _ = video.reset(seed=5)
    over = False
    while not over:
        observation, _, terminated, truncated, _ = video.step(observation["mask"].argmax())
        over = terminated or truncated
    video.close()
    files = list(tmp_path.glob("video/*.mp4"))
    assert len(files) == 1 and files[0].stat().st_size > 5000
    many = vector(2, render_mode="rgb_array")
    many.reset(seed=0)
    assert len(many.render()) == 2
