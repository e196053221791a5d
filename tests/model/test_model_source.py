"""What a path holds is told by its content, and everything else is refused with what to do."""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeship.errors import InputError
from edgeship.model.source import open_model


def _zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return path


def _saved_model(folder: Path, *, shards: int = 1, index: bool = True) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x02\x0a\x00")
    if index:
        (folder / "variables" / "variables.index").write_bytes(b"index")
    for shard in range(shards):
        (folder / "variables" / f"variables.data-{shard:05}-of-00001").write_bytes(b"data")
    return folder


def _write(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x10"
FROZEN = b"\x0a\x14\x0a\x05input\x12\x0bPlaceholder"
HDF5 = (
    b"\x89HDF\r\n\x1a\n"
    + bytes([0, 0, 0, 0, 0, 8, 8, 0])
    + bytes(24)
    + (4096).to_bytes(8, "little")
    + bytes(8)
)
TARRED = gzip.compress(bytes(257) + b"ustar" + bytes(250))
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"

REFUSED = [
    ("missing.keras", lambda p: p, "model-not-found", "there is no such model", "ls "),
    ("empty.tflite", _write(b""), "model-empty", "the model file is empty", "fetch or export it again"),
    ("notes.tflite", _write(b"plain words, no model"), "model-unknown", "the content is text", "MODEL is"),
    ("short.tflite", _write(b"\x1c\0\0\0TFL3\0\0"), "model-truncated", "begins like a TFLite model", "compare sizes"),
    ("cut.keras", _write(b"PK\x03\x04" + bytes(200)), "model-truncated", "begins like a zip archive", "copy or"),
    ("cut.h5", _write(HDF5), "model-truncated", "begins like an HDF5 file", "copy or download"),
    ("pointer.h5", _write(LFS), "model-is-lfs-pointer", "Git LFS pointer", "git lfs pull"),
    ("model.onnx", _write(ONNX), "model-foreign", "an ONNX model", "onnx2tf"),
    ("renamed.tflite", _write(ONNX), "model-foreign", "an ONNX model", "onnx2tf"),
    ("frozen.pb", _write(FROZEN), "model-foreign", "a frozen TensorFlow 1 graph", "SavedModel"),
    ("model.pt", lambda p: _zip(p, "archive/data.pkl"), "model-foreign", "a PyTorch file", "litert_torch"),
    ("old.pth", _write(b"\x80\x02\x8a\nl\xfc\x9cF\xf9"), "model-foreign", "a PyTorch file", "litert_torch"),
    ("model.pkl", _write(b"\x80\x04\x95\x10"), "model-foreign", "a Python pickle", "model.save"),
    ("model.tar.gz", _write(TARRED), "model-foreign", "a packed archive", "tar xf"),
    ("model.tflite", _write(gzip.compress(b"\x1c\0\0\0TFL3")), "model-foreign", "packed with gzip", "gunzip -c"),
    ("page.tflite", _write(b"\n<!DOCTYPE html><html>"), "model-foreign", "a web page", "download the file itself"),
    ("gone.h5", _write(b'{"message": "Not Found"}'), "model-foreign", "a server's answer", "download the file itself"),
    ("denied.h5", _write(b'<?xml version="1.0"?><Error>'), "model-foreign", "a server's answer", "download the"),
    ("m.json", _write(b'{"class_name": "Sequential"'), "model-foreign", "without its weights", "_json(open('/"),
    ("graph.pbtxt", _write(b'node {\n  name: "x"'), "model-foreign", "a frozen TensorFlow 1 graph", "SavedModel"),
    ("m.ckpt.meta", _write(b"\n\x96\x0e\x12\xf2"), "model-foreign", "a TensorFlow checkpoint", "load_weights"),
    ("m.data-00000-of-00001", _write(bytes(9)), "model-foreign", "a TensorFlow checkpoint", "load_weights"),
    ("m.mlmodel", _write(b"\x08\x01\x12\x07\x0a\x05input"), "model-foreign", "a Core ML model", "model.save"),
    ("m.zip", lambda p: _zip(p, "a/readme", "a/m.tflite"), "model-not-keras", "no config", "(and give a/m.tflite)"),
    ("of a.zip", lambda p: _zip(p, "m/saved_model.pb"), "model-not-keras", "no config", "of a.zip'   (and give m)"),
    ("data.keras", lambda p: _zip(p, "x.npy"), "model-not-keras", "holds no config.json", "unzip"),
    ("half.keras", lambda p: _zip(p, "config.json"), "model-not-keras", "no weights", "model.save"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "reference", "says", "hint"), REFUSED, ids=[case[0] for case in REFUSED]
)
def test_what_is_no_model_is_refused(
    tmp_path: Path, name: str, make: Callable[[Path], Path], reference: str, says: str, hint: str
) -> None:
    path = make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        open_model(path)
    text = caught.value.render()
    assert text.startswith(f"error: {reference}\n")
    assert says in text
    assert str(path) in text
    assert hint in text.rpartition("hint: ")[2]


def test_kinds_by_content(tmp_path: Path, dense_float: Path) -> None:
    assert open_model(dense_float).kind == "tflite"
    assert open_model(_zip(tmp_path / "m.keras", "config.json", "model.weights.h5")).kind == "keras"
    assert open_model(_saved_model(tmp_path / "saved")).kind == "saved_model"
    whole = tmp_path / "m.h5"
    whole.write_bytes(HDF5 + bytes(4096))
    assert open_model(whole).kind == "h5"


def test_layouts_of_other_tools(tmp_path: Path) -> None:
    """A model's folder packed whole, folders as entries, an HDF5 user block, a graph in chunks."""
    packed = _zip(tmp_path / "m.keras", "m/", "m/config.json", "m/model.weights.h5", "__MACOSX/m/config.json")
    assert open_model(packed).kind == "keras"
    assert (
        open_model(_zip(tmp_path / "f.keras", "assets/", "config.json", "model.weights.h5")).kind == "keras"
    )
    block = tmp_path / "block.h5"
    shifted = HDF5[:24] + (512).to_bytes(8, "little") + HDF5[32:]  # the end, 4096, counts the user block
    block.write_bytes(bytes(512) + shifted + bytes(4096 - 512 - len(HDF5)))
    assert open_model(block).kind == "h5"
    block.write_bytes(block.read_bytes()[:-1])
    with pytest.raises(InputError, match="begins like an HDF5 file and ends too early"):
        open_model(block)
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "saved_model.cpb").write_bytes(b"chunks")
    assert open_model(tmp_path / "big").kind == "saved_model"


