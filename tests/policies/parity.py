"""The kit that holds a network's compiled twin to the network itself: `test_parity.py` runs it for each entry of PAIRS.

A new network with a twin needs an entry and nothing else. As a command, with compilation off, the kit changes every
constant of the networks' sources in turn and prints how network and twin react, as JSON:

    NUMBA_DISABLE_JIT=1 python tests/policies/parity.py
"""

import ast
import importlib.machinery
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from nextone.envs.features import CANDIDATE, CONTEXT, EMBEDDING, HISTORY, PREDICTED, TAG_SCALE, C, H, Observation
from nextone.sim.config import FEEDBACK

NETWORKS = Path(__file__).resolve().parents[2] / "policies" / "networks"
PEOPLE, SLOTS, PAST = 5, 9, 12
FLAGS = ("valid_play", "long_view", "completion", "skip", *FEEDBACK)
SIGNED = [feature.name for feature in (*PREDICTED, *EMBEDDING)]
CLOSE = 5e-6  # of scores by network and twin, which sum in another order
MOVES = 5e-5  # a change of scores that is no rounding


class Pair(NamedTuple):
    """A network and its twin. Both answer an observation with numbers that hang together continuously with every weight
    that a phone's decision depends on. Modules are imported when they are needed: the kit loads them changed."""

    make: Callable[[], Any]
    by_network: Callable[[Any, Observation], Any]
    twin_of: Callable[[Any], Callable[[Observation], Any]]
    without_effect: frozenset[str] = frozenset()  # weights that cannot change these numbers


def kir() -> Pair:
    def make():
        from nextone.policies.networks.kir.network import Kir

        return Kir()

    def twin_of(network):
        from nextone.policies.networks.kir.compiled import CompiledKir

        twin = CompiledKir(network)
        return lambda seen: twin(seen)[seen.mask]

    return Pair(make, lambda network, seen: score(network, seen).numpy()[seen.mask], twin_of)


def edgerec() -> Pair:
    """Of the twin all behaviours are read in one decision, which is due at once."""

    def make():
        from nextone.policies.networks.edgerec.network import EdgeRec

        return EdgeRec()

    def twin_of(network):
        from nextone.policies.phone.edgerec import EdgeRecPhone

        phone = EdgeRecPhone(network, kept=50, quiet=1)

        def answer(seen):
            memory = phone.start(len(seen.mask))
            memory.quiet[:] = 1
            return phone(seen, memory)[0][seen.mask]

        return answer

    of_the_person = frozenset(f"dense.rerank.user.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias"))
    return Pair(make, lambda network, seen: score(network, seen).numpy()[seen.mask], twin_of, of_the_person)


def context_aware() -> Pair:
    """Scores, and the reward of the best list of three: it depends on has_next and on attention to what is placed."""

    def search():
        from nextone.policies.networks.context_aware.network import Search

        return Search(beams=2, stability=2.0, depth=3)

    def chosen(seen, scores, rewards):
        return np.concatenate([np.asarray(scores)[seen.mask], np.asarray(rewards)[seen.mask.sum(1) >= 3]])

    def make():
        from nextone.policies.networks.context_aware.network import ContextAware

        return ContextAware()

    def by_network(network, seen):
        from nextone.policies.networks.context_aware.network import scores_of, search_lists

        with torch.inference_mode():
            found, alone = search_lists(network, *map(torch.from_numpy, seen), search=search())
            return chosen(seen, scores_of(found, alone), found.scores[:, 0])

    def twin_of(network):
        from nextone.policies.networks.context_aware.compiled import CompiledContextAware

        twin = CompiledContextAware(network, search())
        return lambda seen: chosen(seen, *twin.searched(seen))

    same_for_all_keys = frozenset(f"dense.{attention}.key.bias" for attention in ("watched", "placed"))
    return Pair(make, by_network, twin_of, same_for_all_keys)  # softmax does not see it


