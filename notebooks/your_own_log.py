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
# The shipped people are fitted to a public log. If you have a log of impressions (who was shown what, when, and for how
# long it played), you can fit people to yours. Here the simulator makes the log, with people who differ from the
# shipped ones, so we know which answer is right. The log is written as a CSV file and read back like yours
# (docs/your-own-log.md describes the columns).

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
# These people decide later whether to stay, after 1 s instead of .63 (`watching.dead_time_s`). They also stay less
# readily: the log-odds of staying (`watching.stay`) are -3.4 instead of -1.53.

# %%
truth = {"watching.dead_time_s": 1.0, "watching.stay": -3.4}
world = with_settings(Scenario(), truth)
log, _ = thin(simulate_fortnight(world, people, seed=1), rows_each, seed=1)
out.mkdir(parents=True, exist_ok=True)
write_generic(out / "log.csv", log)
print((out / "log.csv").read_text().splitlines()[0])

# %% [markdown]
# ## Read it, with every check
#
# The report says how each column was understood, which rows were left out, and what looks odd.

# %%
mine = read_user_log(out / "log.csv")
console = Console(width=118)
console.print(mine.report())

# %% [markdown]
# ## Fit
#
# The fit looks for parameters under which simulated people leave the same traces in a log.

# %%
fit = calibrate(mine, people=simulated, rounds=rounds)
console.print(fit_table(fit, "log.csv"))

# %% [markdown]
# Does the fit find the two numbers that we set? Its intervals say how sure it is. They do not say whether the form of
# the model is right; for that, `nextone validate --log` compares simulation and log number by number.

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