def test_an_archive_with_damage_inside(tmp_path: Path) -> None:
    path = _zip(tmp_path / "m.keras", "config.json", "model.weights.h5")
    path.write_bytes(path.read_bytes().replace(b"model.weights.h5{}", b"model.weights.h5[]", 1))
    with pytest.raises(
        InputError, match=r"what it holds as model\.weights\.h5 is not what was packed"
    ) as caught:
        open_model(path)
    assert caught.value.reference == "model-corrupt"


def test_two_models_in_one_archive(tmp_path: Path) -> None:
    path = _zip(tmp_path / "two.keras", "a/config.json", "a/model.weights.h5", "b/config.json")
    with pytest.raises(InputError, match=r"holds no config\.json at its top level, nor in one folder"):
        open_model(path)


def test_a_name_that_contradicts_the_content(tmp_path: Path, dense_float: Path) -> None:
    path = dense_float.rename(tmp_path / "model.h5")
    with pytest.raises(InputError) as caught:
        open_model(path)
    assert caught.value.render() == (
        "error: model-extension-mismatch\n"
        "  the name says an HDF5 file (.h5), the content is a TFLite model (.tflite)\n"
        f"  file: {path}\n"
        f"hint: mv {path} {tmp_path / 'model.tflite'}"
    )


def test_a_folder_that_is_no_saved_model_names_the_one_below(tmp_path: Path) -> None:
    _saved_model(tmp_path / "export" / "1")
    with pytest.raises(InputError) as caught:
        open_model(tmp_path / "export")
    assert "error: model-not-saved-model" in caught.value.render()
    assert f"hint: did you mean {tmp_path / 'export' / '1'}?" in caught.value.render()


