"""The variants of a model for one target: derived, described, scored and judged. `build` and `check` both ask here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeship.digest import sha256_file
from edgeship.pipeline.inputs import Inputs
from edgeship.pipeline.plan import recipes_for
from edgeship.pipeline.site import BuildSite
from edgeship.profile import TargetProfile
from edgeship.quantize import contract
from edgeship.quantize.choose import wanted
from edgeship.quantize.derive import Derivation, derive_all, order_of
from edgeship.score.choice import choose_best
from edgeship.score.gates import gate, judge
from edgeship.score.measure import score
from edgeship.tflite.contents import download_size
from edgeship.tflite.metadata import write_all_metadata
from edgeship.tflite.precision import boundary, precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import Artifact, GateResult, Goals, InputMetadata, Precision, Recipe, Scorecard, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of the recipes of one target."""

    variants: tuple[Variant, ...]
    failed: tuple[tuple[str, str], ...]
    """(recipe, reason) of recipes that could not be derived at all."""

    def chosen(self, profile: TargetProfile, goals: Goals) -> tuple[Variant | None, str]:
        """Return the variant that the target runs and why, or None and why there is none."""
        if not self.variants:
            return None, "none of the recipes could be made from this model"
        return choose_best(self.variants, wanted(profile), goals, measured_here=profile.measured_here)


def given_precision(inputs: Inputs) -> Precision | None:
    """Return what a model that came quantized holds; None of a float model."""
    return None if inputs.float_model.is_float else precision_of(read_tflite(inputs.float_model.path))


def recipes_of(site: BuildSite, profile: TargetProfile, inputs: Inputs) -> tuple[Recipe, ...]:
    """Return what to derive for a target, and tell what is left out. Raises as `recipes_for`."""
    recipes, left_out = recipes_for(
        site.project, profile, given_precision(inputs), calibrated=inputs.calibration is not None
    )
    if left_out:
        site.progress.note(f"{profile.name}: {', '.join(left_out)} not made: no --calibration data was given")
    return recipes


def make_variants(site: BuildSite, profile: TargetProfile, inputs: Inputs) -> Made:
    """Derive and describe the recipes of a target, score what came of them, and judge it.

    Raises what `recipes_for` and `derive_all` raise.
    """
    progress, given = site.progress, given_precision(inputs)
    recipes = recipes_of(site, profile, inputs)
    derived = derive(site, profile, inputs, recipes)
    edges = boundary(read_tflite(inputs.float_model.path))
    if given and profile.compiler.backend != "none" and any(tensor.dtype == "float32" for tensor in edges):
        progress.note(
            f"{profile.name}: the model came with float inputs or outputs: QUANTIZE and DEQUANTIZE at its edges stay "
            "on the CPU"
        )
    for name, reason in derived.failed:
        progress.note(f"{profile.name}: no {name}: {reason}")
    for artifact in derived.artifacts:
        for note in artifact.notes:
            progress.note(f"{profile.name}: {artifact.name}: {note}")
    artifacts = describe(site, inputs, derived.artifacts)
    return Made(variants=scored(site, profile, inputs, artifacts, recipes), failed=derived.failed)


def derive(site: BuildSite, profile: TargetProfile, inputs: Inputs, recipes: Sequence[Recipe]) -> Derivation:
    """Derive every recipe, or take what an earlier target got of the same. Raises as `derive_all`."""
    site.progress.step(f"{profile.name}: deriving {', '.join(r.alias for r in recipes)}")
    if not inputs.float_model.is_float:  # what came quantized is rewritten for the target's own runtime
        return _derived(site, profile, inputs, recipes)
    key = (inputs.float_model.sha256, order_of(recipes, profile))
    if key not in site.earlier.derived:
        site.earlier.derived[key] = _derived(site, profile, inputs, recipes)
    return site.earlier.derived[key]


def _derived(
    site: BuildSite, profile: TargetProfile, inputs: Inputs, recipes: Sequence[Recipe]
) -> Derivation:
    return derive_all(
        inputs.float_model,
        recipes,
        inputs.calibration_prepared,
        site.scratch,
        profile=profile,
        progress=site.progress,
    )


def scored(
    site: BuildSite,
    profile: TargetProfile,
    inputs: Inputs,
    artifacts: Sequence[Artifact],
    recipes: Sequence[Recipe],
) -> tuple[Variant, ...]:
    """Score every artifact and judge it: by what its file holds, and by the goals."""
    site.progress.step(f"{profile.name}: scoring {len(artifacts)} variants")
    prepared = (
        inputs.evaluation_prepared or inputs.calibration_prepared
    )  # of the latter no labels are looked at
    data = prepared.sha256 if prepared else ""
    key = (inputs.float_model.sha256, data, *(artifact.sha256 for artifact in artifacts))
    if key not in site.earlier.scored:
        site.earlier.scored[key] = score(
            artifacts,
            inputs.float_model,
            inputs.evaluation,
            prepared,
            site.project.goals,
            progress=site.progress,
        )
    cards = site.earlier.scored[key]
    named = {recipe.name: recipe for recipe in recipes}
    return tuple(
        judged(site, profile, inputs, artifact, card, named[artifact.recipe])
        for artifact, card in zip(artifacts, cards, strict=True)
    )


def judged(
    site: BuildSite,
    profile: TargetProfile,
    inputs: Inputs,
    artifact: Artifact,
    card: Scorecard,
    recipe: Recipe,
) -> Variant:
    """Return an artifact with its scorecard and the gates: of what its file holds, and of the goals."""
    goals, accepted = site.project.goals, site.project.accept
    holds = contract.check(
        artifact.path,
        recipe,
        profile,
        given=not inputs.float_model.is_float,
        accepted=accepted,
        in_float=[name for step in artifact.steps for name, other in step.layers if other == "float"],
    )
    download: tuple[GateResult, ...] = ()
    if goals.max_download_kb is not None:
        packed = download_size(artifact.path.read_bytes())
        download = (
            gate("download", goals.max_download_kb, packed / 1000, "the compressed model file", " kB"),
        )
    return Variant(
        artifact=artifact,
        scorecard=card,
        gates=(*holds, *judge(artifact, card, goals, accepted), *download),
    )


def describe(site: BuildSite, inputs: Inputs, artifacts: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """Return the artifacts with name, labels, normalisation, ranges and licence written into each file."""
    project, folder = site.project, site.scratch / "described"
    metadata = project.metadata_for(inputs.source.path)
    seen = inputs.calibration or inputs.evaluation
    metadata = replace(
        metadata,
        labels=inputs.labels,
        inputs=tuple(
            InputMetadata(
                preprocess=rule.preprocess,
                minimum=seen.info.arrays[k].minimum if seen else None,
                maximum=seen.info.arrays[k].maximum if seen else None,
            )
            for k, rule in enumerate(inputs.rules)
        ),
    )
    key = (inputs.float_model.sha256, *(artifact.sha256 for artifact in artifacts))
    if key not in site.earlier.described:
        # a folder by content each: files of several candidates may be called alike, by the recipe
        pairs = [(a.path, folder / a.sha256[:16] / a.path.name) for a in artifacts]
        for _, new in pairs:
            new.parent.mkdir(parents=True, exist_ok=True)
        tools = write_all_metadata(pairs, metadata, progress=site.progress)
        site.earlier.described[key] = tuple(new for _, new in pairs), tools
    paths, tools = site.earlier.described[key]
    return tuple(
        replace(a, path=new, bytes=new.stat().st_size, sha256=sha256_file(new), tools={**a.tools, **tools})
        for a, new in zip(artifacts, paths, strict=True)
    )
