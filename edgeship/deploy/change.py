"""A change of a device's own settings, as a value: how it travels, how it is signed, and what refusals of it mean.

Which settings there are and what they may be is `project/governing.py`; the device checks them again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeship.deploy.options import DeployOptions
from edgeship.deploy.reach import filled
from edgeship.deploy.refusals import Refused
from edgeship.digest import canonical_json
from edgeship.errors import DeviceError
from edgeship.registry import did_you_mean
from edgeship.values import Host, as_json

SCHEMA = "edgeship.tune/1"
DAY = 86_400
HINTS: dict[str, str] = {
    **dict.fromkeys(("bad-signature", "bad-statement", "wrong-namespace"), "run the same command again"),
    **dict.fromkeys(
        ("signature-expired", "signature-stale"),
        "the clocks differ: compare this machine's date with {ssh}date",
    ),
    "too-few-signatures": "have it signed by another key, too: --sign-with KEY --sign-with ANOTHER",
    "key-revoked": "sign with another key: --sign-with KEY; edgeship keys show {at} tells which may",
    "trust-not-set": "edgeship keys policy {at} --unsigned allow; or, for signed ones only: edgeship keys trust {at}",
}
"""What to type where a change is refused, and the hint for a release would not do."""
ONE_SIGNS = threading.Lock()
"""ssh-keygen may ask for a passphrase: one at a time, however many devices are at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be other about a device's own settings."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Setting -> its value; None: what the release says."""
    lift: tuple[str, ...] = ()
    """Settings that are to be none, whatever the release says."""
    reset: bool = False
    """Have all others be what the release says."""

    def fields(self) -> dict[str, Any]:
        """Return the change as it travels and is signed."""
        return {"settings": dict(self.settings), "lift": sorted(self.lift), "reset": self.reset}


def described(change: Change) -> str:
    """Return a change in the words in which it is typed."""
    words = [f"governor.{key}={shown(value, 'null')}" for key, value in sorted(change.settings.items())]
    words += [f"governor.{key}=none" for key in sorted(change.lift)]
    return ", ".join([*(["--reset"] if change.reset else []), *words])


def shown(value: Any, nothing: str) -> str:
    """Return a setting's value as it is typed."""
    if value is None or value == []:
        return nothing
    if isinstance(value, list):
        return f"[{', '.join(_band(band) for band in value)}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _band(band: Any) -> str:
    """Return what holds below so much of a battery, as it is typed."""
    if not isinstance(band, Mapping):
        return json.dumps(band)
    said = [f"{key}: {shown(value, 'null')}" for key, value in band.items() if value is not None]
    return f"{{{', '.join(said)}}}"


UNUSED = "ept on this device"
"""What the service says of a setting that it cannot use (es_govern_settings.usable)."""


def is_taken_up(governor: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Return whether a service, by what it says of itself, goes by the settings that were found on the device: the
    release's, and its own. What it says in more words (bands of a battery) counts as said, and so does one that it
    says it cannot use (of a newer release)."""
    settings = governor.get("settings")
    if not isinstance(settings, Mapping):
        return False
    wanted = {**found["settings"], **found["own"]}
    plain = {key: value for key, value in wanted.items() if not isinstance(value, list)}
    said = governor.get("problems")
    refused = [text for text in said if isinstance(text, str)] if isinstance(said, list) else []
    return all(
        (key in settings and settings[key] == value)
        or any(text.startswith(f"governor.{key} is ") and UNUSED in text for text in refused)
        for key, value in plain.items()
    )


def change_of(options: DeployOptions) -> Change | None:
    """Return what a deployment brings to the device beside the release, or None."""
    if not options.settings and not options.lifted:
        return None
    return Change(settings=options.settings, lift=options.lifted)


def signed_fields(
    app: str, wanted: Mapping[str, Any] | None, change: Change, signers: Sequence[Path]
) -> dict[str, Any]:
    """Return a change as it travels, signed by each key; `wanted`: what the device's next one is signed with, None
    where it asks for no signature."""
    fields = change.fields()
    if wanted is None or not signers:
        return fields
    from edgeship.bundle.sign import sign_text

    moment = int(time.time())
    statement = {
        "schema": SCHEMA,
        "device": wanted["device"],
        "app": app,
        **fields,
        "sequence": wanted["sequence"],
        "signed_at": moment,
        "expires": moment + DAY,
    }
    with ONE_SIGNS:
        signed = [sign_text(canonical_json(statement), key) for key in signers]
    return {**fields, "signatures": as_json(signed)}


def explained(refused: Refused, host: Host, options: DeployOptions) -> Refused:
    """Return a refusal of settings with what to type next."""
    hint = HINTS.get(refused.reference)
    if hint is not None:
        refused.hint = filled(hint, host, options)
    known = [str(name) for name in refused.facts.get("known") or ()]
    if refused.reference == "no-such-rung" and (near := did_you_mean(str(refused.facts.get("name")), known)):
        refused.hint = f"did you mean governor.variant={near}?"
    return refused


def brought(ask: Callable[..., dict[str, Any]], app: str, options: DeployOptions) -> dict[str, Any] | None:
    """Return the settings that come with a release as they travel, signed where the device wants that; None: there are
    none. `ask` asks the device's helper. Raises DeviceError `unsigned` where nobody is there to sign."""
    change = change_of(options)
    if change is None:
        return None
    wanted = ask("tuned")["signed"]
    if wanted is not None and not options.signers:
        raise DeviceError(
            "unsigned",
            "settings that come with a release are not signed, and this device takes signed ones only",
            hint="run it again with --sign-with KEY",
        )
    return signed_fields(app, wanted, change, options.signers)
