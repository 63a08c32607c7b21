"""Python files of an archive as modules, found by path and never by luck of the import path."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from runner.handlers.errors import CannotLoad


def import_file(file: Path) -> ModuleType:
    """The file as a module, executed once. It is registered under its stem, so that siblings and pickles find
    it; when an installed package of that name is already imported, under `archive_<stem>` instead.

    Raises whatever the file raises.
    """
    file = file.resolve()
    for name in (file.stem, f"archive_{file.stem}"):
        present = sys.modules.get(name)
        if present is None:
            return _execute(name, file)
        if _file_of(present) == file:
            return present
    raise CannotLoad(f"{file.name}: modules named {file.stem} and archive_{file.stem} are already imported")


def _file_of(module: ModuleType) -> Path | None:
    origin = getattr(module, "__file__", None)
    return Path(origin).resolve() if origin else None


def _execute(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise CannotLoad(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        # A half-executed module must not be what the next import finds.
        sys.modules.pop(name, None)
        raise
    return module


def classes_defined_in(module: ModuleType, parent: type | None = None) -> list[type]:
    """Classes that the module itself defines, in the order of their names; with `parent`, its subclasses."""
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and (parent is None or issubclass(member, parent))
    ]
