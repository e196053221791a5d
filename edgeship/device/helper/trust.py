"""Whose releases this device runs: its policy, the keys that may sign, and the floor that only rises."""

import base64
import binascii
import contextlib
import os
import re
import time

from .base import Refusal, canonical, read_json, read_text
from .files import write_whole
from .signatures import (
    KEY_TYPES,
    NAMESPACE,
    SIGNATURE_BYTES,
    check_verifier,
    encoded,
    fingerprint_of,
    key_kind,
    read_statement,
    signature_parts,
    verify_one,
)
from .state import NAME, read_floor, write_slots

POLICY_SCHEMA = "edgeship.policy/1"
NEW_POLICY = {
    "schema": POLICY_SCHEMA,
    "unsigned": "refuse",
    "threshold": 1,
    "max_age_days": None,
    "revoked": [],
}
MOST_SIGNATURES = 16
DAY = 86400
FINGERPRINT = re.compile(r"^SHA256:[A-Za-z0-9+/]{43}\Z")


def policy_path(place):
    """Return where the policy of this root is kept."""
    return os.path.join(place.trust, "policy.json")


def signers_path(place):
    """Return the file of keys that may sign, in the format of ssh-keygen's ALLOWED SIGNERS."""
    return os.path.join(place.trust, "allowed_signers")


def signatures_path(place, release):
    """Return where the signatures of a release are kept."""
    return place.of("signatures", release + ".json")


def read_policy(place):
    """Return the policy, or None where this device was never told one. A damaged one refuses everything."""
    path = policy_path(place)
    if not os.path.lexists(path):
        return None
    policy = read_json(path)
    problem = policy_problem(policy)
    if problem:
        raise Refusal("trust-damaged", "%s cannot be relied on: %s" % (path, problem), path=path)
    return policy


def policy_problem(policy):
    """Return what is wrong with a policy, or None. Unknown keys are wrong: they may be misspelt known ones."""
    if not isinstance(policy, dict) or set(policy) != set(NEW_POLICY) or policy["schema"] != POLICY_SCHEMA:
        return "it is not an %s document" % POLICY_SCHEMA
    threshold, days, revoked = policy["threshold"], policy["max_age_days"], policy["revoked"]
    if policy["unsigned"] not in ("allow", "refuse"):
        return "unsigned is %r" % (policy["unsigned"],)
    if type(threshold) is not int or not 1 <= threshold <= MOST_SIGNATURES:
        return "threshold is %r" % (threshold,)
    if days is not None and (type(days) not in (int, float) or not days > 0):
        return "max_age_days is %r" % (days,)
    if not isinstance(revoked, list) or not all(isinstance(x, str) and FINGERPRINT.match(x) for x in revoked):
        return "revoked is not a list of fingerprints"
    return None


def read_signers(place):
    """Return [{"name", "fingerprint", "kind"}] of the keys that may sign, in the file's order."""
    found = []
    for line in (read_text(signers_path(place)) or "").splitlines():
        words = line.split()
        kinds = [index for index, word in enumerate(words) if word in KEY_TYPES]
        if not words or words[0].startswith("#") or not kinds or kinds[0] + 1 >= len(words):
            continue
        with contextlib.suppress(binascii.Error, ValueError):
            key = base64.b64decode(words[kinds[0] + 1].encode("ascii"), validate=True)
            found.append({"name": words[0], "fingerprint": fingerprint_of(key), "kind": words[kinds[0]]})
    return found


def check_statement(place, said, release, fresh, floor, policy):
    """Refuse a statement on another release and, where `fresh` is wanted, one that is too old for this device."""
    if said["release"] != release or said.get("app") != place.app_name:
        raise Refusal(
            "wrong-release",
            "what was signed is release %s of %s, not this one" % (said["release"][:12], said.get("app")),
        )
    if not fresh:
        return
    stored = floor.get("sequences", {}).get(place.app_name, 0)
    if said["sequence"] < stored:
        raise Refusal(
            "older-release", "its sequence is %d, and %d ran here already" % (said["sequence"], stored)
        )
    in_time(said, floor, policy)


def in_time(said, floor, policy):
    """Refuse a statement that expired, or that was signed longer ago than the policy lets pass."""
    now = max(time.time(), floor["time"])
    if now >= said["expires"]:
        raise Refusal("signature-expired", "it expired %s" % date_of(said["expires"]))
    if policy["max_age_days"] is not None and now - said["signed_at"] > policy["max_age_days"] * DAY:
        raise Refusal(
            "signature-stale",
            "it was signed %s, and this device takes what is at most %g days old"
            % (date_of(said["signed_at"]), policy["max_age_days"]),
        )


