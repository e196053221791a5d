"""Worker side of metadata: the only file that imports tflite-support.

tflite-support and TensorFlow register the same C++ types and cannot share a process, so TensorFlow is made
unimportable before tflite-support looks for it. Its package loads a USB library on import that many machines
lack; `libusb-package` brings one.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeship.errors import InputError, ToolError
from edgeship.tflite.attach import NAME, with_metadata, without_files
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.values import TensorSpec

LABELS = "labels.txt"


def write(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Write each pair (artifact, out) of `payload["pairs"]` with `payload["metadata"]`."""
    support = _tflite_support()
    for done, (given, out) in enumerate(payload["pairs"], 1):
        path, target = Path(given), Path(out)
        content = path.read_bytes()
        files = _files(payload["metadata"])
        packed = _validated(
            support, without_files(content), _build(support, read_tflite(path), payload["metadata"]), files
        )
        part = target.with_name(target.name + ".part")
        part.write_bytes(with_metadata(content, packed, files))
        part.replace(target)
        report("models", done, len(payload["pairs"]))
    return {}


def display(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Return what tflite-support's own displayer makes of `payload["path"]`: its JSON text and its file
    names."""
    shown = _tflite_support().metadata.MetadataDisplayer.with_model_file(payload["path"])
    names = list(shown.get_packed_associated_file_list())
    return {
        "json": shown.get_metadata_json(),
        "files": {name: bytes(shown.get_associated_file_buffer(name)).decode() for name in names},
    }


def _tflite_support() -> Any:
    """Return the tflite_support package. Raises ToolError `metadata-tool-missing`."""
    blocked: Any = None
    sys.modules["tensorflow"] = blocked
    try:
        import libusb_package

        library = libusb_package.get_library_path()
        if library:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        import tflite_support
        from tflite_support import metadata  # noqa: F401 - checks that the native parts load
    except (ImportError, OSError) as error:
        raise ToolError(
            "metadata-tool-missing",
            f"tflite-support, which writes the metadata, cannot be loaded: {error}",
            hint="pip install tflite-support==0.4.4 libusb-package   (CPython 3.11 on Linux x86-64)",
        ) from None
    return tflite_support


def _files(metadata: dict[str, Any]) -> dict[str, bytes]:
    labels = metadata["labels"]
    return {LABELS: ("\n".join(labels) + "\n").encode()} if labels else {}


def _validated(support: Any, model: bytes, metadata: bytes, files: dict[str, bytes]) -> bytes:
    """Return the metadata after tflite-support checked it against the model and noted the parser it needs."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.tflite"
        copy.write_bytes(model)
        populator = support.metadata.MetadataPopulator.with_model_file(str(copy))
        populator.load_metadata_buffer(bytearray(metadata))
        if files:
            populator.load_associated_file_buffers(files)
        populator.populate()
        content = read_tflite(copy).metadata_bytes(NAME.decode())
    assert content is not None
    return content


def _build(support: Any, file: TfliteFile, metadata: dict[str, Any]) -> bytes:
    """Return the metadata flatbuffer for one model file."""
    import flatbuffers

    fb = support.metadata_schema_py_generated
    model = fb.ModelMetadataT()
    model.name, model.description = metadata["name"], metadata["description"]
    model.version, model.author, model.license = metadata["version"], metadata["author"], metadata["licence"]
    graph = fb.SubGraphMetadataT()
    signature = file.signature
    graph.inputTensorMetadata = [
        _input(fb, spec, metadata["inputs"][position] if position < len(metadata["inputs"]) else None)
        for position, spec in enumerate(signature.inputs)
    ]
    labelled = _labelled_output(signature.outputs, metadata["labels"], file)
    graph.outputTensorMetadata = [
        _output(fb, spec, labelled=position == labelled) for position, spec in enumerate(signature.outputs)
    ]
    model.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), support.metadata.MetadataPopulator.METADATA_FILE_IDENTIFIER)
    return bytes(builder.Output())


def _input(fb: Any, spec: TensorSpec, metadata: dict[str, Any] | None) -> Any:
    """Return the metadata of an input; `metadata` is its preprocessing and range, where they are known.

    TFLite's convention is (x - mean) / std on raw values; ours is (x * scale - mean) / std. They are equal
    with TFLite's mean = mean / scale and std = std / scale.
    """
    tensor = _tensor(fb, spec, "FeatureProperties")
    if metadata is None:
        return tensor
    preprocess = metadata["preprocess"]
    if preprocess["resize"] is not None and len(spec.shape) == 4 and spec.shape[3] in (1, 3):
        tensor.content = _content(fb, "ImageProperties")
        grey = spec.shape[3] == 1
        tensor.content.contentProperties.colorSpace = (
            fb.ColorSpaceType.GRAYSCALE if grey else fb.ColorSpaceType.RGB
        )
    scale, mean, std = preprocess["scale"], preprocess["mean"], preprocess["std"]
    if scale and (scale != 1.0 or any(mean) or set(std) != {1.0}):
        unit = fb.ProcessUnitT()
        unit.optionsType = fb.ProcessUnitOptions.NormalizationOptions
        unit.options = fb.NormalizationOptionsT()
        width = max(len(mean), len(std))
        unit.options.mean = [value / scale for value in (mean if len(mean) == width else list(mean) * width)]
        unit.options.std = [value / scale for value in (std if len(std) == width else list(std) * width)]
        tensor.processUnits = [unit]
    if metadata["minimum"] is not None or metadata["maximum"] is not None:
        tensor.stats = fb.StatsT()
        low, high = metadata["minimum"], metadata["maximum"]
        tensor.stats.min = [low] if low is not None else []
        tensor.stats.max = [high] if high is not None else []
    return tensor


def _output(fb: Any, spec: TensorSpec, *, labelled: bool) -> Any:
    tensor = _tensor(fb, spec, "FeatureProperties")
    if labelled:
        entry = fb.AssociatedFileT()
        entry.name = LABELS
        entry.description = "One label a line, in the order of the output's last axis."
        entry.type = fb.AssociatedFileType.TENSOR_AXIS_LABELS
        tensor.associatedFiles = [entry]
    return tensor


def _tensor(fb: Any, spec: TensorSpec, kind: str) -> Any:
    tensor = fb.TensorMetadataT()
    tensor.name = spec.name
    tensor.content = _content(fb, kind)
    return tensor


def _content(fb: Any, kind: str) -> Any:
    content = fb.ContentT()
    content.contentPropertiesType = getattr(fb.ContentProperties, kind)
    content.contentProperties = getattr(fb, f"{kind}T")()
    return content


def _labelled_output(outputs: tuple[TensorSpec, ...], labels: list[str], file: TfliteFile) -> int | None:
    """Return which output the labels belong to: the first whose last axis is as long. Raises
    `labels-count`."""
    if not labels:
        return None
    for position, spec in enumerate(outputs):
        if spec.shape and spec.shape[-1] == len(labels):
            return position
    raise InputError(
        "labels-count",
        f"there are {len(labels)} labels, and no output of the model has as many values",
        context={"model": file.path.name, "outputs": ", ".join(f"{o.name} {list(o.shape)}" for o in outputs)},
        hint="give one label for each value of the output's last axis",
    )
