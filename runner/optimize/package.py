"""A model compiled ahead of time: one library of native code for every batch size, loaded without a compiler.

Rules of the room
1. Such code trusts its caller: an input of another shape makes it read beyond its memory. So every call is compared
   with the signature that was written when the package was made, and what does not fit is `Unfit`.
2. The module's structure is not in the package. Nested inputs and outputs are taken apart and put together as the
   sample's call was, which the process has seen before it opens a package.
3. The library is loaded by torch's runner class where it lies, so that workers share its pages. torch's loaders of
   whole packages compile test programs first, for a warning (2.13: 20 s), or unpack to a folder that a killed
   process leaves behind.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from runner.optimize.bounds import Bounds
from runner.optimize.edge import Call, Forward
from runner.optimize.guarded import Unfit
from runner.optimize.step import StepFailed
from runner.optimize.tensors import mapped, tensors_in

PROGRAM, SIGNATURE, SAMPLE = "model.so", "signature.json", "sample.safetensors"
#: Of what the compiler packs: its sources are of no use to a worker.
_SOURCES = (".cpp", ".json")
#: Larger than any dimension.
_NO_SIZE = 1 << 40


@dataclass(frozen=True, slots=True)
class Dim:
    """One dimension that changes. Dimensions of one name change together. `most` None: no limit is known."""

    name: str
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor that the code takes. A dimension is a size or a `Dim`. `below`: its numbers look up a table of this
    size, see `bounds`."""

    dtype: str
    dims: tuple[int | Dim, ...]
    channels_last: bool = False
    below: int | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What calls must look like: the tensors in the order of `tensors_in`, on one device."""

    device: str
    inputs: tuple[Input, ...]

    def to_json(self) -> str:
        """For `SIGNATURE`."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Signature:
        """Raises ValueError, TypeError or KeyError for what `to_json` did not write."""
        plain = json.loads(text)
        inputs = (
            Input(each["dtype"], tuple(_dim(dim) for dim in each["dims"]), each["channels_last"], each["below"])
            for each in plain["inputs"]
        )
        return cls(plain["device"], tuple(inputs))

    def fitted(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors as the code takes them, made contiguous where they are not. Raises Unfit."""
        if len(tensors) != len(self.inputs):
            raise Unfit(f"{len(tensors)} tensors instead of {len(self.inputs)}")
        sizes: dict[str, int] = {}
        return [
            self._fitted(place, tensor, wanted, sizes)
            for place, (tensor, wanted) in enumerate(zip(tensors, self.inputs, strict=True))
        ]

    @property
    def bounds(self) -> Bounds:
        """Of the inputs' numbers; `fitted` knows the lengths."""
        return Bounds({place: each.below for place, each in enumerate(self.inputs) if each.below is not None})

    def _fitted(self, place: int, tensor: torch.Tensor, wanted: Input, sizes: dict[str, int]) -> torch.Tensor:
        if _name(tensor.dtype) != wanted.dtype or tensor.device.type != self.device:
            raise Unfit(f"input {place} is {_name(tensor.dtype)} on {tensor.device}, not {wanted.dtype}")
        if tensor.dim() != len(wanted.dims) or not all(map(_fits(sizes), tensor.shape, wanted.dims)):
            raise Unfit(f"input {place} has the shape {tuple(tensor.shape)}, compiled is {_shape(wanted.dims)}")
        layout = torch.channels_last if wanted.channels_last else torch.contiguous_format
        return tensor.contiguous(memory_format=layout)


def _dim(plain: Any) -> int | Dim:
    return Dim(**plain) if isinstance(plain, dict) else int(plain)


def _fits(sizes: dict[str, int]) -> Callable[[int, int | Dim], bool]:
    def fits(size: int, dim: int | Dim) -> bool:
        if isinstance(dim, int):
            return size == dim
        return dim.least <= size <= (dim.most or size) and sizes.setdefault(dim.name, size) == size

    return fits


def _shape(dims: Sequence[int | Dim]) -> str:
    told = (str(dim) if isinstance(dim, int) else f"{dim.least}…{dim.most or ''}" for dim in dims)
    return f"({', '.join(told)})"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True, slots=True)
