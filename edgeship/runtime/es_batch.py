"""More samples in one request than the model's batch: cut into runs of that batch, and joined to one answer.

The first axis counts samples. A request holds a whole multiple of the model's own batch, the same one for
every input; each run is an inference of its own, so that what a sample gets does not depend on what came with
it in the request.
"""

from es_errors import Refused
from es_tensors import DATATYPES, DTYPES, count

# The longest text of a double, and what stands between two of them: a bound for what JSON makes of a number.
JSON_NUMBER = 26


def runs_of(encoder, datatype, shape):
    """Return how many runs of the model's batch a client's `shape` holds; raises Refused (400) for what does
    not fit.
    """
    if encoder.is_own(datatype, shape):
        return 1
    inside = len(shape) == len(encoder.shape) and all(
        size == wanted or (wanted == -1 and size > 0) for size, wanted in zip(shape[1:], encoder.shape[1:])
    )
    batch = encoder.shape[0] if encoder.shape else 0
    if not inside or batch < 1 or shape[0] < 1 or shape[0] == batch:
        encoder.check(datatype, shape)
        return 1
    if shape[0] % batch:
        text = "input %r: %d samples; the model computes %d at a time, so send a multiple of %d"
        raise Refused(400, text % (encoder.name, shape[0], batch, batch))
    encoder.check(datatype, [batch] + shape[1:])
    return shape[0] // batch


def runs_of_bytes(encoder, length):
    """Return how many runs `length` bare bytes of one input make; 1 where they make no whole number of them."""
    size = count(encoder.shape) * DTYPES[encoder.raw_dtype][2]
    return length // size if encoder.shape and length and length % size == 0 else 1


def agreed(encoders, runs):
    """Return the number of runs that all inputs agree on; raises Refused (400) where they do not."""
    if len(set(runs)) == 1:
        return runs[0]
    told = ("%r holds %d" % (e.name, number * e.shape[0]) for e, number in zip(encoders, runs) if e.shape)
    raise Refused(400, "the inputs must hold equally many samples: %s" % ", ".join(told))


def check_answer(call, model):
    """Raise Refused unless the answers to all runs can be joined (400) and stay within the limit (413)."""
    if call.runs == 1:
        return
    batch = model.encoders[0].shape[0]
    for encoder in model.encoders:
        if encoder.shape[0] != batch:
            text = "input %r has no batch axis in common with %r: send one sample a request"
            raise Refused(400, text % (encoder.name, model.encoders[0].name))
    for index, _, _ in call.wanted:
        decoder = model.decoders[index]
        if not decoder.shape or decoder.shape[0] != batch:
            text = "output %r of shape %s has no batch axis: send one sample a request"
            raise Refused(400, text % (decoder.name, decoder.shape))
    size = answer_bytes(call, model)
    most = model.release.limits["body_bytes"]
    if size > most:
        text = "the answer to %d samples takes up to %d bytes; at most %d are sent: send fewer at a time"
        raise Refused(413, text % (call.runs * batch, size, most))


def answer_bytes(call, model):
    """Return the most bytes that the outputs wanted take in the answer."""
    size = 0
    for index, binary, _ in call.wanted:
        decoder = model.decoders[index]
        size += count(decoder.shape) * (DATATYPES[decoder.datatype][2] if binary else JSON_NUMBER)
    return size * call.runs


def parts(samples, runs):
    """Yield the samples [(data, datatype, shape)] of each run."""
    if runs == 1:
        yield samples
        return
    for number in range(runs):
        part = []
        for data, datatype, shape in samples:
            size = len(data) // runs
            one = data[number * size : (number + 1) * size]
            part.append((one, datatype, [shape[0] // runs] + shape[1:]))
        yield part


def widened(shape, runs):
    """Return the shape of `runs` answers of `shape` joined along the first axis."""
    return shape if runs == 1 else [shape[0] * runs] + list(shape[1:])


def picked(samples, runs, numbers):
    """Return the samples of some of the runs, one after another."""
    found = []
    for data, datatype, shape in samples:
        size = len(data) // runs
        pieces = [bytes(data[number * size : (number + 1) * size]) for number in numbers]
        found.append((b"".join(pieces), datatype, [shape[0] // runs * len(numbers)] + list(shape[1:])))
    return found


def first(call, runs):
    """Cut a Call down to its first `runs` runs."""
    cut = []
    for data, datatype, shape in call.samples:
        size = len(data) // call.runs
        cut.append((data[: size * runs], datatype, [shape[0] // call.runs * runs] + list(shape[1:])))
    call.samples, call.runs = cut, runs
