"""One inference request of the Open Inference Protocol v2: JSON and binary tensor data in, the same out.

Binary: `Inference-Header-Content-Length` tells how long the JSON part of the body is; the tensors' bytes
follow in the order of the inputs that carry `binary_data_size`. Length 0 means: no JSON, the whole body is
the one input.
"""

import json
import struct

import es_batch
from es_coding import decompressed
from es_decode import classify
from es_errors import Refused
from es_json import parse_json
from es_sessions import sequence_of
from es_tensors import DATATYPES, count
from es_values import flat, packed, spelled, to_json


class Call(object):
    """A decoded request: id, samples [(data, datatype, shape)] in the model's order, how many runs of the
    model's batch they are, and the outputs wanted. `seconds`: what the engine took for it so far; `said`: what the
    answer's parameters tell beside the variant.
    """

    __slots__ = ("id", "samples", "runs", "wanted", "sequence", "seconds", "said")


def _split(request, most):
    """Return (JSON bytes or None, the binary part) of a body that holds `most` bytes once it is decompressed."""
    text = request.headers.get("inference-header-content-length")
    body = request.body
    if request.coding:
        body = decompressed(body, request.coding, most)
    if text is None:
        return body, b""
    if not (text.isdigit() and len(text) < 16) or int(text) > len(body):
        raise Refused(
            400, "Inference-Header-Content-Length %r does not fit a body of %d bytes" % (text[:40], len(body))
        )
    length = int(text)
    if length == 0:
        return None, body
    return body[:length], memoryview(body)[length:]


def decode(request, model):
    """Return the Call of an HTTP request; raises Refused (400, 413) with the reason."""
    return call_of(*opened(request, model.release.limits["body_bytes"]), model)


def opened(request, most):
    """Return (the body's JSON object or None for bare bytes, its binary part); raises Refused (400, 413)."""
    head, binary = _split(request, most)
    return None if head is None else parse_json(head), binary


def call_of(document, binary, model):
    """Return the Call of an opened body for a model; raises Refused (400, 413) with the reason."""
    call = Call()
    call.sequence = call.said = None
    call.seconds = 0.0
    if document is None:
        if len(model.encoders) != 1:
            raise Refused(
                400, "a body of bare bytes needs a model of one input; this one has %d" % len(model.encoders)
            )
        encoder = model.encoders[0]
        if -1 in encoder.shape:
            raise Refused(400, "a body of bare bytes cannot tell the shape; send a JSON header")
        call.runs = es_batch.runs_of_bytes(encoder, len(binary))
        shape = es_batch.widened(encoder.shape, call.runs)
        call.id, call.samples = None, [(binary, encoder.datatype, shape)]
        call.wanted = [(index, True, 0) for index in range(len(model.decoders))]
        es_batch.check_answer(call, model)
        return call
    call.id = document.get("id")
    if call.id is not None and not isinstance(call.id, str):
        raise Refused(400, "`id` must be a string")
    call.sequence = sequence_of(parameters_of(document), bool(model.states))
    found = _samples(document.get("inputs"), binary, model)
    call.samples = [sample for sample, _ in found]
    call.runs = es_batch.agreed(model.encoders, [runs for _, runs in found])
    call.wanted = _wanted(document, model)
    es_batch.check_answer(call, model)
    return call


def parameters_of(document):
    """Return the request's own parameters; raises Refused (400)."""
    return _parameters(document, "the request")


def _parameters(owner, where):
    found = owner.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refused(400, "%s: `parameters` must be an object" % where)
    return found


def _samples(inputs, binary, model):
    """Return [((data, datatype, shape), runs)], one an input."""
    if not isinstance(inputs, list):
        raise Refused(400, "`inputs` must be a list")
    by_name = {}
    offset = 0
    for item in inputs:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise Refused(400, "every input needs a `name`")
        name = item["name"]
        if name in by_name:
            raise Refused(400, "input %r stands twice" % name)
        size = _parameters(item, "input %r" % name).get("binary_data_size")
        data = None
        if size is not None:
            if not isinstance(size, int) or isinstance(size, bool) or size < 0 or offset + size > len(binary):
                text = "input %r: binary_data_size %s; %d bytes of binary data are left"
                raise Refused(400, text % (name, json.dumps(size)[:40], len(binary) - offset))
            data = binary[offset : offset + size]
            offset += size
        by_name[name] = (item, data)
    if offset != len(binary):
        raise Refused(400, "%d bytes of binary data belong to no input" % (len(binary) - offset))
    known = [encoder.name for encoder in model.encoders]
    for name in by_name:
        if name not in known:
            raise Refused(400, "unknown input %r; the model has: %s" % (name, ", ".join(known)))
    missing = [name for name in known if name not in by_name]
    if missing:
        raise Refused(400, "input %r is missing" % missing[0])
    return [_sample(encoder, *by_name[encoder.name]) for encoder in model.encoders]


