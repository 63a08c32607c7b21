"""Handler string → something with `handle(data, context)`.

Accepted: `handler.py`, `handler`, `handler:function`, `handler.py:Class`, the name of a built-in handler, and
`package.module:name` of something installed. The archive's own file wins over everything installed, and an
ImportError inside it is shown as itself (TorchServe reports "No module named ts.torch_handler.…" instead).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from runner.compat import refusals
from runner.handlers.context import Context
from runner.handlers.errors import CannotLoad
from runner.handlers.modules import classes_defined_in, import_file

Handle = Callable[[Any, Context], Any]

#: Built-in handlers that are here: name → (module, class).
BUILT_IN = {
    "base_handler": ("ts.torch_handler.base_handler", "BaseHandler"),
    "vision_handler": ("ts.torch_handler.vision_handler", "VisionHandler"),
    "image_classifier": ("ts.torch_handler.image_classifier", "ImageClassifier"),
    "image_segmenter": ("ts.torch_handler.image_segmenter", "ImageSegmenter"),
    "object_detector": ("ts.torch_handler.object_detector", "ObjectDetector"),
    "text_handler": ("ts.torch_handler.text_handler", "TextHandler"),
    "text_classifier": ("ts.torch_handler.text_classifier", "TextClassifier"),
}
#: Service envelopes: name → (module, class).
ENVELOPES = {
    "body": ("ts.torch_handler.request_envelope.body", "BodyEnvelope"),
    "json": ("ts.torch_handler.request_envelope.json", "JSONEnvelope"),
    "kserve": ("ts.torch_handler.request_envelope.kserve", "KServeEnvelope"),
    "kservev2": ("ts.torch_handler.request_envelope.kservev2", "KServev2Envelope"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What serves: `handle`, and the object that holds the model if the handler is a class."""

    name: str
    handle: Handle
    instance: Any

    @property
    def is_async(self) -> bool:
        """Whether `handle` is to be awaited."""
        return inspect.iscoroutinefunction(self.handle)


def load_handler(handler: str, context: Context, settled: Callable[[Any], Any]) -> Entry:
    """The archive's handler, initialised. `settled` waits for what asynchronous code of it returns, and passes
    everything else through. Raises CannotLoad, or what the user's code raises."""
    file, name = parse(handler)
    module = _module(file, Path(context.model_dir))
    entry = _entry_point(module, name or BUILT_IN.get(file, ("", ""))[1], file)
    title = f"{module.__name__}:{entry.__name__}"
    if inspect.isclass(entry):
        return _class_entry(title, entry, context, settled)
    # TorchServe calls a function once without data when the model loads; handlers load their model there.
    settled(entry(None, context))
    return Entry(title, entry, None)


def enveloped(entry: Entry, name: str) -> Entry:
    """The handler behind a service envelope. Raises CannotLoad for a name that is none."""
    if name not in ENVELOPES:
        raise CannotLoad(f"there is no service envelope {name}; there are: {', '.join(ENVELOPES)}")
    if entry.is_async:
        raise CannotLoad(f"the envelope {name} cannot stand before {entry.name}, which is `async def`")
    module, envelope = ENVELOPES[name]
    return replace(entry, handle=getattr(importlib.import_module(module), envelope)(entry.handle).handle)


def parse(handler: str) -> tuple[str, str]:
    """`file.py:Name` → (file without its suffix, name); the name is "" when none is given."""
    file, _, name = handler.strip().partition(":")
    return file.removesuffix(".py"), name.strip()


def _module(file: str, model_dir: Path) -> ModuleType:
    for path in (model_dir / f"{file}.py", model_dir / f"{Path(file).name}.py"):
        if path.is_file():
            return import_file(path)
    if file in BUILT_IN:
        return importlib.import_module(BUILT_IN[file][0])
    if file in refusals.HANDLERS:
        raise CannotLoad(refusals.refusal(f"ts.torch_handler.{file}"))
    if _installed(file):
        return importlib.import_module(file)
    present = ", ".join(sorted(path.name for path in model_dir.glob("*.py"))) or "none"
    raise CannotLoad(f"the handler {file}.py is not in the archive; Python files there: {present}")


def _installed(module: str) -> bool:
    if not all(part.isidentifier() for part in module.split(".")):
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # A parent package that does not exist: then neither does the module.
        return False


def _entry_point(module: ModuleType, name: str, file: str) -> Any:
    if name:
        return _named(module, name)
    if callable(function := getattr(module, "handle", None)):
        return function
    found = [cls for cls in classes_defined_in(module) if callable(getattr(cls, "handle", None))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CannotLoad(f"{file}.py defines no handler: it needs a function `handle` or a class with one")
    names = [cls.__name__ for cls in found]
    choices = " or ".join(f"{file}.py:{name}" for name in names)
    raise CannotLoad(f"{file}.py defines {len(names)} handlers: {', '.join(names)}; name one of them: {choices}")


def _named(module: ModuleType, name: str) -> Any:
    entry = getattr(module, name, None)
    if entry is None:
        names = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"found: {', '.join(names) or 'nothing callable'}"
        raise CannotLoad(f"{module.__name__}.py has no {name}; {hint}")
    if not callable(entry):
        raise CannotLoad(f"{name} in {module.__name__}.py is a {type(entry).__name__}, not a class or function")
    return entry


def _class_entry(title: str, handler: type, context: Context, settled: Callable[[Any], Any]) -> Entry:
    if not callable(getattr(handler, "handle", None)):
        raise CannotLoad(f"the class {title} has no method `handle(self, data, context)`")
    instance = handler()
    if callable(initialize := getattr(instance, "initialize", None)):
        settled(initialize(context))
    return Entry(title, instance.handle, instance)
