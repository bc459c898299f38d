"""The server's queue against queueing theory, and against the textbook recursion customer by customer.

Kind: theory (z-scores over regenerative cycles) and property (exact). The queue is the real one, `event_run.Servers`,
without the people. The recursion gives every customer the same wait, to the microsecond, in a twentieth of the time. So
theory is held against the recursion's means over many customers, and the real queue against the recursion's waits of
the first of them (`make test-long`: of all). Between two arrivals that find nobody the world is independent of its
past, so means over such cycles have honest standard errors and no warm-up. Known means of service and interarrival
times are used as controls.
"""

import heapq
import math
from typing import NamedTuple

import numpy as np
import pytest
import simpy
from worlds import run, scenario

from nextone.sim.config import NEVER_US
from nextone.sim.event_run import Servers
from nextone.sim.request import REFUSED_QUEUE_US

MEAN_US = 1_000_000  # mean service time
NO_LIMIT = 10**9


def queue_waits(arrivals_us, services_us, workers, queue_limit=NO_LIMIT, patience_us=None):
    """Wait of each customer at the real server, us, and its ledger."""
    n, env = len(arrivals_us), simpy.Environment(initial_time=0)
    servers, waits = Servers(env, n, workers, queue_limit), [0] * n
    arrivals, services = arrivals_us.tolist(), services_us.tolist()
    patience = [10**15] * n if patience_us is None else patience_us.tolist()

    def customer(k):
        waits[k] = yield from servers.turn(k, services[k], arrivals[k] + patience[k])

    def door():
        for k in range(n):
            yield servers.until(arrivals[k], k)
            env.process(customer(k))

    env.process(door())
    env.run()
    return np.array(waits), servers.ledger()


def textbook_waits(arrivals_us, services_us, workers, queue_limit=NO_LIMIT, patience_us=None):
    """The same by the recursion of Lindley, Kiefer and Wolfowitz, with impatience and a finite room."""
    free, leaves_queue, waits = [0] * workers, [], []
    for k, (arrival, service) in enumerate(zip(arrivals_us.tolist(), services_us.tolist(), strict=True)):
        while leaves_queue and leaves_queue[0] <= arrival:
            heapq.heappop(leaves_queue)
        begin = max(arrival, free[0])
        if begin > arrival and len(leaves_queue) >= queue_limit:
            waits.append(REFUSED_QUEUE_US)
            continue
        gives_up = arrival + (10**15 if patience_us is None else int(patience_us[k]))
        if begin > gives_up:
            waits.append(NEVER_US)
        else:
            heapq.heapreplace(free, begin + service)
            waits.append(begin - arrival)
        if begin > arrival:
            heapq.heappush(leaves_queue, min(begin, gives_up))
    return np.array(waits)


def arrivals_of(rng, n, load, workers):
    return np.cumsum(rng.exponential(MEAN_US / (load * workers), n)).astype(np.int64)


def lognormal(rng, n, cv):
    sd = math.sqrt(math.log(1 + cv**2))
    return (MEAN_US * np.exp(sd * rng.standard_normal(n) - sd**2 / 2)).astype(np.int64)


# -- exact, customer by customer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("queue_limit", [NO_LIMIT, 4, 0])
@pytest.mark.parametrize("impatient", [False, True])
def test_waits_are_the_textbook_recursions(workers, queue_limit, impatient):
    """To the microsecond: first come first served, refused when the room is full, given up when patience ends."""
    rng = np.random.default_rng([workers, queue_limit, impatient])
    n = 3_000
    arrivals, services = arrivals_of(rng, n, 1.1, workers), rng.exponential(MEAN_US, n).astype(np.int64)
    patience = rng.exponential(2 * MEAN_US, n).astype(np.int64) if impatient else None
    waits, ledger = queue_waits(arrivals, services, workers, queue_limit, patience)
    assert (waits == textbook_waits(arrivals, services, workers, queue_limit, patience)).all()
    refused, reneged = waits == REFUSED_QUEUE_US, waits == NEVER_US
    turned = ~refused & ~reneged
    assert refused.any() == (queue_limit < n) and reneged.any() == (impatient and queue_limit > 0)
    assert ledger[:4] == (n, turned.sum(), refused.sum(), reneged.sum())  # flow balance
    assert ledger.busy_us == services[turned].sum()
    waited = waits[turned].sum() + (0 if patience is None else patience[reneged].sum())
    assert ledger.waited_us == waited == ledger.waiting_area_us  # Little's law on the path


