"""People who sign: keys and certificates as PEM files, made for one test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from archiver.signing.keys import Signer, Trusted, read_signer, read_trusted

#: Long ago: certificates from here on are expired today.
THEN = datetime(2020, 1, 1)


@dataclass(frozen=True)
class Person:
    """The files of a key: `private`, `public`, and with a certificate `chain` (theirs first, no root)."""

    key: ec.EllipticCurvePrivateKey
    private: Path
    public: Path
    chain: Path | None = None

    @property
    def signer(self) -> Signer:
        return read_signer(self.private, self.chain, no_password)

    @property
    def trusted(self) -> Trusted:
        return read_trusted(self.public)


def no_password() -> str:
    raise AssertionError("nobody should be asked for a password")


def person(
    folder: Path, name: str = "ann", curve: ec.EllipticCurve | None = None, password: bytes | None = None
) -> Person:
    """Somebody with a new key."""
    return written(folder, name, ec.generate_private_key(curve or ec.SECP256R1()), password)


def written(
    folder: Path, name: str, key: ec.EllipticCurvePrivateKey, password: bytes | None = None, chain: Path | None = None
) -> Person:
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / f"{name}-private.pem", folder / f"{name}.pem"
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return Person(key, private, public, chain)


@dataclass(frozen=True)
class Authority:
    """A root or what it has certified: its certificate as PEM in `file`."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    file: Path


def authority(folder: Path, name: str = "root", above: Authority | None = None) -> Authority:
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = certified(name, key.public_key(), above or (name, key), ca=True)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return Authority(name, key, certificate, file)


def certified_person(folder: Path, *above: Authority, name: str = "cara", signs: bool = True) -> Person:
    """Somebody whose certificate is by the first of `above`; the others follow in the chain."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = certified(name, key.public_key(), above[0], signs=signs)
    chain = folder / f"{name}-chain.pem"
    chain.write_bytes(
        b"".join(each.public_bytes(Encoding.PEM) for each in (own, *(a.certificate for a in above[:-1])))
    )
    return written(folder, name, key, chain=chain)


def certified(
    name: str,
    key: ec.EllipticCurvePublicKey,
    by: Authority | tuple[str, ec.EllipticCurvePrivateKey],
    *,
    ca: bool = False,
    signs: bool = True,
) -> x509.Certificate:
    issuer, issuing = (by.name, by.key) if isinstance(by, Authority) else by
    nothing = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    usage = x509.KeyUsage(digital_signature=signs and not ca, key_cert_sign=ca, crl_sign=ca, **nothing)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(THEN)
        .not_valid_after(THEN + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()), critical=False)
    )
    return builder.sign(issuing, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
