"""TorchServe's way of starting a server: its config.properties, its snapshots, its command line."""
