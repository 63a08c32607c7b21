"""index_to_name.json: class number → name, in every form that TorchServe's handlers accept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LABELS_FILE = "index_to_name.json"


def load_labels(file: Path) -> dict[str, str] | None:
    """Class number as text → name, or None when there is no such file.

    Forms: `{"0": "cat"}`, `{"0": ["n01", "cat"]}` (the last element is the name) and
    `{"object_type_names": ["cat", …]}`. Raises ValueError for anything else.
    """
    if not file.is_file():
        return None
    mapping = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(mapping, dict):
        raise ValueError(f"{file.name} must be a mapping of class numbers to names")
    names = mapping.get("object_type_names")
    if isinstance(names, list):
        return {str(number): name for number, name in enumerate(names)}
    return {number: _name(number, value, file.name) for number, value in mapping.items()}


def _name(number: str, value: Any, file: str) -> str:
    name = value[-1] if isinstance(value, list) and value else value
    if not isinstance(name, str):
        raise ValueError(f"{file}: the name of class {number} must be text or a list of texts, not {value!r}")
    return name


def map_class_to_label(
    probs: Sequence[Sequence[float]],
    mapping: Mapping[str, str] | None = None,
    lbl_classes: Iterable[Iterable[int]] | None = None,
) -> list[dict[str, float]]:
    """Rows of probabilities → rows of `{name: probability}`. `lbl_classes`: the class numbers of each row's
    probabilities; by default 0, 1, 2, … Raises ValueError when `probs` is no list or `mapping` no mapping."""
    if not isinstance(probs, list):
        raise ValueError("probs must be a list of rows")
    if mapping is not None and not isinstance(mapping, Mapping):
        raise ValueError("mapping must be a mapping of class numbers to names")
    numbers = [range(len(row)) for row in probs] if lbl_classes is None else lbl_classes
    return [
        {
            str(number) if mapping is None else mapping[str(number)]: probability
            for number, probability in zip(classes, row, strict=False)
        }
        for classes, row in zip(numbers, probs, strict=False)
    ]
