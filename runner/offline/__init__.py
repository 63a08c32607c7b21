"""A model loaded and measured away from any server: what `archive create --precompile` and `archive optimize` do."""
