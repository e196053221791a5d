"""What people read at the end of a verb: tables and the next command to type."""

from __future__ import annotations

from collections.abc import Sequence

from edgeship.compile.backend import Part
from edgeship.pipeline.build import BuildReport, TargetBuild
from edgeship.report.figures import figure, size
from edgeship.report.table import table
from edgeship.score.parts import worst_of
from edgeship.score.warn import warnings
from edgeship.values import Figure, Metric, Unavailable, Variant


def build_text(report: BuildReport) -> str:
    """Return the report of a build: one block a target."""
    return "\n\n".join(target_text(built) for built in report.targets)


def target_text(built: TargetBuild) -> str:
    """Return one target's table of variants, what was chosen and why, and where the bundle lies."""
    lines = [f"{built.target}:"]
    if built.variants:
        lines.append(variants_table(built.variants, built.chosen))
        lines += metric_lines(built.variants)
        lines += part_lines(built.chosen)
    lines += _gaps(built.variants)
    lines += [f"{recipe} could not be made: {reason}" for recipe, reason in built.failed]
    if built.chosen and built.bundle:
        lines += [f"chosen: {built.reason}", *compile_lines(built)]
        lines.append(
            f"bundle: {built.bundle.path}  {size(built.bundle.bytes)}  release {built.bundle.release[:12]}"
        )
        if built.ladder:
            names = ", ".join(variant.artifact.name for variant in built.ladder)
            serve = (
                f"edgeship deploy {built.bundle.path} --variant {built.ladder[0].artifact.name} --host ..."
            )
            if "ladder" in built.bundle.manifest.get("requires", {}):
                lines.append(f"also in it: {names}; the device decides which one answers. One alone: {serve}")
            else:
                lines.append(f"also in it: {names}; to serve another one: {serve}")
        lines += parts_lines("shares the chip", built.together)
    elif built.chosen and built.segments:
        lines += [f"chosen: {built.reason}", *compile_lines(built), *parts_lines("segment", built.segments)]
        own = len({token for part in built.segments for token in part.caching_tokens})
        lines.append(
            "caching tokens: "
            + (f"{own} different ones" if own > 1 else "the same in all segments" if own else "none")
        )
        lines.append(
            "no bundle: a service runs one model on one accelerator, and this is "
            f"{len(built.segments)}: run them in this order, each on an Edge TPU of its own"
        )
    elif built.chosen and built.model_file:
        lines += [f"chosen: {built.reason}", *compile_lines(built)]
        lines.append(
            f"model: {built.model_file}  {size(built.model_file.stat().st_size)}, to be linked into a firmware"
        )
    else:
        lines.append(f"no bundle: {built.reason}")
    lines += [f"note: {words}" for words in (built.chosen.artifact.notes if built.chosen else ())]
    lines += [f"warning: {words}" for words in warnings(built.chosen, built.variants)]
    return "\n".join(lines)


ESTIMATES = {
    "latency_ms": "{:.3f} ms an inference",
    "sram_kib": "{:.1f} KiB of SRAM",
    "dram_kib": "{:.1f} KiB of DRAM",
    "off_chip_flash_kib": "{:.1f} KiB of flash",
    "parameter_bytes_on_chip": "{:,.0f} parameter bytes on the chip",
    "parameter_bytes_streamed": "{:,.0f} streamed",
    "min_runtime_version": "runtime {:.0f}",
}
"""Which of a compiler's estimates people read, and how."""
TOLD = frozenset({"parameter_bytes_on_chip", "parameter_bytes_streamed"})
"""Those of which 0 says something."""


def compile_lines(built: TargetBuild) -> list[str]:
    """Return what the target's compiler made of the chosen variant; nothing where there is none."""
    result = built.compiled
    if result is None:
        return []
    if not result.compiled:
        return [result.words]
    with_version = ", ".join(f"{name} {version}" for name, version in result.tools.items())
    lines = [f"compiled: {result.reason} ({with_version})"]
    known = {n: v for n, v in result.estimates.items() if not isinstance(v, Unavailable) and (v or n in TOLD)}
    if known:
        lines.append(
            "the compiler says: " + ", ".join(ESTIMATES[n].format(known[n]) for n in ESTIMATES if n in known)
        )
    return lines


