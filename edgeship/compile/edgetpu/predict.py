"""Predict, for every operation of a model, where edgetpu_compiler will put it and which status it will print.

A prediction, never more: the compiler is not public. Each operation is first judged alone (rank, data type, the
operation table, versions, constants, limitations), then the graph is partitioned as TFLite's delegates are, and the
first partition of the Edge TPU is kept. What the rules cannot settle, and where documents and evidence disagree,
carries a low confidence; what no public pair or log has shown, at most a medium one.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeship.compile.edgetpu import status
from edgeship.compile.edgetpu.partition import Partition, ancestors_of, partition
from edgeship.compile.edgetpu.rules import RULES, Judgement
from edgeship.compile.edgetpu.table import evidence, limit, rows
from edgeship.compile.edgetpu.view import DATA, Settings, View
from edgeship.compile.report import ORDER, Placed, weakest
from edgeship.tflite.file import Operator, Tensor, TfliteFile
from edgeship.tflite.flaws import name_of

FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})
IN_FLOAT = Judgement(
    status=status.DATA_TYPE,
    reason="quantizing leaves it in float: no int8 form of it is known here",
    confidence="high",
    code="stays-float",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The placement of every operation, by index, and how the graph falls apart."""

    operations: tuple[Placed, ...]
    codes: dict[int, str]
    """Operation -> code of the advice that its own limitation calls for."""
    partitions: tuple[Partition, ...]
    kept: tuple[Partition, ...]
    """The partitions that the Edge TPU gets."""

    @property
    def mapped(self) -> frozenset[int]:
        """Indices of the operations on the Edge TPU."""
        return frozenset(i for p in self.kept for i in p.operations)


def predict(
    model: TfliteFile,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    in_float: frozenset[int] = frozenset(),
) -> Prediction:
    """Return the predicted mapping of a model's main graph. `in_float`: operations that will work on float whatever
    `model` says of their tensors."""
    graph = model.main
    judged = {
        o.index: IN_FLOAT if o.index in in_float else judge(model, o, settings) for o in graph.operators
    }
    supported = {i for i, j in judged.items() if j.status == status.MAPPED}
    partitions = partition(graph, supported)
    delegated = [p for p in partitions if p.delegated]
    kept = tuple(delegated if settings.all_subgraphs else delegated[:1])
    mapped = {i for p in kept for i in p.operations}
    behind = ancestors_of(graph, range(len(graph.operators)))
    placed = []
    for operator in graph.operators:
        own = judged[operator.index]
        before = [judged[i] for i in behind[operator.index]]
        confidence, shown, reason = own.confidence, own.status, own.reason
        if operator.index in supported and operator.index not in mapped:
            shown, reason = status.MORE_SUBGRAPHS, "it comes behind an operation that stays on the CPU"
            causes = [j.confidence for j in before if j.status != status.MAPPED]
            # As sure as the surest of what holds it back; a partition of its own has no such cause.
            confidence = max(causes, key=ORDER.index, default="medium")
        elif operator.index in supported and any(j.confidence == "low" for j in before):
            confidence = weakest(confidence, "medium")
        placed.append(
            Placed(
                index=operator.index,
                op=operator.op,
                layer=layer_of(graph.tensors, operator),
                placement="accelerator" if operator.index in mapped else "cpu",
                status=shown,
                reason=reason,
                confidence=confidence,
            )
        )
    return Prediction(
        operations=tuple(placed),
        codes={i: j.code for i, j in judged.items() if j.code},
        partitions=partitions,
        kept=kept,
    )


def layer_of(tensors: tuple[Tensor, ...], operator: Operator) -> str:
    """Return the name of an operation's first output, shortened: converters join many names with ';'."""
    names = [tensors[i].name for i in operator.outputs if i >= 0]
    return names[0].split(";")[0] if names else ""


def judge(model: TfliteFile, operator: Operator, settings: Settings) -> Judgement:
    """Return what becomes of one operation if it stood alone: mapped, or the first status that keeps it off."""
    view = View(model=model, operator=operator, row=rows().get(operator.op), settings=settings)
    for check in (_formed, _rank, _floats, _known, _data_type, _runtime, _constants):
        if found := check(view):
            return found
    doubt: Judgement | None = None
    for name in view.row.checks if view.row else ():
        found = RULES[name](view)
        if found is not None and found.status != status.MAPPED:
            return found
        doubt = doubt or found
    known = operator.op in evidence("mapped")
    return doubt or Judgement(status=status.MAPPED, reason="", confidence="high" if known else "medium")


