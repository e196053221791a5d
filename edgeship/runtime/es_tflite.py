"""Engine `tflite_runtime`: TFLite's Python interpreter with NumPy, for armv7, older libc and the Edge TPU.

The package comes from the release's `site` folder or from the device itself; `ai_edge_litert` is taken where
only that is installed. Samples are prepared by the same standard-library code as under the other engine, so
both agree.
"""

import ctypes
import os

from es_engine import TensorSpec
from es_errors import CannotRun, EngineFailed
from es_probe_model import ADD_MODEL

DELEGATES = ("xnnpack", "edgetpu", "ethosu", "none")
# Delegates in a library of their own: (library, the operation their compiler leaves in a model, how to get it).
_LIBRARIES = {
    "edgetpu": (
        "libedgetpu.so.1",
        "edgetpu-custom-op",
        "Install libedgetpu1-std (or -max) of the version that pairs with the runtime; seen: lsusb; ls /dev/apex_0",
    ),
    "ethosu": (
        "libethosu_delegate.so",
        "ethos-u",
        "It comes with the board's own image; see whether the accelerator is there: ls /dev/ethosu0",
    ),
}


def _interpreter_module():
    """Return (module, version) of the first interpreter package that can be imported."""
    reasons = []
    for package in ("tflite_runtime", "ai_edge_litert"):
        try:
            module = __import__(package + ".interpreter", fromlist=["Interpreter"])
            version = getattr(__import__(package), "__version__", None) or _installed_version(package)
            return module, version
        except (
            Exception
        ) as error:  # A package built for another NumPy or libc fails in many ways; each is a reason.
            reasons.append("%s: %s" % (package, error))
    raise CannotRun("engine-library", "no TFLite interpreter can be imported (%s)" % "; ".join(reasons))


def _installed_version(package):
    """Return the version that the package's installer wrote beside it ("unknown" where there is none)."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__import__(package).__file__)))
    for name in sorted(os.listdir(folder)):
        if name.startswith(package + "-") and name.endswith(".dist-info"):
            return name[len(package) + 1 : -len(".dist-info")]
    return "unknown"


def _taken(interpreter):
    """Return whether a delegate replaced nodes: the interpreter then lists them after the model's own."""
    names = [str(op.get("op_name")) for op in interpreter._get_ops_details()]
    return any(name == "DELEGATE" or "XNNPack" in name for name in names)


