"""Handler: the class that users write ten lines of.

A batch goes through four methods: `preprocess` each row, `inference` once, `split`, `postprocess` each row.
A row whose own part raises is answered alone, at once; its neighbours go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from runner.handlers.compiled import is_declared
from runner.handlers.context import Context
from runner.handlers.errors import BadRequest, PredictionException, RowFailed, answer_to, out_of_resources
from runner.handlers.labels import LABELS_FILE, load_labels
from runner.handlers.weights import load_model, placed

_log = logging.getLogger("archive.handler")


class Handler:
    """Turns the rows of a batch into answers. Override what your model needs; every method has a default.

    Set by `initialize`: `model`; `device`; `context` (the model's files are in `context.model_dir`);
    `labels`, class number as text → name from index_to_name.json, {} without that file.
    """

    model: Any
    device: torch.device
    context: Context
    labels: Mapping[str, str]

    def initialize(self, context: Context) -> None:
        """Called once, before the first batch. An override calls `super().initialize(context)`."""
        self.context = context
        self.device = torch.device(context.device)
        self.labels = load_labels(Path(context.model_dir) / LABELS_FILE) or {}
        self.model = self.load_model()
        if isinstance(self.model, nn.Module):
            self.model = placed(self.model, self.device).requires_grad_(False)

    def load_model(self) -> Any:
        """The model. By default what the archive holds: model file and state dict (`.pt`, `.safetensors`),
        TorchScript, `.pt2`, or the code that `pt2.export.aot_compile` declares. Raises CannotLoad."""
        context = self.context
        compiled = is_declared(context.model_yaml_config)
        model, origin = load_model(Path(context.model_dir), context.manifest, self.device, compiled=compiled)
        context.weights = origin.to_dict()
        return model

    def preprocess(self, payload: Any) -> Any:
        """One row's input as what `collate` can stack. `payload` is decoded JSON, str or bytes; a form with
        fields of other names than "body" or "data" arrives as a dict. Raise BadRequest for bad input."""
        return torch.as_tensor(payload)

    def collate(self, items: list[Any]) -> Any:
        """The rows' items as one batch on `device`; by default torch's `default_collate`, which makes of items
        that are tuples one batch per place."""
        batch = default_collate(items)
        return moved(tuple(batch) if isinstance(items[0], tuple) else batch, self.device)

    def inference(self, batch: Any) -> Any:
        """The model's output for the batch. A mapping becomes keyword arguments, a tuple several arguments."""
        if isinstance(batch, Mapping):
            return self.model(**batch)
        if isinstance(batch, tuple):
            return self.model(*batch)
        return self.model(batch)

    def split(self, output: Any, n: int) -> Sequence[Any]:
        """The output cut into `n` rows, on the CPU. Tensors are cut along their first dimension, mappings and
        tuples of tensors into mappings and tuples of rows; a list has one element per row already."""
        return _rows_of(moved(output, torch.device("cpu")), n)

    def postprocess(self, output: Any) -> Any:
        """One row's answer: dict, list, number (sent as JSON), str or bytes."""
        return _plain(output)

    def top(self, scores: torch.Tensor, k: int = 5) -> dict[str, float]:
        """The `k` most probable classes of one row's logits, best first, by name where `labels` has one."""
        best = scores.flatten().float().softmax(0).topk(min(k, scores.numel()))
        numbers = map(str, best.indices.tolist())
        names = [self.labels.get(number, number) for number in numbers]
        return dict(zip(names, best.values.tolist(), strict=True))

    def handle(self, data: Sequence[Mapping[str, Any]], context: Context) -> list[Any]:
        """One answer per row of `data`; a row that failed alone has a RowFailed in its place."""
        with torch.no_grad():
            started = perf_counter()
            items = [_alone(self.preprocess, payload_of(row)) for row in data]
            kept = [item for item in items if not isinstance(item, RowFailed)]
            batched = perf_counter()
            outputs = iter(self._forward(kept) if kept else ())
            answered = perf_counter()
            answers = [
                item if isinstance(item, RowFailed) else _alone(self.postprocess, next(outputs)) for item in items
            ]
        context.seconds["preprocess"] = batched - started
        context.seconds["inference"] = answered - batched
        context.seconds["postprocess"] = perf_counter() - answered
        return answers

    def _forward(self, items: list[Any]) -> Sequence[Any]:
        rows = self.split(self.inference(self.collate(items)), len(items))
        if len(rows) != len(items):
            raise ValueError(f"split() returned {len(rows)} rows for a batch of {len(items)}")
        return rows


def payload_of(row: Mapping[str, Any]) -> Any:
    """A row's input: the raw body, or the field "data" if it is the only one; else all fields as a dict."""
    if len(row) == 1:
        for name in ("body", "data"):
            if name in row:
                return _immutable(row[name])
    return {name: _immutable(value) for name, value in row.items()}


def moved(value: Any, device: torch.device) -> Any:
    """The value with every tensor in its mappings, lists and tuples on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: moved(part, device) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(moved(part, device) for part in value)
    if isinstance(value, list):
        return [moved(part, device) for part in value]
    return value


def _immutable(value: Any) -> Any:
    return bytes(value) if isinstance(value, bytearray) else value


def _alone(stage: Callable[[Any], Any], value: Any) -> Any:
    """One row's part of the work; its exception becomes its own answer, unless the device itself failed."""
    try:
        return stage(value)
    except (BadRequest, PredictionException) as error:
        return answer_to(error)
    except Exception as error:  # user code may raise anything; the neighbours' answers do not depend on it
        if out_of_resources(error):
            raise
        _log.exception("%s failed for one row", stage.__name__)
        return answer_to(error)


def _rows_of(output: Any, n: int) -> Sequence[Any]:
    if isinstance(output, torch.Tensor):
        if output.dim() == 0 or output.shape[0] != n:
            raise ValueError(
                f"an output of shape {tuple(output.shape)} cannot be cut into {n} rows; override split()"
            )
        return output.unbind(0)
    if isinstance(output, Mapping):
        columns = [_rows_of(part, n) for part in output.values()]
        return [dict(zip(output, parts, strict=True)) for parts in zip(*columns, strict=True)]
    if isinstance(output, tuple):
        return list(zip(*(_rows_of(part, n) for part in output), strict=True))
    if isinstance(output, list):
        return output
    raise ValueError(f"an output of type {type(output).__name__} cannot be cut into rows; override split()")


def _plain(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.tolist()
    if isinstance(output, Mapping):
        return {key: _plain(part) for key, part in output.items()}
    if isinstance(output, list | tuple):
        return [_plain(part) for part in output]
    return output
