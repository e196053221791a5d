"""Writes what the schema gives: `examples/edgeship.yaml`, `docs/schemas/project.schema.json`, `plain.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgeship.project import table
from edgeship.project.schema import ProjectFile
from edgeship.project.text import init_text

EXAMPLE: dict[str, Any] = {
    "app": "keywords",
    "version": "3",
    "datasets": {"calibration": "data/calibration.npz", "evaluation": "data/evaluation.npz"},
    "preprocess": {"scale": "1/255", "mean": [0.5], "std": [0.25]},
    "labels": ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown"],
    "goals": {"accuracy": {"max_drop": 1.0}, "size": {"max_kb": 300}, "latency": {"max_ms": 20}},
    "metadata": {
        "name": "Keyword spotter",
        "description": "Says which of ten words was spoken, from one second of sound.",
        "author": "Speech team",
        "licence": "Apache-2.0",
    },
    "hosts": ["pi@10.0.0.7", "mendel@10.0.0.8:2222"],
    "deploy": {"confirm_seconds": 60.0},
}
"""What stands filled in in the example; every other key shows its default."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of edgeship.yaml, for editors."""
    schema = ProjectFile.model_json_schema()
    for part in schema["$defs"].values():
        if not part.get("required"):
            part["type"] = ["object", "null"]  # a part with nothing switched on has its defaults
    governor = schema["properties"]["governor"]
    schema["properties"]["governor"] = {"anyOf": [{"enum": ["auto", "off"]}, governor]}  # `governor: off`
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "edgeship.yaml",
    }


def documents() -> dict[str, str]:
    """Return the path in the repository -> the text of everything made from the schema."""
    example = init_text(Path("keywords.keras"), targets=("raspberry-pi-4", "coral"), values=EXAMPLE)
    return {
        "examples/edgeship.yaml": example,
        "docs/schemas/project.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
        "edgeship/project/plain.json": table.text(),
    }


def main(root: Path) -> int:
    """Write the documents below `root` and return the exit status."""
    for name, text in documents().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
