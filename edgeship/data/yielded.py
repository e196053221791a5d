"""What a callable made, a sample at a time: `samples_of(...)`. Worker side."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.data.named import as_said, match, yield_line
from edgeship.errors import EdgeshipError, InputError

Key = int | str
"""An input: by its name, or by its place among the model's inputs."""
Sample = tuple[dict[Key, NDArray[Any]], NDArray[Any] | None]


def samples_of(made: Any, reference: str, inputs: Sequence[str]) -> Iterator[Sample]:
    """Yield ({input: x}, y or None) a sample, from whatever form the callable chose.

    `inputs`: the model's, where they are known. Raises InputError `dataset-labels`, `dataset-callable`,
    `dataset-callable-failed`, `dataset-keys`.
    """
    if isinstance(made, Mapping) or (
        isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Mapping) and _is_array(made[1])
    ):
        yield from _whole(made, reference, inputs)
        return
    if isinstance(made, tuple) and len(made) == 2 and all(map(_is_array, made)) and len(inputs) < 2:
        xs, ys = (np.asarray(part) for part in made)
        if len(xs) != len(ys):
            raise InputError(
                "dataset-labels",
                f"the callable returned {len(xs)} samples and {len(ys)} labels",
                context={"dataset": reference, "x": list(xs.shape), "y": list(ys.shape)},
                hint="give one label a sample: len(x) == len(y)",
            )
        for x, y in zip(xs, ys, strict=True):
            yield {0: x}, y
        return
    if not isinstance(made, Iterable) or isinstance(made, str | bytes):
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
            raise failed(reference, error, f"it failed while making sample {index}") from None
        yield _sample(sample, index, reference, inputs)
        index += 1


def _whole(made: Any, reference: str, inputs: Sequence[str]) -> Iterator[Sample]:
    """Yield the samples of a dict of whole arrays `[n, ...]`, or of such a dict and labels."""
    xs, y = made if isinstance(made, tuple) else (made, None)
    arrays = {str(name): np.asarray(values) for name, values in xs.items()}
    ys = None if y is None else np.asarray(y)
    sizes = {name: values.shape[:1] for name, values in arrays.items()}
    if ys is not None:
        sizes["y"] = ys.shape[:1]
    if len(set(sizes.values())) != 1 or () in sizes.values():
        raise InputError(
            "dataset-counts",
            "the arrays that the callable returned differ in length",
            context={"dataset": reference} | {name: list(size) for name, size in sizes.items()},
            hint="give each input and the labels one entry a sample; or yield a dict a sample",
        )
    for number in range(next(iter(sizes.values()))[0]):
        x = _named({name: values[number] for name, values in arrays.items()}, reference, inputs)
        yield x, None if ys is None else ys[number]


def _sample(sample: Any, index: int, reference: str, inputs: Sequence[str]) -> Sample:
    try:
        x, y = _parted(sample, len(inputs))
        label = None if y is None else np.asarray(y)
        if isinstance(x, Mapping):
            return _named({str(n): np.asarray(v) for n, v in x.items()}, reference, inputs), label
        if _in_order(x, len(inputs)):
            arrays = [np.asarray(part) for part in x]
            if isinstance(sample, list):
                arrays = [a[0] if a.ndim > 0 and a.shape[0] == 1 else a for a in arrays]
            return dict(enumerate(arrays)), label
        if len(inputs) > 1:
            held = f"a {type(x).__name__} of {len(x)}" if isinstance(x, tuple | list) else "one array"
            why = f"the model has {len(inputs)} inputs, and this is {held}"
            raise _no_array(sample, index, reference, inputs, why)
        if isinstance(x, list) and len(x) == 1 and _is_array(x[0]):
            only = np.asarray(x[0])
            return {0: only[0] if only.ndim > 1 and only.shape[0] == 1 else only}, label
        made = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise _no_array(sample, index, reference, inputs, str(error)) from None
    return {0: made}, label


def _parted(sample: Any, count: int) -> tuple[Any, Any]:
    """Return (x, y or None): a pair is x and its label, but for a model of two inputs where neither part holds both."""
    if not (isinstance(sample, tuple) and len(sample) == 2):
        return sample, None
    if count == 2 and not isinstance(sample[0], Mapping | tuple | list):
        return sample, None
    return sample[0], sample[1]


def _in_order(x: Any, count: int) -> bool:
    """Return whether x is one array an input, in the model's order."""
    if not isinstance(x, tuple | list):
        return False
    if count > 1:
        return len(x) == count
    return count == 0 and isinstance(x, tuple) and len(x) > 1 and all(map(_is_array, x))


def _named(x: dict[str, NDArray[Any]], reference: str, inputs: Sequence[str]) -> dict[Key, NDArray[Any]]:
    """Return a sample in the order of the model's inputs, where they are known."""
    if not inputs:
        return {name: x[name] for name in x}
    if len(inputs) == 1 and len(x) == 1:
        return {0: next(iter(x.values()))}
    found = match(list(x), inputs, reference, what="key")
    ordered: dict[Key, NDArray[Any]] = {
        as_said(name): x[held] for name, held in zip(inputs, found, strict=True)
    }
    return ordered


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape")


def _no_array(sample: Any, index: int, reference: str, inputs: Sequence[str], why: str) -> InputError:
    names = [as_said(name) for name in inputs]
    return InputError(
        "dataset-callable-failed",
        f"sample {index} is no {'sample of this model' if len(names) > 1 else 'array'}: {why}",
        context={"dataset": reference, "type": type(sample).__name__}
        | ({"model inputs": ", ".join(names)} if len(names) > 1 else {}),
        hint=yield_line(names, labelled=isinstance(sample, tuple))
        if len(names) > 1
        else "yield numpy.asarray(sample) or (numpy.asarray(sample), label)",
    )


def failed(reference: str, error: Exception, when: str) -> InputError:
    """Return the user's own exception with the line of their code that raised it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    own = [
        f
        for f in frames
        if "site-packages" not in f.filename
        and not f.filename.endswith(("data/callables.py", "data/yielded.py"))
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
