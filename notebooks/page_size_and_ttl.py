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
# A smaller page lets the cloud react sooner, but asks the servers more often. A shorter TTL (time to live) throws away
# candidates that could still be shown. Both act on people, servers and links at once, so this notebook varies them
# together. One combination of the two is a cell, and every cell meets the same people with the same random draws.

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
people, minutes, replications = 150, 20, 10
pages, ttls = "2,6,12", "60,600"

# %% [markdown]
# ## Ask
#
# Every cell is run ten times. Cells with wide intervals are run again, until all intervals are as narrow as asked or
# `max_replications` is reached. If the sweep is killed, `nextone sweep --resume` continues it. In a script of your own,
# `workers=2` uses two processes, under `if __name__ == "__main__":`.

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
# The first sentences are the answer; the table has paired differences with 95 % intervals. The best of many cells looks
# better than it is, because luck helped to choose it. So it is measured again on fresh seeds.

# %%
console = Console(width=118)
for part in sweep_table(result):
    console.print(part)

# %% [markdown]
# ## Maps
#
# Blue is better than the default, orange is worse. A bold number with a star can be told from 0.

# %%
for figure in landscape(result).figures[:2]:
    display(SVG(figure.svg))

# %% [markdown]
# ## What it costs the servers
#
# Requests are per person; utilisation is the share of time that workers are busy.

# %%
load = ["requests", "utilisation", "queue_p95_ms", "timeout_rate"]
means = [{name: result.of(arm, name).mean() for name in load} for arm in result.arms]
rows = [arm.cell.values | {"policy": arm.policy} | own for arm, own in zip(result.arms, means, strict=True)]
pd.DataFrame(rows).round(3)

# %% [markdown]
# ## One page for everybody else
#
# `write_report` makes one HTML file that needs no network. `nextone report DIR` does the same.

# %%
write_report(out)