def _formed(view: View) -> Judgement | None:
    """Only a damaged file has an operation of the table that makes or takes nothing."""
    if view.row is None or (view.outputs and any(i >= 0 for i in view.operator.inputs)):
        return None
    reason = "it has no input or no output: the file is damaged"
    return Judgement(status=status.UNSPECIFIED, reason=reason, confidence="low", code="malformed")


def _rank(view: View) -> Judgement | None:
    for tensor in (*(t for t in view.data if not t.has_data), *view.outputs):
        if any(size != 1 for size in tensor.shape[:-3]):
            batch = len(tensor.shape) == 4
            what = (
                f"batch {tensor.shape[0]}" if batch else "a size above 1 outside the 3 innermost dimensions"
            )
            return Judgement(
                status=status.RANK,
                reason=f"{list(tensor.shape)} has {what}",
                confidence="high",
                code="batch" if batch else "rank",
            )
    return None


def _floats(view: View) -> Judgement | None:
    operator = view.operator
    inputs = [t for t in view.data if t.dtype in FLOATS]
    outputs = [t for t in view.outputs if t.dtype in FLOATS]
    if operator.op == "QUANTIZE" and inputs:
        return Judgement(
            status=status.UNSPECIFIED,
            reason="it turns float input into integers",
            confidence="high",
            code="float-io",
        )
    if operator.op == "DEQUANTIZE" or outputs or inputs:
        reason = (
            "it turns integers into float" if operator.op == "DEQUANTIZE" else "it works on float tensors"
        )
        code = "float-io" if operator.op == "DEQUANTIZE" else "not-quantized"
        if operator.custom:
            code = "custom-operation"
        return Judgement(status=status.DATA_TYPE, reason=reason, confidence="high", code=code)
    return None


def _known(view: View) -> Judgement | None:
    if view.row is not None and not view.operator.custom:
        since = limit("runtime_of_compiler_16")  # its own rows: an older compiler's table ends before them
        if view.settings.compiler >= 16 or view.row.runtime < since:
            return None
        return Judgement(
            status=status.NOT_SUPPORTED,
            reason=f"documented from runtime {since} on, which came with compiler 16.0",
            confidence="high",
            code="not-supported",
        )
    return Judgement(
        status=status.NOT_SUPPORTED,
        reason="it is not in the Edge TPU's table of operations",
        confidence="high" if view.operator.custom or view.operator.op in evidence("refused") else "medium",
        code="custom-operation" if view.operator.custom else "not-supported",
    )


def _data_type(view: View) -> Judgement | None:
    for tensor in (*view.data, *view.outputs):
        if tensor.dtype not in DATA:
            return Judgement(
                status=status.DATA_TYPE,
                reason=f"it works on {tensor.dtype}; only int8 and uint8 are supported",
                confidence="high",
                code="int16-activations" if tensor.dtype == "int16" else "data-type",
            )
    for position in view.row.parameters[:1] if view.row else ():
        weights = view.tensor(position)
        if weights is not None and weights.dtype not in DATA:
            reason = f"its weights are {weights.dtype}"
            return Judgement(status=status.DATA_TYPE, reason=reason, confidence="high", code="weights-type")
    return None


def _runtime(view: View) -> Judgement | None:
    if view.row is not None and view.row.runtime > view.settings.runtime:
        return Judgement(
            status=status.UNSPECIFIED,
            reason=f"documented from runtime {view.row.runtime} on; the target has {view.settings.runtime}",
            confidence="low",
            code="runtime-version",
        )
    return None


def _constants(view: View) -> Judgement | None:
    for position in (*view.row.parameters, *view.row.shapes) if view.row else ():
        tensor = view.tensor(position)
        if tensor is not None and not tensor.has_data and not tensor.is_variable:
            return Judgement(
                status=status.NOT_CONSTANT,
                reason=f"its input {position} ({name_of(tensor)}) is computed",
                confidence="high",
                code="not-constant",
            )
    return None
