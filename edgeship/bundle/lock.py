"""Write the lock of wheels anew from what the shipped targets ask for: `python -m edgeship.bundle.lock`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeship.assets import targets_folder
from edgeship.bundle.engines import PACKAGE, WHEEL_PYTHON
from edgeship.bundle.payload import requests, runtime_requirements, wanted_packages
from edgeship.bundle.wheels import SHIPPED_LOCK, LockRow, WheelRequest, download, lock_row, lock_text
from edgeship.errors import ToolError
from edgeship.profile import TargetProfile, list_profiles


def wanted_by(profile: TargetProfile) -> list[WheelRequest]:
    """Return every wheel that bundles for a target may need, one request per Python version where that
    counts."""
    runtime = profile.runtime
    found: list[WheelRequest] = []
    if runtime.engine == "litert" and not runtime.preinstalled:
        found += requests(profile, WHEEL_PYTHON, [f"{PACKAGE}=={runtime.version}"])
    packages = (*(() if runtime.preinstalled else wanted_packages(profile)), *runtime_requirements())
    for python in profile.python.versions:
        found += requests(profile, python, packages)
    return found


def make_rows(profiles: Iterable[TargetProfile]) -> list[LockRow]:
    """Return a row per wheel that exists, each fetched and hashed; what does not exist is said on stderr."""
    rows: list[LockRow] = []
    asked: set[WheelRequest] = set()
    for profile in profiles:
        for request in (r for engine in profile.engines() for r in wanted_by(engine)):
            if request in asked or any(row.serves(request) for row in rows):
                continue
            asked.add(request)
            with tempfile.TemporaryDirectory(prefix="edgeship-lock-") as folder:
                try:
                    rows.append(lock_row(request, download(request, Path(folder), request.tags)))
                except ToolError as error:
                    if error.reference != "wheel-not-available":
                        raise
                    print(f"{profile.name}: {error.message} (Python {request.python})", file=sys.stderr)
    return rows


def main(arguments: Sequence[str]) -> int:
    """Write the lock, or with --check only say whether it would change. Returns the exit status."""
    text = lock_text(make_rows(list_profiles(folders=(targets_folder(),))))
    if "--check" in arguments:
        same = SHIPPED_LOCK.is_file() and SHIPPED_LOCK.read_text() == text
        print("the lock is as the package index has it" if same else "the lock would change")
        return 0 if same else 1
    SHIPPED_LOCK.write_text(text)
    print(f"{SHIPPED_LOCK.name}: {text.count('sha256:')} wheels")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
