"""ts.protocol.otf_message_handler: what handlers use of it."""

from __future__ import annotations

from runner.handlers.streaming import send_intermediate_predict_response

__all__ = ["send_intermediate_predict_response"]
