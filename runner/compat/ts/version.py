"""ts.version"""

__all__ = ["__version__"]

#: The TorchServe whose contract these names follow.
__version__ = "0.12.0"
