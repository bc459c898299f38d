"""What `nextone collect --as` writes, loaded by the library that it is for, and off-policy estimates with its FQE.

    python tests/recipes/datasets.py Minari

Called by `make test-long` in an environment of each library's own; nothing to do for other names."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

SMALL = ("--minutes", "10", "--set", "server.candidates=6", "--set", "server.page_size=3", "-q")
NUMBERS = 6 * 28 + 31  # of an observation: 6 candidates without embeddings, and the context


def nextone(*arguments):
    """The command, and what it printed."""
    done = subprocess.run([sys.executable, "-m", "nextone.cli", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def collected(folder, library):
    """The samples and their episodes as nextone wrote them, beside a dataset for a library."""
    made = ("--users", "20", "--explore", ".3", "--temperature", ".5", "--policy", "server_score", "--episodes")
    nextone("collect", "--out", str(folder), "--as", library, "--reward", "watch_s", *made, *SMALL)
    return pq.read_table(folder / "samples.parquet"), pq.read_table(folder / "episodes.parquet").to_pandas()


def minari_reads_it(folder):
    samples, episodes = collected(folder, "minari")
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
    import minari

    data = minari.load_dataset("nextone/logged-v0")
    assert data.total_episodes == episodes.episode.nunique() > 3 and data.total_steps == len(samples)
    read = list(data.iterate_episodes())
    for whole, (_, part) in zip(read, episodes.groupby("episode"), strict=True):
        assert whole.observations.shape == (len(part) + 1, NUMBERS) and data.observation_space.shape == (NUMBERS,)
        assert (whole.observations >= data.observation_space.low).all()
        assert np.array_equal(whole.actions, part.action) and np.array_equal(whole.terminations, part.terminal)
        assert np.allclose(whole.rewards, part.watch_s)
        assert np.array_equal(whole.infos["propensity"], part.propensity, equal_nan=True)
        assert (whole.infos["action_mask"][np.arange(len(part)), whole.actions] == 1).all()
        assert whole.truncations[:-1].sum() == 0 and whole.truncations[-1] != whole.terminations[-1]
    assert 0 < np.concatenate([whole.infos["propensity"] for whole in read]).min() < 0.3


def d3rlpy_reads_it(folder):
    _, episodes = collected(folder, "d3rlpy")
    import d3rlpy

    with (folder / "d3rlpy.h5").open("rb") as file:
        data = d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())
    parts = [part for _, part in episodes.groupby("episode")]
    parts = [part for part in parts if len(part) > 1 or part.terminal.all()]  # others have no transition to learn from
    assert len(data.episodes) == len(parts) > 3 and data.dataset_info.action_size <= 6
    for whole, part in zip(data.episodes, parts, strict=True):
        assert whole.observations.shape == (len(part), NUMBERS)
        assert np.array_equal(whole.actions[:, 0], part.action) and np.allclose(whole.rewards[:, 0], part.watch_s)
        assert whole.terminated == part.terminal.iloc[-1]
    quiet = {"logger_adapter": d3rlpy.logging.NoopAdapterFactory(), "show_progress": False}
    d3rlpy.algos.DiscreteCQLConfig(batch_size=16).create(device=False).fit(data, 5, n_steps_per_epoch=5, **quiet)
    of_a_chain_fqe_is_near()
    told = nextone("off-policy", "--target", "random", "--users", "20", "--fqe-steps", "50", *SMALL)
    assert "FQE, d3rlpy" in told and "not run" not in told and "info" not in told


def of_a_chain_fqe_is_near():
    """Two decisions a session: the first earns what was picked, the second five times that; the target picks 1: 6."""
    from nextone.experiments.training.off_policy.fqe import fqe

    picked = np.random.default_rng(0).integers(2, size=(4000, 1)).astype(np.float32)
    second = np.tile([0.0, 1.0], 2000).astype(np.float32)
    reward = picked[:, 0] * (1 + 4 * second)
    session = np.repeat(np.arange(2000), 2)
    found = fqe(second[:, None], picked, np.ones_like(picked), reward.astype(np.float64), session, 0, 1500)
    assert abs(found.value - 6) < 0.3, found.value


READERS = {"Minari": minari_reads_it, "d3rlpy": d3rlpy_reads_it}

if __name__ == "__main__" and sys.argv[1] in READERS:
    with tempfile.TemporaryDirectory() as made:
        READERS[sys.argv[1]](Path(made))
