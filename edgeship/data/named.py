"""Which array of a dataset is for which input of a model: `match(...)` of names, `bind(...)` of a whole dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeship.errors import InputError
from edgeship.registry import did_you_mean
from edgeship.values import Dataset, TensorSpec

LABELS = ("labels", "label", "targets", "target", "y_test", "y_train")
"""What people call labels that edgeship calls y."""
NUMBERED = re.compile(r"(?:x|arr|input|inputs)_?[0-9]+")
"""Names that say a place, not an input: numpy.savez's own arr_0, arr_1 among them."""


def labels_name(inputs: Sequence[str]) -> str:
    """Return what the labels beside these inputs are called: y, or labels where an input has that name."""
    return "labels" if "y" in inputs else "y"


def as_said(name: str) -> str:
    """Return an input's name as its user says it: without what TensorFlow adds, `serving_default_camera:0` is camera.

    Letters that TensorFlow takes for no argument's name are underscores in it.
    """
    return re.sub(r"\W", "_", re.sub(r":0$", "", name.removeprefix("serving_default_")))


def find(name: str, held: Sequence[str]) -> str | None:
    """Return which of the names held is for the input `name`, or None."""
    if name in held:
        return name
    return next((other for other in held if as_said(other) == as_said(name)), None)


def match(
    held: Sequence[str],
    inputs: Sequence[str],
    reference: str,
    *,
    what: str = "array",
    label: str | None = None,
) -> list[str]:
    """Return the names held in the order of the model's inputs. Labels must not be among them: `label` is
    what they are called, where there are any.

    Raises InputError `dataset-keys` where an input has none, or one is for no input.
    """
    found = [find(name, held) for name in inputs]
    missing = [as_said(name) for name, at in zip(inputs, found, strict=True) if at is None]
    extra = [name for name in held if name not in found]
    if not missing and not extra:
        return [at for at in found if at is not None]
    near: dict[str, str | None] = {name: did_you_mean(name, extra) for name in missing}
    numbered = [name for name in held if NUMBERED.fullmatch(name)]
    if missing and len(numbered) == len(inputs):
        places: list[str] = sorted(numbered, key=_place)
        near |= dict(zip(map(as_said, inputs), places, strict=True))
    if missing:
        message = f"the data holds no {what} for {_listed('input', missing)} of the model"
    else:
        message = f"the data holds {_listed(what, extra)} that is no input of the model"
    raise InputError(
        "dataset-keys",
        message,
        context={
            "dataset": reference,
            "holds": ", ".join(held) or "nothing",
            "model inputs": ", ".join(map(as_said, inputs)),
        },
        hint=_hint(reference, what, inputs, held, near, label)
        if missing
        else _without(what, inputs, extra, label),
    )


def bind(dataset: Dataset, inputs: Sequence[TensorSpec]) -> Dataset:
    """Return the dataset with one array an input of the model, in the model's order.

    An array without a name is for the input at its place. Raises InputError `dataset-keys`.
    """
    arrays, names = dataset.info.arrays, [spec.name for spec in inputs]
    if all(array.name is None for array in arrays):
        if len(arrays) == len(inputs):
            called = [as_said(name) if len(names) > 1 else None for name in names]
            named = tuple(replace(a, name=name) for a, name in zip(arrays, called, strict=True))
            return _typed(replace(dataset, info=replace(dataset.info, arrays=named)), inputs)
        raise _other_count(dataset, inputs)
    held = [array.name or "" for array in arrays]
    if len(inputs) == 1 and (only := find(names[0], held)) is not None:
        order = [only]
    else:
        order = match(held, names, dataset.info.reference)
    places = [held.index(name) for name in order]
    bound = Dataset(
        info=replace(
            dataset.info,
            arrays=tuple(
                replace(arrays[place], name=None if len(inputs) == 1 else as_said(name))
                for place, name in zip(places, names, strict=True)
            ),
        ),
        paths=tuple(dataset.paths[place] for place in places),
        y_path=dataset.y_path,
    )
    return _typed(bound, inputs)


