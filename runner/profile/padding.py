"""How much of what a module is given was put there to make rows equally long."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from runner.profile.messages import Call

_NO_MASK = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def call_of(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    """One call of the module: its rows, and for token models its tokens. A mask tells what is padding, else the id
    that the model's config gives for it."""
    named = {name: value for name, value in _named(module.forward, args, kwargs) if isinstance(value, torch.Tensor)}
    rows = next((len(tensor) for tensor in named.values() if tensor.dim()), 0)
    tokens = next((tensor for name, tensor in named.items() if _are_tokens(name, tensor)), None)
    if tokens is None:
        return Call(rows, 0, 0)
    return Call(rows, tokens.numel(), _padded(tokens, named, getattr(module, "config", None)))


def _named(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Arguments with their names; those in a mapping by its keys."""
    places = [*inspect.signature(forward).parameters]
    for place, value in enumerate(args):
        name = places[place] if place < len(places) else str(place)
        yield from value.items() if isinstance(value, Mapping) else [(name, value)]
    yield from kwargs.items()


def _are_tokens(name: str, tensor: torch.Tensor) -> bool:
    return tensor.dim() == 2 and tensor.dtype in (torch.int64, torch.int32) and not _is_mask(name)


def _is_mask(name: str) -> bool:
    return name.endswith("mask")


def _padded(tokens: torch.Tensor, named: Mapping[str, torch.Tensor], config: Any) -> int:
    for name, mask in named.items():
        if _is_mask(name) and mask.shape == tokens.shape and mask.dtype not in _NO_MASK:
            # torch's key_padding_mask is true for what is left out, attention masks are true for what counts.
            left_out = mask != 0 if "padding_mask" in name else mask == 0
            return int(left_out.sum())
    pad = getattr(config, "pad_token_id", None)
    return 0 if pad is None else int((tokens == pad).sum())
