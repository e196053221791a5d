"""A service with a ladder under load, heat, other settings: real models, a real server, files for sensors."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from governed_lab import asked, at_once, loaded, parameters_of, told, tune, until
from island_lab import ReleaseDir, Serve, make_ladder, rung

X = [1.0, -2.0, 0.5, 3.0, 0.0, -1.5]
TWO = [rung("i8", 5e-6, 0.8), rung("f32", 2e-5, 0.9)]
DENSE = {"i8": "dense_i8", "f32": "dense_f32"}
HEAT = "sys/class/thermal/thermal_zone0/temp"
SENSOR = {
    "name": "soc", "kind": "temperature", "path": "/" + HEAT, "scale": 0.001,
    "trips": [{"at": 80.0, "effect": "throttle"}],
}  # fmt: skip
Make = Callable[..., ReleaseDir]


@pytest.fixture
def ladder(models: Path, tmp_path: Path) -> Iterator[Make]:
    """A function (rungs, files, governor=..., **changes) -> ReleaseDir."""

    def make(rungs: list[Any], files: dict[str, str], governor: Any = None, **changes: Any) -> ReleaseDir:
        return make_ladder(tmp_path / "release", models, rungs, files, governor, **changes)

    yield make


def test_under_load_a_cheaper_rung_answers_and_then_the_best_again(ladder: Make, serve: Serve) -> None:
    """Figures ten times those of this machine: what is decided does not hang on who else wants its processor."""
    rungs = [rung("quick", 1e-4, 0.8), rung("slow", 3.5, 0.9)]
    service = loaded(serve(ladder(rungs, {"quick": "quick", "slow": "slow"})))
    in_time = parameters_of(service.infer(asked([0.001], deadline_ms=3000)))
    assert in_time == {"variant": "quick", "reason": "in-time"}
    answers = [parameters_of(reply) for reply in at_once(service, [asked([0.001])] * 12)]
    assert {"variant": "quick", "reason": "load"} in answers
    assert {answer["reason"] for answer in answers} <= {"load", "accurate"}
    assert parameters_of(service.infer(asked([0.001]))) == {"variant": "slow", "reason": "accurate"}
    document = told(service)
    assert set(document["time_in_rung"]) == {"quick", "slow"}
    assert document["misses"] == document["refused"] == 0


def test_a_figure_that_is_wrong_beside_the_others_is_found_out(ladder: Make, serve: Serve) -> None:
    """The small one takes a tenth of its figure or less, beside the large one's: whatever this machine is."""
    rungs = [rung("quick", 0.02, 0.8), rung("middle", 0.021, 0.9)]
    service = loaded(serve(ladder(rungs, {"quick": "quick", "middle": "middle"})))
    for _ in range(20):
        for name in ("quick", "middle"):
            assert parameters_of(service.infer(asked([0.001], variant=name)))["variant"] == name
    factors = {row["variant"]: row["factor"] for row in told(service)["rungs"]}
    assert factors["quick"] < 0.6 * factors["middle"], factors


def test_what_waits_in_vain_is_refused_before_its_turn(ladder: Make, serve: Serve) -> None:
    service = loaded(serve(ladder([rung("slow", 0.35, 0.9)], {"slow": "slow"})))
    replies = at_once(service, [asked([0.001]), asked([0.001]), asked([0.001], deadline_ms=500)])
    assert [reply.status for reply in replies[:2]] == [200, 200]
    assert replies[2].status == 503 and "late" in replies[2].json["error"]
    assert int(replies[2].headers["retry-after"]) >= 1
    assert told(service)["refused"] == 1


def test_heat_goes_a_rung_down_and_a_lost_sensor_never_up(ladder: Make, serve: Serve, tmp_path: Path) -> None:
    temperature = tmp_path / "root" / HEAT
    temperature.parent.mkdir(parents=True)
    temperature.write_text("50000\n")
    release = ladder(TWO, DENSE, {"sensors": [SENSOR], "settings": {"log": True}})
    service = loaded(serve(release, environment={"EDGESHIP_SENSOR_ROOT": str(tmp_path / "root")}))

    def answer() -> Any:
        return parameters_of(service.infer(asked(X)))

    until(lambda: told(service)["temperature_c"] == 50.0)
    assert answer() == {"variant": "f32", "reason": "accurate"}
    temperature.write_text("79000\n")
    until(lambda: answer() == {"variant": "i8", "reason": "temperature"})
    assert service.metric("edgeship_temperature_celsius") == 79.0
    temperature.unlink()
    until(lambda: "soc" in told(service)["slow"]["blind"])
    assert answer()["variant"] == "i8" and told(service)["temperature_c"] is None
    assert "why" in told(service)["readings"]["soc"]
    until(lambda: answer()["reason"] == "blind")
    assert told(service)["why"] == "no reading of soc: nothing goes up until it is back"
    temperature.write_text("60000\n")
    until(lambda: answer() == {"variant": "f32", "reason": "accurate"})
    assert service.stderr().count('"event": "rung"') >= 1

    service.stop()
    log = release.path / "decisions.jsonl"
    code, document, _ = release.main("replay", "--log", str(log))
    assert code == 0 and document["mismatches"] == 0 and document["reasons"]["temperature"] >= 1, document


