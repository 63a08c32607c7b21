"""What can go wrong in a handler, and what the client is told about it. Imports nothing of ours.

    BadRequest             the input is wrong: 400 with the text of the exception
    PredictionException    TorchServe's: its own status and text
    CannotLoad             the archive's model or handler cannot be loaded as it is
    anything else          503 "Prediction failed"; 507 when memory ran out or the GPU failed (TorchServe's rules)

`RowFailed` is the value that stands in a batch's result for one row that failed while its neighbours went on.
"""

from __future__ import annotations

from dataclasses import dataclass


class BadRequest(Exception):
    """This row's input cannot be used. The text is the client's answer, with status 400."""


class PredictionException(Exception):
    """An answer with a status of the handler's choice (`ts.utils.util.PredictionException`)."""

    def __init__(self, message: str, error_code: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"


class CannotLoad(Exception):
    """The model or the handler in the archive cannot be loaded; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class RowFailed:
    """The answer to one row that failed: HTTP status, TorchServe's error type and the text for the client."""

    status: int
    type: str
    message: str


_NO_MEMORY = ("out of memory", "can't allocate memory", "Cannot allocate memory")
_STICKY = ("CUDA error", "device-side assert", "illegal memory access", "unspecified launch failure")


def refused(message: str) -> RowFailed:
    """A row whose input is wrong."""
    return RowFailed(400, "BadRequestException", message)


def failed(status: int, message: str) -> RowFailed:
    """A row that could not be answered."""
    return RowFailed(status, "InternalServerException", message)


def answer_to(error: BaseException) -> RowFailed:
    """What a client is told about an exception that a handler raised."""
    if isinstance(error, BadRequest):
        return refused(str(error))
    if isinstance(error, PredictionException):
        return failed(error.error_code, str(error.message))
    if out_of_resources(error):
        return failed(507, "Out of resources")
    return failed(503, "Prediction failed")


def out_of_resources(error: BaseException) -> bool:
    """TorchServe's rule: MemoryError, or any exception that speaks of CUDA; here also other memory."""
    return out_of_memory(error) or "CUDA" in str(error)


def out_of_memory(error: BaseException) -> bool:
    """Python's, a device's, torch's on the CPU, and the system's (ENOMEM)."""
    text = str(error)
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)


def sticks(error: BaseException) -> bool:
    """Whether the process is of no more use: after these errors every later CUDA call fails too.

    Running out of memory is not one of them, even when the driver reports it as a "CUDA error".
    """
    text = str(error)
    return any(mark in text for mark in _STICKY) and "out of memory" not in text
