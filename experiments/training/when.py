"""Decisions around a policy that ranks on the phone: when to act, and what the next page is to be.

`nextone/When-v0`: nothing, rank the list anew, or ask the cloud for a page. `nextone/Cloud-v0`: page size, candidates
and TTL. Who ranks is a policy by name; what is learned is when that is worth it, or what the cloud should send. Compare
AdaRequest (KDD 2022, arXiv 2206.12296), which learns when a page of the cloud is worth its request. The environments
themselves are `envs/vector.py`'s and `envs/cloud.py`'s.
"""

from typing import Any

from nextone.envs.acting import Ranker
from nextone.envs.cloud import CloudEnv
from nextone.envs.single import NextOneEnv
from nextone.envs.vector import NextOneVectorEnv
from nextone.policies.by_name import make_policy
from nextone.policies.contract import as_policy
from nextone.sim.scenario import SettingError


def when_to_act(ranker: str = "tag_momentum", **arguments: Any) -> NextOneEnv:
    """The environment of one person. ranker: a policy by name that keeps no memory. Further arguments are those of
    `NextOneEnv`. Raises SettingError."""
    return NextOneEnv(**_chosen(ranker), **arguments)


def when_to_act_of_many(num_envs: int = 1, ranker: str = "tag_momentum", **arguments: Any) -> NextOneVectorEnv:
    """The environment of N people; arguments as for `when_to_act` and `NextOneVectorEnv`."""
    return NextOneVectorEnv(num_envs, **_chosen(ranker), **arguments)


def cloud_side(ranker: str = "tag_momentum", **arguments: Any) -> CloudEnv:
    """The environment of one person's pages. ranker: as for `when_to_act`. Further arguments are those of `CloudEnv`.
    Raises SettingError."""
    return CloudEnv(_ranker(ranker), **arguments)


def _chosen(ranker: str) -> dict[str, Any]:
    return {"action": "when", "refresh": True, "ranker": _ranker(ranker)}


def _ranker(ranker: str) -> Ranker:
    made = make_policy(ranker)
    if made is None:
        raise SettingError(f"ranker={ranker!r} ranks nothing on the phone; tag_momentum does")
    policy = as_policy(made)
    if policy.start(1) is not None:
        raise SettingError(f"ranker={ranker!r} keeps a memory, which this environment has no room for; kir keeps none")
    return lambda observation: policy(observation, None)[0]
