"""State: fresh for each request, kept in named sessions, and what golden vectors make of it, on both engines."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import es_prove
import es_sessions
import pytest
from es_errors import CannotRun, EngineFailed, Refused
from island_lab import IO, STATE, MakeRelease, ReleaseDir, Serve, Service, make_release

RUNS_ON = (("accumulate", "litert"), ("accumulate", "tflite_runtime"), ("svdf", "tflite_runtime"))


def model_of(release: MakeRelease, name: str, engine: str, **changes: Any) -> ReleaseDir:
    return release(name, state=STATE[name], engine={"name": engine}, **changes)


def expected(name: str, values: list[float]) -> list[float]:
    """Return what a sequence of inputs gives from a fresh state."""
    if name == "accumulate":
        return [1.0 + sum(values[: n + 1]) for n in range(len(values))]
    return [sum(values[max(0, n - 2) : n + 1]) for n in range(len(values))]


def ask(service: Service, name: str, value: float, **parameters: Any) -> tuple[int, Any]:
    (spec,) = IO[name][0]
    data = [value] * spec["shape"][-1]
    entry = {"name": "x", "datatype": "FP32", "shape": spec["shape"], "data": data}
    reply = service.infer({"parameters": parameters, "inputs": [entry]})
    return reply.status, reply.json["outputs"][0]["data"][0] if reply.status == 200 else reply.json["error"]


@pytest.mark.parametrize(("name", "engine"), RUNS_ON)
def test_requests_begin_fresh_and_sessions_never_mix(
    release: MakeRelease, serve: Serve, name: str, engine: str
) -> None:
    service = serve(model_of(release, name, engine))
    one, two = [1.0, 2.0, 4.0, 8.0, 16.0], [100.0, 50.0, 25.0, 5.0, 1.0]
    got: dict[str, list[float]] = {"one": [], "two": [], "none": []}
    for n in range(5):
        start, end = n == 0, n == 4
        got["one"].append(
            ask(service, name, one[n], sequence_id=7, sequence_start=start, sequence_end=end)[1]
        )
        got["two"].append(ask(service, name, two[n], sequence_id="7", sequence_start=start)[1])
        got["none"].append(ask(service, name, one[n])[1])
    assert got["one"] == expected(name, one)
    assert got["two"] == expected(name, two), "the text 7 is another session than the number 7"
    assert got["none"] == [expected(name, [value])[0] for value in one]
    assert ask(service, name, 3.0, sequence_id="7", sequence_start=True)[1] == expected(name, [3.0])[0]
    status, text = ask(service, name, 1.0, sequence_id=7)
    assert (status, text.partition(":")[0]) == (400, "session 7 is not open")
    assert service.metric("edgeship_sessions") == 1.0 and service.metric("edgeship_sessions_limit") == 3.0


@pytest.fixture(scope="module")
def keeping(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("keeping") / "release"
    inputs, outputs = IO["accumulate"]
    service = Service(
        make_release(folder, models / "accumulate.tflite", inputs, outputs, state=STATE["accumulate"])
    ).wait()
    yield service
    service.kill()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"sequence_id": ""}, "`sequence_id` must be a whole number from 1 (64 bits) or a text of 1 to 128"),
        ({"sequence_id": "n" * 129}, "`sequence_id` must be"),
        ({"sequence_id": 2**64}, "`sequence_id` must be"),
        ({"sequence_id": True}, "`sequence_id` must be"),
        ({"sequence_id": [1]}, "`sequence_id` must be"),
        ({"sequence_id": 5, "sequence_start": 1}, "`sequence_start` must be true or false"),
        ({"sequence_end": True}, "`sequence_end` needs a `sequence_id`, which names the session"),
        ({"sequence_id": 0, "sequence_start": True}, "`sequence_id` 0 means no session"),
        (
            {"sequence_id": 99},
            "session 99 is not open: it was never started, has ended, or was silent for more than 30 s",
        ),
    ],
)
def test_what_a_session_cannot_be(keeping: Service, parameters: dict[str, Any], words: str) -> None:
    status, text = ask(keeping, "accumulate", 1.0, **parameters)
    assert status == 400 and text.startswith(words), text


def test_as_many_sessions_as_the_limit_allows(keeping: Service) -> None:
    for number in (1, 2, 3):
        assert ask(keeping, "accumulate", 1.0, sequence_id=number, sequence_start=True)[0] == 200
    status, text = ask(keeping, "accumulate", 1.0, sequence_id=4, sequence_start=True)
    assert status == 503 and text.startswith("all 3 sessions are in use; end one with `sequence_end`: true")
    assert ask(keeping, "accumulate", 1.0, sequence_id=2, sequence_end=True) == (200, 3.0)
    assert ask(keeping, "accumulate", 1.0, sequence_id=4, sequence_start=True, sequence_end=True) == (
        200,
        2.0,
    )
    for number in (1, 3):
        assert ask(keeping, "accumulate", 1.0, sequence_id=number, sequence_end=True) == (200, 3.0)
    assert ask(keeping, "accumulate", 1.0, sequence_id=0) == (200, 2.0), "0 is Triton's word for no sequence"


def test_samples_of_one_request_are_the_steps_of_its_session(keeping: Service) -> None:
    entry = {"name": "x", "datatype": "FP32", "shape": [3, 2], "data": [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]}
    inside = {"sequence_id": 8, "sequence_start": True}
    reply = keeping.infer({"parameters": inside, "inputs": [entry]})
    assert reply.json["outputs"][0]["data"] == [2.0, 2.0, 4.0, 4.0, 8.0, 8.0]
    assert ask(keeping, "accumulate", 1.0, sequence_id=8, sequence_end=True) == (200, 9.0)
    reply = keeping.infer({"inputs": [entry]})
    assert reply.json["outputs"][0]["data"] == [2.0, 2.0, 3.0, 3.0, 5.0, 5.0], "without one each begins fresh"


def test_a_request_that_is_refused_leaves_a_session_as_it_is(keeping: Service) -> None:
    assert ask(keeping, "accumulate", 1.0, sequence_id=9, sequence_start=True) == (200, 2.0)
    assert ask(keeping, "accumulate", 1e39, sequence_id=9)[0] == 400
    assert ask(keeping, "accumulate", 1.0, sequence_id=9, sequence_end=True) == (200, 3.0)


def test_the_service_says_that_it_keeps_state(keeping: Service, dense_service: Service) -> None:
    assert "sequence" in keeping.ask("GET", "/v2").json["extensions"]
    told = keeping.ask("GET", "/v2/models/app").json["parameters"]
    assert (told["state"], told["sessions"], told["session_seconds"]) == (["total"], 3, 30.0)
    assert "sequence" not in dense_service.ask("GET", "/v2").json["extensions"]
    reply = dense_service.infer({"parameters": {"sequence_id": 1, "sequence_start": True}, "inputs": []})
    assert reply.status == 400
    assert reply.json["error"] == "this model keeps no state between runs: leave `sequence_id` out"


class Engine:
    """An engine that counts, and fails when told."""

    def __init__(self) -> None:
        self.resets, self.closed, self.broken = 0, False, False

    def reset(self) -> None:
        if self.broken:
            raise EngineFailed("gone")
        self.resets += 1

    def close(self) -> None:
        self.closed = True


def sessions_at(clock: list[float], load: Any = Engine) -> es_sessions.Sessions:
    return es_sessions.Sessions(load, {"sessions": 2, "session_seconds": 10.0}, clock=lambda: clock[0])


def test_a_silent_session_makes_room() -> None:
    clock = [0.0]
    sessions = sessions_at(clock)
    first, second = es_sessions.Sequence("a", True, False), es_sessions.Sequence("b", True, False)
    old = sessions.engine(first)
    clock[0] = 6.0
    sessions.engine(second)
    clock[0] = 10.0
    assert sessions.engine(es_sessions.Sequence("a", False, False)) is old and old.resets == 0
    sessions.done(es_sessions.Sequence("a", False, False))
    clock[0] = 16.5
    sessions.engine(es_sessions.Sequence("c", True, False))  # b was silent for more than 10 s; a was not
    with pytest.raises(Refused, match="session 'b' is not open"):
        sessions.engine(es_sessions.Sequence("b", False, False))
    assert sessions.engine(first) is old and old.resets == 1, "begun anew, not loaded anew"
    sessions.close()
    assert old.closed and len(sessions) == 0


def test_the_state_of_a_silent_session_is_freed_though_nobody_asks(
    release: MakeRelease, serve: Serve
) -> None:
    """Its memory is a loaded model: it does not wait for a client that may never come."""
    service = serve(model_of(release, "accumulate", "litert", limits={"session_seconds": 0.5}))
    wire = service.wire()
    for number in (1, 2):
        assert ask(service, "accumulate", 1.0, sequence_id=number, sequence_start=True)[0] == 200
    assert service.metric("edgeship_sessions") == 2.0
    wire.close()
    time.sleep(1.2)  # no connection, no request, and metrics ask no model
    assert service.metric("edgeship_sessions") == 0.0 and service.metric("edgeship_in_flight") == 0.0
    assert ask(service, "accumulate", 1.0, sequence_id=1)[0] == 400
    used = _processor_seconds(service)
    time.sleep(0.5)
    assert _processor_seconds(service) - used < 0.1, "and then it sleeps"


def _processor_seconds(service: Service) -> float:
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def test_a_session_whose_engine_fails_is_gone() -> None:
    sessions = sessions_at([0.0])
    start = es_sessions.Sequence("a", True, False)
    engine: Any = sessions.engine(start)
    engine.broken = True
    with pytest.raises(EngineFailed):
        sessions.engine(start)
    assert engine.closed and len(sessions) == 0

    def nothing() -> Any:
        raise CannotRun("model-load", "no memory")

    with pytest.raises(Refused, match="no further session can be opened: no memory") as caught:
        sessions_at([0.0], nothing).engine(start)
    assert caught.value.status == 503, "the engine is well: requests without a session go on"


@pytest.mark.parametrize(("name", "engine"), RUNS_ON)
def test_golden_vectors_prove_that_state_is_kept_and_set_back(
    release: MakeRelease, serve: Serve, name: str, engine: str
) -> None:
    made = model_of(release, name, engine)
    width = IO[name][0][0]["shape"][-1]
    values = [2.0, 3.0, 5.0]
    vectors = [{"inputs": [_text([v] * width)], **c} for c in ({}, {"continues": True}) for v in values]
    vectors[3].pop("continues")  # the sequence begins fresh
    (made.path / "inputs.json").write_text(json.dumps({"vectors": vectors}))
    code, golden, stderr = made.main(
        "record", "--release", str(made.path), "--inputs", str(made.path / "inputs.json")
    )
    assert code == 0, stderr
    firsts = [_first(v["outputs"][0]) for v in golden["vectors"]]
    assert firsts == [*(expected(name, [v])[0] for v in values), *expected(name, values)]
    assert [v.get("continues") for v in golden["vectors"]] == [None, None, None, None, True, True]
    golden["tolerance"] = {"max_lsb": 0, "max_abs": 1e-6, "min_cosine": 0.999, "argmax": False}
    (made.path / "golden").mkdir()
    (made.path / "golden" / "golden.json").write_text(json.dumps(golden))
    code, proved, stderr = made.main("prove", "--release", str(made.path))
    assert (code, proved["failed"], proved["vectors"], proved["exact"]) == (0, 0, 6, True), proved
    service = serve(made)
    for _ in range(2):  # a proof leaves nothing behind
        code, live, _ = made.main("prove", "--release", str(made.path), "--live", service.facts["url"])
        assert (code, live["failed"], live["exact"]) == (0, 0, True), live
    assert service.metric("edgeship_sessions") == 0.0
    for vector in golden["vectors"]:
        vector.pop("continues", None)  # a device that forgets would answer so
    (made.path / "golden" / "golden.json").write_text(json.dumps(golden))
    code, proved, _ = made.main("prove", "--release", str(made.path))
    assert code == 1 and proved["failed"] == 2


def test_bench_begins_each_run_fresh_and_says_what_that_costs(release: MakeRelease) -> None:
    for name, engine, how in (("svdf", "tflite_runtime", "variables"), ("accumulate", "litert", "reload")):
        made = model_of(release, name, engine)
        code, document, stderr = made.main(
            "bench", "--release", str(made.path), "--seconds", "0.05", "--runs", "20"
        )
        assert code == 0, stderr
        assert document["state"]["kept"] == [STATE[name][0]["name"]] and document["state"]["reset"] == how
        assert 0 < document["state"]["reset_ms"] < 1000


def test_vectors_of_one_sequence_share_a_session() -> None:
    found = es_prove.sequences_of([False, False, True, True, False, True], "a" * 64)
    marks = [(s.get("sequence_start"), s.get("sequence_end")) for s in found]
    assert marks == [(None, None), (True, False), (False, False), (False, True), (True, False), (False, True)]
    assert found[0] == {} and len({s["sequence_id"] for s in found[1:]}) == 1


def test_a_model_with_state_needs_its_limits(release: MakeRelease) -> None:
    made = model_of(release, "accumulate", "litert").edit(lambda s: s["limits"].pop("sessions"))
    code, document, _ = made.main("serve", "--release", str(made.path))
    assert (code, document["error"]) == (2, "bad-service-file")
    assert (
        document["reason"]
        == "service.json: `limits.sessions` is None; a model with state wants a number above 0"
    )


def test_many_resets_cost_no_memory(release: MakeRelease) -> None:
    import es_litert
    import es_release

    made = model_of(release, "accumulate", "litert")
    loaded = es_release.load_release(str(made.path))
    engine = es_litert.LiteRtEngine(loaded, loaded.variant())
    try:
        for _ in range(20):
            engine.reset()
        handles = len(engine._handles)
        before = SimpleNamespace(rss=_rss())
        for _ in range(400):
            engine.reset()
        assert len(engine._handles) == handles
        assert _rss() - before.rss < 4 << 20
    finally:
        engine.close()


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _text(values: list[float]) -> str:
    import base64

    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _first(text: str) -> float:
    import base64

    return struct.unpack("<f", base64.b64decode(text)[:4])[0]
