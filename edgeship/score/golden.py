"""Golden vectors: raw inputs with the outputs a model must give for them, recorded by the runtime that
devices carry.

The outputs come from the island itself, run on this machine over the release as it will ship, so that a
device can be compared with exactly what was scored here. A second opinion, LiteRT's own interpreter fed by
the host's preprocessing, must agree before anything is recorded: that proves the island's preprocessing and
engine, not only their constancy.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.data.preprocess import apply, resize
from edgeship.errors import InputError, ToolError
from edgeship.progress import Progress, Silent
from edgeship.score.compare import cosines, has_classes, max_abs
from edgeship.score.selection import Selection, preprocess_of, with_sequence
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.tails import FloatTail, float_tail
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import GoldenTolerance, Resize

Array = NDArray[Any]
SCHEMA = "edgeship.golden/1"
RECORD_SECONDS = 300.0
OUTSIDE = re.compile(r"index out of bounds")
"""What engines say of an index (GATHER, GATHER_ND, EMBEDDING_LOOKUP) that no sample would hold."""
SECOND_OPINION_COSINE = 0.99
"""Both paths run the same kernels: less than this is another computation, not rounding."""


def record(
    release: Path,
    name: str,
    selection: Selection,
    *,
    tolerance: GoldenTolerance,
    exact: bool,
    keep: int,
    model: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the edgeship.golden/1 document of a variant: what the island in `release` answers to `selection`.

    `release` holds runtime/, service.json and the model, with an engine of this machine. `exact` says whether
    devices will run the recorded triple of engine, version and delegate; where they will not, and an equal
    argmax is asked for, vectors whose two highest outputs lie within the tolerance are left out first: no
    device could promise their order. `keep` vectors stay. `model` is what the second opinion runs.
    Raises ToolError `golden-cannot-record`, `golden-not-finite`, `golden-disagree`.
    """
    show = progress or Silent()
    show.step(f"recording golden vectors of {name}")
    service = json.loads((release / "service.json").read_text())
    entry = next(v for v in service["variants"] if v["name"] == name)
    state = bool(entry.get("state"))
    try:
        document = _run_island(release, name, with_sequence(selection) if state else selection)
    except ToolError as error:
        if not selection.made_up or not OUTSIDE.search(str(error.context)):
            raise
        show.note(
            f"{name}: golden vectors are samples only: the lowest or highest value of all lies outside a table that "
            "the model looks up"
        )
        selection = selection.samples_only()
        document = _run_island(release, name, with_sequence(selection) if state else selection)
    singles = len(selection.vectors)
    if state:
        selection = with_sequence(selection)
    outputs = [_answers(vector, entry) for vector in document["vectors"]]
    real = [[_real(a, spec) for a, spec in zip(one, entry["outputs"], strict=True)] for one in outputs]
    if not all(np.isfinite(a).all() for one in real for a in one):
        raise ToolError(
            "golden-not-finite",
            f"{name} answers NaN or infinity to inputs within its range",
            context={"variant": name},
            hint="edgeship inspect MODEL; try another recipe with --recipe",
        )
    allowed = tolerances_of(read_tflite(model), tolerance, exact=exact)
    loose = [not one for one in allowed] if isinstance(allowed, list) else []
    delegate = document["recorded_with"]["delegate"]
    second_opinion(model, entry, selection, real, name, xnnpack=delegate == "xnnpack", loose=loose)
    everything = exact or not tolerance.argmax
    kept = range(singles) if everything else _decided(real[:singles], entry, tolerance, keep)
    together = range(singles, len(real))
    if not everything and len(_decided(real[singles:], entry, tolerance, 0)) < len(together):
        together = range(0)  # no device could promise the order in each of its vectors
    return {
        "schema": SCHEMA,
        **{key: entry[key] for key in ("name", "recipe", "candidate")},
        "recorded_with": document["recorded_with"],
        "tolerance": allowed,
        "vectors": [document["vectors"][i] for i in (*sorted(kept)[:keep], *together)],
    }


DETECTOR = "TFLite_Detection_PostProcess"
SCORES = 2
"""Which of a detector's four outputs holds the scores (boxes, classes, scores, count)."""


