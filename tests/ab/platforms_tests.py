"""Our formulas between people against tea-tasting's and statsmodels'.

They are not among the packages of the other tests: `make test-long` runs this file in an environment of its own, and
its name keeps other runs of pytest from it.
"""

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from nextone.experiments.ab.analysis import between
from nextone.experiments.ab.assignment import arm_of_each, ratio_p
from nextone.experiments.ab.people import Sums
from nextone.experiments.runs.statistics import PairedDifference, one_is_best

N = 5_000
BOTH = ("valid", "plays", "valid_before", "plays_before")


@pytest.fixture(scope="module", params=range(5))
def people(request):
    rng = np.random.default_rng(request.param)
    table = pd.DataFrame({"variant": arm_of_each(f"salt {request.param}", N, (0.5, 0.5)).astype(int)})
    table["before"] = rng.lognormal(2, 1, N)
    table["minutes"] = 0.6 * table.before + rng.lognormal(2, 1, N) * (1 + 0.05 * table.variant)
    table["plays"] = rng.poisson(20, N) + 1.0
    table["plays_before"] = rng.poisson(20, N) + 1.0
    likes = rng.beta(2, 5, N)
    table["valid"] = rng.binomial(table.plays.astype(int), likes).astype(float)
    table["valid_before"] = rng.binomial(table.plays_before.astype(int), likes).astype(float)
    return table


def sums(table, top, bottom=None):
    return Sums(table[top].to_numpy(), np.ones(N) if bottom is None else table[bottom].to_numpy())


@pytest.mark.parametrize(
    ("metric", "ours"),
    [
        (tt.Mean("minutes"), ("minutes", None, None, None)),
        (tt.Mean("minutes", "before"), ("minutes", None, "before", None)),
        (tt.RatioOfMeans("valid", "plays"), ("valid", "plays", None, None)),
        (tt.RatioOfMeans(*BOTH), BOTH),
    ],
    ids=["mean", "CUPED", "ratio", "ratio with CUPED"],
)  # fmt: skip
def test_differences_are_tea_tastings(people, metric, ours):
    theirs = tt.Experiment(it=metric).analyze(people)["it"]
    top, bottom, top_before, bottom_before = ours
    before = None if top_before is None else sums(people, top_before, bottom_before)
    found = between(sums(people, top, bottom), people.variant.to_numpy() == 1, before=before)
    error = (theirs.effect_size_ci_upper - theirs.effect_size_ci_lower) / 4
    assert found.fixed.diff == pytest.approx(theirs.effect_size, abs=0.02 * error)
    assert found.fixed.low == pytest.approx(theirs.effect_size_ci_lower, abs=0.02 * error)
    assert found.fixed.high == pytest.approx(theirs.effect_size_ci_upper, abs=0.02 * error)
    assert found.fixed.diff_pct / 100 == pytest.approx(theirs.rel_effect_size, abs=0.001)
    # Relative ones: theirs are symmetric as logarithms, ours as percentages; as wide to first order.
    theirs_wide = theirs.rel_effect_size_ci_upper - theirs.rel_effect_size_ci_lower
    assert (found.fixed.diff_pct_high - found.fixed.diff_pct_low) / 100 == pytest.approx(theirs_wide, rel=0.03)


def test_the_ratio_check_is_tea_tastings(people):
    theirs = tt.Experiment(it=tt.SampleRatio(method="norm", correction=False)).analyze(people)["it"]
    counts = np.bincount(people.variant, minlength=2).tolist()
    assert ratio_p(counts, (0.5, 0.5)) == pytest.approx(theirs.pvalue, rel=1e-6)


def test_welchs_interval_is_statsmodels(people):
    treated = people.variant.to_numpy() == 1
    y = people.minutes.to_numpy()
    low, high = CompareMeans(DescrStatsW(y[treated]), DescrStatsW(y[~treated])).tconfint_diff(usevar="unequal")
    found = between(sums(people, "minutes"), treated).fixed
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_holms_procedure_is_statsmodels():
    for k in range(50):
        p = np.random.default_rng(k).uniform(0, 0.06, 6)
        told = one_is_best([PairedDifference(1, 0, 2, 1, 0, 2, None, None, 9, each, False) for each in p])
        assert [d.sure for d in told] == multipletests(p, 0.05, "holm")[0].tolist()
