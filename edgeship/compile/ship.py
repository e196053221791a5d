"""What becomes of the chosen variant between scoring and bundling: compiled, left for the CPU, or as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeship.compile.backend import CompileOptions, CompileResult
from edgeship.compile.backends import backend_of
from edgeship.errors import InputError, ToolError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.values import Artifact, TensorSpec, Variant

SUFFIX = "-uncompiled"
"""Ends the name of a variant that ships without its compiler, so that status and every answer say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What is bundled for a target."""

    variant: Variant
    """What the device runs. Its scores are the twin's."""
    twin: Variant
    """What was scored; golden vectors are recorded from it. The same as `variant` where nothing was compiled."""
    profile: TargetProfile
    """What the device must be: without its accelerator where the model was not compiled."""
    result: CompileResult | None
    """None: the target needs no compiler. With `segments`, `variant` is what they were made from."""

    @property
    def uncompiled(self) -> str | None:
        """Why the model ships without its compiler, or None."""
        return self.result.reason if self.result and not self.result.compiled else None


def require_compiler(profile: TargetProfile, options: CompileOptions) -> None:
    """Raise ToolError where a target's compiler is missing, unless the user allowed that.

    What is made of several files needs the compiler whatever was allowed, and Google's: InputError
    `not-an-edgetpu`, `segments-and-co-compile`.
    """
    backend = backend_of(profile)
    require_possible(profile, options)
    if backend is not None and (options.several or not options.allow_uncompiled):
        backend.require(options)


def require_possible(profile: TargetProfile, options: CompileOptions) -> None:
    """Raise InputError `segments-and-co-compile` or `not-an-edgetpu` where several files are asked for in vain."""
    if not options.several:
        return
    asked = {"--segments": options.segments > 1, "--co-compile": bool(options.together)}
    if all(asked.values()):
        raise InputError(
            "segments-and-co-compile",
            "the compiler takes one model for a pipeline, and several for one chip: not both in one call",
            context={"segments": options.segments, "co-compile": ", ".join(map(str, options.together))},
            hint="leave one of --segments and --co-compile out",
        )
    if profile.compiler.backend != "edgetpu":
        raise InputError(
            "not-an-edgetpu",
            f"{next(o for o in asked if asked[o])} is for Edge TPUs, and {profile.name} has none",
            context={"target": profile.name, "compiler": profile.compiler.backend},
            hint="build that target in a call of its own, without the option",
        )


def ship(
    variant: Variant, profile: TargetProfile, out: Path, options: CompileOptions, progress: Progress
) -> Shipped:
    """Compile a variant where its target has a compiler; see `CompilerBackend.compile` for what it raises.

    Raises InputError `pipeline-not-servable` where the compiler made several files unasked, ToolError
    `compiled-io-changed`.
    """
    backend = backend_of(profile)
    if backend is None:
        return Shipped(variant=variant, twin=variant, profile=profile, result=None)
    result = backend.compile(variant.artifact, profile, out, options, progress)
    if not result.compiled:
        progress.note(f"{profile.name}: {result.words}")
        named = replace(variant.artifact, recipe=variant.artifact.recipe + SUFFIX)
        left = replace(variant, artifact=named)
        return Shipped(variant=left, twin=left, profile=profile.without_accelerator(), result=result)
    if len(result.segments) == options.segments > 1:
        progress.note(f"{profile.name}: {result.reason}, in {len(result.segments)} segments")
        return Shipped(variant=variant, twin=variant, profile=profile, result=result)
    if len(result.artifacts) != 1:
        raise InputError(
            "pipeline-not-servable",
            f"the compiler made {len(result.artifacts)} segments; a service runs one model on one accelerator",
            context={
                "target": profile.name,
                "key": "compiler.options",
                "found": " ".join(profile.compiler.options),
            },
            hint="leave -n out of compiler.options in the target's YAML; for files without a service: "
            "edgeship build MODEL --segments N",
        )
    (artifact,) = result.artifacts
    _same_order(variant.artifact, artifact)
    progress.note(f"{profile.name}: {result.reason}")
    return Shipped(variant=replace(variant, artifact=artifact), twin=variant, profile=profile, result=result)


def _same_order(before: Artifact, after: Artifact) -> None:
    """Check that inputs and outputs come in the order, types and scales that were scored."""

    def seen(specs: tuple[TensorSpec, ...]) -> list[str]:
        return [f"{s.dtype} {[abs(n) for n in s.shape]} {_scale(s)}" for s in specs]

    for side in ("inputs", "outputs"):
        one, two = seen(getattr(before.signature, side)), seen(getattr(after.signature, side))
        if one != two:
            raise ToolError(
                "compiled-io-changed",
                f"the compiled model's {side} are not those of the model that was scored",
                context={"file": after.path.name, "before": "; ".join(one), "after": "; ".join(two)},
                hint="compile again; report it with the model if it stays",
            )


def _scale(spec: TensorSpec) -> str:
    q = spec.quantization
    return f"scale {q.scales[0]:.6g} zero {q.zero_points[0]}" if q else "not quantized"
