"""Build, check, open and compare model archives. Imports no torch and no server."""

__version__ = "0.1.0"
