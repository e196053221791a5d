"""The part of LiteRT 2.3's C interface that the engine uses, declared for ctypes.

Written from the public headers under litert/c of the LiteRT repository at version 2.3. The library carries no
version that can be asked for, and its interface changes between versions: a symbol that 2.3 brought is the
proof of its age.
"""

import ctypes

from es_errors import CannotRun, EngineFailed

SERIES = "2.3"
_BROUGHT_BY_SERIES = "LiteRtCompiledModelIsNonCpuFullyAccelerated"

CPU, GPU = 1, 2
LOCK_READ, LOCK_WRITE = 0, 1
OPTION_RUNTIME_LIBRARY_DIR, OPTION_AUTO_REGISTER, OPTION_MIN_LOG_SEVERITY = 22, 24, 25
ANY_INT, ANY_STRING = 2, 8
LOG_WARNING = 2
# An operation that a delegate ran and reported itself / one of the interpreter's own operations.
EVENT_DELEGATE_OPERATION, EVENT_OPERATION = 8, 2

ELEMENT_TYPES = {
    1: "float32",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float16",
    11: "float64",
    13: "uint64",
    16: "uint32",
    17: "uint16",
}
STATUS = {
    1: "invalid argument",
    2: "out of memory",
    3: "runtime failure",
    4: "missing input tensor",
    5: "unsupported",
    6: "not found",
    7: "timeout",
    8: "wrong version",
    500: "file I/O",
    501: "not a valid model file",
    502: "dynamic loading",
    503: "serialization",
    504: "compilation",
    1000: "index out of bounds",
}

_HANDLE, _SIZE, _INT, _TEXT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p
_OUT = ctypes.c_void_p


class Layout(ctypes.Structure):
    """Rank in the low seven bits, then sizes and strides."""

    _fields_ = [
        ("bits", ctypes.c_uint32),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    ]


class RankedType(ctypes.Structure):
    """Element type and layout of a tensor."""

    _fields_ = [("element", _INT), ("layout", Layout)]


class _AnyValue(ctypes.Union):
    _fields_ = [("number", ctypes.c_int64), ("text", _TEXT)]


class EnvironmentOption(ctypes.Structure):
    """A tag, the kind of its value, and the value."""

    _fields_ = [("tag", _INT), ("_gap", _INT), ("kind", _INT), ("_gap2", _INT), ("value", _AnyValue)]


class ProfilerEvent(ctypes.Structure):
    """One line of the profiler."""

    _fields_ = [
        ("tag", _TEXT), ("kind", _INT), ("start_us", ctypes.c_uint64), ("elapsed_us", ctypes.c_uint64),
        ("memory", _SIZE * 6), ("metadata", ctypes.c_uint64 * 2), ("source", _INT),
    ]  # fmt: skip


_SIGNATURES = {
    "CreateEnvironment": [_INT, _OUT, _OUT],
    "GetNumAccelerators": [_HANDLE, _OUT],
    "GetAccelerator": [_HANDLE, _SIZE, _OUT],
    "GetAcceleratorHardwareSupport": [_HANDLE, _OUT],
    "CreateModelFromFile": [_HANDLE, _TEXT, _OUT],
    "CreateModelFromBuffer": [_HANDLE, _HANDLE, _SIZE, _OUT],
    "GetNumModelSignatures": [_HANDLE, _OUT],
    "GetMainModelSubgraphIndex": [_HANDLE, _OUT],
    "GetModelSubgraph": [_HANDLE, _SIZE, _OUT],
    "GetModelSignature": [_HANDLE, _SIZE, _OUT],
    "GetSignatureSubgraph": [_HANDLE, _OUT],
    "GetNumSignatureInputs": [_HANDLE, _OUT],
    "GetSignatureInputTensorByIndex": [_HANDLE, _SIZE, _OUT],
    "GetNumSignatureOutputs": [_HANDLE, _OUT],
    "GetSignatureOutputTensorByIndex": [_HANDLE, _SIZE, _OUT],
    "GetNumSubgraphInputs": [_HANDLE, _OUT],
    "GetSubgraphInput": [_HANDLE, _SIZE, _OUT],
    "GetNumSubgraphOutputs": [_HANDLE, _OUT],
    "GetSubgraphOutput": [_HANDLE, _SIZE, _OUT],
    "GetTensorName": [_HANDLE, _OUT],
    "GetRankedTensorType": [_HANDLE, _OUT],
    "CreateOptions": [_OUT],
    "SetOptionsHardwareAccelerators": [_HANDLE, _INT],
    "CreateOpaqueOptions": [_TEXT, _HANDLE, _HANDLE, _OUT],
    "AddOpaqueOptions": [_HANDLE, _HANDLE],
    "CreateCompiledModel": [_HANDLE, _HANDLE, _HANDLE, _OUT],
    "CompiledModelIsFullyAccelerated": [_HANDLE, _OUT],
    "CompiledModelIsNonCpuFullyAccelerated": [_HANDLE, _OUT],
    "CompiledModelResizeInputTensorNonStrict": [_HANDLE, _SIZE, _SIZE, _OUT, _SIZE],
    "GetCompiledModelInputBufferRequirements": [_HANDLE, _SIZE, _SIZE, _OUT],
    "GetCompiledModelOutputBufferRequirements": [_HANDLE, _SIZE, _SIZE, _OUT],
    "GetCompiledModelOutputTensorLayouts": [_HANDLE, _SIZE, _SIZE, _OUT, ctypes.c_bool],
    "CreateManagedTensorBufferFromRequirements": [_HANDLE, _OUT, _HANDLE, _OUT],
    "GetTensorBufferPackedSize": [_HANDLE, _OUT],
    "LockTensorBuffer": [_HANDLE, _OUT, _INT],
    "UnlockTensorBuffer": [_HANDLE],
    "RunCompiledModel": [_HANDLE, _SIZE, _SIZE, _OUT, _SIZE, _OUT],
    "CompiledModelGetProfiler": [_HANDLE, _OUT],
    "StartProfiler": [_HANDLE],
    "StopProfiler": [_HANDLE],
    "GetNumProfilerEvents": [_HANDLE, _OUT],
    "GetProfilerEvents": [_HANDLE, _INT, _OUT],
}
_DESTROYERS = ("Environment", "Model", "Options", "CompiledModel", "TensorBuffer")