def test_in_the_same_microsecond_the_order_is_the_peoples():
    """By hand: 3 arrive together, 1 worker, 10 us each: they wait 0, 10 and 20 us; the fourth finds 2 waiting."""
    waits, ledger = queue_waits(np.zeros(4, np.int64), np.full(4, 10), 1, queue_limit=2)
    assert waits.tolist() == [0, 10, 20, REFUSED_QUEUE_US]
    assert ledger.waited_us == ledger.waiting_area_us == 30


def test_littles_law_and_flow_balance_hold_in_a_run():
    """On the path of an overloaded run with people: the area under the queue is the sum of waits in the request log,
    of those who got a turn and of those who gave up 3 s after sending (nothing is lost on the way here)."""
    busy = scenario(population__users=80, client__timeout_s=3.0, network__loss=0.0, network__rtt_scale=0.1)
    outcome = run(busy, "server_score", engine="event", workers=1)
    server, requests = outcome.server, outcome.records.requests
    assert server.arrived == server.turned + server.refused + server.reneged == len(requests)
    assert server.turned > 100 and server.reneged > 100
    turned = requests[requests["queue_us"] < NEVER_US]
    gave_up = requests[requests["queue_us"] == NEVER_US]
    patience = (gave_up["sent_us"] + 3_000_000 - gave_up["arrived_us"]).sum()
    assert server.waited_us == server.waiting_area_us == turned["queue_us"].sum() + patience
    assert server.busy_us == turned["service_us"].sum()


# -- theory ------------------------------------------------------------------------------------------------------------


class Estimate(NamedTuple):
    mean: float
    se: float


def ratio(total, count, controls):
    """Mean of sums over regenerative cycles per customer, with its standard error; controls have mean 0 per cycle."""
    r = total.sum() / count.sum()
    residual = total - r * count
    beta = np.linalg.lstsq(controls, residual, rcond=None)[0]
    adjusted = residual - controls @ beta
    r += adjusted.sum() / count.sum()
    adjusted = adjusted - adjusted.mean() * count / count.mean()
    return Estimate(r, math.sqrt((adjusted**2).sum()) / count.sum())


def estimate(waits, arrivals, services, rate, cv, value=None):
    """Mean of `value` (waits if None) per customer over whole cycles, us. cv: of the service time.

    Controls: service time, time to the next arrival, their squares and product, all less their known means (Wald)."""
    departs = np.maximum.accumulate(np.where(waits >= 0, arrivals + waits + services, 0))
    starts = np.flatnonzero(np.append(True, arrivals[1:] >= departs[:-1]))
    whole = slice(starts[0], starts[-1])
    s, t, mean_t = services[:-1] / MEAN_US, np.diff(arrivals) / MEAN_US, 1 / rate / MEAN_US
    known = (s - 1, t - mean_t, s**2 - 1 - cv**2, t**2 - 2 * mean_t**2, s * t - mean_t)
    value = (waits if value is None else value).astype(float)
    sums = [np.add.reduceat(x[whole], starts[:-1]) for x in (value, np.ones(len(waits)), *known)]
    return ratio(sums[0], sums[1], np.stack(sums[2:], axis=1))


def erlang_c(workers, load):
    a = workers * load
    terms = [a**k / math.factorial(k) for k in range(workers)]
    last = a**workers / math.factorial(workers) / (1 - load)
    return last / (sum(terms) + last)


