"""When to act on the phone: nothing, rank the list anew, or ask the cloud for a page. `nextone/When-v0`.

Who ranks is a policy by name; what is learned is when that is worth it. Compare AdaRequest (KDD 2022, arXiv
2206.12296), which learns when a page of the cloud is, and MetaController (see docs/environments.md). The environment
itself is `envs/vector.py`'s.
"""

from typing import Any

from nextone.envs.acting import Ranker
from nextone.envs.single import NextOneEnv
from nextone.envs.vector import NextOneVectorEnv
from nextone.policies.by_name import make_policy
from nextone.policies.contract import as_policy
from nextone.sim.scenario import SettingError


def when_to_act(ranker: str = "tag_momentum", **arguments: Any) -> NextOneEnv:
    """One person. ranker: a policy by name that keeps no memory; arguments as of `NextOneEnv`. Raises SettingError."""
    return NextOneEnv(**_chosen(ranker), **arguments)


def when_to_act_of_many(num_envs: int = 1, ranker: str = "tag_momentum", **arguments: Any) -> NextOneVectorEnv:
    """N people, as `when_to_act`."""
    return NextOneVectorEnv(num_envs, **_chosen(ranker), **arguments)


def _chosen(ranker: str) -> dict[str, Any]:
    made = make_policy(ranker)
    if made is None:
        raise SettingError(f"ranker={ranker!r} ranks nothing on the phone; tag_momentum does")
    policy = as_policy(made)
    if policy.start(1) is not None:
        raise SettingError(f"ranker={ranker!r} keeps a memory, which this environment has no room for; kir keeps none")
    ranks: Ranker = lambda observation: policy(observation, None)[0]  # noqa: E731
    return {"action": "when", "refresh": True, "ranker": ranks}
