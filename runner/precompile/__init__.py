"""Compiled code into an archive, before it ships: `archive create --precompile` and `archive optimize`."""
