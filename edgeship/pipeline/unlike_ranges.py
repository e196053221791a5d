"""What samples show of a model's outputs before anything is built: joins of unlike ranges, as `check` tells them."""

from __future__ import annotations

from collections.abc import Sequence

from edgeship.compile.report import Finding
from edgeship.errors import EdgeshipError, InputError
from edgeship.pipeline.inputs import Inputs
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.quantize.recipes import row_of
from edgeship.toolchain import run_worker

LOOK = "edgeship.quantize.unlike_parts:look"


def unlike_ranges(
    inputs: Inputs, profiles: Sequence[TargetProfile], progress: Progress
) -> dict[str, tuple[Finding, ...]]:
    """Return by target what the project's calibration samples show, and what a build will do about it.

    Nothing for a model that came quantized: its own scales tell; nothing where the samples cannot be run: whoever
    derives from them tells why. Operations are named where a target without a
    compiler is told of the model as it came.
    """
    mine = [p for p in profiles if any(row_of(name).activation_bits == 8 for name in p.precision.wants)]
    if inputs.calibration_prepared is None or not inputs.float_model.is_float or not mine:
        return {}
    samples = inputs.calibration_prepared.paths
    payload = {"model": str(inputs.float_model.path), "samples": [str(path) for path in samples]}
    try:
        found = run_worker(LOOK, payload, progress=progress).value["found"]
    except InputError:
        raise
    except EdgeshipError:
        return {}
    return {
        profile.name: tuple(
            Finding(
                code="unlike-ranges",
                severity="warning",
                message="in int8, " + one["float" if profile.deployable else "outputs"],
                fix="nothing: edgeship build does this; outputs of their own for boxes and scores keep all in int8",
                operations=tuple(one["operations"]) if profile.compiler.backend == "none" else (),
            )
            for one in found
        )
        for profile in mine
    }
