"""`archive sign`: say with a key who stands for an archive."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli import console
from archiver.manifest import SIGNATURE


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), metavar="PRIVATE.pem", help="The signer's private key."
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    metavar="CERT.pem",
    help="The key's certificate, then those between it and a root.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a signature that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def sign(file: Path, key: Path, certificate: Path | None, force: bool, as_json: bool) -> None:
    """Sign every member of an archive by name and sha256. The signature goes into the archive, and changes nothing
    else in it.

    `openssl ecparam -name prime256v1 -genkey -noout -out private.pem` makes a key, `openssl ec -in private.pem
    -pubout -out public.pem` its public half, for `archive verify --key` and `archive serve --require-signature`.
    The official `model_signing verify` accepts an unpacked archive, too.
    """
    from archiver.signing.keys import read_signer
    from archiver.signing.sign import sign as put_signature

    signer = read_signer(key, certificate, lambda: click.prompt(f"password of {key}", hide_input=True, err=True))
    files = put_signature(file, signer, force=force, progress=console.progress)
    if as_json:
        console.out_json({"path": str(file), "signer": str(signer), "signature": SIGNATURE, "files": files})
    else:
        console.out(f"{file}: {len(files)} files signed with {signer}")
