"""Where an archive's code and config name one of its files by itself: what breaks when the file is renamed.

Nothing is imported. A handler that asks the manifest for its checkpoint names nothing and goes on working.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from archiver.checks import parsed
from archiver.config.findings import Finding, Severity, Where

CODE = "convert/named-by-hand"
_HINT = "`context.manifest['model']['serializedFile']` is its name, whatever it is; --no-check converts all the same"
_BETWEEN = re.compile(r"""[\s/\\'",:;=()\[\]{}]+""")
#: Endings of texts in which names are looked for line by line.
_TEXTS = (".yaml", ".yml")


def mentions(file: str, becomes: str, sources: Iterable[tuple[str, Path]]) -> Iterator[Finding]:
    """A finding for each place in the sources (name → where it lies) that names the file, by a pattern as well."""
    name = PurePosixPath(file).name
    message = f"names `{name}`, which becomes `{PurePosixPath(becomes).name}`"
    for source, path in sources:
        for line, column, text in sorted(_texts(source, path)):
            if _names(text, name):
                yield Finding(CODE, Severity.ERROR, Where(source, line, column), message, _HINT)


def _texts(source: str, path: Path) -> Iterator[tuple[int, int, str]]:
    """Line, column and text of whatever may be a name."""
    if source.endswith(".py"):
        yield from _constants(path)
    elif source.endswith(_TEXTS):
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            said = line.partition(" #")[0]
            if not said.lstrip().startswith("#"):
                yield number, len(said) - len(said.lstrip()) + 1, said


def _constants(path: Path) -> Iterator[tuple[int, int, str]]:
    """The texts that count in a Python file; none of one that does not parse."""
    try:
        tree = parsed(path)
    except SyntaxError:
        return
    for node in _running(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.col_offset + 1, node.value


def _running(tree: ast.Module) -> Iterator[ast.AST]:
    """What may run in a server: no docstrings, no `if __name__ == "__main__"`, no calls that save."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        yield node
        left += [
            child
            for child in ast.iter_child_nodes(node)
            if not (_is_documentation(child) or _is_script(child) or _saves(child))
        ]


def _is_documentation(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_script(node: ast.AST) -> bool:
    """`if __name__ == "__main__":`"""
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )


def _saves(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "save"


def _names(text: str, name: str) -> bool:
    """Whether one of its words is the name, its ending alone (`endswith(".pt")`), or a pattern with that ending."""
    suffix = PurePosixPath(name).suffix
    words = _BETWEEN.split(text)
    patterns = (word for word in words if "*" in word and word.endswith(suffix))
    return name in words or suffix in words or any(fnmatchcase(name, pattern) for pattern in patterns)
