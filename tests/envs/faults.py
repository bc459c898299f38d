"""Environments with one fault each, for the deep checker. Not a test module.

    python tests/envs/faults.py        # which of them each checker catches (1 minute)

`planting.py` says how they are made. `found_as` names the findings that tell the fault: being caught for another reason
is no merit.
"""

import re
import warnings
from collections.abc import Callable
from typing import Any

from faults_of_answers import FAULTS as OF_ANSWERS
from faults_of_memory import FAULTS as OF_MEMORY
from faults_of_vectors import FAULTS as OF_VECTORS
from gymnasium.utils.env_checker import check_env as gymnasium_check
from planting import Fault, Twist
from stable_baselines3.common.env_checker import check_env as sb3_check

from nextone.envs.checker.check import check_environment
from nextone.envs.checker.vector import check_vector_environment

FAULTS: list[Fault] = [*OF_MEMORY, *OF_ANSWERS, *OF_VECTORS]


def findings(fault: Fault) -> list:
    """What the deep checker says."""
    if fault.claims is None:
        return check_vector_environment(fault.make, fault.sound, steps=120)
    return check_environment(fault.make, claims=fault.claims)


def caught(fault: Fault) -> bool:
    """Whether it names the fault."""
    return any(finding.name in fault.found_as for finding in findings(fault))


def complaints(check: Callable[[Any], None], make: Callable[[], Any]) -> set[str]:
    """An error and warnings of another checker, as text."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            check(make())
        except Exception as error:
            return {str(error)}
    return {re.sub("<.*>", "", str(warning.message)) for warning in told}  # without the environment's name


def caught_by(check: Callable[[Any], None], fault: Fault) -> bool:
    """Whether another checker raises, or warns of what it does not warn of in the sound environment, wrapped or not."""
    if fault.claims is None:
        return False
    usual = complaints(check, fault.sound) | complaints(check, lambda: Twist(fault.sound(), None))
    return bool(complaints(check, fault.make) - usual)


def main() -> None:
    print(f"{'deep':>5} {'gym':>5} {'sb3':>5}  fault (* one of the listed kinds)")
    rows = [(fault, caught(fault), caught_by(gymnasium_check, fault), caught_by(sb3_check, fault)) for fault in FAULTS]
    for fault, *who in rows:
        print(*(f"{'yes' if yes else '-':>5}" for yes in who), f" {fault.name}{' *' if fault.listed else ''}")
    for title, chosen in (("of all", rows), ("of the listed", [row for row in rows if row[0].listed])):
        counts = [sum(row[k] for row in chosen) for k in (1, 2, 3)]
        print(f"{title} {len(chosen)}: deep checker {counts[0]}, Gymnasium {counts[1]}, SB3 {counts[2]}")


if __name__ == "__main__":
    main()
