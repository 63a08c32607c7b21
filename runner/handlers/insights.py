"""What captum explains, and what it needs of a model. captum is imported when an explanation is asked for."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from archiver.errors import EXTRAS
from runner.handlers.errors import BadRequest, PredictionException


def captum_attr() -> Any:
    """The module captum.attr. Raises PredictionException (501) without captum."""
    if find_spec("captum") is None:
        extra = f"pip install 'torch-archive[{EXTRAS['captum']}]'"
        raise PredictionException(f"explanations need captum on the server: {extra}", 501)
    return importlib.import_module("captum.attr")


def class_number(target: Any) -> int:
    """The class that a request wants explained, from the field `target`. Raises BadRequest."""
    try:
        return int(target)
    except (TypeError, ValueError) as error:
        shown = target.decode(errors="replace") if isinstance(target, bytes | bytearray) else target
        raise BadRequest(f"target must be the number of a class, not {shown}") from error


def bag_of(model: Any) -> nn.EmbeddingBag:
    """The layer that turns a row's tokens into one vector: `model.embedding`, or the only one of its kind.

    Raises PredictionException (501) for a model in which it cannot be seen.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise PredictionException("a TorchScript model does not show its layers: tokens cannot be explained", 501)
    named = getattr(model, "embedding", None)
    if isinstance(named, nn.EmbeddingBag):
        return named
    parts = model.modules() if isinstance(model, nn.Module) else ()
    found = [part for part in parts if isinstance(part, nn.EmbeddingBag)]
    if len(found) != 1:
        raise PredictionException(f"tokens are explained at an EmbeddingBag; the model has {len(found)}", 501)
    return found[0]


def token_attributions(model: Any, numbers: torch.Tensor, offsets: torch.Tensor, target: int) -> torch.Tensor:
    """Integrated gradients of `model(numbers, offsets)`, one row of tokens, towards class `target`: tokens x width of
    the embedding. Compared with a row of as many tokens 0, as TorchServe does; the sum is what the class gains by it.

    Raises PredictionException (501) without captum, or where the layer does not tell its tokens apart.
    """
    bag = bag_of(model)
    if bag.mode == "max":
        raise PredictionException("a bag of tokens of which the largest counts does not tell them apart", 501)
    ways = captum_attr().LayerIntegratedGradients(model, bag, multiply_by_inputs=False)
    if not len(numbers):
        return bag.weight.new_zeros(0, bag.embedding_dim)
    slopes: torch.Tensor = ways.attribute(
        numbers, torch.zeros_like(numbers), additional_forward_args=(offsets,), target=target
    )
    # A bag is linear in its tokens, so that its slope is theirs.
    share = len(numbers) if bag.mode == "mean" else 1
    table = bag.weight.detach()
    return (table[numbers] - table[0]) * slopes / share
