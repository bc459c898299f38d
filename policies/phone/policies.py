"""Edge networks from their checkpoints: `edgerec`, `kir`, `context_aware` as shipped, or `edgerec:DIR` of one's own.

Unlike `rl:DIR` they may be deployed in another scenario than they were trained in, as a system's model is; only the
table of features must be the same. KIR and the context-aware network score every swipe anew from the observation;
EdgeRec is in `edgerec.py`. What the phone runs of a network are its `parts`; `...@onnx` and `...@mnn` run them on
the real engine. Called by `policies/names.py`; training is in `experiments/training/edge/train.py`.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from numba import get_num_threads
from torch import Tensor, nn

from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY, C, H, Observation
from nextone.policies.checkpoint import MODEL, Checkpoint, CheckpointError, best_checkpoint, load_into
from nextone.policies.contract import Scores
from nextone.policies.names import KINDS
from nextone.policies.networks.cloud_ranks.network import CloudRank, DlcmDense, DnnRankDense
from nextone.policies.networks.context_aware.compiled import CompiledContextAware
from nextone.policies.networks.context_aware.network import (
    WIDTH,
    ContextAware,
    ContextAwareDense,
    Search,
    crossed_with_candidates,
    search_lists,
    tokens_of,
)
from nextone.policies.networks.edgerec.network import ABLATIONS, EdgeRec
from nextone.policies.networks.kir.compiled import CompiledKir
from nextone.policies.networks.kir.network import Kir
from nextone.policies.trained import check_features, trained_in
from nextone.sim.config import Scenario

from .edgerec import EdgeRecPhone
from .engines import ENGINES, needs, on_engine

PAD_TO = 32  # people in every forward pass of torch's: then nobody's scores depend on who else is asked


Part = tuple[nn.Module, tuple[Tensor, ...]]
"""What a phone runs, and inputs of one person as an example."""


class EdgePolicy:
    """A network as a Policy (`policies/contract.py`), without memory. `pad_to`: ask about so many at once."""

    pad_to: int | None = PAD_TO
    downloaded = True

    def __init__(self, network: nn.Module, name: str) -> None:
        self.network: Any = network.eval()  # with parts `dense` and `embeddings`
        self.__name__ = name

    def start(self, n: int) -> None:
        return None

    @torch.inference_mode()
    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        return self.scores(*map(torch.from_numpy, observation)).numpy(), None

    def scores(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(N, P)."""
        scores: Tensor = self.network(candidates, history, context, mask)
        return scores

    def parts(self, slots: int, rows: int) -> dict[str, Part]:
        """What the phone runs, with inputs for a pool of so many slots and so many past impressions."""
        candidates, history, context, mask = blank(slots, rows)
        of_candidates, of_history = self.network.embeddings(candidates, C), self.network.embeddings(history, H)
        inputs: tuple[Tensor, ...] = (candidates, of_candidates, history, of_history, context, mask)
        if isinstance(self.network, CloudRank):
            inputs = (candidates, of_candidates, mask)
        return {"dense": (self.network.dense, inputs)}

    def install(self, parts: dict[str, nn.Module]) -> None:
        """Let these run in the parts' place."""
        self.network.dense = parts["dense"]


class CompiledPolicy(EdgePolicy):
    """A network whose compiled twin answers until an engine takes its place."""

    pad_to = None

    def __init__(self, network: nn.Module, name: str, twin: CompiledKir | CompiledContextAware) -> None:
        super().__init__(network, name)
        self.twin: CompiledKir | CompiledContextAware | None = twin

    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        return super().__call__(observation, memory) if self.twin is None else (self.twin(observation), None)

    def install(self, parts: dict[str, nn.Module]) -> None:
        super().install(parts)
        self.twin = None


class KirPolicy(CompiledPolicy):
    """The KIR-like network."""

    def __init__(self, network: Kir, name: str) -> None:
        super().__init__(network, name, CompiledKir(network))


