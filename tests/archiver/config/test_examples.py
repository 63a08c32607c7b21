"""The folder of examples is the specification: a new case is a new file.

`examples/valid/*.yaml` pass without a finding. `examples/invalid/<code>/**/NAME.yaml` give exactly the lines of
NAME.findings.txt, among them the code; NAME.members.txt, where it exists, is what the archive holds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.config.codes import CODES
from archiver.config.findings import Finding
from archiver.config.render.text import plain
from archiver.config.validate import check_config, config_missing, examine_project

EXAMPLES = Path(__file__).parents[2] / "examples"
VALID = sorted(EXAMPLES.glob("valid/*.yaml"))
INVALID = sorted(EXAMPLES.glob("invalid/**/*.yaml"))
CODES_DOCUMENT = Path(__file__).parents[3] / "docs" / "codes.md"


def check(path: Path) -> list[Finding]:
    if path.name == "archive.yaml":
        project = examine_project(path.read_bytes(), path.name)
        named = project.values.get("config")
        missing = [config_missing(project)] if named and not (path.parent / named).exists() else []
        return [*project.findings, *missing]
    listed = path.with_suffix(".members.txt")
    members = listed.read_text().split() if listed.exists() else None
    return check_config(path.read_bytes(), path.name, members=members)


def code_of(path: Path) -> str:
    return "/".join(path.relative_to(EXAMPLES / "invalid").parts[:2])


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_example_has_no_findings(path: Path) -> None:
    assert [str(finding) for finding in check(path)] == []


@pytest.mark.parametrize("path", INVALID, ids=lambda path: f"{code_of(path)}-{path.stem}")
def test_an_invalid_example_has_exactly_the_findings_beside_it(path: Path) -> None:
    findings = check(path)

    expected = path.with_suffix(".findings.txt").read_text(encoding="utf-8")
    assert "\n".join(map(plain, findings)) + "\n" == expected
    assert code_of(path) in {finding.code for finding in findings}


def test_every_code_has_an_example_folder_and_every_folder_is_a_code() -> None:
    assert {code_of(path) for path in INVALID} == set(CODES)


def test_every_code_has_a_line_in_the_documentation() -> None:
    text = CODES_DOCUMENT.read_text(encoding="utf-8")

    assert [code for code in CODES if f"`{code}`" not in text] == []
