"""/wfpredict/{workflow}: one request through all nodes of a workflow.

The route is TorchServe's. The answer of a node that fails is the workflow's, with its own status; TorchServe makes it
a 500 whose message is what follows the last colon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from starlette.routing import Route

from archiver.workflow.spec import Node
from runner import wire
from runner.frontend.bodies import ClientGone, Receive, Scope, Send, send_answer
from runner.frontend.exchange import nobody_leaves
from runner.frontend.predictions import Extra, Predictions
from runner.frontend.problems import Problem, problem
from runner.workflow.execution import Params, execute
from runner.workflow.workflows import UnknownWorkflow, Workflow, Workflows

_JSON = "application/json"
_Found = TypeVar("_Found")


class NodeFailed(Exception):
    """A node's answer is an error; it is the workflow's."""

    def __init__(self, answer: wire.Reply | Problem) -> None:
        super().__init__(answer.status)
        self.answer = answer


class WorkflowPredictions:
    """The route /wfpredict/{workflow}."""

    def __init__(self, workflows: Workflows, predictions: Predictions) -> None:
        self._workflows = workflows
        self._predictions = predictions

    def routes(self) -> list[Route]:
        return [Route("/wfpredict/{workflow}", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._predictions.request_id(dict(scope["headers"]).get(b"x-request-id"))
        try:
            answer = await self._answer(scope["path_params"]["workflow"], scope, receive, request_id)
        except ClientGone:
            return
        self._predictions.count(answer)
        await send_answer(send, answer, request_id)

    async def _answer(self, name: str, scope: Scope, receive: Receive, request_id: bytes) -> wire.Reply | Problem:
        """Raises ClientGone."""
        try:
            workflow = self._workflows.get(name)
        except UnknownWorkflow:
            return problem("workflow", workflow=name)
        row = await self._predictions.row(Extra(), scope, request_id, receive)
        if isinstance(row, Problem):
            return row
        with workflow:
            return await _while_listening(self._through(workflow, row), receive)

    async def _through(self, workflow: Workflow, row: wire.Row) -> wire.Reply | Problem:
        async def ask(node: str, given: Params) -> wire.Reply:
            own = wire.Row(f"{row.id}/{node}", [*given], row.headers)
            return await self._ask(workflow, workflow.spec.nodes[node], own)

        try:
            return _joined(await execute(workflow.spec.graph, row.params, ask))
        except NodeFailed as error:
            return error.answer

    async def _ask(self, workflow: Workflow, node: Node, row: wire.Row) -> wire.Reply:
        """The node's answer; asked again where that may help. Raises NodeFailed."""
        answer = await self._attempt(workflow, node, row)
        for _ in range(node.retries):
            if answer.status < 500:
                break
            answer = await self._attempt(workflow, node, row)
        if isinstance(answer, Problem):
            message = f"Workflow {workflow.name}, node {node.name}: {answer.message}"
            raise NodeFailed(replace(answer, message=message))
        if answer.status >= 400:
            raise NodeFailed(answer)
        return answer

    async def _attempt(self, workflow: Workflow, node: Node, row: wire.Row) -> wire.Reply | Problem:
        target = self._predictions.named(*workflow.models[node.name])
        if isinstance(target, Problem):
            return target
        try:
            with target.model.arriving():
                return await asyncio.wait_for(self._predictions.run(target, row, nobody_leaves), node.timeout)
        except asyncio.TimeoutError:
            milliseconds, attempts = round(node.timeout * 1000), node.retries + 1
            return problem("workflow-timeout", milliseconds=milliseconds, attempts=attempts)


async def _while_listening(work: Coroutine[Any, Any, _Found], receive: Receive) -> _Found:
    """The result of the work, which ends when its client hangs up. Raises ClientGone."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _joined(answers: dict[str, wire.Reply]) -> wire.Reply | Problem:
    """One leaf's answer is the workflow's; several are the values of a JSON object."""
    if len(answers) == 1:
        return next(iter(answers.values()))
    values: dict[str, Any] = {}
    for node, answer in answers.items():
        try:
            text = answer.body.decode()
            values[node] = msgspec.Raw(answer.body) if answer.content_type.startswith(_JSON) else text
        except UnicodeDecodeError:
            return problem("workflow-answers", node=node)
    return wire.Reply(200, "OK", _JSON, [], msgspec.json.encode(values))
