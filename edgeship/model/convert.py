"""One float `.tflite` per model, which every recipe is derived from: `to_float_tflite(...)`.

Converters crash, disagree about versions and depend on how a model was saved; so each way runs in a worker
process of its own, in order of what usually works, and when none does, every way's own error is shown.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgeship.data.named import as_said
from edgeship.digest import canonical_json, sha256_file, sha256_json
from edgeship.errors import EdgeshipError, InputError, ToolError
from edgeship.model.closing import check_flex, check_sizes, open_hint, resized
from edgeship.model.keras_version import newer_keras
from edgeship.model.tfmot.file import keeps_state
from edgeship.progress import Progress
from edgeship.tflite.entry import other_entries, read_entry
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flaws import name_of
from edgeship.tflite.half import widened
from edgeship.tflite.normalise import in_order, normalised
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.refit import with_output_shapes
from edgeship.tflite.simulated import float_form
from edgeship.tflite.sizes import closed
from edgeship.tflite.state import never_assigned
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import FloatModel, ModelKind, ModelSource

FORMAT = 5
"""Part of the cache key: raise it when the worker's way of exporting changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way from a model to a float `.tflite`: a function of the worker module, and the packages it
    uses."""

    name: str
    function: str
    packages: tuple[str, ...]
    legacy: bool = False
    """Whether `tf.keras` must be the old Keras in this process."""


_WORKER = "edgeship.model.convert_worker"
KERAS3 = Route(name="Keras 3", function=f"{_WORKER}:from_keras3", packages=("tensorflow", "keras"))
KERAS3_EXPORT = Route(
    name="Keras 3, exported as a SavedModel",
    function=f"{_WORKER}:from_keras3_export",
    packages=("tensorflow", "keras"),
)
TF_KERAS = Route(
    name="tf_keras", function=f"{_WORKER}:from_tf_keras", packages=("tensorflow", "tf-keras"), legacy=True
)
SIGNATURE = Route(
    name="SavedModel signature", function=f"{_WORKER}:from_signature", packages=("tensorflow",), legacy=True
)
DIRECT = Route(
    name="SavedModel as it is", function=f"{_WORKER}:from_saved_model", packages=("tensorflow",), legacy=True
)
ROUTES: dict[ModelKind, tuple[Route, ...]] = {
    "keras": (KERAS3, KERAS3_EXPORT, TF_KERAS),
    "h5": (TF_KERAS, KERAS3, KERAS3_EXPORT),
    "saved_model": (SIGNATURE, DIRECT, TF_KERAS),
    "tflite": (),
}
DECISIVE = {
    "model-dynamic-shape", "unsupported-operation", "saved-model-signatures", "model-weights-only",
    "model-custom-object", "model-lambda", "model-no-input-shape", "model-half-precision", "model-double-precision",
    "saved-model-incomplete", "saved-model-state", "saved-model-unfed", "input-shape",
}  # fmt: skip
"""Errors that no other route can change: shown at once instead of after two more conversions."""


def to_float_tflite(
    source: ModelSource,
    work: Path,
    *,
    progress: Progress,
    limits: WorkerLimits | None = None,
    batch: int = 1,
    signature: str | None = None,
) -> FloatModel:
    """Return the float model of `source`, with every shape fixed and the first axis of its inputs set to
    `batch`.

    The same source gives the same bytes in any folder on any day (same tool versions); what was converted
    once under `work` is used again. A `.tflite` is taken as it is but for what `normalised` does, `is_float`
    False where it is quantized already; weights of half precision count as that, unless they are to be widened
    (`source.widened`). Raises InputError `model-dynamic-shape`, `unsupported-operation`,
    `model-half-precision`, `model-double-precision`, `saved-model-signatures`, `model-custom-object`, `model-lambda`,
    `model-no-input-shape`, `model-weights-only`, `model-corrupt`, `saved-model-incomplete`, `saved-model-state`,
    `saved-model-unfed`, `tflite-signature`, and what `check_boundary` raises; ToolError `conversion-failed` with each
    route's error. `signature` names the entry point of a SavedModel or a `.tflite`; nothing else has a choice.
    """
    if source.kind == "tflite" and signature is None:
        _say_entry(read_tflite(source.path), progress)
    key = sha256_json(
        {
            "format": FORMAT,
            "source": source.sha256,
            "kind": source.kind,
            "batch": batch,
            "tools": _installed(),
            **({} if signature is None else {"signature": signature}),
            **({"shapes": dict(source.shapes)} if source.shapes else {}),
            **({"widened": True} if source.widened and source.kind == "tflite" else {}),
        }
    )
    folder = work / f"float-{key[:16]}"
    path, record = folder / "model.tflite", folder / "record.json"
    cached = _cached(path, record)
    if cached is not None:
        progress.step("using the float model converted before")
        return _finish(path, source, cached)
    folder.mkdir(parents=True, exist_ok=True)
    bounds = limits or WorkerLimits()
    # Two builds of one model may share the cache: each works in a folder of its own until the file is whole.
    with tempfile.TemporaryDirectory(prefix="converting-", dir=folder) as scratch:
        draft = Path(scratch) / path.name
        tools = _made(source, draft, progress, bounds, (batch, signature))
        check_boundary(read_tflite(draft), source)
        _check_static(read_tflite(draft), source, batch, progress)
        check_sizes(read_tflite(draft), source, bounds)
        noted = Path(scratch) / record.name
        noted.write_bytes(canonical_json({"sha256": sha256_file(draft), "tools": tools}))
        draft.replace(path)
        noted.replace(record)
    return _finish(path, source, tools)


def _made(
    source: ModelSource,
    draft: Path,
    progress: Progress,
    limits: WorkerLimits,
    wanted: tuple[int, str | None],
) -> dict[str, str]:
    """Write the float model to `draft`, open sizes closed as far as they can be; return versions of tools."""
    tools: dict[str, str] = {}
    if source.kind == "tflite":
        content = read_entry(source.path, wanted[1]).content
    else:
        content, tools = _convert(source, draft.parent, progress, limits, wanted)
    content, halves = widened(content) if source.widened else (content, 0)
    if halves:
        progress.note(f"{halves} tensors hold weights in half precision: they are read as float32")
    content, simulated = float_form(content)
    if simulated:
        progress.note(
            f"the model was trained to be quantized: of the fake quantization of {simulated} tensors the ranges are "
            "kept for integers, the rounding is left out"
        )
    if source.shapes:
        content = resized(content, source, progress)
    content = closed(normalised(content), draft.parent, limits)
    draft.write_bytes(content)
    if unsaid_outputs(read_tflite(draft)):
        draft.write_bytes(with_output_shapes(content, _shapes(draft, progress)))
    return tools


def _say_entry(file: TfliteFile, progress: Progress) -> None:
    """Tell which signature of several is taken."""
    taken, others = other_entries(file)
    if others:
        names = " or ".join(others)
        progress.note(
            f"the .tflite has {len(others) + 1} signatures: '{taken}' is taken; --signature {names} takes another"
        )


def check_boundary(file: TfliteFile, source: ModelSource) -> None:
    """Raise InputError `model-not-servable` where there is nothing to ask or nothing to answer: no input, no output, or
    one of them without a single number."""
    tensors = file.main.tensors
    why = "" if file.main.outputs else "the model gives no output"
    if not file.main.inputs:
        why = why or "the model takes no input: whatever is asked, the answer is the same"
    for side, indices in (("input", file.main.inputs), ("output", file.main.outputs)):
        for index in indices:
            if tensors[index].elements == 0:
                shape = list(tensors[index].shape)
                why = (
                    why or f"the {side} '{as_said(name_of(tensors[index]))}' of shape {shape} holds no number"
                )
    if why:
        raise InputError(
            "model-not-servable",
            why,
            context={"model": source.path},
            hint=f"edgeship inspect {shlex.quote(str(source.path))}   (shows inputs and outputs: export the model with "
            "those that you ask and read)",
        )


def unsaid_outputs(file: TfliteFile) -> bool:
    """Return whether an output's shape is left out of the file (a single number looks the same): custom operations
    such as detectors' last one, and old converters, leave it to the runtime that prepares them."""
    graph = file.main
    made = {tensor for op in graph.operators for tensor in op.outputs}
    return any(not graph.tensors[i].shape and i in made for i in graph.outputs)


