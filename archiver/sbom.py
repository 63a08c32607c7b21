"""The bill of materials of an archive: MAR-INF/sbom.cdx.json, CycloneDX 1.6. Pure.

It says what the model is and under which licence, the framework it was built with, what its handler requires (in
the version that is pinned, else in the one installed where it was packed), and the sha256 of every file. It is made
from the manifest and the requirements alone, each time an archive is packed: no serial number, no clock, so that the
same inputs give the same bytes. Format: cyclonedx.org/docs/1.6/json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from archiver.manifest import CREATED, Manifest
from archiver.requirements import lines, name_of

#: Name of an installed package → its version.
Installed = Callable[[str], str | None]

_MODEL = "model"
_OURS = "torch-archive"
#: What an address may hold that is nobody's business: a password, a token in its query, the way to a file.
_PRIVATE = (
    (re.compile(r"://[^/@\s]+@"), "://"),
    (re.compile(r"(://[^\s?#]*)\?[^\s#]*"), r"\1"),
    (re.compile(r"\bfile:/[^\s;]*/"), "file:"),
    (re.compile(r"^/[^\s;]*/"), ""),
)
_PINNED = re.compile(r"===?\s*([A-Za-z0-9.!+_-]+)\s*(?:;|$)")
#: Licences of models that SPDX has an id for (spdx.org/licenses). Others are names.
_SPDX = frozenset(
    {
        *("0BSD", "AFL-3.0", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause"),
        *("BSD-3-Clause", "BSD-3-Clause-Clear", "BSL-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0"),
        *("CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-SA-4.0", "CC0-1.0", "EPL-2.0", "EUPL-1.2", "GPL-2.0-only"),
        *("GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LGPL-2.1-only", "LGPL-2.1-or-later"),
        *("LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MPL-2.0", "MS-PL", "NCSA", "ODbL-1.0", "OFL-1.1"),
        *("PostgreSQL", "Python-2.0", "Unlicense", "WTFPL", "Zlib"),
    }
)
_OPERATOR = re.compile(r"\s+(?:AND|OR)\s+")


def to_bytes(manifest: Manifest, requirements: str, installed: Installed) -> bytes:
    """The document as it is packed. `requirements`: the text of the model's requirements file, else empty."""
    return (json.dumps(document(manifest, requirements, installed), indent=2, ensure_ascii=False) + "\n").encode()


def document(manifest: Manifest, requirements: str, installed: Installed) -> dict[str, Any]:
    """The bill of materials of an archive with these files."""
    packages = [*_framework(manifest), *_libraries(requirements, installed)]
    merged = _merged(packages)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": _metadata(manifest),
        "components": [*merged, *_files(manifest)],
        "dependencies": [{"ref": _MODEL, "dependsOn": [each["bom-ref"] for each in merged]}],
    }


def libraries_of(data: bytes) -> Iterator[tuple[str, str | None]]:
    """Name and version of each required package in a packed document; nothing where it is none of ours."""
    try:
        components = json.loads(data)["components"]
        yield from ((each["name"], each.get("version")) for each in components if each["type"] == "library")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return


def requirement_lines(text: str) -> Iterator[str]:
    """The requirements of a pip file, as written, but for options and what is private in addresses."""
    for line in lines(text):
        bare = line.partition(" --")[0].strip()
        if bare and not bare.startswith("-"):
            for pattern, left in _PRIVATE:
                bare = pattern.sub(left, bare)
            yield bare


def _metadata(manifest: Manifest) -> dict[str, Any]:
    tool = {"type": "application", "name": _OURS, "version": manifest.archiver_version}
    model = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": manifest.model_name,
        "version": manifest.model_version,
        "description": manifest.description,
        "licenses": [_licence(manifest.license)] if manifest.license else None,
    }
    return _stated(
        {
            "timestamp": _timestamp(manifest.created_on),
            "tools": {"components": [_stated(tool)]},
            "component": _stated(model),
        }
    )


def _licence(text: str) -> dict[str, Any]:
    """An SPDX id or a plain expression of them as such, anything else as a name."""
    if text in _SPDX:
        return {"license": {"id": text}}
    return {"expression": text} if _SPDX.issuperset(_OPERATOR.split(text)) else {"license": {"name": text}}


def _timestamp(created_on: str | None) -> str | None:
    """The manifest's date in ISO 8601, UTC; None where somebody wrote another date."""
    try:
        return datetime.strptime(created_on or "", CREATED).isoformat() + "Z"
    except ValueError:
        return None


def _framework(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """torch, and the Python that it was built with."""
    torch, python = manifest.build.get("torch"), manifest.build.get("python")
    if torch is not None:
        yield _package("torch", torch, "framework")
    if python is not None:
        yield {"type": "platform", "bom-ref": f"python@{python}", "name": "python", "version": python}


def _libraries(requirements: str, installed: Installed) -> Iterator[dict[str, Any]]:
    for line in requirement_lines(requirements):
        name = name_of(line)
        if name is None:
            yield {"type": "library", "bom-ref": line, "name": line}
            continue
        pinned = _PINNED.search(line)
        version = pinned.group(1) if pinned else installed(name)
        yield {**_package(name, version, "library"), "properties": [_property("requirement", line)]}


def _package(name: str, version: str | None, kind: str) -> dict[str, Any]:
    """A package of PyPI. Its purl has the name in PyPI's spelling (github.com/package-url/purl-spec)."""
    canonical = re.sub(r"[-_.]+", "-", name).lower()
    purl = f"pkg:pypi/{canonical}" + (f"@{quote(version, safe='')}" if version else "")
    return _stated({"type": kind, "bom-ref": purl, "name": canonical, "version": version, "purl": purl})


def _merged(packages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One component for each reference: a package may be required on several lines, and torch is the framework."""
    found: dict[str, dict[str, Any]] = {}
    for each in packages:
        first = found.setdefault(each["bom-ref"], each)
        if first is not each and "properties" in each:
            first["properties"] = [*first.get("properties", []), *each["properties"]]
    return list(found.values())


def _files(manifest: Manifest) -> Iterator[dict[str, Any]]:
    for file in manifest.files:
        yield {
            "type": "file",
            "bom-ref": f"file:{file.path}",
            "name": file.path,
            "hashes": [{"alg": "SHA-256", "content": file.sha256}],
            "properties": [_property("role", file.role)],
        }


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"{_OURS}:{name}", "value": value}


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
