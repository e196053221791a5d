"""Worker side of datasets that are Python callables: runs the user's code and writes what it yields."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.data.dataset import finish, labels, open_sink
from edgeship.errors import EdgeshipError, InputError
from edgeship.registry import did_you_mean

Pair = tuple[NDArray[Any], NDArray[Any] | None]


def collect(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Call `package.module:callable` and store its samples; returns the dataset as JSON.

    The callable takes nothing and returns, or yields, samples or (x, y) pairs; or it returns an array `[n,
    ...]`, or a pair of arrays. TFLite's habit of yielding `[sample]` with a batch axis of 1 is understood.
    Raises InputError `dataset-callable` (cannot be found or called), `dataset-callable-failed` (it raised).
    """
    reference, role, limit = payload["reference"], payload["role"], payload["limit"]
    work = Path(payload["work"])
    made = _call(_find(reference, payload["root"]), reference)
    labelled: bool | None = None
    with open_sink("x", reference, work, role) as xs, open_sink("y", reference, work, role) as ys:
        for index, (x, y) in enumerate(islice(_pairs(made, reference), limit)):
            if labelled is None:
                labelled = y is not None
            if (y is not None) != labelled:
                raise InputError(
                    "dataset-labels",
                    f"sample {index} {'has' if y is not None else 'lacks'} a label, unlike sample 0",
                    context={"dataset": reference},
                    hint="yield x for every sample, or (x, y) for every sample",
                )
            xs.add(x[np.newaxis])
            if y is not None:
                ys.add(labels(y.reshape(1) if y.size == 1 else y[np.newaxis]))
            if index % 100 == 99:
                report("samples", index + 1, limit or 0)
        dataset = finish(xs, ys if labelled else None, reference, work, role, ())
    return {
        "info": asdict(dataset.info),
        "x_path": str(dataset.x_path),
        "y_path": str(dataset.y_path) if dataset.y_path else None,
    }


def _find(reference: str, root: str) -> Callable[[], Any]:
    """Return the callable that `reference` names; `root` is on the module path already."""
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if not (module_name == missing or module_name.startswith(missing + ".")):
            raise _failed(reference, error, f"importing {module_name} failed") from None
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
        raise _failed(reference, error, f"importing {module_name} failed") from None
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
        raise _failed(reference, error, "it failed when called without arguments") from None


def _pairs(made: Any, reference: str) -> Iterator[Pair]:
    """Yield (x, y or None) a sample, from whatever form the callable chose."""
    if isinstance(made, tuple) and len(made) == 2 and all(hasattr(part, "shape") for part in made):
        xs, ys = (np.asarray(part) for part in made)
        if len(xs) != len(ys):
            raise InputError(
                "dataset-labels",
                f"the callable returned {len(xs)} samples and {len(ys)} labels",
                context={"dataset": reference, "x": list(xs.shape), "y": list(ys.shape)},
                hint="give one label a sample: len(x) == len(y)",
            )
        yield from zip(xs, ys, strict=True)
        return
    if not isinstance(made, Iterable) or isinstance(made, str | bytes | dict):
        raise InputError(
            "dataset-callable",
            f"the callable returned {type(made).__name__}, which holds no samples",
            context={
                "dataset": reference,
                "wanted": "samples or (x, y) pairs, yielded or in a list or array",
            },
            hint="yield numpy.asarray(sample) for each sample",
        )
    iterator, index = iter(made), 0
    while True:
        try:
            sample = next(iterator)
        except StopIteration:
            return
        except EdgeshipError:
            raise
        except Exception as error:
            raise _failed(reference, error, f"it failed while making sample {index}") from None
        yield _pair(sample, index, reference)
        index += 1


def _pair(sample: Any, index: int, reference: str) -> Pair:
    try:
        if isinstance(sample, tuple) and len(sample) == 2:
            return np.asarray(sample[0]), np.asarray(sample[1])
        if isinstance(sample, list) and len(sample) == 1 and hasattr(sample[0], "shape"):
            only = np.asarray(sample[0])
            return (only[0] if only.ndim > 1 and only.shape[0] == 1 else only), None
        return np.asarray(sample), None
    except (ValueError, TypeError) as error:
        raise InputError(
            "dataset-callable-failed",
            f"sample {index} is no array: {error}",
            context={"dataset": reference, "type": type(sample).__name__},
            hint="yield numpy.asarray(sample) or (numpy.asarray(sample), label)",
        ) from None


def _failed(reference: str, error: Exception, when: str) -> InputError:
    """Return the user's own exception with the line of their code that raised it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    own = [
        f for f in frames if "site-packages" not in f.filename and not f.filename.endswith("model/samples.py")
    ]
    context: dict[str, object] = {"dataset": reference, "error": f"{type(error).__name__}: {error}"}
    if own or frames:
        last = (own or frames)[-1]
        context["raised at"] = f"{last.filename}:{last.lineno}  {last.line}"
    module, _, attribute = reference.partition(":")
    return InputError(
        "dataset-callable-failed",
        f"the dataset's own code failed: {when}",
        context=context,
        hint=f'try it alone: python3 -c "import {module}; print(next(iter({module}.{attribute}())))"',
    )
