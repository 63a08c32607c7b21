"""A state dict as a safetensors file: what fits in one, what is written, and the proof that it is the same.

Rules of the room
1. Every name comes back from the file with the bits that it had, or the file is not published.
2. Tensors that are one and the same (tied weights) are stored once, under the first of their names. The others lead
   to it in the file's metadata, as `safetensors.torch.save_model` has it; our loader gives all of them back.
3. Tensors that share memory otherwise (views) are each stored whole: the format has no views.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from archiver.errors import CannotWrite
from runner.handlers.weights import read_state

#: The number formats that safetensors has read since 0.4.3, the oldest that we take. Newer ones know a few more, but
#: an older one refuses the whole file for one of them.
_TYPES = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        *(torch.uint64, torch.uint32, torch.uint16),
    }
)
#: Whoever reads the file takes this for something else than a tensor.
_RESERVED = "__metadata__"
#: What the file says of itself; transformers reads only files that say `format`.
PLAIN = {"format": "pt"}


def unfit(name: object, value: object) -> str | None:
    """Why an entry of a state dict cannot be stored, as the end of "NAME …"; None where it can."""
    if not isinstance(value, Tensor):
        return f"is {described(value)}"
    if not isinstance(name, str) or name == _RESERVED or not _is_text(name):
        return "has a name that safetensors cannot store"
    problems = {
        f"is a {type(value).__name__}, not a plain tensor": type(value) not in (Tensor, nn.Parameter),
        "is quantized": value.is_quantized,
        "is nested": value.is_nested,
        f"is sparse ({_short(value.layout)})": value.layout is not torch.strided,
        "has no data (meta)": value.is_meta,
        f"is of type {_short(value.dtype)}, which not every safetensors reads": value.dtype not in _TYPES,
    }
    problem = next((problem for problem, holds in problems.items() if holds), None)
    return problem or ("repeats its memory (expanded)" if _is_expanded(value) else None)


def _is_expanded(tensor: Tensor) -> bool:
    """Whether it is larger than what was saved of it: a file of some bytes may claim any size so."""
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


def described(value: object) -> str:
    """What an entry is, for people: `a mapping of 3`, `a state dict of 12 tensors`, `an int`."""
    if isinstance(value, Mapping):
        count = f"{len(value)} tensor{'' if len(value) == 1 else 's'}"
        return f"a state dict of {count}" if is_state(value) else f"a mapping of {len(value)}"
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def is_state(value: object) -> bool:
    """Whether it is a mapping of names to tensors, and of one at least."""
    return isinstance(value, Mapping) and bool(value) and all(isinstance(each, Tensor) for each in value.values())


def tied(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of tensors that are the same one as one met before → the first name."""
    first: dict[Any, str] = {}
    found: dict[str, str] = {}
    for name, tensor in state.items():
        same = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) if tensor.numel() else (name,)
        kept = first.setdefault(same, name)
        if kept != name and name not in PLAIN:
            found[name] = kept
    return found


def views(state: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that lie in the memory of another one, without being the same."""
    aliases = tied(state)
    own = {name: tensor for name, tensor in state.items() if name not in aliases and tensor.numel()}
    places = {name: tensor.untyped_storage().data_ptr() for name, tensor in own.items()}
    holders = Counter(places.values())
    return [name for name, place in places.items() if holders[place] > 1]


def save(state: Mapping[str, Tensor], target: Path, said: Mapping[str, str] = PLAIN) -> None:
    """Write the state, which must fit. `said`: what the file says of itself. Raises CannotWrite."""
    aliases = tied(state)
    stored = {name: tensor.detach().contiguous() for name, tensor in state.items() if name not in aliases}
    stored |= {name: stored[name].clone() for name in views(state)}
    try:
        save_file(stored, target, metadata={**said, **aliases})
    except (SafetensorError, OSError) as error:
        raise CannotWrite(f"cannot write {target.name}: {error}") from error


def said_by(file: Path) -> dict[str, str]:
    """What a safetensors file says of itself, without tied names."""
    with safe_open(file, framework="pt") as opened:
        names = set(opened.keys())
        return {key: value for key, value in (opened.metadata() or PLAIN).items() if value not in names}


def differences(state: Mapping[str, Tensor], file: Path) -> Iterator[str]:
    """Names that are in the state or the file alone, or whose tensors are not the same in both, bit for bit."""
    found = read_state(file)
    assert isinstance(found, Mapping), "this is a bug: a safetensors file holds a mapping"
    for name in sorted({*state, *found}):
        if name not in state or name not in found or not _same(state[name], found[name]):
            yield name


def _same(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(_bits(one), _bits(other))


def _bits(tensor: Tensor) -> Tensor:
    """A NaN is not equal to itself; its bits are."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _short(value: object) -> str:
    return str(value).removeprefix("torch.")


def _is_text(name: str) -> bool:
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)
