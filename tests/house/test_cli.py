"""The command line as its user meets it: what it prints, its exit codes, and the files it leaves."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

import nextone
from nextone.cli import common
from nextone.cli import main as cli
from nextone.experiments.runs import executor
from nextone.experiments.runs.metrics import METRICS
from nextone.experiments.runs.names import decider_names
from nextone.policies.names import BARE
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, load_scenario

SMALL = ["--users", "8", "--minutes", "3", "--set", "catalogue.kind=synthetic", "--set", "catalogue.videos=300"]
POLICIES = ["--policies", "cloud_only,random"]


def nextone_process(*arguments, **options):
    """The command as from a terminal: with Ctrl-C, even where the tests themselves run in the background of a shell."""
    return subprocess.Popen(
        [sys.executable, "-m", "nextone.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options,
    )  # fmt: skip


def run(*arguments):
    """(exit code, standard output, standard error) of the command in a process of its own."""
    process = nextone_process(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def answered(capsys, *arguments):
    """Standard output of a command that succeeds in this process and has nothing to say on standard error."""
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.fixture
def idle(monkeypatch):
    """Nothing may run: a refusal has to come before."""

    def never(*_, **__):
        raise AssertionError("the run started")

    monkeypatch.setattr(executor, "run_replication", never)


def refused(capsys, *arguments):
    """The one line on standard error of a command that ends in exit code 2."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("nextone: ")
    assert "Traceback" not in err
    return err


REFUSED = {
    "unknown policy": (["compare", "--policies", "cloud_only,tag_momentun"], "did you mean tag_momentum?"),
    "policy of code": (["compare", "--policies", "cloud_only,os.system"], "unknown policy 'os.system'"),
    "no policy": (["compare", "--policies", ""], "needs a baseline"),
    "one policy": (["compare", "--policies", "random"], "needs a baseline"),
    "a policy twice": (["compare", "--policies", "random,random"], "two arms are called 'random'"),
    "arm label taken": (["compare", "--arm", "random=cloud_only"], "two arms are called 'random'"),
    "arm without label": (["compare", "--arm", "cloud_only"], "must read 'label=policy"),
    "arm of unknown policy": (["compare", "--arm", "x=servr_score"], "did you mean server_score?"),
    "arm setting": (["compare", "--arm", "x=random server.pages=2"], "arm 'x': unknown setting server.pages"),
    "setting": (["compare", "--set", "server.page_siz=3"], "did you mean server.page_size?"),
    "setting beyond": (["compare", "--set", "server.page_size=30"], "server.page_size=30 must be <="),
    "no time to answer": (["compare", "--set", "client.timeout_s=1e-9"], "client.timeout_s=1e-09 must be >= 0.05"),
    "no pause": (["compare", "--set", "client.backoff_s=1e-9"], "client.backoff_s=1e-09 must be >= 0.01"),
    "setting without value": (["compare", "--set", "server.page_size"], "section.field=value"),
    "few replications": (["compare", "--replications", "9"], "replications=9 must be >= 10: an interval"),
    "no replications": (["compare", "--replications", "0"], "must be >= 10"),
    "many replications": (["compare", "--replications", "100000000000"], "must be <="),
    "no users": (["compare", "--users", "0"], "population.users=0 must be >= 1"),
    "negative users": (["compare", "--users", "-5"], "population.users=-5 must be >= 1"),
    "absurd users": (["compare", "--users", "9" * 30], "population.users="),
    "users twice": (["compare", "--users", "5", "--set", "population.users=6"], "both given"),
    "users of words": (["compare", "--users", "many"], "--users"),
    "no minutes": (["compare", "--minutes", "0"], "minutes=0 must be > 0"),
    "negative days": (["compare", "--days", "-1"], "days=-1 must be > 0"),
    "NaN minutes": (["compare", "--minutes", "nan"], "minutes=nan must be > 0"),
    "infinite days": (["compare", "--days", "inf"], "days=inf must be > 0"),
    "two windows": (["compare", "--minutes", "5", "--days", "1"], "both given"),
    "negative seed": (["compare", "--seed", "-1"], "seed=-1 must be >= 0"),
    "no workers": (["compare", "--workers", "0"], "workers=0 must be >= 1"),
    "no workers for a question": (["what-if", "page_size_ttl", "--workers", "0"], "workers=0 must be >= 1"),
    "engine": (["compare", "--engine", "warp"], "warp"),
    "on what": (["compare", "--on", "rey"], "--on 'rey' must be ray, or ray://HOST"),
    "on no host": (["compare", "--on", "ray:///"], "must be ray, or ray://HOST"),
    "on a host with workers": (["compare", "--on", "ray://h", "--workers", "2"], "--workers is about this machine"),
    "option": (["compare", "--polices", "random"], "--polices"),
    "command": (["compere"], "compere"),
    "argument": (["compare", "random"], "random"),
    "missing scenario": (["compare", "--scenario", "/nowhere/x.toml"], "No such file"),
    "scenario folder": (["scenario", "--scenario", "/"], "not a file"),
    "out inside a file": (["compare", "--out", "/etc/passwd/x"], "--out"),
    "out is a file": (["compare", "--out", "/etc/passwd"], "--out"),
    "out with NUL": (["compare", "--out", "a\0b"], "--out"),
    "out too long": (["compare", "--out", "/tmp/" + "x" * 300], "--out"),
    "out in /proc": (["compare", "--out", "/proc/nextone"], "--out"),
    "timeline user": (["timeline", "--user", "1000"], "--user 1000 must be >= 0 and < population.users=700"),
    "timeline policy": (["timeline", "--policy", "randon"], "did you mean random?"),
    "timeline out": (["timeline", "--out", "/"], "--out"),
    "timeline out inside a file": (["timeline", "--out", "/etc/passwd/x.json"], "--out"),
}


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(case, capsys):
    arguments, words = REFUSED[case]
    assert words in refused(capsys, *arguments)


