"""The names that handlers written for TorchServe import. Resolved by `runner.compat.hook`, inside workers only."""
