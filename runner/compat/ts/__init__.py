"""The names that handlers written for TorchServe import. Resolved by `runner.compat.hook`, inside workers only."""

from ts.version import __version__  # type: ignore[import-not-found,unused-ignore]  # by the hook

__all__ = ["__version__"]
