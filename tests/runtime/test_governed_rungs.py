"""The rungs of a ladder without a server around them: engines that fail, models with state, what is looked through."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from es_asked import Asked
from es_budget import Budget
from es_cascade import margin
from es_errors import EngineFailed, Refused
from es_govern import begin, profile_of
from es_govern_settings import usable
from es_governor import Governor
from es_governor_told import _unread, why_of
from es_head import parse_head
from es_metrics import Metrics
from es_release import load_release
from es_rung_worker import RungWorker
from es_rungs import Ladder
from es_worker import Job
from governed_lab import INFER, asked, loaded, parameters_of, told, tune
from island_lab import IO, STATE, MakeRelease, Serve, make_ladder, rung

from edgeship.deploy.change import is_taken_up

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
    now, given, begun = time.monotonic(), 0, False
    while given == 0 or governor.document(time.monotonic())["loading"]:
        assert worker.failure is None and time.monotonic() < now + 60
        while given - len(worker.finished) < 50:  # some wait at any moment
            worker.submit(Job(None, request_of(asked([0.001]), now), now, now + 600.0))
            given += 1
        if not begun:
            worker.start()
            begun = True
        time.sleep(0.001)
    assert given - len(worker.finished) > 0, "loaded although requests waited"
    while len(worker.finished) < given:
        time.sleep(0.01)
    answered = [json.loads(job.answer.body)["parameters"]["variant"] for job in worker.finished]
    assert answered[0] == "middle" and set(answered) <= {"middle", "quick"}
    assert [rung.name for rung in governor.profile.rungs] == ["quick", "middle"]
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


def test_who_waits_behind_refused_requests_waits_for_those_no_more() -> None:
    class OneASecond:
        """Each request takes a second."""

        def can_finish(self, now: float, due: float | None, queued: int) -> bool:
            return due is None or now + queued <= due

        def admit(self, now: float, due: float | None, queued: int, variant: str | None) -> None:
            if not self.can_finish(now, due, queued):
                raise Refused(503, "late")

    class Model:
        def decoded(self, request: Any) -> None:
            if request is broken.request:
                raise ValueError("whatever a client may send")

    worker: Any = RungWorker(None, Metrics({}), None, OneASecond(), -1)
    worker.model = Model()
    jobs = [Job(None, request_of(asked(X), 0.0, ms), 0.0, 99.0) for ms in (500, 600, 500, 3000)]
    broken, last = jobs[2:]
    for job in jobs:
        worker.submit(job)
    late = worker.refuse_late(0.6)
    assert late == jobs[:2] and all(job.answer.status == 503 for job in late)
    assert list(worker.waiting) == [broken, last], "the last one has one before it, and ends in time"
    assert broken.request.asked.seems_due is None, "its turn tells what is wrong with it"


def test_a_long_body_is_not_read_by_the_loop(ladder: tuple[Ladder, Governor]) -> None:
    made, governor = ladder
    worker: Any = RungWorker(None, Metrics({}), None, governor, -1)
    worker.model = made
    jobs = [Job(None, request_of(asked(X), 0.0, 1.0), 0.0, 99.0) for _ in range(3)]
    long, binary, _ = (job.request for job in jobs)
    for request in (long, binary):
        request.body += b" " * (1 << 20)
    binary.headers["inference-header-content-length"] = str(len(binary.body) - (1 << 20))
    assert [job.request.asked.heavy(job.request) for job in jobs] == [True, False, False]
    for job in jobs:
        worker.submit(job)
    late = worker.refuse_late(5.0)
    assert late == jobs[1:] and list(worker.waiting) == jobs[:1] and long.asked.body is None
    assert made.answer(long, time.monotonic() + 10.0).status == 503, "refused when its turn comes"


def test_guests_are_answered_whatever_happens_to_their_host(
    ladder: tuple[Ladder, Governor], monkeypatch: pytest.MonkeyPatch
) -> None:
    import es_company
    import es_joining

    made, governor = ladder
    now = time.monotonic()
    guest = Job(None, request_of(asked(X), now), now, now + 60.0)
    left: list[Job] = []
    made.company = lambda most, accept: [guest] if accept(guest) else []
    made.leave = left.extend
    host = request_of(asked(X), now)
    call, model = made.decoded(host)
    call.said = {"reason": "accurate"}
    lent: Any = governor.profile.every[governor.profile.index(model.name)]
    lent.fixed, lent.each = 1e-5, 1e-5
    monkeypatch.setattr(es_joining, "together", lambda model, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        es_company.Company(made, (lent, model), call, now + 60.0, None).answer(2, 1e-5)
    assert left == [guest] and json.loads(guest.answer.body)["parameters"]["variant"] == model.name


def test_a_named_variant_never_gets_the_still_answer_of_another(ladder: tuple[Ladder, Governor]) -> None:
    made, governor = ladder
    governor.profile.settings["still"] = 0.5

    def answer(**parameters: Any) -> Any:
        now = time.monotonic()
        return json.loads(made.answer(request_of(asked(X, **parameters), now), now + 10.0).body)["parameters"]

    assert answer(stream="door")["variant"] == "f32"
    assert answer(stream="door")["skipped"] is True
    assert answer(stream="door", variant="i8") == {"variant": "i8", "reason": "pinned"}
    assert answer(stream="door", variant="i8") == {"variant": "i8", "reason": "pinned", "skipped": True}


def test_settings_that_come_while_rungs_are_loaded_are_not_undone(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import es_govern

    release = load_release(str(make_ladder(tmp_path / "release", models, RUNGS, FILES).path))
    release.kept = str(tmp_path)
    governor = Governor(release, str(tmp_path), {})
    tune(tmp_path, {"watts": 3.0})
    made = es_govern.profile_of
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*given: Any) -> Any:
        profile = made(*given)
        if threading.current_thread() is loader:
            begun.set()
            go_on.wait(5.0)
        return profile

    monkeypatch.setattr(es_govern, "profile_of", slowly)
    loader = threading.Thread(target=governor.available, args=(["i8", "f32"], {}, True))
    loop = threading.Thread(target=governor.touch, args=(1.0,))
    loader.start()
    assert begun.wait(10.0)
    loop.start()
    loop.join(0.2)
    go_on.set()
    loader.join(10.0)
    loop.join(10.0)
    assert governor.profile.settings["watts"] == 3.0 and len(governor.profile.rungs) == 2


def looked_twice(models: Path, tmp_path: Path, given: dict[str, Any]) -> Any:
    """Return the governor of a release on a machine without any sensor, after its first two looks."""
    release = load_release(str(make_ladder(tmp_path / "release", models, RUNGS, FILES, given).path))
    governor = Governor(release, str(tmp_path), {"EDGESHIP_SENSOR_ROOT": str(tmp_path)})
    governor.available(["i8", "f32"], {}, True)
    governor.prepare()
    assert governor.document(1.0)["problems"] == [], "nothing was looked at yet"
    for at in (1.0, 1.25):
        governor.tick(at)
    return governor


def test_a_budget_that_the_named_meter_does_not_account_for_is_a_problem(
    models: Path, tmp_path: Path
) -> None:
    counter = {"name": "package", "kind": "energy", "path": "/sys/energy_uj", "scale": 1e-6}
    given = {"settings": {"watts": 3.0}, "sensors": [counter]}
    governor = looked_twice(models, tmp_path, given)
    told = governor.document(1.5)
    assert told["slow"]["cap_why"] == "blind"
    assert told["problems"] == [
        "governor.watts is set, and package does not tell what is used: the cheapest serves"
    ]
    governor._sensors.stop()


def test_a_limit_whose_sensor_this_machine_lacks_is_a_problem(models: Path, tmp_path: Path) -> None:
    soc = {"name": "soc", "kind": "temperature", "path": "/sys/temp", "scale": 1e-3}
    bands = [{"below_percent": 20.0, "watts": 2.0}]
    given = {"settings": {"temperature_c": 60.0, "battery": bands}, "sensors": [soc]}
    governor = looked_twice(models, tmp_path, given)
    assert governor.document(1.5)["problems"] == [
        "governor.temperature_c is set, and soc was never read: after a minute the cheapest serves",
        "governor.battery is set, and the target names no battery: no band holds",
    ]
    state, profile = governor.seen()
    named = _unread(state.slow, profile.changed({"temperature_c": 60.0, "variant": "f32"}))
    assert named[0].endswith("it cannot be kept"), "what is named serves, whatever that means for a limit"
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys/temp").write_text("40000")
    deadline = time.monotonic() + 30
    while len(governor.document(1.0)["problems"]) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
        governor.tick(time.monotonic())
    assert [text[:16] for text in governor.document(1.0)["problems"]] == ["governor.battery"]
    governor._sensors.stop()


def test_a_lost_sensor_is_told_by_its_name_and_other_reasons_by_what_they_mean() -> None:
    sensors = [{"name": "soc", "kind": "temperature", "trips": [{"at": 80, "effect": "slower"}]}]
    document = {"rungs": RUNGS, "sensors": sensors}
    profile, slow = profile_of(document), begin(profile_of(document)).slow
    assert why_of("load", slow, profile) == "a more accurate rung could not serve this many requests"
    assert why_of(None, slow, profile) is None
    lost = slow._replace(blind=("soc", "throttled"))
    assert why_of("blind", lost, profile) == "no reading of soc, throttled: nothing goes up until it is back"
    budget = profile.changed({"watts": 3.0})
    assert "what this device draws" in str(why_of("blind", lost._replace(broke=True), budget))
    ceiling = profile.changed({"temperature_c": 60.0})
    assert "no temperature is known" in str(why_of("blind", slow._replace(cap_why="blind"), ceiling))
    assert "a sensor that a limit needs is lost" in str(why_of("blind", slow, profile)), "it is back by now"


def test_kept_settings_of_a_newer_release_leave_the_others_as_they_are(models: Path, tmp_path: Path) -> None:
    """After a rollback: the file was written for a release that knew more."""
    release = load_release(str(make_ladder(tmp_path / "release", models, RUNGS, FILES).path))
    release.kept = str(tmp_path)
    tune(
        tmp_path,
        {"watts": 3.0, "quiet_hours": [22, 6], "load": 9, "battery": [{"below": 3}], "cascade": None},
    )
    governor = Governor(release, str(tmp_path), {})
    settings = governor.profile.settings
    assert (settings["watts"], settings["load"], settings["battery"], settings["cascade"]) == (
        3.0,
        0.8,
        [],
        "auto",
    )
    kept = [text for text in governor.document(1.0)["problems"] if "ept on this device" in text]
    told = {text.split(" ")[0]: text for text in kept}
    assert set(told) == {"governor.quiet_hours", "governor.load", "governor.battery[0]"}
    assert "this release has no such setting" in told["governor.quiet_hours"]
    assert "edgeship tune --reset" in told["governor.quiet_hours"]
    assert (
        "at most 1" in told["governor.load"] and "edgeship tune governor.load=null" in told["governor.load"]
    )
    tune(tmp_path, {"watts": 4.0, "load": 0.5})
    governor._look_at_settings()
    assert governor.profile.settings["watts"] == 4.0 and governor.profile.settings["load"] == 0.5
    assert not any("ept on this device" in text for text in governor.document(1.0)["problems"])


def test_what_a_service_says_it_cannot_use_is_no_longer_waited_for() -> None:
    """`edgeship tune` waits until the service goes by what was set."""
    own = {"watts": 3.0, "quiet_hours": 7}
    good, strange = usable(own)
    found = {"settings": {}, "own": own}
    now = {"settings": {"watts": 3.0, "load": 0.8}, "problems": list(strange.values())}
    assert (
        good == {"watts": 3.0} and is_taken_up(now, found) and not is_taken_up({**now, "problems": []}, found)
    )
    before = {
        "settings": {"watts": 2.0},
        "problems": ["governor.watts is set, and nothing says what is used"],
    }
    assert not is_taken_up(before, {"settings": {}, "own": {"watts": 3.0}})
