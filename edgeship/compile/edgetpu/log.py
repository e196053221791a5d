"""What edgetpu_compiler printed, as data: every release from 1.0 to 16.0, stdout or its `.log` file.

The layout differs by release (2.0 says `available` where later ones say `remaining`, the count of operations on the
CPU is left out where all are mapped), the block repeats for every model of a co-compilation and every segment of a
pipeline, and `-d` prints attempts before it. Lines that are not understood are ignored; statuses are kept verbatim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

UNITS = {"B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
SIZE = re.compile(r"^([0-9.]+)\s*([KMG]iB|B)$", re.IGNORECASE)
ROW = re.compile(r"^([A-Za-z][A-Za-z0-9_.:-]*)\s+(\d+)\s+(\S.*)$")
FIELDS: dict[str, str] = {
    "Input model": "input",
    "Input": "input",
    "Output model": "output",
    "Output": "output",
    "Input size": "input_bytes",
    "Output size": "output_bytes",
    "On-chip memory used for caching model parameters": "on_chip_used",
    "On-chip memory remaining for caching model parameters": "on_chip_remaining",
    "On-chip memory available for caching model parameters": "on_chip_remaining",
    "Off-chip memory used for streaming uncached model parameters": "off_chip",
    "Number of Edge TPU subgraphs": "subgraphs",
    "Total number of operations": "total",
    "Operation log": "log_file",
    "Number of operations that will run on Edge TPU": "on_tpu",
    "Number of operations that will run on CPU": "on_cpu",
}
"""What a line begins with -> the field of ModelLog."""
SIZES = frozenset({"input_bytes", "output_bytes", "on_chip_used", "on_chip_remaining", "off_chip"})
COUNTS = frozenset({"subgraphs", "total", "on_tpu", "on_cpu"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """`count` operations of one kind with one status. The same kind may stand in several rows."""

    op: str
    count: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLog:
    """What the log says of one model or segment. None: it does not say."""

    input: str | None = None
    output: str | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    on_chip_used: int | None = None
    on_chip_remaining: int | None = None
    off_chip: int | None = None
    subgraphs: int | None = None
    total: int | None = None
    on_tpu: int | None = None
    on_cpu: int | None = None
    log_file: str | None = None
    rows: tuple[LogRow, ...] = ()

    @property
    def mapped(self) -> int | None:
        """Operations on the Edge TPU: as counted by the compiler, else from the table, else all where nothing says
        otherwise."""
        if self.on_tpu is not None:
            return self.on_tpu
        if self.rows:
            return sum(r.count for r in self.rows if r.status.startswith("Mapped to Edge TPU"))
        if self.subgraphs == 0:
            return 0
        return self.total

    def counts(self, op: str) -> dict[str, int]:
        """Return status -> count for one kind of operation."""
        found: dict[str, int] = {}
        for row in self.rows:
            if row.op == op:
                found[row.status] = found.get(row.status, 0) + row.count
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerLog:
    """One run of the compiler."""

    version: str | None
    milliseconds: int | None
    models: tuple[ModelLog, ...]
    attempts: tuple[int, ...] = ()
    """With `-d`: how many operations each attempt tried to compile."""
    errors: tuple[str, ...] = ()
    """Lines that say why it failed, in order, without repetition."""
    text: str = field(repr=False, default="")


ERROR = re.compile(
    r"^(ERROR: .*|Internal compiler error.*|Compilation failed.*|Invalid model.*|Model not quantized.*"
    r"|.*Didn't find op for .*|.*static-sized tensors.*|Compilation (child process )?timed? ?out.*"
    r"|Unable to .*|Could not .*|Failed to .*)$"
)


def parse_log(text: str) -> CompilerLog:
    """Return everything understood of a compiler's output. Never raises: an empty text gives an empty log."""
    version = re.search(r"Edge TPU Compiler version\s+(\S+)", text)
    took = re.search(r"Models? compiled successfully in\s+(\d+)\s*ms", text)
    blocks: list[dict[str, object]] = []
    errors: dict[str, None] = {}
    for raw in text.splitlines():
        line = raw.strip().lstrip("> ").rstrip()
        name, colon, value = line.partition(":")
        key = FIELDS.get(name.strip()) if colon else None
        if key is not None:
            _note(blocks, key, value.strip())
        elif ERROR.match(line):
            errors[line] = None
        elif (row := ROW.match(line)) and row[1] != "Operator":
            if not blocks:
                blocks.append({})
            rows = blocks[-1].setdefault("rows", [])
            assert isinstance(rows, list)
            rows.append(LogRow(op=row[1], count=int(row[2]), status=row[3].strip()))
    return CompilerLog(
        version=version[1] if version else None,
        milliseconds=int(took[1]) if took else None,
        models=tuple(_model(block) for block in blocks),
        attempts=tuple(int(n) for n in re.findall(r"Try to compile segment with (\d+) ops", text)),
        errors=tuple(errors),
        text=text,
    )


def _note(blocks: list[dict[str, object]], key: str, value: str) -> None:
    """Put a value into the block it belongs to: the input model, or a repeated field, begins a new one."""
    if not blocks or (key == "input" and blocks[-1]) or key in blocks[-1]:
        blocks.append({})
    if key in SIZES:
        size = parse_size(value)
        if size is not None:
            blocks[-1][key] = size
    elif key in COUNTS:
        if value.isdigit():
            blocks[-1][key] = int(value)
    else:
        blocks[-1][key] = value


def _model(block: Mapping[str, object]) -> ModelLog:
    values = dict(block)
    rows = values.pop("rows", ())
    assert isinstance(rows, Iterable)
    return ModelLog(rows=tuple(rows), **values)  # type: ignore[arg-type]


def parse_size(text: str) -> int | None:
    """Return bytes of `3.21MiB`, `175.00KiB`, `0.00B`; None for anything else."""
    match = SIZE.match(text.strip())
    return round(float(match[1]) * UNITS[match[2].upper()]) if match else None
