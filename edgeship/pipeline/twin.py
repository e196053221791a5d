"""The int8 twin of a float model, for asking a compiler where operations will run before there is any data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeship.digest import sha256_file
from edgeship.errors import InputError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.quantize.derive import derive_all
from edgeship.quantize.recipes import RECIPES
from edgeship.values import FloatModel, PreparedSamples, TensorSpec

SAMPLES = 4


@contextmanager
def int8_twin(model: FloatModel, profile: TargetProfile, progress: Progress) -> Iterator[Path]:
    """Yield `model` quantized to int8 with made-up samples: placement depends on types and shapes, not on ranges.

    Never to be shipped: its ranges are those of noise. Raises InputError `check-needs-int8` where it cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="edgeship-twin-") as folder:
        samples = tuple(
            _made_up(spec, Path(folder) / f"x{number}.npy")
            for number, spec in enumerate(model.signature.inputs)
        )
        progress.step("quantizing with made-up samples, to ask where operations will run")
        try:
            made = derive_all(
                model,
                (RECIPES["int8"],),
                PreparedSamples(paths=samples, sha256=sha256_file(samples[0])),
                Path(folder),
                profile=profile,
                progress=progress,
            )
        except InputError as error:
            raise _not_to_be_had(model, profile, error.message) from None
        if not made.artifacts:
            raise _not_to_be_had(model, profile, made.failed[0][1])
        yield made.artifacts[0].path


def _made_up(spec: TensorSpec, path: Path) -> Path:
    """Write samples for one input: noise of 0..1, and zeros where integers count or look up."""
    noise = np.random.Generator(np.random.PCG64(0)).random((SAMPLES, *(abs(n) for n in spec.shape[1:])))
    np.save(
        path, noise.astype(spec.dtype) if spec.dtype.startswith("float") else np.zeros_like(noise, spec.dtype)
    )
    return path


def _not_to_be_had(model: FloatModel, profile: TargetProfile, why: str) -> InputError:
    return InputError(
        "check-needs-int8",
        f"the compiler of {profile.name} takes quantized models only, and this one cannot be quantized: {why}",
        context={"model": model.source.path, "target": profile.name},
        hint=f"edgeship inspect {model.source.path}",
    )
