"""Heavy or conflicting tools, each run in a worker process: never in the process of the command line."""

from edgeship.toolchain.worker import WorkerLimits, WorkerResult, run_worker

__all__ = ["WorkerLimits", "WorkerResult", "run_worker"]
