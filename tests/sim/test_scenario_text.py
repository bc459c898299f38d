"""Scenarios as text: whatever is written wrong ends in one SettingError of one line with its place; nothing runs."""

import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nextone.experiments.fitting.people.fit_file import load_fit
from nextone.experiments.questions.headroom import intent_bound
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, load_scenario, scenario_toml, with_settings

DEFAULT = Scenario()


def refused(call, *arguments):
    """The message of the SettingError, checked to be one printable line of decent length."""
    with pytest.raises(SettingError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert 10 < len(message) <= 500
    assert caught.value.__cause__ is None
    return message


def write(tmp_path, text):
    path = tmp_path / "world.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Text of a file, the line that the error names, and words that it holds.
HOSTILE_FILES = {
    "syntax": ("[server]\npage_size = = 3\n", 2, "not TOML"),
    "no value": ("[server]\npage_size =\n", 2, "not TOML"),
    "unclosed table": ("[server\npage_size = 3\n", 1, "not TOML"),
    "unclosed string": ('[client]\n\non_refill = "merge\n', 3, "not TOML"),
    "unclosed array": ("[phone]\nshares = [1, 2,\n", 3, "not TOML"),
    "bare word": ("[client]\non_refill = merge\n", 2, "not TOML"),
    "yaml": ("server:\n  page_size: 3\n", 1, "not TOML"),
    "json": ('{"server": {"page_size": 3}}', 1, "not TOML"),
    "python": ("import os\nos.system('touch /tmp/owned')\n", 1, "not TOML"),
    "yaml object": ("!!python/object/apply:os.system ['touch /tmp/owned']\n", 1, "not TOML"),
    "nul": (b"[server]\npage_size = \x00 3\n", 2, "not TOML"),
    "nul in a comment": (b"# a \x00\n[server]\n", 1, "not TOML"),
    "carriage return": (b"[server]\rpage_size = 3\n", 1, "not TOML"),
    "duplicate key": ("[server]\npage_size = 3\npage_size = 4\n", 3, "not TOML"),
    "duplicate section": ("[server]\npage_size = 3\n[client]\n[server]\n", 4, "not TOML"),
    "duplicate by quotes": ('[server]\npage_size = 3\n"page_size" = 4\n', 3, "not TOML"),
    "duplicate by dots": ("server.page_size = 3\n[server]\ncandidates = 9\n", 2, "not TOML"),
    "digits": (f"[server]\n\npage_size = {'9' * 4000}\n", 3, "ordinary size"),
    "too many digits": ("[server]\npage_size = 1\n" + "x = " + "9" * 4090, 3, "unknown setting server.x"),
    "digits beyond Python's limit": ("server = [" + "9" * 4080 + "]", 1, "must be a section"),
    "bad date": ("[server]\npage_size = 2020-13-45\n", 2, "not TOML"),
    "nested arrays": ("[phone]\nshares = " + "[" * 2000 + "]" * 2000, 1, "nested too deeply|must be"),
    "nested tables": ("a = " + "{a=" * 1000 + "1" + "}" * 1000, 1, "nested too deeply|unknown section"),
    "dots": ("a." * 2000 + "a = 1\n", 1, "unknown section"),
    "unknown section": ("[server]\npage_size = 3\n[severs]\nx = 1\n", 3, "did you mean server"),
    "unknown field": ("# hi\n\n[server]\npagesize = 3\n", 4, "did you mean server.page_size"),
    "unknown field in a dotted key": ("client.ttl = 3\n", 1, "did you mean client.ttl_s"),
    "field of another section": ("[server]\npage_size = 3\nttl_s = 3\n", 3, "did you mean client.ttl_s"),
    "upper case": ("[server]\nPAGE_SIZE = 3\n", 2, "did you mean server.page_size"),
    "dunder": ("[server]\n__class__ = 3\n", 2, "unknown setting server.__class__"),
    "dunder section": ("[__init__]\nx = 3\n", 1, "unknown section"),
    "model_config": ("[server.model_config]\nextra = 'allow'\n", 1, "unknown setting server.model_config"),
    "target": ("[server]\n_target_ = 'os.system'\n", 2, "unknown setting"),
    "value for a section": ("server = 3\n", 1, "must be a section"),
    "array of sections": ("[[server]]\npage_size = 3\n", 1, "must be a section"),
    "section within": ("[server.page_size]\nx = 3\n", 1, "must be a whole number"),
    "quoted key": ('[server]\n"page_size " = 3\n', 2, "did you mean server.page_size"),
    "empty key": ('[server]\n"" = 3\n', 2, "unknown setting"),
    "escaped key": ('[server]\n"page\\u0000size" = 3\n', 1, "unknown setting"),
    "newline in a key": ('[server]\n"a\\nb" = 3\n', 1, "unknown setting"),
    "bool for int": ("[server]\npage_size = true\n", 2, "server.page_size=true must be a whole number"),
    "float for int": ("[server]\npage_size = 6.0\n", 2, "must be a whole number"),
    "string for int": ("[server]\npage_size = '6'\n", 2, "must be a whole number"),
    "string for float": ("[client]\nttl_s = '6'\n", 2, "must be a number"),
    "bool for float": ("[client]\nttl_s = false\n", 2, "must be a number"),
    "number for a word": ("[client]\non_refill = 1\n", 2, "one of replace, merge"),
    "array for a number": ("[client]\nttl_s = [1.0]\n", 2, "must be a number"),
    "date": ("[client]\nttl_s = 2020-01-01\n", 2, "must be a number"),
    "time": ("[client]\nttl_s = 10:00:00\n", 2, "must be a number"),
    "inline table": ("[client]\nttl_s = {s = 3}\n", 2, "must be a number"),
    "nan": ("[client]\nttl_s = nan\n", 2, "not NaN"),
    "nan in an array": ("[phone]\nshares = [nan, 1, 1, 1]\n", 2, "not NaN"),
    "bool in an array": ("[phone]\nshares = [true, 1, 1, 1]\n", 2, "array of numbers"),
    "string in an array": ("[phone]\nshares = ['1', 1, 1, 1]\n", 2, "array of numbers"),
    "short array": ("[phone]\nshares = [1, 2]\n", 2, "array of 4 numbers"),
    "empty array": ("[phone]\nshares = []\n", 2, "array of 4 numbers"),
    "negative in an array": ("[phone]\nshares = [-1, 1, 1, 1]\n", 2, ">= 0"),
    "zero ttl": ("[client]\nttl_s = 0\n", 2, "client.ttl_s=0 must be > 0"),
    "negative ttl": ("[client]\nttl_s = -1.5\n", 2, "client.ttl_s=-1.5 must be > 0"),
    "minus infinity": ("[client]\nttl_s = -inf\n", 2, "client.ttl_s=-inf must be > 0"),
    "no people": ("[population]\nusers = 0\n", 2, "population.users=0 must be >= 1"),
    "absurd": ("[population]\nusers = 999999999999\n", 2, "population.users=999999999999 must be"),
    "infinite where bounded": ("[player]\nswipe_ms = inf\n", 2, "must be >= 0 and <= 10,000"),
    "misspelt word": ("[client]\non_refill = 'replac'\n", 2, "did you mean replace"),
    "control character": ('[network]\ntraces = "a\\u0007b"\n', 2, "printable"),
    "page beyond candidates": ("[server]\ncandidates = 4\npage_size = 5\n", 3, "must be <= server.candidates=4"),
    "candidates below the page": ("[server]\n\n\ncandidates = 4\n", 4, "page_size=6 must be <= server.candidates=4"),
    "unsorted bitrates": ("[player]\nbitrates_mbps = [3, 2, 1]\n", 2, "must ascend"),
    "not UTF-8": (b"[server]\n# caf\xe9\n", 2, "not UTF-8"),
    "UTF-16": ("[server]\npage_size = 3\n".encode("utf-16"), 1, "not UTF-8"),
    "binary": (bytes(range(256)) * 16, 2, "not UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" * 10, 1, "not UTF-8"),
    "a long line": ("[server]\n# " + "x" * 5000, 2, "line of 5,002 characters"),
    "huge": (b"# comment\n" * 1_100_000, 1, "11,000,000 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE_FILES)
def test_hostile_file(tmp_path, case):
    text, line, words = HOSTILE_FILES[case]
    path = write(tmp_path, text)
    started = time.perf_counter()
    message = refused(load_scenario, path)
    assert time.perf_counter() - started < 5  # a hang, not a slow machine
    assert message.startswith(f"{path}:{line}: "), message
    assert any(part in message for part in words.split("|")), message


def test_there_are_more_than_fifty_hostile_files():
    assert len(HOSTILE_FILES) >= 50


def test_not_a_file(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "not a file" in refused(load_scenario, tmp_path)
    assert "not a file" in refused(load_scenario, fifo)
    assert "not a file" in refused(load_scenario, "/dev/zero")
    for path in ("missing.toml", "loop", "fifo/x.toml", "x" * 5000, "nul\0.toml", "new\nline.toml"):
        assert "give a TOML file" in refused(load_scenario, tmp_path / path)


HOSTILE_SETTINGS = {
    "": "section.field=value",
    "=": "section.field=value",
    "server": "section.field=value",
    "server.page_size": "section.field=value",
    "page_size=3": "section.field=value",
    ".=3": "section.field=value",
    "server.=3": "section.field=value",
    ".page_size=3": "section.field=value",
    "server.page_size=": "no TOML value",
    "server.page_size=six": "must be a whole number",
    "server.page_size=6.5": "must be a whole number",
    "server.page_size=1e3": "must be a whole number",
    "server.page_size=true": "must be a whole number",
    "server.page_size=-3": "must be >= 1",
    "server.page_size=3\nclient.ttl_s = 1": "one printable line",
    "server.page_size=3\0": "one printable line",
    "server.page_size==3": "must be a whole number",
    "server.page_siz=3": "did you mean server.page_size?",
    "sever.page_size=3": "did you mean server?",
    "server.ttl_s=3": "did you mean client.ttl_s?",
    "server.page_size.x=3": "unknown setting",
    "client.ttl_s=nan": "not NaN",
    "client.ttl_s=[": "no TOML value",
    "client.ttl_s='": "no TOML value",
    "client.ttl_s={a=1}": "must be a number",
    "client.ttl_s=__import__('os').system('true')": "must be a number",
    "phone.shares=[1,2": "no TOML value",
    "phone.shares=" + "[" * 3000: "no TOML value",
    "server.page_size=" + "9" * 5000: "4,096",
    "server.page_size=21": "must be <= server.candidates=20",
    "client.on_refill=merg": "did you mean merge?",
    "network.traces=\u202eevil": "one printable line",
    "\u202e.x=1": "unknown section",
}


@pytest.mark.parametrize("text", HOSTILE_SETTINGS)
def test_hostile_setting(text):
    assert HOSTILE_SETTINGS[text] in refused(with_settings, DEFAULT, [text])


def test_message_by_hand():
    assert refused(with_settings, DEFAULT, ["server.page_size=0"]) == (
        "server.page_size=0 must be >= 1 and <= 100 (impressions of a page [impressions]); the default is 6"
    )


def test_settings_are_checked_together_and_only_once_given():
    changed = with_settings(DEFAULT, ["server.page_size=30", "server.candidates=40"])
    assert (changed.server.page_size, changed.server.candidates) == (30, 40)
    assert "set twice" in refused(with_settings, DEFAULT, ["server.page_size=3", "server.page_size=4"])


def test_values_of_every_kind():
    changed = with_settings(
        DEFAULT,
        ["client.ttl_s=inf", "client.refill_at = 2", "client.on_refill=merge", "client.decide_at='start'",
         "phone.inference_ms=0", "phone.shares=[1, 0, 0, 0.5]", "network.traces=some/where_x.csv"],
    )  # fmt: skip
    assert changed.client.ttl_s == math.inf
    assert changed.client.refill_at == 2
    assert (changed.client.on_refill, changed.client.decide_at) == ("merge", "start")
    assert changed.phone.inference_ms == (0, 0, 0, 0)
    assert changed.phone.shares == (1, 0, 0, 0.5)
    assert changed.network.traces == "some/where_x.csv"
    assert changed.server == DEFAULT.server
    assert Scenario() == DEFAULT


def test_no_settings_change_nothing():
    assert with_settings(DEFAULT, []) == DEFAULT


@pytest.mark.parametrize("text", ["", "\n# only a comment\n", "[server]\n", "\ufeff[server]\n"])
def test_empty_files_are_the_default(tmp_path, text):
    assert load_scenario(write(tmp_path, text)) == DEFAULT


@pytest.mark.parametrize("text", ["server.page_size=8", "server = {page_size = 8}", "[server]\r\n'page_size' = 8\r\n"])
def test_every_way_of_writing_a_field(tmp_path, text):
    assert load_scenario(write(tmp_path, text)).server.page_size == 8


@pytest.mark.parametrize("comments", [True, False])
def test_whole_scenario_loads_back_equal(tmp_path, comments):
    odd = with_settings(
        DEFAULT,
        ["client.ttl_s=inf", "sessions.away_s=1e-7", "satiation_s".join(["interests.", "=1e7"]),
         'network.traces="a \\"b\\" \\\\ é 😀 #.csv"', "phone.shares=[0.1, 0.2, 0.3, 1e300]"],
    )  # fmt: skip
    for scenario in (DEFAULT, odd):
        assert load_scenario(write(tmp_path, scenario_toml(scenario, comments))) == scenario


@given(st.data())
def test_any_valid_number_loads_back_equal(tmp_path_factory, data):
    value = data.draw(st.floats(min_value=0, exclude_min=True, allow_nan=False))
    scenario = with_settings(DEFAULT, [f"client.ttl_s={value!r}"])
    assert scenario.client.ttl_s == value
    assert load_scenario(write(tmp_path_factory.mktemp("toml"), scenario_toml(scenario, comments=False))) == scenario


def test_comments_give_unit_bounds_and_source_of_every_field():
    text = scenario_toml(DEFAULT)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    for section, info in Scenario.model_fields.items():
        start = lines.index(f"[{section}]")
        for name, field in info.annotation.model_fields.items():
            row = next(i for i in range(start, len(lines)) if lines[i].startswith(f"{name} = "))
            comment = ""
            while lines[row - 1].startswith("# "):
                row -= 1
                comment = f"{lines[row][2:]} {comment}"
            assert field.description in comment
            assert "Source:" in comment or "Assumed:" in comment
            if field.json_schema_extra["unit"]:
                assert f"[{field.json_schema_extra['unit']}]" in comment
            if isinstance(field.default, int | float):
                assert any(sign in comment for sign in (">= ", "> ")), f"{section}.{name} has no bounds"


@given(st.text(max_size=60))
@example("server.page_size=\ud800")
@example("server.page_size=1\x85")
def test_any_text_is_a_setting_or_one_line(text):
    try:
        with_settings(DEFAULT, [text])
    except SettingError as refusal:
        message = str(refusal)
    else:
        return
    assert message.isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_scenario_or_one_line(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("bytes"), data)
    try:
        load_scenario(path)
    except SettingError as refusal:
        message = str(refusal)
    else:
        return
    assert message.startswith(f"{path}:")
    assert message.isprintable()


def test_scenarios_with_names():
    """Without a file; a file may be called so with its folder."""
    assert load_scenario("kir") == Scenario()
    edgerec = load_scenario("edgerec").server
    assert (edgerec.page_size, edgerec.candidates, edgerec.feature_lag_s) == (50, 100, 60)
    strong = load_scenario("strong_intent")
    bound = intent_bound(None)  # that of `nextone headroom`
    both = [f"{name}={bound}" for name in ("interests.intent_sd", "server.assumed_intent_sd")]
    assert strong == with_settings(Scenario(), both) and bound > Scenario().interests.intent_sd
    assert load_fit(Path("strong_intent")).draws == load_fit(None).draws
    with pytest.raises(SettingError, match="or kir, edgerec, strong_intent"):
        load_scenario("kri")
