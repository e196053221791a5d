"""Project: what `edgeship.yaml` and the command line ask for.

`python -m edgeship.project` writes `examples/edgeship.yaml` and the JSON Schema.
"""

from edgeship.project.loader import Project, load_project
from edgeship.project.schema import ProjectFile
from edgeship.project.text import init_text

__all__ = ["Project", "ProjectFile", "init_text", "load_project"]
