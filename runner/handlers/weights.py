"""A model out of an archive: picked by what the manifest names, mapped from the file instead of read and copied.

Rules of the room
1. Pickles open under torch's `weights_only` allow-list. Only a worker that was told to trust its archive (then
   TORCH_FORCE_WEIGHTS_ONLY_LOAD is not set) opens anything more.
2. A module is built on the meta device and filled with `assign=True`, so that N workers share one physical copy
   and no time goes into random initial values. A module that computes anything while it is built (position
   tables and other buffers that no checkpoint has) is built normally instead; nothing on meta is ever left.
3. A weight takes the type that the module declares, as a copying `load_state_dict` would have done.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from archiver.scan.scan import scan_files
from runner.handlers.compiled import is_compiled, load_compiled
from runner.handlers.errors import CannotLoad
from runner.handlers.modules import classes_defined_in, import_file

#: What to do where an archive's files do not make a model.
_BY_HAND = "build the model in the handler: in load_model(), or in initialize() of a BaseHandler"


@dataclass(frozen=True, slots=True)
class Origin:
    """How a model came in, for the report. `file` is the checkpoint's name, None when there is none."""

    file: str | None
    format: str
    way: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def load_model(
    model_dir: Path, manifest: Mapping[str, Any], device: torch.device, *, compiled: bool = False
) -> tuple[Any, Origin]:
    """The archive's model on `device`, in evaluation mode where it has one.

    With a model file: its one nn.Module class, filled from the checkpoint (`.pt`, `.pth`, `.safetensors`, …).
    Without: TorchScript, a torch.export `.pt2`, where the config declares it (`compiled`) AOTInductor's code, or, if
    trusted, a pickled module. Raises CannotLoad.
    """
    model = manifest.get("model", {})
    serialized, model_file = model.get("serializedFile"), model.get("modelFile")
    checkpoint = model_dir / serialized if serialized else None
    if checkpoint is not None and not checkpoint.is_file():
        raise CannotLoad(f"the manifest names the checkpoint {serialized}, which is not in the archive")
    if model_file:
        module, origin = from_model_file(model_dir / model_file, checkpoint)
    elif checkpoint is not None:
        module, origin = from_checkpoint(checkpoint, device, compiled=compiled)
    else:
        raise CannotLoad(f"the archive has neither a checkpoint nor a model file; {_BY_HAND}")
    return placed(module, device) if isinstance(module, nn.Module) else module, origin


def placed(module: nn.Module, device: torch.device) -> nn.Module:
    """The module on the device and in evaluation mode; exported programs have no modes."""
    module = module.to(device)
    return module if isinstance(module, torch.fx.GraphModule) else module.eval()


def from_model_file(file: Path, checkpoint: Path | None) -> tuple[nn.Module, Origin]:
    """The model file's class, filled from the checkpoint if there is one. Raises CannotLoad."""
    if not file.is_file():
        raise CannotLoad(f"the manifest names the model file {file.name}, which is not in the archive")
    model_class = model_class_in(file)
    if checkpoint is None:
        return model_class(), Origin(None, "none", "built, no checkpoint")
    state = read_state(checkpoint)
    if isinstance(state, nn.Module):
        return state, Origin(checkpoint.name, "pickled module", "unpickled")
    module, way = build(model_class, state)
    kind = "safetensors" if checkpoint.suffix == ".safetensors" else "state dict"
    return module, Origin(checkpoint.name, kind, way)


