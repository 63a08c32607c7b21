"""What a server starts with: each archive becomes a model or a workflow that answers, or the reason why there is no
server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from archiver.archive import Archive
from archiver.errors import ArchiveError, ServeFailed
from archiver.store import Gate
from archiver.workflow.naming import is_workflow
from runner.deploying import Deployer
from runner.pool.control import Order
from runner.pool.deployment import Deployment
from runner.pool.registry import DuplicateVersion, Registry
from runner.pool.supervisor import LoadError
from runner.settings import declared, preloads
from runner.workflow.workflows import DuplicateWorkflow, NodesFailed, Workflows


def wanted_modules(archives: Sequence[Order], gate: Gate | None, *, installs: bool) -> list[str]:
    """What the archives want imported in the server's template; those with an environment have their own.
    Nothing is for one that is refused."""
    wanted = []
    for order in archives:
        with Archive.open(order.path) as archive:
            if gate is not None:
                gate(archive)
            if not (installs and archive.manifest.requirements_file):
                wanted.append(declared(archive.config_text(), f"{order.path}", lenient=True))
    return preloads(wanted)


async def deploy_all(orders: Sequence[Order], deployer: Deployer, registry: Registry, workflows: Workflows) -> None:
    """Models and workflows beside each other. Raises ArchiveError."""
    models = (_deploy(order, deployer, registry) for order in orders if not is_workflow(order.path))
    flows = (_deploy_workflow(order, workflows) for order in orders if is_workflow(order.path))
    await asyncio.gather(*models, *flows)


async def _deploy(order: Order, deployer: Deployer, registry: Registry) -> None:
    deployment = await deployer.prepare(order, at_startup=True)
    if order.workers is not None:
        deployment.start_with(order.workers)
    try:
        registry.add(deployment)
    except DuplicateVersion as error:
        await deployment.supervisor.stop()
        raise ServeFailed(
            f"two archives hold model `{error.name}` version {error.version}",
            hint="give one another name: `archive serve a.mar other=b.mar`",
        ) from error
    try:
        await deployment.supervisor.start()
    except LoadError as error:
        raise _load_failed(deployment, error) from error
    deployment.log_report()


async def _deploy_workflow(order: Order, workflows: Workflows) -> None:
    try:
        await workflows.register(order.path, order.name, order.url)
    except NodesFailed as error:
        hint = "models of workflows are looked for in the folder of --model-store DIR"
        raise ServeFailed(str(error), hint=hint) from error
    except DuplicateWorkflow as error:
        raise ServeFailed(f"two archives hold the workflow `{error.name}`") from error


def _load_failed(deployment: Deployment, error: LoadError) -> ArchiveError:
    failure = error.failure
    hint = f"`archive run {deployment.path} --input FILE` loads it in one process, for a debugger"
    if failure.kind == "TooLittleMemory":
        hint = "--worker-memory 2GB"
    elif failure.kind == "UntrustedPickle":
        hint = "if you trust whoever made this archive: `archive serve --trust …`"
    elif failure.kind == "ModuleNotFoundError" and deployment.lacks is not None:
        hint = f"`archive serve --install-requirements …` installs what its {deployment.lacks} names"
    elif failure.out_of_memory and deployment.memory_limit:
        hint = f"--worker-memory leaves it {deployment.memory_limit / 1e9:g} GB; a larger limit, or none"
    trace = "".join(f"\n  {line}" for line in failure.trace)
    return ServeFailed(
        f"model `{deployment.model.name}` failed to load: {failure.kind}: {failure.message}{trace}",
        hint=hint,
    )
