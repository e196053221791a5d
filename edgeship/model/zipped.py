"""The layout of `.keras` archives: where a model stands in one, and one with the model at its top."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

CONFIG = "config.json"


def config_folder(names: Iterable[str]) -> str | None:
    """Return the folder of the archive that the model stands in, with its slash: empty for the top, where Keras puts
    it, or the one folder that was packed whole; None where there is no config, or several."""
    held = [name.removesuffix(CONFIG) for name in names if name.rpartition("/")[2] == CONFIG]
    if "" in held:
        return ""
    folders = [f for f in held if f.count("/") == 1 and not f.startswith("__MACOSX")]
    return folders[0] if len(folders) == 1 else None


def with_model_at_top(path: Path, folder: Path) -> Path:
    """Return `path`, or a copy of it in `folder` where its model stands in a folder of the archive."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as old:
        inside = config_folder(old.namelist())
        if not inside:
            return path
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / path.name, "w") as new:
            for entry in old.infolist():
                if entry.filename.startswith(inside) and not entry.is_dir():
                    name = entry.filename.removeprefix(inside)
                    with old.open(entry) as stream, new.open(name, "w", force_zip64=True) as out:
                        shutil.copyfileobj(stream, out, 1 << 20)
    return folder / path.name
