"""What `edgeship keys` shows: whose releases a device takes, and who signed a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeship.bundle import envelope
from edgeship.report.figures import moment
from edgeship.values import Bundle

NEVER_TOLD = "the device was never told whose releases it may run"


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
        return f"{host}: was never told whose releases it may run, and refuses all"
    if policy["unsigned"] == "allow":
        lines = [f"{host}: takes any release, signed or not"]
    else:
        lines = [f"{host}: takes releases signed by {policy['threshold']} of these keys"]
    if policy["max_age_days"] is not None:
        lines.append(f"  signatures at most {policy['max_age_days']:g} days old")
    for signer in found["signers"]:
        revoked = "  REVOKED" if signer["fingerprint"] in policy["revoked"] else ""
        lines.append(f"  {signer['fingerprint']}  {signer['name']}{revoked}")
    lines += [f"  {app}: nothing below sequence {floor}" for app, floor in sorted(found["sequences"].items())]
    return "\n".join(lines)


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
