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
# # Fitting to your own log
#
# The shipped people are fitted to a public log. If you have a log of impressions (who was shown what, when, for how
# long it played), fit them to yours. Here the log is made by the simulator with other people than the shipped ones, so
# that we know the truth, written as a CSV file, and read back as yours would be (columns: docs/your-own-log.md).

# %%
from pathlib import Path

from rich.console import Console

from nextone import Scenario, with_settings
from nextone.experiments.fitting.logs.user_log import read_user_log, write_generic
from nextone.experiments.fitting.people.calibrate import calibrate
from nextone.experiments.fitting.people.fit_file import fit_table, save_fit
from nextone.experiments.fitting.people.thinning import simulate_fortnight, thin

# %% tags=["parameters"]
out = Path("results/notebook_fit")
people, rows_each, simulated, rounds = 1000, 40, 500, 2

# %% [markdown]
# ## A log with a known truth
#
# These people decide later (1 s instead of .66) and stay less readily (-3.4 instead of -2.9).

# %%
truth = {"watching.dead_time_s": 1.0, "watching.stay": -3.4}
world = with_settings(Scenario(), truth)
log, _ = thin(simulate_fortnight(world, people, seed=1), rows_each, seed=1)
out.mkdir(parents=True, exist_ok=True)
write_generic(out / "log.csv", log)
print((out / "log.csv").read_text().splitlines()[0])

# %% [markdown]
# ## Read it, with every check

# %%
mine = read_user_log(out / "log.csv")
console = Console(width=118)
console.print(mine.report())

# %% [markdown]
# ## Fit

# %%
fit = calibrate(mine, people=simulated, rounds=rounds)
console.print(fit_table(fit, "log.csv"))

# %% [markdown]
# Does it find what was planted? The fit says how sure it is, not whether the form of the model is right: `nextone
# validate --log` compares number by number.

# %%
for e in fit.estimates:
    if e.name in truth:
        inside = "inside" if e.low <= truth[e.name] <= e.high else "outside"
        print(f"{e.name}: fitted {e.value:.3f} [{e.low:.3f}, {e.high:.3f}]; the truth, {truth[e.name]}, is {inside}")

# %% [markdown]
# ## Use it

# %%
save_fit(fit, "log.csv", out / "mine.toml")
print(f"nextone compare --scenario {out / 'mine.toml'}")
