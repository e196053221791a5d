"""Compile for the Edge TPU with the user's own compiler, and believe only what the result shows."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeship.compile.edgetpu.failures import failure_of
from edgeship.compile.edgetpu.log import CompilerLog, parse_log
from edgeship.compile.edgetpu.lower import Lowering, lowered, lowerings
from edgeship.compile.edgetpu.package import Package
from edgeship.compile.edgetpu.place import Place
from edgeship.compile.edgetpu.verify import nothing_mapped, verify, verify_together
from edgeship.compile.running import Finished
from edgeship.errors import InputError, ToolError
from edgeship.progress import Progress
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite

TRIES = 3
"""Attempts where the compiler shows its flaky internal error (edgetpu#173, #211)."""
PAUSE = 0.5
"""Seconds between attempts."""
OWN_LIMIT = 180
"""Seconds after which the compiler stops by itself unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to ask of the compiler."""

    runtime: int | None = None
    """`-m`: Edge TPU runtime number of the target."""
    segments: int = 1
    """`-n`: parts of a pipeline, each for an Edge TPU of its own."""
    options: tuple[str, ...] = ()
    """Further arguments, from the target's compiler.options."""
    timeout_s: float = 900.0
    """Our limit around the compiler's own."""

    def arguments(self, models: Sequence[str]) -> list[str]:
        """Return the compiler's argument list for models that stand in its working folder."""
        arguments = ["-s", "-o", "."]
        if self.runtime is not None and not {"-m", "--min_runtime_version"} & set(self.options):
            arguments += ["-m", str(self.runtime)]
        if self.segments > 1:
            arguments += ["-n", str(self.segments)]
        return [*arguments, *self.options, *models]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One model as compiled: one file, or the segments of a pipeline in the order they run."""

    source: Path
    files: tuple[Path, ...]
    packages: tuple[Package, ...]
    lowered: tuple[Lowering, ...]
    cpu_operations: tuple[str, ...]
    """Operations left beside the Edge TPU's in the files."""

    @property
    def parameter_bytes(self) -> int:
        """Parameter bytes kept on the chip plus those streamed with every inference."""
        return sum(p.cached_bytes + p.streamed_bytes for p in self.packages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """One run of the compiler over one model, or over several that share the chip."""

    models: tuple[Compiled, ...]
    log: CompilerLog
    place: str
    arguments: tuple[str, ...]
    tries: int
    seconds: float


def compile_models(
    models: Sequence[Path], out: Path, wanted: Wanted, place: Place, *, progress: Progress
) -> Compilation:
    """Compile models in one call and return what was made, verified, under `out`.

    Several models are co-compiled: their order is the priority of their parameters on the chip. Files are named as
    the compiler does: `<model>_edgetpu.tflite`, `<model>_segment_K_of_N_edgetpu.tflite`. `out` gets files only when
    all is well. Raises ToolError with a reference of `failures.py`, `verify.py` or `places.py`.
    """
    if not models:
        raise InputError("no-model", "there is nothing to compile")
    started = time.monotonic()
    originals = [read_tflite(path) for path in models]
    changes = [lowerings(model) for model in originals]
    with tempfile.TemporaryDirectory(prefix="edgeship-edgetpu-", dir="/tmp") as name:
        folder = Path(name)
        stems = _plain_names(models)
        for stem, model, change in zip(stems, originals, changes, strict=True):
            (folder / f"{stem}.tflite").write_bytes(lowered(model.path.read_bytes(), change))
            for lowering in change:
                progress.note(
                    f"{lowering.op}: version {lowering.before} written as {lowering.after} for the compiler"
                )
        arguments = wanted.arguments([f"{stem}.tflite" for stem in stems])
        finished, tries = _run(place, folder, arguments, wanted, stems, progress)
        log = parse_log(finished.output)
        made = [
            _collect(folder, stem, model, change, wanted)
            for stem, model, change in zip(stems, originals, changes, strict=True)
        ]
        if len(made) > 1:
            verify_together([compiled.packages for compiled in made])
        return Compilation(
            models=tuple(
                _moved(c, path, out, stem, own)
                for c, path, stem, own in zip(made, models, stems, _own_names(models, stems), strict=True)
            ),
            log=log,
            place=place.name,
            arguments=tuple(arguments),
            tries=tries,
            seconds=time.monotonic() - started,
        )


def _run(
    place: Place,
    folder: Path,
    arguments: Sequence[str],
    wanted: Wanted,
    stems: Sequence[str],
    progress: Progress,
) -> tuple[Finished, int]:
    """Return the first good run and which try it was, or raise what went wrong."""
    for attempt in range(1, TRIES + 1):
        progress.step("compiling for the Edge TPU" + (f" (try {attempt})" if attempt > 1 else ""))
        finished = place.compile(folder, arguments, wanted.timeout_s)
        if finished.code == 0 and _outputs(folder, stems[0]):
            return finished, attempt
        failure, message = failure_of(finished.output)
        if finished.code is None:
            raise ToolError(
                "edgetpu-timeout",
                f"edgetpu_compiler did not finish in {wanted.timeout_s:.0f} s and was stopped",
                context={"where": place.name, "last words": finished.last_words},
                hint=f"its own limit is {OWN_LIMIT} s: was --timeout_sec raised? A smaller input compiles faster",
            )
        if not failure.retry or attempt == TRIES:
            raise ToolError(
                failure.reference,
                message,
                context={
                    "where": place.name,
                    "status": finished.code,
                    "arguments": " ".join(arguments),
                    "last words": finished.last_words,
                },
                hint=failure.hint,
            )
        progress.note(f"{message.split(',')[0]}; it does that at random: trying again")
        time.sleep(PAUSE)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _collect(
    folder: Path, stem: str, original: TfliteFile, change: tuple[Lowering, ...], wanted: Wanted
) -> Compiled:
    """Return one model's verified output files, still in the compiler's folder."""
    files = _outputs(folder, stem)
    if not files:
        raise ToolError(
            "edgetpu-no-output",
            "the compiler ended without an error and without a compiled model",
            context={
                "model": original.path.name,
                "it wrote": ", ".join(sorted(p.name for p in folder.iterdir())),
            },
            hint="run it by hand: edgetpu_compiler -s MODEL",
        )
    parts = [read_tflite(path) for path in files]
    if all(not any(o.custom and o.op == "edgetpu-custom-op" for o in p.main.operators) for p in parts):
        raise nothing_mapped(original)
    if wanted.segments > 1 and len(parts) != wanted.segments:
        raise ToolError(
            "edgetpu-segments-missing",
            f"{wanted.segments} segments were asked for, and the compiler wrote {len(parts)}",
            context={"model": original.path.name, "it wrote": ", ".join(p.name for p in files)},
            hint=f"ask for fewer with --segments; a model has no more segments than operations "
            f"({len(original.main.operators)} here)",
        )
    packages = verify(original, parts, runtime=wanted.runtime)
    left = tuple(
        o.op for p in parts for o in p.main.operators if not (o.custom and o.op == "edgetpu-custom-op")
    )
    return Compiled(
        source=original.path, files=tuple(files), packages=packages, lowered=change, cpu_operations=left
    )


def _outputs(folder: Path, stem: str) -> list[Path]:
    """Return a model's compiled files in the order they run."""
    whole = folder / f"{stem}_edgetpu.tflite"
    if whole.is_file():
        return [whole]
    form = re.compile(rf"{re.escape(stem)}_segment_(\d+)_of_(\d+)_edgetpu\.tflite")
    parts = {int(m[1]): p for p in folder.iterdir() if (m := form.fullmatch(p.name))}
    return [parts[i] for i in sorted(parts)]


def _own_names(models: Sequence[Path], stems: Sequence[str]) -> list[str]:
    """Return what each model's files are called: its own name, or its stem where two have the same."""
    names = [path.stem for path in models]
    return [stem if names.count(name) > 1 else name for name, stem in zip(names, stems, strict=True)]


def _moved(compiled: Compiled, source: Path, out: Path, stem: str, own: str) -> Compiled:
    """Return the compilation with its files brought to `out` under the model's own name."""
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for path in compiled.files:
        target = out / path.name.replace(stem, own, 1)
        target.write_bytes(path.read_bytes())
        files.append(target)
    return Compiled(
        source=source,
        files=tuple(files),
        packages=compiled.packages,
        lowered=compiled.lowered,
        cpu_operations=compiled.cpu_operations,
    )


def _plain_names(models: Sequence[Path]) -> list[str]:
    """Return a stem for each model that no script stumbles over, all different."""
    names: list[str] = []
    for path in models:
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).lstrip("-.") or "model"
        names.append(plain if plain not in names else f"{plain}_{len(names)}")
    return names
