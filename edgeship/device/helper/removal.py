"""Taking an application off the device: its service, its boot hook, its releases and what only they used."""

import os

from .base import Refusal
from .files import remove_tree, sync_folder
from .garbage import blobs_of, drop_blobs
from .health import hooked_managers, manager_for
from .state import IN_TRIAL, check_fence, read_state
from .store import releases_present


def remove(place, request):
    """Stop the service and delete the application. Idempotent: a removal that was cut short is finished."""
    apps = os.path.join(place.root, "apps")
    trash = os.path.join(apps, ".trash-" + place.app_name)
    with place.held():
        check_fence(place, request["fence"])
        record = read_state(place)
        if record["state"] in IN_TRIAL:
            raise Refusal("busy", "a deployment (%s) is on trial" % record["tx"])
        remove_tree(trash)
        present = releases_present(place)
        if record.get("to"):
            manager = manager_for(place, record["to"])
            manager.remove()
            manager.unhook_boot()
        for manager in hooked_managers(place):  # of a first deployment that was taken back, say
            manager.unhook_boot()
        blobs = set()
        for name in present:
            blobs |= blobs_of(place, name)
        os.rename(place.app, trash)
        sync_folder(apps)
        remove_tree(trash)
        remove_tree(place.incoming)
        return {"removed": present, "blobs": drop_blobs(place, blobs)}
