"""`edgeship.yaml`, with the command line laid over it -> Project: what all commands work from."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeship.errors import InputError
from edgeship.project.labels import without_numbers
from edgeship.registry import did_you_mean
from edgeship.strictyaml import Document, KeyPath, Mark
from edgeship.values import Goals, InputMetadata, ModelMetadata, Preprocess

if TYPE_CHECKING:  # pydantic comes with the schema, and what devices are asked does without
    from edgeship.project.governor import GovernorSection
    from edgeship.project.schema import (
        CompilerSection,
        CompressSection,
        Datasets,
        Deploy,
        Device,
        Golden,
        Metadata,
        ProjectFile,
        ServiceSection,
    )

KIND = "project"
FILE_NAME = "edgeship.yaml"
HINT = "edgeship init shows every key with its default"

OPTIONS: dict[str, KeyPath] = {
    "app": ("app",),
    "version": ("version",),
    "model": ("model",),
    "signature": ("signature",),
    "input_shape": ("input_shape",),
    "accept": ("accept",),
    "targets": ("targets",),
    "recipes": ("recipes",),
    "ladder": ("ladder",),
    "hosts": ("hosts",),
    "labels": ("labels",),
    "calibration": ("datasets", "calibration"),
    "evaluation": ("datasets", "evaluation"),
    "train": ("datasets", "train"),
    "metric": ("goals", "accuracy", "metric"),
    "max_drop": ("goals", "accuracy", "max_drop"),
    "max_kb": ("goals", "size", "max_kb"),
    "max_download_kb": ("goals", "size", "max_download_kb"),
    "max_ms": ("goals", "latency", "max_ms"),
    "methods": ("compress", "methods"),
    "minutes": ("compress", "minutes"),
    "jobs": ("compress", "jobs"),
    "seed": ("compress", "seed"),
    "prefer": ("compress", "prefer"),
    "max_rss_mb": ("goals", "memory", "max_rss_mb"),
    "compiler": ("compiler", "place"),
    "allow_uncompiled": ("compiler", "allow_uncompiled"),
    "segments": ("compiler", "segments"),
    "co_compile": ("compiler", "co_compile"),
    "listen": ("service", "listen"),
    "threads": ("service", "threads"),
    "root": ("device", "root"),
    "allow_volatile_root": ("device", "allow_volatile_root"),
    "allow_no_boot_hook": ("device", "allow_no_boot_hook"),
    "manager": ("service", "manager"),
    "vectors": ("golden", "vectors"),
    "goal": ("deploy", "goal"),
    "parallel": ("deploy", "parallel"),
    "connect_seconds": ("deploy", "connect_seconds"),
    "health_seconds": ("deploy", "health_seconds"),
    "confirm_seconds": ("deploy", "confirm_seconds"),
    "keep_releases": ("deploy", "keep_releases"),
    "accept_new_host_key": ("deploy", "accept_new_host_key"),
    "allow_unsigned": ("deploy", "allow_unsigned"),
    "device_max_ms": ("deploy", "device_max_ms"),
}
"""Name of a command-line option (underscores for dashes) -> the key it stands for."""

TYPED = {
    "hosts": "--host",
    "targets": "--target",
    "recipes": "--recipe",
    "evaluation": "--eval",
    "methods": "--method",
}
"""How an option is typed, where that is not its name."""

PATH_KEYS: tuple[KeyPath, ...] = (
    ("model",),
    ("labels",),
    ("datasets", "calibration"),
    ("datasets", "evaluation"),
    ("datasets", "train"),
)
"""Keys that may hold a path, relative to the file's folder or to where the command was typed."""

PATHS_KEYS: tuple[KeyPath, ...] = (("compiler", "co_compile"),)
"""Keys that hold several."""

