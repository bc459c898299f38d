"""The world: people, phones, links and servers."""

import hashlib
import os
import sys
import tempfile
from pathlib import Path


def _kernel_cache() -> str:
    """Where compiled kernels are kept: a folder named after the sources they come from.

    numba looks only at the file a function stands in, so a change to a function it calls would go unnoticed."""
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for file in sorted([*here.glob("*.py"), *here.parent.glob("envs/*.py"), *here.parent.glob("policies/*.py")]):
        source = file.read_bytes()
        if file.parent == here or b"njit" in source or b"kernel" in source:  # much of the others is not compiled
            digest.update(source)
    name = f"kernels-{digest.hexdigest()[:16]}"
    for parent in (here / "__pycache__", Path.home() / ".cache" / "nextone"):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            if os.access(parent, os.W_OK):
                return str(parent / name)
        except OSError:
            continue
    return tempfile.mkdtemp(prefix="nextone-")  # private to this process: a cache is code


os.environ.setdefault("NUMBA_CACHE_DIR", _kernel_cache())  # numba reads it when it is imported
if "numba" in sys.modules:
    sys.modules["numba"].config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]
