"""Where the workers of a model are forked: in the server's own environment, or in one with its requirements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archiver.environments import environments_root
from archiver.errors import DamagedArchive, ServeFailed
from archiver.manifest import Manifest
from archiver.store import Unpacked
from runner.pool.environments import Environment, Environments, Requirements
from runner.pool.scratch import Scratch
from runner.pool.spawner import Platform, Spawner, TemplateBroken

_HOW = "`archive serve --install-requirements` (config.properties: install_py_dep_per_model=true)"


@dataclass(frozen=True, slots=True)
class Home:
    """`spawner`: its template forks the workers; `environment`: where that runs, None for the server's own; `model`:
    whose it is then."""

    spawner: Spawner
    environment: Environment | None = None
    model: str = ""

    async def platform(self) -> Platform:
        """What the template found. Raises ServeFailed where it cannot start."""
        try:
            return await self.spawner.platform()
        except TemplateBroken as error:
            if self.environment is None:
                hint = "pip install 'torch-archive[serve]'"
                raise ServeFailed(f"the worker template cannot start: {error}", hint=hint) from error
            packages = ", ".join(self.environment.installed)
            message = f"the worker template cannot start with what it requires ({packages}): {error}"
            raise ServeFailed(message, where=f"model `{self.model}`") from error

    async def close(self) -> None:
        """The workers have ended. The server's own template goes on for other models."""
        if self.environment is not None:
            await self.spawner.close()
            self.environment.lease.release()


class Homes:
    """One server's. `spawner`: of its own environment; `variables`: the environment variables of templates;
    `installing`: those of installers, None where the operator does not let archives install what they require;
    `scratch`: where workers have temporary folders."""

    def __init__(
        self,
        spawner: Spawner,
        variables: Mapping[str, str],
        *,
        installing: Mapping[str, str] | None,
        scratch: Scratch | None = None,
    ) -> None:
        self._own = Home(spawner)
        self._variables = variables
        self._scratch = scratch
        self._environments = None if installing is None else Environments(environments_root(), installing)

    async def of(self, model: str, unpacked: Unpacked, preload: Sequence[str]) -> Home:
        """The model's: with its requirements, where it has some and they may be installed.

        Raises RequirementsFailed, DamagedArchive where the file is not there, and ServeFailed.
        """
        wanted = unpacked.manifest.requirements_file
        if wanted is None or self._environments is None:
            return self._own
        file = unpacked.model_dir / wanted
        if not file.is_file():
            message = f"its manifest names the requirements file `{wanted}`, which is not there"
            raise DamagedArchive(message, where=model)
        asked = Requirements(model, file, unpacked.model_dir, unpacked.digest)
        environment = await self._environments.of(asked)
        variables = environment.variables(self._variables)
        spawner = Spawner(preload, variables, environment.python, scratch=self._scratch)
        spawner.start()
        return Home(spawner, environment, model)

    def stop(self) -> None:
        """The server stops: give up what is being installed."""
        if self._environments is not None:
            self._environments.stop()

    def not_applied(self, manifest: Manifest, *, use_venv: bool) -> list[str]:
        """What is asked for and not installed, in words."""
        file = manifest.requirements_file
        if file is None:
            return ["useVenv has no effect: the archive has no requirements file"] if use_venv else []
        if self._environments is not None:
            return []
        return [f"{file} is not installed: {_HOW} lets archives install what they require"]