def from_checkpoint(checkpoint: Path, device: torch.device, *, compiled: bool = False) -> tuple[Any, Origin]:
    """A checkpoint that brings its own code: TorchScript, torch.export, AOTInductor or a pickled module.

    Raises CannotLoad, also for compiled code that is not declared.
    """
    if is_compiled(checkpoint):
        if not compiled:
            raise CannotLoad(f"{checkpoint.name} is compiled code: declare `pt2: {{export: {{aot_compile: true}}}}`")
        return load_compiled(checkpoint, device), Origin(checkpoint.name, "AOTInductor", "loaded")
    if checkpoint.suffix == ".pt2":
        return _exported(checkpoint, device), Origin(checkpoint.name, "torch.export", "deserialised")
    if is_torchscript(checkpoint):
        return load_torchscript(checkpoint, device), Origin(checkpoint.name, "TorchScript", "loaded")
    if checkpoint.suffix == ".onnx":
        raise CannotLoad(f"{checkpoint.name} is an ONNX model; {_BY_HAND}")
    state = read_state(checkpoint)
    if isinstance(state, nn.Module):
        return state, Origin(checkpoint.name, "pickled module", "unpickled")
    raise CannotLoad(
        f"{checkpoint.name} holds weights alone: pack the file with their nn.Module class too (--model-file), "
        f"or {_BY_HAND}"
    )


def model_class_in(file: Path) -> type[nn.Module]:
    """The nn.Module class that the file defines; of several, the one that needs no arguments. Raises CannotLoad."""
    classes = classes_defined_in(import_file(file), nn.Module)
    plain = [found for found in classes if not _required_arguments(found)]
    if len(plain) == 1:
        return plain[0]
    names = ", ".join(found.__name__ for found in plain or classes) or "none"
    problem = "needs arguments to be built" if len(classes) == 1 else "is not one class that needs no arguments"
    raise CannotLoad(
        f"{file.name} must define one nn.Module class that can be built without arguments; found: {names} "
        f"({problem}). Or {_BY_HAND}"
    )


def _required_arguments(model_class: type) -> list[str]:
    free = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return [
        name
        for name, parameter in signature(model_class).parameters.items()
        if parameter.default is Parameter.empty and parameter.kind not in free
    ]


def is_torchscript(checkpoint: Path) -> bool:
    """Whether the file is a TorchScript archive; only these carry compiled code."""
    if not zipfile.is_zipfile(checkpoint):
        return False
    with zipfile.ZipFile(checkpoint) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def load_torchscript(checkpoint: Path, device: torch.device) -> nn.Module:
    """The TorchScript module on the device."""
    with warnings.catch_warnings():
        # torch deprecates TorchScript; the archives that hold it are still to be served.
        warnings.filterwarnings("ignore", message=".*torch.jit.load.*deprecated", category=DeprecationWarning)
        module: nn.Module = torch.jit.load(checkpoint, map_location=device)  # type: ignore[no-untyped-call]  # torch's
    return module


def _exported(checkpoint: Path, device: torch.device) -> nn.Module:
    if _is_gated():
        _refuse_pickles(checkpoint)
    program = torch.export.load(checkpoint)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()


def _is_gated() -> bool:
    """Whether this worker was not told to trust its archive."""
    return os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD") == "1"


def _refuse_pickles(checkpoint: Path) -> None:
    """torch.export.load falls back to unpickling anything, and part of it does not ask the environment."""
    refused = scan_files(checkpoint, [(checkpoint.name, checkpoint)]).refused
    if refused:
        wants = "; ".join(each.wants() for each in refused)
        raise CannotLoad(
            f"loading {checkpoint.name} could run any code: {wants}. Serve it with --trust if you know why"
        )


def read_state(checkpoint: Path) -> Mapping[str, Any] | nn.Module:
    """The checkpoint's state dict with its tensors mapped from the file, or a pickled module if that is trusted.

    Raises CannotLoad for a pickle that holds more than the allow-list has, and for anything but a mapping.
    """
    if checkpoint.suffix == ".safetensors":
        return _stored(checkpoint)
    try:
        state = unpickled(checkpoint)
    except pickle.UnpicklingError as error:
        if _is_gated():
            raise CannotLoad(
                f"{checkpoint.name} holds more than tensors, and unpickling it could run any code. Save its "
                "state_dict(), or serve it with --trust if you know where it comes from"
            ) from error
        state = unpickled(checkpoint, by_list=False)
    if not isinstance(state, Mapping | nn.Module):
        raise CannotLoad(f"{checkpoint.name} holds a {type(state).__name__}, not a state dict")
    return state


