"""The datasets of a project, read for what its model takes: `read_data(...)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeship.data.dataset import load_dataset
from edgeship.data.named import as_said, bind
from edgeship.data.pictures import OF_CHANNELS
from edgeship.data.samples import Reading, Role
from edgeship.model.names import input_names
from edgeship.model.picture import Picture, input_picture
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.values import Dataset, FloatModel, ModelSource

ROLES: tuple[Role, ...] = ("calibration", "evaluation")
"""What a build reads; who trains reads `train` besides."""


def read_data(
    project: Project,
    labels: Sequence[str],
    source: ModelSource,
    work: Path,
    progress: Progress,
    *,
    roles: Sequence[Role] = ROLES,
) -> dict[Role, Dataset]:
    """Return the datasets that the project names, images brought to what the model takes as far as its file says."""
    picture = input_picture(source, project.signature)
    channels = {"": picture.channels} if picture.channels else {}
    model = (input_names(source, project.signature), picture, channels)
    return _read(project, labels, model, work, progress, roles)


def with_channels(
    project: Project,
    labels: Sequence[str],
    model: FloatModel,
    data: dict[Role, Dataset],
    work: Path,
    progress: Progress,
) -> dict[Role, Dataset]:
    """Return the datasets, an array for each input of the converted model.

    They are read once more where images have other channels than it takes: some models tell that only now. Raises
    what `bind` raises.
    """
    specs = model.signature.inputs
    bound = {role: bind(dataset, specs) for role, dataset in data.items()}
    wanted = {
        k: spec.shape[-1]
        for k, spec in enumerate(specs)
        if len(spec.shape) == 4 and spec.shape[-1] in OF_CHANNELS
    }
    differ = any(
        len(shape) == 3 and shape[-1] != channels
        for dataset in bound.values()
        if (project.base / dataset.info.reference).suffix == ".csv"
        or (project.base / dataset.info.reference).is_dir()
        for k, channels in wanted.items()
        for shape in [dataset.info.arrays[k].shape]
    )
    if not differ:
        return bound
    names = tuple(as_said(spec.name) for spec in specs)
    channels = {("" if len(specs) == 1 else names[k]): count for k, count in wanted.items()}
    told = (names, input_picture(model.source, project.signature), channels)
    again = _read(project, labels, told, work, progress, list(data))
    return {role: bind(dataset, specs) for role, dataset in again.items()}


def _read(
    project: Project,
    labels: Sequence[str],
    model: tuple[tuple[str, ...], Picture, Mapping[str, int]],
    work: Path,
    progress: Progress,
    roles: Sequence[Role],
) -> dict[Role, Dataset]:
    """Return the datasets; `model` is what is known of its inputs: names, picture and channels."""
    names, picture, channels = model
    declared = tuple(project.preprocess_by_input.values())
    only = declared[0] if len(declared) == 1 and len(names) < 2 else project.preprocess
    references: dict[Role, str | None] = {role: getattr(project.datasets, role) for role in roles}
    return {
        role: load_dataset(
            reference,
            work / "data",
            Reading(
                role=role,
                base=project.base,
                inputs=names,
                resize=only.resize,
                resizes={n: p.resize for n, p in project.preprocess_by_input.items() if p.resize},
                classes=() if role == "calibration" else tuple(labels),
                wanted=picture.size,
                channels=channels,
            ),
            progress=progress,
        )
        for role, reference in references.items()
        if reference
    }
