"""service.json: all that the runtime on the device needs to serve, in the form docs/formats.md fixes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgeship.bundle.limits import service_limits
from edgeship.bundle.parts import BundleParts
from edgeship.compile.backend import UNCOMPILED
from edgeship.compile.ship import Shipped
from edgeship.data.batches import sample_shape
from edgeship.errors import InputError
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.state import states_of
from edgeship.values import Artifact, DatasetInfo, InputRule, Preprocess, Signature, TensorSpec

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
HINTS = {
    "app": "give another with --app NAME, or in edgeship.yaml",
    "version": "write another in edgeship.yaml, such as version: '2026.11'",
}
"""What to type for a name that cannot be; there is no option for the version."""
DATATYPES: Mapping[str, str] = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "uint16": "UINT16", "int16": "INT16",
    "uint32": "UINT32", "int32": "INT32", "uint64": "UINT64", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
"""NumPy's name -> the Open Inference Protocol's."""


def check_names(app: str, version: str) -> None:
    """Raise InputError `bad-app-name` unless both can be a folder, a unit and a part of a URL."""
    for key, value in (("app", app), ("version", version)):
        if not NAME.match(value):
            raise InputError(
                "bad-app-name",
                f"'{value}' cannot name an application or its version",
                context={"key": key, "wanted": "up to 64 letters, digits, dots, dashes and underscores"},
                hint=HINTS[key],
            )


def service_values(parts: BundleParts, engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `service.json.j2` asks for. The data says what clients send; without any they send model
    units."""
    samples = parts.samples.info if parts.samples else None
    variants = [variant_entry(v.artifact, samples, parts.rules) for v in parts.carried]
    return {
        "app": parts.app,
        "version": parts.version,
        "listen": parts.project.service.listen,
        "limits": service_limits(parts.project.service.limits, variants),
        "engine": dict(engine),
        "chosen": parts.chosen.artifact.name,
        "variants": [
            entry
            | {
                "note": note_of(parts.shipped_as(v)),
                "layers": v.artifact.layers,
                "state": state_entry(v.artifact),
            }
            for v, entry in zip(parts.carried, variants, strict=True)
        ],
        "labels": list(parts.labels),
    }


def variant_entry(
    artifact: Artifact, samples: DatasetInfo | None, rules: Sequence[InputRule]
) -> dict[str, Any]:
    """Return the entry of one variant; a rule is of each input, `samples` holds an array for each.

    Raises InputError `model-not-servable` for an open shape or unknown type.
    """
    return {
        **identity(artifact),
        "file": model_name(artifact.name),
        "sha256": artifact.sha256,
        "golden": golden_name(artifact.name),
        **sides_entry(artifact.signature, samples, rules),
    }


def identity(artifact: Artifact) -> dict[str, str]:
    """Return what every document says of which variant it means: its name, its recipe, and the candidate's digest."""
    return {"name": artifact.name, "recipe": artifact.recipe, "candidate": artifact.digest}


def note_of(shipped: Shipped | None) -> str | None:
    """Return what people should know of a variant wherever it answers; None: nothing."""
    return UNCOMPILED if shipped and shipped.uncompiled else None


def sides_entry(
    signature: Signature, samples: DatasetInfo | None, rules: Sequence[InputRule]
) -> dict[str, list[dict[str, Any]]]:
    """Return `inputs` and `outputs` of a variant: what clients send and get."""
    return {
        "inputs": [
            input_entry(spec, samples.part(k) if samples else None, rules[k])
            for k, spec in enumerate(signature.inputs)
        ],
        "outputs": [output_entry(spec) for spec in signature.outputs],
    }


def state_entry(artifact: Artifact) -> list[dict[str, Any]]:
    """Return what the model keeps between runs; nothing for a model without state."""
    return [
        {"name": s.name, "kind": s.kind, "dtype": s.dtype, "shape": list(s.shape)}
        for s in states_of(read_tflite(artifact.path))
    ]


