"""Tell what kind of model a path holds, by its content: `open_model(path)`.

Names lie and downloads break, so the first bytes decide and the name must not contradict them. What cannot be
used is refused here with what it is and what to do, before any tool spends a minute on it.
"""

from __future__ import annotations

import re
import shlex
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from edgeship.digest import sha256_tree
from edgeship.errors import InputError
from edgeship.model.foreign import name_foreign
from edgeship.model.wire import fields_fit
from edgeship.model.zipped import config_folder
from edgeship.values import ModelKind, ModelSource

KIND_OF_SUFFIX: dict[str, ModelKind] = {
    ".keras": "keras", ".h5": "h5", ".hdf5": "h5", ".tflite": "tflite", ".lite": "tflite",
}  # fmt: skip
SUFFIX_OF_KIND: dict[ModelKind, str] = {
    "keras": ".keras",
    "h5": ".h5",
    "tflite": ".tflite",
    "saved_model": "/",
}
WORDS: dict[ModelKind, str] = {
    "keras": "a Keras 3 archive (.keras)",
    "h5": "an HDF5 file (.h5)",
    "saved_model": "a SavedModel folder",
    "tflite": "a TFLite model (.tflite)",
}
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
ACCEPTED = "MODEL is a .keras or .h5 file, a SavedModel folder, or a .tflite file"


def open_model(path: Path, shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()) -> ModelSource:
    """Return what `path` holds, with its digest, and the sizes of inputs that the user closes.

    Raises InputError: `model-not-found`, `model-empty`, `model-truncated`, `model-is-lfs-pointer`,
    `model-foreign` (another framework's or format's file, with how to convert it),
    `model-extension-mismatch`, `model-not-keras`, `model-corrupt`, `saved-model-incomplete`, `model-unknown`.
    """
    try:
        _refuse_missing(path)
        kind = _kind_of_folder(path) if path.is_dir() else _kind_of_file(path)
        return ModelSource(path=path, kind=kind, sha256=sha256_tree(path), shapes=shapes)
    except OSError as error:
        raise InputError(
            "model-unreadable",
            f"the model cannot be read: {error.strerror or error}",
            context={"file": error.filename or path},
            hint=f"ls -l {_quoted(path)}",
        ) from None


def _refuse_missing(path: Path) -> None:
    """Raise InputError where there is nothing that could be read. Raises OSError where the system does not tell."""
    if not path.exists():
        if path.is_symlink():
            raise _broken_link(path)
        nearby = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        raise InputError(
            "model-not-found",
            "there is no such model",
            context={"file": path, **({"beside it": ", ".join(nearby[:8])} if nearby else {})},
            hint=f"ls {_quoted(path.parent)}   ({ACCEPTED})",
        )
    if not path.is_dir() and not path.is_file():
        raise InputError(
            "model-unknown", "this is neither a file nor a folder", context={"file": path}, hint=ACCEPTED
        )


def _kind_of_file(path: Path) -> ModelKind:
    """Return the kind of a file, or raise what is wrong with it."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(4096)
    if size == 0:
        raise InputError(
            "model-empty", "the model file is empty", context={"file": path}, hint="fetch or export it again"
        )
    if head.startswith(LFS_POINTER):
        raise _lfs_pointer(path)
    if path.name == "saved_model.pb":
        raise InputError(
            "model-foreign",
            "this is one part of a SavedModel; the model is the folder",
            context={"file": path},
            hint=f"give the folder instead: {_quoted(path.parent)}",
        )
    kind = _sniff(path, head, size)
    if kind is None:
        raise _not_a_model(path, head)
    named = KIND_OF_SUFFIX.get(path.suffix.lower())
    if named is not None and named != kind:
        raise InputError(
            "model-extension-mismatch",
            f"the name says {WORDS[named]}, the content is {WORDS[kind]}",
            context={"file": path},
            hint=f"mv {_quoted(path)} {_quoted(path.with_suffix(SUFFIX_OF_KIND[kind]))}",
        )
    return kind


def _sniff(path: Path, head: bytes, size: int) -> ModelKind | None:
    """Return the kind the content has, None for none of ours. Raises where it is ours and incomplete."""
    if head[4:8] == b"TFL3":
        if size < 32:
            raise _truncated(path, size, "a TFLite model", "more")
        return "tflite"
    if (start := _hdf5_start(path, size)) is not None:
        _check_hdf5(path, start, size)
        return "h5"
    if head.startswith(b"PK"):
        return _kind_of_zip(path, size)
    return None


def _hdf5_start(path: Path, size: int) -> int | None:
    """Return where an HDF5 file's superblock stands: at 0, or behind a user block of 512, 1024, 2048, ... bytes."""
    start = 0
    with path.open("rb") as stream:
        while start < size:
            stream.seek(start)
            if stream.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
                return start
            start = max(512, 2 * start)
    return None


