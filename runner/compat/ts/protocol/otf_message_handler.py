"""ts.protocol.otf_message_handler: what handlers use of it."""

from __future__ import annotations

from runner.handlers.streaming import send_intermediate_predict_response

__all__ = ["send_intermediate_predict_response"]

#: TorchServe's frames between its front end and a worker, which are others here.
_FRAMES = ("create_predict_response", "create_load_model_response", "encode_response_headers", "retrieve_msg")


def __getattr__(name: str) -> None:
    if name in _FRAMES:
        raise ImportError(
            f"{__name__}.{name} is not in torch-archive: send_intermediate_predict_response() sends a part of an "
            "answer, and what handle() returns is the rest"
        )
    raise AttributeError(f"module {__name__} has no attribute {name}")
