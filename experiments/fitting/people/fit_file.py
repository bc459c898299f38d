"""A fit on disk: the scenario as TOML, and beside it `NAME.fit.json` with intervals and parameter sets.

The sets are what `nextone compare --robust` draws from. The shipped defaults have theirs in the package. Called by the
command line.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from nextone.experiments.runs.files import write_text
from nextone.sim.config import Scenario
from nextone.sim.data import open_data
from nextone.sim.scenario import NAMED, SettingError, saved_scenario
from nextone.version import __version__

from .calibrate import Calibration, Estimate
from .play_fit import get

FORMAT = 1
SHIPPED = "kuairand/fit.json"


class FitFile(NamedTuple):
    """The contents of `NAME.fit.json`."""

    log: str
    estimates: tuple[Estimate, ...]
    draws: tuple[dict[str, float], ...]
    own: dict[str, float]  # what the scenario of this fit has; of the shipped one: the defaults, which stay as they are
    untold: tuple[str, ...] = ()  # what the log could not tell, a line each


def fit_path(scenario: Path | str) -> Path:
    """The path of the fit that belongs to a scenario file, beside it."""
    return Path(scenario).with_suffix(".fit.json")


def save_fit(fit: Calibration, log: str, path: Path) -> list[Path]:
    """Write the scenario and its fit; returns both paths."""
    write_text(path, saved_scenario(fit.scenario, path.parent))
    content = json.dumps(fit_json(fit, log), allow_nan=False, indent=1)
    write_text(fit_path(path), content)
    return [path, fit_path(path)]


def fit_json(fit: Calibration, log: str) -> dict[str, Any]:
    """The whole fit; sets are rows of numbers, in the order of the parameters."""
    return {
        "format": FORMAT, "nextone": __version__, "log": log, "cost": fit.cost,
        "parameters": [e._asdict() for e in fit.estimates], "not_identified": list(fit.missed),
        "draws": [[float(f"{draw[e.name]:.6g}") for e in fit.estimates] for draw in fit.draws],
    }  # fmt: skip


def load_fit(scenario: Path | str | None) -> FitFile:
    """The fit beside a scenario file, or that of the defaults, also for a scenario with a name. Raises SettingError."""
    if scenario is None or str(scenario) in NAMED:
        with open_data(SHIPPED) as file:
            fit = _parsed(file.read().decode(), SHIPPED)
        return fit._replace(own={e.name: get(Scenario(), e.name) for e in fit.estimates})
    path = fit_path(scenario)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"--robust needs the fit of {str(scenario)!r}: {path.name} cannot be read ({error}); "
            "`nextone calibrate --out` writes it beside the scenario"
        ) from None
    return _parsed(text, str(path))


def check_sets(fit: FitFile, sets: int) -> None:
    """Raises SettingError unless the fit has so many parameter sets, at least two."""
    if not 2 <= sets <= len(fit.draws):
        raise SettingError(f"--robust={sets} must be >= 2 and <= {len(fit.draws)}, the sets of the fit; 32 is usual")


def _parsed(text: str, name: str) -> FitFile:
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r} is not {FORMAT}")
        estimates = tuple(
            Estimate(str(e["name"]), *(float(e[k]) for k in ("value", "low", "high", "before")))
            for e in content["parameters"]
        )
        draws = tuple({e.name: float(x) for e, x in zip(estimates, row, strict=True)} for row in content["draws"])
        if not draws or not all(math.isfinite(x) for draw in draws for x in draw.values()):
            raise ValueError("no parameter sets, or not numbers")
        untold = tuple(map(str, content.get("not_identified", ())))
        return FitFile(str(content["log"]), estimates, draws, {e.name: e.value for e in estimates}, untold)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SettingError(f"{name}: is not a fit written by nextone calibrate ({error}); write it again") from None


def fit_table(fit: Calibration, log: str) -> Table:
    """The parameters with their intervals, for people."""
    table = Table(
        title=f"Fitted to {log}", title_justify="left", caption_justify="left",
        caption="\n  ".join(["95 % intervals: random halves of the people, of the log and of the simulation.\n"
                            "Left at their defaults:", *fit.missed]),
    )  # fmt: skip
    table.add_column("parameter", no_wrap=True)
    for heading in ("fitted", "95 %", "default"):
        table.add_column(heading, justify="right", no_wrap=True)
    for e in fit.estimates:
        interval = "set, not sampled" if e.low == e.high else f"{e.low:.4g} to {e.high:.4g}"
        table.add_row(e.name, f"{e.value:.4g}", interval, f"{e.before:.4g}")
    return table
