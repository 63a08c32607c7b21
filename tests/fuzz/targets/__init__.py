"""The targets: name → what it looks at, and the module whose `one` it is. Its corpus is the folder of that name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

Target = Callable[[bytes], None]

TARGETS = {
    "zip": "zip archives, read to the last byte",
    "tar": "tar archives, read to the last byte",
    "manifest": "MANIFEST.json",
    "scan": "what runs code when it is opened",
    "config": "model configs and archive.yaml, validated and rendered",
    "workflow": "spec files of workflows",
    "http": "bytes on a connection, through the lane and the application",
    "forms": "bodies of forms, and other bodies",
    "rows": "what a worker makes of a parameter",
    "frames": "the stream between front end and worker",
    "link": "a worker that says whatever it likes",
    "tensors": "requests of the Open Inference Protocol, and answers to them",
    "batcher": "who travels together, under a clock of ours",
}

CORPUS = Path(__file__).resolve().parents[1] / "corpus"


def load(name: str) -> Target:
    """The target of that name. Raises KeyError for what is none."""
    if name not in TARGETS:
        raise KeyError(name)
    one: Target = importlib.import_module(f"{__name__}.{name}_target").one
    return one


def corpus(name: str) -> list[Path]:
    """The inputs that are kept for a target."""
    return sorted((CORPUS / name).iterdir())
