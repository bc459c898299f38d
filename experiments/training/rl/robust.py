"""Does a learnt policy hold for other people? It and the rules are played under parameter sets of the fit.

Called by `nextone train robust`. The policy is not trained again: it meets people for whom it was not made.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nextone.experiments.fitting.people.fit_file import FitFile
from nextone.experiments.fitting.people.robust import varied
from nextone.policies.checkpoint import best_checkpoint
from nextone.policies.rl import load_rl

from .evaluate import Uplift
from .greedy import hand_made
from .train import held_out, settings_of

SIZE = (64, 16)  # people at a time, episodes of each
ROBUST = 0.8  # share of the sets under which a gain must keep its sign. Assumed: chosen before the first training


def held_under(run: Path, fit: FitFile, sets: int, size: tuple[int, int] = SIZE) -> list[Uplift]:
    """The policy of a run against the rule that is best in the run's own world: there, then under each parameter set.

    Raises CheckpointError."""
    checkpoint = best_checkpoint(run)
    settings, policy = settings_of(checkpoint), load_rl(checkpoint.path)
    rules = hand_made(settings.reward)
    own = held_out(settings, {"rl": policy} | rules, *size)
    best = max(own, key=lambda u: u.rule_mean)
    found = [best]
    for k in range(sets):
        other = replace(settings, scenario=varied(settings.scenario, fit, k))
        found += held_out(other, {"rl": policy, best.rule: rules[best.rule]}, *size)
    return found


def robust_text(found: Sequence[Uplift]) -> str:
    """The result as text for the terminal."""
    own, *others = found
    agree = sum((u.diff > 0) == (own.diff > 0) for u in others)
    clear = sum(u.low > 0 or u.high < 0 for u in others)
    lines = [f"Over {own.rule}, reward an episode, paired, 95 % intervals ({SIZE[0] * SIZE[1]:,} episodes each):"]
    for name, u in zip(("own world", *(f"set {k}" for k in range(len(others)))), found, strict=True):
        lines.append(f"  {name:10} {u.diff:+8.2f} [{u.low:+.2f}, {u.high:+.2f}] of {u.rule_mean:.1f}")
    verdict = "robust" if agree >= ROBUST * len(others) else "not robust"
    lines.append(f"Same sign in {agree} of {len(others)} sets ({clear} with an interval that excludes 0): {verdict}.")
    return "\n".join(lines)
