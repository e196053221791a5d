"""A loaded variant: raw samples in, decoded outputs out, with the engine, the encoders and the decoders in
between.
"""

import time

from es_decode import OutputDecoder
from es_encode import InputEncoder
from es_engine import load_engine
from es_errors import Refused
from es_tensors import DTYPES, count


class Model(object):
    """One variant of a release, ready to compute. Used by one thread at a time."""

    def __init__(self, release, name=None):
        self.release = release
        self.spec = release.variant(name)
        self.name = self.spec["name"]
        self.encoders = [InputEncoder(spec) for spec in self.spec["inputs"]]
        self.decoders = [OutputDecoder(spec) for spec in self.spec["outputs"]]
        self.states = self.spec.get("state") or []
        self._used = False
        begun = time.perf_counter()
        self.engine = load_engine(release, self.spec)
        self.load_ms = (time.perf_counter() - begun) * 1e3

    def fresh(self):
        """Bring what the model keeps between runs back to its beginning; free for a model that keeps nothing."""
        if self.states and self._used:
            self.engine.reset()
        self._used = True

    def run(self, tensors):
        """Return the engine's outputs from a fresh state."""
        self.fresh()
        return self.engine.run(tensors)

    def zeros(self):
        """Return the input tensors' bytes of real zeros: what every table that the model looks up has a row for."""
        return [e.zeros() for e in self.encoders]

    def warm_up(self, runs):
        """Run the engine on zeros; return the milliseconds of each run. The first one is what a cold start
        costs.
        """
        inputs = self.zeros()
        times = []
        for _ in range(runs):
            self.fresh()
            begun = time.perf_counter()
            self.engine.run(inputs)
            times.append((time.perf_counter() - begun) * 1e3)
        return times

    def encode(self, samples):
        """Return tensors' bytes for [(data, datatype, shape)], one an input; raises Refused (400)."""
        tensors = []
        for encoder, (data, datatype, shape) in zip(self.encoders, samples):
            try:
                tensors.append(encoder.encode(data, datatype, shape))
            except (OverflowError, ValueError) as error:
                raise Refused(400, "input %r: %s" % (encoder.name, error))
        return tensors

    def encode_raw(self, datas):
        """Return tensors' bytes for raw inputs of the declared datatypes, with open sizes found from the
        length.
        """
        samples = []
        for encoder, data in zip(self.encoders, datas):
            samples.append((data, encoder.datatype, raw_shape(encoder, len(data))))
        return self.encode(samples)

    def close(self):
        """Free the engine."""
        self.engine.close()


def raw_shape(encoder, length):
    """Return the shape of `length` bytes of raw input; one open size can be found, two only where they are
    equal.
    """
    shape = list(encoder.shape)
    opened = [axis for axis, size in enumerate(shape) if size == -1]
    if not opened:
        return shape
    width = DTYPES[encoder.raw_dtype][2]
    rest = length // (width * count([size for size in shape if size != -1]))
    side = rest if len(opened) == 1 else int(round(rest**0.5))
    for axis in opened:
        shape[axis] = side
    return shape
