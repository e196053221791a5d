"""The rungs of a ladder without a server around them: engines that fail, models with state, what is looked through."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from es_asked import Asked
from es_budget import Budget
from es_cascade import margin
from es_errors import EngineFailed
from es_governor import Governor
from es_head import parse_head
from es_metrics import Metrics
from es_release import load_release
from es_rung_worker import RungWorker
from es_rungs import Ladder
from es_worker import Job
from governed_lab import INFER, asked, loaded, parameters_of, told
from island_lab import IO, STATE, MakeRelease, Serve, make_ladder, rung

X = [1.0, -2.0, 0.5, 3.0, 0.0, -1.5]
RUNGS = [rung("i8", 5e-6, 0.8), rung("f32", 2e-5, 0.9)]
FILES = {"i8": "dense_i8", "f32": "dense_f32"}
Ask = Callable[..., Any]


def request_of(document: Any, started: float, deadline_ms: float | None = None) -> Any:
    """Return a request as the server hands it over."""
    request = parse_head(f"POST {INFER} HTTP/1.1\r\nHost: test".encode())
    request.body = json.dumps(document).encode()
    request.asked = Asked(started, deadline_ms)
    return request


@pytest.fixture
def ladder(models: Path, tmp_path: Path) -> Iterator[tuple[Ladder, Governor]]:
    """A Ladder of two loaded rungs, and its Governor."""
    release = load_release(str(make_ladder(tmp_path / "release", models, RUNGS, FILES).path))
    governor = Governor(release, str(tmp_path), {})
    made = Ladder(release, Metrics({}), Budget(release.limits), governor)
    while made.to_load():
        made.load_next()
    yield made, governor


def test_an_engine_that_fails_leaves_the_ladder_until_it_computes_again(
    ladder: tuple[Ladder, Governor], monkeypatch: pytest.MonkeyPatch
) -> None:
    import es_answers

    monkeypatch.setattr(es_answers, "RETRY_SECONDS", 0.0)
    made, governor = ladder
    engine = made.engine
    works = engine.run

    def gone(tensors: Any) -> Any:
        raise EngineFailed("unplugged")

    def answer() -> Any:
        now = time.monotonic()
        return made.answer(request_of(asked(X), now), now + 10.0)

    assert json.loads(answer().body)["parameters"]["variant"] == "f32"
    engine.run = gone
    assert [answer().status for _ in range(3)] == [500] * 3
    assert made.healthy and "failed several times" in governor.failed["f32"]
    assert json.loads(answer().body)["parameters"] == {"variant": "i8", "reason": "only-rung"}
    engine.run = works
    assert made.due() is not None
    made.chores()
    assert not governor.failed and json.loads(answer().body)["parameters"]["variant"] == "f32"


def test_a_glance_tells_the_deadline_without_reading_and_never_refuses_by_itself(
    ladder: tuple[Ladder, Governor],
) -> None:
    made, governor = ladder
    late = request_of(asked(X, deadline_ms=0.5), 100.0)
    assert late.asked.glance(late) == pytest.approx(100.0005)
    assert not governor.can_finish(101.0, late.asked.glance(late), 0)
    # The same words as a value, and as a key of something else: a glance may be wrong, reading is not.
    text = request_of({**asked(X), "id": '"deadline_ms": 0.001'}, 100.0)
    assert text.asked.glance(text) is None
    other = asked(X)
    other["inputs"][0]["parameters"] = {"deadline_ms": 0.001}
    wrong = request_of(other, 100.0)
    assert wrong.asked.glance(wrong) is not None
    made.decoded(wrong)
    assert wrong.asked.due is None and wrong.asked.glance(wrong) is None


def test_a_rung_is_loaded_although_requests_always_wait(models: Path, tmp_path: Path) -> None:
    """Else a service that cannot keep up from its start would never get the rung that could."""
    rungs, files = (
        [rung("quick", 1e-4, 0.8), rung("middle", 0.02, 0.9)],
        {"quick": "quick", "middle": "middle"},
    )
    release = load_release(str(make_ladder(tmp_path / "release", models, rungs, files).path))
    governor = Governor(release, str(tmp_path), {})
    reading, wake = os.pipe()
    worker = RungWorker(release, Metrics({}), Budget(release.limits), governor, wake)
    now = time.monotonic()
    for _ in range(150):
        worker.submit(Job(None, request_of(asked([0.001]), now), now, now + 60.0))
    worker.start()
    while len(worker.finished) < 150:
        assert worker.failure is None
        time.sleep(0.01)
    answered = [json.loads(job.answer.body)["parameters"]["variant"] for job in worker.finished]
    assert answered[0] == "middle" and "quick" in answered
    os.close(reading)


@pytest.mark.parametrize(
    ("row", "lead"),
    [
        ([0.1, 0.9], 0.8),
        ([3.0, 3.0, 1.0], 0.0),
        ([1.0], 0.0),
        ([], 0.0),
        ([float("nan"), 1.0], 0.0),
        ([float("inf"), float("inf")], 0.0),
        ([-5.0, -1.0, -2.5], 1.5),
    ],
)
def test_the_margin_is_the_lead_of_the_highest_value(row: list[float], lead: float) -> None:
    assert margin(row) == pytest.approx(lead)


def test_a_model_with_state_stays_with_its_variant_and_says_so(release: MakeRelease, serve: Serve) -> None:
    made = release("accumulate", state=STATE["accumulate"])

    def govern(service: dict[str, Any]) -> None:
        rows = [rung("r", 1e-5, 0.9)]
        service["governor"] = {
            "settings": {}, "rungs": rows, "sensors": [], "power": None, "thermal": None,
        }  # fmt: skip

    service = serve(made.edit(govern))
    assert '"event": "no-governor"' in service.stderr()
    assert service.ask("GET", "/v2/models/app/governor").status == 404
    assert parameters_of(service.infer(asked([1.0, 2.0]))) == {"variant": "r"}


def test_a_request_is_decoded_for_the_rung_that_answers_it(
    models: Path, tmp_path: Path, serve: Serve
) -> None:
    """Stored bytes that only the int8 variant takes are answered by it, whatever the governor would like."""
    made = make_ladder(tmp_path / "release", models, RUNGS, {"f32": "dense_f32", "i8": "dense_i8"})

    def stored(service: dict[str, Any]) -> None:
        service["variants"][1]["inputs"][0]["stored"] = True

    service = loaded(serve(made.edit(stored)))
    assert IO["dense_i8"][0][0]["tensor"]["dtype"] == "int8"
    assert parameters_of(service.infer(asked(X)))["variant"] == "f32"
    document = asked(X)
    document["inputs"][0].update(datatype="INT8", data=[13, -17, 8, 33, 3, -12])
    assert parameters_of(service.infer(document))["variant"] == "i8"
    assert told(service)["decisions"]["accurate"] == 2
