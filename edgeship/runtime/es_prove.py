"""`prove` and `record`: golden vectors on the engine of this device, or through the live service."""

import binascii
import json
import os
import resource
import time

from es_batch import JSON_NUMBER
from es_client import Client
from es_decode import OutputDecoder
from es_encode import InputEncoder
from es_errors import CannotRun, EngineFailed, Refused
from es_golden import (
    GOLDEN_SCHEMA,
    Tally,
    Verdict,
    compare,
    continues,
    load_golden,
    same_triple,
    tolerance_of,
    vectors,
)
from es_metrics import percentile
from es_model import Model, raw_shape
from es_tensors import DATATYPES, pack, unpack
from es_values import same_numbers

PROVE_SCHEMA = "edgeship.prove/1"
# Enough repetitions for a 95th percentile, and a bound for models that need seconds.
_TIMED_RUNS, _TIMED_SECONDS = 40, 2.0
# As JSON a large tensor takes the service ten times its memory, and proves nothing that a small one does not.
_JSON_BYTES = 8 << 20
_PATIENCE_MS = 3600e3


def peak_rss_mb():
    """Return the largest resident memory of this process so far, in MB (2**20 bytes)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, 1)


def _latency(cold, times):
    times = sorted(times)
    return {
        "cold": round(cold, 4),
        "p50": round(percentile(times, 0.5), 4) if times else {"unavailable": "no run succeeded"},
        "p95": round(percentile(times, 0.95), 4) if times else {"unavailable": "no run succeeded"},
    }


def prove(release, name):
    """Return the edgeship.prove/1 document of golden vectors run on the engine."""
    variant = release.variant(name)
    golden = load_golden(release, variant)
    model = Model(release, variant["name"])
    try:
        info = model.engine.info()
        exact = same_triple(golden, info)
        cold = model.warm_up(1)[0]
        tally, times, tensors = Tally(), [], None
        for (raw, expected), goes_on in zip(vectors(golden, variant), continues(golden)):
            tensors = _encoded(model, raw, tally.vectors)
            if not goes_on:
                model.fresh()
            begun = time.perf_counter()
            got = model.engine.run(tensors)
            times.append((time.perf_counter() - begun) * 1e3)
            tally.add(_verdicts(variant, golden, expected, got, exact))
        until = time.perf_counter() + _TIMED_SECONDS
        while len(times) < _TIMED_RUNS and time.perf_counter() < until:
            model.fresh()
            begun = time.perf_counter()
            model.engine.run(tensors)
            times.append((time.perf_counter() - begun) * 1e3)
        peak = peak_rss_mb()
        delegated, how = model.engine.delegated()
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))
    finally:
        model.close()
    return {
        "schema": PROVE_SCHEMA,
        "release": release.id,
        "variant": variant["name"],
        "vectors": tally.vectors,
        "failed": tally.failed,
        "worst": tally.worst(),
        "exact": tally.exact,
        "exact_required": exact,
        "engine": dict(info, delegated=delegated, detail=how),
        "load_ms": round(model.load_ms, 3),
        "latency_ms": _latency(cold, times),
        "peak_rss_mb": peak,
        "reason": _reason(tally, info, delegated, how),
    }


def _encoded(model, raw, number):
    try:
        return model.encode_raw(raw)
    except Refused as error:
        raise CannotRun("bad-golden-file", "vector %d: %s" % (number, error.reason))


def _verdicts(variant, golden, expected, got, exact):
    for index, (spec, theirs, ours) in enumerate(zip(variant["outputs"], expected, got)):
        yield spec["name"], compare(theirs, ours, spec["tensor"], tolerance_of(golden, index), exact)


def _reason(tally, info, delegated=None, how=""):
    reasons = []
    if tally.failed:
        reasons.append(
            "%d of %d golden vectors failed; first: %s" % (tally.failed, tally.vectors, tally.text)
        )
    if delegated is False:
        reasons.append("the delegate %s took no part: %s" % (info["delegate"], how))
    return "; ".join(reasons)


def record(release, name, inputs_path):
    """Return an edgeship.golden/1 document (without tolerance) for the inputs in a file."""
    variant = release.variant(name)
    try:
        with open(inputs_path, "rb") as stream:
            document = json.loads(stream.read().decode("utf-8"))
    except OSError as error:
        raise CannotRun("inputs-missing", "%s: %s" % (inputs_path, error.strerror or error))
    except ValueError as error:
        raise CannotRun("bad-inputs-file", "%s: %s" % (inputs_path, error))
    if not isinstance(document, dict) or not isinstance(document.get("vectors"), list):
        raise CannotRun("bad-inputs-file", "%s: `vectors` is missing" % inputs_path)
    model = Model(release, variant["name"])
    try:
        info = model.engine.info()
        recorded = []
        for (raw, _), goes_on in zip(vectors(document, variant, outputs=False), continues(document)):
            if not goes_on:
                model.fresh()
            outputs = model.engine.run(_encoded(model, raw, len(recorded)))
            vector = {"inputs": [_base64(d) for d in raw], "outputs": [_base64(d) for d in outputs]}
            recorded.append(dict(vector, continues=True) if goes_on else vector)
        delegated, _ = model.engine.delegated()
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))
    finally:
        model.close()
    machine = os.uname().machine
    made = {"engine": info["name"], "version": info["version"], "delegate": info["delegate"]}
    made.update(machine=machine, delegated=delegated)
    named = {"name": variant["name"], "recipe": variant["recipe"]}
    return dict(named, schema=GOLDEN_SCHEMA, recorded_with=made, vectors=recorded)


def _base64(data):
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def prove_live(release, name, url):
    """Return the edgeship.prove/1 document of golden vectors sent to the running service, in binary and once
    as JSON, unless that would be large.
    """
    variant = release.variant(name)
    golden = load_golden(release, variant)
    live = _Live(release, variant, Client(url, release.limits["request_seconds"] + 5.0))
    wrong = live.identity()
    tally, times = Tally(), []
    if not wrong:
        exact = same_triple(golden, release.engine_triple())
        sequences = sequences_of(continues(golden), release.id)
        for (raw, expected), sequence in zip(vectors(golden, variant), sequences):
            begun = time.perf_counter()
            got, text = live.infer(raw, sequence)
            times.append((time.perf_counter() - begun) * 1e3)
            if not text and tally.vectors == 0:
                text = live.json_agrees(raw, got)
            if text:
                tally.add([("", Verdict(False, None, None, None, text))])
            else:
                tally.add(_verdicts(variant, golden, expected, live.stored(got), exact))
    info = release.engine_triple()
    delegated, how = live.delegated() if not wrong else ("unknown", "it was not asked")
    live.client.close()
    reason = wrong or _reason(tally, info, delegated, how)
    return {
        "schema": PROVE_SCHEMA,
        "release": release.id,
        "variant": variant["name"],
        "live": url,
        "vectors": tally.vectors,
        "failed": tally.failed,
        "worst": tally.worst(),
        "exact": tally.exact and not wrong,
        "json_agrees": live.as_json,
        "engine": dict(info, delegated=delegated, detail=how),
        "latency_ms": _latency(times[0] if times else 0.0, times) if times else {"unavailable": "not asked"},
        "peak_rss_mb": {"unavailable": "the service is another process; see its /metrics"},
        "reason": reason,
    }


def _said(body):
    """Return the words of a refusal."""
    try:
        return str(json.loads(body.decode("utf-8"))["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")


def _json_bytes(datatype, data):
    """Return the most bytes that the numbers in `data` take as JSON."""
    return len(data) // DATATYPES[datatype][2] * JSON_NUMBER


def sequences_of(goes_on, release_id):
    """Return the request parameters of each vector: those that go on from the one before share a session with it."""
    found = []
    for index, inside in enumerate(goes_on):
        more = goes_on[index + 1 : index + 2] == [True]
        if not inside and not more:
            found.append({})
            continue
        name = "edgeship-prove-%s-%d" % ((release_id or "")[:12], os.getpid())
        found.append({"sequence_id": name, "sequence_start": not inside, "sequence_end": not more})
    return found


class _Live(object):
    """The running service as the golden vectors see it."""

    def __init__(self, release, variant, client):
        self.release, self.variant, self.client = release, variant, client
        self.encoders = [InputEncoder(spec) for spec in variant["inputs"]]
        self.decoders = [OutputDecoder(spec) for spec in variant["outputs"]]
        self.path = "/v2/models/%s/versions/%s" % (release.app, release.version)
        self.as_json = {"unavailable": "it was not asked"}
        # A governor would answer with whatever suits the moment, or not at all: this very variant is to be proven.
        governed = isinstance(release.service.get("governor"), dict)
        self.pinned = {"variant": variant["name"], "deadline_ms": _PATIENCE_MS} if governed else {}

    def identity(self):
        """Return "" where the service is ready and is this release, or what is wrong."""
        status, headers, body = self.client.ask("GET", self.path + "/ready")
        seen = headers.get("Edgeship-Release")
        if seen != self.release.id:
            return "the service runs release %s; expected %s" % (seen, self.release.id)
        if status != 200:
            return "the service is not ready: %d %s" % (status, _said(body))
        return ""

    def delegated(self):
        """Return (answer, how it is known) as the running service tells: the one that serves must not have
        fallen back.
        """
        status, _, body = self.client.ask("GET", self.path)
        if status != 200:
            return "unknown", "the service answered %d" % status
        told = json.loads(body.decode("utf-8"))["parameters"]
        return told.get("delegated", "unknown"), "in the service: %s" % told.get("detail", "it does not tell")

    def infer(self, raw, sequence):
        """Return ([decoded output bytes], "") or (None, what went wrong), asked in binary.

        `sequence`: the request's parameters that name a session; empty for none.
        """
        inputs = []
        for encoder, data in zip(self.encoders, raw):
            entry = {
                "name": encoder.name,
                "datatype": encoder.datatype,
                "shape": raw_shape(encoder, len(data)),
            }
            inputs.append(dict(entry, parameters={"binary_data_size": len(data)}))
        parameters = dict(sequence, binary_data_output=True, **self.pinned)
        head = json.dumps({"inputs": inputs, "parameters": parameters}).encode("utf-8")
        headers = {
            "Inference-Header-Content-Length": str(len(head)),
            "Content-Type": "application/octet-stream",
        }
        status, headers, body = self.client.ask("POST", self.path + "/infer", b"".join([head] + raw), headers)
        document, text = self._document(status, headers, body)
        if text:
            return None, text
        offset = int(headers["Inference-Header-Content-Length"])
        blobs = []
        for output in document["outputs"]:
            size = output["parameters"]["binary_data_size"]
            blobs.append(body[offset : offset + size])
            offset += size
        return blobs, ""

    def _document(self, status, headers, body):
        if status != 200:
            return None, "the service answered %d: %s" % (status, _said(body))
        length = int(headers.get("Inference-Header-Content-Length", len(body)))
        document = json.loads(body[:length].decode("utf-8"))
        seen = document["parameters"]["variant"]
        if seen != self.variant["name"] or headers.get("Edgeship-Release") != self.release.id:
            return None, "the service answered as variant %s of release %s" % (
                seen,
                headers.get("Edgeship-Release"),
            )
        return document, ""

    def json_agrees(self, raw, blobs):
        """Return "" where the same sample as JSON gives the same numbers, or is not asked for; `as_json` tells."""
        sides = (self.encoders, raw), (self.decoders, blobs)
        largest = max(sum(_json_bytes(c.datatype, d) for c, d in zip(*side)) for side in sides)
        if largest > _JSON_BYTES:
            text = "as JSON one sample may take %d bytes; compared up to %d"
            self.as_json = {"unavailable": text % (largest, _JSON_BYTES)}
            return ""
        inputs = []
        for encoder, data in zip(self.encoders, raw):
            values = list(unpack(data, encoder.raw_dtype))
            values = [bool(v) for v in values] if encoder.datatype == "BOOL" else values
            entry = {
                "name": encoder.name,
                "datatype": encoder.datatype,
                "shape": raw_shape(encoder, len(data)),
            }
            inputs.append(dict(entry, data=values))
        document = dict({"inputs": inputs}, **({"parameters": self.pinned} if self.pinned else {}))
        body = json.dumps(document).encode("utf-8")
        if len(body) > self.release.limits["body_bytes"]:
            text = "limits.body_bytes %d keeps this sample as JSON out, %d bytes"
            self.as_json = {"unavailable": text % (self.release.limits["body_bytes"], len(body))}
            return ""
        status, headers, body = self.client.ask("POST", self.path + "/infer", body)
        document, text = self._document(status, headers, body)
        if text:
            return "as JSON: " + text
        for decoder, output, blob in zip(self.decoders, document["outputs"], blobs):
            if not same_numbers(decoder, output["data"], blob):
                return "output %r differs between JSON and binary" % decoder.name
        self.as_json = True
        return ""

    def stored(self, blobs):
        """Return the tensors' bytes that the decoded answers came from, so that both proofs compare the same
        way.
        """
        tensors = []
        for decoder, blob in zip(self.decoders, blobs):
            if decoder.scale is None:
                values = unpack(blob, decoder.out_dtype)
                tensors.append(
                    blob
                    if decoder.dtype == decoder.out_dtype
                    else pack([round(v) for v in values], decoder.dtype)
                )
            else:
                values = unpack(blob, decoder.out_dtype)
                stored = [round(v / decoder.scale) + decoder.zero_point for v in values]
                tensors.append(pack(stored, decoder.dtype))
        return tensors
