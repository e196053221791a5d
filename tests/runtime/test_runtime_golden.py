"""prove, record and bench: golden vectors on the engine and through the live service, and what fails them."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from es_golden import compare
from island_lab import MakeRelease, ReleaseDir, Serve, tensor


def samples(count: int = 6, size: int = 6) -> list[list[bytes]]:
    """Return raw float samples."""
    rng = np.random.default_rng(2)
    return [[rng.normal(0, 3, size).astype(np.float32).tobytes()] for _ in range(count)]


def prove(made: ReleaseDir, *more: str) -> tuple[int, dict[str, Any]]:
    """Return (exit code, document) of prove."""
    code, document, _ = made.main("prove", "--release", str(made.path), *more)
    return code, document


def shift(made: ReleaseDir, steps: int, vector: int = 2) -> None:
    """Move one recorded output of an int8 golden file by some LSB."""

    def change(document: dict[str, Any]) -> None:
        stored = np.frombuffer(base64.b64decode(document["vectors"][vector]["outputs"][0]), np.int8).copy()
        stored[0] = stored[0] + steps if stored[0] < 0 else stored[0] - steps
        document["vectors"][vector]["outputs"][0] = base64.b64encode(stored.tobytes()).decode()

    made.edit(change, "golden/golden.json")


@pytest.mark.parametrize("name", ["dense_i8", "dense_f32"])
def test_what_was_recorded_is_proven(release: MakeRelease, name: str) -> None:
    made = release(name)
    golden = made.record(samples())
    assert golden["schema"] == "edgeship.golden/1" and golden["recipe"] == "r"
    assert {"engine", "version", "delegate", "machine"} <= set(golden["recorded_with"])
    code, document = prove(made)
    assert code == 0
    assert (document["schema"], document["vectors"], document["failed"]) == ("edgeship.prove/1", 6, 0)
    assert document["exact"] is True and document["reason"] == ""
    assert document["worst"]["abs"] == 0.0 and document["worst"]["cosine"] == 1.0
    assert document["worst"]["lsb"] == (0 if name == "dense_i8" else None)
    assert set(document["latency_ms"]) == {"cold", "p50", "p95"} and document["peak_rss_mb"] > 1


def test_one_lsb_fails_within_the_same_engine_version_and_delegate(release: MakeRelease) -> None:
    made = release("dense_i8")
    made.record(samples())
    shift(made, 1)
    code, document = prove(made)
    assert code == 1 and document["failed"] == 1 and document["exact"] is False
    assert document["worst"]["lsb"] == 1
    assert document["reason"] == (
        "1 of 6 golden vectors failed; first: vector 2, output 'y': 1 LSB off, where the same engine, version and "
        "delegate must agree exactly"
    )


@pytest.mark.parametrize("key", ["engine", "version", "delegate"])
def test_another_engine_version_or_delegate_is_held_to_the_tolerance(release: MakeRelease, key: str) -> None:
    made = release("dense_i8")
    made.record(samples(), argmax=False)
    made.edit(lambda document: document["recorded_with"].update({key: "other"}), "golden/golden.json")
    shift(made, 2)
    code, document = prove(made)
    assert code == 0 and document["exact"] is False and document["worst"]["lsb"] == 2
    shift(made, 1)
    code, document = prove(made)
    assert code == 1 and "3 LSB off (allowed 2)" in document["reason"]


def test_another_machine_of_the_same_triple_must_agree_exactly(release: MakeRelease) -> None:
    made = release("dense_i8")
    made.record(samples())
    made.edit(lambda document: document["recorded_with"].update(machine="aarch64"), "golden/golden.json")
    shift(made, 1)
    assert prove(made)[0] == 1


def test_floats_are_held_to_the_tolerance(release: MakeRelease) -> None:
    made = release("dense_f32")
    made.record(samples(), max_abs=0.01)

    def change(by: float) -> None:
        def edit(document: dict[str, Any]) -> None:
            values = np.frombuffer(
                base64.b64decode(document["vectors"][0]["outputs"][0]), np.float32
            ) + np.float32(by)
            document["vectors"][0]["outputs"][0] = base64.b64encode(values.tobytes()).decode()

        made.edit(edit, "golden/golden.json")

    change(0.005)
    assert prove(made)[0] == 0
    change(0.05)
    code, document = prove(made)
    assert code == 1 and "off (allowed 0.01)" in document["reason"]


def test_an_output_that_is_not_finite_fails(release: MakeRelease) -> None:
    made = release("divide")
    made.record([[struct.pack("<4f", 1, 2, 3, 4)]])
    made.edit(
        lambda document: document["vectors"][0].update(
            inputs=[base64.b64encode(struct.pack("<4f", 1, 0, 3, 4)).decode()]
        ),
        "golden/golden.json",
    )
    code, document = prove(made)
    assert code == 1 and "holds a value that is not finite" in document["reason"]


def test_a_wrong_model_fails(release: MakeRelease) -> None:
    made = release("dense_i8")
    made.record(samples())
    model = made.path / "models" / "model.tflite"
    data = bytearray(model.read_bytes())
    weights = np.random.default_rng(7).integers(-100, 100, (3, 6)).astype(np.int8).tobytes()
    data[data.index(weights)] ^= 0x10
    model.write_bytes(bytes(data))
    code, document = prove(made)
    assert code == 1 and document["failed"] >= 1


INT8 = tensor("y", [1, 4], "int8", 0.5, 0)["tensor"]
FLOAT = tensor("y", [1, 4])["tensor"]


@pytest.mark.parametrize(
    ("inner", "expected", "got", "tolerance", "text"),
    [
        (INT8, [1, 2, 3, 4], [1, 2, 3, 4], {}, ""),
        (INT8, [10, 20, 30, 40], [11, 20, 30, 40], {"max_lsb": 1, "min_cosine": 0.99, "argmax": True}, ""),
        (INT8, [10, 20, 30, 40], [13, 20, 30, 40], {"max_lsb": 1}, "3 LSB off (allowed 1)"),
        (INT8, [1, 2, 41, 40], [1, 2, 40, 41], {"max_lsb": 1, "argmax": True}, "another class is highest"),
        (INT8, [1, 2, 40, 40], [1, 2, 40, 41], {"max_lsb": 1, "argmax": True}, ""),
        (INT8, [100, 0, 0, 0], [0, 100, 0, 0], {"min_cosine": 0.9}, "cosine 0.000000 (at least 0.9)"),
        (
            INT8,
            [0, 0, 0, 0],
            [1, 0, 0, 0],
            {"max_lsb": 1, "min_cosine": 0.9},
            "cosine 0.000000 (at least 0.9)",
        ),
        (FLOAT, [1, 2, 3, 4], [1, 2, 3, 4.5], {"max_abs": 0.25}, "0.5 off (allowed 0.25)"),
        (FLOAT, [1, 2, 3, 4], [1, 2, 3, float("nan")], {}, "holds a value that is not finite"),
        (FLOAT, [1, 2, 3, 4], [1, 2, 3, -float("inf")], {}, "holds a value that is not finite"),
    ],
)
def test_comparison(
    inner: dict[str, Any], expected: Any, got: Any, tolerance: dict[str, Any], text: str
) -> None:
    a, b = (np.array(values, inner["dtype"]).tobytes() for values in (expected, got))
    assert compare(a, b, inner, tolerance, exact=False).text == text


def test_live_agrees_and_names_itself(release: MakeRelease, serve: Serve) -> None:
    for name in ("dense_i8", "several"):
        made = release(name)
        if name == "several":
            made.record([[struct.pack("<3f", *range(3)), struct.pack("<6f", *range(6))]])
        else:
            made.record(samples())
        service = serve(made)
        code, document = prove(made, "--live", service.facts["url"])
        assert code == 0, document
        assert (
            document["failed"] == 0 and document["exact"] is True and document["live"] == service.facts["url"]
        )
        assert document["release"] == service.facts["release"]


def test_live_over_a_unix_socket(near_release: MakeRelease, serve: Serve) -> None:
    made = near_release("dense_i8")
    made.record(samples())
    service = serve(made, "--listen", "unix:s")
    assert prove(made, "--live", service.facts["url"])[0] == 0


def test_live_sees_wrong_answers(release: MakeRelease, serve: Serve) -> None:
    made = release("dense_i8")
    made.record(samples())
    service = serve(made)
    shift(made, 1)
    code, document = prove(made, "--live", service.facts["url"])
    assert code == 1 and document["failed"] == 1 and "1 LSB off" in document["reason"]


def test_live_refuses_another_release_that_answers_there(release: MakeRelease, serve: Serve) -> None:
    made = release("dense_i8")
    made.record(samples())
    service = serve(made)
    seen = service.facts["release"]
    (made.path / "manifest.json").write_text('{"schema": "edgeship.manifest/1", "app": "newer"}')
    code, document = prove(made, "--live", service.facts["url"])
    assert code == 1 and document["vectors"] == 0
    assert document["reason"] == f"the service runs release {seen}; expected {document['release']}"


@pytest.mark.parametrize(
    ("url", "reference"),
    [
        ("http://127.0.0.1:9", "service-unreachable"),
        ("unix:/nonexistent", "service-unreachable"),
        ("ftp://x", "bad-url"),
    ],
)
def test_live_without_a_service(release: MakeRelease, url: str, reference: str) -> None:
    made = release("dense_i8")
    made.record(samples())
    code, document = prove(made, "--live", url)
    assert code == 2 and document["error"] == reference


@pytest.mark.parametrize(
    ("change", "reference", "reason"),
    [
        (lambda d: d.update(schema="x"), "bad-golden-file", "`schema` must be edgeship.golden/1"),
        (lambda d: d.update(vectors=[]), "bad-golden-file", "holds no vectors"),
        (lambda d: d["vectors"][0].update(inputs=[]), "bad-golden-file", "must be a list of 1 texts"),
        (lambda d: d["vectors"][0].update(inputs=["AAAA"]), "bad-golden-file", "needs 24"),
        (lambda d: d["vectors"][0].update(inputs=["A"]), "bad-golden-file", "vector 0: inputs"),
        (
            lambda d: d["vectors"][0].update(outputs=["AAAA", "A"]),
            "bad-golden-file",
            "must be a list of 1 texts",
        ),
        (lambda d: d["vectors"][0].update(outputs=["AAAAAAAA"]), "bad-golden-file", "6 bytes; 3 expected"),
    ],
)
def test_golden_files_that_make_no_sense(
    release: MakeRelease, change: Any, reference: str, reason: str
) -> None:
    made = release("dense_i8")
    made.record(samples(1))
    made.edit(change, "golden/golden.json")
    code, document = prove(made)
    assert code == 2 and document["error"] == reference and reason in document["reason"], document


def test_missing_pieces_are_named(release: MakeRelease) -> None:
    made = release("dense_i8")
    code, document = prove(made)
    assert code == 2 and document["error"] == "golden-missing" and "golden/golden.json" in document["reason"]
    code, document = prove(made, "--variant", "q")
    assert document == {"error": "unknown-variant", "reason": "this release has no variant 'q'; it has: r"}
    code, document, _ = made.main("prove", "--release", str(made.path / "nowhere"))
    assert code == 2 and document["error"] == "release-missing"
    code, document, _ = made.main("record", "--release", str(made.path), "--inputs", "/nowhere.json")
    assert code == 2 and document["error"] == "inputs-missing"


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        ([], "bad-command"),
        (["fly"], "bad-command"),
        (["prove"], "bad-option"),
        (["prove", "--release"], "bad-option"),
        (["prove", "--speed", "1", "--release", "x"], "bad-option"),
        (["record", "--release", "x"], "bad-option"),
    ],
)
def test_command_lines_that_make_no_sense(release: MakeRelease, arguments: list[str], reference: str) -> None:
    code, document, stderr = release().main(*arguments)
    assert code == 2 and document["error"] == reference and "Traceback" not in stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.update(schema="edgeship.service/2"), "`schema` is 'edgeship.service/2'"),
        (lambda s: s["limits"].pop("queue"), "`limits.queue` is missing"),
        (lambda s: s["limits"].update(queue=0), "`limits.queue` is 0; wanted a whole number from 1"),
        (lambda s: s["limits"].update(queue=True), "`limits.queue` is True"),
        (lambda s: s["limits"].update(request_seconds="1"), "`limits.request_seconds` is '1'"),
        (lambda s: s.update(app="../x"), "`app` is '../x'"),
        (lambda s: s.update(variants=[]), "`variants` is []"),
        (lambda s: s["variants"][0]["inputs"][0].pop("tensor"), "variants[0].inputs[0]: `tensor`"),
        (lambda s: s["variants"][0]["inputs"][0].update(shape=[1, "6"]), "a shape is a list of integers"),
    ],
)
def test_service_files_that_make_no_sense(release: MakeRelease, change: Any, reason: str) -> None:
    made = release()
    made.edit(change)
    code, document, _ = made.main("bench", "--release", str(made.path))
    assert code == 2 and document["error"] == "bad-service-file" and reason in document["reason"], document


def test_model_paths_cannot_leave_the_release(release: MakeRelease) -> None:
    made = release()
    made.edit(lambda service: service["variants"][0].update(file="models/../../secret.tflite"))
    code, document, _ = made.main("bench", "--release", str(made.path))
    assert code == 2 and document["error"] == "path-outside-release"


def test_bench_reports_what_it_did(release: MakeRelease) -> None:
    made = release("dense_i8")
    code, document, _ = made.main("bench", "--release", str(made.path), "--seconds", "0.2", "--runs", "60")
    assert code == 0 and document["schema"] == "edgeship.bench/1"
    assert document["runs"] >= 60 and document["seconds"] >= 0.2 and document["threads"] == 1
    assert set(document["latency_ms"]) == {"cold", "p50", "p95", "mean"}
    governor = document["governor"]
    assert isinstance(governor, str) or list(governor) == ["unavailable"]
    assert json.dumps(document)


def fall_back_silently(made: Any) -> None:
    """Have LiteRT run its built-in kernels though XNNPACK is asked for, as on a machine without /sys."""
    source = made.path / "runtime" / "es_litert.py"
    text = source.read_text()
    assert text.count('if self.delegate == "none":') == 1
    source.write_text(text.replace('if self.delegate == "none":', "if True:"))


def test_live_sees_a_service_that_fell_back_to_the_cpu_in_silence(release: MakeRelease, serve: Serve) -> None:
    """The staged proof was good, and the process that serves is another one: it may have lost the delegate."""
    made = release("dense_i8")
    made.record(samples())
    service = serve(made)
    told = service.ask("GET", "/v2/models/app").json["parameters"]
    assert told["delegated"] is True and told["delegate"] == "xnnpack"
    code, document = prove(made, "--live", service.facts["url"])
    assert code == 0 and document["engine"]["delegated"] is True
    service.stop()
    fall_back_silently(made)
    service = serve(made)
    assert service.ask("GET", "/v2/models/app").json["parameters"]["delegated"] is False
    code, document = prove(made, "--live", service.facts["url"])
    assert code == 1 and document["engine"]["delegated"] is False
    assert document["reason"].startswith("the delegate xnnpack took no part: in the service: XNNPACK did not")
