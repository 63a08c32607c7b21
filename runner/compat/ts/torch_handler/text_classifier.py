"""ts.torch_handler.text_classifier: the probability of every class, for models that begin with an EmbeddingBag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from ts.handler_utils.text_utils import ngrams_iterator  # type: ignore[import-not-found,unused-ignore]  # by the hook
from ts.torch_handler.text_handler import TextHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook

from runner.handlers import insights
from runner.handlers.errors import BadRequest
from runner.handlers.labels import map_class_to_label
from runner.handlers.timing import timed


class TextClassifier(TextHandler):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """The model is called with the numbers of all rows' tokens and n-grams in one tensor, and the place where
    each row starts: `model(text, offsets)`. A token that the vocabulary lacks counts as `<unk>`, or as nothing."""

    ngrams = 2

    @timed
    def preprocess(self, data: Any) -> Any:
        """Token numbers and offsets of the whole batch. Raises BadRequest for a row without text."""
        rows = [[number for number, _ in self._numbers(self._words(_text_of(row)))] for row in data]
        offsets = [0]
        for row in rows[:-1]:
            offsets.append(offsets[-1] + len(row))
        numbers = [number for row in rows for number in row]
        return (
            torch.tensor(numbers, dtype=torch.int64, device=self.device),
            torch.tensor(offsets, dtype=torch.int64, device=self.device),
        )

    def _words(self, text: str) -> list[str]:
        text = self._expand_contractions(self._remove_html_tags(text).lower())
        words: list[str] = self._tokenize(self._remove_punctuation(self._remove_accented_characters(text)))
        return words

    def _numbers(self, words: Sequence[str]) -> list[tuple[int, range]]:
        """The number of every n-gram that counts, and the places of its words."""
        unknown = self.source_vocab.get("<unk>")
        places = (
            range(start, start + length)
            for length in range(1, self.ngrams + 1)
            for start in range(len(words) - length + 1)
        )
        found = (self.source_vocab.get(token, unknown) for token in ngrams_iterator(words, self.ngrams))
        return [(number, place) for number, place in zip(found, places, strict=True) if number is not None]

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Logits, batch × classes."""
        numbers, offsets = data
        return super().inference(numbers, offsets, *args, **kwargs)

    @timed
    def postprocess(self, data: Any) -> Any:
        """One mapping of classes to probabilities per row."""
        return map_class_to_label(functional.softmax(data.float(), dim=1).tolist(), self.mapping)

    def get_insights(self, tensor_data: Any, raw_data: Any, target: Any = 0) -> Any:
        """One row's words, and how much each speaks for class `target`, as a vector of length 1. An n-gram's part
        goes to its words alike. Raises PredictionException: 501 without captum, or a model without such a bag."""
        numbers, offsets = tensor_data
        words = self._words(_text_of(raw_data))
        per_ngram = insights.token_attributions(self.model, numbers, offsets, target)
        per_word = per_ngram.new_zeros(len(words), per_ngram.shape[-1])
        for attribution, (_, places) in zip(per_ngram, self._numbers(words), strict=True):
            per_word[list(places)] += attribution / len(places)
        importances = self.summarize_attributions(per_word).tolist()
        return [{"importances": importances, "words": self.get_word_token(words)}]


def _text_of(row: Any) -> str:
    value = (row.get("data") or row.get("body")) if isinstance(row, dict) else row
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise BadRequest(f"the input must be text, not {type(value).__name__}")
    return value
