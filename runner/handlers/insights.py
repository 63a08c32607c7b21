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
        raise BadRequest(f"target must be the number of a class, not {_shown(target)}") from error


def attributed(way: Any, inputs: torch.Tensor, target: Any, **arguments: Any) -> torch.Tensor:
    """What one of captum's ways says of the inputs, for the class that the request names. Raises BadRequest for a
    class that the model does not have."""
    try:
        attributions: torch.Tensor = way.attribute(inputs, target=class_number(target), **arguments)
    except IndexError as error:
        raise BadRequest(f"target {_shown(target)}: {error}") from error
    return attributions


def _shown(target: Any) -> Any:
    return target.decode(errors="replace") if isinstance(target, bytes | bytearray) else target


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


def token_attributions(model: Any, numbers: torch.Tensor, offsets: torch.Tensor, target: Any) -> torch.Tensor:
    """Integrated gradients of `model(numbers, offsets)`, one row of tokens, towards class `target`: tokens x width of
    the embedding. Compared with a row of as many tokens 0, as TorchServe does; the sum is what the class gains by it.

    Raises PredictionException (501) without captum, or where the layer does not tell its tokens apart, and BadRequest
    for a class that is none.
    """
    bag = bag_of(model)
    if bag.mode == "max":
        raise PredictionException("a bag of tokens of which the largest counts does not tell them apart", 501)
    ways = captum_attr().LayerIntegratedGradients(model, bag, multiply_by_inputs=False)
    if not len(numbers):
        return bag.weight.new_zeros(0, bag.embedding_dim)
    arguments = {"baselines": torch.zeros_like(numbers), "additional_forward_args": (offsets,)}
    slopes = attributed(ways, numbers, target, **arguments)
    # A bag is linear in its tokens, so that its slope is theirs.
    share = len(numbers) if bag.mode == "mean" else 1
    table = bag.weight.detach()
    return (table[numbers] - table[0]) * slopes / share
