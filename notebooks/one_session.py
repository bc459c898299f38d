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
# # One session, step by step
#
# A person opens the app, a page arrives, and after every swipe the phone picks the next video from the candidates it
# holds (**NextOne**). This notebook looks over the phone's shoulder: its screen, its timeline, its ledgers.

# %%
import gymnasium
import pandas as pd
from PIL import Image

from nextone import Scenario, with_settings  # registers the environments, too
from nextone.experiments.output.timeline import make_timeline, timeline_text
from nextone.experiments.runs.replication import run_arm

# %% tags=["parameters"]
steps = 12  # decisions to make
settings = ["population.users=20", "catalogue.videos=20000"]
user, minutes = 9, 30

# %% [markdown]
# ## The screen at a decision
#
# The environment is the world paused at each decision. Here the action is the server's first candidate; any slot may be
# taken. The picture shows the pool with the server's predictions, what is preloaded of each, and the last reactions.

# %%
scenario = with_settings(Scenario(), settings)
env = gymnasium.make("nextone/NextOne-v0", scenario=scenario, reward="watch", render_mode="rgb_array")
observation, info = env.reset(seed=3)
Image.fromarray(env.render())

# %%
lived = []
for _ in range(steps):
    observation, reward, left, cut, info = env.step(observation["mask"].argmax())
    lived.append({"seconds watched": reward, **{k: info[f"reward_{k}"] for k in ("valid_play", "like", "wasted_mb")}})
    if left or cut:
        break
pd.DataFrame(lived).round(2)

# %%
Image.fromarray(env.render())

# %% [markdown]
# ## The timeline
#
# The same kind of session in the world with servers, under a rule on the phone: what is on the screen, whom the link
# works for, what happens to the pool, where each request is, when decisions are ready. `nextone timeline` writes it for
# any viewer of Chrome traces (ui.perfetto.dev).

# %%
made = make_timeline(scenario, user, 0, "tag_momentum", minutes=minutes)
print("\n".join(timeline_text(made).splitlines()[:40]))

# %%
pd.Series([event.lane for event in made.events]).value_counts()

# %% [markdown]
# ## The ledgers balance, to the microsecond and the byte

# %%
run = run_arm(scenario, "tag_momentum", seed=0, replication=0, minutes=minutes)
person = run.world.users[user]
names = ["play", "stall", "startup", "swipe", "wait", "browse", "away"]
seconds = pd.Series(dict(zip(names, person["ledger_us"][:7] / 1e6, strict=True)))
print(seconds.round(2).to_string())
print(f"sum {seconds.sum():.6f} s = time in the app {person['wall_us'] / 1e6:.6f} s")
assert person["ledger_us"][:7].sum() == person["wall_us"]

# %%
columns = ["video", "rank", "position", "live", "play_us", "startup_us", "stall_us", "feedback"]
own = run.records.impressions[run.records.impressions["user"] == user]
pd.DataFrame({name: own[name] for name in columns}).head(10)
