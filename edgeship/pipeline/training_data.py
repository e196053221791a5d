"""What is trained on, calibrated with and chosen by, kept apart from what is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeship.compress.rows import parted
from edgeship.data.samples import Role
from edgeship.data.subset import prepared_subset, shared_rows, subset
from edgeship.errors import InputError
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.values import Dataset, PreparedSamples

CALIBRATION = 500
"""Samples that are taken out of the training data where no calibration data is given; more change nothing."""

FEW = 100
"""Held-out samples below which one is more than a point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Samples by which candidates are chosen: no step looked at them, and they are no evaluation data."""

    dataset: Dataset
    prepared: PreparedSamples
    labelled: bool


def with_calibration(data: dict[Role, Dataset], work: Path, progress: Progress) -> dict[Role, Dataset]:
    """Return the datasets, the training data without evaluation samples, and calibration samples out of it where none
    are given.

    Raises InputError `evaluation-in-training` where hardly anything would be left, `dataset-too-small` where hardly
    anything was given.
    """
    train, evaluation = data.get("train"), data.get("evaluation")
    if train is None:
        return data
    if evaluation is not None:
        train = _without(train, evaluation, work, progress)
    data = {**data, "train": train}
    if train.info.count < 2:
        raise InputError(
            "dataset-too-small",
            "there is one training sample: it cannot be trained on and held out to choose by",
            context={
                "dataset": train.info.reference,
                "samples": train.info.count,
                "wanted": "2, or some hundreds",
            },
            hint="give --train data with more samples",
        )
    if "calibration" not in data:
        rows, _ = parted(train.info.count)
        drawn = np.random.default_rng(0).permutation(rows)[:CALIBRATION]
        data["calibration"] = subset(train, np.sort(drawn), work, f"{len(drawn)} samples of it")
        progress.note(f"calibration: {len(drawn)} of the training samples")
    return data


def _without(train: Dataset, evaluation: Dataset, work: Path, progress: Progress) -> Dataset:
    """Return the training data without the samples that the evaluation data holds."""
    if [array.shape for array in train.info.arrays] != [array.shape for array in evaluation.info.arrays]:
        return train  # of other sizes none can be equal
    shared = shared_rows(train, [evaluation])
    if not shared.size:
        return train
    left = np.setdiff1d(np.arange(train.info.count), shared)
    if left.size < 2:
        raise InputError(
            "evaluation-in-training",
            f"{shared.size:,} of {train.info.count:,} training samples stand in the evaluation data, too: hardly "
            "anything is left to train on",
            context={"train": train.info.reference, "evaluation": evaluation.info.reference},
            hint="give --train samples that --eval does not hold",
        )
    progress.note(
        f"{shared.size:,} of {train.info.count:,} training samples stand in the evaluation data, too: they are left "
        "out of the training"
    )
    return subset(train, left, work, "without evaluation samples")


def with_limit(project: Project) -> Project:
    """Return the project with the limit on accuracy that a search has where none is set."""
    if project.goals.max_drop is not None:
        return project
    return replace(project, goals=replace(project.goals, max_drop=project.file.compress.max_drop))


def few_samples(held_out: HeldOut, progress: Progress) -> None:
    """Note where so few samples are held out that one of them is more than a point."""
    count = held_out.dataset.info.count
    if count < FEW:
        progress.note(
            f"only {count} samples are held out to choose by, one of which is {100 / count:.1f} points: "
            "more --train data makes the choice surer"
        )


def held_out_of(
    train: Dataset | None,
    train_prepared: PreparedSamples | None,
    calibration: Dataset | None,
    calibration_prepared: PreparedSamples | None,
    work: Path,
) -> HeldOut | None:
    """Return the held-out part of the training data, or of the calibration samples, of which no labels are looked at;
    None where there are no samples at all."""
    labelled = train is not None and train.y_path is not None
    for dataset, prepared in ((train, train_prepared), (calibration, calibration_prepared)):
        if dataset is None or prepared is None:
            continue
        _, rows = parted(dataset.info.count)
        held = subset(dataset, rows, work, f"{len(rows)} samples held out")
        return HeldOut(dataset=held, prepared=prepared_subset(prepared, rows, work), labelled=labelled)
    return None
