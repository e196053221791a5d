"""The other rungs of the ladder in a bundle: how each ships, and a bundle without those that its runtime refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeship.bundle.make import make_bundle
from edgeship.bundle.parts import BundleParts
from edgeship.compile.ship import Shipped, ship
from edgeship.errors import EdgeshipError, ToolError
from edgeship.pipeline.several import weighed_of
from edgeship.pipeline.site import BuildSite
from edgeship.profile import TargetProfile
from edgeship.score.gates import judge
from edgeship.values import Bundle, Variant

UNPROVEN = ("golden-cannot-record", "golden-not-finite", "golden-disagree")
"""What tells of a variant, not of the build: it goes without that one."""


def rungs(
    site: BuildSite, profile: TargetProfile, others: Sequence[Variant], shipped: Shipped
) -> tuple[Shipped, ...]:
    """Return how other variants ship beside the chosen one, which ships as `shipped`.

    Each is compiled where the target has a compiler. One that cannot be, or is too large then, or would need another
    device than the chosen one, is left out, and it is told.
    """
    if site.compiling.several:
        return ()
    found = []
    for number, variant in enumerate(others):
        name, folder = variant.artifact.name, site.scratch / "ladder" / str(number)
        try:
            rung = ship(variant, profile, folder, site.compiling, site.progress)
        except EdgeshipError as error:
            site.progress.note(f"{profile.name}: {name} is not in the bundle: {error.message}")
            continue
        failed = [
            gate.reason
            for gate in judge(weighed_of(rung), variant.scorecard, site.project.goals, site.project.accept)
            if gate.verdict == "fail"
        ]
        if rung.profile != shipped.profile:
            failed.append("it runs on another processor of the device than the chosen one")
        if failed:
            site.progress.note(f"{profile.name}: {name} is not in the bundle: {failed[0]}")
        else:
            found.append(rung)
    return tuple(found)


def with_rungs(parts: BundleParts, beside: tuple[Shipped, ...]) -> BundleParts:
    """Return the parts of a bundle that carries these, too."""
    also = tuple(rung.variant for rung in beside)
    return replace(parts, variants=(*parts.variants, *also), also=also, beside=beside)


def seal_ladder(site: BuildSite, parts: BundleParts) -> tuple[Bundle, BundleParts]:
    """Return the sealed bundle and what it was made of: without those of `also` that the devices' runtime does not run,
    or not as scored, which is told. Raises as `make_bundle` does; of the chosen variant always."""
    while True:
        try:
            return make_bundle(parts, out=site.out, cache=site.work, progress=site.progress), parts
        except ToolError as error:
            refused = str(error.context.get("variant"))
            left = parts.without(refused)
            if error.reference not in UNPROVEN or left is parts:
                raise
            site.progress.note(f"{parts.profile.name}: {refused} is not in the bundle: {error.message}")
            parts = left
