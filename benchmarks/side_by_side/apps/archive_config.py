"""The model-config.yaml of the archive that torch-archive and TorchServe serve."""

from __future__ import annotations

from pathlib import Path

from asked import Asked

HERE = Path(__file__).resolve().parent
CONFIG = Path("model-config.yaml")
#: For either archiver: both take these flags.
FLAGS = [
    *("--model-name", "model", "--version", "1.0", "--export-path", ".", "--force"),
    *("--handler", str(HERE / "archive_handler.py"), "--extra-files", str(HERE / "workloads.py")),
    *("--config-file", str(CONFIG)),
]


def write(asked: Asked) -> None:
    CONFIG.write_text(
        f"minWorkers: {asked.workers}\n"
        f"maxWorkers: {asked.workers}\n"
        f"batchSize: {asked.batch}\n"
        f"maxBatchDelay: {asked.delay_ms}\n"
        "responseTimeout: 120\n"
        "jobQueueSize: 1000\n"
        "handler:\n"
        f"  workload: {asked.workload}\n"
    )
