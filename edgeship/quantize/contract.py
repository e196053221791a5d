"""The contract check: what a produced `.tflite` really is, against what the target needs. Reads the file, not
the request.

Every check is a GateResult whose value is the number of things found wrong (limit 0) and whose reason counts them,
names the first by its layer, and says what to do, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeship.data.named import as_said
from edgeship.model.closing import open_hint
from edgeship.quantize.recipes import RECIPES, io_type
from edgeship.quantize.versions import equivalent_release, needed_version, per_channel_dense, supports
from edgeship.tflite.engine import COMPILED, refusal
from edgeship.tflite.file import Operator, Subgraph, Tensor, TfliteFile
from edgeship.tflite.flaws import flaws, in_words, name_of
from edgeship.tflite.layer_names import called, layer_of
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.tails import float_tail
from edgeship.values import GateResult, Recipe, Verdict

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile

SHOWN = 5
"""Kinds of findings that a reason spells out; the rest are counted."""
Found = tuple[int, str]
"""How many things are wrong in one way, and the sentence that says so."""
Outcome = tuple[Verdict, list[Found], str]
"""The verdict, what is wrong, and what to say where nothing is."""
FLOATS = ("float32", "float16", "bfloat16", "float64")
BYTES = ("int8", "uint8")
CUSTOM_BUILT_IN = frozenset({"TFLite_Detection_PostProcess", "AudioSpectrogram", "Mfcc", "NumericVerify"})
"""Custom operations that TensorFlow Lite's own resolver brings (tensorflow/lite/core/kernels/register.cc)."""
LACKING = "replace them by operations of TFLite's own, end the model before them, or take a target with a newer runtime"
PLAIN = ("int32", "int64", "bool")
"""What stands for itself at a boundary where it has no scale."""
CARRIED = (*BYTES, "int16", "uint16", "uint32", "uint64", "float16", "float64")
"""And so where no compiler has to take it: what a service carries to and from a CPU."""


def check(
    path: Path,
    recipe: Recipe,
    profile: TargetProfile,
    *,
    given: bool = False,
    accepted: Sequence[str] = (),
    in_float: Sequence[str] = (),
) -> tuple[GateResult, ...]:
    """Return the verdicts on a file: precision, io-types, fully-integer, static-shapes, operators, quantization.

    `given` says that the model came quantized: nothing of it was edgeship's choice. `accepted` are codes of flaws
    (`edgeship.tflite.flaws.CODES`) that the user ships all the same. `in_float` names tensors that operations left in
    float on purpose make (method `mixed`). Raises InputError where the file cannot be read at all.
    """
    held = read_tflite(path)
    checks: tuple[tuple[str, Callable[[], Outcome]], ...] = (
        ("precision", lambda: _precision(held, recipe, given)),
        ("io-types", lambda: _io(held, recipe, profile, given, in_float)),
        ("fully-integer", lambda: _integer(held, recipe, profile, given, in_float)),
        ("static-shapes", lambda: _static(held, profile)),
        ("operators", lambda: _operators(held, recipe, profile)),
        ("quantization", lambda: _quantization(held, accepted)),
    )
    return tuple(_result(name, *run()) for name, run in checks)


def _result(name: str, verdict: Verdict, found: list[Found], good: str) -> GateResult:
    more = sum(count for count, _ in found[SHOWN:])
    text = "; ".join(said for _, said in found[:SHOWN]) + (f"; and {more} more" if more else "")
    value = float(sum(count for count, _ in found))
    return GateResult(name=name, verdict=verdict, limit=0.0, value=value, reason=text or good)


def _precision(held: TfliteFile, recipe: Recipe, given: bool) -> Outcome:
    """Return whether the recipe had any effect: its weights are of the type its name promises.

    A model that came quantized promised nothing, and one without weights (arithmetic of two inputs) has none to hold.
    """
    wanted = recipe.precision.weights
    if given or recipe.name not in RECIPES or wanted == "float32":
        return "pass", [], "the weights are as they were handed over"
    kinds = {t.dtype for graph in held.subgraphs for t in graph.tensors if t.has_data and t.elements > 1}
    if wanted in kinds:
        return "pass", [], f"the file holds {wanted} weights"
    why = f"no tensor holds {wanted}: the model has no operation that {recipe.name} covers"
    return "fail", [(1, why)], ""


