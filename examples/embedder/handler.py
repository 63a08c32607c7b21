"""Text in, 384 floats out; the tokeniser pads each batch to its longest text."""

from typing import Any

from transformers import AutoTokenizer, BatchEncoding

from runner.handlers import BadRequest, Context, Handler

LONGEST = 256  # tokens, as the model was trained; longer texts are cut


class TextEmbedder(Handler):
    def initialize(self, context: Context) -> None:
        super().initialize(context)
        self.tokenizer = AutoTokenizer.from_pretrained(context.model_dir, local_files_only=True)

    def preprocess(self, payload: Any) -> str:
        text = payload.get("text") if isinstance(payload, dict) else payload
        if not isinstance(text, str) or not text.strip():
            raise BadRequest('expected text, or {"text": "…"}')
        return text

    def collate(self, items: list[str]) -> BatchEncoding:
        """The model's arguments by name: input_ids and attention_mask."""
        options = {"padding": True, "truncation": True, "max_length": LONGEST, "return_tensors": "pt"}
        return self.tokenizer(items, return_token_type_ids=False, **options).to(self.device)
