"""`archive verify`: every hash of an archive, and who signed it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.archive import Archive
from archiver.cli import console
from archiver.errors import ArchiveError

if TYPE_CHECKING:
    from archiver.signing.keys import Trusted


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="PUBLIC.pem",
    help="It must be signed with this key; several in one file or in a folder: with one of them.",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    metavar="CHAIN.pem",
    help="It must be signed with a certificate that leads to one of these.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(file: Path, key: Path | None, certificate: Path | None, as_json: bool) -> None:
    """Read every member and compare it with the manifest's sha256, or with its CRC where there is none.

    With --key or --certificate the archive must be signed, too: every member, and nothing else in it.

    Exit code 1 names each damaged member.
    """
    trusted = _trusted(key, certificate)
    with Archive.open(file) as archive:
        findings = archive.verify(console.progress)
        signer = None
        if trusted is not None:
            from archiver.signing.verify import verify_signature

            signer, wrong = verify_signature(archive, trusted)
            findings += wrong
        checked = "sha256" if archive.manifest.is_own else "CRC" if archive.kind == "zip" else "size"
        count = len(archive.members)
    failed = any(finding.is_error for finding in findings)
    if as_json:
        found = [{"code": f.code, "severity": f.severity.value, "message": f.message} for f in findings]
        result = {"path": str(file), "ok": not failed, "checked": checked, "signer": signer, "findings": found}
        console.out_json(result)
    else:
        for finding in findings:
            console.out(console.finding_text(finding))
        if not failed:
            by = f"; signed with {signer}" if signer else ""
            console.out(f"{file}: {count} files, every {checked} is right{by}")
    sys.exit(1 if failed else 0)


def _trusted(key: Path | None, certificate: Path | None) -> Trusted | None:
    """Whose signature is asked for; None where none is."""
    if key is None and certificate is None:
        return None
    from archiver.signing.keys import Trusted, read_trusted

    keys = read_trusted(key).keys if key else ()
    roots = read_trusted(certificate).roots if certificate else ()
    for path, found, what in ((key, keys, "public key"), (certificate, roots, "certificate")):
        if path is not None and not found:
            raise ArchiveError(f"{path} holds no {what}", hint="--key takes public keys, --certificate certificates")
    return Trusted(keys, roots)