def _io(
    held: TfliteFile, recipe: Recipe, profile: TargetProfile, given: bool, in_float: Sequence[str]
) -> Outcome:
    """Return whether input and output are stored as the target wants them.

    Plain integers (token ids, class indices: no scale) are what they are; so are all numbers that a service carries (a
    camera's pixels before a CAST, 16-bit audio, halves) where no compiler has to take them. A model that came
    quantized may have either byte type where an integer is wanted, as most were exported with uint8, and float32,
    TensorFlow Lite's own default: the conversions at its edges run on the CPU of every target.
    An output whose parts keep scales of their own is joined in float at the end, wherever the runtime of a device can;
    one that an operation left in float makes is float where the target does not say a type.
    """
    wanted = io_type(recipe, profile.precision.io)
    on_cpu = profile.compiler.backend == "none"
    fine = (*BYTES, wanted, recipe.precision.io, "float32") if given else (wanted,)
    plain = (*PLAIN, *CARRIED) if on_cpu else PLAIN
    names_one = wanted in ("float32", *PLAIN, *CARRIED)  # and not `mixed`, as of a model that came so
    graph = held.main
    joined = {i for i in graph.outputs if profile.deployable and float_tail(held, i)}
    if profile.precision.io in ("float32", "as_model"):
        joined |= {i for i in graph.outputs if graph.tensors[i].name in in_float}
    groups: dict[tuple[str, str], list[str]] = {}
    sides = (
        ("input", graph.inputs, held.signature.inputs),
        ("output", graph.outputs, held.signature.outputs),
    )
    for side, indices, specs in sides:
        for tensor, spec in zip((graph.tensors[i] for i in indices), specs, strict=True):
            if (
                tensor.dtype not in fine
                and not (tensor.dtype in plain and (given or tensor.quantization is None))
                and not (side == "output" and tensor.index in joined)
            ):
                groups.setdefault((side, tensor.dtype), []).append(as_said(spec.name))
    wants = f"{profile.name} wants {wanted if names_one else 'numbers of 8 to 64 bits'}"
    found = [
        (
            len(names),
            f"{side} '{names[0]}' is {dtype}, {wants}"
            if len(names) == 1
            else f"{len(names)} {side}s are {dtype}, the first '{names[0]}'; {wants}",
        )
        for (side, dtype), names in groups.items()
    ]
    if found:
        last = min(len(found), SHOWN) - 1
        found[last] = (found[last][0], found[last][1] + _io_advice(graph))
    kinds = sorted({graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)})
    good = f"inputs and outputs are {' and '.join(kinds)}"
    if joined and wanted != "float32":
        mixed = any(graph.tensors[i].name in in_float for i in joined)
        good += "; what is float32 " + (
            "was to be computed in float" if mixed else "joins parts with scales of their own"
        )
    return ("fail" if found else "pass"), found, good


def _io_advice(graph: Subgraph) -> str:
    """Return what to do about a boundary of another type, where that is in the user's hands."""
    inputs = [graph.tensors[i] for i in graph.inputs]
    if any(tensor.dtype in BYTES and tensor.quantization is None for tensor in inputs):
        return "; give the .keras or .h5 file, whose input edgeship makes float32, or export it with such an input"
    return ""


def _integer(
    held: TfliteFile, recipe: Recipe, profile: TargetProfile, given: bool, in_float: Sequence[str]
) -> Outcome:
    """Return whether everything that is computed is an integer, where the recipe promises it.

    A target that accepts integer recipes only was to get such a model, so float parts are a fault of the recipe;
    elsewhere they are slower, not wrong. A model that came quantized is what it is: its float parts run on the CPU,
    and the compiler says what it maps.
    """
    if recipe.precision.activations not in ("int8", "uint8", "int16"):
        return "pass", [], f"{recipe.name} computes in float by design"
    found: dict[str, list[tuple[str, str]]] = {}  # why -> (operation, place)
    conversions: dict[str, list[tuple[str, str]]] = {}
    tails = [tail for i in held.main.outputs if profile.deployable and (tail := float_tail(held, i))]
    ends = frozenset(o for tail in tails for o in tail.operators)
    asked: list[str] = []
    for graph in held.subgraphs:
        float_boundary = {i for i in (*graph.inputs, *graph.outputs) if graph.tensors[i].dtype == "float32"}
        for op in graph.operators:
            if graph is held.main and op.index in ends:
                continue
            for index in op.outputs:
                tensor = graph.tensors[index]
                if tensor.dtype not in FLOATS or (index in float_boundary and op.op == "DEQUANTIZE"):
                    continue
                if tensor.name in in_float:
                    asked.append(called(graph, op))
                    continue
                converts = op.op in ("DEQUANTIZE", "QUANTIZE")
                group = conversions if converts else found
                group.setdefault(_why_float(op, recipe), []).append((op.op, _place(graph, op)))
    # a conversion is there for an operation in float: that one is what to change
    groups = found or ({} if asked else conversions)
    told = [(len(ops), _float_ops(why, ops)) for why, ops in groups.items()]
    only_integers = all(
        RECIPES[name].precision.activations.startswith("int") for name in profile.precision.accepts
    )
    if asked and only_integers:
        told.append((len(asked), f"{_asked(asked)}, and {profile.name} runs no float operations"))
    stops = only_integers and not given
    verdict: Verdict = "pass" if not told else "fail" if stops else "inconclusive"
    good = "every computed tensor is an integer"
    if asked:
        good += f", but for what was asked for: {_asked(asked)}"
    return verdict, told, f"{good}, up to where parts of the outputs are joined" if ends else good


