"""Is what the compiler wrote what was asked for? Checked in the file itself, not in the log."""

from __future__ import annotations

from collections.abc import Sequence

from edgeship.compile.edgetpu.package import Package, packages_of
from edgeship.errors import ToolError
from edgeship.tflite.file import TfliteFile
from edgeship.values import TensorSpec


def verify(
    original: TfliteFile, compiled: Sequence[TfliteFile], *, runtime: int | None
) -> tuple[Package, ...]:
    """Return the packages in a compiled model (one file, or the segments of a pipeline in order).

    Raises ToolError: `edgetpu-nothing-mapped`, `edgetpu-io-changed`, `edgetpu-runtime-too-new` (the package asks for
    more than the target's `runtime`), `edgetpu-output-corrupt`, `edgetpu-segments-disconnected`.
    """
    found: list[Package] = []
    for part in compiled:
        packages = packages_of(part)
        if not packages:
            raise nothing_mapped(part)
        found += packages
    _same(original.signature.inputs, compiled[0].signature.inputs, "inputs", compiled[0])
    _same(original.signature.outputs, compiled[-1].signature.outputs, "outputs", compiled[-1])
    _connected(original, compiled)
    needed = max(p.min_runtime_version for p in found)
    if runtime is not None and needed > runtime:
        raise ToolError(
            "edgetpu-runtime-too-new",
            f"the compiled model needs Edge TPU runtime {needed}, and the target has {runtime}",
            context={"file": compiled[0].path.name},
            hint=f"set compiler.min_runtime_version: {runtime} in the target, so that the compiler keeps to it",
        )
    return tuple(found)


def _connected(original: TfliteFile, segments: Sequence[TfliteFile]) -> None:
    """Check that each segment reads only the model's inputs and what earlier segments make.

    By the tensors' names, as libcoral's pipeline runner connects them.
    """
    there = {original.main.tensors[i].name for i in original.main.inputs}
    for number, segment in enumerate(segments, 1):
        graph = segment.main
        missing = [name for i in graph.inputs if (name := graph.tensors[i].name) not in there]
        if missing and len(segments) > 1:
            raise ToolError(
                "edgetpu-segments-disconnected",
                f"segment {number} of {len(segments)} reads what no earlier one makes",
                context={"file": segment.path.name, "tensors": ", ".join(missing)},
                hint="this should not happen: compile again, and report it if it stays",
            )
        there |= {graph.tensors[i].name for i in graph.outputs}


def verify_together(models: Sequence[Sequence[Package]]) -> None:
    """Check that co-compiled models share their parameter cache. Raises ToolError `edgetpu-not-co-compiled`."""
    tokens = {token for packages in models for p in packages for token in p.caching_tokens}
    if len(tokens) > 1:
        raise ToolError(
            "edgetpu-not-co-compiled",
            "the models do not share one caching token: each would evict the others' parameters at every switch",
            context={"tokens": ", ".join(f"{t:016x}" for t in sorted(tokens))},
            hint="compile all of them again in one call whenever one of them changes",
        )


def nothing_mapped(model: TfliteFile) -> ToolError:
    """Return the error for a file without a single Edge TPU operation, which the compiler calls a success."""
    return ToolError(
        "edgetpu-nothing-mapped",
        "the compiler mapped no operation to the Edge TPU: the model would run on the CPU alone",
        context={"file": model.path.name, "operations": len(model.main.operators)},
        hint="edgeship check MODEL --target coral says why and what to change",
    )


def _same(before: Sequence[TensorSpec], after: Sequence[TensorSpec], what: str, file: TfliteFile) -> None:
    def seen(specs: Sequence[TensorSpec]) -> list[str]:
        return [f"{s.dtype} {[abs(size) for size in s.shape]} {_scale(s)}" for s in specs]

    if seen(before) != seen(after):
        raise ToolError(
            "edgetpu-io-changed",
            f"the compiled model's {what} differ from the original's",
            context={
                "file": file.path.name,
                "before": "; ".join(seen(before)),
                "after": "; ".join(seen(after)),
            },
            hint="this should not happen: compile again, and report it if it stays",
        )


def _scale(spec: TensorSpec) -> str:
    q = spec.quantization
    return f"scale {q.scales[0]:g} zero {q.zero_points[0]}" if q else "not quantized"
