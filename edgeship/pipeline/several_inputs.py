"""What cannot be had for a model of several inputs: a dataset holds one `x`, and preprocessing is declared for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeship.errors import InputError
from edgeship.profile import TargetProfile
from edgeship.project import Project
from edgeship.quantize.recipes import RECIPES
from edgeship.values import FloatModel

ONE_INPUT = "give the model one input and take it apart inside (x[..., :n], x[..., n:]); then --calibration"


def check_several_inputs(project: Project, model: FloatModel, profiles: Sequence[TargetProfile]) -> None:
    """Raise InputError `preprocess-several-inputs` or `several-inputs` where a model has more than one input and its
    preprocessing, its data or a target's recipes speak of one.

    Nothing of it may be left out in silence: clients would send raw values to a model that wants prepared ones.
    """
    inputs = model.signature.inputs
    if len(inputs) == 1 or not model.is_float:
        return
    shown: dict[str, Any] = {
        "model": model.source.path,
        "inputs": ", ".join(f"{t.name} {list(t.shape)}" for t in inputs),
    }
    if not project.preprocess.is_identity():
        raise InputError(
            "preprocess-several-inputs",
            f"preprocess: is declared once, and the model has {len(inputs)} inputs: which one it is for is not known",
            context=shown | {"key": "preprocess"},
            hint="put the steps into the model (keras.layers.Rescaling, Normalization), and leave preprocess: out",
        )
    for profile in profiles:
        if not any(not RECIPES[name].needs_calibration for name in profile.precision.accepts):
            raise InputError(
                "several-inputs",
                f"{profile.name} takes integer models only; those need samples, of which a dataset holds one x, and "
                f"the model has {len(inputs)} inputs",
                context=shown | {"target": profile.name},
                hint=ONE_INPUT,
            )
    for role in ("calibration", "evaluation"):
        if reference := getattr(project.datasets, role):
            raise InputError(
                "several-inputs",
                f"a dataset holds one x, and the model has {len(inputs)} inputs",
                context=shown | {f"{role} data": reference},
                hint="leave --calibration and --eval out: recipes that need no samples are built, on targets that take "
                f"one; for int8, {ONE_INPUT}",
            )