def _shapes(path: Path, progress: Progress) -> list[list[int]]:
    """Return the shapes of the outputs as the runtime prepares them; as the file says where it cannot."""
    try:
        value = run_worker(
            "edgeship.model.shapes_worker:output_shapes", {"model": str(path.resolve())}, progress=progress
        ).value
    except EdgeshipError:  # what the runtime lacks is told where the target is known
        file = read_tflite(path)
        return [list(file.main.tensors[i].shape) for i in file.main.outputs]
    return [list(shape) for shape in value["shapes"]]


def _convert(
    source: ModelSource,
    folder: Path,
    progress: Progress,
    limits: WorkerLimits,
    wanted: tuple[int, str | None],
) -> tuple[bytes, dict[str, str]]:
    """Return the bytes of the first route that works and the versions of its tools; `wanted` are batch and
    signature."""
    batch, signature = wanted
    failures: list[tuple[Route, EdgeshipError]] = []
    for route in _routes(source):
        if any(f.packages == route.packages and e.reference == "model-not-loadable" for f, e in failures):
            continue  # it would load it the same way and fail the same way
        progress.step(f"converting {source.path.name} to float TFLite ({route.name})")
        raw = folder / "raw.tflite"
        try:
            result = run_worker(
                route.function,
                {
                    "source": str(source.path.resolve()),
                    "out": str(raw.resolve()),
                    "batch": batch,
                    "signature": signature,
                    "shapes": dict(source.shapes),
                },
                limits=limits,
                progress=progress,
                environment={
                    "KERAS_BACKEND": "tensorflow",
                    "TF_USE_LEGACY_KERAS": "1" if route.legacy else "0",
                    "PYTHONHASHSEED": "0",
                },
            )
        except EdgeshipError as error:
            if error.reference in DECISIVE:
                raise
            failures.append((route, error))
            progress.note(f"{route.name} could not convert it: {_first_line(error)}")
            continue
        content = in_order(raw.read_bytes(), result.value["inputs"], result.value["outputs"])
        kept = never_assigned(read_tflite(raw))
        raw.unlink()
        if kept:
            failures.append((route, _still_variables(len(kept))))
            continue
        return content, {name: _version(name) for name in route.packages}
    raise _all_failed(source, failures)


