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
# A person opens the app, a page of videos arrives, and after every swipe the phone picks the next video from the
# candidates that it holds. This choice is called **NextOne**. The notebook shows one session in three ways: the phone's
# screen, a timeline of events, and the sums of time that must add up.

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
# The environment is the simulated world, paused at each decision. An action is the number of the candidate to show
# next. Here it is always the first one that may be shown. The picture shows the candidates on the phone, with the
# server's predictions, what is preloaded of each, and how the person reacted to the last videos.

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
# The next session is of the same kind, with a rule on the phone. The timeline says what is on the screen, what the link
# fetches, what happens to the candidates, where each request is, and when decisions are ready. `nextone timeline`
# writes it as a file for any viewer of Chrome traces, such as ui.perfetto.dev.

# %%
made = make_timeline(scenario, user, 0, "tag_momentum", minutes=minutes)
print("\n".join(timeline_text(made).splitlines()[:40]))

# %%
pd.Series([event.lane for event in made.events]).value_counts()

# %% [markdown]
# ## The sums add up, to the microsecond
#
# All that a person does in the app, from playing to waiting, must add up to the time in the app.

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
