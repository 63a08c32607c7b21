"""Signatures over archives, in the format of OpenSSF Model Signing.

A signature says which files there are, by name and sha256, and who says so. It lies in the archive as
MAR-INF/model.sig and covers every other member, the manifest too; an unpacked archive verifies with the official
`model_signing` tool as it is. Only `statement` and `verify` are free of `cryptography` (extra `[sign]`).
"""
