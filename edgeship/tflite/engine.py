"""Which of a target's engines runs a file: `engine_for(file, profile)`.

A profile names its engine and, in order of preference, others for models that this one refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeship.tflite.file import TfliteFile
from edgeship.tflite.state import states_of

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile

COMPILED = {
    "edgetpu-custom-op": "an Edge TPU",
    "ethos-u": "an Arm Ethos-U",
    "DISPATCH_OP": "a phone's NPU",
}  # fmt: skip
"""Custom operation that a compiler leaves in place of what it compiled -> for what. DISPATCH_OP is LiteRT's, for the
NPUs of Qualcomm, MediaTek and Google Tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """The engine that a target takes for a model."""

    profile: TargetProfile
    """The target with that engine in its first place."""
    reason: str | None
    """Why it is not the engine that the target prefers; None: it is."""


def engine_for(file: TfliteFile, profile: TargetProfile) -> EngineChoice:
    """Return the first of a target's engines that does not refuse the file; the preferred one where all do."""
    refused: list[str] = []
    for one in profile.engines():
        why = refusal(file, one.runtime.engine)
        if why is None:
            return EngineChoice(profile=one, reason="; ".join(refused) or None)
        refused.append(f"{one.runtime.engine} {one.runtime.version} refuses {why}")
    return EngineChoice(profile=profile, reason=None)


def refusal(file: TfliteFile, engine: str) -> str | None:
    """Return what in a file an engine is known to refuse, whatever its operations are, or None.

    LiteRT's C API loads no model with variable tensors ("Variable tensors not yet supported", measured with 2.3);
    variables of the model itself (VAR_HANDLE) it runs, but where one's value is an output as it is ("Failed to set
    custom allocation for output tensor": the runtime allocates what READ_VARIABLE makes by itself).
    tflite_runtime 2.14 does not load weights of 4 bits in a file of integers, nor those that are widened first, and
    computes NaN of those that it multiplies with float activations (measured).
    """
    if engine == "tflite_runtime" and (narrow := narrow_weights(file)):
        return f"weights of 4 bits ({len(narrow)} tensors)" if len(narrow) > 1 else "weights of 4 bits"
    if engine != "litert":
        return None
    held = [s.name for s in states_of(file) if s.kind == "tensor"]
    if held:
        operations = ", ".join(dict.fromkeys(name.partition(":")[0] for name in held))
        return f"the state that {operations} keeps between runs (variable tensors)"
    read = {i for op in file.main.operators if op.op == "READ_VARIABLE" for i in op.outputs}
    names = [
        spec.name for spec, i in zip(file.signature.outputs, file.main.outputs, strict=True) if i in read
    ]
    return f"an output that is a variable's own value ('{names[0]}')" if names else None


def narrow_weights(file: TfliteFile) -> frozenset[str]:
    """Return the names of constants of 4 bits."""
    return frozenset(
        t.name for graph in file.subgraphs for t in graph.tensors if t.has_data and t.dtype == "int4"
    )
