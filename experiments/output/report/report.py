"""`DIR/report.html` for the --out folder of `nextone sweep`, `compare` or `ab`: one file for people who were not there.

Everything in it is computed from the folder's own files; a sweep that is not finished is reported from its ledger, and
the page says so.
"""

import math
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nextone.experiments.ab import AB
from nextone.experiments.runs.comparison_files import comparison_json
from nextone.experiments.runs.names import listing
from nextone.experiments.runs.provenance import check_world, of_another_version
from nextone.experiments.runs.statistics import MIN_REPLICATIONS
from nextone.experiments.sweeps.answer import answer, field_name
from nextone.experiments.sweeps.plan import Plan
from nextone.experiments.sweeps.result import RESULTS, SweepResult, provenance_of, read_sweep
from nextone.experiments.sweeps.table import EXTENDED, sweep_json
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import UserError
from nextone.sim.scenario import SettingError, scenario_toml, setting_text

from .page import Page, Section, write_numbers, write_page
from .sweep import facts, sections
from .words import changed, made_of

NAME = "report.html"


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write the report of what is in the folder, and its numbers as CSV; both paths. Raises SettingError."""
    if (folder / RESULTS).is_file():
        result = read_sweep(folder)
        page, rows = sweep_page(result, folder.name, finished=True), sweep_json(result)["rows"]
    elif (folder / "ledger.sqlite").is_file():
        result = read_unfinished(folder)
        page, rows = sweep_page(result, folder.name, finished=False), sweep_json(result)["rows"]
    elif (folder / "comparison.parquet").is_file():
        from .comparison import comparison_page, read_comparison

        comparison = read_comparison(folder)
        page, rows = comparison_page(comparison), comparison_json(comparison)["rows"]
    elif (folder / AB).is_file():
        from .ab import ab_page

        page, rows = ab_page(folder)
    else:
        raise SettingError(
            f"{str(folder)!r} holds no sweep, comparison or A/B test; give the --out folder of nextone sweep, compare "
            "or ab"
        )
    write_page(page, folder / NAME)
    write_numbers(rows, (folder / NAME).with_suffix(".csv"))
    return folder / NAME, (folder / NAME).with_suffix(".csv")


def sweep_page(result: SweepResult, name: str, *, finished: bool) -> Page:
    """The page of a sweep in a folder of that name."""
    plan = result.plan
    swept = [field_name(field) for field in plan.cells[0].values]
    asked = (
        f"{plan.metric} ({plan.objective.meaning}, {plan.objective.unit}) of {', '.join(plan.policies)} in "
        f"{len(plan.cells)} cells{f' of {chr(215).join(swept)}' if swept else ''}, each with the same people, phones, "
        "links and luck."
    )
    unfinished = (
        "This sweep is not finished: what follows is what its ledger has so far. Go on with nextone sweep "
        f"--resume {name}, then write the report again."
    )
    failed = f"{result.failures} The reasons stand at the end." if finished and result.failed else ""
    return Page(
        title=plan.question or f"{' × '.join(swept) or 'One cell'} under {', '.join(plan.policies)}",
        question=asked,
        facts=facts(result),
        answer=answer_so_far(result),
        sections=(
            *sections(result), _scenario(plan.base), _again(result, name), made_of(result.provenance),
            _whole(plan.base),
        ),
        warnings=tuple(filter(None, ("" if finished else unfinished, failed, EXTENDED if result.extended else ""))),
        version=result.version,
    )


def answer_so_far(result: SweepResult) -> tuple[str, ...]:
    """The answer, or the sentence that there is none yet."""
    return answer(result) if result.cells else ("Nothing can be said yet: no cell has the ten replications it takes.",)


def read_unfinished(folder: Path) -> SweepResult:
    """The result so far: cells of which every policy has ten replications or more. The ledger is not touched.

    Raises SettingError if it is damaged, or if other code wrote it."""
    from nextone.experiments.sweeps.ledger import NAME as LEDGER
    from nextone.experiments.sweeps.ledger import resume
    from nextone.experiments.sweeps.sweep import code_sha256

    with tempfile.TemporaryDirectory() as scratch:
        for file in folder.glob(f"{LEDGER}*"):
            shutil.copy(file, scratch)
        try:
            ledger = resume(Path(scratch))
        except UserError as error:
            raise SettingError(str(error).replace(scratch, str(folder))) from None
        try:
            check_world("a sweep", folder, ledger.made)
            if ledger.made["code"] != code_sha256():
                raise of_another_version("an unfinished sweep", folder, ledger.made, "its code is another one")
            results, failures = ledger.outcomes()
        finally:
            ledger.close()
    plan, failed = ledger.plan, {}
    values, positions = {}, {}
    for cell in plan.cells:
        n = 0
        while all((cell.number, n, policy) in results for policy in plan.policies):
            n += 1
        reasons = [reason for key, reason in failures.items() if key.cell == cell.number]
        if reasons or n < MIN_REPLICATIONS:
            failed[cell.number] = reasons[0] if reasons else f"not finished: {n} of {MIN_REPLICATIONS} replications"
            continue
        for policy in plan.policies:
            own = [results[cell.number, r, policy] for r in range(n)]  # type: ignore[index]
            values[cell.number, policy] = np.array([each.metrics for each in own])
            positions[cell.number, policy] = np.array([each.positions for each in own])
    return SweepResult(plan, values, {}, positions, failed, provenance=provenance_of(plan, ledger.made))


def reproduce(plan: Plan, name: str) -> str:
    """Commands that give the same bits: a grid where the cells are one, else a list of cells."""
    words = ["nextone", "sweep", *_asked(plan), "--policies", listing(plan.policies), "--metric", plan.metric]
    words += ["--half-width", str(plan.half_width), "--max-replications", str(plan.max_replications)]
    words += ["--days", f"{plan.days:g}"] if plan.days is not None else ["--minutes", f"{plan.minutes:g}"]
    words += ["--seed", str(plan.seed), "--engine", plan.engine, "--servers", plan.servers]
    words += [word for text in changed(plan.base) for word in ("--set", text)]
    return shlex.join([*words, "--out", name])


def _asked(plan: Plan) -> Iterator[str]:
    asked = [cell for cell in plan.cells if cell.asked]
    names = list(plan.cells[0].values)
    axes = {n: list(dict.fromkeys(setting_text(cell.values[n]) for cell in asked)) for n in names}
    if math.prod(map(len, axes.values())) == len(asked):
        for name, values in axes.items():
            yield from ("--grid", f"{name}={','.join(values)}")
    else:
        for cell in asked:
            yield from ("--cell", cell.label)


def _scenario(base: Scenario) -> Section:
    lines = "\n".join(changed(base))
    text = "Not as shipped:" if lines else "All of it is as shipped."
    return Section("The scenario", (f"The base of all cells. {text}",), verbatim=lines)


def _whole(base: Scenario) -> Section:
    return Section("The whole scenario", verbatim=scenario_toml(base, comments=False), folded=True)


def _again(result: SweepResult, name: str) -> Section:
    method = f"nextone {result.version}, draws by Philox4x32-10. {result.method}."
    text = "The same version gives the same bits on any number of processes, also after a kill and --resume."
    return Section("How to reproduce it", (text, method), verbatim=reproduce(result.plan, name))
