"""Before any test module imports torch: nextone says how its idle threads wait. And hypothesis has no clock: its
default of 200 ms an example, and a second for ten to be made, judge the machine and what else it does, not the code."""

import hypothesis

import nextone as nextone

hypothesis.settings.register_profile(
    "without a clock", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("without a clock")
