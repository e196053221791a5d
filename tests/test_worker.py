"""Worker processes: results, the tool's own errors, crashes, time and memory limits, progress."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from edgeship.errors import InputError, ToolError
from edgeship.toolchain import WorkerLimits, run_worker

JOBS = """
import ctypes, os, signal, sys, time
from edgeship.errors import InputError

def add(payload, report):
    print("this must not reach our stdout")
    report("adding")
    report("numbers", 1, 2)
    report("careful", note=True)
    return {"sum": payload["a"] + payload["b"], "heavy": "tensorflow" in sys.modules}

def bad_input(payload, report):
    raise InputError("some-reference", "what happened", context={"file": "x"}, hint="type this")

def broken(payload, report):
    return {}["no such key"]

def segfault(payload, report):
    print("converting layer 7", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(payload, report):
    os._exit(3)

def sleep(payload, report):
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(payload["file"], "w").write(str(child.pid))
    time.sleep(60)

def greedy(payload, report):
    return len(bytearray(1 << 31))
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "jobs_of_this_test.py").write_text(JOBS)
    return (folder,)


class Seen:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def step(self, text: str) -> None:
        self.events.append(("step", text))

    def advance(self, done: int, total: int, unit: str) -> None:
        self.events.append(("advance", done, total, unit))

    def note(self, text: str) -> None:
        self.events.append(("note", text))


def test_result_log_and_progress(jobs: tuple[Path, ...], capfd: pytest.CaptureFixture[str]) -> None:
    seen = Seen()
    result = run_worker("jobs_of_this_test:add", {"a": 2, "b": 3}, progress=seen, python_path=jobs)
    assert result.value == {"sum": 5, "heavy": False}
    assert "this must not reach our stdout" in result.log
    assert result.peak_rss_mb > 5
    assert seen.events == [("step", "adding"), ("advance", 1, 2, "numbers"), ("note", "careful")]
    assert capfd.readouterr() == ("", "")


def test_its_end_is_seen_at_once(jobs: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(seconds: float) -> None:
        raise AssertionError(f"looks again after {seconds} s")

    monkeypatch.setattr("time.sleep", never)
    assert run_worker("jobs_of_this_test:add", {"a": 2, "b": 3}, python_path=jobs).value["sum"] == 5


def test_a_kernel_without_handles_of_processes(
    jobs: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(pid: int) -> int:
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(os, "pidfd_open", missing)
    assert run_worker("jobs_of_this_test:add", {"a": 2, "b": 3}, python_path=jobs).value["sum"] == 5


def test_its_own_error_arrives_whole(jobs: tuple[Path, ...]) -> None:
    with pytest.raises(InputError) as caught:
        run_worker("jobs_of_this_test:bad_input", {}, python_path=jobs)
    assert caught.value.render() == ("error: some-reference\n  what happened\n  file: x\nhint: type this")
    assert caught.value.exit_code == 2


def test_an_exception_becomes_data(jobs: tuple[Path, ...]) -> None:
    with pytest.raises(ToolError, match="KeyError: 'no such key'") as caught:
        run_worker("jobs_of_this_test:broken", {}, python_path=jobs)
    assert caught.value.reference == "tool-failed"


def test_a_crash_says_the_tools_last_words(jobs: tuple[Path, ...]) -> None:
    with pytest.raises(ToolError, match="killed by SIGSEGV") as caught:
        run_worker("jobs_of_this_test:segfault", {}, python_path=jobs)
    assert caught.value.reference == "worker-crashed"
    assert caught.value.context["last words"] == "converting layer 7"


def test_leaving_without_a_result(jobs: tuple[Path, ...]) -> None:
    with pytest.raises(ToolError, match="ended with status 3 and no result"):
        run_worker("jobs_of_this_test:leave", {}, python_path=jobs)


def test_the_time_limit_takes_its_children_too(jobs: tuple[Path, ...], tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(ToolError, match="did not finish in 2 s") as caught:
        run_worker(
            "jobs_of_this_test:sleep",
            {"file": str(file)},
            limits=WorkerLimits(seconds=2),
            python_path=jobs,
        )
    assert caught.value.reference == "worker-timeout"
    child = int(file.read_text())
    for _ in range(100):
        if not _alive(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the worker's own child outlived it")


def test_the_memory_limit(jobs: tuple[Path, ...]) -> None:
    with pytest.raises(ToolError) as caught:
        run_worker("jobs_of_this_test:greedy", {}, limits=WorkerLimits(memory_mb=512), python_path=jobs)
    assert caught.value.reference == "worker-out-of-memory"


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_the_command_line_stays_light() -> None:
    """`--help` loads no heavy tool and nothing that is slow to import."""
    import subprocess

    code = (
        "import sys; from edgeship.cli.main import run; run(['--help']); "
        "heavy = {'tensorflow', 'numpy', 'fabric', 'pydantic', 'rich', 'jinja2', 'yaml'} & set(sys.modules); "
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "edgeship demo" in done.stdout