def _routes(source: ModelSource) -> tuple[Route, ...]:
    """Return the ways from a source to a float `.tflite`, in order."""
    usual = ROUTES[source.kind]
    if source.kind == "saved_model" and keeps_state(source.path):
        return (TF_KERAS, *(route for route in usual if route is not TF_KERAS))
    return usual


def _all_failed(source: ModelSource, failures: list[tuple[Route, EdgeshipError]]) -> EdgeshipError:
    """Return one error that shows why each route failed; the user's own mistakes keep their reference and
    hint."""
    context: dict[str, object] = {"model": source.path}
    if versions := newer_keras(source.path):
        context["saved by"] = f"Keras {versions[0]}; here is {versions[1]}, which may not know all of it"
    for route, error in failures:
        context[route.name] = f"{error.reference}: {_first_line(error)}"
    own = next((error for _, error in failures if isinstance(error, InputError)), None)
    if own is not None:
        return InputError(own.reference, own.message, context={**context, **own.context}, hint=own.hint)
    return ToolError(
        "conversion-failed",
        f"none of {len(failures)} ways to convert the model worked",
        context=context,
        hint="save it as a SavedModel where it was trained (model.export(FOLDER)) and give that folder",
    )


def _still_variables(count: int) -> ToolError:
    return ToolError(
        "model-keeps-variables",
        f"{count} variables that nothing assigns stayed variables instead of becoming weights",
    )


def _first_line(error: EdgeshipError) -> str:
    return error.message.strip().splitlines()[0][:300]


def _check_static(file: TfliteFile, source: ModelSource, batch: int, progress: Progress) -> None:
    """Raise `model-dynamic-shape` for an input or output whose size is open; note such tensors inside."""
    graph = file.main
    producers = {tensor: operator for operator in graph.operators for tensor in operator.outputs}
    declared = {spec.name: [None if n < 0 else n for n in spec.shape] for spec in file.signature.inputs}
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        if tensor.is_dynamic:
            check_flex(file, source)
            made_by = producers.get(index)
            place = f"operation {made_by.index} ({made_by.op})" if made_by else "the model's input"
            cut = f"end the model before {place}, whose size depends on values, and do the rest on the host"
            raise InputError(
                "model-dynamic-shape",
                f"the size of '{as_said(name_of(tensor))}' is only known when the model runs",
                context={
                    "model": source.path,
                    "shape": list(tensor.shape_signature),
                    "made by": place,
                    "wanted": "fixed sizes",
                },
                hint=cut if made_by else open_hint(declared),
            )
    for index in graph.inputs:
        shape = graph.tensors[index].shape
        if source.kind == "tflite" and batch != 1 and shape[:1] != (batch,):
            raise InputError(
                "model-batch",
                f"a .tflite keeps the batch it was made with: {list(shape)[:1]}, not {batch}",
                context={"model": source.path, "input": graph.tensors[index].name},
                hint="give the .keras, .h5 or SavedModel it was made from",
            )
    inside = next((t for t in graph.tensors if t.is_dynamic), None)
    if inside is not None:
        op = producers.get(inside.index)
        progress.note(
            f"'{name_of(inside)}' inside the model has an open size {list(inside.shape_signature)}"
            + (f", from operation {op.index} ({op.op})" if op else "")
            + ": accelerators will not take it"
        )


def _finish(path: Path, source: ModelSource, tools: dict[str, str]) -> FloatModel:
    file = read_tflite(path)
    return FloatModel(
        path=path,
        source=source,
        sha256=file.sha256,
        signature=file.signature,
        is_float=is_float(precision_of(file)),
        tools=tools,
    )


def _cached(path: Path, record: Path) -> dict[str, str] | None:
    """Return the recorded tools where the converted file is there and whole."""
    try:
        known: dict[str, Any] = json.loads(record.read_text())
        return dict(known["tools"]) if sha256_file(path) == known["sha256"] else None
    except (OSError, ValueError, KeyError):
        return None


def _installed() -> dict[str, str]:
    return {name: _version(name) for name in ("tensorflow", "keras", "tf-keras")}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
