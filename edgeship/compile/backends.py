"""The list of compiler backends, by the names that profiles use."""

from __future__ import annotations

from edgeship.compile.backend import CompilerBackend
from edgeship.compile.edgetpu.backend import EdgeTpu
from edgeship.compile.vela import Vela
from edgeship.profile import TargetProfile
from edgeship.registry import Registry


def _backends() -> Registry[CompilerBackend]:
    return Registry("compiler backend", {backend.name: backend for backend in (EdgeTpu(), Vela())})


def backend_of(profile: TargetProfile) -> CompilerBackend | None:
    """Return the backend a target's profile names, or None where it needs no compiler."""
    return None if profile.compiler.backend == "none" else _backends()[profile.compiler.backend]
