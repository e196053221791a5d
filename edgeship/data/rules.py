"""What the samples of an input mean: the user's preprocessing, the file's own normalisation, or stored integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgeship.progress import Progress, Silent
from edgeship.values import DatasetInfo, InputRule, Preprocess, TensorSpec

INTEGERS = ("uint8", "int8", "uint16", "int16")
NOTABLE = 0.01
"""A smaller share of values that are cut off is rounding, or noise."""
UNIT_SPAN = 4.0
"""Samples that span less than this lie in a model's own units: pixels and counts span tens and hundreds."""


def rule_of(
    spec: TensorSpec,
    declared: Preprocess,
    found: dict[str, Any] | None,
    data: Sequence[DatasetInfo] = (),
    *,
    says_arithmetic: bool,
    progress: Progress | None = None,
) -> InputRule:
    """Return the rule of one input and tell of it in a line where the user did not decide it.

    `found` is what the file's metadata says of the input (`edgeship.tflite.metadata`), or None. Its normalisation is
    the default for real samples; `says_arithmetic` tells that the user declared scale, mean or std, which override
    it. `data` are the datasets of the build.
    """
    show = progress or Silent()
    stored = (
        spec if spec.dtype in INTEGERS and spec.quantization and len(spec.quantization.scales) == 1 else None
    )
    normal = None if says_arithmetic else normalisation_of(found)
    real = [info for info in data if stored is None or info.dtype != stored.dtype]
    near = [info for info in real if info.maximum - info.minimum <= UNIT_SPAN]
    preprocess = declared
    if normal and near and max(normal.std) > UNIT_SPAN:
        show.note(
            f"{near[0].reference} lies in {near[0].minimum:g}..{near[0].maximum:g}, the model's own units: the "
            f"file's normalisation ({_figures(normal)}) is left out; preprocess: {{scale: 1, mean: ..., std: ...}} in "
            "edgeship.yaml says otherwise"
        )
    elif normal:
        preprocess = replace(normal, resize=declared.resize)
        if real or (not data and stored is None):
            show.note(
                f"samples are normalised as the model's file says ({_figures(normal)}); preprocess: in edgeship.yaml "
                "overrides it"
            )
    rule = InputRule(preprocess=preprocess, stored=stored)
    if stored is not None:
        show.note(words(rule))
    return rule


def words(rule: InputRule) -> str:
    """Return in a sentence what an input that came as integers takes; empty for any other."""
    if rule.stored is None or rule.stored.quantization is None:
        return ""
    scale, zero_point = rule.stored.quantization.scales[0], rule.stored.quantization.zero_points[0]
    first = "" if rule.preprocess.is_identity() else f"normalised ({_figures(rule.preprocess)}), then "
    return (
        f"input '{rule.stored.name}': {rule.stored.dtype} samples are the tensor's own bytes, as they are; others are "
        f"real numbers, {first}stored as value / {scale:.6g} + {zero_point}"
    )


def cut_off(info: DatasetInfo, spec: TensorSpec, share: float) -> str:
    """Return what to say where a share of the values lies outside what a quantized input can hold; empty: nothing."""
    if share < NOTABLE or spec.quantization is None:
        return ""
    scale, zero_point = spec.quantization.scales[0], spec.quantization.zero_points[0]
    limits = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}[
        spec.dtype
    ]
    low, high = (scale * (q - zero_point) for q in limits)
    return (
        f"{100 * share:.0f} % of the values of {info.reference} lie outside {low:g}..{high:g}, all that input "
        f"'{spec.name}' can hold, and are cut off: declare preprocess: {{scale, mean, std}} in edgeship.yaml, or give "
        f"{spec.dtype} samples, which are taken as they are"
    )


def normalisation_of(found: dict[str, Any] | None) -> Preprocess | None:
    """Return the normalisation that a file's metadata declares for an input, None where it changes nothing."""
    scaled = (found or {}).get("normalisation")
    if not scaled or not scaled["mean"] or not scaled["std"] or 0.0 in scaled["std"]:
        return None
    made = Preprocess(mean=tuple(scaled["mean"]), std=tuple(scaled["std"]))
    return None if made.is_identity() else made


def _figures(preprocess: Preprocess) -> str:
    def shown(values: tuple[float, ...]) -> str:
        return (
            ", ".join(f"{v:g}" for v in dict.fromkeys(values)) if len(set(values)) == 1 else str(list(values))
        )

    scale = "" if preprocess.scale == 1.0 else f"scale {preprocess.scale:g}, "
    return f"{scale}mean {shown(preprocess.mean)}, std {shown(preprocess.std)}"
