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
# # Page size and TTL
#
# A smaller page lets the cloud react sooner, but asks the servers more often; a shorter TTL throws away candidates that
# could still be shown. Both act on people, servers and links at once, so they are swept together: every cell meets the
# same people with the same luck.

# %%
from pathlib import Path

import pandas as pd
from IPython.display import SVG, display
from rich.console import Console

from nextone import Scenario, with_settings
from nextone.experiments.output.report.landscape import landscape
from nextone.experiments.output.report.report import write_report
from nextone.experiments.sweeps.plan import Question
from nextone.experiments.sweeps.sweep import sweep
from nextone.experiments.sweeps.table import sweep_table

# %% tags=["parameters"]
out = Path("results/notebook_sweep")
people, minutes, replications = 200, 20, 12
pages, ttls = "2,4,6,12", "60,300,inf"

# %% [markdown]
# ## Ask
#
# Ten replications of everything, then more where intervals are wide, until they are as narrow as asked or the budget
# ends. Killed, it goes on with `nextone sweep --resume`. In a script of your own, more processes are `workers=2`, under
# `if __name__ == "__main__":`.

# %%
question = Question(
    question="Which page size and TTL keep people watching?",
    grid=(f"server.page_size={pages}", f"client.ttl_s={ttls}"),
    policies=("cloud_only", "tag_momentum"),
    half_width="2%",
    max_replications=replications,
    minutes=minutes,
)
base = with_settings(Scenario(), [f"population.users={people}"])
result = sweep(question, base, out=out)

# %% [markdown]
# ## The answer
#
# Paired differences with 95 % intervals; the best of many cells is flattered by its own luck, so it is measured again
# on fresh seeds.

# %%
console = Console(width=118)
for part in sweep_table(result):
    console.print(part)

# %% [markdown]
# ## The landscape
#
# Blue is better, orange worse; bold with a star: the interval excludes zero.

# %%
for figure in landscape(result).figures[:2]:
    display(SVG(figure.svg))

# %% [markdown]
# ## What it costs the servers

# %%
load = ["requests", "utilisation", "queue_p95_ms", "timeout_rate"]
means = [{name: result.of(arm, name).mean() for name in load} for arm in result.arms]
rows = [arm.cell.values | {"policy": arm.policy} | own for arm, own in zip(result.arms, means, strict=True)]
pd.DataFrame(rows).round(3)

# %% [markdown]
# ## One page for everybody else
#
# `nextone report DIR` writes it too: one file that needs no network.

# %%
write_report(out)