def _asked(layers: Sequence[str]) -> str:
    """Return in words what is left in float on purpose."""
    more = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
    return f"{', '.join(layers[:SHOWN])}{more} in float"


def _why_float(op: Operator, recipe: Recipe) -> str:
    """Return why an operation computes in float, and the fix."""
    if op.op in ("DEQUANTIZE", "QUANTIZE"):
        return "to convert for a neighbour that stayed in float; fix the neighbour"
    if op.custom:
        return "because custom operations cannot be quantized; replace them with built-in ones"
    return f"because they have no {recipe.precision.activations} form here; replace them, or move them to the host"


def _float_ops(why: str, ops: Sequence[tuple[str, str]]) -> str:
    """Return in words which operations compute in float: how many of each, the first of them, why and the fix."""
    kinds = Counter(op for op, _ in ops)
    if len(ops) == 1:
        return f"{ops[0][0]} at {ops[0][1]} is float {why}".replace(" they have", " it has").replace(
            " them", " it"
        )
    counted = ", ".join(f"{count} {op}" for op, count in kinds.most_common())
    return f"{len(ops)} operations are float ({counted}; the first is {ops[0][0]} at {ops[0][1]}) {why}"


def _place(graph: Subgraph, op: Operator) -> str:
    """Return where an operation is, as people call it and by its number."""
    layer = layer_of(graph, op)
    return layer if layer == f"operation {op.index}" else f"'{layer}' (operation {op.index})"


def _static(held: TfliteFile, profile: TargetProfile) -> Outcome:
    """Return whether every size is fixed that has to be.

    The interpreter sizes what lies between inputs and outputs while it runs, in the model as inside its loops, under
    XNNPACK too (measured: LiteRT 2.3, tflite_runtime 2.14). What a compiler or an accelerator's delegate takes has
    fixed sizes in the main graph; the body of a loop is the CPU's in any case.
    """
    graph = held.main
    on_cpu = profile.compiler.backend == "none" and profile.runtime.delegate in ("xnnpack", "none")
    outer = (graph.tensors[i] for i in (*graph.inputs, *graph.outputs))
    looked_at = tuple(outer) if on_cpu else graph.tensors
    opens = [t for t in looked_at if t.is_dynamic]
    if not opens:
        return "pass", [], "every shape is fixed that has to be"
    first = opens[0]
    many = "a size is open:" if len(opens) == 1 else f"sizes of {len(opens)} tensors are open, the first"
    said = f"{many} {list(first.shape_signature)} {_maker(held, first)}; {_how_to_close(held)}"
    return "fail", [(len(opens), said)], ""


def _maker(held: TfliteFile, tensor: Tensor) -> str:
    """Return where a tensor comes from, as people call it."""
    for index, spec in zip(held.main.inputs, held.signature.inputs, strict=True):
        if index == tensor.index:
            return f"of the input '{as_said(spec.name)}'"
    for op in held.main.operators:
        if tensor.index in op.outputs:
            return f"from {op.op} at {_place(held.main, op)}"
    return f"of '{name_of(tensor)}', which no operation makes"


def _how_to_close(held: TfliteFile) -> str:
    declared = {spec.name: [None if n < 0 else n for n in spec.shape] for spec in held.signature.inputs}
    if any(None in sizes for sizes in declared.values()):
        return open_hint(declared)
    return "values decide it: end the model before that operation, and do the rest on the host"


