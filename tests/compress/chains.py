"""Runs inside a worker process: several steps one after the other, so that TensorFlow is started once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeship.compress.methods import step_of
from edgeship.compress.worker import apply


def run(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Do every chain of `payload["chains"]` (labels, recipe, and another model, with labels for its samples, where it
    is of one) and write its last file to `folder/<number>.tflite`; return what each step told. Prefixes that chains
    share are done once."""
    done: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {}
    told: dict[str, Any] = {}
    for number, (labels, recipe, *other) in enumerate(payload["chains"]):
        given, train = (other[0], payload["labelled"]) if other else (payload["model"], payload["train"])
        path, result = given, {}
        for count in range(1, len(labels) + 1):
            key = (*labels[:count], recipe, given)
            if key not in done:
                out = str(Path(payload["folder"]) / f"step-{len(done)}.tflite")
                step = step_of(labels[count - 1])
                result = apply(
                    {
                        "model": path,
                        "original": given,
                        "step": step.to_json(),
                        "before": [step_of(label).to_json() for label in labels[: count - 1]],
                        "recipe": recipe,
                        "train": train,
                        "calibration": None,
                        "ranges": payload["ranges"],
                        "out": out,
                    },
                    report,
                )
                done[key] = out, result
            path, result = done[key]
        (Path(payload["folder"]) / f"{number}.tflite").write_bytes(Path(path).read_bytes())
        told[str(number)] = result
    return told
