"""Is it worth packing? Handler, model file, config, labels and samples are read and judged; nothing is imported.

Each check answers with findings; all of them are collected before `create` stops. `CODES` is the whole list.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from archiver.config.findings import Finding, Severity, Where
from archiver.members import Member
from archiver.project import Project

#: Findings of this module and of project, extras and members: code → what it means.
CODES = {
    "handler/syntax": "the handler does not parse",
    "handler/no-entry-point": "the handler file has no class and no function `handle`, or not the one named",
    "handler/two-classes": "the handler file has several classes and none was named",
    "handler/no-handle": "the handler's class has neither a method `handle` nor a base class",
    "model-file/syntax": "the model file does not parse",
    "model-file/no-class": "the model file defines no class",
    "checkpoint/needs-model-file": "a built-in handler cannot load bare weights without a model file",
    "pickle/refused": "a file wants more than torch's weights_only list when it is unpickled: it needs --trust",
    "convert/named-by-hand": "code or config names the checkpoint that becomes safetensors under another name",
    "labels/invalid": "index_to_name.json is no label mapping",
    "sample/invalid": "a sample input that ends in .json is no JSON",
    "project/missing-file": "a file that is named does not exist",
    "project/no-match": "a pattern of extra files matches nothing",
    "project/name-clash": "two files would have one name in the archive",
    "project/bad-name": "a name that no reader would accept",
}

#: Findings that leave nothing sensible to pack, so that `--no-check` cannot turn them into warnings.
UNPACKABLE = frozenset({"project/missing-file", "project/name-clash", "project/bad-name"})


def check(project: Project, members: Sequence[Member]) -> list[Finding]:
    """All findings about the content of what is to be packed."""
    return [finding for one in _CHECKS for finding in one(project, members)]


def _check_handler(project: Project, members: Sequence[Member]) -> Iterator[Finding]:
    file = project.handler.file
    if file is None or file.path.suffix != ".py" or not file.path.is_file():
        return
    tree = _parsed(file.path, file.shown, "handler/syntax")
    if isinstance(tree, Finding):
        yield tree
    elif project.handler.entry is not None:
        yield from _named_entry(tree, file.shown, project.handler.entry)
    elif "handle" not in bound_names(tree):
        yield from _only_class(tree, file.shown)


def _check_model_file(project: Project, members: Sequence[Member]) -> Iterator[Finding]:
    file = project.model_file
    if file is None or not file.path.is_file():
        return
    tree = _parsed(file.path, file.shown, "model-file/syntax")
    if isinstance(tree, Finding):
        yield tree
    elif not classes(tree):
        yield _error("model-file/no-class", Where(file.shown), "defines no class; the model is made from one")


def _check_checkpoint(project: Project, members: Sequence[Member]) -> Iterator[Finding]:
    kind, typed = project.checkpoint_kind, project.checkpoint
    bare = kind in ("state-dict", "torch-legacy", "safetensors")
    if typed is not None and bare and project.handler.file is None and project.model_file is None:
        message = f"{project.handler.text} cannot load a {kind} without the class that it fills"
        yield _error("checkpoint/needs-model-file", Where(typed.shown), message, "--model-file FILE.py")


def _check_pickles(project: Project, members: Sequence[Member]) -> Iterator[Finding]:
    """TorchServe loads such files; here they need trust, so that it is no error to pack them."""
    from archiver.scan.scan import scan_files

    report = scan_files(project.target, ((member.name, member.source) for member in members))
    typed = {member.name: str(member.source) for member in members}
    hint = "`archive serve` takes it with --trust only; `archive scan` shows it all"
    for found in report.refused:
        message = f"wants more than torch's weights_only list allows: {found.wants()}"
        yield Finding("pickle/refused", Severity.WARNING, Where(typed[found.root]), message, hint)


def _check_config(project: Project, members: Sequence[Member]) -> Iterator[Finding]:
    if project.config is None or not project.config.path.is_file():
        return
    from archiver.config.validate import check_config

    names = {member.name for member in members}
    yield from check_config(project.config.path.read_bytes(), project.config.shown, members=names)


def _check_labels(project: Project, members: Sequence[Member]) -> Iterator[Finding]:
    for member in members:
        if member.name == "index_to_name.json":
            value = _json(member, "labels/invalid")
            if isinstance(value, Finding):
                yield value
            elif not isinstance(value, dict):
                yield _error("labels/invalid", Where(str(member.source)), "is no mapping of index to name")


def _check_samples(project: Project, members: Sequence[Member]) -> Iterator[Finding]:
    warmup = _warmup_input(project)
    for member in members:
        if member.name.endswith(".json") and (member.name == warmup or member.role == "sample"):
            value = _json(member, "sample/invalid")
            if isinstance(value, Finding):
                yield value


_CHECKS: tuple[Callable[[Project, Sequence[Member]], Iterator[Finding]], ...] = (
    _check_handler,
    _check_model_file,
    _check_checkpoint,
    _check_pickles,
    _check_config,
    _check_labels,
    _check_samples,
)


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    """The classes a file defines at its top level, as TorchServe's loader counts them."""
    return [node for node in _top_level(tree.body) if isinstance(node, ast.ClassDef)]


