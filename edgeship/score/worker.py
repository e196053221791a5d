"""The workers that run models: outputs on samples, latency, peak memory, and the user's own metric."""

from __future__ import annotations

import importlib
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.data.batches import batch_of
from edgeship.errors import InputError
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.state import states_of

Array = NDArray[Any]
WARM_UP = 3
LEAST_RUNS = 50
LONGEST_SECONDS = 1.0
SHORTEST_SECONDS = 0.3
"""A run of 50 is over in 2 ms for a small model: keep going this long, so that p95 means something."""


class Model:
    """One `.tflite` in LiteRT's interpreter on one thread, with XNNPACK unless told otherwise, fed in model units,
    answering in real units.
    """

    def __init__(self, path: str, *, xnnpack: bool = True) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kernels = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._load: Callable[[], Any] = lambda: Interpreter(
            model_path=path, num_threads=1, experimental_op_resolver_type=kernels
        )
        self._interpreter = self._load()
        self._interpreter.allocate_tensors()
        self._states = {state.kind for state in states_of(read_tflite(Path(path)))}
        self.inputs: list[dict[str, Any]] = self._interpreter.get_input_details()
        self.outputs: list[dict[str, Any]] = self._interpreter.get_output_details()

    def reset(self) -> None:
        """Bring what the model keeps between runs back to its beginning; nothing for a model that keeps nothing."""
        if "resource" in self._states:  # the interpreter resets variable tensors only
            self._interpreter = self._load()
            self._interpreter.allocate_tensors()
        elif self._states:
            self._interpreter.reset_all_variables()

    def feed(self, blocks: Sequence[Array]) -> None:
        """Set every input from values in model units, a block each: clamp(round_half_even(value / scale) +
        zero_point).
        """
        for entry, block in zip(self.inputs, blocks, strict=True):
            self._interpreter.set_tensor(entry["index"], stored(block.reshape(entry["shape"]), entry))

    def feed_zeros(self) -> None:
        """Set every input to zeros of its own type."""
        for entry in self.inputs:
            self._interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], dtype=entry["dtype"]))

    def invoke(self) -> None:
        """Run the model once."""
        self._interpreter.invoke()

    def read(self) -> list[Array]:
        """Return every output as float32: scale * (stored - zero_point) in doubles, rounded once."""
        return [real(self._interpreter.get_tensor(o["index"]), o) for o in self.outputs]


def stored(values: Array, entry: dict[str, Any]) -> Array:
    """Return float values as a tensor stores them (docs/formats.md, service.json)."""
    scale, zero_point = entry["quantization"]
    dtype = np.dtype(entry["dtype"])
    if not np.issubdtype(dtype, np.integer) or scale == 0:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    steps = np.rint(values.astype(np.float64) / float(scale)) + int(zero_point)
    clamped: Array = np.clip(steps, limits.min, limits.max).astype(dtype)
    return clamped


def real(values: Array, entry: dict[str, Any]) -> Array:
    """Return a stored tensor as float32."""
    scale, zero_point = entry["quantization"]
    if not np.issubdtype(values.dtype, np.integer) or scale == 0:
        return values.astype(np.float32)
    return (float(scale) * (values.astype(np.float64) - int(zero_point))).astype(np.float32)


