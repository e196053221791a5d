"""The keys under `governor:` in `edgeship.yaml`: how the service decides on the device."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edgeship.project import checks
from edgeship.project.types import Above0, Section

Watts = Annotated[Above0, Field(le=1e4)]


class BatteryBand(Section):
    """What holds while the battery of the device has less than so much."""

    below_percent: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    """Percent of the battery's charge; the band with the lowest one that still applies counts."""
    watts: Watts | None = None
    """Budget then, in place of governor.watts; nothing: that stays."""
    variant: str | None = None
    """The one variant that serves then; nothing: the governor goes on choosing."""


class GovernorSection(Section):
    """How the service of a bundle with several variants decides on the device which one answers, and how much power it
    may draw. `governor: off` for short: the chosen variant answers always. All of it can be changed on a device that
    serves: edgeship tune --host H governor.watts=3."""

    mode: Literal["auto", "off"] = "auto"
    """auto: each request is answered by the most accurate variant that is in time and within the budgets. off: the
    chosen variant answers always, whatever the load."""
    variant: str | None = None
    """The one variant that answers, whatever the load (edgeship inspect BUNDLE names them); nothing: it is decided
    request by request."""
    deadline_ms: Annotated[Above0, Field(le=86.4e6)] | None = None
    """Milliseconds after which an answer is of no use, where a request says nothing else (parameters.deadline_ms).
    What cannot be done by then is refused at once, 503 with Retry-After. Nothing: no deadline."""
    watts: Watts | None = None
    """What the whole board may draw on average; nothing: no budget."""
    joules_per_hour: Annotated[Above0, Field(le=36e6)] | None = None
    """The same as energy an hour, for a solar panel or a battery; with watts, too, the smaller one counts."""
    temperature_c: Annotated[float, Field(gt=0, le=150, allow_inf_nan=False)] | None = None
    """Degrees Celsius that no temperature sensor of the target should exceed; nothing: 3 below where the board
    throttles itself, as its profile says."""
    battery: Annotated[tuple[BatteryBand, ...], AfterValidator(checks.battery)] = ()
    """What holds as the battery runs down, highest first: [{below_percent: 50, watts: 3}, {below_percent: 20, watts:
    2}]. For targets with a battery among their sensors."""
    coalesce: Literal["auto", "off"] = "auto"
    """auto: requests that wait are run together where the device gains by it, as measured there. off: one by one."""
    cascade: Literal["auto", "off"] = "auto"
    """auto: where a cheap variant and, when it is unsure, a costly one are together better than any one of them,
    they are one more choice; for classes only. off: none."""
    still: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    """For frames of one camera (parameters.stream): largest mean change of a sample, as a share of its range, at which
    the scene still counts as still and the last answer is given again. 0.01 suits most cameras. Nothing: every frame
    is run."""
    load: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.8
    """Share of the time that periodic jobs (parameters.period_ms) should keep the device busy."""
    log: bool = False
    """Write every decision beside the service's state, for replay; about 200 bytes a request, the last 2 MiB kept."""
