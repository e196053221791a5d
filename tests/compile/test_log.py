"""The log parser: every public excerpt, and every layout the compiler's releases have used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeship.compile.edgetpu import status
from edgeship.compile.edgetpu.failures import failure_of
from edgeship.compile.edgetpu.log import LogRow, parse_log, parse_size

PUBLIC = (
    Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coral" / "public_compiler_logs.json"
)
LOGS: list[dict[str, Any]] = json.loads(PUBLIC.read_text()) if PUBLIC.is_file() else []
WORDS = {
    "mapped": status.MAPPED,
    "multi": status.MORE_SUBGRAPHS,
    "multi-subgraph": status.MORE_SUBGRAPHS,
    "unspecified": status.UNSPECIFIED,
    "unsupported data type": status.DATA_TYPE,
    "Tensor has unsupported rank": status.RANK,
    "Tensor has unsupported rank (batch 30)": status.RANK,
}


def rows_of(entry: dict[str, Any]) -> list[LogRow]:
    """Return an excerpt's rows: `CONCATENATION 1 mapped + 1 multi-subgraph` is two."""
    found = []
    for line in entry.get("rows", []):
        op, rest = line.split(" ", 1)
        for part in rest.split(" + "):
            count, words = part.split(" ", 1)
            found.append(LogRow(op=op, count=int(count), status=WORDS.get(words, words)))
    return found


def as_printed(entry: dict[str, Any]) -> str:
    """Return an excerpt in the compiler's own layout of its release."""
    version = entry.get("compiler")
    lines = [f"Edge TPU Compiler version {version}"] if version else []
    if entry.get("fail"):
        return "\n".join([*lines, f"ERROR: {entry['fail']}", "Compilation failed!"])
    two = str(version).startswith("2.0")
    remaining = entry.get("remaining") or entry.get("available")
    lines += [
        "",
        "Model compiled successfully in 2160 ms.",
        "",
        "Input model: m.tflite",
        "Input size: 3.70MiB",
    ]
    lines += ["Output model: m_edgetpu.tflite", "Output size: 4.21MiB"]
    used = (
        [f"On-chip memory used for caching model parameters: {entry['on_chip']}"]
        if "on_chip" in entry
        else []
    )
    left = []
    if remaining:
        left = [
            f"On-chip memory {'available' if two else 'remaining'} for caching model parameters: {remaining}"
        ]
    lines += [*left, *used] if two else [*used, *left]
    lines.append(
        f"Off-chip memory used for streaming uncached model parameters: {entry.get('off_chip', '0.00B')}"
    )
    lines.append(f"Number of Edge TPU subgraphs: {0 if entry.get('tpu') == 0 else 1}")
    if "total" in entry:
        lines.append(f"Total number of operations: {entry['total']}")
    lines.append("Operation log: m_edgetpu.log")
    if "tpu" in entry:
        lines.append(f"Number of operations that will run on Edge TPU: {entry['tpu']}")
    if "cpu" in entry:
        lines.append(f"Number of operations that will run on CPU: {entry['cpu']}")
    lines += ["", f"{'Operator':<31}{'Count':<11}Status", ""]
    lines += [f"{r.op:<31}{r.count:<11}{r.status}" for r in rows_of(entry)]
    return "\n".join(lines)


@pytest.mark.shared
def test_there_are_33_excerpts() -> None:
    assert len(LOGS) == 33