def test_a_folder_names_what_is_in_it(tmp_path: Path, dense_float: Path) -> None:
    """Of TensorFlow Serving's versions the one it serves; a .tflite with its labels; an archive that was unpacked."""
    for version in ("2", "10", "9"):
        _saved_model(tmp_path / "versions" / version)
    (tmp_path / "with labels").mkdir()
    dense_float.rename(tmp_path / "with labels" / "model.tflite")
    (tmp_path / "with labels" / "labels.txt").write_text("a")
    (tmp_path / "unpacked").mkdir()
    for name in ("config.json", "model.weights.h5"):
        (tmp_path / "unpacked" / name).write_text("{}")
    for folder, hint in (
        ("versions", f"did you mean {tmp_path}/versions/10?"),
        ("with labels", f"did you mean '{tmp_path}/with labels/model.tflite'?"),
        ("unpacked", f"(cd {tmp_path}/unpacked && zip -r - .) > model.keras"),
    ):
        with pytest.raises(InputError) as caught:
            open_model(tmp_path / folder)
        assert caught.value.reference == "model-not-saved-model" and caught.value.hint == hint


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe is not waited for, and a link that leads nowhere says where it leads."""
    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        open_model(tmp_path / "pipe.tflite")
    (tmp_path / "link.tflite").symlink_to("nowhere.tflite")
    with pytest.raises(InputError, match="a link that leads nowhere") as caught:
        open_model(tmp_path / "link.tflite")
    assert "leads to: nowhere.tflite" in caught.value.render()


def test_the_graph_file_of_a_saved_model_points_to_its_folder(tmp_path: Path) -> None:
    folder = _saved_model(tmp_path / "saved")
    with pytest.raises(InputError, match="the model is the folder") as caught:
        open_model(folder / "saved_model.pb")
    assert str(caught.value.hint).endswith(str(folder))


def test_a_saved_model_without_its_weights(tmp_path: Path) -> None:
    folder = _saved_model(tmp_path / "saved", shards=0)
    with pytest.raises(InputError) as caught:
        open_model(folder)
    text = caught.value.render()
    assert "error: saved-model-incomplete" in text
    assert "wanted: variables.index and 1 variables.data-* file" in text


def test_a_cut_saved_model_graph(tmp_path: Path) -> None:
    folder = _saved_model(tmp_path / "saved")
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x7f\x0a")
    with pytest.raises(InputError, match="ends too early"):
        open_model(folder)


def test_a_checkpoint_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("model_checkpoint_path")
    with pytest.raises(InputError, match="a TensorFlow checkpoint"):
        open_model(tmp_path)


def test_the_digest_depends_on_content_alone(tmp_path: Path) -> None:
    first, second = _saved_model(tmp_path / "a"), _saved_model(tmp_path / "b")
    assert open_model(first).sha256 == open_model(second).sha256
    (second / "variables" / "variables.index").write_bytes(b"other")
    assert open_model(first).sha256 != open_model(second).sha256


@pytest.mark.shared
def test_the_shared_models(shared_data: Path) -> None:
    kinds = {"kws/saved_model": "saved_model", "cifar10/resnet8.h5": "h5", "kws/mlperf_int8.tflite": "tflite"}
    assert {name: open_model(shared_data / name).kind for name in kinds} == kinds


@pytest.mark.parametrize("there", [False, True])
def test_a_graph_with_variables_and_no_files_of_them(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x12\x0bVarHandleOp")
    if there:
        (folder / "variables").mkdir()
    with pytest.raises(InputError) as caught:
        open_model(folder)
    assert caught.value.reference == "saved-model-incomplete"
    assert "copy the whole folder again" in str(caught.value.hint)