def _check_hdf5(path: Path, place: int, size: int) -> None:
    """Raise `model-truncated` where the superblock's end-of-file address lies behind the file's end.

    Addresses as in the HDF5 file format specification, section II.A: version 0 and 1 keep base, free-space
    and end-of-file addresses from byte 24 (28 in version 1), version 2 and 3 base, extension and end-of-file
    from byte 12. The library counts the end from the file's beginning, a user block included.
    """
    with path.open("rb") as stream:
        stream.seek(place)
        padded = stream.read(64).ljust(64, b"\0")
    version = padded[8]
    offset_size = padded[13] if version < 2 else padded[9]
    if version > 3 or offset_size != 8:
        return  # a layout this check does not know: the converter will tell
    start = {0: 24, 1: 28}.get(version, 12)
    _, _, end = struct.unpack_from("<3Q", padded, start)
    if end > size:
        raise _truncated(path, size, "an HDF5 file", end)


def _kind_of_zip(path: Path, size: int) -> ModelKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            bad = archive.testzip() if config_folder(names) is not None else None
    except (zipfile.BadZipFile, ValueError, NotImplementedError, zlib.error, RuntimeError):
        raise _truncated(path, size, "a zip archive (as .keras files are)", "its index at the end") from None
    if bad is not None:
        raise InputError(
            "model-corrupt",
            f"the archive is damaged: what it holds as {bad} is not what was packed (its checksum differs)",
            context={"file": path, "bytes": size},
            hint="copy or download it again, and compare its SHA-256 with the original's: sha256sum",
        )
    if (inside := config_folder(names)) is not None:
        if not names & {f"{inside}model.weights.h5", f"{inside}model.weights.json"}:
            raise InputError(
                "model-not-keras",
                "the archive has a Keras configuration and no weights (model.weights.h5)",
                context={"file": path, "holds": ", ".join(sorted(names)[:6])},
                hint="save the whole model: model.save('model.keras')",
            )
        return "keras"
    if foreign := name_foreign(path, b"PK", names):
        raise _foreign(path, *foreign)
    inside_it = _models_among(names)
    raise InputError(
        "model-not-keras",
        "this zip archive is no .keras model: it holds no config.json at its top level, nor in one folder",
        context={"file": path, "holds": ", ".join(sorted(names)[:6]) or "nothing"},
        hint=f"unzip {_quoted(path)}   (and give {_quoted(inside_it[0])})"
        if inside_it
        else f"unzip it and give what is inside, if that is a model ({ACCEPTED})",
    )


def _models_among(names: Iterable[str]) -> list[str]:
    """Return the names that are a model's, the best guess first: SavedModels (the newest version), then files."""
    folders = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] == "saved_model.pb"]
    # TensorFlow Serving keeps a folder a version, and serves the one with the highest number.
    folders.sort(
        key=lambda name: int(last) if (last := name.rpartition("/")[2]).isdigit() else -1, reverse=True
    )
    files = [name for name in names if Path(name).suffix.lower() in KIND_OF_SUFFIX]
    return [name for name in folders if name] + sorted(files)


def _kind_of_folder(path: Path) -> ModelKind:
    """Return "saved_model" for a complete SavedModel folder, or raise what is missing."""
    names = {p.name for p in path.iterdir()}
    graph = path / "saved_model.pb"
    if "saved_model.pb" not in names and names & {"saved_model.pbtxt", "saved_model.cpb"}:
        return "saved_model"  # as text, or in chunks, as TensorFlow writes graphs beyond 2 GB
    if "saved_model.pb" not in names:
        if foreign := name_foreign(path, b"", names):
            raise _foreign(path, *foreign)
        if config_folder(names) == "" and "model.weights.h5" in names:
            raise InputError(
                "model-not-saved-model",
                "this folder is a .keras archive that was unpacked",
                context={"folder": path},
                hint=f"(cd {_quoted(path)} && zip -r - .) > model.keras",
            )
        inside = _models_among([*names, *(str(p.relative_to(path)) for p in path.glob("*/saved_model.pb"))])
        raise InputError(
            "model-not-saved-model",
            "this folder is no SavedModel: it holds no saved_model.pb",
            context={"folder": path, "holds": ", ".join(sorted(names)[:8]) or "nothing"},
            hint=f"did you mean {_quoted(path / inside[0])}?"
            if inside
            else f"export one with model.export(FOLDER)   ({ACCEPTED})",
        )
    content = graph.read_bytes()
    if content.startswith(LFS_POINTER):
        raise _lfs_pointer(graph)
    if not content:
        raise InputError("model-empty", "the graph of the SavedModel is empty", context={"file": graph})
    if not fields_fit(content):
        raise _truncated(graph, len(content), "a SavedModel's graph", "more")
    _check_variables(path / "variables", holds=b"VarHandleOp" in content or b"VariableV2" in content)
    return "saved_model"


