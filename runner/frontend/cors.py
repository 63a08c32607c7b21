"""What pages of other origins may do here. Off unless the operator names origins."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp


@dataclass(frozen=True, slots=True)
class Cors:
    """Allowed origins ("*" for any), methods and request headers, as browsers are told them."""

    origins: list[str]
    methods: list[str]
    headers: list[str]

    def around(self, app: ASGIApp) -> ASGIApp:
        """The app behind these rules: preflight requests are answered, answers say who may read them."""
        return CORSMiddleware(
            app, allow_origins=self.origins, allow_methods=self.methods or ["GET"], allow_headers=self.headers
        )