def date_of(seconds):
    """Return a date for people, UTC; the number itself where it is beyond the calendar."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "at %d" % seconds


def authorise(place, release, signatures, fresh=True):
    """Return {"sequence", "signed_at", "signers"} that the signatures give a release; None: the policy asks for none
    (and only revoked keys must not have signed it).

    With a threshold of n, n different keys must each hold, and what is given is what n of them agree to: no single key
    can lift the floor. `fresh=False` leaves out floor, expiry and age, for a release that was confirmed here before.
    """
    policy = read_policy(place)
    if policy is None:
        raise Refusal("trust-not-set", "this device was never told whose releases it may run")
    if policy["unsigned"] == "allow":
        refuse_revoked(signatures, policy["revoked"])
        return None
    floor = read_floor(place)

    def read(text):
        said = read_statement(text)
        check_statement(place, said, release, fresh, floor, policy)
        return said

    good, wanted = holding(place, policy, signatures, "release", read), policy["threshold"]
    return {
        "sequence": sorted((said["sequence"] for said in good.values()), reverse=True)[wanted - 1],
        "signed_at": sorted((said["signed_at"] for said in good.values()), reverse=True)[wanted - 1],
        "signers": sorted(good),
    }


def holding(place, policy, signatures, what, read):
    """Return fingerprint -> statement of the signatures that hold, as many as the policy wants or more; refuses fewer.

    `what` is signed, for people; `read` returns what a text says, or refuses it.
    """
    if not isinstance(signatures, list) or len(signatures) > MOST_SIGNATURES:
        raise Refusal("bad-signature", "at most %d signatures are read" % MOST_SIGNATURES)
    if not signatures:
        raise Refusal("unsigned", "the %s is not signed, and this device takes signed ones only" % what)
    good, bad = {}, []
    names = [(signer["name"].split(",")[0], signer["fingerprint"]) for signer in read_signers(place)]
    for entry in signatures:
        try:
            entry = entry if isinstance(entry, dict) else {}
            fingerprint, text = verify_one(signers_path(place), names, entry, policy["revoked"])
            good[fingerprint] = read(text)
        except Refusal as refusal:
            if refusal.code == "no-verifier":
                raise
            bad.append(refusal)
    wanted = policy["threshold"]
    if len(good) < wanted:
        raise Refusal(
            bad[0].code if bad and not good else "too-few-signatures",
            "%d of %d needed signatures hold%s"
            % (len(good), wanted, "".join("; " + refusal.reason for refusal in bad)),
        )
    return good


def refuse_revoked(signatures, revoked):
    """Refuse a release that only revoked keys signed, where unsigned ones are taken. (Without its signatures it would
    be taken: this is against mistakes, a policy of `refuse` is against people.)"""
    who = set()
    for entry in signatures[:MOST_SIGNATURES] if isinstance(signatures, list) else ():
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            who.add(fingerprint_of(signature_parts(entry["signature"][:SIGNATURE_BYTES])[0]))
    if who and who <= set(revoked):
        raise Refusal("key-revoked", "%s is revoked, and nobody else signed" % ", ".join(sorted(who)))


def admit(place, request):
    """Refuse a release before anything is made or sent for it; `allow_unsigned` counts on a device never told."""
    if request.get("release") and (read_policy(place) is not None or not request.get("allow_unsigned")):
        authorise(place, request["release"], request.get("signatures") or [])


def pin_unsigned(place, request):
    """Tell a device that was never told anything to take unsigned releases, where the request says so; return whether
    that was the moment."""
    if not request.get("allow_unsigned") or read_policy(place) is not None:
        return False
    write_whole(policy_path(place), canonical(dict(NEW_POLICY, unsigned="allow")), 0o640)
    return True


def keep_signatures(place, release, signatures, accepted):
    """Keep a release's signatures beside it, with what they gave it."""
    old = read_json(signatures_path(place, release)) or {}
    kept = {"signatures": signatures, "accepted": accepted, "confirmed": bool(old.get("confirmed"))}
    write_whole(signatures_path(place, release), canonical(kept), 0o640)


def sweep_signatures(place):
    """Remove what an interrupted staging left: signatures of releases that are not here, and half-written files."""
    folder = place.of("signatures")
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if not (name.endswith(".json") and os.path.isdir(place.of("releases", name[: -len(".json")]))):
            os.unlink(os.path.join(folder, name))