class ListPolicy(CompiledPolicy):
    """The context-aware network: the first video of the best list first, the others by what they would bring next."""

    def __init__(self, network: ContextAware, name: str, search: Search | None = None) -> None:
        self.search = search or Search()
        super().__init__(network, name, CompiledContextAware(network, self.search))

    def scores(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(N, P)."""
        assert isinstance(self.network, ContextAware)
        found, alone = search_lists(self.network, candidates, history, context, mask, self.search)
        return alone.scatter_add(1, found.first[:, None], torch.full((len(alone), 1), 10.0))

    def parts(self, slots: int, rows: int) -> dict[str, Part]:
        candidates, history, context, _ = blank(slots, rows)
        dense, network = self.network.dense, self.network
        assert isinstance(dense, ContextAwareDense)
        tokens = tokens_of(candidates, network.embeddings(candidates, C))
        crossed = crossed_with_candidates(candidates, torch.zeros(1, slots))
        watched = torch.zeros(1, slots, WIDTH)
        return {
            "watched": (Watched(dense), (candidates, tokens, history, network.embeddings(history, H))),
            "placed": (dense.placed, (tokens, tokens, crossed, torch.zeros(1, 1, slots))),
            "towers": (Towers(dense), (tokens, watched, watched, context)),
        }

    def install(self, parts: dict[str, nn.Module]) -> None:
        super().install({"dense": ContextAwareParts(parts)})


class Watched(nn.Module):
    """Attention (a), once a decision."""

    def __init__(self, dense: ContextAwareDense) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, candidates: Tensor, tokens: Tensor, history: Tensor, of_history: Tensor) -> Tensor:
        return self.dense.from_watched(candidates, tokens, history, of_history)


class Towers(nn.Module):
    """MMoE and towers, once a beam and step."""

    def __init__(self, dense: ContextAwareDense) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, tokens: Tensor, watched: Tensor, placed: Tensor, context: Tensor) -> Tensor:
        return self.dense.towers_of(tokens, watched, placed, context)


class ContextAwareParts(nn.Module):
    """`ContextAwareDense`, as far as the search asks it, from parts that run elsewhere."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.from_watched, self.placed, self.towers_of = parts["watched"], parts["placed"], parts["towers"]


class OnEngine:
    """A policy whose parts the real engine runs, one person at a time: exported at the first decision, when the sizes
    are known."""

    downloaded = True

    def __init__(self, policy: "EdgePolicy | EdgeRecPhone", engine: str) -> None:
        needs(engine)
        self.policy, self.engine, self.__name__ = policy, engine, f"{policy.__name__}@{engine}"
        self.sizes: tuple[int, int] | None = None

    def start(self, n: int) -> Any:
        return self.policy.start(n)

    def asked_after(self, past: int) -> int:
        """See `EdgeRecPhone.asked_after`."""
        return self.policy.asked_after(past) if isinstance(self.policy, EdgeRecPhone) else 0

    def __call__(self, observation: Observation, memory: Any) -> tuple[Scores, Any]:
        sizes = observation.mask.shape[1], observation.history.shape[1]
        if self.sizes is None:
            with tempfile.TemporaryDirectory() as folder:
                self.policy.install(
                    {
                        name: on_engine(part, example, self.engine, Path(folder), name)
                        for name, (part, example) in self.policy.parts(*sizes).items()
                    }
                )
            self.sizes = sizes
        assert sizes == self.sizes, "an engine's file is for one size of pool and history"
        return self.policy(observation, memory)


def blank(slots: int, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An observation of one person, all zero but the mask."""
    return (
        torch.zeros(1, slots, len(CANDIDATE)), torch.zeros(1, rows, len(HISTORY)), torch.zeros(1, len(CONTEXT)),
        torch.ones(1, slots),
    )  # fmt: skip


def load_edge(
    kind: str, path: Path, scenario: Scenario | None = None, how: str = ""
) -> "EdgePolicy | EdgeRecPhone | OnEngine":
    """The policy of a run's best whole checkpoint, or of the one that `path` is; `scenario` may be any.

    how: "onnx" or "mnn", the engine that runs it; "k=3", the beams of the context-aware search.
    Raises CheckpointError: nothing there, damaged, of another kind, or not trained on these features; EngineMissing."""
    torch.set_num_threads(get_num_threads())  # as many as this process may use: comparisons run several
    checkpoint = best_checkpoint(path)
    search = Search(beams=int(how[2:])) if how.startswith("k=") else None
    name = kind if path == shipped(kind) else f"{kind}:{path}"  # where the package lies is nobody's business
    policy = policy_of(load_network(kind, checkpoint), name, kept_behaviours(checkpoint), search)
    return OnEngine(policy, how) if how in ENGINES else policy


def policy_of(
    network: nn.Module, name: str, kept: int = 20, search: Search | None = None
) -> "EdgePolicy | EdgeRecPhone":
    """A network as phones run it. kept: past impressions it attends to, if it is EdgeRec."""
    if isinstance(network, EdgeRec):
        return EdgeRecPhone(network, name, kept)
    if isinstance(network, Kir):
        return KirPolicy(network, name)
    return ListPolicy(network, name, search) if isinstance(network, ContextAware) else EdgePolicy(network, name)


def fresh_policy(kind: str, seed: int = 0) -> "EdgePolicy | EdgeRecPhone":
    """An untrained network as phones would run it: of the right size, for measuring."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return policy_of(make_network(kind), kind)


def kept_behaviours(checkpoint: Checkpoint) -> int:
    """How many past impressions the network was trained with: a phone attends to as many."""
    client = trained_in(checkpoint).get("client", {})
    kept = client.get("history", Scenario().client.history) if isinstance(client, dict) else None
    if type(kept) is not int or not 1 <= kept <= 200:
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} does not say how many past impressions it saw")
    return kept


def load_network(kind: str, checkpoint: Checkpoint) -> nn.Module:
    """The network in a checkpoint. Raises CheckpointError."""
    check_features(checkpoint)
    about = checkpoint.about
    found, ablation = about.get("kind"), about.get("ablation")
    if found != kind:
        described = f"a {found} network" if found in KINDS else "no edge network"
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} holds {described}, not {kind}")
    if ablation not in ABLATIONS or (ablation and kind != "edgerec"):
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} is of an ablation that this version does not know")
    network = make_network(kind, ablation)
    load_into({name: tensor.numpy() for name, tensor in network.state_dict().items()}, checkpoint.tensors[MODEL])
    return network


def make_network(kind: str, ablation: str = "") -> nn.Module:
    """A fresh network; `dense` is what a phone runs, `embeddings` what the cloud ships with a page."""
    if kind == "edgerec":
        return EdgeRec(ablation)
    assert not ablation
    if kind == "kir":
        return Kir()
    if kind == "context_aware":
        return ContextAware()
    return CloudRank({"dnn": DnnRankDense, "dlcm": DlcmDense}[kind]())


def shipped(kind: str) -> Path:
    """The folder of the checkpoint that comes with the package."""
    return Path(__file__).parent.parent / "checkpoints" / kind
