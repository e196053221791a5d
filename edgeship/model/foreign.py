"""Files of other frameworks and formats: what they are, and how their model gets here."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from edgeship.model.wire import first_fields

ONNX = (
    "an ONNX model",
    "in a venv of its own: pip install onnx2tf; onnx2tf -i MODEL.onnx -o out; give out/*_float32.tflite",
)
PYTORCH = (
    "a PyTorch file",
    "with litert-torch in a venv: litert_torch.convert(model.eval(), (sample,)).export('model.tflite')",
)
FROZEN = (
    "a frozen TensorFlow 1 graph",
    "save it as a SavedModel: tf.compat.v1.saved_model.simple_save(session, DIR, inputs={..}, outputs={..})",
)
CHECKPOINT = (
    "a TensorFlow checkpoint: weights without the model",
    "build the model in Python, model.load_weights(...), then model.save('model.keras')",
)
TFJS = ("a TensorFlow.js model", "export the model it was made from: model.save('model.keras')")
ARCHIVE = ("a packed archive", "unpack it and give what is inside: tar xf FILE")
PACKED = ("a file packed with gzip", "unpack it and give what is inside: gunzip -c FILE > OTHER")
COREML = ("a Core ML model", "export the model it was made from: model.save('model.keras')")
OPENVINO = ("an OpenVINO model", "export the model it was made from: model.save('model.keras')")
ENGINE = ("a TensorRT engine, which one GPU alone runs", "give the model it was made from")
WEBPAGE = (
    "a web page or a server's answer, saved in place of the file",
    "open the address in a browser, and download the file itself (on GitHub: Raw)",
)
ARCHITECTURE = (
    "the architecture of a Keras model without its weights",
    "keras.models.model_from_json(open(PATH).read()), then model.load_weights(...), model.save('model.keras')",
)
WEIGHTS = (
    "a file of weights without the model",
    "load them into the model in Python, then model.save('model.keras')",
)
PICKLE = (
    "a Python pickle, which edgeship never loads because it may run any code",
    "save the model itself: model.save('model.keras')",
)
BY_SUFFIX = {
    ".onnx": ONNX, ".pt": PYTORCH, ".pth": PYTORCH, ".pt2": PYTORCH, ".ckpt": CHECKPOINT,
    ".index": CHECKPOINT, ".meta": CHECKPOINT, ".mlmodel": COREML, ".mlpackage": COREML, ".engine": ENGINE,
    ".trt": ENGINE, ".safetensors": WEIGHTS, ".gguf": WEIGHTS, ".pkl": PICKLE, ".joblib": PICKLE,
}  # fmt: skip


def name_foreign(path: Path, head: bytes, names: set[str]) -> tuple[str, str] | None:
    """Return (what it is, what to do) for a file by its first bytes, or an archive or folder by the names in
    it."""
    if any(name.endswith(("/data.pkl", "/constants.pkl")) or name == "data.pkl" for name in names):
        return PYTORCH
    if "checkpoint" in names or any(n.endswith(".index") for n in names):
        return CHECKPOINT
    if "model.json" in names:
        return TFJS
    if path.suffix == ".mlmodel" or any(name.partition("/")[0].endswith(".mlpackage") for name in names):
        return COREML
    if ".data-0" in path.name and "-of-" in path.name:
        return CHECKPOINT
    if (found := _text(head)) is not None:
        return found
    if head.startswith(b"\x1f\x8b"):
        return ARCHIVE if _is_tar(head) else PACKED
    if head.startswith((b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")) or head[257:262] == b"ustar":
        return ARCHIVE
    if (found := _protobuf(head)) is not None:
        return found
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return PYTORCH if b"torch" in head or path.suffix in (".pt", ".pth") else PICKLE
    return BY_SUFFIX.get(path.suffix.lower())


def _is_tar(head: bytes) -> bool:
    """Return whether the beginning of a gzip stream unpacks to that of a tar archive."""
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, 512)[257:262] == b"ustar"
    except zlib.error:
        return False


def _text(head: bytes) -> tuple[str, str] | None:
    """Tell what people have in place of a model among texts: a page, an error of a server, a model's description."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    small = start[:64].lower()
    if small.startswith((b"<!doctype html", b"<html")) or (small.startswith(b"<?xml") and b"<Error>" in head):
        return WEBPAGE
    if small.startswith(b"<?xml"):
        return OPENVINO if b"<net " in head else None
    if start.startswith((b"node {", b"node{")):
        return FROZEN
    if not start.startswith(b"{"):
        return None
    if b'"modelTopology"' in head:
        return TFJS
    if b'"class_name"' in head:
        return ARCHITECTURE
    try:
        return WEBPAGE if {"message", "error", "detail"} & set(json.loads(start)) else None
    except ValueError:
        return None


def _protobuf(head: bytes) -> tuple[str, str] | None:
    """Tell ONNX (field 1 a small number, field 2 the producer's name) from a GraphDef (field 1 a node with a
    name)."""
    fields = first_fields(head, 2)
    if not fields:
        return None
    number, value = fields[0]
    if number == 1 and isinstance(value, int) and value < 64 and len(fields) > 1:
        second, content = fields[1]
        if second == 2 and isinstance(content, bytes) and content[:1] < b" ":
            return COREML  # a description where ONNX has the producer's name
        return ONNX if second in (2, 7, 8) and isinstance(content, bytes) else None
    if number == 1 and isinstance(value, bytes):
        node = first_fields(value, 2)
        if len(node) == 2 and node[0][0] == 1 and node[1][0] == 2 and isinstance(node[1][1], bytes):
            operation = node[1][1]
            return FROZEN if operation[:1].isupper() and operation.isalnum() else None
    return None
