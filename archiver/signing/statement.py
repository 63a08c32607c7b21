"""What a signature says ⇄ the bytes of MAR-INF/model.sig. Pure; nothing is proven here.

    bundle     Sigstore bundle 0.3, JSON: how to find the key, and the envelope
    envelope   DSSE: the payload, its type, and the signature over both (`to_sign`)
    payload    in-toto statement 1, JSON: predicate https://model_signing/signature/v1.0

The predicate lists every file with its sha256; the statement's subject has one digest over those, in their order.
Formats: github.com/sigstore/protobuf-specs, secure-systems-lab/dsse, in-toto/attestation, and the OpenSSF Model
Signing specification. Of the predicate's forms this is `files` with `sha256`, the official tool's default.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archiver.manifest import SIGNATURE

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_ALGORITHM = "sha256"
#: A signature beyond this many bytes is none; it has 150 bytes for each file.
LARGEST = 16 << 20


class Malformed(ValueError):
    """The bytes are no signature that we understand; the message ends the sentence "its signature …"."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A signature as it is stored. `hint`: sha256 of the public key's PEM, in hex; or the signer's certificate and
    those between it and a root, as DER."""

    payload: bytes
    signature: bytes
    hint: str | None = None
    certificates: tuple[bytes, ...] = ()


def to_sign(payload: bytes) -> bytes:
    """The bytes that are really signed: DSSE's encoding of the payload with its type."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def payload_of(name: str, files: Mapping[str, str]) -> bytes:
    """The statement about a model's files (name → sha256 in hex). `name` is for people."""
    ordered = sorted(files.items(), key=lambda file: file[0].split("/"))
    serialization = {
        "method": "files",
        "hash_type": _ALGORITHM,
        "allow_symlinks": False,
        "ignore_paths": [SIGNATURE],
    }
    resources = [{"name": path, "algorithm": _ALGORITHM, "digest": sha256} for path, sha256 in ordered]
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {_ALGORITHM: _root([sha256 for _, sha256 in ordered])}}],
        "predicateType": _PREDICATE,
        "predicate": {"serialization": serialization, "resources": resources},
    }
    return json.dumps(statement, indent=1).encode()


def files_of(payload: bytes) -> dict[str, str]:
    """Name → sha256 of each file that the statement speaks of. Raises Malformed."""
    statement = _object(_json(payload), "no statement")
    if statement.get("_type") != _STATEMENT or statement.get("predicateType") != _PREDICATE:
        raise Malformed("is over something else than a model's files")
    predicate = _object(statement.get("predicate"), "no predicate")
    method = _object(predicate.get("serialization"), "no `serialization`").get("method")
    resources = predicate.get("resources")
    if method != "files" or not isinstance(resources, list):
        raise Malformed(f"lists {method}, not files: sign whole files")
    found = [_resource(each) for each in resources]
    files = dict(found)
    if len(files) != len(found):
        raise Malformed("lists one file twice")
    if _subject(statement) != _root([sha256 for _, sha256 in found]):
        raise Malformed("contradicts itself: its digest is not that of the files it lists")
    return files


def to_bytes(bundle: Bundle) -> bytes:
    """The bundle as it is stored; the same values give the same bytes."""
    signature = {"sig": _base64(bundle.signature), "keyid": ""}
    envelope = {"payload": _base64(bundle.payload), "payloadType": _PAYLOAD, "signatures": [signature]}
    document = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {**_material(bundle), "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
    return json.dumps(document).encode()


def from_bytes(data: bytes) -> Bundle:
    """Read a bundle, ours or the official tool's. Raises Malformed."""
    document = _object(_json(data), "no bundle")
    if document.get("mediaType") != _BUNDLE:
        raise Malformed(f"is no Sigstore bundle of version 0.3: its type is {document.get('mediaType')!r:.80}")
    envelope = _object(document.get("dsseEnvelope"), "no `dsseEnvelope`")
    signatures = envelope.get("signatures")
    if envelope.get("payloadType") != _PAYLOAD or not isinstance(signatures, list) or len(signatures) != 1:
        raise Malformed("has no envelope with one signature over a statement")
    material = _object(document.get("verificationMaterial"), "no `verificationMaterial`")
    return Bundle(
        _bytes(envelope.get("payload")),
        _bytes(_object(signatures[0], "no signature").get("sig")),
        _hint(material),
        _certificates(material),
    )


def _material(bundle: Bundle) -> dict[str, Any]:
    if bundle.certificates:
        chain = [{"rawBytes": _base64(each)} for each in bundle.certificates]
        return {"x509CertificateChain": {"certificates": chain}}
    return {"publicKey": {"hint": bundle.hint}}


def _hint(material: Mapping[str, Any]) -> str | None:
    hint = _object(material.get("publicKey", {}), "no `publicKey`").get("hint")
    if hint is not None and not isinstance(hint, str):
        raise Malformed("has a hint that is no text")
    return hint


def _certificates(material: Mapping[str, Any]) -> tuple[bytes, ...]:
    chain = _object(material.get("x509CertificateChain", {}), "no chain").get("certificates", [])
    if not isinstance(chain, list):
        raise Malformed("has no list of certificates")
    return tuple(_bytes(_object(each, "no certificate").get("rawBytes")) for each in chain)


def _resource(value: Any) -> tuple[str, str]:
    resource = _object(value, "a broken file in its list")
    name, algorithm, digest = (resource.get(key) for key in ("name", "algorithm", "digest"))
    if algorithm != _ALGORITHM:
        raise Malformed(f"uses {algorithm!r:.40} hashes: sign with {_ALGORITHM}")
    if not isinstance(name, str) or not isinstance(digest, str) or len(digest) != 64:
        raise Malformed(f"has a broken file in its list: {resource!r:.80}")
    return name, digest


def _subject(statement: Mapping[str, Any]) -> Any:
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise Malformed("is not over one model")
    return _object(_object(subjects[0], "no subject").get("digest"), "no digest").get(_ALGORITHM)


def _root(digests: list[str]) -> str:
    try:
        return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
    except ValueError:
        raise Malformed("has a digest that is not in hex") from None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is no JSON: {error}") from error


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"has {what}")
    return value


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    """One spelling for the same bytes: what a lenient decoder would skip is refused."""
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Malformed("has a value that is no base64") from None
    if _base64(data) != text:
        raise Malformed("has a value that is no plain base64")
    return data
