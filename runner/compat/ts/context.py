"""ts.context: the same Context as ours."""

from runner.handlers.context import Context, RequestProcessor

__all__ = ["Context", "RequestProcessor"]
