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
# A policy scores the candidates on the phone from what the phone knows; the best live slot is shown next. Nothing is
# registered and nothing inherited: a function of the observation is one.

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
# A row for each candidate in the pool; docs/observation.md lists every column with its unit. The server's predictions
# are logits, scaled.

# %%
scenario = with_settings(Scenario(), [f"population.users={people}"])
observation, info = gymnasium.make("nextone/NextOne-v0", scenario=scenario).reset(seed=3)
columns = ["rank", "duration", "pevtr", "pltr", "preloaded", "age"]
seen = observation["candidates"][observation["mask"] != 0]
pd.DataFrame({name: seen[:, getattr(C, name)] for name in columns}).round(3).head(8)

# %% [markdown]
# ## Write one
#
# Believe the server, but on a slow link prefer what is already on the phone.


# %%
def here_when_slow(observation):
    """Scores (N, P): the server's blend, plus what is preloaded where the link is slow."""
    scores = server_score(observation)
    slow = observation.context[:, X.throughput] < 0.5
    scores[slow] += observation.candidates[slow][:, :, C.preloaded]
    return scores


# %% [markdown]
# ## Does it help?
#
# Against the cloud's order and the blend it starts from, on the same people with the same luck. Policies with a memory
# have `start(n)` as well, and a policy may say how it wants to be asked (`Options`): both in `policies/contract.py`.
# In a file of your own, more processes are `workers=2`.

# %%
policies = {"cloud_only": "cloud_only", "server_score": "server_score", "here_when_slow": here_when_slow}
result = compare_policies(policies, scenario, minutes=minutes, replications=replications)
print(result)

# %%
out.parent.mkdir(parents=True, exist_ok=True)
uplift_figure(result, out)
display(Image(out))