UNTELLING = ("saved_model", "savedmodel", "saved-model")
"""Names of model folders that say nothing; TensorFlow Serving numbers its folders, too."""
CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""`package.module:callable`, which is not a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Every setting, checked: from the file, the command line and the defaults of the schema."""

    base: Path
    """Absolute folder that relative dataset paths start from: the file's, or where the command was typed."""
    document: Document
    """What was written, for `merge`."""
    file: ProjectFile
    """The settings as keys."""
    preprocess: Preprocess
    """What is declared for the only input; the identity where it is declared by input."""
    preprocess_by_input: Mapping[str, Preprocess]
    """What is declared for each input of a model that has several, by name."""
    goals: Goals

    @property
    def targets(self) -> tuple[str, ...]:
        """Kinds of device to build for, as written: names or aliases."""
        return self.file.targets

    @property
    def recipes(self) -> tuple[str, ...]:
        """Recipes to try, as written; empty: what each target wants."""
        return self.file.recipes

    @property
    def ladder(self) -> bool:
        """Whether a bundle carries the variants that no other beats, not the chosen one alone."""
        return self.file.ladder

    @property
    def hosts(self) -> tuple[str, ...]:
        """Devices to deploy to, as written."""
        return self.file.hosts

    @property
    def version(self) -> str:
        """The user's own number for the release."""
        return self.file.version

    @property
    def datasets(self) -> Datasets:
        """References of the datasets; paths are relative to `base` or absolute."""
        return self.file.datasets

    @property
    def compress(self) -> CompressSection:
        """How a search under a budget goes."""
        return self.file.compress

    @property
    def compiler(self) -> CompilerSection:
        """How the compiler of a target's accelerator is asked."""
        return self.file.compiler

    @property
    def metadata(self) -> Metadata:
        """What to write into the model file."""
        return self.file.metadata

    @property
    def service(self) -> ServiceSection:
        """How to serve on the device."""
        return self.file.service

    @property
    def governor(self) -> GovernorSection:
        """How the service decides on the device; `model_fields_set` tells what was written."""
        return self.file.governor

    @property
    def device(self) -> Device:
        """Where edgeship lives on the device."""
        return self.file.device

    @property
    def deploy(self) -> Deploy:
        """How a deployment goes."""
        return self.file.deploy

    @property
    def golden(self) -> Golden:
        """How many golden vectors to record."""
        return self.file.golden

    @property
    def accept(self) -> tuple[str, ...]:
        """Codes of flaws that are shipped all the same."""
        return self.file.accept

    @property
    def signature(self) -> str | None:
        """The signature of a SavedModel to convert, where one is named."""
        return self.file.signature

    @property
    def input_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """(input, sizes) that the model leaves open; the name is "" for the only input."""
        return self.file.input_shape

    @property
    def model(self) -> Path | None:
        """The model's absolute path, where one is named."""
        return self.base / self.file.model if self.file.model else None

    def says_arithmetic(self, name: str | None = None) -> bool:
        """Return whether scale, mean or std stand in the file, for the only input or for `name`: a model's own
        normalisation then does not count."""
        declared = self.file.preprocess
        part = declared.get(name or "") if isinstance(declared, dict) else declared
        return part is not None and bool(part.model_fields_set & {"scale", "mean", "std"})

    def app_for(self, model: Path) -> str:
        """Return the app's name: as set, else made from the model's name; of `kws/saved_model` or `kws/3`, kws."""
        if self.file.app:
            return self.file.app
        path = model.resolve()
        while path.parent != path and (path.name.lower() in UNTELLING or path.name.isdigit()):
            path = path.parent
        slug = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:63].strip("-")
        return slug or "model"

    def read_labels(self) -> tuple[str, ...]:
        """Return the class names, without numbers that only count them. Raises InputError `labels-not-readable`."""
        return without_numbers(self.written_labels())

    def written_labels(self) -> tuple[str, ...]:
        """Return the class names as they stand in the file. Raises InputError `labels-not-readable`."""
        if not isinstance(self.file.labels, str):
            return self.file.labels
        path = self.base / self.file.labels
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(
                "labels-not-readable",
                f"{self.document.file}: labels: cannot read '{self.file.labels}': {reason}",
                context={"file": path, "wanted": "one label a line, in the order of the model's output"},
                hint=f"ls -l {shlex.quote(str(path))}",
            ) from None
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    def metadata_for(self, model: Path) -> ModelMetadata:
        """Return what to write into the files made from `model`; input ranges are the caller's to add."""
        part = self.file.metadata
        return ModelMetadata(
            name=part.name or self.app_for(model),
            description=part.description,
            version=self.file.version,
            author=part.author,
            licence=part.licence,
            labels=self.read_labels(),
            inputs=(InputMetadata(preprocess=self.preprocess),),
        )

    def merge(self, *, directory: Path | None = None, **options: Any) -> Project:
        """Return the project with command-line options laid over it: the command line wins.

        Names are those of OPTIONS; None or an empty tuple means that an option was not given. Relative paths
        start from `directory` (default: the current one). Raises InputError `invalid-project`.
        """
        return checked(overlay(self.document, self.base, options, directory=directory), self.base)


