"""Weight files in the number format in which they are served: half the bytes to store, to send and to map.

Rules of the room
1. A tensor is stored in 16 bits only where the loaded model, optimised as declared, holds it so; modules that
   `precision.keep` names stay as they are. The loader brings it back to what the module declares, so what is served
   is bit for bit what casting at load time gave.
2. A file keeps its name and kind, for handlers open files by name. Only the checkpoint that our own loader reads
   becomes safetensors.
3. What is no plain mapping of names to tensors is left alone, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from archiver import checkpoint
from archiver.members import Member
from archiver.repack import member_of
from runner.handlers.errors import CannotLoad
from runner.offline import as_safetensors
from runner.offline.state import read_mapping

_KINDS = ("state-dict", "safetensors", "torch-legacy")
_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
_HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A weight file, and the member that takes its place: the same one where it stays. `told`: what was done, or why
    nothing."""

    before: Member
    after: Member
    told: str


def rewrite(member: Member, dtypes: Mapping[str, str], folder: Path, *, own_loader: bool) -> Rewritten | None:
    """The weight file in its served types, written to `folder`; None for a member that is no weight file.

    `dtypes`: weight → type as served. `own_loader`: our loader reads it, so that it may change its kind.
    """
    if Path(member.name).suffix not in _SUFFIXES or checkpoint.kind(member.source) not in _KINDS:
        return None
    try:
        state = read_mapping(member.source)
    except CannotLoad as error:
        return Rewritten(member, member, f"left as it is: {error}")
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        return Rewritten(member, member, "left as it is: it holds more than a state dict")
    cast, types = _cast(state, dtypes)
    becomes = own_loader and member.name.endswith((".pt", ".pth", ".bin")) and _fits(cast)
    if not types and not becomes:
        return Rewritten(member, member, "left as it is: served in the types that it has")
    name = str(Path(member.name).with_suffix(".safetensors")) if becomes else member.name
    _write(cast, member.source, folder / name)
    after = member_of(name, folder / name, member.role, "safetensors" if becomes else member.format)
    told = [f"{len(types)} tensors in {', '.join(sorted(set(types)))}"] if types else []
    return Rewritten(member, after, ", ".join([*told, *(["as safetensors"] if becomes else [])]))


def _cast(state: Mapping[str, torch.Tensor], dtypes: Mapping[str, str]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The state in its served types, and the types that tensors were cast to. Tied tensors stay tied."""
    done: dict[tuple[int, Any], torch.Tensor] = {}
    types = []
    cast = {}
    for name, tensor in state.items():
        wanted = _HALF.get(_served(name, dtypes) or "")
        if wanted is None or tensor.dtype is not torch.float32 or tensor.layout is not torch.strided:
            cast[name] = tensor
            continue
        types.append(str(wanted).removeprefix("torch."))
        key = (tensor.data_ptr(), (wanted, tensor.shape, tensor.stride()))
        cast[name] = done.setdefault(key, tensor.to(wanted))
    return cast, types


def _served(name: str, dtypes: Mapping[str, str]) -> str | None:
    """The weight's type as served. Libraries put a prefix before the names of a file, or leave one out."""
    if name in dtypes:
        return dtypes[name]
    near = {kind for known, kind in dtypes.items() if known.endswith(f".{name}") or name.endswith(f".{known}")}
    return near.pop() if len(near) == 1 else None


def _fits(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether safetensors holds it all, and in no more bytes: it stores views whole."""
    return not any(as_safetensors.unfit(*each) for each in state.items()) and not as_safetensors.views(state)


def _write(state: Mapping[str, torch.Tensor], source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix != ".safetensors":
        torch.save(dict(state), target)
        return
    said = as_safetensors.said_by(source) if source.suffix == ".safetensors" else as_safetensors.PLAIN
    as_safetensors.save(state, target, said)
