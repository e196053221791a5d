"""How the samples of each input are prepared: what edgeship.yaml and the model's file say of it, and the files made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgeship.data.named import as_said, find
from edgeship.data.preprocess import prepare, share_outside
from edgeship.data.rules import cut_off, rule_of
from edgeship.data.samples import Role
from edgeship.errors import InputError
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.registry import did_you_mean
from edgeship.tflite.findings import rescalings_of, unscaled_inputs
from edgeship.tflite.metadata import metadata_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import Dataset, FloatModel, InputRule, PreparedSamples, Preprocess, TensorSpec

AS_THEY_ARE = (
    "pixels go into '{name}' as bytes, 0 to 255, and the model scales nothing: if it was trained on 0..1 or -1..1, say "
    "so in edgeship.yaml, preprocess: {{scale: 1/255}} or {{scale: 1/127.5, mean: [1]}}; {{scale: 1}} says it was not"
)


def check_declared(project: Project, inputs: Sequence[TensorSpec]) -> None:
    """Raise InputError `preprocess-which-input` where steps are declared once for several inputs, and
    `preprocess-unknown-input` where they are for an input that the model does not have.

    Nothing of it may be left out in silence: clients would send raw values to a model that wants prepared ones.
    """
    names = [as_said(spec.name) for spec in inputs]
    shown = ", ".join(f"{as_said(t.name)} {list(t.shape)}" for t in inputs)
    if len(inputs) > 1 and not project.preprocess.is_identity():
        raise InputError(
            "preprocess-which-input",
            f"preprocess: is declared once, and the model has {len(inputs)} inputs: which one it is for is not known",
            context={"key": "preprocess", "inputs": shown},
            hint=f"name the input:  preprocess: {{{names[0]}: {{...}}}} in edgeship.yaml",
        )
    for name in project.preprocess_by_input:
        if find(name, names) is None:
            near = did_you_mean(name, names)
            raise InputError(
                "preprocess-unknown-input",
                f"preprocess: speaks of '{name}', and the model has no such input",
                context={"key": f"preprocess.{name}", "inputs": shown},
                hint=f"did you mean '{near}'?" if near else f"name one of {', '.join(names)}",
            )


def rules_of(
    project: Project, model: FloatModel, data: Mapping[Role, Dataset], progress: Progress
) -> tuple[InputRule, ...]:
    """Return what the samples of each input mean, in the order of the signature; `data` holds an array for each.

    Raises InputError `preprocess-channels`.
    """
    file = read_tflite(model.path)
    described, unscaled = (metadata_of(file) or {}).get("inputs") or [], unscaled_inputs(file)
    rules = []
    for k, spec in enumerate(model.signature.inputs):
        name = find(spec.name, list(project.preprocess_by_input))
        rule = rule_of(
            spec,
            project.preprocess_by_input[name] if name else project.preprocess,
            described[k] if k < len(described) else None,
            [dataset.info.part(k) for dataset in data.values()],
            says_arithmetic=project.says_arithmetic(name),
            progress=progress,
        )
        check_channels(rule.preprocess, spec)
        rules.append(rule)
        pixels = spec.dtype == "float32" and len(spec.shape) == 4 and unscaled[k]
        bytes_given = pixels and any(dataset.info.part(k).dtype == "uint8" for dataset in data.values())
        untouched = replace(rule.preprocess, resize=None).is_identity() and not project.says_arithmetic(name)
        if bytes_given and untouched:
            progress.note(AS_THEY_ARE.format(name=as_said(spec.name)))
    return tuple(rules)


def prepared_for(
    model: FloatModel,
    rules: Sequence[InputRule],
    data: Mapping[Role, Dataset],
    work: Path,
    progress: Progress,
) -> dict[Role, PreparedSamples]:
    """Return each dataset in model units, a file an input. Raises what `prepare` raises."""
    specs, rescalings = model.signature.inputs, rescalings_of(read_tflite(model.path))
    prepared: dict[Role, PreparedSamples] = {}
    for role, dataset in data.items():
        paths = []
        for k, (spec, rule) in enumerate(zip(specs, rules, strict=True)):
            part = dataset.part(k)
            made = prepare(
                part,
                rule.prepares(part.info.dtype),
                spec,
                work,
                progress=progress,
                rescaling=rescalings[k],
            )
            if note := cut_off(part.info, spec, share_outside(made, spec)):
                progress.note(note)
            paths.append(made)
        prepared[role] = PreparedSamples(paths=tuple(paths), sha256=dataset.info.sha256)
    return prepared


def check_channels(preprocess: Preprocess, wanted: TensorSpec) -> None:
    """Raise InputError `preprocess-channels` where mean or std fits no channel of the model's input."""
    channels = wanted.shape[-1] if wanted.shape else 1
    for key, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if channels > 0 and len(values) not in (1, channels):
            raise InputError(
                "preprocess-channels",
                f"preprocess.{key} has {len(values)} values, the model's input has {channels} channels",
                context={"key": f"preprocess.{key}", "value": list(values), "input": list(wanted.shape)},
                hint=f"give one value, or {channels}",
            )
