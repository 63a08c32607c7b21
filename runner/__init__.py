"""Load an archive, optimise its model and serve it. torch is imported in worker processes only."""