def test_settings_of_the_device_are_taken_over_while_it_serves(
    ladder: Make, serve: Serve, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    tune(kept, {"mode": "off"})
    release = ladder(TWO, DENSE, {"settings": {"deadline_ms": 30_000}})
    service = loaded(serve(release, "--kept", str(kept)))
    assert parameters_of(service.infer(asked(X))) == {"variant": "f32", "reason": "off"}
    assert service.metric('edgeship_rung_loaded{variant="i8"}') == 0
    assert service.infer(asked(X, variant="i8")).status == 400

    def answer() -> Any:
        return parameters_of(service.infer(asked(X)))

    tune(kept, {"variant": "i8"})
    until(lambda: answer() == {"variant": "i8", "reason": "pinned"})
    (kept / "settings.json").write_text("{")
    until(lambda: told(service)["problems"])
    assert answer()["variant"] == "i8" and told(service)["settings"]["deadline_ms"] == 30_000
    tune(kept, {"watts": -1})
    until(lambda: "watts" in str(told(service)["problems"]))
    (kept / "settings.json").unlink()
    until(lambda: told(service)["problems"] == [])
    assert answer() == {"variant": "f32", "reason": "accurate"}


def test_figures_of_the_device_replace_the_hosts_and_leave_out_what_is_beaten(
    ladder: Make, serve: Serve, tmp_path: Path
) -> None:
    release = ladder(TWO, DENSE)
    kept = tmp_path / "kept"
    kept.mkdir()
    from es_release import load_release

    rows = {"i8": {"seconds": 3e-5, "p95_seconds": 4e-5}, "f32": {"seconds": 2e-5, "p95_seconds": 3e-5}}
    document = {"schema": "edgeship.figures/1", "release": load_release(str(release.path)).id, "rungs": rows}
    (kept / f"figures-{document['release']}.json").write_text(json.dumps(document))
    service = loaded(serve(release, "--kept", str(kept)))
    seen = told(service)
    assert [row["variant"] for row in seen["rungs"]] == ["f32"] and seen["rungs"][0]["measured"] == "device"
    assert "at least as accurate" in dict(seen["left_out"])["i8"]
    assert parameters_of(service.infer(asked(X))) == {"variant": "f32", "reason": "only-rung"}
    assert parameters_of(service.infer(asked(X, variant="i8")))["variant"] == "i8"


def test_a_cascade_asks_the_big_one_where_the_little_one_is_not_sure(ladder: Make, serve: Serve) -> None:
    cascade = {"little": "i8", "big": "f32", "margin": 5.0, "share": 0.1}
    rungs = [TWO[0], rung("both", 1e-5, 0.95, cascade=cascade), TWO[1]]
    service = loaded(serve(ladder(rungs, DENSE)))
    sure, unsure = X, [0.1, 0.0, 0.0, 0.0, 0.0, 0.1]
    apart = {}
    for values, variant in ((sure, "i8"), (unsure, "f32")):
        reply = service.infer(asked(values))
        assert parameters_of(reply)["variant"] == variant
        pinned = service.infer(asked(values, variant=variant))
        assert reply.json["outputs"] == pinned.json["outputs"]
        apart[variant] = reply.json["outputs"][0]["data"]
    mixed = service.infer(asked(sure + unsure + sure, 3))
    assert parameters_of(mixed)["variant"] == "both"
    assert mixed.json["outputs"][0]["data"] == apart["i8"] + apart["f32"] + apart["i8"]
    assert parameters_of(service.infer(asked(unsure * 2, 2)))["variant"] == "f32"


def test_requests_that_wait_are_answered_by_one_run_with_the_same_bits(ladder: Make, serve: Serve) -> None:
    row = rung("mlp", 1e-4, 0.9, fixed_seconds=6e-5, each_seconds=4e-5)
    service = loaded(serve(ladder([row], {"mlp": "mlp"}, limits={"queue": 64})))
    inputs = [[((i * 7 + n * 31) % 101 - 50) / 16.0 for i in range(640)] for n in range(12)]
    alone = [service.infer(asked(values)).json["outputs"] for values in inputs]
    joined: list[int] = []

    def some_joined() -> bool:
        replies = at_once(service, [asked(values) for values in inputs])
        assert [reply.json["outputs"] for reply in replies] == alone
        joined.extend(parameters_of(reply).get("joined", 1) for reply in replies)
        return max(joined) > 1

    until(some_joined)
    together = service.infer(asked([v for values in inputs for v in values], 12)).json["outputs"][0]["data"]
    assert together == [v for outputs in alone for v in outputs[0]["data"]]


def test_runs_that_depend_on_one_another_are_never_joined(ladder: Make, serve: Serve) -> None:
    row = rung("pairs", 1e-4, 0.9, fixed_seconds=6e-5, each_seconds=4e-5)
    service = loaded(serve(ladder([row], {"pairs": "pairs"})))
    assert "its answers depend on what is computed with them" in service.stderr()
    values = [float(n) for n in range(12)]
    data = service.infer(asked(values, 4)).json["outputs"][0]["data"]
    assert (
        data
        == service.infer(asked(values[:6], 2)).json["outputs"][0]["data"]
        + (service.infer(asked(values[6:], 2)).json["outputs"][0]["data"])
    )


def test_a_still_stream_gets_its_last_answer_again(ladder: Make, serve: Serve) -> None:
    service = loaded(serve(ladder(TWO, DENSE, {"settings": {"still": 0.01}})))
    first = service.infer(asked(X, stream="cam1"))
    assert "skipped" not in parameters_of(first)
    again = service.infer(asked(X, stream="cam1"))
    assert parameters_of(again)["skipped"] is True and again.json["outputs"] == first.json["outputs"]
    moved = service.infer(asked([v + 1.0 for v in X], stream="cam1"))
    assert "skipped" not in parameters_of(moved) and moved.json["outputs"] != first.json["outputs"]
    assert "skipped" not in parameters_of(service.infer(asked(X, stream="cam2")))
    assert service.metric("edgeship_skipped_total") == 1


def test_a_periodic_job_does_less_of_its_work_while_the_engine_is_busy(ladder: Make, serve: Serve) -> None:
    service = loaded(serve(ladder([rung("middle", 0.02, 0.9)], {"middle": "middle"})))
    # So many runs that the second request comes while the first is computed, however slow its client is.
    count = 40
    body = asked([0.001] * count, count, period_ms=1)
    told = sorted(
        (parameters_of(answer)["work"], parameters_of(answer)["done"], answer.json["outputs"][0]["shape"])
        for answer in at_once(service, [body] * 3)
    )
    assert told[-1] == (1.0, count, [count, 1]) and told[0][0] < 1.0
    for work, done, shape in told:
        assert shape == [done, 1] and done == math.ceil(work * count - 1e-9)
    at_rest = parameters_of(service.infer(asked([0.001] * count, count, period_ms=3_600_000)))
    assert told[0][1] < at_rest["done"] <= told[0][1] / 0.7 + 1


def test_threads_follow_what_the_governor_allows(ladder: Make, serve: Serve, tmp_path: Path) -> None:
    flag = tmp_path / "root" / "throttled"
    flag.parent.mkdir(parents=True)
    flag.write_text("0x0\n")
    bits = {"under-voltage": 0}
    sensor = {"name": "supply", "kind": "throttle", "path": "/throttled", "bits": bits}
    rungs = [rung("quick", 1e-4, 0.8, threads=2), rung("middle", 0.02, 0.9, threads=2)]
    release = ladder(rungs, {"quick": "quick", "middle": "middle"}, {"sensors": [sensor]})
    service = loaded(serve(release, environment={"EDGESHIP_SENSOR_ROOT": str(tmp_path / "root")}))
    assert parameters_of(service.infer(asked([0.001])))["variant"] == "middle"
    flag.write_text("0x1\n")
    until(lambda: parameters_of(service.infer(asked([0.001])))["reason"] == "under-voltage")
    lines = until(lambda: [line for line in service.stderr().splitlines() if '"threads": 1' in line])
    assert json.loads(lines[0])["event"] == "rung-loaded"
    with contextlib.suppress(EOFError):
        assert parameters_of(service.infer(asked([0.001])))["variant"] == "quick"