def _typed(dataset: Dataset, inputs: Sequence[TensorSpec]) -> Dataset:
    """Return the dataset with numbers out of a text in the type of their input: whole ones where that counts or
    looks up. Raises InputError `dataset-not-whole`."""
    arrays, paths = list(dataset.info.arrays), list(dataset.paths)
    for k, (array, spec) in enumerate(zip(arrays, inputs, strict=True)):
        if array.typed or spec.quantization is not None or not spec.dtype.startswith(("int", "uint", "bool")):
            continue
        values = np.load(paths[k])
        if not np.array_equal(values, np.rint(values)):
            raise InputError(
                "dataset-not-whole",
                f"column '{array.name or as_said(spec.name)}' holds fractions, and the model takes {spec.dtype} there",
                context={
                    "dataset": dataset.info.reference,
                    "model input": f"{as_said(spec.name)} {spec.dtype}",
                },
                hint="give whole numbers",
            )
        dtype = "uint8" if spec.dtype == "bool" else spec.dtype
        path = Path(f"{paths[k].with_suffix('')}-{dtype}.npy")
        np.save(path, values.astype(dtype))
        arrays[k], paths[k] = replace(array, dtype=dtype), path
    return replace(dataset, info=replace(dataset.info, arrays=tuple(arrays)), paths=tuple(paths))


def _other_count(dataset: Dataset, inputs: Sequence[TensorSpec]) -> InputError:
    arrays, names = dataset.info.arrays, [as_said(spec.name) for spec in inputs]
    holds = f"{len(arrays)} arrays without names" if len(arrays) > 1 else "one array x"
    wants = f"{len(inputs)} inputs" if len(inputs) > 1 else "one input"
    reference = dataset.info.reference
    return InputError(
        "dataset-keys",
        f"the data holds {holds}, and the model has {wants}",
        context={
            "dataset": reference,
            "model inputs": ", ".join(f"{as_said(t.name)} {list(t.shape)} {t.dtype}" for t in inputs),
        },
        hint=save_line(names, labelled=dataset.info.labelled) if reference.endswith((".npz", ".npy"))
        else f"have it yield a dict a sample: {yield_line(names, labelled=dataset.info.labelled)}",
    )  # fmt: skip


def save_line(names: Sequence[str], *, file: str = "data.npz", labelled: bool = True) -> str:
    """Return what makes an `.npz` with an array for each of these inputs."""
    return _savez(file, {name: re.sub(r"\W", "_", name) for name in names} | ({"y": "y"} if labelled else {}))


def yield_line(names: Sequence[str], *, labelled: bool) -> str:
    """Return how a callable yields a sample of these inputs."""
    sample = "{" + ", ".join(f"'{name}': {name}" for name in names) + "}"
    return f"yield {sample}, label" if labelled else f"yield {sample}"


def _savez(file: str, values: dict[str, str]) -> str:
    return f"numpy.savez('{file}', " + ", ".join(f"{name}={value}" for name, value in values.items()) + ")"


def _without(what: str, inputs: Sequence[str], extra: Sequence[str], label: str | None) -> str:
    """Return what to do about what is for no input."""
    other = next((name for name in extra if name in LABELS), None)
    if other and not label:
        return f"labels are called y: rename '{other}' to y"
    return f"leave it out; wanted is one {what} each for {', '.join(map(as_said, inputs))}, and y for labels"


def _hint(
    reference: str,
    what: str,
    inputs: Sequence[str],
    held: Sequence[str],
    near: dict[str, str | None],
    label: str | None,
) -> str:
    """Return what to type next: the same data under the model's names."""
    names = [as_said(name) for name in inputs]
    known = {name: near.get(name) or find(name, held) for name in names}
    renamed = [f"'{at}' to {name}" for name, at in known.items() if at and at != name]
    if what != "array" or not reference.endswith(".npz"):
        if renamed and all(known.values()):
            return f"rename {', '.join(renamed)}"
        return f"wanted is one {what} each for {', '.join(names)}, and y for labels"
    file = reference.rpartition("/")[2]
    if not all(known.values()):
        return save_line(names, file=file)
    label = label or next((n for n in held if n in LABELS and n not in known.values()), None)
    values = {name: f"d['{at}']" for name, at in known.items()} | ({"y": f"d['{label}']"} if label else {})
    return f"d = dict(numpy.load('{file}')); {_savez(file, values)}"


def _listed(what: str, names: Sequence[str]) -> str:
    quoted = ", ".join(f"'{name}'" for name in names)
    return f"{what} {quoted}" if len(names) == 1 else f"{what}s {quoted}"


def _place(name: str) -> int:
    return int(re.sub(r"\D", "", name) or 0)
