"""Names, versions, and which version answers when none is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from runner.pool.deployment import Deployment


class UnknownModel(KeyError):
    """No model of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class UnknownVersion(KeyError):
    """The model exists, the version does not."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(name, version)
        self.name = name
        self.version = version


class DuplicateVersion(ValueError):
    """That version of the model is there already."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(name, version)
        self.name = name
        self.version = version


class DefaultVersion(ValueError):
    """The default version cannot go while others stay."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Registry:
    """All models. The first registered version of a name is its default until another is set, as in TorchServe.

    `complete`: what the server starts with is there, so that who is missing is missing.
    """

    def __init__(self) -> None:
        self.complete = True
        self._models: dict[str, dict[str, Deployment]] = {}

    def add(self, deployment: Deployment) -> None:
        """Register; raises DuplicateVersion."""
        model = deployment.model
        versions = self._models.setdefault(model.name, {})
        if model.version in versions:
            raise DuplicateVersion(model.name, model.version)
        versions[model.version] = deployment

    def has(self, name: str, version: str) -> bool:
        """Whether that version is there."""
        return version in self._models.get(name, {})

    def get(self, name: str, version: str | None = None) -> Deployment:
        """The model version, or the default one. Raises UnknownModel or UnknownVersion."""
        versions = self._models.get(name)
        if versions is None:
            raise UnknownModel(name)
        if version is None:
            return next(iter(versions.values()))
        deployment = versions.get(version)
        if deployment is None:
            raise UnknownVersion(name, version)
        return deployment

    def set_default(self, name: str, version: str) -> None:
        """Make that version the default. Raises UnknownModel or UnknownVersion."""
        chosen = self.get(name, version)
        others = self._models[name]
        self._models[name] = {version: chosen, **others}

    def remove(self, name: str, version: str | None = None) -> Deployment:
        """Take out a version, or the default one. Raises UnknownModel, UnknownVersion or DefaultVersion."""
        deployment = self.get(name, version)
        versions = self._models[name]
        if len(versions) > 1 and deployment is self.get(name):
            raise DefaultVersion(name)
        del versions[deployment.model.version]
        if not versions:
            del self._models[name]
        return deployment

    def versions(self, name: str) -> list[Deployment]:
        """All versions of a name, the default first. Raises UnknownModel."""
        self.get(name)
        return list(self._models[name].values())

    def defaults(self) -> list[Deployment]:
        """Each name's default version, sorted by name."""
        return [self.get(name) for name in sorted(self._models)]

    def __iter__(self) -> Iterator[Deployment]:
        for versions in self._models.values():
            yield from versions.values()
