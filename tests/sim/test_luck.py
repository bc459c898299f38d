"""No two draws of the world share a key: read from the table and from the calls. Contract."""

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from nextone.sim.engine import luck

SIM = Path(__file__).parents[2] / "sim"
STREAMS = dict([item for item in vars(luck).items() if isinstance(item[1], int)][:17])
NAMED = {keys.name: keys.stream for keys in luck.SUB_KEYS if keys.name}
DRAWS = {"uniform", "uniform2", "normal2", "keyed_words"}


def calls():
    """(where, stream, sub-keys by name, numbers) of each call that draws, round trips included."""
    for file in sorted(SIM.rglob("*.py")):
        if file.name == "chance.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name in DRAWS:
                stream, keys = ast.unparse(node.args[1]), node.args[3:]
            elif name == "rtt_us":
                stream, keys = "NETWORK", node.args[5:]
            elif name == "draw_content":
                stream, keys = "CONTENT", node.args[2:3]
            else:
                continue
            inside = [part for key in keys for part in ast.walk(key)]
            names = {part.id for part in inside if isinstance(part, ast.Name)} & NAMED.keys()
            numbers = {part.value for part in inside if isinstance(part, ast.Constant)}
            bare = {key.value for key in keys if isinstance(key, ast.Constant)}
            yield f"{file.name}:{node.lineno}", stream, names, (numbers - {0, 1, 2}) | (bare - {0})


def test_streams_have_numbers_of_their_own():
    assert sorted(STREAMS.values()) == list(range(1, 18))


def test_sub_keys_of_a_stream_do_not_overlap():
    taken = defaultdict(dict)
    for stream, name, first, size, step in luck.SUB_KEYS:
        for number in range(first, first + size * step, step):
            other = taken[stream].setdefault(number, name)
            assert other == name, f"{name} and {other} share {number}"


@pytest.mark.parametrize("name", NAMED)
def test_the_table_holds_the_constant(name):
    assert next(keys.first for keys in luck.SUB_KEYS if keys.name == name) == vars(luck)[name]


def test_every_call_draws_from_its_own_key():
    """A sub-key is a name of the call's stream and stands in one call; only a session's opening stands in two, one for
    the first session and one for later ones. Stream 0: `interest.truth_and_belief`, which is given its stream."""
    used, unnamed = Counter(), Counter()
    for where, stream, names, numbers in calls():
        assert not numbers, f"{where}: {numbers} should have a name in sim/engine/luck.py"
        assert all(NAMED[name] == STREAMS.get(stream, 0) for name in names), where
        used.update(names)
        unnamed[STREAMS.get(stream, 0)] += not names
    assert used == {name: 2 if name == "OPENING" else 1 for name in NAMED}
    plain = {keys.stream for keys in luck.SUB_KEYS if not keys.name}  # the errors of rates have a key of their own
    others = {0, luck.MATCH, luck.OUTAGE, luck.WALK, luck.VIDEO, luck.CONTENT}
    assert {stream for stream, count in unnamed.items() if count} == plain | others
