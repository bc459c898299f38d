# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Training a policy on NextOne
#
# The choice of the next video can be learnt by reinforcement learning. An episode is a session of a person, a step is a
# decision, and the reward says what is wanted. Here a small network learns for a short while with PPO, and actions that
# are not possible are masked. `nextone train rl` trains for longer.

# %%
from pathlib import Path

from IPython.display import Image, display

from nextone import Scenario, compare_policies, with_settings
from nextone.envs.reward import PRESETS
from nextone.experiments.output.figures import learning_figure
from nextone.experiments.training.rl.train import TrainSettings, levels, train

# %% tags=["parameters"]
out = Path("results/notebook_rl")
steps, envs, evaluation, hyperparameters = 60_000, 128, (128, 1), {}
people, minutes = 200, 20

# %% [markdown]
# ## The world and the reward
#
# The reward `watch` gives a point for each second watched. Every part of the reward is also in the environment's
# `info`, for example `reward_watch_s`.

# %%
scenario = with_settings(Scenario(), [f"population.users={people}"])
reward = PRESETS["watch"]
reward

# %% [markdown]
# ## Train
#
# Now and then the training is evaluated on people that it does not train on. The figure shows their mean reward in an
# episode. Dashed lines are rules, evaluated on the same people.

# %%
settings = TrainSettings(
    scenario=scenario,
    reward=reward,
    steps=steps,
    envs=envs,
    checkpoints=4,
    evaluation=evaluation,
    hyperparameters=hyperparameters,
    threads=1,
)
looks = train(settings, out)
learning_figure([looks], levels(settings), out / "curves.png")
display(Image(out / "curves.png"))

# %% [markdown]
# ## Compare
#
# A folder of checkpoints is a policy named `rl:DIR`. It can be compared with others in the world with servers. After so
# few steps it may lose to a rule. The row `app_min` shows that: a star marks a difference that luck does not explain.

# %%
policies = {"cloud_only": "cloud_only", "tag_momentum": "tag_momentum", "trained": f"rl:{out}"}
print(compare_policies(policies, scenario, minutes=minutes))
