"""The licence texts of all that is in a release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeship.assets import templates_folder
from edgeship.bundle.unpack import Wheel

APACHE = "licences/apache-2.0.txt"
"""Below templates/: the text itself, for edgeship and for wheels that name the licence without its text."""


def licence_files(wheels: Iterable[Wheel], others: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """Return name in the release -> text: `licences/<what>/<file>` for edgeship, `wheels` and `others`."""
    apache = own_licence()
    files = {"licences/edgeship/LICENSE": apache}
    found = {f"{w.name}-{w.version}": w.licences or _stated(w, apache) for w in wheels}
    found |= {what: dict(texts) or {"LICENSE": apache} for what, texts in others.items()}
    for what, texts in found.items():
        files |= {f"licences/{what}/{name}": text for name, text in texts.items()}
    return files


def own_licence(folder: Path | None = None) -> bytes:
    """Return edgeship's own licence, Apache-2.0."""
    return ((folder or templates_folder()) / APACHE).read_bytes()


def _stated(wheel: Wheel, apache: bytes) -> dict[str, bytes]:
    """Return what is known of the licence of a wheel that carries no text."""
    if "apache" in wheel.licence_name.lower():
        return {"LICENSE": apache}
    return {"LICENSE": f"{wheel.name} {wheel.version} states its licence as: {wheel.licence_name}\n".encode()}
