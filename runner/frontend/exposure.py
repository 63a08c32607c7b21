"""Who can reach the server, and whether somebody has decided that they may.

TorchServe's management and gRPC ports once listened on every interface without being asked to (CVE-2023-43654,
CVE-2024-35199). Here an address beyond this machine needs keys, or the word that none are wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from archiver.errors import UsageError
from runner.frontend.listener import Address

log = logging.getLogger("archive.server")


def check(addresses: Iterable[Address], *, has_keys: bool, insecure: bool) -> None:
    """Warn of each address that strangers can use. Raises UsageError where nobody has said that they may."""
    if has_keys:
        return
    for address in addresses:
        if address.is_local:
            continue
        if not insecure:
            raise UsageError(
                f"on {address} everybody who reaches it could use the server: there are no keys",
                hint="--key-file FILE, or --insecure where something else keeps strangers out",
            )
        log.warning("listening on %s without authentication: whoever reaches it can use it", address)
