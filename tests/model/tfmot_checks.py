"""What tests of tfmot's files ask of a loaded model; runs in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def compare(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Return for each file: the largest difference to what its model gave where it was saved, the share of zeros and
    the number of values in each kernel, what is left of wrappers' variables, and the notes."""
    from edgeship.model.keras_load import load_tf_keras

    told = {}
    for path in map(Path, payload["files"]):
        notes: list[str] = []
        try:
            model = load_tf_keras(str(path), lambda text, **_: notes.append(text))  # noqa: B023
        except Exception as error:  # the test shows it
            told[path.name] = {"error": f"{type(error).__name__}: {error}"}
            continue
        known = np.load(path.with_name(f"{path.name.partition('.')[0]}.npz"))
        made = model.predict(known["x"], verbose=0)
        kernels = [
            w.numpy() for w in model.weights if w.name.split("/")[-1].startswith(("kernel:", "recurrent"))
        ]
        told[path.name] = {
            "difference": float(np.abs(made - known["y"]).max()),
            "zeros": [float(np.mean(kernel == 0)) for kernel in kernels],
            "values": [len(np.unique(kernel)) for kernel in kernels],
            "notes": notes,
        }
    return told
