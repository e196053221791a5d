"""Run Arm's Vela and turn what it wrote into values: the compiled file, its summary, what it said of each operation.

Vela ends with status 0 on a model it put nothing of on the NPU, so status is never believed: the compiled file is
read and its `ethos-u` operations are counted.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeship.compile.running import LocalRunner, Runner
from edgeship.errors import ToolError
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.values import Figure, Unavailable

NPU_OP = "ethos-u"
MEMORY_MB = 16_384
"""Address space Vela may take, MiB; its linear algebra library reserves several GiB it never touches."""
REFUSAL = re.compile(
    r"^Warning \(supported operators\) operator: (?P<op>\w+), ofm: '(?P<layer>[^']*)'\nReason: (?P<reason>[^\n]*)",
    re.M,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VelaRun:
    """What one run of Vela gave."""

    file: Path
    model: TfliteFile
    refusals: dict[str, str]
    """Layer (name of an operation's output) -> why it stays on the CPU, in Vela's words."""
    npu_operators: int | None
    cpu_operators: int | None
    estimates: dict[str, Figure]
    configuration: dict[str, str]
    """Which accelerator, system and memory mode the estimates are for."""
    warnings: tuple[str, ...]
    seconds: float

    @property
    def npu_blocks(self) -> int:
        """Number of `ethos-u` operations in the compiled file: 0 means it did nothing."""
        return sum(o.custom and o.op == NPU_OP for o in self.model.main.operators)


@contextmanager
def run_vela(
    model: Path,
    options: Sequence[str],
    command: Sequence[str],
    *,
    timeout_s: float,
    runner: Runner | None = None,
) -> Iterator[VelaRun]:
    """Yield what Vela made of a model; its file stands in a folder that is removed at the end.

    `command` begins the argument list (see `edgeship.toolchain.environments`). Raises ToolError `vela-failed` or
    `vela-timeout` with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="edgeship-vela-") as name:
        folder = Path(name)
        source = folder / "model.tflite"
        source.write_bytes(model.read_bytes())
        arguments = [*command, str(source), *options, "--output-dir", str(folder / "out")]
        finished = (runner or LocalRunner(memory_mb=MEMORY_MB)).run(arguments, timeout=timeout_s, cwd=folder)
        if finished.code is None:
            raise ToolError(
                "vela-timeout",
                f"Vela did not finish in {timeout_s:.0f} s and was stopped",
                context={"model": model.name, "last words": finished.last_words},
                hint="try --optimise Size in the target's compiler.options, or a smaller model",
            )
        made = folder / "out" / "model_vela.tflite"
        if finished.code != 0 or not made.is_file():
            raise ToolError(
                "vela-failed",
                _why(finished.output) or "Vela failed",
                context={"model": model.name, "status": finished.code, "last words": finished.last_words},
                hint=f"edgeship inspect MODEL; the target's compiler.options are: {' '.join(options)}",
            )
        rows = [row for path in (folder / "out").glob("*_summary_*.csv") for row in _rows(path)]
        yield VelaRun(
            file=made,
            model=read_tflite(made),
            refusals={m["layer"].split(";")[0]: m["reason"] for m in REFUSAL.finditer(finished.output)},
            npu_operators=_count(finished.output, "NPU"),
            cpu_operators=_count(finished.output, "CPU"),
            estimates=estimates(rows[0] if rows else {}),
            configuration=_configuration(rows[0] if rows else {}),
            warnings=tuple(dict.fromkeys(re.findall(r"^Warning: (.*)$", finished.output, re.M))),
            seconds=finished.seconds,
        )


def estimates(row: dict[str, str]) -> dict[str, Figure]:
    """Return the figures of one row of Vela's summary, with their units in their names.

    Estimates for the configuration Vela was given, not measurements. SRAM is what the tensors of one inference take
    (and the weights, where the memory mode puts them there); flash or DRAM hold the weights otherwise.
    """
    wanted = {
        "latency_ms": ("inference_time", 1000.0),
        "inferences_per_second": ("inferences_per_second", 1.0),
        "sram_kib": ("sram_memory_used", 1.0),
        "dram_kib": ("dram_memory_used", 1.0),
        "on_chip_flash_kib": ("on_chip_flash_memory_used", 1.0),
        "off_chip_flash_kib": ("off_chip_flash_memory_used", 1.0),
        "weights_bytes": ("total_npu_encoded_weights", 1.0),
        "macs": ("nn_macs", 1.0),
        "npu_cycles": ("cycles_npu", 1.0),
        "total_cycles": ("cycles_total", 1.0),
    }
    found: dict[str, Figure] = {}
    for name, (column, factor) in wanted.items():
        try:
            found[name] = float(row[column]) * factor
        except (KeyError, ValueError):
            found[name] = Unavailable(reason=f"Vela's summary has no {column}")
    return found


def _configuration(row: dict[str, str]) -> dict[str, str]:
    names = ("accelerator_configuration", "system_config", "memory_mode", "core_clock")
    return {name: row[name] for name in names if name in row}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _count(output: str, kind: str) -> int | None:
    match = re.search(rf"^{kind} operators = (\d+)", output, re.M)
    return int(match[1]) if match else None


def _why(output: str) -> str:
    """Return the line in which Vela says what is wrong, or nothing."""
    found = re.findall(r"^(?:Error: .*|\w*Error: .*|vela: error: .*)$", output, re.M)
    return str(found[-1])[:300] if found else ""
