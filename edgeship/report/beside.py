"""The report beside a bundle: everything a clock or this machine measured, which the sealed bundle never holds."""

from __future__ import annotations

import json

from edgeship.pipeline.build import BuildReport
from edgeship.report.documents import build_document


def save_beside(report: BuildReport) -> None:
    """Write `<bundle>.report.json`, the `edgeship.build/1` document of that target alone, beside each bundle."""
    document = build_document(report)
    for built, target in zip(report.targets, document["targets"], strict=True):
        if built.bundle:
            path = built.bundle.path.with_suffix(".report.json")
            path.write_text(json.dumps({**document, "targets": [target]}, indent=2) + "\n", encoding="utf-8")
