"""/ping as TorchServe answers it, /livez and /readyz for who schedules us."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runner.pool.registry import Registry


class Health:
    """`draining` is set once the server has been told to stop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.started = False
        self.draining = False

    def routes(self) -> list[Route]:
        return [Route("/ping", self.ping), Route("/livez", self.livez), Route("/readyz", self.readyz)]

    @property
    def is_healthy(self) -> bool:
        """Whether every default version has a READY worker. Loading or crashing ones do not count."""
        return all(deployment.can_answer for deployment in self._registry.defaults())

    @property
    def is_ready(self) -> bool:
        """Whether every model can answer now, and we are not stopping."""
        return self.started and not self.draining and all(d.can_answer for d in self._registry)

    async def ping(self, _: Request) -> Response:
        status = "Healthy" if self.is_healthy else "Unhealthy"
        return JSONResponse({"status": status}, status_code=200 if self.is_healthy else 500)

    async def livez(self, _: Request) -> Response:
        """The event loop turns."""
        return JSONResponse({"live": True})

    async def readyz(self, _: Request) -> Response:
        models = {f"{d.model.name}/{d.model.version}": d.model.state.value for d in self._registry}
        ready = self.is_ready
        body = {"ready": ready, "draining": self.draining, "models": models}
        return JSONResponse(body, status_code=200 if ready else 503)