def check_trusted(place, release, kept=False):
    """Refuse a release on this device whose signatures do not suffice under the policy of today.

    `kept`: one that was confirmed here before may be older than the floor and its signatures expired.
    """
    stored = read_json(signatures_path(place, release)) or {}
    fresh = not (kept and stored.get("confirmed"))
    return authorise(place, release, stored.get("signatures") or [], fresh=fresh)


def still_trusted(place, release):
    """Return whether a release that serves would still be let stay: signed by enough keys that are not revoked."""
    try:
        check_trusted(place, release, kept=True)
    except Refusal:
        return False
    return True


def raise_floor(place, record):
    """Raise the floor to the confirmed release's sequence and signing time. Idempotent; the lock is held."""
    release = record.get("to")
    if record["state"] != "COMMITTED" or not release:
        return
    stored = read_json(signatures_path(place, release))
    accepted = (stored or {}).get("accepted")
    if not accepted:
        return
    floor = read_floor(place)
    sequences = dict(floor.get("sequences", {}))
    sequences[place.app_name] = max(sequences.get(place.app_name, 0), accepted["sequence"])
    moment = max(floor["time"], accepted["signed_at"])
    if sequences != floor.get("sequences", {}) or moment != floor["time"]:
        write_slots(place.trust, "floor", dict(floor, sequences=sequences, time=moment))
    if not stored["confirmed"]:
        write_whole(signatures_path(place, release), canonical(dict(stored, confirmed=True)), 0o640)


def show_trust(place, _request):
    """Return the policy (None: never told), the keys that may sign, and the floor."""
    floor = read_floor(place)
    return {
        "policy": read_policy(place),
        "signers": [{key: signer[key] for key in ("name", "fingerprint")} for signer in read_signers(place)],
        "sequences": floor.get("sequences", {}),
        "time": floor["time"],
    }


def change_trust(place, request):
    """Add keys, revoke keys or change the policy; return what `show_trust` does. Refused changes change nothing."""
    place.prepare()
    with place.held():
        policy = dict(read_policy(place) or NEW_POLICY)
        policy.update(request.get("changes") or {})
        policy["revoked"] = sorted(set(policy["revoked"]) | set(request.get("revoke") or []))
        problem = policy_problem(policy)
        if problem:
            raise Refusal("bad-request", "that policy cannot be: %s" % problem)
        wanted = [sound_signer(signer, policy["revoked"]) for signer in request.get("signers") or []]
        present = read_signers(place)
        known = {signer["fingerprint"] for signer in present}
        before = read_text(signers_path(place)) or ""
        new = [signer_line(signer) for signer in wanted if signer["fingerprint"] not in known]
        if policy["unsigned"] == "refuse":
            # (Revoking is never refused: a device that takes nothing is better than one that takes a thief's.)
            if request.get("changes") or wanted:
                check_verifier({signer["kind"] for signer in present + wanted})
            able = known | {signer["fingerprint"] for signer in wanted}
            able -= set(policy["revoked"])
            if request.get("changes") and len(able) < policy["threshold"]:
                raise Refusal(
                    "too-few-keys",
                    "%d keys may sign and the threshold is %d: nothing could ever be deployed"
                    % (len(able), policy["threshold"]),
                )
        if new:
            text = before + ("\n" if before and not before.endswith("\n") else "") + "\n".join(new) + "\n"
            write_whole(signers_path(place), text.encode("utf-8"), 0o640)
        write_whole(policy_path(place), canonical(policy), 0o640)
    return show_trust(place, request)


def sound_signer(signer, revoked):
    """Return {"name", "fingerprint", "kind", "key"} of a key handed over as {"name", "key"}; refuses what is none."""
    name, words = signer["name"], signer["key"].split()
    try:
        key = base64.b64decode(words[1].encode("ascii"), validate=True)
        kind = key_kind(key)
    except (ValueError, IndexError):
        raise Refusal("bad-key", "%r is not an OpenSSH public key" % signer["key"][:60]) from None
    if kind != words[0] or kind not in KEY_TYPES or not NAME.match(name):
        raise Refusal(
            "bad-key", "a key of type %r under the name %r is not taken" % (words[0][:60], name[:60])
        )
    fingerprint = fingerprint_of(key)
    if fingerprint in revoked:
        raise Refusal("key-revoked", "%s is revoked here, and stays so" % fingerprint)
    return {"name": name, "fingerprint": fingerprint, "kind": kind, "key": encoded(key)}


def signer_line(signer):
    """Return the line of allowed_signers that lets a key sign."""
    return '%s namespaces="%s" %s %s' % (signer["name"], NAMESPACE, signer["kind"], signer["key"])