PAIRS = {"kir": kir, "edgerec": edgerec, "context_aware": context_aware}


# -- observations ------------------------------------------------------------------------------------------------------


def observation(seed=0, people=PEOPLE, slots=SLOTS, past=PAST):
    """Plausible rows: flags are 0 or 1, tags whole, histories of every length, some slots empty."""
    draw = np.random.Generator(np.random.Philox(seed))
    candidates = np.zeros((people, slots, len(CANDIDATE)), np.float32)
    history = np.zeros((people, past, len(HISTORY)), np.float32)
    for rows, table in ((candidates, C), (history, H)):
        rows[...] = draw.random(rows.shape, np.float32)
        rows[..., [getattr(table, name) for name in SIGNED]] -= 0.5
    history[..., [getattr(H, name) for name in FLAGS]] = draw.random((people, past, len(FLAGS))) < 0.2
    history[..., [H.present, H.encoded]] = 1
    for rows, table in ((candidates, C), (history, H)):
        rows[..., [table.tag, table.tag2]] = np.floor(40 * rows[..., [table.tag, table.tag2]]) / TAG_SCALE
    candidates[..., C.page_age] *= 0.1  # of one page and the next: ranks of both mix
    mask = draw.random((people, slots)) < 0.7
    mask[:, 0] = True
    for person in range(people):
        history[person, past * person // (people - 1) :] = 0
    candidates[~mask] = 0
    context = draw.random((people, len(CONTEXT)), np.float32)
    return Observation(candidates, history, context, mask)


def score(network, seen):
    """The network's own forward pass."""
    with torch.inference_mode():
        return network(*map(torch.from_numpy, seen))


# -- weights -----------------------------------------------------------------------------------------------------------


class Reaction(NamedTuple):
    """To one change: how far the network's numbers moved, and how far the twin's then are from them."""

    what: str
    moved: float
    apart: float


def network_of(pair: Pair, seed: int = 0) -> Any:
    """A network of the pair, `stirred`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return stirred(pair.make().eval(), seed)


def stirred(network: Any, seed: int = 0) -> Any:
    """A fresh network, its weights doubled, so that behaviours matter more than at the start of a training; and what
    starts at zero, drawn: before that it says what the server says, whatever its other weights are."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data *= 2.0
        if not parameter.any():
            parameter.data.uniform_(-1.0, 1.0, generator=draw)
    return network


def apart(a: Any, b: Any) -> float:
    """The largest difference, of itself where numbers are above 1; infinite where one is not a number."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    largest = float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1.0), initial=0.0))
    return np.inf if np.isnan(largest) else largest


def to_each_weight(pair: Pair, seen: Observation, twin_of: Callable[[Any], Any] | None = None) -> Iterator[Reaction]:
    """Every tensor of weights, changed by itself."""
    network, draw = network_of(pair), np.random.Generator(np.random.Philox(7))
    before = pair.by_network(network, seen)
    for name, parameter in network.named_parameters():
        kept = parameter.data.clone()
        parameter.data += torch.from_numpy(draw.uniform(-0.3, 0.3, parameter.shape).astype(np.float32))
        after, twins = pair.by_network(network, seen), (twin_of or pair.twin_of)(network)(seen)
        yield Reaction(name, apart(after, before), apart(twins, after))
        parameter.data = kept


# -- constants ---------------------------------------------------------------------------------------------------------


class Constant(NamedTuple):
    """A module's constant with another value."""

    file: Path
    name: str
    expression: str

    @property
    def label(self) -> str:
        return f"{self.file.relative_to(NETWORKS).with_suffix('')}.{self.name}"


def assigned(tree: ast.Module) -> Iterator[tuple[str, Any, int]]:
    """Each name that a module assigns at its top, and where its expression stands: in an assignment (-1), or as the
    k-th of a tuple."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                yield target.id, node, -1
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for k, name in enumerate(target.elts):
                    yield name.id, node.value, k


def expression_at(place, k):
    return place.value if k < 0 else place.elts[k]


def constants_of(file: Path) -> Iterator[Constant]:
    """Every number that is written out, changed; every sequence of names or numbers, the other way round."""
    parts = file.relative_to(NETWORKS).with_suffix("").parts
    module = importlib.import_module(".".join(("nextone.policies.networks", *parts)))
    for name, place, k in assigned(ast.parse(file.read_text(encoding="utf-8"))):
        value, expression = getattr(module, name), expression_at(place, k)
        text = ast.unparse(expression)
        if isinstance(value, (tuple, list)) and all(isinstance(entry, (str, int, float)) for entry in value):
            yield Constant(file, name, f"({text})[::-1]")
        elif isinstance(value, (int, float)) and isinstance(expression, (ast.Constant, ast.UnaryOp)):
            factor = 2 if isinstance(value, int) else 0.8 if value > 1e-3 else 1000.0
            yield Constant(file, name, f"{factor} * {text}")


def source_with(constant: Constant) -> str:
    tree = ast.parse(constant.file.read_text(encoding="utf-8"))
    other = ast.parse(constant.expression, mode="eval").body
    place, k = next((place, k) for name, place, k in assigned(tree) if name == constant.name)
    if k < 0:
        place.value = other
    else:
        place.elts[k] = other
    return ast.unparse(ast.fix_missing_locations(tree))


def loaded_with(constant: Constant | None) -> None:
    """Networks and phones are imported once more when they are next asked for, with that constant."""
    rooms = ("nextone.policies.networks", "nextone.policies.phone")
    for name in [name for name in sys.modules if name.startswith(rooms)]:
        del sys.modules[name]
    loader = importlib.machinery.SourceFileLoader
    loader.get_code = as_it_is if constant is None else changed(constant.file, source_with(constant))


as_it_is = importlib.machinery.SourceFileLoader.get_code


def changed(file: Path, source: str) -> Any:
    def get_code(self, fullname):
        path = self.get_filename(fullname)
        return compile(source, path, "exec") if Path(path).resolve() == file else as_it_is(self, fullname)

    return get_code


def to_constant(kind: str, constant: Constant, seen: Observation, before: Any) -> str:
    """"moved" or "unmoved": network and twin agree; "differs"; or who refuses to be made with it."""
    loaded_with(constant)
    pair = PAIRS[kind]()
    try:
        network = network_of(pair)
        after = pair.by_network(network, seen)
    except (RuntimeError, ValueError, IndexError) as error:
        return f"network refuses: {type(error).__name__}"
    try:
        twins = pair.twin_of(network)(seen)
    except AssertionError:
        return "twin refuses"
    if apart(twins, after) > CLOSE:
        return "differs"
    return "moved" if len(after) != len(before) or apart(after, before) > MOVES else "unmoved"


def to_each_constant(kind: str) -> dict[str, str]:
    """By the constant's label; the last one is a control: a scale that only the twin has."""
    loaded_with(None)
    seen, pair = observation(30, 2, 4, 3), PAIRS[kind]()
    before = pair.by_network(network_of(pair), seen)
    shared = [NETWORKS / f"{name}.py" for name in ("behaviours", "recent_interest", "blend")]
    files = [file for file in sorted((NETWORKS / kind).glob("*.py")) if not file.name.startswith(("__", "compiled"))]
    constants = [constant for file in (*shared, *files) for constant in constants_of(file)]
    control = Constant(NETWORKS / "compiled_behaviours.py", "SCALE", "np.float32(0.9 * RATE_SCALE)")
    return {constant.label: to_constant(kind, constant, seen, before) for constant in (*constants, control)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # NumPy's scalars tell of the overflow that hashes are made of
    print(json.dumps({kind: to_each_constant(kind) for kind in sys.argv[1:] or PAIRS}, indent=1))
