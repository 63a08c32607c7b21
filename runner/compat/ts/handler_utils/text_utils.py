"""ts.handler_utils.text_utils: texts as tokens, and sequences of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

#: What "basic_english" makes of punctuation, as torchtext does: some marks are tokens, others separate, quotes go.
_MARKS = str.maketrans({mark: f" {mark} " for mark in "'.,()!?"} | {'"': None, ";": " ", ":": " "})
_LINE_BREAK = re.compile(r"<br />")


def ngrams_iterator(token_list: Sequence[str], ngrams: int) -> Iterator[str]:
    """Every token, then every run of 2, 3, … `ngrams` neighbouring tokens joined by a space."""
    yield from token_list
    for length in range(2, ngrams + 1):
        for start in range(len(token_list) - length + 1):
            yield " ".join(token_list[start : start + length])


def get_tokenizer(
    tokenizer: str | Callable[[str], list[str]] | None, language: str = "en"
) -> Callable[[str], list[str]]:
    """The tokenizer of that name, torchtext's: None splits at white space, "basic_english" also lowers case and makes
    tokens of punctuation; a function is itself. Raises ValueError for another name or another language."""
    if callable(tokenizer):
        return tokenizer
    if tokenizer is None:
        return str.split
    if tokenizer != "basic_english" or language != "en":
        raise ValueError(f"there is no tokenizer {tokenizer} for {language}; there are: basic_english for en, None")
    return lambda text: _LINE_BREAK.sub(" ", text.lower()).translate(_MARKS).split()
