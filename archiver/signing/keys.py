"""PEM files → whose signatures count, and who signs. The only file that knows `cryptography`.

Keys are on the curves P-256, P-384 and P-521, each with the hash of its size, as the official tool has it. A signer's
certificate is judged at the time it began to be valid, as there: a signature carries no trusted time, and it outlasts
its certificate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from archiver.errors import ArchiveError, NotFound
from archiver.signing.statement import Bundle, to_sign

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_MAKE_KEY = "openssl ecparam -name prime256v1 -genkey -noout -out private.pem"
_MAKE_PUBLIC = "openssl ec -in private.pem -pubout -out public.pem"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PUBLIC = b"-----BEGIN PUBLIC KEY-----"
_PUBLIC_END = b"-----END PUBLIC KEY-----"


class NotTrusted(ValueError):
    """Nobody whom we trust has signed this; `code` is one of verify.CODES, the message ends "its signature …"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`file`: where it was read; `hint`: its name in signatures, sha256 of its PEM in hex."""

    key: ec.EllipticCurvePublicKey
    hint: str
    file: Path

    def __str__(self) -> str:
        return f"key {self.hint[:16]} ({self.file.name})"


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whose signatures count: of these keys, and of certificates that lead to one of these."""

    keys: tuple[PublicKey, ...] = ()
    roots: tuple[x509.Certificate, ...] = ()

    def __str__(self) -> str:
        return ", ".join([*map(str, self.keys), *(f"certificate {_subject(root)}" for root in self.roots)])

    def signer(self, bundle: Bundle) -> str:
        """Who signed, for people. Raises NotTrusted."""
        if bundle.certificates and self.roots:
            leaf = _proven(bundle.certificates, self.roots)
            key = _usable(leaf.public_key(), "certificate")
            _verify(key, bundle, f"certificate {_subject(leaf)}")
            return f"certificate {_subject(leaf)}"
        return str(self._key_of(bundle))

    def _key_of(self, bundle: Bundle) -> PublicKey:
        """The key that made the signature. One with a certificate instead of a hint may be of any key."""
        hinted = [key for key in self.keys if bundle.hint in (None, key.hint)]
        for key in hinted:
            if _is_over(key.key, bundle):
                return key
        if hinted and bundle.hint is not None:
            raise NotTrusted("signature/invalid", f"was altered: it is not one that {hinted[0]} has made")
        by = f"key {bundle.hint[:16]}" if bundle.hint else "certificate" if bundle.certificates else "a key"
        raise NotTrusted("signature/unknown-signer", f"is by another signer ({by}); trusted: {self}")


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, perhaps with the certificates that say whose it is: its own first."""

    key: ec.EllipticCurvePrivateKey
    certificates: tuple[x509.Certificate, ...] = ()

    def __str__(self) -> str:
        if self.certificates:
            return f"certificate {_subject(self.certificates[0])}"
        return f"key {_hint(self.key.public_key())[:16]}"

    def sign(self, payload: bytes) -> Bundle:
        """The signed payload."""
        signature = self.key.sign(to_sign(payload), _algorithm(self.key.curve))
        if not self.certificates:
            return Bundle(payload, signature, _hint(self.key.public_key()))
        chain = tuple(each.public_bytes(Encoding.DER) for each in self.certificates)
        return Bundle(payload, signature, None, chain)


def read_signer(key: Path, certificates: Path | None, ask_password: Callable[[], str]) -> Signer:
    """A signer from PEM files. Raises NotFound, and ArchiveError for what is no such key or certificate."""
    private = _private(key, _pem(key), ask_password)
    if certificates is None:
        return Signer(private)
    chain = _read_certificates(certificates)
    if chain[0].public_key() != private.public_key():
        message = f"the first certificate of {certificates} is not that of the key {key}"
        raise ArchiveError(message, hint="the signer's own certificate comes first, then those above it")
    if not _may_sign(chain[0]):
        message = f"the certificate of {_subject(chain[0])} in {certificates} is not for signing"
        raise ArchiveError(message, hint="it needs the keyUsage digitalSignature or the extendedKeyUsage codeSigning")
    return Signer(private, tuple(chain))


def read_trusted(path: Path) -> Trusted:
    """Public keys and certificates of a PEM file, or of every .pem in a folder.

    Raises NotFound, and ArchiveError for what holds none.
    """
    files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
    keys, roots = [], []
    for file in files:
        data = _pem(file)
        keys += _public_keys(file, data)
        roots += _read_certificates(file) if _CERTIFICATE in data else []
    if not keys and not roots:
        raise ArchiveError(f"{path} holds no public key and no certificate", hint=f"{_MAKE_PUBLIC} writes one")
    return Trusted(tuple(keys), tuple(roots))


def _private(file: Path, data: bytes, ask_password: Callable[[], str]) -> ec.EllipticCurvePrivateKey:
    key: object
    try:
        key = load_pem_private_key(data, None)
    except TypeError:  # it is encrypted
        key = _decrypted(file, data, ask_password())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ArchiveError(f"{file} is no private key in PEM", hint=f"{_MAKE_KEY} makes one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise _wrong_kind(file)
    return key


def _decrypted(file: Path, data: bytes, password: str) -> object:
    try:
        return load_pem_private_key(data, password.encode())
    except ValueError as error:
        raise ArchiveError(f"this is not the password of {file}") from error


def _public_keys(file: Path, data: bytes) -> list[PublicKey]:
    blocks = [_PUBLIC + block.partition(_PUBLIC_END)[0] + _PUBLIC_END for block in data.split(_PUBLIC)[1:]]
    found = []
    for block in blocks:
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ArchiveError(f"{file} holds a public key that cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise _wrong_kind(file)
        found.append(PublicKey(key, _hint(key), file))
    return found


def _read_certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_pem(file))
    except ValueError as error:
        raise ArchiveError(f"{file} holds no certificate in PEM") from error


def _pem(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{file} does not exist", hint=f"{_MAKE_KEY}; {_MAKE_PUBLIC}") from None
    except OSError as error:
        raise ArchiveError(f"cannot read {file}: {error.strerror}") from error


def _wrong_kind(file: Path) -> ArchiveError:
    return ArchiveError(f"{file} is no key on the curve P-256, P-384 or P-521", hint=f"{_MAKE_KEY} makes one")


def _hint(key: ec.EllipticCurvePublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _algorithm(curve: ec.EllipticCurve) -> ec.ECDSA:
    """With the nonce of RFC 6979 where OpenSSL knows it (3.2): the same archive and key, the same signature."""
    try:
        return ec.ECDSA(_HASHES[curve.name], deterministic_signing=True)
    except UnsupportedAlgorithm:
        return ec.ECDSA(_HASHES[curve.name])


def _is_over(key: ec.EllipticCurvePublicKey, bundle: Bundle) -> bool:
    try:
        key.verify(bundle.signature, to_sign(bundle.payload), ec.ECDSA(_HASHES[key.curve.name]))
    except InvalidSignature:
        return False
    return True


def _verify(key: ec.EllipticCurvePublicKey, bundle: Bundle, who: str) -> None:
    if not _is_over(key, bundle):
        raise NotTrusted("signature/invalid", f"was altered: it is not one that {who} has made")


def _usable(key: object, what: str) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise NotTrusted("signature/malformed", f"is by a {what} whose key is not on the curve P-256, P-384 or P-521")
    return key


def _proven(chain: Sequence[bytes], roots: Sequence[x509.Certificate]) -> x509.Certificate:
    """The signer's certificate, once it leads to a root and may sign. Raises NotTrusted."""
    try:
        leaf, *between = (x509.load_der_x509_certificate(each) for each in chain)
        may_sign = _may_sign(leaf)
    except ValueError as error:
        raise NotTrusted("signature/malformed", f"holds a broken certificate: {error}") from error
    any_leaf, cas = verification.ExtensionPolicy.permit_all(), verification.ExtensionPolicy.webpki_defaults_ca()
    policy = verification.PolicyBuilder().store(verification.Store([*roots])).time(leaf.not_valid_before_utc)
    try:
        policy = policy.extension_policies(ca_policy=cas, ee_policy=any_leaf)
        policy.build_client_verifier().verify(leaf, between)
    except verification.VerificationError as error:
        trusted = ", ".join(map(_subject, roots))
        message = f"is by {_subject(leaf)}, whose certificate does not lead to {trusted}"
        raise NotTrusted("signature/unknown-signer", message) from error
    if not may_sign:
        message = f"is by {_subject(leaf)}, whose certificate is not for signing (keyUsage digitalSignature)"
        raise NotTrusted("signature/unknown-signer", message)
    return leaf


def _may_sign(leaf: x509.Certificate) -> bool:
    for extension in leaf.extensions:
        if isinstance(extension.value, x509.KeyUsage) and extension.value.digital_signature:
            return True
        if isinstance(extension.value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CODE_SIGNING in extension.value:
            return True
    return False


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "without a name"
