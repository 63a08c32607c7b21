"""Context: what a handler knows about its model and about the requests in the batch. TorchServe's contract.

Everything about requests is lazy: headers are unpacked and request ids collected only when a handler asks,
because most never do and a small model answers tens of thousands of rows a second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from runner import wire
from runner.handlers.metrics import Metrics


class Headers(dict[str, Any]):
    """Request headers as they arrived; looked up in any case (HTTP's rule; TorchServe's lookup is exact)."""

    def __missing__(self, key: str) -> Any:
        folded = key.lower()
        for name, value in self.items():
            if name.lower() == folded:
                return value
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, self) is not self

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default


class RequestProcessor:
    """One row's request headers, and the status and headers that the handler wants in its answer."""

    __slots__ = ("_code", "_phrase", "_request", "_response", "_row")

    def __init__(self, request_header: Mapping[str, Any] | None = None, row: wire.Row | None = None) -> None:
        self._request = None if request_header is None else Headers(request_header)
        self._row = row
        self._code = 200
        self._phrase: str | None = None
        self._response: dict[str, str] = {}

    def get_request_properties(self) -> Headers:
        """All headers of the request, and per form field an entry `{field: {"content-type": …}}`."""
        if self._request is None:
            self._request = Headers() if self._row is None else _headers_of(self._row)
        return self._request

    def get_request_property(self, key: str) -> Any:
        """One header, None when it was not sent."""
        return self.get_request_properties().get(key)

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """The HTTP status of this row's answer."""
        self._code = code
        self._phrase = reason_phrase

    def get_response_status_code(self) -> int:
        return self._code

    def get_response_status_phrase(self) -> str | None:
        return self._phrase

    def add_response_property(self, key: str, value: str) -> None:
        """A header of this row's answer."""
        self._response[key] = value

    def get_response_headers(self) -> dict[str, str]:
        return self._response

    def get_response_header(self, key: str) -> str | None:
        return self._response.get(key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestProcessor) and self._told() == other._told()

    __hash__ = None  # type: ignore[assignment]  # it changes while a handler works

    def _told(self) -> tuple[object, ...]:
        return (self.get_request_properties(), self._code, self._phrase, self._response)


#: What TorchServe's front end says of every request: what follows the version in its path, and what is asked.
_ALWAYS = {"url_path": "", "explain": "False"}


def _headers_of(row: wire.Row) -> Headers:
    headers = Headers(_ALWAYS)
    headers.update((name, {"content-type": content_type}) for name, content_type, _ in row.params)
    headers.update(wire.unpack_headers(row.headers) if row.headers else {})
    return headers


class Context:
    """TorchServe's context, argument for argument, and a few things of ours.

    `device`: the torch device this worker serves on, e.g. "cuda:0"; `seconds`: how long the stages of the
    current batch took, filled by handlers that know; `weights`: how the model's weights came in; `outlet`: where
    the current batch's pieces go (see runner.handlers.streaming), None outside a batch.
    A handler may set attributes of its own (`context.cache = {}`): the object lives as long as the worker.
    """

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any],
        batch_size: int,
        gpu: int | None,
        mms_version: str,
        limit_max_image_pixels: bool = True,
        metrics: Any = None,
        model_yaml_config: dict[str, Any] | None = None,
        device: str | None = None,
    ) -> None:
        self.model_name = model_name
        self.model_dir = model_dir
        self.manifest = manifest
        self.system_properties: dict[str, Any] = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",  # what TorchServe has always said; handlers may compare it
            "server_version": mms_version,
            "limit_max_image_pixels": limit_max_image_pixels,
        }
        self.metrics: Any = Metrics(model_name) if metrics is None else metrics
        self.model_yaml_config: dict[str, Any] = {} if model_yaml_config is None else model_yaml_config
        self.device = device or ("cpu" if gpu is None else f"cuda:{gpu}")
        self.seconds: dict[str, float] = {}
        self.weights: dict[str, Any] | None = None
        self.stopping_criteria: Any = None
        self.outlet: Any = None
        self.cl_socket: Any = None
        self.header_key_sequence_id = os.getenv("TS_REQUEST_SEQUENCE_ID", "ts_request_sequence_id")
        self.header_key_sequence_start = os.getenv("TS_REQUEST_SEQUENCE_START", "ts_request_sequence_start")
        self.header_key_sequence_end = os.getenv("TS_REQUEST_SEQUENCE_END", "ts_request_sequence_end")
        self._rows: Sequence[wire.Row] = ()
        self._request_ids: dict[int, str] | None = None
        self._request_processor: list[RequestProcessor] | None = None

    def begin(self, rows: Sequence[wire.Row], outlet: Any = None) -> None:
        """These rows are the batch now; whatever was known about the one before is forgotten."""
        self._rows = rows
        self.outlet = outlet
        self._request_ids = None
        self._request_processor = None
        self.seconds = {}

    @property
    def touched(self) -> list[RequestProcessor] | None:
        """The rows' processors if the handler asked for any, else None: then no answer carries its wishes."""
        return self._request_processor

    @property
    def request_ids(self) -> dict[int, str] | None:
        """Row number → request id; None outside a batch."""
        if self._request_ids is None and self._rows:
            self._request_ids = {number: row.id for number, row in enumerate(self._rows)}
        return self._request_ids

    @request_ids.setter
    def request_ids(self, value: dict[int, str] | None) -> None:
        self._request_ids = value

    @property
    def request_processor(self) -> list[RequestProcessor]:
        if self._request_processor is None:
            self._request_processor = [RequestProcessor(row=row) for row in self._rows]
        return self._request_processor

    @request_processor.setter
    def request_processor(self, value: list[RequestProcessor]) -> None:
        self._request_processor = value

    def get_request_id(self, idx: int = 0) -> str | None:
        """The X-Request-Id of row `idx`."""
        return (self.request_ids or {}).get(idx)

    def get_request_header(self, idx: int, key: str) -> Any:
        """One header of row `idx`, in any case; None when it was not sent."""
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        """All headers of row `idx`."""
        return self.request_processor[idx].get_request_properties()

    def set_response_content_type(self, idx: int, value: str) -> None:
        """The content type of row `idx`'s answer, instead of the one that follows from its value."""
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: int) -> str | None:
        return self.get_response_headers(idx).get("content-type")

    def get_response_status(self, idx: int) -> tuple[int, str | None]:
        """Status code and phrase that row `idx` will be answered with."""
        processor = self.request_processor[idx]
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """The HTTP status of row `idx`'s answer."""
        self.request_processor[idx].report_status(code, phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """The HTTP status of every row's answer."""
        for processor in self.request_processor:
            processor.report_status(code, phrase)

    def get_response_headers(self, idx: int) -> dict[str, str]:
        return self.request_processor[idx].get_response_headers()

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """A header of row `idx`'s answer."""
        self.request_processor[idx].add_response_property(key, value)

    def get_sequence_id(self, idx: int) -> Any:
        """The session that row `idx` belongs to, from its header; None without one."""
        return self.get_request_header(idx, self.header_key_sequence_id)

    def __eq__(self, other: object) -> bool:
        """Whether another context says the same of its model and of the requests in the batch."""
        return isinstance(other, Context) and self._told() == other._told()

    __hash__ = None  # type: ignore[assignment]  # its attributes are the handler's to change

    def _told(self) -> dict[str, Any]:
        told = {name: value for name, value in vars(self).items() if name != "metrics" and not name.startswith("_")}
        return {**told, "request_ids": self.request_ids, "request_processor": self.request_processor}