class Free:
    """Which dimensions of the inputs change: per tensor, dimension → name. `largest`: of the batch. `bounds`: how far
    their numbers and lengths may go."""

    dims: tuple[Mapping[int, str], ...]
    largest: int
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Program:
    """What to compile: the module, its own forward, a call of it, and what stands around its calls."""

    module: nn.Module
    own: Forward
    sample: Call
    around: Callable[[], AbstractContextManager[Any]]


def build(program: Program, free: Free, options: Mapping[str, Any], folder: Path) -> None:
    """Compile into `folder`: PROGRAM and SIGNATURE.

    Raises StepFailed where the model cannot be one graph for all its batches, and whatever the compiler raises.
    """
    tensors = [
        tensor.clone().contiguous() if not _is_channels_last(tensor) else tensor.clone()
        for tensor in _inputs(program.sample)
    ]
    with torch.no_grad(), program.around():
        exported = _exported(program, tensors, free)
        signature = _signature(exported, tensors, free)
        folder.mkdir(parents=True, exist_ok=True)
        _compile(exported, options, folder)
    (folder / SIGNATURE).write_text(signature.to_json())


def _inputs(call: Call) -> list[torch.Tensor]:
    args, kwargs = call.inputs
    return tensors_in((args, kwargs))


class _Flat(nn.Module):
    """The module as a function from tensors to tensors."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.module = program.module
        self._program = program

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        args, kwargs = _filled(self._program.sample.inputs, tensors)
        return tuple(tensors_in(self._program.own(*args, **kwargs)))


def _filled(template: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """`template` with other tensors in the places of its own."""
    following: Iterator[torch.Tensor] = iter(tensors)
    return mapped(template, lambda _: next(following))


def _exported(program: Program, tensors: Sequence[torch.Tensor], free: Free) -> Any:
    dims = {"batch": torch.export.Dim("batch", min=1, max=free.largest)}
    shapes = tuple(
        {dim: dims.get(name, torch.export.Dim.AUTO) for dim, name in each.items()} or None for each in free.dims
    )
    return torch.export.export(_Flat(program), tuple(tensors), dynamic_shapes=(shapes,))


def _signature(exported: Any, tensors: Sequence[torch.Tensor], free: Free) -> Signature:
    """What the exporter made of the dimensions: it may have found that one cannot change."""
    shapes = _shapes_of_inputs(exported)
    ranges = {str(symbol): found for symbol, found in exported.range_constraints.items()}
    inputs = []
    for place, (tensor, shape, named) in enumerate(zip(tensors, shapes, free.dims, strict=True)):
        dims = tuple(
            _bounded(_settled(size, ranges), free.bounds.longest.get((place, dim))) for dim, size in enumerate(shape)
        )
        if any(name == "batch" and isinstance(dims[dim], int) for dim, name in named.items()):
            raise StepFailed("the model is only for the sample's batch size")
        inputs.append(Input(_name(tensor.dtype), dims, _is_channels_last(tensor), free.bounds.below.get(place)))
    return Signature(tensors[0].device.type, tuple(inputs))


def _shapes_of_inputs(exported: Any) -> list[Any]:
    users = set(exported.graph_signature.user_inputs)
    nodes = [node for node in exported.graph.nodes if node.op == "placeholder" and node.name in users]
    return [node.meta["val"].shape for node in nodes]


def _settled(size: Any, ranges: Mapping[str, Any]) -> int | Dim:
    if isinstance(size, int):
        return size
    name = str(size)
    if name not in ranges:
        raise StepFailed(f"one size of an input follows from another: {name}")
    lower, upper = ranges[name].lower, ranges[name].upper
    # Without a limit it is one of several infinities, which only compare.
    return Dim(name, max(int(lower), 1), int(upper) if upper < _NO_SIZE else None)


def _bounded(dim: int | Dim, most: int | None) -> int | Dim:
    """The dimension, no larger than that."""
    if isinstance(dim, int) or most is None:
        return dim
    return replace(dim, most=most if dim.most is None else min(dim.most, most))


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return (
        tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def _compile(exported: Any, options: Mapping[str, Any], folder: Path) -> None:
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.utils import fresh_cache

    # What is left of compiling is of no use to anybody; only the package is.
    with tempfile.TemporaryDirectory(prefix="torch-archive-") as made, fresh_cache():
        package = aoti_compile_and_package(exported, package_path=f"{made}/model.pt2", inductor_configs=dict(options))
        _unpack(Path(package), folder)


def _unpack(package: Path, folder: Path) -> None:
    """The library becomes PROGRAM; kernels for a GPU keep their names, by which it finds them."""
    with zipfile.ZipFile(package) as file:
        for name in file.namelist():
            plain = PurePosixPath(name)
            if plain.parent.parts[-2:-1] != ("aotinductor",) or plain.suffix in _SOURCES:
                continue
            target = folder / (PROGRAM if plain.suffix == ".so" else plain.name)
            with file.open(name) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)


def load(folder: Path, sample: Call, device: torch.device) -> Forward:
    """The compiled forward. `sample` shows how calls and answers are put together. Calls raise Unfit.

    Raises StepFailed when the folder has no package that can be read, and what torch's runner raises.
    """
    signature = read_signature(folder)
    runner = _runner(folder, device)
    bounds = signature.bounds
    template, answer = (mapped(value, _emptied) for value in (sample.inputs, sample.output))

    def forward(*args: Any, **kwargs: Any) -> Any:
        tensors = signature.fitted(_same_call((args, kwargs), template))
        if torch.is_grad_enabled() and any(tensor.requires_grad and tensor.is_leaf for tensor in tensors):
            raise Unfit("an input's gradient is asked for")
        bounds.check(tensors)
        return _filled(answer, runner.run(tensors))

    return forward


def _runner(folder: Path, device: torch.device) -> Any:
    library = str(folder / PROGRAM)
    if device.type == "cuda":
        return torch._C._aoti.AOTIModelContainerRunnerCuda(library, 1, str(device), str(folder))
    return torch._C._aoti.AOTIModelContainerRunnerCpu(library, 1)


def _emptied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.new_empty(0)


def write_sample(folder: Path, compiled: Forward, sample: Call) -> None:
    """Keep the sample's inputs and the compiled code's answers, for whoever loads the package elsewhere."""
    args, kwargs = sample.inputs
    with torch.no_grad():
        answer = compiled(*args, **kwargs)
    tensors = {f"input.{place}": tensor for place, tensor in enumerate(tensors_in((args, kwargs)))}
    tensors |= {f"output.{place}": tensor for place, tensor in enumerate(tensors_in(answer))}
    save_file({name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}, folder / SAMPLE)


def read_sample(folder: Path) -> Call:
    """The kept sample as a call of tensors. Raises OSError and what safetensors raises for a damaged file."""
    tensors = load_file(folder / SAMPLE)
    inputs, outputs = (
        tuple(tensors[f"{kind}.{place}"] for place in range(sum(name.startswith(kind) for name in tensors)))
        for kind in ("input", "output")
    )
    return Call((inputs, {}), outputs, 0.0)


def read_signature(folder: Path) -> Signature:
    """Raises StepFailed when there is none, or none that can be read."""
    try:
        return Signature.from_json((folder / SIGNATURE).read_text())
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StepFailed(f"the package's signature cannot be read: {error}") from error


def _same_call(call: Any, template: Any) -> list[torch.Tensor]:
    """The call's tensors. Raises Unfit when anything but them is different from the template's."""
    tensors: list[torch.Tensor] = []
    if not _alike(call, template, tensors):
        raise Unfit("the arguments are not those of the sample's call")
    return tensors


def _alike(value: Any, template: Any, tensors: list[torch.Tensor]) -> bool:
    if isinstance(template, torch.Tensor):
        if isinstance(value, torch.Tensor):
            tensors.append(value)
        return isinstance(value, torch.Tensor)
    if type(value) is not type(template):
        return False
    if isinstance(template, Mapping):
        return value.keys() == template.keys() and all(_alike(value[key], template[key], tensors) for key in template)
    if isinstance(template, list | tuple):
        return len(value) == len(template) and all(
            _alike(*pair, tensors) for pair in zip(value, template, strict=True)
        )
    return bool(value == template)


def same_structure(one: Any, other: Any) -> bool:
    """Whether two values differ in nothing but their tensors."""
    return _alike(one, other, [])
