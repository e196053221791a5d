"""What would end the compilation with an error, as far as the file shows it before the compiler runs."""

from __future__ import annotations

from collections.abc import Iterator

from edgeship.compile.edgetpu.table import newest_versions
from edgeship.compile.report import Finding
from edgeship.tflite.file import TfliteFile

CUSTOM_OP = "edgetpu-custom-op"


def blockers(model: TfliteFile, *, lowered: frozenset[int] = frozenset()) -> Iterator[Finding]:
    """Yield predicted compile-time failures; `lowered` are operations whose version the driver lowers first."""
    yield from _already_compiled(model)
    yield from _flex(model)
    yield from _versions(model, lowered)
    if len(model.subgraphs) > 1:
        yield Finding(
            code="control-flow",
            severity="error",
            message=f"the model has {len(model.subgraphs)} graphs (loops or branches); the compiler reads one",
            fix="unroll loops when exporting (keras: unroll=True) or by edgeship compress --method rewrite-loops, or "
            "use an LSTM layer that converts to one operation",
        )


def _already_compiled(model: TfliteFile) -> Iterator[Finding]:
    found = tuple(o.index for o in model.main.operators if o.custom and o.op == CUSTOM_OP)
    if found:
        yield Finding(
            code="already-compiled",
            severity="error",
            message="this file came out of edgetpu_compiler already",
            fix="give the .tflite from before compiling (without _edgetpu in its name)",
            operations=found,
        )


def _flex(model: TfliteFile) -> Iterator[Finding]:
    found = [o for o in model.main.operators if o.custom and o.op.startswith("Flex")]
    if found:
        names = ", ".join(sorted({o.op for o in found}))
        yield Finding(
            code="flex-operation",
            severity="error",
            message=f"TensorFlow operations that TFLite only has through its Flex delegate: {names}",
            fix="convert with TFLITE_BUILTINS only, and replace what the converter then names",
            operations=tuple(o.index for o in found),
        )


def _versions(model: TfliteFile, lowered: frozenset[int]) -> Iterator[Finding]:
    newest = newest_versions()
    groups: dict[tuple[str, int], list[int]] = {}
    for operator in model.main.operators:
        if not operator.custom and operator.version > newest.get(operator.op, 0):
            groups.setdefault((operator.op, operator.version), []).append(operator.index)
    for (op, version), found in groups.items():
        known = newest.get(op, 0)
        says = f"Didn't find op for builtin opcode '{op}' version '{version}'"
        if set(found) <= lowered:
            yield Finding(
                code="operation-version",
                severity="note",
                message=f"{op} has version {version}, the compiler reads up to {known}: edgeship lowers the number "
                "before compiling, which is safe for these tensor types",
                fix="nothing to do",
                operations=tuple(found),
            )
        else:
            yield Finding(
                code="operation-version",
                severity="error",
                message=f"the compiler would say: {says}"
                + (f"; it reads up to {known}" if known else "; it was released before that operation"),
                fix="convert with TensorFlow 2.8 or older"
                if known
                else f"replace {op} by older operations when exporting",
                operations=tuple(found),
            )
