"""The live service: the Open Inference Protocol v2 in JSON and binary, health, metadata and metrics."""

from __future__ import annotations

import json
import re
import struct
import time
from typing import Any

import pytest
from es_budget import Budget
from es_release import sha256
from island_lab import MakeRelease, Serve, Service, http, tensor

X = [1.0, -2.0, 0.5, 3.0, 0.0, -1.5]
RAW = struct.pack("<6f", *X)
INFER = "/v2/models/app/infer"

SEVERAL_WIDTHS = [tensor("twice", [1, 3]), tensor("total", [1, 2, 3], raw_shape=[1, 3, 2])]


def document(**changes: Any) -> dict[str, Any]:
    """Return a good request."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": X}], **changes}


def binary(head: dict[str, Any], *blobs: bytes) -> bytes:
    """Return a good binary request."""
    text = json.dumps(head).encode()
    return http("POST", INFER, text + b"".join(blobs), f"Inference-Header-Content-Length: {len(text)}")


def test_health_and_metadata(dense_service: Service) -> None:
    assert dense_service.ask("GET", "/v2").json["extensions"] == ["binary_tensor_data", "classification"]
    assert dense_service.ask("GET", "/v2/health/live").json == {"live": True}
    assert dense_service.ask("GET", "/v2/health/ready").json == {"ready": True}
    for base in ("/v2/models/app", "/v2/models/app/versions/7"):
        model = dense_service.ask("GET", base).json
        assert model["name"] == "app" and model["versions"] == ["7"]
        assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, 6]}]
        assert model["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 3]}]
        assert dense_service.ask("GET", base + "/ready").json == {"name": "app", "ready": True}


def test_every_answer_names_the_release(dense_service: Service) -> None:
    expected = sha256((dense_service.release.path / "manifest.json").read_bytes())
    for path in ("/v2", "/nowhere", "/metrics"):
        assert dense_service.ask("GET", path).headers["edgeship-release"] == expected
    assert dense_service.facts["release"] == expected
    assert set(dense_service.facts) == {"url", "pid", "release", "app", "variant"}


def test_json_and_binary_agree_and_the_id_comes_back(dense_service: Service) -> None:
    answer = dense_service.infer(document(id="abc-1"))
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert answer.json["id"] == "abc-1"
    assert answer.json["parameters"] == {"variant": "r"}
    assert answer.json["model_name"] == "app" and answer.json["model_version"] == "7"
    output = answer.json["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "FP32", [1, 3])

    head = document(parameters={"binary_data_output": True})
    head["inputs"] = [
        {"name": "x", "datatype": "FP32", "shape": [1, 6], "parameters": {"binary_data_size": 24}}
    ]
    reply = dense_service.wire().send(binary(head, RAW)).reply()
    length = int(reply.headers["inference-header-content-length"])
    assert json.loads(reply.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert reply.body[length:] == struct.pack("<3f", *output["data"])

    bare = dense_service.ask("POST", INFER, RAW, "Inference-Header-Content-Length: 0")
    assert bare.body[int(bare.headers["inference-header-content-length"]) :] == reply.body[length:]


def test_nested_data_is_flattened_and_mixed_outputs_work(dense_service: Service) -> None:
    nested = document()
    nested["inputs"][0]["data"] = [X]
    assert dense_service.infer(nested).json["outputs"] == dense_service.infer(document()).json["outputs"]
    wanted = document(outputs=[{"name": "y", "parameters": {"binary_data": True}}, {"name": "y"}])
    reply = dense_service.infer(wanted)
    head = json.loads(reply.body[: int(reply.headers["inference-header-content-length"])])
    assert [set(output) & {"data", "parameters"} for output in head["outputs"]] == [{"parameters"}, {"data"}]


def test_classification_gives_labels_highest_first(dense_service: Service) -> None:
    numbers = dense_service.infer(document()).json["outputs"][0]["data"]
    wanted = document(outputs=[{"name": "y", "parameters": {"classification": 2}}])
    output = dense_service.infer(wanted).json["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    order = sorted(range(3), key=lambda i: -numbers[i])
    labels = ["up", "down", "sideways"]
    assert [text.split(":")[1:] for text in output["data"]] == [[str(i), labels[i]] for i in order[:2]]


def test_a_list_of_no_outputs_means_all_of_them(dense_service: Service) -> None:
    assert dense_service.infer(document(outputs=[])).json == dense_service.infer(document()).json


@pytest.mark.parametrize("path", ["/v2/models/%61pp/infer", INFER + "/"])
def test_inference_is_found_as_other_paths_are(dense_service: Service, path: str) -> None:
    assert dense_service.ask("POST", path, json.dumps(document()).encode()).status == 200


def test_an_old_client_that_keeps_its_connection_is_told_so(dense_service: Service) -> None:
    """HTTP/1.0 reads an answer to the end of the connection unless it is told that there is none (`ab -k`)."""
    wire = dense_service.wire()
    for _ in range(2):
        reply = wire.send(b"GET /v2 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").reply()
        assert reply.status == 200 and reply.headers["connection"] == "keep-alive"
    assert wire.send(b"GET /v2 HTTP/1.0\r\n\r\n").reply().headers["connection"] == "close"
    assert wire.closed()


def test_labels_name_the_classes_of_one_output_and_no_others(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("several", labels=["a", "b"], outputs=SEVERAL_WIDTHS))
    inputs = [
        {"name": "a", "datatype": "FP32", "shape": [1, 2, 3], "data": [[[1, 2, 3], [6, 5, 4]]]},
        {"name": "b", "datatype": "FP32", "shape": [1, 3], "data": [0, 0, 1]},
    ]
    one = {"parameters": {"classification": 1}}
    reply = service.infer({"inputs": inputs, "outputs": [{"name": n, **one} for n in ("twice", "total")]})
    assert [output["data"] for output in reply.json["outputs"]] == [
        ["2.000000:2"],
        ["2.000000:1:b", "6.000000:1:b", "5.000000:0:a"],
    ]


def test_several_inputs_by_name_and_outputs_in_the_order_asked_for(
    release: MakeRelease, serve: Serve
) -> None:
    service = serve(release("several"))
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 20.0, 30.0]
    inputs = [
        {"name": "a", "datatype": "FP32", "shape": [1, 2, 3], "data": a},
        {"name": "b", "datatype": "FP32", "shape": [1, 3], "data": b},
    ]
    answer = service.infer({"inputs": inputs, "outputs": [{"name": "total"}, {"name": "twice"}]})
    assert [o["name"] for o in answer.json["outputs"]] == ["total", "twice"]
    assert answer.json["outputs"][0]["data"] == [11.0, 22.0, 33.0, 14.0, 25.0, 36.0]
    assert answer.json["outputs"][1]["data"] == [20.0, 40.0, 60.0]
    inputs[1]["parameters"] = {"binary_data_size": 12}
    del inputs[1]["data"]
    reply = service.wire().send(binary({"inputs": inputs}, struct.pack("<3f", *b))).reply()
    assert [o["data"] for o in reply.json["outputs"]] == [
        [20.0, 40.0, 60.0],
        [11.0, 22.0, 33.0, 14.0, 25.0, 36.0],
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[1, 2]", "the body must be a JSON object"),
        ("{", "the body is not JSON"),
        ("[" * 100_000, "too deeply nested"),
        ('{"inputs": NaN}', "NaN is not a number"),
        (
            '{"inputs": ' + "9" * 5000 + "}",
            "the body is not JSON|`inputs` must be a list|more than 400 digits",
        ),
        ("{}", "`inputs` must be a list"),
        ({"inputs": []}, "input 'x' is missing"),
        ({"inputs": [{"name": "z"}]}, "unknown input 'z'; the model has: x"),
        ({"inputs": [{"name": "x"}]}, "needs `datatype` and `shape`"),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, "6"], "data": X}]},
            "list of whole numbers",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [6], "data": X}]},
            r"shape \[6\]; wanted \[1, 6\]",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "INT8", "shape": [1, 6], "data": X}]},
            "datatype INT8; wanted FP32",
        ),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": X[:5]}]}, "5 values; shape"),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": [[1], 2, 3]}]},
            "does not agree",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": [*X[:5], True]}]},
            "holds bool",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": [*X[:5], None]}]},
            "holds NoneType",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": [*X[:5], 1e39]}]},
            "not finite|fit",
        ),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": "AAAA"}]}, "must be a list"),
        ({**document(), "id": 5}, "`id` must be a string"),
        ({**document(), "outputs": [{"name": "q"}]}, "unknown output 'q'; the model has: y"),
        ({**document(), "outputs": 3}, "`outputs` must be a list"),
        ({**document(), "parameters": 3}, "`parameters` must be an object"),
        ({**document(), "parameters": {"binary_data_output": 1}}, "must be true or false"),
        ({**document(), "outputs": [{"name": "y", "parameters": {"classification": -1}}]}, "whole number"),
        ({"inputs": document()["inputs"] * 2}, "input 'x' stands twice"),
    ],
)
def test_what_cannot_be_served_gets_400_with_a_reason(dense_service: Service, body: Any, reason: str) -> None:
    data = body if isinstance(body, str) else json.dumps(body)
    answer = dense_service.ask("POST", INFER, data.encode())
    assert answer.status == 400, answer.body
    assert list(answer.json) == ["error"]
    assert re.search(reason, answer.json["error"]), answer.json
    assert dense_service.infer(document()).status == 200


@pytest.mark.parametrize(
    ("header", "reason"),
    [("banana", "does not fit"), ("-1", "does not fit"), ("999", "does not fit"), ("4", "not JSON")],
)
def test_a_wrong_inference_header_length_is_refused(dense_service: Service, header: str, reason: str) -> None:
    answer = dense_service.ask("POST", INFER, RAW, f"Inference-Header-Content-Length: {header}")
    assert answer.status == 400 and reason in answer.json["error"]


@pytest.mark.parametrize(
    ("size", "reason"), [(20, "belong to no input"), (28, "24 bytes of binary data are left")]
)
def test_binary_sizes_must_add_up(dense_service: Service, size: int, reason: str) -> None:
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 6], "parameters": {"binary_data_size": size}}
    reply = dense_service.wire().send(binary({"inputs": [entry]}, RAW)).reply()
    assert reply.status == 400 and reason in reply.json["error"]


def test_a_nan_in_binary_data_is_refused(dense_service: Service) -> None:
    data = struct.pack("<6f", 1, 2, float("nan"), 4, 5, 6)
    answer = dense_service.ask("POST", INFER, data, "Inference-Header-Content-Length: 0")
    assert answer.status == 400 and "not finite" in answer.json["error"]


def test_an_answer_that_json_cannot_say_is_a_500_and_fine_in_binary(
    release: MakeRelease, serve: Serve
) -> None:
    service = serve(release("divide"))
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 0, 4]}]
    answer = service.infer({"inputs": inputs})
    assert answer.status == 500 and "not finite" in answer.json["error"]
    reply = service.infer({"inputs": inputs, "parameters": {"binary_data_output": True}})
    assert struct.unpack("<4f", reply.body[-16:])[2] == float("inf")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/v2/models/other", 404, None),
        ("POST", "/v2/models/app/versions/8/infer", 404, None),
        ("GET", INFER, 405, "POST"),
        ("POST", "/v2", 405, "GET, HEAD"),
        ("DELETE", "/v2/models/app", 405, "GET, HEAD"),
        ("BREW", "/metrics", 405, "GET, HEAD"),
        ("GET", "/v2/%zz", 400, None),
    ],
)
def test_wrong_paths_and_methods(
    dense_service: Service, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = dense_service.ask(method, path)
    assert answer.status == status and answer.json["error"]
    assert answer.headers.get("allow") == allow


def test_values_that_the_engine_cannot_compute_take_the_service_from_nobody(
    release: MakeRelease, serve: Serve
) -> None:
    service = serve(release("lookup"))

    def ask(*ids: int) -> Any:
        entry = {"name": "ids", "datatype": "INT32", "shape": [1, 2], "data": list(ids)}
        return service.infer({"inputs": [entry]})

    for _ in range(4):  # one more than make an engine unready
        reply = ask(2, 900)
        assert reply.status == 400
        assert reply.json["error"].startswith("the engine computes other values (zeros), but not these: ")
    assert ask(4, 1).json["outputs"][0]["data"] == [4.0, 1.0]
    assert service.ask("GET", "/v2/health/ready").status == 200


def test_an_engine_that_failed_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, release: MakeRelease, capsys: pytest.CaptureFixture[str]
) -> None:
    import es_answers
    import es_metrics
    import es_release
    from es_head import parse_head

    monkeypatch.setattr(es_answers, "RETRY_SECONDS", 0.0)
    loaded = es_release.load_release(str(release().path))
    model = es_answers.Answering(loaded, es_metrics.Metrics({}), Budget(loaded.limits))
    works = model.engine.run

    def gone(tensors: Any) -> Any:
        raise es_answers.EngineFailed("unplugged")

    def answer() -> int:
        request = parse_head(f"POST {INFER} HTTP/1.1\r\nHost: test".encode())
        request.body = json.dumps(document()).encode()
        status: int = model.answer(request, time.monotonic() + 10.0).status
        return status

    assert answer() == 200 and model.due() is None
    model.engine.run = gone
    assert [answer() for _ in range(3)] == [500] * 3 and not model.healthy
    model.chores()
    assert not model.healthy and model.due() <= time.monotonic()
    model.engine.run = works
    model.chores()
    assert model.healthy and model.due() is None and answer() == 200
    assert "engine-recovered" in capsys.readouterr().err
    model.close()


def test_head_has_the_headers_of_get_and_no_body(dense_service: Service) -> None:
    get, head = dense_service.ask("GET", "/v2"), dense_service.ask("HEAD", "/v2")
    assert head.headers["content-length"] == get.headers["content-length"] and head.body == b""
    wire = dense_service.wire().send(http("HEAD", "/v2") + http("GET", "/v2"))
    wire.reply(head_only=True)
    assert wire.reply().body == get.body


def test_an_escaped_path_is_understood(dense_service: Service) -> None:
    assert dense_service.ask("GET", "/v2/models/%61pp").status == 200


def test_metrics_count_what_happened(dense_service: Service) -> None:
    before = dense_service.metric('edgeship_requests_total{route="infer",code="200"}')
    inferences = dense_service.metric("edgeship_inference_seconds_count")
    for _ in range(3):
        assert dense_service.infer(document()).status == 200
    assert dense_service.metric('edgeship_requests_total{route="infer",code="200"}') == before + 3
    assert dense_service.metric("edgeship_inference_seconds_count") == inferences + 3
    assert dense_service.metric("process_resident_memory_bytes") > 1e6
    assert dense_service.metric("edgeship_ready") == 1
    text = dense_service.ask("GET", "/metrics").body.decode()
    assert f'release="{dense_service.facts["release"]}"' in text and 'variant="r"' in text
    buckets = [line for line in text.splitlines() if line.startswith("edgeship_request_seconds_bucket")]
    counts = [float(line.split(" ")[1]) for line in buckets]
    assert counts == sorted(counts) and 'le="+Inf"' in buckets[-1]


def test_int8_service_dequantizes_and_takes_the_raw_datatype(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("image"))
    pixels = list(range(48))
    inputs = [{"name": "x", "datatype": "UINT8", "shape": [1, 4, 4, 3], "data": pixels}]
    as_bytes = service.infer({"inputs": inputs})
    assert as_bytes.json["outputs"][0]["data"] == [p - 128.0 for p in pixels]
    inputs[0]["datatype"] = "FP32"
    assert service.infer({"inputs": inputs}).json["outputs"] == as_bytes.json["outputs"]
    inputs[0].update(datatype="UINT8", data=[*pixels[:47], 300])
    refused = service.infer({"inputs": inputs})
    assert refused.status == 400 and "does not fit uint8 (0 to 255)" in refused.json["error"]