def _operators(held: TfliteFile, recipe: Recipe, profile: TargetProfile) -> Outcome:
    """Return whether the runtime has every operator in the version that the file and its types ask for."""
    runtime = profile.runtime
    available = equivalent_release(runtime.engine, runtime.version)
    missing: dict[str, list[str]] = {}  # what is missing -> the operations that want it
    unknown: dict[str, list[str]] = {}
    compiled: dict[str, list[str]] = {}  # what a compiler left -> where
    for graph in held.subgraphs:
        for op in graph.operators:
            needed = max(op.version, _needed(graph, op))
            support = supports(available, op.op, needed)
            if op.custom:
                if op.op not in CUSTOM_BUILT_IN and not (
                    op.op == "edgetpu-custom-op" and runtime.delegate == "edgetpu"
                ):
                    if op.op in COMPILED:
                        compiled.setdefault(op.op, []).append(_place(graph, op))
                        continue
                    kind = "a TensorFlow (Flex)" if op.op.startswith("Flex") else "a custom"
                    text = f"{op.op} is {kind} operation, which {runtime.engine} lacks"
                    missing.setdefault(text, []).append(_place(graph, op))
            elif support.verdict == "no":
                text = f"{op.op} version {needed} is of TensorFlow {support.since}, the runtime is older"
                missing.setdefault(text, []).append(_place(graph, op))
            elif support.verdict == "unknown":
                text = f"nothing is recorded of {op.op} version {needed} in this runtime"
                unknown.setdefault(text, []).append(_place(graph, op))
            elif runtime.engine != "tflm" and _is_integer_svdf(graph, op):
                text = f"SVDF with an int8 state is TensorFlow Lite Micro's, {runtime.engine} crashes on it"
                missing.setdefault(text, []).append(_place(graph, op))
            elif _is_wrong_dense(graph, op, recipe, available):
                text = f"FULLY_CONNECTED has a scale per channel, too new for TensorFlow {available}"
                missing.setdefault(text, []).append(_place(graph, op))
    if refused := refusal(held, runtime.engine):
        ops = [_place(held.main, op) for op in held.main.operators if _keeps(held.main, op)]
        missing.setdefault(f"the engine refuses {refused}", []).extend(ops)
    name = f"{runtime.engine} {runtime.version}"
    verdict: Verdict = "fail" if missing else "inconclusive" if unknown else "pass"
    found = [
        (
            len(places),
            f"{text} ({name}; "
            + (f"at {places[0]})" if len(places) == 1 else f"{len(places)} times, the first at {places[0]})"),
        )
        for text, places in (missing or unknown).items()
        if places
    ]
    found += [(1, f"{text} ({name})") for text, places in missing.items() if not places]
    if missing:
        found.append((0, LACKING))
    for op_name, places in compiled.items():
        text = f"compiled for {COMPILED[op_name]} already ({op_name} at {places[0]})"
        found.append((len(places), f"{text}: give the .tflite from before compiling"))
    return "fail" if compiled else verdict, found, f"{name} has every operator"


def _keeps(graph: Subgraph, op: Operator) -> bool:
    """Return whether an operation is one that an engine refuses for the tensors it reads (`engine.refusal`)."""
    return any(
        i >= 0 and (graph.tensors[i].is_variable or graph.tensors[i].dtype == "int4") for i in op.inputs
    )


def _needed(graph: Subgraph, op: Operator) -> int:
    tensors = [graph.tensors[i] if i >= 0 else None for i in op.inputs]
    return needed_version(
        op.op,
        [t.dtype if t else None for t in tensors],
        [graph.tensors[i].dtype for i in op.outputs],
        per_channel=any(
            t is not None and t.has_data and t.quantization is not None and len(t.quantization.scales) > 1
            for t in tensors
        ),
    )


def _is_integer_svdf(graph: Subgraph, op: Operator) -> bool:
    """Return whether this is an SVDF that keeps int8: TensorFlow Lite writes int16 there, whatever stands in the file
    (measured: LiteRT 2.3, tflite_runtime 2.14, both die)."""
    return op.op == "SVDF" and len(op.inputs) > 4 and graph.tensors[op.inputs[4]].dtype == "int8"


def _is_wrong_dense(graph: Subgraph, op: Operator, recipe: Recipe, available: str) -> bool:
    """Return whether this is a per-channel FULLY_CONNECTED that the runtime computes wrongly without a word."""
    if op.op != "FULLY_CONNECTED" or recipe.precision.activations not in ("int8", "int16"):
        return False
    weights = graph.tensors[op.inputs[1]]
    per_channel = weights.quantization is not None and len(weights.quantization.scales) > 1
    return per_channel and not per_channel_dense("static", available)


def _quantization(held: TfliteFile, accepted: Sequence[str]) -> Outcome:
    """Return whether a runtime or a compiler would choke on a scale, zero point or bias, or compute nonsense.

    What has no effect on any output, and what the user accepts by its code, is told and stops nothing.
    """
    found = flaws(held)
    real = [flaw for flaw in found if flaw.effect and flaw.code not in accepted]
    if real:
        codes = " ".join(f"--accept {code}" for code in dict.fromkeys(flaw.code for flaw in real))
        words = in_words(real)
        return (
            "fail",
            [(1, said) for said in (*words[:-1], f"{words[-1]}; {codes} ships it all the same")],
            "",
        )
    taken = [flaw for flaw in found if flaw.effect]
    if taken:
        return "pass", [], "accepted: " + "; ".join(in_words(taken))
    if found:
        return "pass", [], "without effect on any output: " + "; ".join(in_words(found))
    return "pass", [], "scales, zero points and biases are sound"
