"""The user's own metric, `package.module:callable`, called in a worker process: it may import anything."""

from __future__ import annotations

from typing import Any

from edgeship.errors import EdgeshipError, InputError
from edgeship.progress import Progress
from edgeship.score.metrics import is_own
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import Goals

OWN_METRIC = "edgeship.score.worker:own_metric"
OWN_FOUND = "edgeship.score.worker:own_metric_found"


def check_own(goals: Goals, progress: Progress, limits: WorkerLimits | None = None) -> None:
    """Raise InputError where a metric of the user's own is not there, or could not be held to a limit.

    `metric-own-not-found`, `metric-own-failed`; `metric-own-direction` where a drop is limited and the callable has
    no `higher_is_better`: a guess that is wrong would let exactly the bad variants through.
    """
    if not is_own(goals.metric):
        return
    found = _call(OWN_FOUND, goals, {}, limits or WorkerLimits(), progress)
    if goals.max_drop is not None and found["higher_is_better"] is None:
        function = goals.metric.partition(":")[2]
        raise InputError(
            "metric-own-direction",
            f"a drop of {goals.max_drop:g} % at most was asked for, and {goals.metric} does not say "
            "whether higher is better",
            context={"key": "goals.accuracy.metric (--metric)", "wanted": f"{function}.higher_is_better"},
            hint=direction_line(goals.metric),
        )


def call_own(
    goals: Goals, payload: dict[str, Any], limits: WorkerLimits, progress: Progress
) -> dict[str, Any]:
    """Return `{"values", "higher_is_better"}` of the metric on `payload` (`labels`, `outputs`: paths)."""
    return _call(OWN_METRIC, goals, payload, limits, progress)


def direction_line(metric: str) -> str:
    """Return what to write where a metric does not say which way is better."""
    module, _, function = metric.partition(":")
    return f"add to {module}.py:  {function}.higher_is_better = False   (True where larger values are better)"


def _call(
    worker: str, goals: Goals, payload: dict[str, Any], limits: WorkerLimits, progress: Progress
) -> dict[str, Any]:
    """Return what the worker says; a metric that takes its process down is to blame itself."""
    name, folder = goals.metric, goals.metric_folder
    given = {**payload, "metric": name, "folder": str(folder) if folder else None}
    try:
        return dict(run_worker(worker, given, limits=limits, progress=progress).value)
    except InputError:
        raise
    except EdgeshipError as error:
        raise InputError(
            "metric-own-failed",
            f"{name} did not come back: {error.message.removeprefix(worker).strip()}",
            context=error.context,
            hint="call it alone on small arrays: callable(outputs, labels) returns one number",
        ) from None
