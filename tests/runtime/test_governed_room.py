"""A rung that is loaded anew with other threads never takes more memory than was counted for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import es_answers
import es_model
import es_rung_set
import pytest
from es_budget import Budget
from es_errors import CannotRun
from es_governor import Governor
from es_metrics import Metrics
from es_release import load_release
from es_room import available_bytes, is_short
from es_rungs import Ladder
from governed_lab import asked
from island_lab import make_ladder
from test_governed_rungs import FILES, RUNGS, X, request_of

MIB = 1 << 20


class Engines:
    """Every engine that is loaded, by variant; loading fails with a number of threads in `refused`."""

    def __init__(self) -> None:
        self.alive: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.refused: set[int] = set()
        self.slow = threading.Event()
        self.slow.set()

    def load(self, made: Any, release: Any, spec: Any) -> Any:
        self.slow.wait(20.0)
        if release.engine["threads"] in self.refused:
            raise CannotRun("model-load", "no memory")
        name, engine = spec["name"], made(release, spec)
        self.alive[name] = self.alive.get(name, 0) + 1
        self.most[name] = max(self.most.get(name, 0), self.alive[name])
        close = engine.close

        def closed() -> None:
            close()
            self.alive[name] -= 1

        engine.close = closed
        return engine


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    found, made = Engines(), es_model.load_engine
    monkeypatch.setattr(es_model, "load_engine", lambda release, spec: found.load(made, release, spec))
    return found


class Threads:
    """How many threads the governor wants for all rungs."""

    wanted = 1


@pytest.fixture
def made(
    models: Path, tmp_path: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Ladder, Governor]]:
    monkeypatch.setattr(es_rung_set.RungSet, "_wanted_threads", lambda self, name: Threads.wanted)
    monkeypatch.setattr(Threads, "wanted", 1)
    release = load_release(str(make_ladder(tmp_path / "release", models, RUNGS, FILES).path))
    governor = Governor(release, str(tmp_path), {})
    ladder = Ladder(release, Metrics({}), Budget(release.limits), governor)
    load(ladder)
    yield ladder, governor


def load(ladder: Ladder) -> None:
    end = time.monotonic() + 60.0
    while ladder.to_load():
        assert time.monotonic() < end
        ladder.load_next()


def answer(ladder: Ladder, quick: bool = False) -> Any:
    now = time.monotonic()
    request = request_of(asked(X), now)
    request.asked.behind = 0
    return ladder.answer(request, now + 30.0, quick=quick)


def variant(reply: Any) -> Any:
    assert reply.status == 200, reply.body
    return json.loads(reply.body)["parameters"]["variant"]


@pytest.mark.parametrize(("short", "most"), [(True, 1), (False, 2)])
def test_where_memory_is_short_the_engine_of_before_goes_first(
    made: Any, engines: Engines, monkeypatch: pytest.MonkeyPatch, short: bool, most: int
) -> None:
    needed = []
    monkeypatch.setattr(es_rung_set, "is_short", lambda count: needed.append(count) or short)
    Threads.wanted = 2
    load(made[0])
    assert engines.most == {"i8": most, "f32": most} and engines.alive == {"i8": 1, "f32": 1}
    assert len(needed) == 2 and min(needed) > 100, "bytes that each takes"
    assert variant(answer(made[0])) == "f32"


def test_what_cannot_be_loaded_with_other_threads_is_loaded_as_it_was(
    made: Any, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(es_rung_set, "is_short", lambda count: True)
    Threads.wanted = 2
    engines.refused = {2}
    load(made[0])
    assert engines.alive == {"i8": 1, "f32": 1} and not made[1].failed and variant(answer(made[0])) == "f32"


def test_one_that_cannot_be_loaded_at_all_any_more_is_left_out_and_tried_again(
    made: Any, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(es_rung_set, "is_short", lambda count: True)
    monkeypatch.setattr(es_answers, "RETRY_SECONDS", 0.0)
    ladder, governor = made
    Threads.wanted = 2
    engines.refused = {1, 2}
    ladder.load_next()
    (lost,) = governor.failed
    assert ladder.healthy and engines.alive[lost] == 0
    (other,) = {"i8", "f32"} - {lost}
    assert variant(answer(ladder)) == other, "nothing runs the engine that is gone"
    engines.refused = set()
    assert ladder.due() is not None
    ladder.chores()
    load(ladder)
    assert not governor.failed and engines.alive == {"i8": 1, "f32": 1} and variant(answer(ladder)) == "f32"


def test_the_loop_leaves_a_request_to_the_worker_while_an_engine_is_exchanged(
    made: Any, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not stand still for as long as a model takes to load."""
    monkeypatch.setattr(es_rung_set, "is_short", lambda count: True)
    ladder, _ = made
    answer(ladder)
    assert answer(ladder, quick=True) is not None
    Threads.wanted = 2
    engines.slow.clear()
    loader = threading.Thread(target=ladder.load_next)
    loader.start()
    end = time.monotonic() + 20.0
    while not ladder._engines.locked():
        assert time.monotonic() < end
        time.sleep(0.001)
    assert answer(ladder, quick=True) is None
    engines.slow.set()
    loader.join(20.0)
    assert answer(ladder, quick=True) is not None


def test_what_the_machine_and_its_group_leave(tmp_path: Path) -> None:
    root = str(tmp_path)

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert available_bytes(root) is None and is_short(1, root), "nobody tells: as if there was none"
    write("proc/meminfo", f"MemTotal: 4000000 kB\nMemAvailable: {100 * 1024} kB\n")
    assert available_bytes(root) == 100 * MIB
    write("proc/self/cgroup", "0::/system.slice/edgeship-kws.service\n")
    assert available_bytes(root) == 100 * MIB, "a group without files"
    group = "sys/fs/cgroup/system.slice/edgeship-kws.service/memory."
    write(group + "current", f"{50 * MIB}\n")
    write(group + "max", "max\n")
    assert available_bytes(root) == 100 * MIB
    write(group + "max", f"{80 * MIB}\n")
    assert available_bytes(root) == 30 * MIB
    write(group + "stat", f"anon 5\ninactive_file {10 * MIB}\n")
    assert available_bytes(root) == 40 * MIB
    assert not is_short(20 * MIB, root) and is_short(30 * MIB, root)
    write("proc/self/cgroup", "4:cpu,memory:/edge\n0::/\n")
    old = "sys/fs/cgroup/memory/edge/memory."
    write(old + "limit_in_bytes", f"{60 * MIB}\n")
    write(old + "usage_in_bytes", f"{55 * MIB}\n")
    assert available_bytes(root) == 5 * MIB
    assert available_bytes() is None or available_bytes() > 0