class Library(object):
    """libLiteRt.so, opened and declared. `call` raises EngineFailed where a function answers with an
    error.
    """

    def __init__(self, path):
        try:
            self._lib = ctypes.CDLL(path)
        except OSError as error:
            raise CannotRun("engine-library", "cannot load %s: %s" % (path, error))
        if not hasattr(self._lib, _BROUGHT_BY_SERIES):
            text = "%s is not LiteRT %s: it lacks %s. Use the library that the release was built with."
            raise CannotRun("engine-version", text % (path, SERIES, _BROUGHT_BY_SERIES))
        self._functions = {}
        for name, arguments in _SIGNATURES.items():
            try:
                function = getattr(self._lib, "LiteRt" + name)
            except AttributeError:
                raise CannotRun(
                    "engine-version", "%s is not LiteRT %s: it lacks LiteRt%s" % (path, SERIES, name)
                )
            function.argtypes, function.restype = arguments, _INT
            self._functions[name] = function
        for name in _DESTROYERS:
            function = getattr(self._lib, "LiteRtDestroy" + name)
            function.argtypes, function.restype = [_HANDLE], None
        libc = ctypes.CDLL(None)
        self._strdup, self._free = libc.strdup, libc.free
        self._strdup.argtypes, self._strdup.restype = [_TEXT], _HANDLE

    def function(self, name):
        """Return the declared C function itself, for the hot path."""
        return self._functions[name]

    def call(self, name, *arguments):
        """Call LiteRt<name>; return nothing."""
        status = self._functions[name](*arguments)
        if status:
            raise EngineFailed("LiteRt%s: %s (status %d)" % (name, STATUS.get(status, "error"), status))

    def get(self, name, kind, *arguments):
        """Call LiteRt<name> with an output argument of ctypes type `kind` at the end; return what it
        wrote.
        """
        out = kind()
        self.call(name, *(arguments + (ctypes.byref(out),)))
        return out

    def handle(self, name, *arguments):
        """`get` for a handle: return its value."""
        return self.get(name, ctypes.c_void_p, *arguments).value

    def size(self, name, *arguments):
        """`get` for a count: return it."""
        return self.get(name, ctypes.c_size_t, *arguments).value

    def destroy(self, kind, handle):
        """Free a handle."""
        if handle:
            getattr(self._lib, "LiteRtDestroy" + kind)(handle)

    def add_text_options(self, options, identifier, text):
        """Attach "key = value" lines to compilation options. The library frees its copy with libc's free."""
        payload = self._strdup(text.encode("ascii"))
        deleter = ctypes.cast(self._free, ctypes.c_void_p)
        opaque = self.handle("CreateOpaqueOptions", identifier.encode("ascii"), payload, deleter)
        self.call("AddOpaqueOptions", options, opaque)