def check(found, truth, most_relative_se):
    z = (found.mean - truth) / found.se
    print(f"found {found.mean:.6g}, theory {truth:.6g}, z {z:+.2f}, relative standard error {found.se / truth:.4f}")
    assert abs(z) <= 4, (found, truth, z)
    assert found.se / truth <= most_relative_se


def check_oracle(name, load, n, most_relative_se, seed, real):
    """One queue of n customers, of whom the first `real` also meet the real one. Waits are in units of the mean service
    time."""
    rng = np.random.default_rng(seed)
    workers = {"M/M/2": 2, "M/M/5": 5}.get(name, 1)
    arrivals = arrivals_of(rng, n, load, workers)
    rate = load * workers / MEAN_US
    cv = {"M/D/1": 0.0, "M/G/1": 1.2}.get(name, 1.0)
    services = (
        np.full(n, MEAN_US) if cv == 0
        else lognormal(rng, n, cv) if cv > 1
        else rng.exponential(MEAN_US, n).astype(np.int64)
    )  # fmt: skip
    room = 3 if name == "M/M/1/K" else NO_LIMIT  # one served, three waiting
    waits = textbook_waits(arrivals, services, workers, room)
    met, ledger = queue_waits(arrivals[:real], services[:real], workers, room)
    assert (met == waits[:real]).all()
    assert ledger.waited_us == ledger.waiting_area_us
    if name == "M/M/1/K":
        k = room + 1
        chance = np.array([load**j for j in range(k + 1)]) * (1 - load) / (1 - load ** (k + 1))
        check(estimate(waits, arrivals, services, rate, cv, waits < 0), chance[k], most_relative_se)
        waiting = sum(max(j - 1, 0) * chance[j] for j in range(k + 1))  # Little: per arriving customer
        check(estimate(waits, arrivals, services, rate, cv, np.maximum(waits, 0)), waiting / rate, most_relative_se)
    else:
        by_mm1 = load / (1 - load) * MEAN_US
        truth = {
            "M/M/1": by_mm1, "M/D/1": by_mm1 / 2, "M/G/1": by_mm1 * (1 + cv**2) / 2,
            "M/M/2": erlang_c(2, load) * MEAN_US / (2 * (1 - load)),
            "M/M/5": erlang_c(5, load) * MEAN_US / (5 * (1 - load)),
        }[name]  # fmt: skip
        check(estimate(waits, arrivals, services, rate, cv), truth, most_relative_se)


SMALL_TWIN = {
    "M/M/1": (0.5, 100_000), "M/M/2": (0.5, 140_000), "M/M/5": (0.7, 450_000), "M/D/1": (0.5, 50_000),
    "M/G/1": (0.5, 120_000), "M/M/1/K": (0.7, 120_000),
}  # fmt: skip
"""Load and customers: as few as a relative standard error of 1.5 % takes."""


@pytest.mark.parametrize("name", SMALL_TWIN)
def test_mean_waits(name):
    check_oracle(name, *SMALL_TWIN[name], 0.015, seed=list(name.encode()), real=20_000)


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL_TWIN)
def test_mean_waits_at_load_seven_tenths(name):
    """A fresh seed each time, printed; no retries."""
    seed = np.random.SeedSequence().entropy
    print(f"{name}: seed {seed}")
    check_oracle(name, 0.7, 3_000_000, 0.008, seed, real=3_000_000)


def test_the_oracles_would_notice_a_bias_of_five_percent():
    """A test that cannot fail is a defect: waits that are 5 % too long are 3 standard errors off."""
    rng = np.random.default_rng(3)
    arrivals, services = arrivals_of(rng, 50_000, 0.5, 1), np.full(50_000, MEAN_US)
    waits = textbook_waits(arrivals, services, 1)
    found = estimate(waits, arrivals, services, 0.5 / MEAN_US, 0.0)
    assert abs(found.mean - MEAN_US / 2) < 4 * found.se < 0.04 * MEAN_US
    biased = estimate((waits * 1.05).astype(np.int64), arrivals, services, 0.5 / MEAN_US, 0.0, waits * 1.05)
    assert (biased.mean - MEAN_US / 2) / biased.se > 3
