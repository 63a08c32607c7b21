"""pip's requirements files, as far as one must read them without pip: what they name, and what they lean on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

#: `name`, with extras, versions, an address or a marker behind it.
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\]\s*)?(?:$|[<>=!~(;@,\s])")
_RELATIVE = re.compile(r"@\s*file:(?!//)")
_FILES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2")
#: Addresses, and options whose meaning does not depend on files beside the requirements.
_ELSEWHERE = re.compile(
    r"[a-z+]+://|(?:-i|--index-url|--extra-index-url|--no-index|--pre|--prefer-binary|--only-binary|--no-binary"
    r"|--require-hashes|--trusted-host|--use-feature)(?:[=\s]|$)"
)


def leans_on_files(text: str) -> bool:
    """Whether it may read files beside it (`-r more.txt`, `./some.whl`), so that its text alone does not say what
    will be installed."""
    return not all(_is_name(line) or _ELSEWHERE.match(line) for line in lines(text))


def not_installed(model_dir: Path, file: str | None) -> str | None:
    """A sentence for people who run a model where they are, when packages that its requirements name are missing."""
    if file is None or not (model_dir / file).is_file():
        return None
    names = ", ".join(missing((model_dir / file).read_text("utf-8", "replace")))
    told = f"{file} asks for what is not installed here: {names}; `pip install -r {file}` installs it"
    return told if names else None


def missing(text: str) -> list[str]:
    """The packages that it names and that are not installed here, in its order. Lines with markers may not be meant
    for this machine and are left out; versions are pip's to compare."""
    found = (_NAMED.match(line) for line in lines(text) if ";" not in line)
    return [match[1] for match in found if match and _is_name(match.string) and not _is_installed(match[1])]


def name_of(line: str) -> str | None:
    """The package that a line names; pip takes anything else for a file, a folder or an address."""
    match = _NAMED.match(line)
    return match[1] if match and not line.split()[0].lower().endswith(_FILES) else None


def _is_name(line: str) -> bool:
    return name_of(line) is not None and not _RELATIVE.search(line)


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def lines(text: str) -> Iterator[str]:
    """The lines that say something: continued ones joined, comments off."""
    joined = re.sub(r"\\\r?\n", " ", text)
    for line in joined.splitlines():
        said = re.sub(r"(^|\s)#.*$", "", line).strip()
        if said:
            yield said