ON_RAY = {
    "compare": [], "sweep": ["--grid", "server.page_size=2,6"], "what-if": ["page_size_ttl"], "sensitivity": [],
    "must-be-true": [], "headroom": [], "collect": ["--out", "x"], "offline-table": ["--data", "x", "--out", "y"],
    "off-policy": ["--target", "kir"],
}  # fmt: skip


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("command", ON_RAY)
def test_without_ray_the_option_says_what_to_install(command, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, command, *ON_RAY[command], "--on", "ray")
    assert "Ray is not installed; pip install 'nextone[ray]'" in line
    assert not list(tmp_path.rglob("*"))


@pytest.mark.usefixtures("idle")
def test_out_without_permission(capsys, tmp_path):
    if os.geteuid() == 0:  # root may write anywhere but where the kernel says no
        assert "give a folder that can be written to" in refused(capsys, "compare", "--out", "/sys/kernel/nextone")
    else:
        tmp_path.chmod(0o500)
        assert "Permission denied" in refused(capsys, "compare", "--out", str(tmp_path / "x"))


def test_scenario_errors_name_file_and_line(capsys, tmp_path):
    path = tmp_path / "world.toml"
    path.write_text("[client]\nttl_s = -1\n")
    assert f"{path}:2: client.ttl_s=-1 must be > 0" in refused(capsys, "scenario", "--scenario", str(path))


def test_scenario_show_loads_back_equal(capsys, tmp_path):
    assert cli.main(["scenario", "--show", "--set", "server.page_size=8"]) == 0
    path = tmp_path / "world.toml"
    path.write_text(capsys.readouterr().out)
    shown = load_scenario(path)
    assert shown.server.page_size == 8
    assert cli.main(["scenario", "--scenario", str(path)]) == 0
    assert capsys.readouterr().out == "scenario is valid; --show prints it\n"
    assert cli.main(["scenario", "--show"]) == 0
    path.write_text(capsys.readouterr().out)
    assert load_scenario(path) == Scenario()


def test_version_and_help():
    runner = CliRunner()
    version = runner.invoke(cli.app, ["--version"])
    assert (version.exit_code, version.output) == (0, f"nextone {nextone.__version__}\n")
    for command in ([], ["compare"], ["scenario"], ["timeline"], ["bench"]):
        result = runner.invoke(cli.app, [*command, "--help"])
        assert result.exit_code == 0
        assert "Usage: " in result.output


def test_help_shows_every_default_and_every_summary_whole():
    """Rich's markup would swallow `[default: 700]`; click cuts first sentences that are too long for its list."""
    groups = typer.main.get_command(cli.app), typer.main.get_command(cli.training)
    for group, words in zip(groups, ([], ["train"]), strict=True):
        assert "..." not in CliRunner().invoke(cli.app, [*words, "--help"]).output.partition("Commands:")[2]
        for name, command in group.commands.items():
            told = "".join(CliRunner().invoke(cli.app, [*words, name, "--help"]).output.split())
            helps = "".join("".join(getattr(p, "help", None) or "" for p in command.params).split())
            for default in re.findall(r"\[default:.*?\]", helps):
                assert default in told, (name, default)