def input_entry(spec: TensorSpec, samples: DatasetInfo | None, rule: InputRule) -> dict[str, Any]:
    """Return what a client sends for one input, and what it becomes.

    `stored` stands where data of the tensor's own type is what the tensor stores, as it is.
    """
    tensor = tensor_entry(spec)
    own = rule.stored
    as_stored = own is not None and (spec.dtype, spec.quantization) == (own.dtype, own.quantization)
    sent = samples.dtype if samples is not None else own.dtype if own is not None else None
    preprocess = rule.preprocess if as_stored or sent is None else rule.prepares(sent)
    if sent is not None:
        datatype = DATATYPES.get(sent)
    elif preprocess.is_identity() and spec.quantization is None:
        datatype = DATATYPES.get(spec.dtype)
    else:
        datatype = "FP32"
    shape = fixed_shape(spec)
    if (
        samples is not None
        and preprocess.resize is None
        and len(sample_shape(shape, samples.shape)) == len(shape)
    ):
        shape = list(samples.shape) if shape else []  # no batch axis: a sample is all of it
    elif samples is not None:
        shape = [*shape[:1], *samples.shape]
    if datatype is None:
        raise _not_servable(spec, f"samples of type {sent or spec.dtype} have no datatype")
    return {
        "name": spec.name,
        "datatype": datatype,
        "shape": shape,
        "tensor": tensor,
        "preprocess": preprocess_entry(preprocess),
    } | ({"stored": True} if as_stored else {})


def output_entry(spec: TensorSpec) -> dict[str, Any]:
    """Return what a client gets for one output: real numbers, or the tensor's own where they are no quantized
    ones."""
    real = spec.quantization is not None or spec.dtype == "float16"
    return {
        "name": spec.name,
        "datatype": "FP32" if real else DATATYPES[spec.dtype],
        "shape": fixed_shape(spec),
        "tensor": tensor_entry(spec),
    }


def tensor_entry(spec: TensorSpec) -> dict[str, Any]:
    """Return the tensor as the runtime finds it."""
    if -1 in spec.shape[1:]:
        raise _not_servable(spec, f"its shape {list(spec.shape)} is open")
    if spec.dtype not in DATATYPES:
        raise _not_servable(spec, f"its type {spec.dtype} cannot be sent")
    quantization = spec.quantization
    if quantization is not None and len(quantization.scales) != 1:
        raise _not_servable(spec, "it is quantized per channel")
    return {
        "dtype": spec.dtype,
        "shape": fixed_shape(spec),
        "scale": quantization.scales[0] if quantization else None,
        "zero_point": quantization.zero_points[0] if quantization else None,
    }


def fixed_shape(spec: TensorSpec) -> list[int]:
    """Return a tensor's shape, 1 for a batch axis left open: what the file stores and runtimes start with."""
    return [1 if size == -1 and axis == 0 else size for axis, size in enumerate(spec.shape)]


def preprocess_entry(preprocess: Preprocess) -> dict[str, Any] | None:
    """Return the declared preprocessing, or None where it changes nothing."""
    if preprocess.is_identity():
        return None
    resize = preprocess.resize
    return {
        "resize": {"height": resize.height, "width": resize.width, "method": resize.method}
        if resize
        else None,
        "scale": preprocess.scale,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
    }


def model_name(name: str) -> str:
    """Return where the model file of a variant of that name stands in a release."""
    return f"models/{name}.tflite"


def golden_name(name: str) -> str:
    """Return where the golden vectors of a variant of that name stand in a release."""
    return f"golden/{name}.json"


def _not_servable(spec: TensorSpec, why: str) -> InputError:
    return InputError(
        "model-not-servable",
        f"tensor '{spec.name}' cannot be served: {why}",
        context={"tensor": spec.name, "type": spec.dtype, "shape": list(spec.shape)},
        hint="edgeship inspect MODEL shows all tensors; give inputs and outputs fixed shapes and plain types",
    )
