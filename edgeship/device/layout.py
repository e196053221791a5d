"""Where things lie on a device; the helper decides everything below the root (edgeship/device/helper/state.py)."""

from __future__ import annotations

DEFAULT_ROOT = "/var/lib/edgeship"


def helper_path(root: str, sha256: str) -> str:
    """Return where the helper of that digest lies."""
    return f"{root}/bin/es-{sha256}.py"


def current_link(root: str, app: str) -> str:
    """Return the symbolic link that names the release in use."""
    return f"{root}/apps/{app}/current"


def release_folder(root: str, app: str, release: str) -> str:
    """Return a release's folder."""
    return f"{root}/apps/{app}/releases/{release}"


def settings_file(root: str, app: str) -> str:
    """Return the file of what was tuned there."""
    return f"{root}/apps/{app}/kept/settings.json"
