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
# # Adding your own policy
#
# A policy scores the candidates on the phone from what the phone knows, and the candidate with the highest score is
# shown next. Any function of the observation is a policy: there is no class to inherit from and nothing to register.

# %%
from pathlib import Path

import gymnasium
import pandas as pd
from IPython.display import Image, display

from nextone import Scenario, compare_policies, with_settings  # registers the environments, too
from nextone.envs.features import C, X
from nextone.experiments.output.figures import uplift_figure
from nextone.policies.rules import server_score

# %% tags=["parameters"]
out = Path("results/notebook_policy.png")
people, minutes, replications = 200, 20, 10

# %% [markdown]
# ## What a policy sees
#
# The observation has a row for each candidate on the phone. docs/observation.md lists every column with its unit. The
# server's predictions (`pevtr`, `pltr`) are scaled logits.

# %%
scenario = with_settings(Scenario(), [f"population.users={people}"])
observation, info = gymnasium.make("nextone/NextOne-v0", scenario=scenario).reset(seed=3)
columns = ["rank", "duration", "pevtr", "pltr", "preloaded", "age"]
seen = observation["candidates"][observation["mask"] != 0]
pd.DataFrame({name: seen[:, getattr(C, name)] for name in columns}).round(3).head(8)

# %% [markdown]
# ## Write one
#
# This policy trusts the server's score, but on a slow link it prefers videos that are already on the phone.


# %%
def here_when_slow(observation):
    """Scores (N, P): the server's score, plus the preloaded share where the link is slow."""
    scores = server_score(observation)
    slow = observation.context[:, X.throughput] < 0.5
    scores[slow] += observation.candidates[slow][:, :, C.preloaded]
    return scores


# %% [markdown]
# ## Does it help?
#
# It is compared with the cloud's order and with the server's score alone, on the same people and random draws.
# A policy that needs a memory is an object with a method `start(n)`, and a policy may say when it wants to be asked
# (`Options`); both are in `policies/contract.py`. In a script of your own, `workers=2` uses two processes.

# %%
policies = {"cloud_only": "cloud_only", "server_score": "server_score", "here_when_slow": here_when_slow}
result = compare_policies(policies, scenario, minutes=minutes, replications=replications)
print(result)

# %%
out.parent.mkdir(parents=True, exist_ok=True)
uplift_figure(result, out)
display(Image(out))
