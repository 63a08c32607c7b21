"""Situation → status, type, message, headers: one table. Raise-sites name a situation, nothing else.

Codes and types are TorchServe's where it has one (reference: its `management_api.md` and `inference_api.md`);
where it uses one text for two causes ("no worker" and "queue full"), each has its own here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from runner.scheduling.job import Cause, Failure


@dataclass(frozen=True, slots=True)
class Problem:
    """An error answer: `{"code", "type", "message"}` with a status and perhaps headers."""

    status: int
    type: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        return json.dumps({"code": self.status, "type": self.type, "message": self.message}).encode()


@dataclass(frozen=True, slots=True)
class _Row:
    status: int
    type: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


TABLE: dict[str, _Row] = {
    "not-found": _Row(
        404, "ResourceNotFoundException", "Requested resource is not found, please refer to API document."
    ),
    "method": _Row(
        405, "MethodNotAllowedException", "Requested method is not allowed, please refer to API document."
    ),
    "model": _Row(404, "ModelNotFoundException", "Model not found: {model}"),
    "version": _Row(
        404, "ModelVersionNotFoundException", "Model version: {version} does not exist for model: {model}"
    ),
    "node": _Row(409, "ConflictStatusException", "{reason}"),
    "workflow": _Row(404, "WorkflowNotFoundException", "Workflow not found: {workflow}"),
    "workflow-archive": _Row(404, "WorkflowNotFoundException", "{reason}"),
    "workflow-spec": _Row(400, "InvalidWorkflowException", "{reason}"),
    "workflow-exists": _Row(409, "ConflictStatusException", "Workflow {workflow} is already registered."),
    "workflow-failed": _Row(500, "WorkflowException", "{reason}"),
    "workflow-timeout": _Row(
        504, "RequestTimeoutException", "No answer within {milliseconds} ms (timeout-ms), asked {attempts} times."
    ),
    "workflow-answers": _Row(
        500, "WorkflowException", "The answer of node {node} is no text, and cannot stand in a JSON object."
    ),
    "archive": _Row(404, "ModelNotFoundException", "{reason}"),
    "archive-exists": _Row(409, "ConflictStatusException", "{reason}"),
    "download": _Row(400, "DownloadArchiveException", "{reason}"),
    "requirements": _Row(400, "ModelException", "{reason}"),
    "untrusted": _Row(403, "ForbiddenException", "{reason}"),
    "default-version": _Row(403, "InvalidModelVersionException", "Cannot remove default version for model {model}"),
    "duplicate-version": _Row(
        409, "ConflictStatusException", "Model version {version} is already registered for model {model}"
    ),
    "load-failed": _Row(
        500, "InternalServerException", "Failed to start workers for model {model} version: {version}: {reason}"
    ),
    "clean-up": _Row(408, "RequestTimeoutException", "Timed out while cleaning resources: {model}"),
    "not-local": _Row(
        403,
        "ForbiddenException",
        "Models are changed only while the server listens on a loopback address or checks tokens.",
    ),
    "token": _Row(
        400,
        "InvalidKeyException",
        "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
    ),
    "api-token": _Row(
        400,
        "InvalidKeyException",
        "Token Authentication failed. Token either incorrect, expired, or not provided correctly",
    ),
    "server-fault": _Row(500, "InternalServerException", "{reason}"),
    "bad-request": _Row(400, "BadRequestException", "{reason}"),
    "too-large": _Row(
        413,
        "RequestEntityTooLargeException",
        "The body is larger than the limit of {limit} bytes (--max-request-size).",
        (("Connection", "close"),),
    ),
    "large-head": _Row(
        431,
        "RequestHeaderFieldsTooLargeException",
        "The first line and the headers have more than {limit} bytes, or there are more than {count} headers.",
        (("Connection", "close"),),
    ),
    "queue-full": _Row(
        503,
        "QueueFullException",
        'Model "{model}" has {capacity} requests waiting (jobQueueSize); try again.',
        (("Retry-After", "{retry_after}"),),
    ),
    "no-ticket": _Row(
        503,
        "ServiceUnavailableException",
        'Model "{model}" has no idle worker (useJobTicket); try again.',
        (("Retry-After", "{retry_after}"),),
    ),
    "no-sequence": _Row(
        503,
        "ServiceUnavailableException",
        'Model "{model}" has no room: too many sequences (maxNumSequence), requests of this sequence '
        "(maxSequenceJobQueueSize) or requests at all (jobQueueSize); try again.",
        (("Retry-After", "{retry_after}"),),
    ),
    "sequence-lost": _Row(
        503,
        "ServiceUnavailableException",
        "The worker that held the state of this sequence ended; start the sequence anew.",
    ),
    "no-worker": _Row(
        503,
        "ServiceUnavailableException",
        'Model "{model}" has no worker to serve inference request: {reason}',
        (("Retry-After", "10"),),
    ),
    "crowded": _Row(
        503,
        "ServiceUnavailableException",
        "The server has {most} connections, as many as its limit of open files leaves room for; try again.",
        (("Retry-After", "1"),),
    ),
    "no-memory": _Row(
        503,
        "ServiceUnavailableException",
        "The bodies of other requests leave no memory for this one; try again.",
        (("Retry-After", "1"),),
    ),
    "too-slow": _Row(
        408, "RequestTimeoutException", "The {what} of the request took too long to arrive (--{what}-timeout)."
    ),
    "starting": _Row(
        503,
        "ServiceUnavailableException",
        "The server is starting, and model {model} is not there yet.",
        (("Retry-After", "1"),),
    ),
    "stopped": _Row(
        503,
        "ServiceUnavailableException",
        "The server is stopping.",
        (("Retry-After", "1"), ("Connection", "close")),
    ),
    "expired": _Row(
        504, "RequestTimeoutException", "No answer within the request's deadline (clientTimeoutInMills)."
    ),
    "hung": _Row(504, "InternalServerException", "Worker died: no answer within responseTimeout; it was replaced."),
    "killed": _Row(
        500, "InternalServerException", "Worker died: this request ended two workers and is not tried again."
    ),
    "bad-status": _Row(500, "InternalServerException", "The handler set status {status}, which ends no request."),
    "raised": _Row(503, "InternalServerException", "{reason}"),
}

_OF_CAUSE = {
    Cause.KILLED: "killed",
    Cause.HUNG: "hung",
    Cause.EXPIRED: "expired",
    Cause.NO_WORKER: "no-worker",
    Cause.STOPPED: "stopped",
    Cause.LOST: "sequence-lost",
}


def problem(situation: str, **facts: Any) -> Problem:
    """The answer to a situation of the table, its sentence filled with `facts`."""
    row = TABLE[situation]
    headers = {name: value.format(**facts) for name, value in row.headers}
    return Problem(row.status, row.type, row.message.format(**facts), headers)


def of_failure(failure: Failure, model: str, reason: str) -> Problem:
    """The answer to a job that got no reply. `reason`: why there is no worker, for that cause."""
    if failure.cause is Cause.RAISED:
        kind = TABLE["bad-request" if failure.status == 400 else "raised"].type
        return Problem(failure.status, kind, failure.message)
    return problem(_OF_CAUSE[failure.cause], model=model, reason=reason)
