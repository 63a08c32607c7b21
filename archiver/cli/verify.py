"""`archive verify`: every hash of an archive."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from archiver.archive import Archive
from archiver.cli import console


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(file: Path, as_json: bool) -> None:
    """Read every member and compare it with the manifest's sha256, or with its CRC where there is none.

    Exit code 1 names each damaged member.
    """
    with Archive.open(file) as archive:
        findings = archive.verify(console.progress)
        checked = "sha256" if archive.manifest.is_own else "CRC" if archive.kind == "zip" else "size"
        count = len(archive.members)
    failed = any(finding.is_error for finding in findings)
    if as_json:
        found = [{"code": f.code, "severity": f.severity.value, "message": f.message} for f in findings]
        console.out_json({"path": str(file), "ok": not failed, "checked": checked, "findings": found})
    else:
        for finding in findings:
            console.out(console.finding_text(finding))
        if not failed:
            console.out(f"{file}: {count} files, every {checked} is right")
    sys.exit(1 if failed else 0)