def load_project(path: Path | None = None, *, directory: Path | None = None) -> Project:
    """Return a file's settings; with None those of ./edgeship.yaml where there is one, else the defaults.

    Raises InputError `project-not-readable`, `project-syntax`, `invalid-project` (with every problem).
    """
    return checked(*read(path, directory=directory))


def read(path: Path | None, *, directory: Path | None = None) -> tuple[Document, Path]:
    """Return what a file says, unchecked, and the folder its paths start from; see `load_project`."""
    here = (directory or Path.cwd()).resolve()
    file = (here / path) if path else here / FILE_NAME
    there = os.access(file, os.F_OK)  # False, too, where the system does not tell: reading says why
    if path is None and not there:
        return Document(file=FILE_NAME, value={}), here
    if there and file.is_dir():
        raise InputError(
            "project-not-readable",
            f"{path}: this is a folder, not a project file",
            context={"wanted": "a file such as edgeship.yaml"},
            hint=f"edgeship --help; perhaps you meant {Path(path or '.') / FILE_NAME}",
        )
    from edgeship.strictyaml import load

    return load(file, shown=str(path or FILE_NAME), kind=KIND), file.resolve().parent


def overlay(
    document: Document, base: Path, options: Mapping[str, Any], *, directory: Path | None = None
) -> Document:
    """Return a document with command-line options laid over it, unchecked; see `Project.merge`."""
    here = (directory or Path.cwd()).resolve()
    value: dict[str, Any] = dict(document.value)
    marks = dict(document.marks)
    for name, given in options.items():
        if name not in OPTIONS:
            raise TypeError(f"no setting is called {name!r}; near: {did_you_mean(name, OPTIONS)}")
        if given is None or given == () or given == []:
            continue
        path = OPTIONS[name]
        item = tuple(given) if isinstance(given, list) else given
        item = str(item) if isinstance(item, Path) else item
        if path in PATH_KEYS and isinstance(item, str):
            item = _seen_from(base, here, item)
        elif path in PATHS_KEYS:
            item = tuple(_seen_from(base, here, str(one)) for one in item)
        value = _with(value, path, item)
        marks = {p: m for p, m in marks.items() if p[: len(path)] != path}
        marks[path] = Mark(file=TYPED.get(name, f"--{name.replace('_', '-')}"), line=0)
    return Document(file=document.file, value=value, marks=marks)


def checked(document: Document, base: Path) -> Project:
    """Return the settings of a document. Raises InputError `invalid-project` with every problem."""
    from edgeship.project.schema import ProjectFile
    from edgeship.strictyaml import validate

    file = validate(ProjectFile, document, kind=KIND, hint=HINT)
    declared = file.as_preprocess()
    return Project(
        base=base,
        document=document,
        file=file,
        preprocess=declared if isinstance(declared, Preprocess) else Preprocess(),
        preprocess_by_input={} if isinstance(declared, Preprocess) else declared,
        goals=replace(file.as_goals(), metric_folder=base),
    )


def _with(value: Mapping[str, Any], path: KeyPath, item: Any) -> dict[str, Any]:
    """Return a copy of nested mappings with one key set; a non-mapping in the way is replaced."""
    key = str(path[0])
    if len(path) == 1:
        return {**value, key: item}
    below = value.get(key)
    return {**value, key: _with(below if isinstance(below, Mapping) else {}, path[1:], item)}


def _seen_from(base: Path, here: Path, text: str) -> str:
    """Return a path typed in `here` as the project sees it from `base`; module:callable stays as it is."""
    if here == base or (CALLABLE.fullmatch(text) and not (here / text).exists()):
        return text
    return os.path.normpath(here / text)