def outputs(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Run every model of `payload["models"]` (`[{name, path, out}]`) on the samples of `payload["samples"]`.

    Output k of a model goes to `<out>.<k>.npy`, `[n, ...]` float32. Returns `{"outputs": {name: count},
    "failed": {name: reason}}`.
    """
    samples = [np.load(path, mmap_mode="r") for path in payload["samples"]]
    counts: dict[str, int] = {}
    failed: dict[str, str] = {}
    for job in payload["models"]:
        report(f"running {job.get('said', job['name'])} on {len(samples[0])} samples")
        try:
            counts[job["name"]] = _outputs(job, samples, report)
        except Exception as error:  # an interpreter raises anything; one model's failure is not the others'
            failed[job["name"]] = f"{type(error).__name__}: {str(error).strip()[:500] or '(no message)'}"
    return {"outputs": counts, "failed": failed}


def _outputs(job: dict[str, Any], samples: Sequence[Array], report: Any) -> int:
    model = Model(job["path"])
    if len(model.inputs) != len(samples):
        raise ValueError(f"the model has {len(model.inputs)} inputs and the data holds {len(samples)} arrays")
    batch, total = batch_of(model.inputs, samples), len(samples[0])
    for entry, held in zip(model.inputs, samples, strict=True):
        shape = [int(size) for size in entry["shape"]]
        if math.prod(shape) != batch * math.prod(held.shape[1:]):
            raise ValueError(f"the model takes {shape}, the samples are {list(held.shape[1:])}")
    collected: list[Array] = []
    for start in range(0, total, batch):
        count = min(batch, total - start)
        model.reset()
        model.feed([_filled(held[start : start + batch], batch) for held in samples])
        model.invoke()
        for k, values in enumerate(model.read()):
            rows = values.reshape(batch, *values.shape[1:]) if values.shape[:1] == (batch,) else values[None]
            if start == 0:
                collected.append(np.empty((total, *rows.shape[1:]), dtype=np.float32))
            collected[k][start : start + count] = rows[:count]
        if start % max(batch, total // 20) < batch:
            report("samples", start + count, total)
    for k, values in enumerate(collected):
        np.save(f"{job['out']}.{k}.npy", values)
    return len(collected)


def _filled(block: Array, batch: int) -> Array:
    """Return a block of `batch` samples, the last one again where there are too few."""
    held = np.asarray(block)
    return np.concatenate([held, np.repeat(held[-1:], batch - len(held), axis=0)])


def latency(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Return `{"cold", "p50", "p95", "runs", "peak_rss_mb"}` of one model alone in this process.

    Cold, milliseconds: from opening the file to the first answer. p50 and p95: single runs after a warm-up,
    one thread, batch as in the file; at least 50 runs or 1 s. Memory: the peak of this process, MiB,
    interpreter included.
    """
    report(f"measuring {payload['name']}")
    importlib.import_module("ai_edge_litert.interpreter")
    started = time.perf_counter()
    model = Model(payload["path"])
    _fill(model, payload.get("samples"))
    model.invoke()
    model.read()
    cold = time.perf_counter() - started
    for _ in range(WARM_UP):
        model.invoke()
    times: list[float] = []
    begun = time.perf_counter()
    while True:
        before = time.perf_counter()
        model.invoke()
        after = time.perf_counter()
        times.append(after - before)
        spent = after - begun
        if spent >= LONGEST_SECONDS or (len(times) >= LEAST_RUNS and spent >= SHORTEST_SECONDS):
            break
    p50, p95 = np.percentile(times, (50, 95))
    return {
        "cold": 1000 * cold,
        "p50": 1000 * float(p50),
        "p95": 1000 * float(p95),
        "runs": len(times),
        "peak_rss_mb": _peak_rss_mb(),
    }


def _fill(model: Model, paths: Sequence[str] | None) -> None:
    """Give the model one real sample where there is one that fits, zeros otherwise."""
    model.feed_zeros()
    if paths is None or len(model.inputs) != len(paths):
        return
    samples = [np.load(path, mmap_mode="r") for path in paths]
    batch = batch_of(model.inputs, samples)
    blocks = [np.asarray(held[:batch]) for held in samples]
    sizes = [math.prod(int(s) for s in entry["shape"]) for entry in model.inputs]
    if [block.size for block in blocks] == sizes:
        model.feed(blocks)


def _peak_rss_mb() -> float | None:
    """Return the peak resident memory of this program, MiB.

    VmHWM starts anew at exec; getrusage's ru_maxrss does not, and would report a large parent's peak as ours.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else None


def own_metric(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Return `{"values": {name: value}, "higher_is_better": bool or None}` of the user's `package.module:callable`.

    `payload`: `metric`, `folder` (first on the module path, then the working directory; or None), `labels` (path),
    `outputs`: `{name: path}`, or `{name: {output: path}}` where the callable gets all of them. None: it does not say.
    Raises InputError `metric-own-not-found`, `metric-own-failed`, `metric-own-value`, `metric-own-direction`.
    """
    report(f"computing {payload['metric']}")
    function = _load(payload["metric"], payload["folder"])
    labels = np.load(payload["labels"])
    values = {}
    for name, held in payload["outputs"].items():
        outputs = _outputs_for(held)
        try:
            value = function(outputs, labels)
        except Exception as error:
            several = isinstance(outputs, dict)
            what = "a dict of NumPy arrays by output's name, and labels" if several else "NumPy arrays"
            raise InputError(
                "metric-own-failed",
                f"{payload['metric']} raised {type(error).__name__}: {error}",
                context={"outputs": _shapes(outputs), "labels": list(labels.shape)},
                hint=f"it is called as callable(outputs, labels) with {what} and returns one number",
            ) from None
        if not isinstance(value, int | float | np.number) or not math.isfinite(float(value)):
            raise InputError(
                "metric-own-value",
                f"{payload['metric']} returned {value!r:.80}, not a finite number",
                context={"metric": payload["metric"]},
                hint="return float(...) of one number",
            )
        values[name] = float(value)
    return {"values": values, "higher_is_better": _direction(function, payload["metric"])}


def _outputs_for(held: str | dict[str, str]) -> Array | dict[str, Array]:
    """Return what a metric is given: the one output that labels are for, or all of them by name."""
    return np.load(held) if isinstance(held, str) else {name: np.load(path) for name, path in held.items()}


def _shapes(outputs: Array | dict[str, Array]) -> Any:
    if isinstance(outputs, dict):
        return ", ".join(f"{name} {list(values.shape)}" for name, values in outputs.items())
    return list(outputs.shape)


def own_metric_found(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Return `{"higher_is_better": bool or None}` of `payload["metric"]`, loaded as `own_metric` would, not called."""
    report(f"looking for {payload['metric']}")
    return {"higher_is_better": _direction(_load(payload["metric"], payload["folder"]), payload["metric"])}


def _direction(function: Any, reference: str) -> bool | None:
    """Return whether higher values are better, None where the callable does not say."""
    said = getattr(function, "higher_is_better", None)
    if said is None or isinstance(said, bool | np.bool_):
        return None if said is None else bool(said)
    raise InputError(
        "metric-own-direction",
        f"higher_is_better of {reference} is {said!r:.80}, neither True nor False",
        context={"metric": reference},
        hint=f"{reference.partition(':')[2]}.higher_is_better = False",
    )


def _load(reference: str, first: str | None) -> Any:
    """Return the callable that `package.module:callable` names, from the folder `first` or the working directory."""
    here = os.getcwd()  # noqa: PTH109 - a string is what sys.path takes
    folders = list(dict.fromkeys([first, here] if first else [here]))
    sys.path[:] = [*folders, *(entry for entry in sys.path if entry not in folders)]
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise InputError(
            "metric-own-not-found",
            f"the metric {reference} cannot be loaded: {type(error).__name__}: {error}",
            context={"looked in": " and ".join(folders), "python": json.dumps(sys.version.split()[0])},
            hint=f"cd {shlex.quote(folders[0])} && python -c 'import {module_name}' must work",
        ) from None
    if not callable(found):
        raise InputError(
            "metric-own-not-found",
            f"{reference} is a {type(found).__name__}, not something to call",
            context={"looked in": " and ".join(folders)},
            hint="name a function: package.module:function",
        )
    return found
