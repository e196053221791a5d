"""Did the delegate really take part? LiteRT falls back to its built-in kernels without a word; this finds
out.

`IsFullyAccelerated` answers for models that were delegated whole. For the others the profiler tells which
operations a delegate ran; it reserves some 70 MB, so a process of its own does it (`main.py delegation`).
"""

import ctypes
import json
import os
import subprocess
import sys

import es_litert_abi as abi
from es_errors import CannotRun, EngineFailed
from es_litert import LiteRtEngine
from es_probe_model import ADD_MODEL

NOT_STARTED = "XNNPACK did not start on this machine (it needs /sys to know the processor)"


def delegated(engine):
    """Return (answer, how it is known) for a loaded LiteRtEngine; see es_engine for the answers."""
    if engine.delegate == "none":
        return "inapplicable", "no delegate was asked for"
    if engine.delegate == "gpu" and engine.flag("CompiledModelIsNonCpuFullyAccelerated"):
        return True, "the whole model runs on the GPU"
    if engine.delegate == "xnnpack" and engine.flag("CompiledModelIsFullyAccelerated"):
        return True, "the whole model runs in XNNPACK"
    return _ask_child(engine)


def _ask_child(engine):
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "main.py")
    command = [sys.executable, "-I", "-B", main, "delegation", "--release", engine.release.directory]
    command += ["--variant", engine.variant]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
        answer = json.loads(done.stdout.decode("utf-8"))
        return answer["delegated"], answer["text"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return "unknown", "the profiling process gave no answer (%s)" % type(error).__name__


def examine(release, variant):
    """Return (answer, text) from one profiled run of the variant. Meant for a short-lived process."""
    engine = LiteRtEngine(release, variant, profiling=True)
    try:
        events = engine.profile()
        if engine.delegate == "gpu":
            return _judge_gpu(events)
        by_delegate = sum(1 for kind, _ in events if kind == abi.EVENT_DELEGATE_OPERATION)
        others = [tag for kind, tag in events if kind == abi.EVENT_OPERATION]
        if by_delegate:
            return True, "XNNPACK runs %d operations, the built-in kernels %d" % (by_delegate, len(others))
        names = ", ".join(sorted(set(others)))
        if starts(engine):
            return (
                "inapplicable",
                "XNNPACK starts here but has no kernel for this model's operations: %s" % names,
            )
        return False, NOT_STARTED
    finally:
        engine.close()


def _judge_gpu(events):
    tags = [tag for kind, tag in events if kind in (abi.EVENT_DELEGATE_OPERATION, abi.EVENT_OPERATION)]
    marks = [tag for tag in tags if any(word in tag.lower() for word in ("gpu", "drift", "opencl", "vulkan"))]
    if marks:
        return True, "the GPU runs a part of the model (%s)" % ", ".join(sorted(set(marks)))
    return False, "no operation of the model ran on the GPU"


def starts(engine):
    """Return whether the delegate takes a model that it certainly has kernels for."""
    lib = engine.library
    model = options = compiled = None
    data = ctypes.create_string_buffer(ADD_MODEL, len(ADD_MODEL))
    try:
        address = ctypes.cast(data, ctypes.c_void_p)
        model = lib.handle("CreateModelFromBuffer", engine.environment, address, len(ADD_MODEL))
        options = engine.compile_options(False)
        compiled = lib.handle("CreateCompiledModel", engine.environment, model, options)
        return lib.get("CompiledModelIsFullyAccelerated", ctypes.c_bool, compiled).value
    except (EngineFailed, CannotRun):
        return False
    finally:
        lib.destroy("CompiledModel", compiled)
        lib.destroy("Options", options)
        lib.destroy("Model", model)
