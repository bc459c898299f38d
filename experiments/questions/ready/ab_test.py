"""What does an A/B test of page size 2 against 6 say when 1, 10 or 50 % of people have it, on servers sized for 6?

Every test runs on the same people, and beside it the truth: everybody with pages of 2 against nobody. Two minutes on 2
cores.

Found: nearly nothing, while the truth is -44.5 % of the time in the app. Apart from chance the test says +5 % ±16 with
1 % treated, +.4 % ±4 with 10 % and -4.7 % ±3.6 with 50 %, since its control waits in the same queue.
"""

from nextone.experiments.questions.what_if import ABIf

WHAT_IF = ABIf(
    control="six=cloud_only",
    treatment="two=cloud_only server.page_size=2",
    shares=(0.01, 0.1, 0.5),
)
