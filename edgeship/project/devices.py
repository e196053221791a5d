"""What a verb that touches devices needs of `edgeship.yaml` and the command line, checked without pydantic.

Such a verb is asked often and does little: importing pydantic and building the schema of the whole file would be most
of what it costs. So only the parts that say how devices are reached are read; mistakes in the others (datasets, goals,
...) are told by the verbs that use them. Where a value is not surely right, the schema decides after all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeship.project import plain
from edgeship.project.loader import OPTIONS, checked, overlay, read
from edgeship.strictyaml import Document

if TYPE_CHECKING:
    from edgeship.project.loader import Project
    from edgeship.project.schema import Deploy, Device, ServiceSection


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    """How devices are reached and releases brought there; every value checked."""

    base: Path
    """Absolute folder that relative paths start from."""
    document: Document
    """Everything that was written, for `whole`."""
    app: str | None
    model: Path | None
    """Absolute path of the model, where one is named."""
    targets: tuple[str, ...]
    hosts: tuple[str, ...]
    service: ServiceSection
    device: Device
    deploy: Deploy

    def whole(self) -> Project:
        """Return every setting, for what builds a model. Raises InputError `invalid-project`."""
        return checked(self.document, self.base)


def load_device_settings(path: Path | None, options: Mapping[str, Any]) -> DeviceSettings:
    """Return the settings of a file (None: ./edgeship.yaml where there is one) with options laid over them.

    Names of options are those of `loader.OPTIONS`. Raises the errors of `load_project` and `Project.merge`, those of
    parts that are not read here left out.
    """
    written, base = read(path)
    document = overlay(written, base, options)
    typed = [OPTIONS[name] for name, given in options.items() if given not in (None, ())]
    try:
        if not all(plain.is_read(key) for key in typed):  # what was typed is checked, whatever becomes of it
            raise plain.Unsure
        file: Any = plain.read(document.value)
    except plain.Unsure:
        file = checked(document, base).file
    return DeviceSettings(
        base=base,
        document=document,
        app=file.app,
        model=base / file.model if file.model else None,
        targets=file.targets,
        hosts=file.hosts,
        service=file.service,
        device=file.device,
        deploy=file.deploy,
    )
