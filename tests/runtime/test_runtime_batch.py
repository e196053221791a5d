"""Requests that hold more samples than the model's batch: run one after another, answered as one, within limits."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

import pytest
from island_lab import MakeRelease, Reply, Serve, Service, http

INFER = "/v2/models/app/infer"
BARE = "Inference-Header-Content-Length: 0"
ROWS = [[1.0, -2.0, 0.5, 3.0, 0.0, -1.5], [0.5, 0.5, -1.0, 2.0, 1.0, 0.0], [-3.0, 1.0, 1.0, 0.0, 2.0, 0.25]]


def dense(rows: list[list[float]], **changes: Any) -> dict[str, Any]:
    """Return a JSON request of some samples."""
    entry = {"name": "x", "datatype": "FP32", "shape": [len(rows), 6], "data": [v for r in rows for v in r]}
    return {"inputs": [entry], **changes}


def packed(rows: list[list[float]]) -> bytes:
    return b"".join(struct.pack("<6f", *row) for row in rows)


def blob(reply: Reply) -> bytes:
    """Return what follows the JSON of a binary answer."""
    return reply.body[int(reply.headers["inference-header-content-length"]) :]


def test_three_samples_are_answered_as_one_and_each_as_if_alone(dense_service: Service) -> None:
    before = dense_service.metric("edgeship_inference_seconds_count")
    requests = dense_service.metric("edgeship_request_seconds_count")
    answer = dense_service.infer(dense(ROWS))
    assert answer.status == 200, answer.body
    assert dense_service.metric("edgeship_inference_seconds_count") == before + 3
    assert dense_service.metric("edgeship_request_seconds_count") == requests + 1
    alone = [dense_service.infer(dense([row])).json["outputs"][0]["data"] for row in ROWS]
    output = answer.json["outputs"][0]
    assert output["shape"] == [3, 3] and output["data"] == [v for one in alone for v in one]
    assert len({tuple(one) for one in alone}) == 3

    bare = dense_service.ask("POST", INFER, packed(ROWS), BARE)
    assert blob(bare) == struct.pack("<9f", *output["data"])
    head = dense(ROWS, parameters={"binary_data_output": True})
    assert blob(dense_service.infer(head)) == blob(bare)


def test_int8_samples_are_split_where_they_end(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("image"))
    pixels = [(7 * i) % 256 for i in range(3 * 48)]
    inputs = [{"name": "x", "datatype": "UINT8", "shape": [3, 4, 4, 3], "data": pixels}]
    for datatype in ("UINT8", "FP32"):
        inputs[0]["datatype"] = datatype
        output = service.infer({"inputs": inputs}).json["outputs"][0]
        assert output["shape"] == [3, 4, 4, 3] and output["data"] == [p - 128.0 for p in pixels]


def test_a_request_of_many_samples_leaves_the_loop_free(release: MakeRelease, serve: Serve) -> None:
    """Quick models are asked by the loop itself; a request of thousands of samples must not hold it up."""
    service = serve(release())
    assert service.ask("POST", INFER, packed(ROWS[:1]), BARE).status == 200
    wire = service.wire(60).send(http("POST", INFER, packed(ROWS) * 800, BARE))
    begun = time.monotonic()
    assert service.ask("GET", "/v2/health/live").status == 200
    quick = time.monotonic() - begun
    reply = wire.reply()
    assert reply.status == 200 and len(blob(reply)) == 3 * 800 * 12
    assert quick < max(0.5, (time.monotonic() - begun) / 2)


def test_the_models_own_batch_is_kept(release: MakeRelease, serve: Serve) -> None:
    """A model of batch 2: multiples of two are served, anything else is refused in words."""
    service = serve(release("pairs"))

    def ask(count: int) -> Reply:
        data = [float(v) for v in range(count * 3)]
        entry = {"name": "x", "datatype": "FP32", "shape": [count, 3], "data": data}
        return service.infer({"inputs": [entry]})

    for count in (2, 4, 6):
        answer = ask(count)
        # Each pair is added up with itself swapped, so that a sample taken from another pair would show.
        rows = [[3.0 * n + c for c in range(3)] for n in range(count)]
        wanted = [a + b for n, row in enumerate(rows) for a, b in zip(row, rows[n ^ 1], strict=True)]
        assert answer.json["outputs"][0]["shape"] == [count, 3], answer.json
        assert answer.json["outputs"][0]["data"] == wanted
    for count in (1, 3, 5):
        answer = ask(count)
        assert answer.status == 400
        assert answer.json["error"] == (
            f"input 'x': {count} samples; the model computes 2 at a time, so send a multiple of 2"
        )
    assert ask(0).status == 400


def two(a: int, b: int) -> dict[str, Any]:
    """Return a request of `a` and `b` samples for the model of two inputs."""
    return {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [a, 2, 3], "data": [float(v) for v in range(a * 6)]},
            {"name": "b", "datatype": "FP32", "shape": [b, 3], "data": [10.0 * v for v in range(b * 3)]},
        ]
    }


def test_several_inputs_go_together_and_must_agree(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("several"))
    outputs = {o["name"]: o for o in service.infer(two(2, 2)).json["outputs"]}
    assert outputs["twice"]["shape"] == [2, 3] and outputs["twice"]["data"] == [20.0 * v for v in range(6)]
    wanted = [v + 10.0 * (v % 3 + 3 * (v // 6)) for v in range(12)]
    assert outputs["total"]["shape"] == [2, 2, 3] and outputs["total"]["data"] == wanted
    refused = service.infer(two(2, 3))
    assert refused.status == 400
    assert refused.json["error"] == "the inputs must hold equally many samples: 'b' holds 3, 'a' holds 2"


def test_answers_that_cannot_be_joined_are_refused(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("whole"))
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}
    assert service.infer({"inputs": [entry]}).json["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]
    entry.update(shape=[2, 4], data=[1.0] * 8)
    refused = service.infer({"inputs": [entry]})
    assert refused.status == 400
    assert refused.json["error"] == "output 'y' of shape [4] has no batch axis: send one sample a request"


def test_time_and_size_bound_a_request_of_several_samples(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("slow", limits={"request_seconds": 0.4, "body_bytes": 2000}))
    one = struct.pack("<f", 0.0)
    late = service.wire(60).send(http("POST", INFER, one * 40, BARE)).reply()
    assert late.status == 413 and " of 40 samples were computed within 0.4 s" in late.json["error"]
    done = int(late.json["error"].split(" ")[0])
    assert 1 <= done < 40
    inputs = [{"name": "x", "datatype": "FP32", "shape": [100, 1], "parameters": {"binary_data_size": 400}}]
    head = json.dumps({"inputs": inputs}).encode()
    large = service.ask("POST", INFER, head + one * 100, f"Inference-Header-Content-Length: {len(head)}")
    assert large.status == 413 and "up to 2600 bytes; at most 2000 are sent" in large.json["error"]


def test_a_failure_of_one_run_is_the_answer_to_all(release: MakeRelease, serve: Serve) -> None:
    service = serve(release())
    rows = [*ROWS, [1.0, 2.0, float("nan"), 0.0, 0.0, 0.0]]
    refused = service.ask("POST", INFER, packed(rows), BARE)
    assert refused.status == 400 and "not finite" in refused.json["error"]
    assert service.ask("POST", INFER, packed(ROWS), BARE).status == 200


@pytest.mark.parametrize("extra", [4, 23])
def test_bare_bytes_that_are_no_whole_samples_are_refused(dense_service: Service, extra: int) -> None:
    refused = dense_service.ask("POST", INFER, packed(ROWS) + bytes(extra), BARE)
    assert refused.status == 400 and "bytes of data" in refused.json["error"]


def elements(data: bytes) -> list[str]:
    """Return the elements of BYTES in binary: each behind its length, four bytes, little endian."""
    found = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        found.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return found


@pytest.mark.parametrize("everywhere", [False, True])
def test_classification_in_binary_is_bytes_with_lengths(dense_service: Service, everywhere: bool) -> None:
    wanted = {"name": "y", "parameters": {"classification": 2}}
    plain = dense_service.infer(dense(ROWS, outputs=[wanted])).json["outputs"][0]
    if not everywhere:
        wanted = {"name": "y", "parameters": {"classification": 2, "binary_data": True}}
    parameters = {"binary_data_output": True} if everywhere else {}
    reply = dense_service.infer(dense(ROWS, outputs=[wanted], parameters=parameters))
    assert reply.status == 200, reply.body
    length = int(reply.headers["inference-header-content-length"])
    output = json.loads(reply.body[:length])["outputs"][0]
    assert output == {
        "name": "y",
        "datatype": "BYTES",
        "shape": [3, 2],
        "parameters": {"binary_data_size": len(reply.body) - length},
    }
    assert plain["shape"] == [3, 2] and len(plain["data"]) == 6
    assert elements(reply.body[length:]) == plain["data"]