def tolerances_of(
    model: TfliteFile, tolerance: GoldenTolerance, *, exact: bool
) -> dict[str, Any] | list[dict[str, Any]]:
    """Return what a golden document allows: one tolerance for all outputs, or one each.

    A detector's last operation sorts what it found by score: a step's difference before it makes two finds change
    places, and with them whole boxes and classes. Its scores, sorted, move by as little as what is before it; so
    they are compared, and boxes and classes are held to be finite only.

    An output joined in float behind integers has no steps of its own to count: where devices need not agree to the
    bit (`exact`), it may be as many of its integers' steps off, and which entry is the highest says nothing.
    """
    graph = model.main
    tails = {} if exact else {i: tail for i in graph.outputs if (tail := float_tail(model, i)) is not None}
    made_by = {index: op for op in graph.operators for index in op.outputs}
    detectors = [made_by.get(index) for index in graph.outputs]
    if not tails and not any(op is not None and op.op == DETECTOR for op in detectors):
        return asdict(tolerance)
    scores = {"max_abs": max(0.1, tolerance.max_abs), "min_cosine": 0.9}
    return [
        asdict(_in_steps(tolerance, tails.get(index)))
        if op is None or op.op != DETECTOR
        else scores
        if op.outputs.index(index) == SCORES
        else {}
        for index, op in zip(graph.outputs, detectors, strict=True)
    ]


def _in_steps(tolerance: GoldenTolerance, tail: FloatTail | None) -> GoldenTolerance:
    if tail is None:
        return tolerance
    return replace(tolerance, max_abs=max(tolerance.max_abs, tolerance.max_lsb * tail.step), argmax=False)


def second_opinion(
    model: Path,
    entry: Mapping[str, Any],
    selection: Selection,
    real: Sequence[Sequence[Array]],
    name: str,
    *,
    xnnpack: bool,
    loose: Sequence[bool] = (),
) -> None:
    """Raise ToolError `golden-disagree` unless LiteRT's interpreter, fed by the host, gives the same
    answers. `xnnpack`: which kernels the device's runtime used; `loose` outputs are not compared."""
    with tempfile.TemporaryDirectory(prefix="edgeship-golden-") as folder:
        inputs = {f"{v}.{i}": a for v, arrays in enumerate(selection.vectors) for i, a in enumerate(arrays)}
        np.savez(Path(folder) / "inputs.npz", **inputs)
        run_worker(
            "edgeship.score.golden:interpret",
            {"model": str(model), "folder": folder, "xnnpack": xnnpack, "vectors": len(selection.vectors),
             "preprocess": [i["preprocess"] for i in entry["inputs"]],
             "stored": [bool(i.get("stored")) for i in entry["inputs"]],
             "continues": sorted(selection.continues)},
            limits=WorkerLimits(seconds=RECORD_SECONDS),
        )  # fmt: skip
        with np.load(Path(folder) / "outputs.npz") as held:
            other = [[held[f"{v}.{o}"] for o in range(len(one))] for v, one in enumerate(real)]
    for number, (one, two) in enumerate(zip(real, other, strict=True)):
        for k, (spec, a, b) in enumerate(zip(entry["outputs"], one, two, strict=True)):
            if k < len(loose) and loose[k]:
                continue
            if a.size != b.size:
                raise InputError(
                    "model-inconsistent",
                    f"the output '{spec['name']}' has {a.size} numbers by the file, and {b.size} when the model runs",
                    context={"variant": name, "the file says": list(spec["shape"])},
                    hint="convert the model again, or give the .keras, .h5 or SavedModel it was made from",
                )
            cosine = float(cosines(a.reshape(1, -1), b.reshape(1, -1))[0])
            step = spec["tensor"]["scale"] or 0.0
            if cosine < SECOND_OPINION_COSINE and max_abs(a, b) > 2 * step:
                raise ToolError(
                    "golden-disagree",
                    f"the runtime for devices and LiteRT's interpreter give different answers for {name}",
                    context={
                        "variant": name,
                        "vector": f"{number}, output '{spec['name']}'",
                        "cosine": f"{cosine:.4f}, wanted {SECOND_OPINION_COSINE} at least",
                        "largest difference": f"{max_abs(a, b):.4g}",
                    },
                    hint="report this with the model: it must not ship; another --recipe may do",
                )


