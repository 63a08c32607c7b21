"""For test reports: one suite per file; an error is a failed case, a clean file one case that passed."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from archiver.config.findings import Finding, Severity
from archiver.config.render.verdict import Verdict

#: What XML 1.0 cannot carry, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(verdict: Verdict) -> str:
    root = ElementTree.Element("testsuites", name="archive validate")
    for file in verdict.files:
        _suite(root, file, [finding for finding in verdict.findings if finding.where.file == file])
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False)


def _suite(root: ElementTree.Element, file: str, findings: list[Finding]) -> None:
    failures = sum(finding.is_error for finding in findings)
    suite = ElementTree.SubElement(root, "testsuite", name=_clean(file))
    suite.set("tests", str(len(findings) or 1))
    suite.set("failures", str(failures))
    for finding in findings:
        case = ElementTree.SubElement(suite, "testcase", name=_clean(_title(finding)), classname=_clean(file))
        text = _clean(f"{finding}\nhint: {finding.hint}" if finding.hint else str(finding))
        if finding.severity is Severity.ERROR:
            failure = ElementTree.SubElement(case, "failure", message=_clean(finding.message), type=finding.code)
            failure.text = text
        else:
            ElementTree.SubElement(case, "system-out").text = text
    if not findings:
        ElementTree.SubElement(suite, "testcase", name="valid", classname=_clean(file))


def _title(finding: Finding) -> str:
    return f"{finding.code} {finding.where}"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
