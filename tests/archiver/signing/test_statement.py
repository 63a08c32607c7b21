from __future__ import annotations

import base64
import json

import pytest

from archiver.signing.statement import Bundle, Malformed, files_of, from_bytes, payload_of, to_bytes, to_sign

A, B = "0a" * 32, "0b" * 32
FILES = {"b/c.py": B, "b.py": A, "MAR-INF/MANIFEST.json": A}


def changed(**changes):
    """The statement over FILES with other values at its top."""
    return json.dumps(json.loads(payload_of("m", FILES)) | changes).encode()


def predicate(**changes):
    return changed(predicate=json.loads(payload_of("m", FILES))["predicate"] | changes)


def bundle(**changes):
    return json.dumps(json.loads(to_bytes(Bundle(b"{}", b"s", "k"))) | changes).encode()


def test_what_is_signed_is_the_payload_with_its_type_and_both_lengths():
    assert to_sign(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"


def test_a_statement_lists_files_by_folder_and_name_and_ignores_nothing_but_the_signature():
    predicate = json.loads(payload_of("m", FILES))["predicate"]
    assert [each["name"] for each in predicate["resources"]] == ["MAR-INF/MANIFEST.json", "b/c.py", "b.py"]
    assert predicate["serialization"]["ignore_paths"] == ["MAR-INF/model.sig"]


def test_a_statement_says_its_files_again():
    assert files_of(payload_of("m", FILES)) == FILES


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "no statement"),
        (changed(_type="x"), "over something else"),
        (changed(predicateType="https://slsa.dev/provenance/v1"), "over something else"),
        (changed(predicate=[]), "no predicate"),
        (changed(subject=[]), "not over one model"),
        (changed(subject=[{"digest": {"sha256": A}}]), "contradicts itself"),
        (predicate(serialization={"method": "shards"}), "lists shards, not files"),
        (predicate(resources=[{"name": "a", "algorithm": "blake3", "digest": A}]), "uses 'blake3' hashes"),
        (predicate(resources=[{"name": "a", "algorithm": "sha256", "digest": "zz" * 32}]), "not in hex"),
        (predicate(resources=[{"name": "a", "algorithm": "sha256", "digest": "aa"}]), "broken file"),
        (predicate(resources=[{"name": "a", "algorithm": "sha256", "digest": A}] * 2), "lists one file twice"),
    ],
)
def test_a_statement_that_is_none_is_told(payload, said):
    with pytest.raises(Malformed, match=said):
        files_of(payload)


@pytest.mark.parametrize("given", [Bundle(b"p", b"s", "hint"), Bundle(b"p", b"s", None, (b"one", b"two"))])
def test_a_bundle_is_read_as_it_was_written(given):
    assert from_bytes(to_bytes(given)) == given


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"null", "has no bundle"),
        (bundle(mediaType="application/vnd.dev.sigstore.bundle.v0.1+json"), "no Sigstore bundle of version 0.3"),
        (bundle(dsseEnvelope=None), "no `dsseEnvelope`"),
        (bundle(dsseEnvelope={"payloadType": "text/plain", "signatures": [{}]}), "no envelope with one signature"),
        (bundle(verificationMaterial=1), "no `verificationMaterial`"),
        (bundle(verificationMaterial={"publicKey": {"hint": 7}}), "a hint that is no text"),
        (bundle(verificationMaterial={"x509CertificateChain": {"certificates": 7}}), "no list of certificates"),
    ],
)
def test_a_bundle_that_is_none_is_told(data, said):
    with pytest.raises(Malformed, match=said):
        from_bytes(data)


def test_bytes_have_one_spelling_in_a_bundle():
    spelt = json.loads(to_bytes(Bundle(b"p", b"s", "k")))
    assert base64.b64decode("cA==") == base64.b64decode("cB==") == b"p"
    spelt["dsseEnvelope"]["payload"] = "cB=="
    with pytest.raises(Malformed, match="no plain base64"):
        from_bytes(json.dumps(spelt).encode())