def test_help_loads_nothing_heavy():
    program = """
import sys
from nextone.cli import main as cli
cli.main(["--help"])
# gymnasium, with numpy, is: importing nextone registers the environments
heavy = {"torch", "numba", "scipy", "pandas", "pyarrow", "matplotlib", "seaborn", "simpy", "pydantic",
         "nextone.sim.config"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_exist_and_load_on_use():
    """That nothing heavy is loaded before: see `test_help_loads_nothing_heavy`."""
    assert all(getattr(nextone, name) is not None for name in nextone.__all__)
    assert set(nextone.__all__) <= set(dir(nextone))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nextone.nothing


def test_json_is_one_standard_object_and_the_same_for_any_workers(capsys):
    code, out, err = run("compare", *SMALL, *POLICIES, "--json", "--workers", "2")
    assert (code, err) == (0, "")
    assert out == answered(capsys, "compare", *SMALL, *POLICIES, "--json", "--workers", "1")

    def never(constant):
        raise AssertionError(constant)

    result = json.loads(out, parse_constant=never)
    assert (result["baseline"], result["replications"]) == ("cloud_only", 10)
    assert len(result["rows"]) == 2 * len(METRICS)
    assert {row["policy"] for row in result["rows"]} == {"cloud_only", "random"}


def test_table_and_files(capsys, tmp_path):
    arm, folder = "small=cloud_only server.page_size=2 server.workers=8", str(tmp_path / "a" / "b")
    asked = [*SMALL, *POLICIES, "--out", folder, "--arm", arm, "--seed", "5", "--all", "--workers", "1"]
    out = answered(capsys, "compare", *asked)
    assert all(metric.name in out for metric in METRICS)
    assert "…" not in out
    assert "small" in out
    names = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert names == ["comparison.parquet", "replications.parquet", "scenario.toml", "uplift.png"]
    about = json.loads(pq.read_schema(tmp_path / "a" / "b" / "comparison.parquet").metadata[b"nextone"])
    assert about["seed"] == 5
    assert "page_size = 2\n" in about["arms"][2]["scenario"]


def test_baseline_is_cloud_only_wherever_it_stands(capsys):
    out = answered(capsys, "compare", *SMALL, "--policies", "random,cloud_only", "--json", "--workers", "1")
    assert json.loads(out)["baseline"] == "cloud_only"


def children(pid):
    return {int(p) for t in Path(f"/proc/{pid}/task").glob("*/children") for p in t.read_text().split()}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_at_once_without_a_trace(tmp_path, workers):
    process = nextone_process(
        "compare", "--users", "2000", "--replications", "2000", "--workers", workers, "--out", str(tmp_path / "out"),
        start_new_session=True,
    )  # fmt: skip
    try:
        wanted = time.monotonic() + 60
        while not (tmp_path / "out").exists() and time.monotonic() < wanted:
            time.sleep(0.05)
        time.sleep(2)
        born = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # a terminal tells the whole group
        out, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert (out, err) == ("", "nextone: cancelled\n")
        assert list((tmp_path / "out").iterdir()) == []
        gone = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in born) and time.monotonic() < gone:
            time.sleep(0.05)
        assert not [pid for pid in born if Path(f"/proc/{pid}").exists()]
    finally:  # should this fail, nothing of it goes on beside the other tests
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_closed_pipe_ends_quietly():
    process = nextone_process("scenario", "--show")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert err == ""


def test_bad_traces_are_told_before_anything_heavy_is_loaded(tmp_path):
    path = tmp_path / "link.csv"
    path.write_text("t_s,mbps\n0,5\n1,-3\n")
    code = "import sys; from nextone.cli import main as cli; print(cli.main(sys.argv[1:]), 'numba' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code, "compare", "--set", f"network.traces={path}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert told.stdout.split() == ["2", "False"]
    assert told.stderr == f"nextone: {path}:3: mbps=-3 must be >= 0; remove or repair the row\n"


def test_how_many_people_is_what_somebody_said_before_a_command_s_own_number(tmp_path):
    file, other = tmp_path / "own.toml", tmp_path / "other.toml"
    file.write_text("[population]\nusers = 33\n")
    other.write_text("[server]\npage_size = 4\n")
    asked = {
        (None, (), None): 400, (None, (), 50): 50, (None, ("population.users=20",), None): 20, (file, (), None): 33,
        (file, (), 50): 50, (other, (), None): 400, (Path("kir"), (), None): 400,
    }  # fmt: skip
    for (scenario, settings, users), people in asked.items():
        assert common.chosen_scenario(scenario, settings, users, 400).population.users == people
    assert common.chosen_scenario(None, (), None).population.users == Scenario().population.users
    with pytest.raises(SettingError, match="are both given"):
        common.chosen_scenario(None, ("population.users=20",), 50, 400)


def test_policies_and_metrics_are_listed_with_what_they_mean(capsys):
    told = json.loads(answered(capsys, "list", "--json"))
    assert [metric["name"] for metric in told["metrics"]] == [metric.name for metric in METRICS]
    names = [policy["name"] for policy in told["policies"]]
    of_files = {*(f"{kind}:DIR" for kind in ("dnn", "dlcm", "rl")), "rules:FILE.toml", "task:DIR"}
    assert set(names) == {*decider_names(), *BARE, *of_files}
    out = answered(capsys, "list", "policies")
    assert "every=1 to every=999" in " ".join(out.split()) and "app_min" not in out


def test_the_shell_completes_commands(monkeypatch):
    """As the script of --install-completion asks; that option itself wants a shell that it knows around it."""
    for name, value in {"_NEXTONE_COMPLETE": "complete_bash", "COMP_WORDS": "nextone comp", "COMP_CWORD": "1"}.items():
        monkeypatch.setenv(name, value)
    code, out, _ = run()
    assert (code, out.split()) == (0, ["compare"])


def test_every_command_that_takes_long_can_be_told_to_be_quiet():
    for command in ("compare", "sweep", "what-if", "headroom", "must-be-true", "sensitivity", "validate", "calibrate",
                    "held-out", "collect", "offline-table", "train rl", "train kir", "train asking"):  # fmt: skip
        out = CliRunner().invoke(cli.app, [*command.split(), "--help"]).output
        assert "--quiet" in out and "-q" in out, command
