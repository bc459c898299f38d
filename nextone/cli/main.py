"""The app: every command under its name, and how errors end.

Heavy packages are imported inside the commands, so that help answers at once. Whatever a user can get wrong, and what
the system refuses, ends in one line on standard error and exit code 2; Ctrl-C in 130; a bug in a traceback.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated

import typer

from nextone.policies.names import KINDS
from nextone.sim.inputs.errors import AGAIN, UserError
from nextone.version import __version__

from . import (
    ab,
    assumptions,
    bench,
    compare,
    dashboard,
    edge,
    encodings,
    export,
    fitting,
    gallery,
    off_policy,
    release,
    rules,
    runs,
    sweep,
    task,
    train,
)
from .common import CANCELLED

REFUSED = 2

COMMANDS: dict[str, Callable[..., None]] = {
    "compare": compare.compare,
    "ab": ab.ab,
    "ab-size": ab.ab_size,
    "release": release.release,
    "run": runs.run_once,
    "replay": runs.replay,
    "scenario": runs.scenario,
    "list": runs.list_names,
    "timeline": runs.timeline,
    "calibrate": fitting.calibrate,
    "validate": fitting.validate,
    "bench": bench.bench,
    "held-out": fitting.held_out,
    "sweep": sweep.sweep,
    "report": gallery.report,
    "dashboard": dashboard.dashboard,
    "headroom": gallery.headroom,
    "what-if": gallery.what_if,
    "must-be-true": assumptions.must_be_true,
    "sensitivity": assumptions.sensitivity,
    "collect": edge.collect,
    "off-policy": off_policy.off_policy,
    "export": export.export,
    "offline-table": edge.offline_table,
}
TRAINING: dict[str, Callable[..., None]] = {
    "rl": train.train_rl,
    **{kind: edge.train_command(kind) for kind in KINDS},
    "asking": train.train_asking,
    "curves": train.train_curves,
    "frontier": train.train_frontier,
    "robust": train.train_robust,
}
TASKS: dict[str, Callable[..., None]] = {"pack": task.pack, "check": task.check, "run": task.run}

app = typer.Typer(
    help="What happens to users, servers and network when the next short video is chosen on the phone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take `[default: 700]` for markup and swallow it
    context_settings={"help_option_names": ["-h", "--help"]},
)
tasks = typer.Typer(help="Tasks for phones: a network, rules and limits in one folder.", no_args_is_help=True,
                    rich_markup_mode=None)  # fmt: skip
training = typer.Typer(help="Train policies, and look at trained ones.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(training, name="train")
deciding = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
deciding.callback()(rules.features)
deciding.command("check")(rules.check)
app.add_typer(deciding, name="rules")
app.add_typer(tasks, name="task")
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
for _name, _command in TRAINING.items():
    training.command(_name)(_command)
for _name, _command in TASKS.items():
    tasks.command(_name)(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    encodings.write_anywhere(sys.stdout, sys.stderr)
    try:
        code = int(app(args=arguments, prog_name="nextone", standalone_mode=False) or 0)
        sys.stdout.flush()
    except KeyboardInterrupt:  # outside a command; within one, typer returns its exit code
        code = CANCELLED
    except UserError as error:
        return _end(str(error), REFUSED)
    except OSError as error:
        _drop_what_cannot_be_printed()
        if isinstance(error, BrokenPipeError):  # who read standard output went away, as `head` does
            return 1
        what = f"{str(error.filename)!r}" if error.filename else "standard output, or a file"
        return _end(f"{what}: {error.strerror or error}; {AGAIN}", REFUSED)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's usage errors have it; all else is a bug
            raise
        return _end(str(error.format_message()), REFUSED)
    return _end("cancelled", CANCELLED) if code == CANCELLED else code


def _end(message: str, code: int) -> int:
    print(f"nextone: {' '.join(message.split())}", file=sys.stderr)
    return code


def _drop_what_cannot_be_printed() -> None:
    """Python writes what is left of standard output as it ends, and would complain of the same error once more."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nextone {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...