@pytest.mark.shared
@pytest.mark.parametrize("entry", LOGS, ids=lambda e: e["src"])
def test_public_excerpt(entry: dict[str, Any]) -> None:
    log = parse_log(as_printed(entry))
    assert log.version == entry.get("compiler")
    if entry.get("fail"):
        assert log.errors[0] == f"ERROR: {entry['fail']}"
        assert failure_of(log.text)[0].reference.startswith("edgetpu-")
        assert failure_of(log.text)[0].reference != "edgetpu-failed"
        return
    (model,) = log.models
    assert model.rows == tuple(rows_of(entry))
    assert (model.on_tpu, model.on_cpu, model.total) == tuple(entry.get(k) for k in ("tpu", "cpu", "total"))
    for field, key in (("on_chip_used", "on_chip"), ("off_chip", "off_chip")):
        if key in entry:
            assert getattr(model, field) == parse_size(entry[key])
    wanted = entry.get("remaining") or entry.get("available")
    assert model.on_chip_remaining == (parse_size(wanted) if wanted else None)
    if "tpu" in entry:
        assert model.mapped == entry["tpu"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.00B", 0),
        ("1.00KiB", 1024),
        ("3.21MiB", 3365929),
        ("175.00KiB", 179200),
        ("12B", 12),
        ("7", None),
        ("x", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


OPERATION_LOG = """Edge TPU Compiler version 14.1.317412892
Input: tiny.tflite
Output: tiny_edgetpu.tflite

Operator                       Count      Status

CONCATENATION                  1          More than one subgraph is not supported
RESIZE_NEAREST_NEIGHBOR        1          Operation version not supported
CONV_2D                        11         Mapped to Edge TPU
CONV_2D                        2          More than one subgraph is not supported
"""


def test_the_operation_log_file_has_its_own_heading() -> None:
    (model,) = parse_log(OPERATION_LOG).models
    assert (model.input, model.output, model.mapped) == ("tiny.tflite", "tiny_edgetpu.tflite", 11)
    assert model.counts("CONV_2D") == {status.MAPPED: 11, status.MORE_SUBGRAPHS: 2}


CO_COMPILED = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Models compiled successfully in 1717 ms.

Input model: a.tflite
Input size: 258.55KiB
Output model: a_edgetpu.tflite
Output size: 380.62KiB
On-chip memory used for caching model parameters: 322.25KiB
On-chip memory remaining for caching model parameters: 2.98MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 12
Operation log: a_edgetpu.log

Input model: b.tflite
Input size: 4.35MiB
Output model: b_edgetpu.tflite
Output size: 5.66MiB
On-chip memory used for caching model parameters: 4.49MiB
On-chip memory remaining for caching model parameters: 0.00B
Off-chip memory used for streaming uncached model parameters: 1.25KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 64
Operation log: b_edgetpu.log
See the operation log file for individual operation details.
Compilation child process completed within timeout period.
Compilation succeeded!
"""


def test_co_compilation_repeats_the_block() -> None:
    log = parse_log(CO_COMPILED)
    assert log.milliseconds == 1717
    assert [(m.input, m.total, m.mapped, m.off_chip) for m in log.models] == [
        ("a.tflite", 12, 12, 0),
        ("b.tflite", 64, 64, 1280),
    ]
    assert log.errors == ()


def test_a_pipeline_has_one_output_a_segment() -> None:
    part = CO_COMPILED.replace("a_edgetpu", "a_segment_0_of_2_edgetpu").replace(
        "b_edgetpu", "a_segment_1_of_2_edgetpu"
    )
    text = part.replace("Input model: b.tflite", "Input model: a.tflite")
    assert [m.output for m in parse_log(text).models] == [
        "a_segment_0_of_2_edgetpu.tflite",
        "a_segment_1_of_2_edgetpu.tflite",
    ]


SEARCH = """Edge TPU Compiler version 16.0.384591198
Searching for valid delegate with step 1
Try to compile segment with 424 ops
Started a compilation timeout timer of 180 seconds.
ERROR: Restored original execution plan after delegate application failure.
Compilation failed: Compilation failed due to large activation tensors in model.
Compilation child process completed within timeout period.
Compilation failed!
Try to compile segment with 423 ops
Intermediate tensors: tfl.dequantize,Sigmoid1
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 8420 ms.

Input model: m.tflite
Total number of operations: 424
"""


def test_a_delegate_search_shows_its_attempts() -> None:
    log = parse_log(SEARCH)
    assert log.attempts == (424, 423)
    assert log.milliseconds == 8420
    assert "Compilation failed: Compilation failed due to large activation tensors in model." in log.errors


def test_the_first_release_and_statuses_nobody_knows_any_more() -> None:
    text = (
        "Edge TPU Compiler version 1.0.249710469\nINFO: Initialized TensorFlow Lite runtime.\n\n"
        "Operator                       Count      Status\n\n"
        "FULLY_CONNECTED                1          For example, a fully-connected or softmax layer with 2D output\n"
        "RESIZE_BILINEAR                1          Image-interpolation layer won't run precisely enough on Edge TPU\n"
    )
    log = parse_log(text)
    assert log.version == "1.0.249710469"
    assert [r.status for r in log.models[0].rows] == [
        "For example, a fully-connected or softmax layer with 2D output",
        "Image-interpolation layer won't run precisely enough on Edge TPU",
    ]


def test_the_layout_of_2_0_says_available() -> None:
    text = (
        CO_COMPILED.split("\n\nInput model: b")[0]
        .replace("remaining", "available")
        .replace("16.0.384591198", "2.0.267685300")
    )
    (model,) = parse_log(text).models
    assert (parse_log(text).version, model.on_chip_remaining) == ("2.0.267685300", parse_size("2.98MiB"))


def test_nothing_gives_an_empty_log() -> None:
    log = parse_log("")
    assert (log.version, log.models, log.errors) == (None, (), ())


@pytest.mark.parametrize(
    ("said", "reference", "message"),
    [
        (
            ("ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'\n\n"
            "Invalid model: m.tflite\nModel could not be parsed"),
            "edgetpu-operation-version",
            "the model uses CONV_2D in version 6, which is newer than the compiler",
        ),
        (
            ("ERROR: Attempting to use a delegate that only supports static-sized tensors "
            "with a graph that has dynamic-sized tensors."),
            "edgetpu-dynamic-shape",
            "a tensor of the model has no fixed size",
        ),
        (SEARCH.split("Try to compile segment with 423")[0], "edgetpu-large-activations", "an operation's input"),
        ("Internal compiler error. Aborting! ", "edgetpu-internal-error", "the compiler crashed"),
        ("Invalid model: m.tflite\nModel not quantized\n", "edgetpu-not-quantized", "the model holds float tensors"),
        ("Compilation child process timed out.\nCompilation failed!", "edgetpu-timeout", "the compiler gave up"),
        (
            ("ERROR: Regular TensorFlow ops are not supported by this interpreter.\n"
            "ERROR: Node number 13 (FlexSplitV) failed to prepare."),
            "edgetpu-flex-operation",
            "the model needs TensorFlow operations",
        ),
        ("Segmentation fault", "edgetpu-failed", "the compiler failed for a reason that edgeship does not know"),
    ],
)  # fmt: skip
def test_failures_are_known_by_what_they_say(said: str, reference: str, message: str) -> None:
    failure, text = failure_of(said)
    assert failure.reference == reference
    assert text.startswith(message)
    assert failure.hint
