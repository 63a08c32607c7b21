from __future__ import annotations

import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from archiver.errors import ArchiveError, NotFound
from archiver.signing.keys import NotTrusted, Signer, Trusted, read_signer, read_trusted
from tests.archiver.signing.people import authority, certified_person, no_password, person


def signer_of(trusted, bundle):
    return trusted.signer(bundle).partition(" (")[0]


def refusal(trusted, bundle):
    with pytest.raises(NotTrusted) as refused:
        trusted.signer(bundle)
    return refused.value.code


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_a_signature_is_known_by_its_public_key(tmp_path, curve):
    ann = person(tmp_path, curve=curve)
    assert signer_of(ann.trusted, ann.signer.sign(b"text")) == str(ann.signer)


def test_the_same_key_and_payload_give_the_same_signature(tmp_path):
    ann = person(tmp_path)
    assert ann.signer.sign(b"text") == ann.signer.sign(b"text")


def test_a_signature_by_somebody_else_is_refused_with_both_names(tmp_path):
    ann, bob = person(tmp_path, "ann"), person(tmp_path, "bob")
    with pytest.raises(NotTrusted, match="is by another signer") as refused:
        ann.trusted.signer(bob.signer.sign(b"text"))
    assert str(bob.signer) in str(refused.value) and "(ann.pem)" in str(refused.value)


def test_another_payload_or_signature_under_a_known_name_is_an_alteration(tmp_path):
    from dataclasses import replace

    ann, bob = person(tmp_path, "ann"), person(tmp_path, "bob")
    good = ann.signer.sign(b"text")
    assert refusal(ann.trusted, replace(good, payload=b"other")) == "signature/invalid"
    assert refusal(ann.trusted, replace(good, signature=b"")) == "signature/invalid"
    assert refusal(ann.trusted, replace(bob.signer.sign(b"text"), hint=good.hint)) == "signature/invalid"
    assert signer_of(ann.trusted, replace(good, hint=None)) == str(ann.signer)


def test_one_of_many_keys_is_enough(tmp_path):
    ann, bob, eve = (person(tmp_path / name, name) for name in ("ann", "bob", "eve"))
    folder = tmp_path / "keys"
    folder.mkdir()
    for each in (ann, bob):
        shutil.copy(each.public, folder)
    (folder / "README").write_text("not a key")
    both = tmp_path / "both.pem"
    both.write_bytes(b"# the team\n" + ann.public.read_bytes() + bob.public.read_bytes())
    for keys in (folder, both):
        trusted = read_trusted(keys)
        assert [signer_of(trusted, each.signer.sign(b"")) for each in (ann, bob)] == [
            str(ann.signer),
            str(bob.signer),
        ]
        assert refusal(trusted, eve.signer.sign(b"")) == "signature/unknown-signer"


def test_a_certificate_counts_when_it_leads_to_a_root(tmp_path):
    root = authority(tmp_path)
    between = authority(tmp_path, "between", root)
    cara = certified_person(tmp_path, between, root)
    bundle = cara.signer.sign(b"text")
    assert len(bundle.certificates) == 2
    assert read_trusted(root.file).signer(bundle) == "certificate CN=cara"
    assert read_trusted(between.file).signer(bundle) == "certificate CN=cara"


def test_a_certificate_that_leads_elsewhere_or_is_not_for_signing_is_refused(tmp_path):
    root, other = authority(tmp_path), authority(tmp_path, "other")
    trusted = read_trusted(root.file)
    assert refusal(trusted, certified_person(tmp_path, other).signer.sign(b"")) == "signature/unknown-signer"
    mute = certified_person(tmp_path, root, name="mute", signs=False)
    with pytest.raises(ArchiveError, match="CN=mute in .* is not for signing"):
        read_signer(mute.private, mute.chain, no_password)
    with pytest.raises(NotTrusted, match="not for signing"):
        trusted.signer(Signer(mute.key, (load_pem_x509_certificate(mute.chain.read_bytes()),)).sign(b""))
    impostor = authority(tmp_path / "fake", "root")
    assert refusal(trusted, certified_person(tmp_path, impostor).signer.sign(b"")) == "signature/unknown-signer"


