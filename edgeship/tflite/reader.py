"""A `.tflite` file, read and checked: `read_tflite(path)`.

Nothing here runs a model or needs TensorFlow or NumPy to be imported first.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from edgeship.digest import sha256_bytes
from edgeship.errors import InputError
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import Corrupt, Inconsistent, parse
from edgeship.tflite.schema import FILE_IDENTIFIER


def read_tflite(path: Path, *, unknown: bool = False) -> TfliteFile:
    """Return what a `.tflite` file holds.

    Raises InputError `model-not-found`, `model-not-tflite`, `model-corrupt` where an offset, length or index in it
    points outside (damage inside the weights themselves cannot be told), `model-inconsistent` where a whole file
    contradicts itself, and unless `unknown` parts are welcome `model-unknown-parts`: nothing here runs them.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            "model-not-found",
            f"the model cannot be read: {error.strerror}",
            context={"file": path},
            hint=f"ls -l {shlex.quote(str(path.parent))}",
        ) from None
    if content[4:8] != FILE_IDENTIFIER:
        raise InputError(
            "model-not-tflite",
            "the file does not carry the TFLite identifier TFL3 at byte 4",
            context={"file": path, "starts with": repr(content[:8])},
            hint=f"edgeship inspect {path}",
        )
    try:
        file = parse(path, content, sha256_bytes(content))
    except Inconsistent as reason:
        raise InputError(
            "model-inconsistent",
            f"the .tflite file contradicts itself, so that no runtime takes it: {reason}",
            context={"file": path, "bytes": len(content)},
            hint="convert it again with a newer converter, or fetch it again where others have it whole",
        ) from None
    except Corrupt as reason:
        raise InputError(
            "model-corrupt",
            f"the .tflite file is damaged or cut short: {reason}",
            context={"file": path, "bytes": len(content)},
            hint="fetch or convert it again and compare its SHA-256 with the original's",
        ) from None
    if file.unknown and not unknown:
        raise InputError(
            "model-unknown-parts",
            f"the .tflite file holds what TFLite as it is installed here does not know: {', '.join(file.unknown[:4])}",
            context={"file": path, "version": file.version},
            hint="pip install --upgrade edgeship, where something newer made the file; edgeship inspect shows the rest",
        )
    return file
