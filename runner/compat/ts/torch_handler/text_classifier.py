"""ts.torch_handler.text_classifier: the probability of every class, for models that begin with an EmbeddingBag."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from ts.handler_utils.text_utils import ngrams_iterator  # type: ignore[import-not-found,unused-ignore]  # by the hook
from ts.torch_handler.text_handler import TextHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook

from runner.handlers.errors import BadRequest
from runner.handlers.labels import map_class_to_label


class TextClassifier(TextHandler):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """The model is called with the numbers of all rows' tokens and n-grams in one tensor, and the place where
    each row starts: `model(text, offsets)`. A token that the vocabulary lacks counts as `<unk>`, or as nothing."""

    ngrams = 2

    def preprocess(self, data: Any) -> Any:
        """Token numbers and offsets of the whole batch. Raises BadRequest for a row without text."""
        rows = [self._numbers(_text_of(row)) for row in data]
        offsets = [0]
        for row in rows[:-1]:
            offsets.append(offsets[-1] + len(row))
        numbers = [number for row in rows for number in row]
        return (
            torch.tensor(numbers, dtype=torch.int64, device=self.device),
            torch.tensor(offsets, dtype=torch.int64, device=self.device),
        )

    def _numbers(self, text: str) -> list[int]:
        text = self._expand_contractions(self._remove_html_tags(text).lower())
        tokens = self._tokenize(self._remove_punctuation(self._remove_accented_characters(text)))
        unknown = self.source_vocab.get("<unk>")
        found = (self.source_vocab.get(token, unknown) for token in ngrams_iterator(tokens, self.ngrams))
        return [number for number in found if number is not None]

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Logits, batch × classes."""
        numbers, offsets = data
        return super().inference(numbers, offsets, *args, **kwargs)

    def postprocess(self, data: Any) -> Any:
        """One mapping of classes to probabilities per row."""
        return map_class_to_label(functional.softmax(data.float(), dim=1).tolist(), self.mapping)


def _text_of(row: Any) -> str:
    value = (row.get("data") or row.get("body")) if isinstance(row, dict) else row
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise BadRequest(f"the input must be text, not {type(value).__name__}")
    return value
