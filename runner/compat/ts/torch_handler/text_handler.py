"""ts.torch_handler.text_handler: a vocabulary, and the cleaning steps that text models were trained with."""

from __future__ import annotations

import pickle
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from ts.handler_utils.text_utils import get_tokenizer  # type: ignore[import-not-found,unused-ignore]  # by the hook
from ts.torch_handler.base_handler import BaseHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook

from runner.handlers import insights
from runner.handlers.errors import CannotLoad

#: Contractions that no rule gives, and the rules for the rest, in order.
_CONTRACTIONS = (
    (r"\bwon't\b", "will not"),
    (r"\bshan't\b", "shall not"),
    (r"\bcan't\b", "cannot"),
    (r"\bain't\b", "is not"),
    (r"\blet's\b", "let us"),
    (r"\by'all\b", "you all"),
    (r"\bma'am\b", "madam"),
    (r"\bo'clock\b", "of the clock"),
    (r"(?<=\w)n't\b", " not"),
    (r"(?<=\w)'re\b", " are"),
    (r"(?<=\w)'ve\b", " have"),
    (r"(?<=\w)'ll\b", " will"),
    (r"(?<=\w)'d\b", " would"),
    (r"\bi'm\b", "i am"),
    (r"\b(he|she|it|that|there|here|how|what|when|where|who|why|so)'s\b", r"\1 is"),
)
_TAGS = re.compile(r"<[^>]*>")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextHandler(BaseHandler):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """Reads `source_vocab.pt` (or the manifest's `sourceVocab`) into `source_vocab`: token → number."""

    def __init__(self) -> None:
        super().__init__()
        self.source_vocab: Any = None
        self.tokenizer = get_tokenizer("basic_english")
        self.input_text: Any = None

    def initialize(self, context: Any) -> None:
        """As BaseHandler's, and the vocabulary. Raises CannotLoad when it is missing or needs --trust."""
        super().initialize(context)
        self.initialized = False
        self.source_vocab = _vocabulary(Path(self.get_source_vocab_path(context)))
        self.initialized = True

    def get_source_vocab_path(self, ctx: Any) -> str:
        """Where the vocabulary lies. Raises CannotLoad when it is missing."""
        named = self.manifest["model"].get("sourceVocab") or "source_vocab.pt"
        file = Path(ctx.system_properties["model_dir"]) / named
        if not file.is_file():
            raise CannotLoad(f"the vocabulary {named} is not in the archive: add it with --extra-files")
        return str(file)

    @cached_property
    def lig(self) -> Any:
        """captum's LayerIntegratedGradients at the model's bag of tokens. Raises PredictionException (501) without
        captum, or without such a layer."""
        return insights.captum_attr().LayerIntegratedGradients(self.model, insights.bag_of(self.model))

    def get_word_token(self, input_tokens: Iterable[str]) -> list[str]:
        """The tokens as words: without the mark that byte pair encodings put for a space."""
        return [token.replace("\u0120", "") for token in input_tokens]

    def summarize_attributions(self, attributions: torch.Tensor) -> torch.Tensor:
        """Attributions of every value of an embedding → one per token, as a vector of length 1."""
        return torch.nn.functional.normalize(attributions.sum(dim=-1), dim=0)

    def _remove_html_tags(self, text: str) -> str:
        return _TAGS.sub("", text)

    def _expand_contractions(self, text: str) -> str:
        for pattern, replacement in _CONTRACTIONS:
            text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)
        return text

    def _remove_accented_characters(self, text: str) -> str:
        return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()

    def _remove_punctuation(self, text: str) -> str:
        return text.translate(_NO_PUNCTUATION)

    def _remove_puncutation(self, text: str) -> str:
        # TorchServe's first spelling, which subclasses still call.
        return self._remove_punctuation(text)

    def _tokenize(self, text: str) -> list[str]:
        return list(self.tokenizer(text))


def _vocabulary(file: Path) -> Any:
    try:
        # TORCH_FORCE_WEIGHTS_ONLY_LOAD overrules this in a worker that was not told to trust its archive.
        vocabulary = torch.load(file, map_location="cpu", weights_only=False)
    except pickle.UnpicklingError as error:
        raise CannotLoad(
            f"{file.name} is a pickled object that torch's weights_only loading refuses; save a plain mapping of "
            f"tokens to numbers instead, torch.save(dict(vocab.get_stoi()), '{file.name}'), or serve with --trust"
        ) from error
    for name in ("get_stoi", "stoi"):
        if hasattr(vocabulary, name):
            found = getattr(vocabulary, name)
            return found() if callable(found) else found
    if isinstance(vocabulary, list | tuple):
        return {token: number for number, token in enumerate(vocabulary)}
    if not isinstance(vocabulary, Mapping):
        raise CannotLoad(f"{file.name} holds a {type(vocabulary).__name__}, not a mapping of tokens to numbers")
    return vocabulary
