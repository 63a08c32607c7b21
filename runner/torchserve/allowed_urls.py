"""TorchServe's `allowed_urls` → prefixes of addresses, which is what archives may come from here.

Regular expressions that mean "everything below this folder" have such a prefix; for any other one a prefix would let
through more than it or less, so none is guessed. Dots of hosts are meant as dots, also where they are not escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from runner.frontend.downloads import Downloads, NotAllowed

_SCHEMES = {"http": ("http",), "https": ("https",)} | dict.fromkeys(
    ("https?", "http(s)?", "http[s]?"), ("http", "https")
)
_BELOW = re.compile(
    r"""\^?
    (?P<scheme> https\? | http\(s\)\? | http\[s\]\? | https? )
    :// (?P<host> (?: [A-Za-z0-9-] | \\?\. )+ (?: :[0-9]+ )? )
    (?P<path> (?: / (?: [A-Za-z0-9_~-] | \\?\. )* )* / )
    \.[*+] \$?""",
    re.VERBOSE,
)


def prefixes_of(text: str) -> tuple[list[str], list[str]]:
    """The prefixes that the expressions are, and the expressions that are none; commas and | stand between them."""
    prefixes: list[str] = []
    others: list[str] = []
    for expression in _alternatives(text):
        found = _prefixes(expression)
        prefixes += found
        if not found:
            others.append(expression)
    return prefixes, others


def why_not(key: str, expression: str) -> str:
    """The sentence for one that is no prefix."""
    if expression.startswith("file:"):
        return f"{expression} of {key} has no effect: files come from the model store"
    return (
        f"{expression} of {key} has no effect: only all addresses below a folder can be allowed, as "
        "https://HOST/PATH/.*; --allow-url names others"
    )


def _alternatives(text: str) -> Iterator[str]:
    """Where | stands inside of parentheses the expression is taken as a whole."""
    for expression in filter(None, map(str.strip, text.split(","))):
        parts = expression.split("|")
        whole = any(part.count("(") != part.count(")") for part in parts)
        yield from [expression] if whole else filter(None, parts)


def _prefixes(expression: str) -> list[str]:
    match = _BELOW.fullmatch(expression)
    if match is None:
        return []
    rest = f"://{match['host']}{match['path']}".replace("\\", "")
    found = [scheme + rest for scheme in _SCHEMES[match["scheme"]]]
    try:
        Downloads(Path(), found)
    except NotAllowed:
        return []
    return found
