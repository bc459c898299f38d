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
# A smaller page lets the cloud react sooner, but asks the servers more often; a shorter TTL throws candidates away while
# they could still be shown. Both act on people, servers and network at once, so we sweep them together: every cell meets
# the same people with the same luck.

# %%
from pathlib import Path

from IPython.display import SVG, display
from rich.console import Console

from nextone import Scenario, with_settings
from nextone.experiments.report import write_report
from nextone.experiments.report_landscape import landscape
from nextone.experiments.sweep import sweep
from nextone.experiments.sweep_plan import Question
from nextone.experiments.sweep_present import sweep_table
from nextone.experiments.sweep_result import SweepArm

# %% tags=["parameters"]
out = Path("results/notebook_sweep")
people, minutes, workers = 300, 20, 2
pages, ttls = "2,4,6,12", "60,300,inf"

# %% [markdown]
# ## Ask
#
# Ten replications of everything, then more where intervals are wide, until they are as narrow as asked or the budget
# ends. Killed, it goes on with `nextone sweep --resume`.

# %%
question = Question(
    question="Which page size and TTL keep people watching?",
    grid=(f"server.page_size={pages}", f"client.ttl_s={ttls}"),
    policies=("cloud_only", "tag_momentum"),
    half_width="2%",
    max_replications=20,
    minutes=minutes,
)
base = with_settings(Scenario(), [f"population.users={people}"])
if __name__ == "__main__":  # processes import this file again
    result = sweep(question, base, out=out, workers=workers)

# %% [markdown]
# ## The answer

# %%
    console = Console(width=120)
    for part in sweep_table(result):
        console.print(part)
