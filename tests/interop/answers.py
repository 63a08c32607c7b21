"""What a server answers, without what belongs to one answer, and which headers of two answers differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

OF_ONE_ANSWER = {"content-length", "connection", "date", "transfer-encoding"}
#: Headers of every answer there and none here, and the other way round; also in docs/torchserve.md.
NOT_SENT = {"pragma": "no-cache", "cache-control": "answers of a POST are not kept", "expires": "the same"}
NOT_SENT |= {"ts_stream_next": "chunks say it themselves"}
ADDED = {"retry-after": "when to try again after a 503", "allow": "what a 405 would take"}


def asked(base: str, method: str, path: str, request: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers, without values that belong to one answer or to the connection."""
    answer = httpx.request(method, f"{base}{path}", timeout=60, **request)
    headers = {name: value for name, value in answer.headers.items() if name not in OF_ONE_ANSWER}
    if "x-request-id" in headers:
        headers["x-request-id"] = "its own"
    try:
        return answer.status_code, answer.json(), headers
    except ValueError:
        return answer.status_code, answer.text, headers


def differing(theirs: dict[str, str], ours: dict[str, str], path: str) -> Iterator[str]:
    """Headers that are not as TorchServe's, but for those that are different everywhere."""
    for name in sorted({*theirs, *ours} - set(NOT_SENT) - set(ADDED)):
        there, here = theirs.get(name), ours.get(name)
        if name == "x-request-id" and there is None:
            continue  # an answer that it gives before it has read the request
        if name == "content-type" and (there is None or path.startswith("/wfpredict")):
            continue
        if there is None or here is None or there.partition(";")[0] != here.partition(";")[0]:
            yield f"{name} is {there!r} there, {here!r} here"