class TfliteEngine(object):
    """An allocated interpreter. Not safe for two threads at once."""

    def __init__(self, release, variant):
        engine = release.engine
        self.delegate = engine.get("delegate") or "none"
        if self.delegate not in DELEGATES:
            text = "engine tflite_runtime has no delegate %r; it has: %s"
            raise CannotRun("unknown-delegate", text % (self.delegate, ", ".join(DELEGATES)))
        path = release.path(variant["file"])
        if not os.path.isfile(path):
            raise CannotRun("model-load", "%s is missing" % path)
        module, self.version = _interpreter_module()
        self._module = module
        # The interpreter's own reset knows the variable tensors of fused layers, not the variables of a model.
        resources = any(state["kind"] == "resource" for state in variant.get("state") or ())
        self.resets_by = "reload" if resources else "variables"
        self._engine, self._path, self._runs = engine, path, 1
        self._interpreter = self._opened()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.inputs = [self._spec(detail) for detail in self._inputs]
        self.outputs = [self._spec(detail) for detail in self._outputs]
        import numpy

        self._numpy = numpy

    def _opened(self):
        """Return an interpreter with its tensors allocated."""
        arguments = {"model_path": self._path, "num_threads": self._engine["threads"]}
        arguments.update(self._delegate_arguments(self._module, self._engine))
        try:
            interpreter = self._module.Interpreter(**arguments)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise CannotRun("model-load", "%s: %s" % (self._path, error))
        return interpreter

    def widen(self, runs):
        """Have the next runs compute `runs` of the file's batch at once; raises EngineFailed where that cannot be."""
        if runs == self._runs:
            return
        try:
            for detail in self._inputs:
                shape = [int(n) for n in detail["shape"]]
                if not shape:
                    raise ValueError("a tensor without axes")
                self._interpreter.resize_tensor_input(detail["index"], [shape[0] * runs] + shape[1:])
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            self._interpreter, self._runs = self._opened(), 1
            raise EngineFailed("the model cannot be resized to %d runs: %s" % (runs, error))
        self._runs = runs

    def reset(self):
        """Bring what the model keeps between runs back to its beginning."""
        if self.resets_by == "reload":
            self._interpreter = None
            try:
                self._interpreter = self._opened()
            except CannotRun as error:
                raise EngineFailed(error.reason)
        else:
            self._interpreter.reset_all_variables()

    def _delegate_arguments(self, module, engine):
        """Return the interpreter's keyword arguments for the delegate asked for; refuse a missing library by
        name.
        """
        if self.delegate in _LIBRARIES:
            library, _, help_text = _LIBRARIES[self.delegate]
            library = engine.get("delegate_library") or library
            try:
                ctypes.CDLL(library)  # load_delegate's own object prints a traceback where this fails.
                return {"experimental_delegates": [module.load_delegate(library)]}
            except (ValueError, OSError) as error:
                why = str(error).strip() or type(error).__name__
                text = "cannot load the accelerator's library %s: %s. %s"
                raise CannotRun("delegate-missing", text % (library, why, help_text))
        if self.delegate == "none":
            resolver = getattr(module, "OpResolverType", None)
            if resolver is not None:
                return {"experimental_op_resolver_type": resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
        return {}

    @staticmethod
    def _spec(detail):
        return TensorSpec(
            detail["name"], detail["dtype"].__name__.rstrip("_"), [int(n) for n in detail["shape"]]
        )

    def run(self, inputs):
        """Return the output tensors' bytes for the input tensors' bytes, both in the file's order."""
        if self._interpreter is None:
            raise EngineFailed("the model could not be loaded anew")
        try:
            for detail, data in zip(self._inputs, inputs):
                shape = detail["shape"]
                if self._runs > 1:
                    shape = [shape[0] * self._runs, *shape[1:]]
                array = self._numpy.frombuffer(data, dtype=detail["dtype"]).reshape(shape)
                self._interpreter.set_tensor(detail["index"], array)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(detail["index"]).tobytes() for detail in self._outputs]
        except (ValueError, RuntimeError) as error:
            raise EngineFailed(str(error))

    def info(self):
        """Return name, version (as the package tells it) and delegate."""
        return {"name": "tflite_runtime", "version": self.version, "delegate": self.delegate}

    def delegated_here(self):
        """Return the same as `delegated`, which costs nothing here."""
        return self.delegated()

    def delegated(self):
        """Return (answer, how it is known) from the interpreter's own list of operations after delegation."""
        if self.delegate == "none":
            return "inapplicable", "no delegate was asked for"
        try:
            names = [str(op.get("op_name")) for op in self._interpreter._get_ops_details()]
        except AttributeError:
            return "unknown", "this interpreter cannot list its operations"
        if self.delegate in _LIBRARIES:
            operation = _LIBRARIES[self.delegate][1]
            if operation in names or any("EdgeTpu" in name for name in names):
                return True, "the accelerator's library is loaded and the model holds its operation"
            return False, "the model holds no %s: it was not compiled for the accelerator" % operation
        if _taken(self._interpreter):
            return True, "XNNPACK holds a part of the model"
        small = self._module.Interpreter(model_content=ADD_MODEL, num_threads=1)
        small.allocate_tensors()
        if _taken(small):
            return (
                "inapplicable",
                "XNNPACK starts here but has no kernel for this model's operations and types",
            )
        return False, "XNNPACK did not start on this machine"

    def close(self):
        """Drop the interpreter."""
        self._interpreter = None
