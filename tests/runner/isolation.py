"""A session takes its process over; tests that open one in theirs give everything back afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def process_given_back(folder: Path) -> Iterator[None]:
    """Restores working directory, import path, import hooks, environment, affinity, and forgets modules that
    came from `folder` or under TorchServe's name."""
    cwd, path, hooks, environment = Path.cwd(), sys.path[:], sys.meta_path[:], dict(os.environ)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        yield
    finally:
        os.chdir(cwd)
        sys.path[:], sys.meta_path[:] = path, hooks
        os.environ.clear()
        os.environ.update(environment)
        if cores is not None:
            os.sched_setaffinity(0, cores)
        for name, module in list(sys.modules.items()):
            origin = getattr(module, "__file__", None) or ""
            if name.partition(".")[0] == "ts" or origin.startswith((f"{folder}/", f"{folder.resolve()}/")):
                del sys.modules[name]