def _check_variables(variables: Path, *, holds: bool) -> None:
    """Raise where files of variables are missing, cut short or pointers; `holds`: whether the graph has variables."""
    index = variables / "variables.index"
    shards = sorted(variables.glob("variables.data-*-of-*"))
    if not index.exists() and not shards:
        if not holds:
            return  # constants only
        raise InputError(
            "saved-model-incomplete",
            "the graph has variables, and the folder holds no files of them: the weights are missing",
            context={
                "folder": variables,
                "seen": "an empty folder" if variables.is_dir() else "no such folder",
                "wanted": "variables.index and variables.data-00000-of-00001",
            },
            hint="copy the whole folder again (cp -r, scp -r); does a .gitignore leave out *.data-* or *.index?",
        )
    wanted = int(shards[0].name.rsplit("-", 1)[1]) if shards and shards[0].name[-5:].isdigit() else 1
    if not index.exists() or len(shards) < wanted:
        raise InputError(
            "saved-model-incomplete",
            "the SavedModel lacks files of its variables: its weights would be missing",
            context={
                "folder": variables,
                "seen": ", ".join(sorted(p.name for p in variables.iterdir())),
                "wanted": f"variables.index and {wanted} variables.data-* file{'s' if wanted > 1 else ''}",
            },
            hint="copy the whole folder again (cp -r, or scp -r)",
        )
    for file in (index, *shards):
        if file.stat().st_size == 0:
            raise InputError(
                "saved-model-incomplete",
                "a file of the SavedModel's variables is empty: its weights would be missing",
                context={"file": file, "bytes": 0},
                hint="copy the whole folder again (cp -r, or scp -r), and compare sizes: ls -l",
            )
        with file.open("rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                raise _lfs_pointer(file)


def _not_a_model(path: Path, head: bytes) -> InputError:
    """Return the error for a file that is none of our kinds: another format by name, text, or unknown."""
    if foreign := name_foreign(path, head, set()):
        return _foreign(path, *foreign)
    named = KIND_OF_SUFFIX.get(path.suffix.lower())
    context: dict[str, object] = {"file": path, "starts with": repr(head[:16])}
    if named and SUFFIX_OF_KIND[named] != "/" and len(head) < 16:
        return InputError(
            "model-truncated",
            f"{len(head)} bytes cannot be {WORDS[named]}",
            context={"file": path, "holds": repr(head)},
            hint="copy or download it again, and compare sizes: ls -l",
        )
    what = (
        "text"
        if head and all(32 <= b < 127 or b in b"\t\r\n\f" or b >= 128 for b in head)
        else "something else"
    )
    message = f"the name says {WORDS[named]}, the content is {what}" if named else f"this is no model: {what}"
    return InputError("model-unknown", message, context=context, hint=ACCEPTED)


def _truncated(path: Path, size: int, what: str, wanted: object) -> InputError:
    return InputError(
        "model-truncated",
        f"this begins like {what} and ends too early",
        context={"file": path, "bytes": size, "wanted": wanted},
        hint="copy or download it again, and compare sizes: ls -l",
    )


def _broken_link(path: Path) -> InputError:
    return InputError(
        "model-not-found",
        "this is a link that leads nowhere",
        context={"file": path, "leads to": path.readlink()},
        hint=f"ls -l {_quoted(path)}",
    )


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))


def _lfs_pointer(path: Path) -> InputError:
    return InputError(
        "model-is-lfs-pointer",
        "this is a Git LFS pointer: the file's real content was never fetched",
        context={"file": path},
        hint="git lfs install && git lfs pull",
    )


def _foreign(path: Path, what: str, advice: str) -> InputError:
    """Return the error for another format's file, which is FILE in the advice, in Python PATH."""
    said = {"FILE": _quoted(path), "PATH": repr(str(path))}
    hint = re.sub(r"\b(FILE|PATH)\b", lambda found: said[found[0]], advice)
    return InputError("model-foreign", f"this is {what}", context={"file": path}, hint=hint)