def bound_names(tree: ast.Module) -> set[str]:
    """Every name a file has after it was imported, as far as its text says."""
    names: set[str] = set()
    for node in _top_level(tree.body):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        else:
            names |= {part.id for part in ast.walk(node) if _is_target(part)}  # type: ignore[attr-defined]  # _is_target says Name
    return names


def names_class(path: Path, name: str) -> bool:
    """Whether a handler file defines a class of this name; no, where it does not parse or is no Python file."""
    if path.suffix != ".py":
        return False
    try:
        return any(node.name == name for node in classes(parsed(path)))
    except SyntaxError:
        return False


def _is_target(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _top_level(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run at import, those inside `if`, `try` and `with` too."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from _top_level(handler.body)


def _named_entry(tree: ast.Module, file: str, entry: str) -> Iterator[Finding]:
    found = next((node for node in classes(tree) if node.name == entry), None)
    if found is not None:
        yield from _handles(found, file)
    elif entry not in bound_names(tree):
        near = get_close_matches(entry, bound_names(tree), n=1)
        hint = f"did you mean `{file}:{near[0]}`?" if near else None
        yield _error("handler/no-entry-point", Where(file), f"has no class or function `{entry}`", hint)


def _only_class(tree: ast.Module, file: str) -> Iterator[Finding]:
    found = classes(tree)
    if not found:
        yield _error("handler/no-entry-point", Where(file), "has no class and no function `handle`")
    elif len(found) > 1:
        names = ", ".join(node.name for node in found)
        hint = f"name the one to use: --handler {file}:{found[-1].name}"
        where = Where(file, found[1].lineno, found[1].col_offset + 1)
        yield _error("handler/two-classes", where, f"defines {len(found)} classes: {names}", hint)
    else:
        yield from _handles(found[0], file)


def _handles(node: ast.ClassDef, file: str) -> Iterator[Finding]:
    methods = {part.name for part in node.body if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))}
    bases = [base for base in node.bases if not (isinstance(base, ast.Name) and base.id == "object")]
    if "handle" not in methods and not bases:
        where = Where(file, node.lineno, node.col_offset + 1)
        hint = f"derive it: class {node.name}(Handler), or write `def handle(self, data, context)`"
        yield _error("handler/no-handle", where, f"class {node.name} has no `handle` and no base class", hint)


def parsed(path: Path) -> ast.Module:
    """A Python file's syntax tree. Raises SyntaxError, also for bytes that are no Python at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd escape in the user's text is no business of ours
        try:
            return ast.parse(path.read_bytes(), str(path))
        except ValueError as error:  # null bytes, before Python 3.12
            raise SyntaxError(str(error)) from error


def _parsed(path: Path, typed: str, code: str) -> ast.Module | Finding:
    try:
        return parsed(path)
    except SyntaxError as error:
        where = Where(typed, error.lineno, error.offset)
        line = (error.text or "").strip()
        return _error(code, where, f"{error.msg}: {line}" if line else error.msg)


def _json(member: Member, code: str) -> Any:
    try:
        return json.loads(member.source.read_bytes())
    except json.JSONDecodeError as error:
        where = Where(str(member.source), error.lineno, error.colno)
        return _error(code, where, f"is no JSON: {error.msg}")
    except UnicodeDecodeError:
        return _error(code, Where(str(member.source)), "is no JSON: it is not UTF-8")


def _warmup_input(project: Project) -> str | None:
    if project.config is None or not project.config.path.is_file():
        return None
    from archiver.config.source import read_source

    warmup = read_source(project.config.path.read_bytes(), project.config.shown).values.get("warmup")
    found = warmup.get("input") if isinstance(warmup, dict) else None
    return found if isinstance(found, str) else None


def _error(code: str, where: Where, message: str, hint: str | None = None) -> Finding:
    assert code in CODES, f"no such finding: {code}"
    return Finding(code, Severity.ERROR, where, message, hint)
