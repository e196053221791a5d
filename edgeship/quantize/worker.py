"""The worker that derives recipes from one float `.tflite` with ai-edge-quantizer. TensorFlow is never loaded
here.
"""

from __future__ import annotations

import copy
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.quantize import bias_edit
from edgeship.quantize.exceptions import by_name, mixed
from edgeship.quantize.finish import constants_of, correct_biases, set_versions, type_unread_outputs
from edgeship.quantize.given_limits import use_given_limits
from edgeship.quantize.integer_forms import use_integer_forms
from edgeship.quantize.observe import Observation, observe
from edgeship.quantize.unlike_parts import cut, join, unlike_tails, words_of
from edgeship.tflite.precisions import take_precisions
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.simulated import trained_ranges

TOOLS = ("ai-edge-quantizer", "ai-edge-litert")


def derive(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Write the file of every job in `payload` and return `{"failed": {recipe: reason}, "told": {recipe: {"notes",
    "warnings"}}, "tools", "tensorflow", "unseen": null, or why the samples could not be run}`.

    `payload`: `model` (path), `calibration` (paths of .npy in model units, one an input, or null), `jobs`: `[{recipe,
    settings, mixed_with, ranges, correct_biases, apart, others, out, joined}]`. `mixed_with` holds the
    settings that operations may have instead, by precision, where the file tells so (`tflite.precisions`). `apart` says
    what becomes of outputs that join values of unlike range: "float", "outputs" (then `joined` is written too, the same
    model with these outputs joined) or "no"; `others` are recipes that the target takes and that need no ranges.
    The calibration samples are run through the float model once for all jobs; where that fails, the jobs that need
    ranges fail. A job that fails is recorded and the others go on.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    content = Path(payload["model"]).read_bytes()
    original = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    seen: Observation | None = None
    unseen: str | None = None
    if payload["calibration"] is not None:
        report("running the calibration samples through the float model")
        try:
            seen = observe(
                content,
                [Path(path) for path in payload["calibration"]],
                constants_of(original),
                lambda done, total: report("samples", done, total),
            )
        except Exception as error:  # an interpreter raises anything; recipes without ranges can still be made
            unseen = f"the calibration samples could not be run: {_words(error)}"
    failed, told = {}, {}
    for job in payload["jobs"]:
        if unseen and job["ranges"] != "none":
            failed[job["recipe"]] = unseen
            continue
        report(f"deriving {job['recipe']}")
        try:
            told[job["recipe"]] = _quantize(payload, job, original, seen)
        except Exception as error:  # the quantizer raises anything; one recipe's failure is not the others'
            failed[job["recipe"]] = _in_a_loop(original, job) or _words(error)
    tools = {name: importlib.metadata.version(name) for name in TOOLS}
    loaded = "tensorflow" in sys.modules
    return {"failed": failed, "told": told, "tools": tools, "tensorflow": loaded, "unseen": unseen}


def _in_a_loop(model: Any, job: dict[str, Any]) -> str | None:
    """Return what to do about a model whose ranges lie inside a loop, where no sample shows them."""
    if job["ranges"] == "none" or len(model.subgraphs) == 1:
        return None
    return (
        f"the model holds {len(model.subgraphs) - 1} inner graphs (WHILE or IF, as recurrent layers make), and what "
        "is computed in there cannot be seen, so it gets no ranges; a recurrent layer of Keras is free of them with "
        "edgeship compress --method rewrite-loops, or built with unroll=True"
        + (f", and {' and '.join(others)} do without ranges" if (others := job.get("others")) else "")
    )


def _words(error: BaseException) -> str:
    """Return an error in words, with the one it was raised from: tools wrap the reason in the place."""
    text = f"{type(error).__name__}: {str(error).strip()[:500] or '(no message)'}"
    cause = error.__cause__
    if cause is None or str(cause).strip() in text:
        return text
    return f"{text} (because of {type(cause).__name__}: {str(cause).strip()[:500] or '(no message)'})"


def _quantize(
    payload: dict[str, Any], job: dict[str, Any], original: Any, seen: Observation | None
) -> dict[str, list[str]]:
    """Write the quantized file of one job; return what people should know of it: {"notes", "warnings"}."""
    from ai_edge_litert.tools import flatbuffer_utils

    path, out = Path(payload["model"]), Path(job["out"])
    content = path.read_bytes()
    if not job["settings"]:
        out.write_bytes(content)
        return {"notes": [], "warnings": []}
    told = take_precisions(copy.deepcopy(original))
    if told:
        job = {**job, "settings": _mixed(path, job, told)}
    tails = unlike_tails(path, seen) if seen is not None and job.get("apart", "no") != "no" else ()
    if tails:
        whole = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        cut(whole, path, tails)
        content = bytes(flatbuffer_utils.convert_object_to_bytearray(whole))
    model = _quantized(content, job, seen, {i for tail in tails for i in tail.sources})
    take_precisions(model)
    type_unread_outputs(model)
    use_integer_forms(model)
    placed = use_given_limits(model, original)
    fitted = bias_edit.fit_biases(model, original)
    if seen is not None and job["correct_biases"]:
        correct_biases(model, original, seen)
    joined = copy.deepcopy(model) if tails else model
    if tails:
        join(joined, original, tails)
    for held in (joined, model) if tails else (model,):
        set_versions(held)
    if tails and job["apart"] == "outputs":
        Path(job["joined"]).write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(joined)))
    else:
        model = joined
    out.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    kept = words_of(path, tails, job["apart"]) if tails else []
    return {"notes": [*placed, *bias_edit.notes(fitted), *kept], "warnings": bias_edit.warnings(fitted)}


def _mixed(path: Path, job: dict[str, Any], told: dict[str, str]) -> list[dict[str, Any]]:
    """Return a job's settings with the exceptions that a file tells. Raises ValueError where the recipe has none."""
    others = job.get("mixed_with") or {}
    if not others:
        raise ValueError(f"the file asks for operations of other precision, and {job['recipe']} has none")
    graph = read_tflite(path).main
    return mixed(job["settings"], graph, by_name(graph, told), others)


def _quantized(content: bytes, job: dict[str, Any], seen: Observation | None, outputs: set[int]) -> Any:
    """Return the object form of a float model as ai-edge-quantizer makes it; `outputs` keep their full ranges.

    A range that the model was trained with counts before what samples show.
    """
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer import quantizer

    given = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    if given.signatureDefs is None:  # it walks them where it puts a conversion before an output
        given.signatureDefs = []
        content = bytes(flatbuffer_utils.convert_object_to_bytearray(given))
    tool = quantizer.Quantizer(bytearray(content))
    tool.load_quantization_recipe(job["settings"])
    statistics = None
    if job["ranges"] != "none" and seen is not None:
        ranges = seen.ranges(job["ranges"])
        ranges |= {t.name: (t.low, t.high) for i, t in seen.tensors.items() if i in outputs}
        ranges |= trained_ranges(flatbuffer_utils.read_model_from_bytearray(bytearray(content)))
        statistics = {
            name: {
                "min": np.array([[low]], dtype=np.float32),
                "max": np.array([[high]], dtype=np.float32),
            }
            for name, (low, high) in ranges.items()
        }
    result = tool.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    made = flatbuffer_utils.read_model_from_bytearray(bytearray(result.quantized_model))
    made.signatureDefs = made.signatureDefs or None
    return made
