"""A task made of a network and rules: their files copied into a folder, with a record of what they are and may cost.

Called by `nextone task pack`.
"""

import shutil
from pathlib import Path

from nextone.policies.by_name import make_policy
from nextone.policies.checkpoint import RECORD as CHECKPOINT
from nextone.policies.checkpoint import best_checkpoint
from nextone.policies.contract import cost_of
from nextone.policies.names import KINDS, SHIPPED, TASK, TFLITE_FOLDER, how_of, shipped, split_name
from nextone.policies.tasks import FORMAT, MODEL, RECORD, RULES, Limits, Task, digest_of, read_task
from nextone.sim.config import Cost, Scenario
from nextone.sim.inputs.errors import UserError, not_saved, short
from nextone.sim.scenario import setting_text

SPARE = 1.2  # Assumed: a version may cost a fifth more than the one that was packed, unless limits are given


def pack(
    out: Path, *, model: str = "", rules: Path | None = None, name: str = "", version: int = 1,
    decision_ms: float | None = None, megabytes: float | None = None,
) -> Task:  # fmt: skip
    """Make a task of a network (as `--policies` names it: "kir", "edgerec:DIR@every=5@mnn") and a file of rules, either
    or both. Limits that are not given are a fifth above what it costs. Raises UserError, one line."""
    kind, folder, how = split_name(model)
    if model and not kind:
        known = f"{', '.join(SHIPPED)}, or KIND:DIR of {', '.join(KINDS)}"
        raise UserError(f"--model {short(model)!r} must be one of {known}")
    if how_of(how).ask:
        raise UserError(f"--model {short(model)!r}: leave @ask out; rules ask by then=\"ask\"")
    if not model and rules is None:
        raise UserError("give --model, --rules or both; a task of neither would decide nothing")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(f"{str(out)[:200]!r} is not empty; a task is a folder of its own")
        embeddings = _copy_model(kind, folder, out / MODEL) if kind else ""
        if rules is not None:
            shutil.copyfile(rules, out / RULES)
    except OSError as error:
        raise not_saved(out, error) from error
    told = {
        "format": FORMAT, "name": name or out.resolve().name, "version": version, "model": kind, "how": how,
        "embeddings": embeddings,
    }  # fmt: skip
    files = {file.relative_to(out).as_posix(): digest_of(file) for file in sorted(out.rglob("*")) if file.is_file()}
    _write(out, told, Limits(1e6, 1e6), files)
    try:
        policy = make_policy(f"{TASK}:{out}")
    except UserError:
        shutil.rmtree(out)  # it was empty: the next try is to find it so
        raise
    assert policy is not None  # as of `cloud_only`, which no task holds
    cost = cost_of(policy)
    limits = Limits(
        decision_ms if decision_ms is not None else round(SPARE * slowest_ms(cost, Scenario()), 1),
        megabytes if megabytes is not None else round(SPARE * cost.bytes / 1e6, 2),
    )
    _write(out, told, limits, files)
    return read_task(out)


def slowest_ms(cost: Cost, scenario: Scenario) -> float:
    """Mean milliseconds of a decision on the slowest phones."""
    return cost.time * max(scenario.phone.reference_ms)


def _copy_model(kind: str, folder: str, to: Path) -> str:
    """Copy the best checkpoint, and its files for engines; the digest of its embeddings."""
    from nextone.policies.networks.loading import load_network  # late: refusals must not wait for torch
    from nextone.policies.phone.tflite_files import weights_digest

    checkpoint = best_checkpoint(Path(folder) if folder else shipped(kind))
    found = str(checkpoint.about.get("kind"))
    if found != kind:
        raise UserError(f"checkpoint {str(checkpoint.path)[:200]!r} holds {short(found, 40)}, not {kind}")
    to.mkdir()
    for name in (CHECKPOINT, "model.safetensors"):
        shutil.copyfile(checkpoint.path / name, to / name)
    for made in checkpoint.path.glob(f"{TFLITE_FOLDER}*"):
        shutil.copytree(made, to / made.name)
    return weights_digest(load_network(kind, checkpoint).embeddings)


def _write(out: Path, told: dict[str, object], limits: Limits, files: dict[str, str]) -> None:
    lines = [f"{word} = {setting_text(value)}" for word, value in told.items()]
    lines += ["", "[limits]", *(f"{word} = {setting_text(value)}" for word, value in limits._asdict().items())]
    lines += ["", "[files]", *(f"{setting_text(file)} = {setting_text(digest)}" for file, digest in files.items())]
    (out / RECORD).write_text("\n".join(lines) + "\n", encoding="utf-8")
