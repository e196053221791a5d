"""Files of models that tensorflow-model-optimization wrapped: told by their content, and without what only trains."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeship.model.tfmot.wrapper import CLUSTERED, PASSED, PRUNED, WRAPPERS

METADATA = "keras_metadata.pb"
TRAINING = ("mask", "threshold", "pruning_step", "optimizer_step", "cluster_centroids_tf", "ori_weights_vars_tf",
            "pulling_indices_tf")  # fmt: skip
"""Variables that are there to train on."""
INDICES = "pulling_indices_"


def keeps_state(folder: Path) -> bool:
    """Return whether a SavedModel is one of pruning or clustering, whose signature goes on masking or assigning its
    weights at every call: its layers are then read instead."""
    try:
        content = (folder / METADATA).read_bytes()
    except OSError:
        return False
    return any(b'"class_name": "%s"' % name.encode() in content for name in (*PRUNED, *CLUSTERED))


def plain_h5(path: Path, folder: Path) -> Path:
    """Return an `.h5` file as it is where nothing in it is wrapped, else a copy in `folder` whose list of weights lacks
    what was there for training only."""
    import h5py
    from tf_keras.src.saving.legacy import hdf5_format

    if not h5py.is_hdf5(path):
        return path
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        wrapped = set(_wrapped(json.loads(config))) if config else set()
    if not wrapped:
        return path
    copy = folder / f"plain-{path.name}"
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        group = file["model_weights"]
        for layer in hdf5_format.load_attributes_from_hdf5_group(group, "layer_names"):
            names = hdf5_format.load_attributes_from_hdf5_group(group[layer], "weight_names")
            kept = [name for name in names if not _trains(name, wrapped)]
            if len(kept) < len(names):
                for key in [key for key in group[layer].attrs if key.startswith("weight_names")]:
                    del group[layer].attrs[key]
                hdf5_format.save_attributes_to_hdf5_group(
                    group[layer], "weight_names", [name.encode() for name in kept]
                )
    return copy


def _wrapped(config: Any) -> Iterator[str]:
    """Yield the names of wrappers in a config, however deep."""
    if isinstance(config, list):
        for item in config:
            yield from _wrapped(item)
    elif isinstance(config, dict):
        if config.get("class_name") in (*WRAPPERS, PASSED) and isinstance(config.get("config"), dict):
            yield str(config["config"].get("name"))
        for item in config.values():
            yield from _wrapped(item)


def _trains(weight: str, wrapped: set[str]) -> bool:
    """Return whether a weight, by its name in the file, is a wrapper's own and there for training."""
    *owners, last = weight.split(":")[0].split("/")
    last = last.rpartition("_")[0] if last.rpartition("_")[2].isdigit() and last not in TRAINING else last
    return bool(wrapped.intersection(owners)) and (last in TRAINING or INDICES in weight)
