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
# # Off-policy estimates beside the truth
#
# A log of one policy is used to judge another that was never shown: by inverse propensities (IPS, SNIPS), with a model
# besides (DR), or by fitted Q evaluation (FQE). On real logs nobody can check the answer. Here the target policy is run
# as well, on the same people with the same luck.

# %%
import pandas as pd
from IPython.display import Image

from nextone import Scenario, with_settings
from nextone.experiments.output.figures import off_policy_figure
from nextone.experiments.training.off_policy.answer import DECISION, LOGGED, off_policy, table_lines, verdict
from nextone.experiments.training.off_policy.logged import OffPolicySettings

# %% tags=["parameters"]
target, policy = "kir", "server_score"
people, minutes, few_people = 600, 60, 100
settings = []  # such as "server.page_size=4"

# %% [markdown]
# ## Log, estimate, run
#
# `server_score` logs. At a fifth of the decisions it takes any candidate, at the others it draws by its scores, so that
# every candidate has a known chance. In its shadow `kir` is asked at every decision and shown at none.

# %%
world = {"scenario": with_settings(Scenario(), settings), "minutes": minutes, "target": target, "policy": policy}
found = off_policy(OffPolicySettings(explore=0.2, temperature=0.5, users=people, **world))
print("\n".join(verdict(found)))

# %%
heads, lines, note = table_lines(found)
pd.DataFrame(lines, columns=heads)

# %%
off_policy_figure(found, "off-policy.png")
Image("off-policy.png")

# %% [markdown]
# A decision in the states of the log is what IPS, SNIPS and DR are about. A session under the target is another thing:
# it leads to states of its own, where the best candidates were shown earlier. Weights of a whole session multiply, so
# that step-wise IPS stands on next to nothing; FQE needs no weights, and is as wrong as its model.
#
# ## What an estimate costs the people who are logged
#
# The same target from three logs of a few people: the less is left to chance, the fewer decisions an estimate stands
# on, and the better the people are served while it is logged.

# %%
rows = []
for explore, temperature in ((1.0, 0.0), (0.2, 0.5), (0.02, 0.0)):
    spread = {"explore": explore, "temperature": temperature, "users": few_people}
    each = off_policy(OffPolicySettings(**spread, **world))
    for name in ("IPS", "SNIPS", "DR"):
        row = each.row(DECISION, name)
        rows.append(spread | {"estimate": name, "% off": row.off.mean, "±": row.off.high - row.off.mean})
        rows[-1] |= {"stands on": row.stands_on, "logged": each.row(DECISION, LOGGED).value.mean}
pd.DataFrame(rows).round(2)
