"""Which entry point of a SavedModel is converted: `pick_signature(...)`. Worker side, without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeship.errors import InputError
from edgeship.registry import did_you_mean

DEFAULT = "serving_default"
PREDICT = "tensorflow/serving/predict"
NUMBERS = frozenset({
    "float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
    "uint64", "bool",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One signature of a SavedModel."""

    key: str
    inputs: tuple[tuple[str, str], ...]
    """(name, dtype), as for the outputs."""
    outputs: tuple[tuple[str, str], ...]
    method: str = PREDICT
    """What TensorFlow Serving takes it for: predict, regress, classify."""

    @property
    def unusable(self) -> str:
        """Why nothing can be asked of it with numbers; empty where it can."""
        if not self.inputs:
            return "takes no input"
        if not self.outputs:
            return "has no output"
        for part, entries in (("takes", self.inputs), ("answers with", self.outputs)):
            other = [f"{name} ({dtype})" for name, dtype in entries if dtype not in NUMBERS]
            if other:
                return f"{part} {', '.join(other)}"
        return ""

    @property
    def words(self) -> str:
        """The signature in one line."""
        given = ", ".join(f"{name} {dtype}" for name, dtype in self.inputs) or "nothing"
        return f"{self.key}: {given} -> {', '.join(name for name, _ in self.outputs) or 'nothing'}"


def pick_signature(
    entries: Sequence[Entry], wanted: str | None, source: str, report: Callable[..., None]
) -> str:
    """Return the key of the signature to convert: the one asked for, serving_default, or the only one on numbers.

    Of several on numbers, one for prediction goes before those for regression and classification. What is left out is
    told. Raises InputError `saved-model-signatures`.
    """
    keys = {entry.key: entry for entry in entries}
    if wanted is not None:
        return _asked(keys, wanted, source)
    usable = [entry for entry in entries if not entry.unusable]
    predicting = [entry for entry in usable if entry.method == PREDICT] or usable
    chosen = next((e.key for e in usable if e.key == DEFAULT), None)
    if chosen is None and len(predicting) == 1:
        chosen = predicting[0].key
    if chosen is not None:
        if others := sorted(set(keys) - {chosen}):
            report(f"converting the signature {chosen}; left out: {', '.join(others)}", note=True)
        return chosen
    if not keys:
        raise _refusal(
            "the SavedModel has no signature: nothing says what its inputs and outputs are",
            source,
            {"signatures": "none", "wanted": DEFAULT},
            "tf.saved_model.save(model, FOLDER, signatures={'serving_default': function})",
        )
    if not usable:
        raise _refusal(
            "no signature of the SavedModel takes numbers and answers with numbers",
            source,
            {entry.key: entry.unusable for entry in entries},
            _wanted(entries),
        )
    raise _refusal(
        f"the SavedModel has several signatures and none is named {DEFAULT}",
        source,
        {"signatures": ", ".join(sorted(keys)), **{entry.key: entry.words for entry in usable}},
        f"--signature {predicting[0].key}   (or another of: {', '.join(e.key for e in usable)})",
    )


def _wanted(entries: Sequence[Entry]) -> str:
    """Return what to export instead of signatures that cannot be asked with numbers."""
    if any(dtype == "string" for entry in entries for _, dtype in entry.inputs):
        return (
            "export one on the tensors themselves, not on serialized tf.Example: with inputs that are numbers"
        )
    if any(dtype.startswith("complex") for entry in entries for _, dtype in (*entry.inputs, *entry.outputs)):
        return "export one on real numbers: complex ones by their parts, tf.math.real(x) and tf.math.imag(x)"
    return "export one whose inputs and outputs are numbers: ids or scores, not text"


def _asked(keys: dict[str, Entry], wanted: str, source: str) -> str:
    entry = keys.get(wanted)
    if entry is None:
        near = did_you_mean(wanted, list(keys))
        raise _refusal(
            f"the SavedModel has no signature '{wanted}'",
            source,
            {"signatures": ", ".join(sorted(keys)) or "none", **({"near": near} if near else {})},
            f"--signature {next(iter(sorted(keys)), DEFAULT)}",
        )
    if entry.unusable:
        raise _refusal(
            f"the signature '{wanted}' {entry.unusable}, which no .tflite service can be asked for",
            source,
            {"signature": entry.words},
            "leave --signature out, or name one whose inputs and outputs are numbers",
        )
    return wanted


def _refusal(message: str, source: str, context: dict[str, str], hint: str) -> InputError:
    return InputError("saved-model-signatures", message, context={"model": source, **context}, hint=hint)