def parts_lines(what: str, parts: Sequence[Part]) -> list[str]:
    """Return a line for each file of an artifact made of several, in order."""
    return [
        f"{what}: {part.path}  {size(part.bytes)}  {part.parameter_bytes_on_chip:,} parameter bytes on the chip, "
        f"{part.parameter_bytes_streamed:,} streamed"
        for part in parts
    ]


def variants_table(variants: Sequence[Variant], chosen: Variant | None) -> str:
    """Return the table of variants: bytes, metric, drop, agreement, latency, gates."""
    name = variants[0].scorecard.metric.name if variants else "metric"
    unit = "%" if variants and variants[0].scorecard.metric.drop_unit == "%" else "pts"
    rows = []
    for variant in variants:
        card, artifact = variant.scorecard, variant.artifact
        failed = [gate.name for gate in variant.gates if gate.stops]
        rows.append(
            [
                "*" if chosen and artifact.digest == chosen.artifact.digest else "",
                artifact.name,
                f"{artifact.bytes:,}",
                _of_metric(card.metric.value, card.metric),
                _of_metric(card.metric.drop, card.metric),
                figure(card.agreement.argmax, 3),
                figure(card.agreement.cosine, 4),
                figure(card.latency_ms.p50, 3),
                figure(card.latency_ms.p95, 3),
                "no: " + ", ".join(failed) if failed else "yes",
            ]
        )
    header = [
        "",
        "variant",
        "bytes",
        name,
        f"drop, {unit}",
        "argmax",
        "cosine",
        "p50 ms",
        "p95 ms",
        "admitted",
    ]
    return table(header, rows, right=range(2, 9))


def _of_metric(value: Figure, metric: Metric) -> str:
    """Return a metric or its drop: percentages to a hundredth, others (0.0012 of mse) to four digits that count."""
    if isinstance(value, Unavailable):
        return figure(value)
    if metric.drop_unit == "points":
        return figure(value + 0.0 if round(value, 2) else 0.0)
    return f"{value + 0.0:.4g}"


def metric_lines(variants: Sequence[Variant]) -> list[str]:
    """Return what the metric of the table is: which way is better, what a drop counts, and why this one."""
    metric = variants[0].scorecard.metric
    if all(isinstance(v.scorecard.metric.value, Unavailable) for v in variants):
        return []
    better = {
        True: "higher is better",
        False: "lower is better",
        None: "which way is better, it does not say",
    }
    drop = "points" if metric.drop_unit == "points" else f"percent of the float model's {metric.name}"
    about = f"; {metric.about}" if metric.about else ""
    return [f"metric: {metric.name} ({better[metric.higher_is_better]}), drop in {drop}{about}"]


def part_lines(chosen: Variant | None) -> list[str]:
    """Return in which part of its outputs the chosen variant follows the float model worst, where there are several."""
    parts = chosen.scorecard.agreement.parts if chosen else ()
    worst = worst_of(parts)
    if chosen is None or worst is None or len(parts) < 2:
        return []
    said = f"{chosen.artifact.name} follows the float model worst in {worst.words}"
    return [f"agreement: {said}: correlation {figure(worst.correlation, 4)}"]


def _gaps(variants: Sequence[Variant]) -> list[str]:
    """Return one line for each distinct reason why a figure is missing, and one for each failed gate."""
    reasons: dict[str, None] = {}
    for variant in variants:
        card = variant.scorecard
        agreement = card.agreement
        figures = (
            card.metric.value,
            card.metric.drop,
            agreement.argmax,
            agreement.cosine,
            card.latency_ms.p50,
        )
        for value in figures:
            if isinstance(value, Unavailable):
                reasons[f"n/a: {value.reason}"] = None
        for gate in variant.gates:
            if gate.stops:
                said = "failed" if gate.verdict == "fail" else "cannot be told"
                reasons[f"{variant.artifact.name}: {gate.name} {said}: {gate.reason}"] = None
    return list(reasons)
