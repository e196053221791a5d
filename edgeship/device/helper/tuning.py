"""Changing a running service: settings of its governor, checked, signed where the device takes signed releases only,
written so that the service finds the old ones or the new ones and nothing else."""

import contextlib
import json
import math
import os
import pwd
import re

from .base import Refusal, canonical, read_json
from .files import make_folder, write_whole
from .health import manager_for, serving
from .kept import describe_settings, governor_of, keep_settings, own_settings, set_aside, sweep_aside
from .live import governor_now
from .state import IN_TRIAL, audit, read_floor, read_state, write_slots
from .trust import holding, in_time, read_policy, read_signers, refuse_revoked

TUNE_SCHEMA = "edgeship.tune/1"
SETTINGS_BYTES = 2048
MOST_BANDS = 16
VARIANT = re.compile(r"[A-Za-z0-9._=,@+~-]{1,200}\Z")
DEVICE = re.compile(r"[0-9a-f]{32}\Z")


def is_number(low, high):
    """Return what holds a number against its limits, those of the runtime: it takes no settings with one that lies
    outside. The lower one itself may not be."""

    def sound(value):
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        return low < value <= high

    return sound


def is_variant(value):
    """Return whether a value can be the name of a variant."""
    return isinstance(value, str) and bool(VARIANT.match(value))


def is_one_of(*words):
    """Return what tells whether a value is one of a few words."""
    return lambda value: isinstance(value, str) and value in words


def is_band(value):
    """Return whether a value is what holds below so much of the battery."""
    return (
        isinstance(value, dict)
        and set(value) <= {"below_percent", "watts", "variant"}
        and is_number(0, 100)(value.get("below_percent"))
        and (value.get("watts") is None or POWER(value["watts"]))
        and (value.get("variant") is None or is_variant(value["variant"]))
    )


def are_bands(value):
    """Return whether a value is a list of battery bands that go down."""
    if not isinstance(value, list) or len(value) > MOST_BANDS or not all(is_band(band) for band in value):
        return False
    limits = [band["below_percent"] for band in value]
    return limits == sorted(set(limits), reverse=True)


POWER = is_number(0, 1e4)
SETTINGS = {
    "mode": is_one_of("auto", "off"),
    "variant": is_variant,
    "deadline_ms": is_number(0, 86400e3),
    "watts": POWER,
    "joules_per_hour": is_number(0, 36e6),
    "temperature_c": is_number(0, 150),
    "battery": are_bands,
    "coalesce": is_one_of("auto", "off"),
    "cascade": is_one_of("auto", "off"),
    "still": is_number(0, 1),
    "load": is_number(0, 1),
    "log": lambda value: isinstance(value, bool),
}
"""Setting -> what its value must be."""
LIFTED = ("variant", "deadline_ms", "watts", "joules_per_hour", "temperature_c", "battery", "still")
"""Settings that can be none here although the release has one."""


def sound_change(change):
    """Return (settings, lift, reset) of a request or statement; refuses any other: `unknown-setting`, `wrong-setting`.

    `settings`: setting -> value, None: the release's own from now on. `lift`: settings that are none from now on,
    whatever the release says. `reset`: all others are the release's again.
    """
    settings, lift, reset = change.get("settings"), change.get("lift") or [], change.get("reset") or False
    if not isinstance(settings, dict) or not isinstance(lift, list) or not isinstance(reset, bool):
        raise Refusal("bad-request", "a change of settings needs an object of settings")
    for key, value in settings.items():
        if key not in SETTINGS:
            raise Refusal("unknown-setting", "there is no setting %.80r" % (key,))
        if value is not None and not SETTINGS[key](value):
            raise Refusal("wrong-setting", "governor.%s cannot be %.80r" % (key, value))
    for key in lift:
        if not isinstance(key, str) or key not in LIFTED or key in settings:
            raise Refusal("wrong-setting", "%.80r cannot be none" % (key,))
    if len(canonical(settings)) > SETTINGS_BYTES:
        raise Refusal("wrong-setting", "the settings are longer than %d bytes" % SETTINGS_BYTES)
    return settings, sorted(lift), reset


def changed_settings(place, change, release):
    """Return the device's own settings as they are with a change; refuses more than a file of them may hold, and what
    means nothing to a release: `no-governor`, `no-such-rung`."""
    settings, lift, reset = sound_change(change)
    after = {} if reset else dict(own_settings(place)[0])
    for key, value in settings.items():
        after.pop(key, None)
        if value is not None:
            after[key] = value
    after.update(dict.fromkeys(lift))
    if len(canonical(after)) > SETTINGS_BYTES:
        raise Refusal("wrong-setting", "all settings together are longer than %d bytes" % SETTINGS_BYTES)
    given = {key: value for key, value in settings.items() if value is not None}
    governor = governor_of(place, release)
    if (given or lift) and governor is None:
        raise Refusal(
            "no-governor", "release %s has no governor: nothing in it reads settings" % release[:12]
        )
    wanted = [given.get("variant")] + [band.get("variant") for band in given.get("battery", [])]
    known = rung_names(governor or {})
    for name in wanted:
        if name is not None and name not in known:
            raise Refusal(
                "no-such-rung",
                "release %s has no variant %r to serve; it has: %s" % (release[:12], name, ", ".join(known)),
                known=known,
                name=name,
            )
    return after


def rung_names(governor):
    """Return what may serve by a governor of service.json, cheapest first."""
    names = [rung.get("variant") for rung in governor.get("rungs") or [] if isinstance(rung, dict)]
    return [name for name in names if isinstance(name, str)]


