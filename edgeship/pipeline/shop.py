"""Where candidates are made, and what everything that is kept of them is named by: `Shop`."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeship.compress.own import digest_of
from edgeship.pipeline.inputs import Inputs
from edgeship.pipeline.keeping import made_with
from edgeship.pipeline.site import BuildSite
from edgeship.pipeline.training_data import HeldOut
from edgeship.profile import TargetProfile
from edgeship.score.metrics import is_own
from edgeship.values import Step

FORMAT = 2
"""Part of every key: raise it when a method makes something else of the same settings."""
OWN = ("model", "loss")
"""Settings that name a file or a module of the user's own."""


@dataclass(slots=True, kw_only=True)
class Shop:
    """Where candidates of one model for one target are made, and what they are made with."""

    site: BuildSite
    profile: TargetProfile
    inputs: Inputs
    held_out: HeldOut | None
    until: float
    """Time (of the monotonic clock) after which no step goes on."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set where the search was interrupted: workers of other threads end."""
    locks: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    @property
    def store(self) -> Path:
        """The folder of what is kept."""
        return self.site.work / "compress"

    def by(self) -> dict[str, Any]:
        """Return what is part of every key: how, and with which tools, things are made here."""
        return {"format": FORMAT, "with": made_with()}

    def metric(self) -> list[Any]:
        """Return what candidates are scored by: the metric, its source where it is the user's own, the
        output."""
        goals, base = self.site.project.goals, str(self.site.project.base)
        return [goals.metric, digest_of(goals.metric, base) if is_own(goals.metric) else "", goals.output]

    def data(self) -> dict[str, str]:
        """Return the digests of what a step may look at, by role."""
        held = {"train": self.inputs.train, "calibration": self.inputs.calibration}
        return {role: dataset.info.sha256 for role, dataset in held.items() if dataset is not None}

    def named(self, *steps: Step) -> dict[str, Any]:
        """Return the digests of the files and modules of the user's own that steps name."""
        names = sorted({str(v) for step in steps for key, v in step.settings if key in OWN and v != "auto"})
        folder = str(self.site.project.base)
        return {"named": {name: digest_of(name, folder) for name in names}} if names else {}