def _sample(encoder, item, data):
    datatype, shape = item.get("datatype"), item.get("shape")
    if not isinstance(datatype, str) or not isinstance(shape, list):
        raise Refused(400, "input %r: needs `datatype` and `shape`" % encoder.name)
    if not set(map(type, shape)) <= {int}:
        raise Refused(400, "input %r: `shape` must be a list of whole numbers" % encoder.name)
    runs = es_batch.runs_of(encoder, datatype, shape)
    if data is not None:
        if "data" in item:
            raise Refused(400, "input %r: has both `data` and binary_data_size" % encoder.name)
        if len(data) != count(shape) * DATATYPES[datatype][2]:
            text = "input %r: binary_data_size %d; shape %s of %s needs %d"
            wanted = count(shape) * DATATYPES[datatype][2]
            raise Refused(400, text % (encoder.name, len(data), shape, datatype, wanted))
        return (data, datatype, shape), runs
    if isinstance(item.get("data"), bytes):
        return (item["data"], datatype, shape), runs
    if not isinstance(item.get("data"), list):
        raise Refused(400, "input %r: `data` must be a list (or give binary_data_size)" % encoder.name)
    values = flat(encoder.name, item["data"], shape)
    return (packed(encoder.name, values, DATATYPES[datatype][0]), datatype, shape), runs


def _wanted(document, model):
    """Return [(output's index, binary, classes)] in the order asked for."""
    binary_all = _flag(parameters_of(document), "binary_data_output")
    outputs = document.get("outputs")
    if outputs is None or outputs == []:  # To Triton a list of none means all, too.
        return [(index, binary_all, 0) for index in range(len(model.decoders))]
    if not isinstance(outputs, list):
        raise Refused(400, "`outputs` must be a list")
    names = [decoder.name for decoder in model.decoders]
    wanted = []
    for item in outputs:
        if not isinstance(item, dict) or item.get("name") not in names:
            name = item.get("name") if isinstance(item, dict) else item
            raise Refused(400, "unknown output %r; the model has: %s" % (name, ", ".join(names)))
        where = "output %r" % item["name"]
        parameters = _parameters(item, where)
        binary = _flag(parameters, "binary_data", binary_all)
        classes = parameters.get("classification", 0)
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
            raise Refused(400, "%s: `classification` must be a whole number" % where)
        wanted.append((names.index(item["name"]), binary, classes))
    return wanted


def _flag(parameters, name, default=False):
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refused(400, "`%s` must be true or false" % name)
    return value


def _counted(strings):
    """Return the binary form of BYTES: before each element its length, four bytes, little endian."""
    encoded = [text.encode("utf-8") for text in strings]
    return b"".join(struct.pack("<I", len(data)) + data for data in encoded)


def encode(call, tensors, model):
    """Return (header lines, body) for the engine's output tensors; raises Refused (500) for what JSON cannot
    say.
    """
    try:
        pieces, blobs = _spelled(call, tensors, model)
    except ValueError:
        raise Refused(
            500, "an output holds a value that is not finite, which JSON cannot say; ask for binary output"
        )
    if not blobs:
        return "Content-Type: application/json\r\n", b"".join(pieces)
    size = sum(map(len, pieces))
    lines = "Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n" % size
    return lines, b"".join(pieces + blobs)


def _spelled(call, tensors, model):
    """Return (pieces of the JSON part, binary parts); raises ValueError for what JSON cannot say."""
    document = {
        "model_name": model.release.app,
        "model_version": model.release.version,
        "parameters": {"variant": model.name},
    }
    if call.said:
        document["parameters"].update(call.said)
    if call.id is not None:
        document["id"] = call.id
    pieces, blobs = [_opened(document), b', "outputs": ['], []
    for number, (index, binary, classes) in enumerate(call.wanted):
        if number:
            pieces.append(b", ")
        decoder = model.decoders[index]
        if not binary and not classes:
            pieces.append(_begun(decoder, call.runs))
            pieces += spelled(decoder, tensors[index])
            pieces.append(b"]}")
            continue
        data = decoder.decode(tensors[index])
        shape = decoder.shape
        entry = {"name": decoder.name, "datatype": decoder.datatype}
        if classes:
            names = decoder.named_by(model.release.labels)
            data, shape = classify(decoder.numbers(data), shape, classes, names)
            entry["datatype"] = "BYTES"
            data = _counted(data) if binary else data
        entry["shape"] = es_batch.widened(shape, call.runs)
        if binary:
            entry["parameters"] = {"binary_data_size": len(data)}
            blobs.append(data)
        else:
            entry["data"] = data
        pieces.append(_opened(entry) + b"}")
    pieces.append(b"]}")
    return pieces, blobs


def _opened(document):
    """Return the JSON of an object without its closing brace."""
    return to_json(document)[:-1].encode("utf-8")


def _begun(decoder, runs):
    """Return the JSON of an output up to its numbers; that of one run is the same each time."""
    if decoder.opened is None or runs != 1:
        shape = es_batch.widened(decoder.shape, runs)
        entry = {"name": decoder.name, "datatype": decoder.datatype, "shape": shape}
        opened = _opened(entry) + b', "data": ['
        if runs != 1:
            return opened
        decoder.opened = opened
    return decoder.opened
