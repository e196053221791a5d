"""Engine `litert`: libLiteRt.so through ctypes, with the standard library alone.

ctypes releases the interpreter lock during every call, so that the server answers health questions meanwhile.
"""

import ctypes
import os

import es_litert_abi as abi
from es_engine import TensorSpec
from es_errors import CannotRun, EngineFailed
from es_litert_shapes import tensor_type, widen

DELEGATES = ("xnnpack", "gpu", "none")
_PROCESSORS = "/sys/devices/system/cpu/possible"


class LiteRtEngine(object):
    """A compiled model with its buffers. Not safe for two threads at once."""

    resets_by = "reload"

    def __init__(self, release, variant, profiling=False):
        engine = release.engine
        self.delegate = engine.get("delegate") or "none"
        self.version = engine["version"]
        if self.delegate not in DELEGATES:
            text = "engine litert has no delegate %r; it has: %s"
            raise CannotRun("unknown-delegate", text % (self.delegate, ", ".join(DELEGATES)))
        if not self.version.startswith(abi.SERIES + "."):
            text = "this runtime speaks LiteRT %s's interface; the release pins %s"
            raise CannotRun("engine-version", text % (abi.SERIES, self.version))
        self.release, self.variant = release, variant["name"]
        self._model_path = release.path(variant["file"])
        self._library_path = release.path(engine["library"])
        self._threads = engine["threads"]
        self._handles = []
        self.runs, self.widened = 1, False  # Runs of the file's batch computed at once.
        self.library = abi.Library(self._library_path)
        try:
            self._open(profiling)
        except EngineFailed as error:
            self.close()
            raise CannotRun("model-load", "%s: %s%s" % (self._model_path, error, self._why()))
        except CannotRun:
            self.close()
            raise

    def _why(self):
        """Return what is known to stop XNNPACK on Arm: it reads the processors from /sys and fails without."""
        if self.delegate == "xnnpack" and not os.path.exists(_PROCESSORS):
            return ". %s is not there, which XNNPACK needs to know the processor: mount /sys" % _PROCESSORS
        return ""

    def _keep(self, kind, handle):
        self._handles.append((kind, handle))
        return handle

    def _open(self, profiling):
        if not os.path.isfile(self._model_path):
            raise CannotRun("model-load", "%s is missing" % self._model_path)
        lib = self.library
        self.environment = self._keep("Environment", self._environment())
        self._model = self._keep(
            "Model", lib.handle("CreateModelFromFile", self.environment, os.fsencode(self._model_path))
        )
        self._options = self._keep("Options", self.compile_options(profiling))
        self._compile()

    def _compile(self):
        lib = self.library
        compiled = lib.handle("CreateCompiledModel", self.environment, self._model, self._options)
        self.compiled = self._keep("CompiledModel", compiled)
        self._bind()

    def _environment(self):
        """Return an environment that registers the CPU and, for delegate gpu, the GPU accelerator; refuse
        without it.
        """
        wanted = abi.CPU | (abi.GPU if self.delegate == "gpu" else 0)
        options = (abi.EnvironmentOption * 3)()
        for option, tag, value in ((options[0], abi.OPTION_AUTO_REGISTER, wanted),
                                   (options[1], abi.OPTION_MIN_LOG_SEVERITY, abi.LOG_WARNING)):  # fmt: skip
            option.tag, option.kind, option.value.number = tag, abi.ANY_INT, value
        options[2].tag, options[2].kind = abi.OPTION_RUNTIME_LIBRARY_DIR, abi.ANY_STRING
        options[2].value.text = os.fsencode(os.path.dirname(self._library_path))
        env = self.library.handle("CreateEnvironment", 3, options)
        if self.delegate == "gpu" and not self._hardware(env) & abi.GPU:
            self.library.destroy("Environment", env)
            text = "no GPU accelerator could be registered from %s: it takes libLiteRtGpuAccelerator.so,"
            text += " libLiteRtWebGpuAccelerator.so or libLiteRtOpenClAccelerator.so, and a working driver;"
            text += " falling back to the CPU is not what was asked for"
            raise CannotRun("delegate-missing", text % os.path.dirname(self._library_path))
        return env

    def _hardware(self, env):
        found = 0
        for index in range(self.library.size("GetNumAccelerators", env)):
            accelerator = self.library.handle("GetAccelerator", env, index)
            found |= self.library.get("GetAcceleratorHardwareSupport", ctypes.c_int, accelerator).value
        return found

    def compile_options(self, profiling):
        """Return compilation options for the threads and the delegate of the release; the caller frees
        them.
        """
        lib = self.library
        options = lib.handle("CreateOptions")
        lib.call(
            "SetOptionsHardwareAccelerators", options, abi.CPU | (abi.GPU if self.delegate == "gpu" else 0)
        )
        text = "num_threads = %d\n" % self._threads
        if self.delegate == "none":
            text += 'kernel_mode = "builtin"\n'
        lib.add_text_options(options, "xnnpack", text)
        if profiling:
            lib.add_text_options(options, "runtime_options_string", "enable_profiling = true\n")
        return options

    def _signature(self):
        """Return (index, handle) of the signature over the main subgraph; the first one where none is."""
        lib = self.library
        main = lib.handle("GetModelSubgraph", self._model, lib.size("GetMainModelSubgraphIndex", self._model))
        first = None
        for index in range(lib.size("GetNumModelSignatures", self._model)):
            signature = lib.handle("GetModelSignature", self._model, index)
            first = first or (index, signature)
            if lib.handle("GetSignatureSubgraph", signature) == main:
                return index, signature
        if first is None:
            raise CannotRun("model-load", "%s has no signature" % self._model_path)
        return first

    def _bind(self):
        """Create the buffers, in the signature's order, and remember where the file's order finds them."""
        self.index, signature = self._signature()
        subgraph = self.library.handle("GetSignatureSubgraph", signature)
        self.inputs, self._inputs, self._input_slots = self._side("Input", signature, subgraph)
        self.outputs, self._outputs, self._output_slots = self._side("Output", signature, subgraph)
        self._lock, self._unlock = (
            self.library.function("LockTensorBuffer"),
            self.library.function("UnlockTensorBuffer"),
        )
        self._run = self.library.function("RunCompiledModel")
        self._address = ctypes.c_void_p()
        self._where = ctypes.byref(self._address)

    def _side(self, side, signature, subgraph):
        """Return (specs in the file's order, buffers in the signature's order, [(buffer, bytes)] in the
        file's order).
        """
        lib = self.library
        total = lib.size("GetNumSignature%ss" % side, signature)
        buffers = (ctypes.c_void_p * total)()
        by_tensor = {}
        for index in range(total):
            tensor = lib.handle("GetSignature%sTensorByIndex" % side, signature, index)
            kind = tensor_type(self, side, index, tensor)
            needs = lib.handle(
                "GetCompiledModel%sBufferRequirements" % side, self.compiled, self.index, index
            )
            make = "CreateManagedTensorBufferFromRequirements"
            buffer = self._keep("TensorBuffer", lib.handle(make, self.environment, ctypes.byref(kind), needs))
            buffers[index] = buffer
            shape = list(kind.layout.dimensions[: kind.layout.bits & 127])
            spec = TensorSpec(self._name(tensor), abi.ELEMENT_TYPES.get(kind.element, "unknown"), shape)
            by_tensor[tensor] = (spec, (buffer, lib.size("GetTensorBufferPackedSize", buffer)))
        order = [
            lib.handle("GetSubgraph" + side, subgraph, i)
            for i in range(lib.size("GetNumSubgraph%ss" % side, subgraph))
        ]
        # A signature may leave out tensors of the subgraph, or name one twice; then its own order must do.
        if len(order) != len(by_tensor) or any(tensor not in by_tensor for tensor in order):
            order = list(by_tensor)
        return [by_tensor[t][0] for t in order], buffers, [by_tensor[t][1] for t in order]

    def _name(self, tensor):
        name = self.library.get("GetTensorName", ctypes.c_char_p, tensor).value
        return (name or b"").decode("utf-8", "replace")

    def run(self, inputs):
        """Return the output tensors' bytes for the input tensors' bytes, both in the file's order."""
        for (buffer, size), data in zip(self._input_slots, inputs):
            if len(data) != size:
                raise EngineFailed("an input holds %d bytes; the model wants %d" % (len(data), size))
            self._copy_in(buffer, data, size)
        status = self._run(
            self.compiled, self.index, len(self._inputs), self._inputs, len(self._outputs), self._outputs
        )
        if status:
            raise EngineFailed(
                "LiteRtRunCompiledModel: %s (status %d)" % (abi.STATUS.get(status, "error"), status)
            )
        return [self._copy_out(buffer, size) for buffer, size in self._output_slots]

    def _copy_in(self, buffer, data, size):
        self._checked(self._lock(buffer, self._where, abi.LOCK_WRITE), "LockTensorBuffer")
        ctypes.memmove(self._address, data if isinstance(data, bytes) else bytes(data), size)
        self._checked(self._unlock(buffer), "UnlockTensorBuffer")

    def _copy_out(self, buffer, size):
        self._checked(self._lock(buffer, self._where, abi.LOCK_READ), "LockTensorBuffer")
        data = ctypes.string_at(self._address, size)
        self._checked(self._unlock(buffer), "UnlockTensorBuffer")
        return data

    @staticmethod
    def _checked(status, name):
        if status:
            raise EngineFailed("LiteRt%s: %s (status %d)" % (name, abi.STATUS.get(status, "error"), status))

    def info(self):
        """Return name, version and delegate. The version is the one the release pins: the library tells
        none.
        """
        return {"name": "litert", "version": self.version, "delegate": self.delegate}

    def delegated(self):
        """Return (True, False, "inapplicable" or "unknown"; how that is known)."""
        from es_litert_probe import delegated

        return delegated(self)

    def delegated_here(self):
        """Return what this very process can tell at once; of a part of the model only the proof can tell."""
        whole = {
            "xnnpack": "CompiledModelIsFullyAccelerated",
            "gpu": "CompiledModelIsNonCpuFullyAccelerated",
        }.get(self.delegate)
        if whole is None:
            return "inapplicable", "no delegate was asked for"
        if self.flag(whole):
            return True, "the whole model runs in %s" % self.delegate
        from es_litert_probe import NOT_STARTED, starts

        if self.delegate == "xnnpack" and not starts(self):
            return False, NOT_STARTED
        return "unknown", "%s is there; which operations it takes, the proof tells" % self.delegate

    def flag(self, name):
        """Return the answer of one of the compiled model's yes-or-no questions."""
        return self.library.get(name, ctypes.c_bool, self.compiled).value

    def profile(self):
        """Run once with zeros under the profiler (the engine must have been opened with it); return [(kind,
        tag)].
        """
        lib = self.library
        profiler = lib.handle("CompiledModelGetProfiler", self.compiled)
        lib.call("StartProfiler", profiler)
        self.run([bytes(size) for _, size in self._input_slots])
        lib.call("StopProfiler", profiler)
        total = lib.get("GetNumProfilerEvents", ctypes.c_int, profiler).value
        events = (abi.ProfilerEvent * total)()
        lib.call("GetProfilerEvents", profiler, total, events)
        return [(event.kind, (event.tag or b"").decode("utf-8", "replace")) for event in events]

    def widen(self, runs):
        """Have the next runs compute `runs` of the file's batch at once; raises EngineFailed where that cannot be."""
        widen(self, runs)

    def bind_again(self):
        """Make the buffers anew, for another number of runs."""
        while self._handles and self._handles[-1][0] == "TensorBuffer":
            self.library.destroy(*self._handles.pop())
        self._bind()

    def reset(self):
        """Bring the model's variables back to their beginning: compile it anew, for LiteRT has no call for that.

        Measured on x86-64: 0.5 ms for a model of 14 KB; it grows with the weights that XNNPACK packs.
        """
        self._free("CompiledModel")
        self._compile()

    def _free(self, last):
        """Free what was made since the newest handle of kind `last` and that one itself; everything for None."""
        kind = ""
        if last is not None and last not in (held for held, _ in self._handles):
            return
        while self._handles and kind != last:
            kind, handle = self._handles.pop()
            self.library.destroy(kind, handle)

    def close(self):
        """Free everything, last made first."""
        self._free(None)
