"""A checkpoint that is native code: made by AOTInductor, a library (`.so`) or a package with one (`.pt2`).

Rules of the room
1. Such code trusts its caller. torch has written checks of all inputs into it, which are off by default; here they
   are on. What does not fit is the input's fault: BadRequest, before the code has touched it.
2. The checks know no single row where a batch may change its size: torch's exporter takes 2 for the least. So one row
   goes in twice, and the answer's first half comes out.
3. There is no module: no gradients, no hooks, nothing to optimise.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.export._tree_utils import reorder_kwargs
from torch.utils import _pytree as pytree

from runner.handlers.errors import BadRequest, CannotLoad
from runner.handlers.gradients import NoGradients, are_needed

#: Where a package keeps its code: MODEL/data/aotinductor/model/.
_CODE = ("data", "aotinductor", "model")
_CHECK = "AOTI_RUNTIME_CHECK_INPUTS"
_CHECKED = "input_handles["


def is_compiled(checkpoint: Path) -> bool:
    """Whether the file is code made by AOTInductor."""
    return checkpoint.suffix == ".so" or bool(_members(checkpoint))


def is_declared(config: Mapping[str, Any]) -> bool:
    """Whether a model's YAML says `pt2.export.aot_compile: true`."""
    pt2 = config.get("pt2")
    export = pt2.get("export") if isinstance(pt2, Mapping) else None
    return isinstance(export, Mapping) and export.get("aot_compile") is True


def load_compiled(checkpoint: Path, device: torch.device) -> CompiledModel:
    """The model in the file. Raises CannotLoad for a package that was made for another device or machine, and what
    torch's runner raises."""
    if not checkpoint.is_file():
        raise CannotLoad(f"the manifest names the checkpoint {checkpoint.name}, which is not in the archive")
    # Read once per library, at its first call.
    os.environ[_CHECK] = "1"
    if checkpoint.suffix == ".so":
        return CompiledModel(_runner(checkpoint, device))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torch-archive-")))
        model = CompiledModel(_runner(_unpacked(checkpoint, folder, device), device))
        if device.type != "cpu":
            # A library is mapped when it is loaded; kernels of a GPU are looked for at their first call.
            model.kept = stack.pop_all()
    return model


class CompiledModel:
    """Called like the module that it was. `kept`: files that have to stay as long as the model."""

    kept: ExitStack | None = None

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._takes, self._returns = (pytree.treespec_loads(text) for text in runner.get_call_spec())
        self._doubles = False  # a single row, since it was seen to be refused

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises BadRequest for inputs that the code was not made for, NoGradients for an explanation."""
        if are_needed():
            raise NoGradients("it is compiled code, which has no gradients")
        given = pytree.tree_leaves((args, reorder_kwargs(kwargs, self._takes)))
        tensors = [each.contiguous() for each in given if isinstance(each, torch.Tensor)]
        return pytree.tree_unflatten(self._outputs(tensors), self._returns)

    def _outputs(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        one = _are_one_row(tensors)
        if one and self._doubles:
            return self._doubled(tensors)
        try:
            return self._ran(tensors)
        except BadRequest:
            if not one:
                raise
            outputs = self._doubled(tensors)
            self._doubles = True
            return outputs

    def _doubled(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        outputs = self._ran([torch.cat([tensor, tensor]) for tensor in tensors])
        return [each[:1] if each.dim() and each.shape[0] == 2 else each for each in outputs]

    def _ran(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        try:
            outputs: list[torch.Tensor] = self._runner.run(list(tensors))
        except RuntimeError as error:
            text = str(error).strip()
            if not text.startswith(_CHECKED):
                raise
            place = text.removeprefix(_CHECKED).replace("]", "", 1)
            raise BadRequest(f"the compiled model does not take this: input {place}") from error
        return outputs


def _are_one_row(tensors: Sequence[torch.Tensor]) -> bool:
    # A tensor of one dimension may be anything: the tokens of a row, the places where rows begin.
    return all(tensor.dim() > 1 and tensor.shape[0] == 1 for tensor in tensors)


def _runner(library: Path, device: torch.device) -> Any:
    runners = torch._C._aoti
    if device.type == "cuda":
        return runners.AOTIModelContainerRunnerCuda(str(library), 1, str(device), str(library.parent))
    return runners.AOTIModelContainerRunnerCpu(str(library), 1)


def _members(package: Path) -> list[str]:
    """Names of the code's files in a package; none in any other file."""
    if package.suffix != ".pt2" or not zipfile.is_zipfile(package):
        return []
    with zipfile.ZipFile(package) as file:
        return [name for name in file.namelist() if PurePosixPath(name).parent.parts[-3:] == _CODE]


def _unpacked(package: Path, folder: Path, device: torch.device) -> Path:
    """The library among the package's files, unpacked flat."""
    with zipfile.ZipFile(package) as file:
        for name in _members(package):
            (folder / PurePosixPath(name).name).write_bytes(file.read(name))
    for metadata in folder.glob("*_metadata.json"):
        _check(package.name, json.loads(metadata.read_text()), device)
    libraries = [*folder.glob("*.so")]
    if len(libraries) != 1:
        raise CannotLoad(f"{package.name} must hold one library called `model`; found: {len(libraries)}")
    return libraries[0]


def _check(name: str, made_for: Mapping[str, str], device: torch.device) -> None:
    """Raises CannotLoad where the code cannot run: on another device it fails, with other instructions it dies."""
    here = {
        "AOTI_DEVICE_KEY": device.type,
        "AOTI_PLATFORM": platform.system().lower(),
        "AOTI_MACHINE": platform.machine(),
    }
    for key, value in here.items():
        if made_for.get(key, value) != value:
            raise CannotLoad(f"{name} is compiled for {made_for[key]}, and this worker runs on {value}")
    instructions = made_for.get("AOTI_CPU_ISA", "")
    if "AVX512" in instructions and torch.backends.cpu.get_cpu_capability() != "AVX512":
        raise CannotLoad(f"{name} is compiled for a CPU with {instructions}, which this one has not")
