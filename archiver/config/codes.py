"""Every code that a config's finding can have, and what it means: for SARIF, for `docs/codes.md`, for tests."""

from __future__ import annotations

from archiver.config import shape, source, validate
from archiver.config.rules import RULES

CODES: dict[str, str] = {
    **source.CODES,
    **shape.CODES,
    **validate.CODES,
    **{rule.code: rule.meaning for rule in RULES},
}
