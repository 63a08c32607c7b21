"""ts.handler_utils.text_utils: token sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def ngrams_iterator(token_list: Sequence[str], ngrams: int) -> Iterator[str]:
    """Every token, then every run of 2, 3, … `ngrams` neighbouring tokens joined by a space."""
    yield from token_list
    for length in range(2, ngrams + 1):
        for start in range(len(token_list) - length + 1):
            yield " ".join(token_list[start : start + length])