def test_somebody_certified_cannot_certify_others(tmp_path):
    from tests.archiver.signing.people import Authority

    root = authority(tmp_path)
    cara = certified_person(tmp_path, root)
    pretender = Authority("cara", cara.key, cara.signer.certificates[0], cara.chain)
    mallory = certified_person(tmp_path, pretender, root, name="mallory")
    assert refusal(read_trusted(root.file), mallory.signer.sign(b"")) == "signature/unknown-signer"


def test_an_altered_payload_under_a_good_certificate_is_an_alteration(tmp_path):
    from dataclasses import replace

    root = authority(tmp_path)
    bundle = certified_person(tmp_path, root).signer.sign(b"text")
    assert refusal(read_trusted(root.file), replace(bundle, payload=b"other")) == "signature/invalid"
    broken = replace(bundle, certificates=(b"no certificate",))
    assert refusal(read_trusted(root.file), broken) == "signature/malformed"


def test_a_key_and_a_certificate_do_not_stand_for_each_other(tmp_path):
    ann, root = person(tmp_path), authority(tmp_path)
    assert refusal(read_trusted(root.file), ann.signer.sign(b"")) == "signature/unknown-signer"
    assert refusal(ann.trusted, certified_person(tmp_path, root).signer.sign(b"")) == "signature/unknown-signer"
    cara = certified_person(tmp_path, root)
    assert cara.trusted.signer(cara.signer.sign(b"")).startswith("key ")
    assert refusal(Trusted(), ann.signer.sign(b"")) == "signature/unknown-signer"


def test_an_encrypted_key_asks_for_its_password(tmp_path):
    ann = person(tmp_path, password=b"sesame")
    assert str(read_signer(ann.private, None, lambda: "sesame")).startswith("key ")
    with pytest.raises(ArchiveError, match="not the password of"):
        read_signer(ann.private, None, lambda: "sesam")


def test_keys_that_openssl_makes_are_read(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on this machine")
    for line in (
        "openssl ecparam -name prime256v1 -genkey -noout -out private.pem",
        "openssl ec -in private.pem -pubout -out public.pem",
    ):
        subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True)
    bundle = read_signer(tmp_path / "private.pem", None, no_password).sign(b"")
    assert read_trusted(tmp_path / "public.pem").signer(bundle).endswith("(public.pem)")


def test_files_that_are_no_keys_are_told_apart(tmp_path):
    ann = person(tmp_path)
    rsa_key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "rsa.pem").write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "rsa-public.pem").write_bytes(public)
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    for said, read in (
        ("is no private key in PEM", lambda: read_signer(ann.public, None, no_password)),
        ("no key on the curve", lambda: read_signer(tmp_path / "rsa.pem", None, no_password)),
        ("no key on the curve", lambda: read_trusted(tmp_path / "rsa-public.pem")),
        ("cannot be read", lambda: read_trusted(broken)),
        ("holds no certificate in PEM", lambda: read_signer(ann.private, ann.public, no_password)),
        ("holds no public key", lambda: read_trusted(ann.private)),
        ("cannot read", lambda: read_signer(tmp_path, None, no_password)),
    ):
        with pytest.raises(ArchiveError, match=said):
            read()
    with pytest.raises(NotFound, match="does not exist"):
        read_trusted(tmp_path / "nothing.pem")


def test_a_certificate_of_another_key_is_refused(tmp_path):
    ann, cara = person(tmp_path), certified_person(tmp_path, authority(tmp_path))
    with pytest.raises(ArchiveError, match="is not that of the key"):
        read_signer(ann.private, cara.chain, no_password)
