"""The one interface of the inference engines, and the choice between them.

An engine offers: `inputs` and `outputs` (lists of TensorSpec, in the order of the model file), `run(list of
bytes) -> list of bytes`, `info()` -> {"name", "version", "delegate"}, `delegated()` -> (answer, text),
`delegated_here()`, `reset()` and `close()`. `reset` brings what the model keeps between runs back to its
beginning; `resets_by` says how: "variables" (at once) or "reload" (the model is loaded anew). `delegated`
answers True (the delegate took part), False (asked for, and it did not), "inapplicable" (it works here, but
has no kernel for any operation of this model) or "unknown". `delegated_here` answers the same for a service:
within this process, in milliseconds, without a profiler.
"""

from collections import namedtuple

from es_errors import CannotRun

TensorSpec = namedtuple("TensorSpec", "name dtype shape")


def load_engine(release, variant):
    """Return the engine of the release with the variant's model loaded; raises CannotRun."""
    name = release.engine["name"]
    if name == "litert":
        from es_litert import LiteRtEngine as engine
    elif name == "tflite_runtime":
        from es_tflite import TfliteEngine as engine
    else:
        raise CannotRun(
            "unknown-engine", "service.json: engine.name is %r; known: litert, tflite_runtime" % name
        )
    loaded = engine(release, variant)
    try:
        _check(variant, loaded)
    except CannotRun:
        loaded.close()
        raise
    return loaded


def _check(variant, engine):
    """Raise CannotRun where the loaded model is not what service.json says it is."""
    for side, found in (("inputs", engine.inputs), ("outputs", engine.outputs)):
        wanted = variant[side]
        if len(wanted) != len(found):
            text = "%s has %d %s; service.json says %d"
            raise CannotRun("model-mismatch", text % (variant["file"], len(found), side, len(wanted)))
        for spec, tensor in zip(wanted, found):
            inner = spec["tensor"]
            if inner["dtype"] != tensor.dtype or list(inner["shape"]) != list(tensor.shape):
                text = "%s: %s %r is %s %s; service.json says %s %s"
                seen = (tensor.dtype, list(tensor.shape), inner["dtype"], inner["shape"])
                raise CannotRun("model-mismatch", text % ((variant["file"], side[:-1], spec["name"]) + seen))
