"""Worker side of datasets that are Python callables: runs the user's code and writes what it yields."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.data.dataset import finish, labels, open_sink
from edgeship.data.sink import Sink
from edgeship.data.unbatched import one_by_one
from edgeship.data.yielded import Key, failed, samples_of
from edgeship.errors import EdgeshipError, InputError
from edgeship.registry import did_you_mean


def collect(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Call `package.module:callable` and store its samples; returns the dataset as JSON.

    The callable takes nothing and returns, or yields, samples or (x, y) pairs; or it returns an array `[n,
    ...]`, or a pair of arrays. x is an array; for a model of several inputs a dict of arrays by the inputs' names, or
    a tuple or list of them in the model's order. TFLite's habit of yielding `[sample]` with a batch axis of 1 is
    understood, and so is a `tf.data.Dataset` of batches.
    Raises InputError `dataset-callable` (cannot be found or called), `dataset-callable-failed` (it raised),
    `dataset-keys` (names that are no inputs).
    """
    reference, role, limit = payload["reference"], payload["role"], payload["limit"]
    work, inputs = Path(payload["work"]), tuple(payload.get("inputs") or ())
    made = one_by_one(_call(_find(reference, payload["root"]), reference), report)
    labelled: bool | None = None
    with ExitStack() as stack:
        arrays: dict[Key, Sink] = {}
        ys = stack.enter_context(open_sink("y", reference, work, role))
        for index, (x, y) in enumerate(islice(samples_of(made, reference, inputs), limit)):
            if labelled is None:
                labelled = y is not None
                arrays = {
                    key: stack.enter_context(open_sink(_said(key, len(x)), reference, work, role, number))
                    for number, key in enumerate(x)
                }
            if (y is not None) != labelled:
                raise InputError(
                    "dataset-labels",
                    f"sample {index} {'has' if y is not None else 'lacks'} a label, unlike sample 0",
                    context={"dataset": reference},
                    hint="yield x for every sample, or (x, y) for every sample",
                )
            _check_keys(x, arrays, index, reference)
            for key, sink in arrays.items():
                sink.add(x[key][np.newaxis])
            if y is not None:
                ys.add(labels(y.reshape(1) if y.size == 1 else y[np.newaxis]))
            if index % 100 == 99:
                report("samples", index + 1, limit or 0)
        if not arrays:
            arrays[0] = stack.enter_context(open_sink(None, reference, work, role, 0))
        named = tuple((key if isinstance(key, str) else None, sink) for key, sink in arrays.items())
        dataset = finish(named, ys if labelled else None, reference, work, role, ())
    return {
        "info": asdict(dataset.info),
        "paths": [str(path) for path in dataset.paths],
        "y_path": str(dataset.y_path) if dataset.y_path else None,
    }


def _said(key: Key, count: int) -> str | None:
    return key if isinstance(key, str) else None if count == 1 else f"input {key}"


def _check_keys(x: Mapping[Key, Any], arrays: Mapping[Key, Any], index: int, reference: str) -> None:
    """Raise `dataset-keys` where a sample holds other inputs than the first one."""
    if x.keys() == arrays.keys():
        return
    raise InputError(
        "dataset-keys",
        f"sample {index} holds other inputs than sample 0",
        context={
            "dataset": reference,
            "sample 0": ", ".join(map(str, arrays)),
            f"sample {index}": ", ".join(map(str, x)),
        },
        hint="yield every input in every sample",
    )


def _find(reference: str, root: str) -> Callable[[], Any]:
    """Return the callable that `reference` names; `root` is on the module path already."""
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if not (module_name == missing or module_name.startswith(missing + ".")):
            raise failed(reference, error, f"importing {module_name} failed") from None
        here = sorted(p.stem for p in Path(root).glob("*.py"))
        near = did_you_mean(module_name, here)
        raise InputError(
            "dataset-callable",
            f"there is no Python module {missing}",
            context={
                "dataset": reference,
                "looked in": root,
                "modules there": ", ".join(here[:10]) or "none",
            },
            hint=f"did you mean {near}:{attribute}?" if near else "run it in the folder of the module",
        ) from None
    except Exception as error:
        raise failed(reference, error, f"importing {module_name} failed") from None
    found = getattr(module, attribute, None)
    if not callable(found):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        near = did_you_mean(attribute, names)
        what = "function" if found is None else "callable, but a value,"
        raise InputError(
            "dataset-callable",
            f"{module_name} has no {what} named {attribute}",
            context={"dataset": reference, "it has": ", ".join(names[:10]) or "no functions"},
            hint=f"did you mean {module_name}:{near}?" if near else None,
        )
    function: Callable[[], Any] = found
    return function


def _call(function: Callable[[], Any], reference: str) -> Any:
    try:
        return function()
    except EdgeshipError:
        raise
    except Exception as error:
        raise failed(reference, error, "it failed when called without arguments") from None
