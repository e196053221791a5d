"""Project: what `edgeship.yaml` and the command line ask for.

`python -m edgeship.project` writes `examples/edgeship.yaml`, the JSON Schema and `plain.json`.
"""

from typing import TYPE_CHECKING

from edgeship import lazy

if TYPE_CHECKING:
    from edgeship.project.devices import DeviceSettings, load_device_settings
    from edgeship.project.loader import Project, load_project
    from edgeship.project.schema import ProjectFile
    from edgeship.project.text import init_text

__all__ = [
    "DeviceSettings",
    "Project",
    "ProjectFile",
    "init_text",
    "load_device_settings",
    "load_project",
]

__getattr__ = lazy.names(
    __name__,
    {
        "DeviceSettings": "edgeship.project.devices",
        "Project": "edgeship.project.loader",
        "ProjectFile": "edgeship.project.schema",
        "init_text": "edgeship.project.text",
        "load_device_settings": "edgeship.project.devices",
        "load_project": "edgeship.project.loader",
    },
)
