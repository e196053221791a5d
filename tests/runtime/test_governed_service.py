"""A service with a ladder: which rung answers, what it says of it, and who decides."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from island_lab import ReleaseDir, Service, make_ladder, rung

X = [1.0, -2.0, 0.5, 3.0, 0.0, -1.5]
RUNGS = [
    rung("i8", 5e-6, 0.8),
    rung("i8+f32", 1e-5, 0.85, cascade={"little": "i8", "big": "f32", "margin": 5.0, "share": 0.1}),
    rung("f32", 2e-5, 0.9),
]
FILES = {"i8": "dense_i8", "f32": "dense_f32"}


def document(**parameters: Any) -> dict[str, Any]:
    """Return a good request."""
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": X}]
    return {"inputs": inputs, **({"parameters": parameters} if parameters else {})}


def told(service: Service) -> Any:
    """Return the governor's document."""
    return service.ask("GET", "/v2/models/app/governor").json


def settled(service: Service, names: set[str]) -> Service:
    """Wait until these rungs are loaded."""
    until = time.monotonic() + 20
    while (seen := told(service))["loading"] or {row["variant"] for row in seen["rungs"]} != names:
        assert time.monotonic() < until, told(service)
        time.sleep(0.01)
    return service


@pytest.fixture(scope="module")
def ladder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of two rungs and their cascade for tests that leave it as they found it."""
    made = make_ladder(tmp_path_factory.mktemp("ladder") / "release", models, RUNGS, FILES)
    service = settled(Service(made).wait(), {"i8", "i8+f32", "f32"})
    yield service
    service.kill()


def test_the_best_rung_answers_and_a_request_may_name_another(ladder: Service) -> None:
    assert ladder.infer(document()).json["parameters"] == {"variant": "f32", "reason": "accurate"}
    for name in ("i8", "f32"):
        assert ladder.infer(document(variant=name)).json["parameters"] == {
            "variant": name,
            "reason": "pinned",
        }
    refused = ladder.infer(document(variant="nope"))
    assert refused.status == 400 and "i8+f32, f32" in refused.json["error"]
    metadata = ladder.ask("GET", "/v2/models/app").json
    assert metadata["parameters"]["variants"] == ["i8", "i8+f32", "f32"]


@pytest.mark.parametrize("value", ["-1", "0", '"x"', "1e400", "true", "[]", "1e9"])
@pytest.mark.parametrize("name", ["deadline_ms", "period_ms"])
def test_milliseconds_that_are_none_are_refused(ladder: Service, name: str, value: str) -> None:
    body = json.dumps(document(**{name: 0})).replace(f'"{name}": 0', f'"{name}": {value}')
    refused = ladder.ask("POST", "/v2/models/app/infer", body.encode())
    assert refused.status == 400 and name in refused.json["error"], refused.json


@pytest.mark.parametrize(
    "parameters", [{"variant": 7}, {"variant": ""}, {"variant": "x" * 200}, {"stream": []}, {"stream": ""}]
)
def test_names_that_are_none_are_refused(ladder: Service, parameters: dict[str, Any]) -> None:
    refused = ladder.infer(document(**parameters))
    assert refused.status == 400 and next(iter(parameters)) in refused.json["error"]


def test_a_chosen_variant_that_is_no_rung_can_be_pinned(models: Path, tmp_path: Path) -> None:
    made = make_ladder(tmp_path / "release", models, RUNGS[:1], FILES, {"settings": {"variant": "f32"}})
    service = settled(Service(made).wait(), {"i8"})
    try:
        assert service.infer(document()).json["parameters"] == {"variant": "f32", "reason": "pinned"}
        assert service.infer(document(variant="i8")).json["parameters"]["variant"] == "i8"
    finally:
        service.kill()


def test_what_cannot_finish_is_refused_at_once(ladder: Service) -> None:
    before = told(ladder)["refused"]
    refused = ladder.infer(document(deadline_ms=1e-6))
    assert refused.status == 503 and int(refused.headers["retry-after"]) >= 1
    assert told(ladder)["refused"] == before + 1
    assert ladder.metric("edgeship_deadline_refused_total") == before + 1
    assert ladder.infer(document(deadline_ms=5000)).status == 200


def test_a_service_without_a_governor_has_none_of_it(dense_service: Service) -> None:
    assert dense_service.ask("GET", "/v2/models/app/governor").status == 404
    assert dense_service.infer(document(deadline_ms="x", variant=7)).json["parameters"] == {"variant": "r"}
    assert b"governor" not in dense_service.ask("GET", "/metrics").body
    assert "variants" not in dense_service.ask("GET", "/v2/models/app").json["parameters"]


def test_a_broken_rung_is_left_out_and_said_so(models: Path, tmp_path: Path) -> None:
    made: ReleaseDir = make_ladder(tmp_path / "release", models, RUNGS, FILES)
    (made.path / "models" / "i8.tflite").write_bytes(b"no model")
    service = settled(Service(made).wait(), {"f32"})
    try:
        left_out = dict(told(service)["left_out"])
        assert "cannot be loaded" in left_out["i8"] and "i8+f32" in left_out
        assert service.metric('edgeship_rung_loaded{variant="i8"}') == 0
        assert service.infer(document()).json["parameters"] == {"variant": "f32", "reason": "only-rung"}
        assert service.infer(document(variant="i8")).status == 503
        assert '"event": "rung-left-out"' in service.stderr()
    finally:
        service.kill()
