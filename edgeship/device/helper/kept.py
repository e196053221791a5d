"""What a device keeps of an application beside its releases: the settings that were tuned there. They are the device's
own: deployments, going back by hand and pins leave them alone. The service reads them, and writes nothing here."""

import contextlib
import os
import time

from .base import canonical, read_json
from .files import sync_folder, write_whole
from .state import audit, spending

SETTINGS_SCHEMA = "edgeship.settings/1"
SETTINGS_FILE = "settings.json"


def governor_of(place, release):
    """Return what a release's service.json says of its governor, None where it has none."""
    service = read_json(os.path.join(place.release(release), "service.json"))
    governor = service.get("governor") if isinstance(service, dict) else None
    return governor if isinstance(governor, dict) else None


def is_governed(place, release):
    """Return whether a release's service reads what is kept here: those of before know no such option."""
    return governor_of(place, release) is not None


def own_settings(place):
    """Return the settings that were tuned here, and when (Unix seconds): {}, None where there are none, or where the
    file is not one of ours."""
    document = read_json(place.of("kept", SETTINGS_FILE))
    if not isinstance(document, dict) or document.get("schema") != SETTINGS_SCHEMA:
        return {}, None
    settings = document.get("settings")
    return (settings, document.get("at")) if isinstance(settings, dict) else ({}, None)


def settings_text(settings):
    """Return the file that holds these settings; nothing where there are none: then there is no file."""
    if not settings:
        return b""
    return canonical({"schema": SETTINGS_SCHEMA, "settings": settings, "at": int(time.time())})


def keep_settings(place, settings):
    """Have these settings hold from now on: the file is the old one or the new one, whenever the power goes."""
    path, text = place.of("kept", SETTINGS_FILE), settings_text(settings)
    if text:
        write_whole(path, text)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sync_folder(os.path.dirname(path))


def aside(place, tx, which):
    """Return where a deployment keeps the settings of `before` it, or those that are `next` with it."""
    return place.of("kept", "settings.%s-%s" % (which, tx))


def set_aside(place, tx, settings):
    """Lay the settings of now aside, and beside them those that a trial begins with. Durable before it is armed: going
    back then needs a rename, and no room."""
    sweep_aside(place)
    write_whole(aside(place, tx, "before"), settings_text(own_settings(place)[0]))
    write_whole(aside(place, tx, "next"), settings_text(settings))


def begin_with_next(place, tx):
    """Have the settings hold that a trial is to begin with, where it came with any; the record says TRIAL already."""
    if move_settings(place, aside(place, tx, "next")):
        with contextlib.suppress(OSError):
            audit(place, "tuned", {"tx": tx, "reason": describe_settings(own_settings(place)[0])})


def take_back(place, tx):
    """Have the settings hold again that held before a deployment. Idempotent; one that came with none left nothing.

    It must not keep a device from going back: what cannot be done now is tried again with the next lease.
    """
    with contextlib.suppress(OSError):
        before = aside(place, tx, "before") if tx else None
        if before and os.path.exists(before):
            spending(place, lambda: move_settings(place, before))
            with contextlib.suppress(OSError):
                audit(place, "tuned-back", {"tx": tx, "reason": describe_settings(own_settings(place)[0])})
        if tx:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(aside(place, tx, "next"))


def move_settings(place, path):
    """Have a file that was laid aside be the settings, an empty one be none; return whether there was one."""
    try:
        empty = not os.path.getsize(path)
    except FileNotFoundError:
        return False
    settings = place.of("kept", SETTINGS_FILE)
    if empty:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(settings)
        sync_folder(os.path.dirname(settings))
        os.unlink(path)
    else:
        os.rename(path, settings)
    sync_folder(os.path.dirname(settings))
    return True


def sweep_aside(place):
    """Remove what was laid aside by deployments that nothing goes back from any more, and half-written files."""
    folder = place.of("kept")
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.startswith(("settings.before-", "settings.next-")) or ".tmp-" in name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))


def describe_settings(settings):
    """Return settings in the words in which they are typed."""
    said = ", ".join("governor.%s=%s" % (key, shown(value)) for key, value in sorted(settings.items()))
    return said[:700] or "the release's settings"


def shown(value):
    """Return a setting's value as it is typed."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else canonical(value).decode("utf-8").strip()
