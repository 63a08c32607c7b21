"""Workflows while they are served: the models behind their nodes, and a request's way through them."""