def unpickled(checkpoint: Path, *, by_list: bool = True) -> Any:
    """What torch.save put into the file, its tensors mapped. `by_list`: torch's weights_only list alone counts,
    whoever trusts the file; pickle.UnpicklingError is what it refuses."""
    # Files from before torch 1.6 are bare pickles, which cannot be mapped.
    mapped = zipfile.is_zipfile(checkpoint)
    return torch.load(checkpoint, map_location="cpu", mmap=mapped, weights_only=by_list)


def _stored(checkpoint: Path) -> dict[str, Any]:
    """The tensors of a safetensors file; one that is stored under another name (tied weights) has both, as
    `safetensors.torch.save_model` notes them in the metadata."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    state: dict[str, Any] = load_file(checkpoint)
    with safe_open(checkpoint, framework="pt") as file:
        said = file.metadata() or {}
    return {**{alias: state[name] for alias, name in said.items() if name in state and alias != "format"}, **state}


def build(model_class: type[nn.Module], state: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """The class's module holding the state's tensors, and in words how. Raises RuntimeError (torch's own list of
    missing and unexpected keys) and whatever the constructor raises."""
    module = _built_on_meta(model_class, state)
    if module is not None:
        return module, "built on meta, weights mapped"
    module = model_class()
    _fill(module, state)
    return module, "built normally, weights mapped"


def _built_on_meta(model_class: type[nn.Module], state: Mapping[str, Any]) -> nn.Module | None:
    try:
        with torch.device("meta"), _Unfilled():
            module = model_class()
        _fill(module, state)
    except Exception:  # noqa: BLE001 - a constructor may do anything that meta tensors cannot; the normal way tells
        return None
    return None if any(tensor.is_meta for tensor in _tensors_of(module)) else module


class _Unfilled(TorchFunctionMode):
    """Initial values for tensors on meta are not drawn. There is nothing to fill, and for some of the draws torch
    (2.13) imports all it knows about symbols, which takes longer than most models take to load."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        target = args[0] if args else (kwargs or {}).get("tensor")
        if isinstance(target, torch.Tensor) and target.is_meta and _draws(func):
            return target
        return func(*args, **(kwargs or {}))


def _draws(func: Any) -> bool:
    module, name = getattr(func, "__module__", None), getattr(func, "__name__", "")
    return module == nn.init.__name__ and name.endswith("_") or func in (torch.Tensor.normal_, torch.Tensor.uniform_)


def _tensors_of(module: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that a module can compute with: parameters, buffers of both kinds, and plain attributes."""
    for part in module.modules():
        for value in vars(part).values():
            held = (
                value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            )
            yield from (tensor for tensor in held if isinstance(tensor, torch.Tensor))


def _fill(module: nn.Module, state: Mapping[str, Any]) -> None:
    if type(module).load_state_dict is not nn.Module.load_state_dict:
        module.load_state_dict(state)
        return
    tied = _tied(module)
    module.load_state_dict(_as_declared(module, state, tied), assign=True)
    for alias, name in tied.items():
        owner, _, attribute = alias.rpartition(".")
        setattr(module.get_submodule(owner), attribute, module.get_parameter(name))


def _tied(module: nn.Module) -> dict[str, str]:
    """Names of parameters that are the same object as one met before → the first name."""
    first: dict[int, str] = {}
    names = [
        (name, first.setdefault(id(part), name)) for name, part in module.named_parameters(remove_duplicate=False)
    ]
    return {alias: name for alias, name in names if alias != name}


def _as_declared(module: nn.Module, state: Mapping[str, Any], tied: Mapping[str, str]) -> dict[str, Any]:
    """The state in the module's own types, with weights that the file stores once under all their names."""
    declared = module.state_dict()
    fitting = {key: _cast(value, declared.get(key)) for key, value in state.items()}
    for alias, name in tied.items():
        present = fitting.get(name, fitting.get(alias))
        if present is not None:
            fitting[name] = fitting[alias] = present
    return fitting


def _cast(value: Any, declared: Any) -> Any:
    both = isinstance(value, torch.Tensor) and isinstance(declared, torch.Tensor)
    return value.to(declared.dtype) if both and value.dtype != declared.dtype else value
