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
# The decision on the phone is a reinforcement learning problem: an episode is a session, a step is a decision, the
# reward says what is wanted. Here a small network learns with masked PPO for a short while; `nextone train rl` does it
# properly.

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
# `watch` pays a point for each second watched. Every component is in the environment's `info`:
# `reward_watch_s` and so on.

# %%
scenario = with_settings(Scenario(), [f"population.users={people}"])
reward = PRESETS["watch"]
reward

# %% [markdown]
# ## Train
#
# It looks at people it does not train on, who play the same sessions under every rule.

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
# A checkpoint is a policy named `rl:DIR`, in the world with servers as well. After so few steps it need not beat a
# rule; the table says whether it does.

# %%
policies = {"cloud_only": "cloud_only", "tag_momentum": "tag_momentum", "trained": f"rl:{out}"}
print(compare_policies(policies, scenario, minutes=minutes))