def interpret(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Worker: answer `inputs.npz` (`<vector>.<input>` raw) with `outputs.npz` (`<vector>.<output>` real
    numbers)."""
    from edgeship.score.worker import Model, stored

    model = Model(payload["model"], xnnpack=payload["xnnpack"])
    rules = [preprocess_of(p) for p in payload["preprocess"]]
    answers: dict[str, Array] = {}
    with np.load(Path(payload["folder"]) / "inputs.npz") as held:
        for vector in range(payload["vectors"]):
            if vector not in payload["continues"]:
                model.reset()
            for i, tensor in enumerate(model.inputs):
                raw = held[f"{vector}.{i}"]
                if payload["stored"][i] and raw.dtype == tensor["dtype"]:
                    values = _as_stored(raw, rules[i].resize)
                elif rules[i].is_identity() and raw.dtype.kind in "iub" and not tensor["quantization"][0]:
                    values = raw.astype(tensor["dtype"])  # a number above 2^24 is none of float32's
                else:
                    values = stored(apply(rules[i], raw).reshape(tensor["shape"]), tensor)
                model._interpreter.set_tensor(tensor["index"], values.reshape(tensor["shape"]))
            model.invoke()
            answers |= {f"{vector}.{o}": np.array(a) for o, a in enumerate(model.read())}
    np.savez(Path(payload["folder"]) / "outputs.npz", **answers)
    return {"vectors": payload["vectors"]}


def _as_stored(raw: Array, to: Resize | None) -> Array:
    """Return stored numbers as they are; resized ones are rounded, half to even, and clamped."""
    if to is None:
        return raw
    limits = np.iinfo(raw.dtype)
    return np.clip(np.rint(resize(raw, to)), limits.min, limits.max).astype(raw.dtype)


def _run_island(release: Path, name: str, selection: Selection) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgeship-golden-") as folder:
        asked = Path(folder) / "inputs.json"
        vectors = [
            {"inputs": [_text(a) for a in arrays], "continues": number in selection.continues}
            for number, arrays in enumerate(selection.vectors)
        ]
        asked.write_text(json.dumps({"vectors": vectors}))
        command = [sys.executable, "-I", "-B", str(release / "runtime" / "main.py"), "record"]
        command += ["--release", str(release), "--inputs", str(asked), "--variant", name]
        try:
            done = subprocess.run(command, capture_output=True, timeout=RECORD_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise _cannot(name, f"nothing within {RECORD_SECONDS:.0f} s") from None
    try:
        document: Any = json.loads(done.stdout)
    except ValueError:
        raise _cannot(name, _last_words(done.returncode, done.stderr)) from None
    if done.returncode != 0 or document.get("schema") != SCHEMA:
        why = str(document.get("reason") or document.get("error") or document)[:500]
        raise _cannot(name, why, _complaints(done.stderr))
    return dict(document)


def _last_words(status: int, stderr: bytes) -> str:
    """Return how an engine ended that gave no answer: the signal that ended it, and what it said beside its chatter."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    words = "\n".join(line for line in lines if not line.startswith(("INFO: ", "WARNING: ")))[-500:]
    if status >= 0:
        return words or f"status {status} and no result"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"the engine crashed ({name})" + (f": {words}" if words else "")


def _complaints(stderr: bytes) -> str:
    """Return what the engine's library itself said went wrong; its status codes say little."""
    lines = stderr.decode(errors="replace").splitlines()
    return "; ".join(line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: "))[:500]


def _cannot(name: str, why: str, engine: str = "") -> ToolError:
    return ToolError(
        "golden-cannot-record",
        f"the runtime for devices cannot run {name} on this machine",
        context={"variant": name, "it said": why} | ({"engine": engine} if engine else {}),
        hint="give samples that the model takes with --eval D (without data it is asked noise), or look at it with: "
        "edgeship inspect MODEL",
    )


def _decided(
    real: Sequence[Sequence[Array]], entry: Mapping[str, Any], tolerance: GoldenTolerance, keep: int
) -> list[int]:
    """Return the `keep` vectors whose highest output leads the second by most steps of the tolerance
    allowed."""

    def lead(number: int) -> float:
        leads = [np.inf]
        for values, spec in zip(real[number], entry["outputs"], strict=True):
            if has_classes(values):
                second, first = np.sort(values.reshape(-1))[-2:]
                step = spec["tensor"]["scale"]
                leads.append(
                    float(first - second)
                    / (2 * (step * tolerance.max_lsb if step else tolerance.max_abs) or 1e-9)
                )
        return min(leads)

    safe = [n for n in range(len(real)) if lead(n) > 1.0]
    if len(safe) >= min(3, keep):
        return safe
    return sorted(range(len(real)), key=lambda n: (-lead(n), n))[: max(3, len(safe))]


def _text(values: Array) -> str:
    data = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return base64.b64encode(data.tobytes()).decode("ascii")


def _array(text: str, spec: Mapping[str, Any]) -> Array:
    tensor = spec["tensor"]
    dtype = np.dtype(tensor["dtype"]).newbyteorder("<")
    return np.frombuffer(base64.b64decode(text), dtype=dtype).reshape(tensor["shape"])


def _answers(vector: Mapping[str, Any], entry: Mapping[str, Any]) -> list[Array]:
    """Return the output tensors of one vector of a golden document."""
    return [_array(text, spec) for text, spec in zip(vector["outputs"], entry["outputs"], strict=True)]


def _real(values: Array, spec: Mapping[str, Any]) -> Array:
    scale, zero_point = spec["tensor"]["scale"], spec["tensor"]["zero_point"]
    doubles = values.astype(np.float64)
    return doubles if scale is None else np.asarray(scale * (doubles - zero_point))
