"""What `edgeship keys` shows: whose releases a device takes, and who signed a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeship.bundle import envelope
from edgeship.printable import one_line
from edgeship.report.figures import moment
from edgeship.values import Bundle

NEVER_TOLD = "the device was never told whose releases it may run: the first deployment decides"


def trust_document(devices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the `edgeship.trust/1` document: what each device takes, and its floors."""
    return {
        "schema": "edgeship.trust/1",
        "devices": [
            {
                "host": found["host"],
                "policy": _policy(found["policy"]),
                "signers": found["signers"],
                "sequences": found["sequences"],
            }
            for found in devices
        ],
    }


def _policy(policy: Mapping[str, Any] | None) -> dict[str, Any]:
    if policy is None:
        return {"unavailable": NEVER_TOLD}
    age = policy["max_age_days"]
    return {
        "unsigned": policy["unsigned"],
        "threshold": policy["threshold"],
        "max_age_days": {"unavailable": "no limit is set"} if age is None else age,
        "revoked": policy["revoked"],
    }


def trust_text(found: Mapping[str, Any]) -> str:
    """Return what one device takes, a few lines."""
    policy, host = found["policy"], found["host"]
    if policy is None:
        return (
            f"{host}: was never told whose releases it may run: the first deployment decides, and has it take unsigned "
            f"ones unless it is --signed-only; to say it now: edgeship keys trust KEY.pub {found['at']}"
        )
    lines = [f"{host}: {_takes(found)}"]
    if policy["max_age_days"] is not None:
        lines.append(f"  signatures at most {policy['max_age_days']:g} days old")
    names = {signer["fingerprint"]: signer["name"] for signer in found["signers"]}
    for fingerprint in [*names, *(each for each in policy["revoked"] if each not in names)]:
        revoked = "  REVOKED" if fingerprint in policy["revoked"] else ""
        lines.append(f"  {fingerprint}  {names.get(fingerprint, '(a key that may not sign here)')}{revoked}")
    lines += [f"  {app}: nothing below sequence {floor}" for app, floor in sorted(found["sequences"].items())]
    return "\n".join(one_line(line) for line in lines)


def _takes(found: Mapping[str, Any]) -> str:
    """Return what a device that was told takes; where that is nothing, what to type."""
    policy = found["policy"]
    usable = {signer["fingerprint"] for signer in found["signers"]} - set(policy["revoked"])
    if policy["unsigned"] == "allow":
        but = ", but for what only revoked keys signed" if policy["revoked"] else ""
        return f"takes any release, signed or not{but}"
    wanted = policy["threshold"]
    if len(usable) >= wanted:
        return f"takes releases signed by {wanted} of these keys"
    lower = f", or edgeship keys policy --threshold {len(usable)} {found['at']}" if usable else ""
    return (
        f"{len(usable)} usable of threshold {wanted}: takes nothing until another key may sign: "
        f"edgeship keys trust KEY.pub {found['at']}{lower}"
    )


def signatures_document(bundle: Bundle, good: Sequence[bool]) -> dict[str, Any]:
    """Return the `edgeship.signatures/1` document: who signed what, until when, and whether it holds."""
    entries = []
    for each, holds in zip(bundle.signatures, good, strict=True):
        said = envelope.statement(each)
        entries.append(
            {
                "fingerprint": envelope.signer(each.signature).fingerprint,
                "holds": holds,
                **{key: said[key] for key in envelope.NUMBERS},
            }
        )
    return {
        "schema": "edgeship.signatures/1",
        "bundle": str(bundle.path),
        "release": bundle.release,
        "signatures": entries,
    }


def signatures_text(document: Mapping[str, Any]) -> str:
    """Return the same for people."""
    lines = [f"{document['bundle']}: release {document['release'][:12]}"]
    for entry in document["signatures"]:
        until = "holds" if entry["holds"] else "DOES NOT HOLD"
        lines.append(
            f"  {entry['fingerprint']}  {until}, sequence {entry['sequence']}, signed {moment(entry['signed_at'])}, "
            f"expires {moment(entry['expires'])}"
        )
    if not document["signatures"]:
        lines.append("  nobody signed it: edgeship keys sign BUNDLE --sign-with KEY")
    return "\n".join(lines)