def device_identity(place):
    """Return the number that tells this device's folder from every other: what is signed for it holds nowhere else."""
    path = os.path.join(place.trust, "device.json")
    found = read_json(path)
    if not isinstance(found, str) or not DEVICE.match(found):
        found = os.urandom(16).hex()
        make_folder(place.trust, 0o750)
        write_whole(path, canonical(found), 0o640)
    return found


def tune_sequence(place):
    """Return how often the application was tuned by signature."""
    return read_floor(place).get("tunes", {}).get(place.app_name, 0)


def authorise_change(place, change):
    """Return who changes settings, in words; refuses what this device's policy does not let through.

    Where it takes signed releases only, as many keys as sign a release sign the change, for this device and as the next
    one of this application. It counts as used before it holds: what was heard once can never be said again.
    """
    policy, signatures = read_policy(place), change.get("signatures") or []
    if policy is None:
        raise Refusal("trust-not-set", "this device was never told whose word counts here")
    if policy["unsigned"] == "allow":
        refuse_revoked(signatures, policy["revoked"])
        return who_asks()
    settings, lift, reset = sound_change(change)
    floor, stored = read_floor(place), tune_sequence(place)
    wanted = {
        "schema": TUNE_SCHEMA,
        "device": device_identity(place),
        "app": place.app_name,
        "settings": settings,
        "lift": lift,
        "reset": reset,
    }

    def read(text):
        said = read_change(text)
        if {key: said.get(key) for key in wanted} != wanted:
            raise Refusal(
                "other-settings", "what was signed is another change, or for another device or application"
            )
        if said["sequence"] != stored + 1:
            raise Refusal(
                "tuned-since",
                "it was signed as change %d of these settings, and the next one is %d"
                % (said["sequence"], stored + 1),
            )
        in_time(said, floor, policy)
        return said

    good = holding(place, policy, signatures, "change", read)
    tunes = dict(floor.get("tunes", {}))
    tunes[place.app_name] = stored + 1
    write_slots(place.trust, "floor", dict(floor, tunes=tunes))
    return ", ".join(signer["name"] for signer in read_signers(place) if signer["fingerprint"] in good)


def read_change(text):
    """Return a signed change's content. Raises Refusal `bad-statement`."""
    try:
        said = json.loads(text)
        sound = said["schema"] == TUNE_SCHEMA
        numbers = [said[key] for key in ("sequence", "signed_at", "expires")]
    except (ValueError, KeyError, TypeError, RecursionError):
        sound, numbers = False, []
    if not sound or not all(type(number) is int and 0 <= number < 1 << 53 for number in numbers):
        raise Refusal("bad-statement", "what was signed is not an %s document" % TUNE_SCHEMA)
    return said


def who_asks():
    """Return the account that asks: the one that became root, where one did."""
    name = os.environ.get("SUDO_USER")
    with contextlib.suppress(KeyError):
        name = name or pwd.getpwuid(os.geteuid()).pw_name
    return "%.64s" % (name or os.geteuid())


def tuned(place, request):
    """Return the settings of an application as they are: the release's, the device's own, and what the next change has
    to be signed with. `live`: and what the service says of itself now."""
    found = dict(seen_settings(place), signed=must_sign(place))
    if request.get("live") and found["governed"]:
        record = read_state(place)
        seen = serving(place, manager_for(place, record["to"]))
        found["governor"] = governor_now(place, record, seen)["governor"]
    return found


def seen_settings(place):
    """Return {"release", "governed", "settings", "rungs", "own", "at", "trial"}: of the release in use, None and none
    where there is no governor."""
    record = read_state(place)
    release = record.get("to")
    own, at = own_settings(place)
    found = governor_of(place, release) if release else None
    governor = found or {}
    return {
        "release": release,
        "governed": found is not None,
        "settings": governor.get("settings") if isinstance(governor.get("settings"), dict) else {},
        "rungs": rung_names(governor),
        "own": own,
        "at": at,
        "trial": record["state"] in IN_TRIAL,
    }


def must_sign(place):
    """Return {"device", "sequence"} that the next change is signed with; None: this device asks for no signature."""
    policy = read_policy(place)
    if policy is None or policy["unsigned"] == "allow":
        return None
    with place.held():
        return {"device": device_identity(place), "sequence": tune_sequence(place) + 1}


def tune(place, request):
    """Change settings of a running service; it reads them within seconds and goes on serving."""
    with place.held():
        record = read_state(place)
        if not record.get("to"):
            raise Refusal("nothing-deployed", "%s is not deployed here" % place.app_name)
        if record["state"] in IN_TRIAL:
            raise Refusal("busy", "a deployment (%s) is on trial" % record["tx"], tx=record["tx"])
        after = changed_settings(place, request, record["to"])
        by = authorise_change(place, request)
        make_folder(place.of("kept"))
        before = own_settings(place)[0]
        if after != before:
            sweep_aside(
                place
            )  # from here on the device's own will is another one: no deployment takes it back
            keep_settings(place, after)
            with contextlib.suppress(OSError):  # a full log must not undo what holds
                audit(place, "tuned", {"reason": describe_settings(after), "by": by})
    return dict(seen_settings(place), changed=after != before, by=by)


def arm_change(place, tx, change, release):
    """Lay aside what a deployment comes with, for its trial; None: it comes with nothing, and nothing is laid aside."""
    if change is None:
        sweep_aside(place)
        return
    if not isinstance(change, dict):
        raise Refusal("bad-request", "a change of settings needs an object of settings")
    after = changed_settings(place, change, release)
    authorise_change(place, change)
    set_aside(place, tx, after)
