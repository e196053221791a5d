"""Whether a device has memory to keep every variant of a ladder loaded: a pure check, as those of `preflight`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeship.deploy.finding import Finding, finding
from edgeship.device.facts import Probed


def ladder(probed: Probed, manifest: Mapping[str, Any], *, alone: bool) -> Iterator[Finding]:
    """Yield what is found of the memory for a ladder; nothing for a bundle without one.

    `alone`: the governor is off on this device, so that the chosen variant is the only one that is loaded. Where not
    all fit the device is refused, with those that do and what to type: nothing is left out silently.
    """
    needs = manifest.get("requires", {}).get("ladder")
    if needs is None or alone or probed.available_mb is None:
        return
    base, sizes = int(needs["base_mb"]), {str(name): int(mb) for name, mb in needs["resident_mb"].items()}
    wanted, have = base + sum(sizes.values()), probed.available_mb
    all_of_them = f"{len(sizes)} variants loaded together take {wanted} MB"
    if wanted <= have:
        yield finding("ladder", "pass", f"{all_of_them}, {have} MB are available", limit=wanted, value=have)
        return
    chosen = str(manifest.get("chosen"))
    fit = those_that_fit(sizes, chosen, have - base)
    some = f"; {', '.join(fit)} fit" if len(fit) > 1 else ""
    hint = f"edgeship deploy ... --set governor.mode=off ({chosen} alone is loaded and serves)"
    if len(fit) > 1 and not any("+" in name for name in fit):
        recipes = " ".join(f"--recipe {name}" for name in fit)
        hint += f"; or only those that fit: edgeship build MODEL --target {manifest.get('target')} --ladder {recipes}"
    reason = f"{all_of_them}, and the device has {have} MB available{some}"
    yield finding("ladder", "fail", reason, limit=wanted, value=have, hint=hint)


def those_that_fit(sizes: Mapping[str, int], chosen: str, room: int) -> tuple[str, ...]:
    """Return the variants that fit `room` (MB) together: the chosen one, then the smallest ones."""
    order = sorted(sizes, key=lambda name: (name != chosen, sizes[name]))
    fit: list[str] = []
    for name in order:
        if sizes[name] + sum(sizes[other] for other in fit) <= room:
            fit.append(name)
    return tuple(fit)
