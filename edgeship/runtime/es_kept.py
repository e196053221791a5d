"""What the device itself keeps beside a release (`serve --kept DIR`): settings that were tuned there, and what each
variant costs there. Read only; the helper writes.
"""

import json
import os

from es_errors import CannotRun
from es_govern_settings import usable

SETTINGS_SCHEMA = "edgeship.settings/1"
FIGURES_SCHEMA = "edgeship.figures/1"
_LARGEST = 1 << 20


def _document(path, schema):
    """Return a JSON document of a schema, None where there is no such file; raises CannotRun (bad-settings)."""
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read(_LARGEST).decode("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CannotRun("bad-settings", "%s: %s" % (path, str(error)[:200]))
    if not isinstance(found, dict) or found.get("schema") != schema:
        raise CannotRun("bad-settings", "%s is no %s document" % (path, schema))
    return found


def figures_of(folder, release_id):
    """Return {variant: figures measured on this device} of a release, None where none are; raises CannotRun."""
    if folder is None or release_id is None:
        return None
    path = os.path.join(folder, "figures-%s.json" % release_id)
    found = _document(path, FIGURES_SCHEMA)
    if found is None:
        return None
    rungs = found.get("rungs")
    if not isinstance(rungs, dict) or not all(isinstance(row, dict) for row in rungs.values()):
        raise CannotRun("bad-settings", "%s: `rungs` is no object of objects" % path)
    return rungs


def with_rung(document, name):
    """Return the governor's document with an entry for the chosen variant, which may have been chosen for one release
    (`deploy --variant`) without being a rung: it can be pinned then, and is no reason to go by something else than the
    accuracy of the others.
    """
    rows = document.get("rungs") if isinstance(document, dict) else None
    if not rows or any(row.get("variant") == name for row in rows):
        return document
    row = {"variant": name, "seconds": None}
    for key in ("accuracy", "agreement"):
        known = [other[key] for other in rows if isinstance(other.get(key), (int, float))]
        row[key] = min(known) if known else None
    return dict(document, rungs=[*rows, row])


class Tuned(object):
    """The settings tuned on this device; `settings` is None where there are none. `strange`: {setting: why it is not
    used} of those that were read last; `looked`: every one that ever was in it.
    """

    def __init__(self, folder):
        self._path = None if folder is None else os.path.join(folder, "settings.json")
        self._seen = None
        self.settings, self.strange, self.looked = None, {}, set()

    def changed(self):
        """Return whether the file is another than at the last look."""
        if self._path is None:
            return False
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            seen = None
        if seen == self._seen:
            return False
        self._seen = seen
        return True

    def read(self):
        """Return what can be used of what the file holds now, None where there is none; raises CannotRun for what is no
        settings.
        """
        try:
            found = _document(self._path, SETTINGS_SCHEMA)
        except CannotRun:
            self._seen = None  # Looked at again next time: it may be had then.
            raise
        if found is None:
            self.strange = {}
            return None
        settings = found.get("settings")
        if not isinstance(settings, dict):
            raise CannotRun("bad-settings", "%s: `settings` is no object" % self._path)
        settings, self.strange = usable(settings)
        self.looked |= set(self.strange)
        return settings
