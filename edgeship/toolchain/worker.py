"""Run one Python function in its own process: JSON in, JSON out, with a time and memory limit and captured output.

A worker that raises EdgeshipError raises the same error here. One that dies (a segfault in a converter, the kernel's
memory killer, the time limit) raises ToolError with the tool's last words. Nothing it prints reaches our stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeship.errors import EdgeshipError, ToolError
from edgeship.progress import Progress, Silent

LAST_WORDS = 2000
"""Characters of a dead tool's output that an error shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What a worker may take. `memory_mb` limits the address space (RLIMIT_AS); None leaves it open."""

    seconds: float = 600.0
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResult:
    """What a worker returned, how long it ran (seconds), its peak resident memory (MiB) and what it printed."""

    value: Any
    seconds: float
    peak_rss_mb: float
    log: str = field(repr=False)


def run_worker(
    function: str,
    payload: Mapping[str, Any],
    *,
    limits: WorkerLimits = WorkerLimits(),
    progress: Progress | None = None,
    environment: Mapping[str, str] | None = None,
    python_path: tuple[Path, ...] = (),
    stop: Callable[[], bool] | None = None,
) -> WorkerResult:
    """Call `package.module:function(payload, report)` in a fresh process and return what it returned.

    `payload` and the result are JSON documents (arrays travel as .npy/.npz files whose paths stand in them).
    `report(text)` inside the worker becomes `progress.step(text)`; `report(text, done, total)` an advance.
    `python_path` goes before everything else on the worker's `sys.path` (a tool's own environment).
    Where `stop` comes to say so the worker is killed: who works in threads cannot be interrupted otherwise.
    Raises the worker's own EdgeshipError, or ToolError `worker-crashed`, `worker-timeout`, `worker-stopped`,
    `worker-failed`.
    """
    show = progress or Silent()
    with tempfile.TemporaryDirectory(prefix="edgeship-worker-") as folder:
        home = Path(folder)
        request = {"function": function, "payload": dict(payload), "memory_mb": limits.memory_mb}
        (home / "request.json").write_text(json.dumps(request))
        env = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "CUDA_VISIBLE_DEVICES": "-1",
            **(environment or {}),
        }
        package_root = str(Path(__file__).resolve().parents[2])
        env["PYTHONPATH"] = os.pathsep.join(
            [*map(str, python_path), package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        started = time.monotonic()
        read_end, write_end = os.pipe()
        with (home / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "edgeship.toolchain.child", str(home), str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                pass_fds=(write_end,),
                start_new_session=True,
            )
        os.close(write_end)
        listener = threading.Thread(target=_listen, args=(read_end, show), daemon=True)
        listener.start()
        try:
            code = _ended(process, limits.seconds, stop)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise ToolError(
                "worker-timeout",
                f"{function} did not finish in {limits.seconds:.0f} s and was stopped",
                context={"last words": _last_words(home)},
                hint="run the command again while nothing else runs, with fewer samples, or on a faster machine",
            ) from None
        except BaseException:
            _kill(process)
            raise
        finally:
            listener.join(timeout=5)
        return _result(home, function, code, time.monotonic() - started, process.pid)


def _ended(process: subprocess.Popen[bytes], seconds: float, stop: Callable[[], bool] | None = None) -> int:
    """Return the worker's exit status as soon as it ends. Raises subprocess.TimeoutExpired, ToolError `worker-stopped`.

    With a time limit `Popen.wait` looks every 50 ms: a build has a dozen workers that live half a second.
    """
    if stop is not None:
        until = time.monotonic() + seconds
        while not stop() and time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=0.2)
        if stop():
            raise ToolError("worker-stopped", "it was told to stop")
        raise subprocess.TimeoutExpired(process.args, seconds)
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # an old kernel, or a sandbox that lacks the call
        return process.wait(timeout=seconds)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(1000 * seconds):
            raise subprocess.TimeoutExpired(process.args, seconds)
    finally:
        os.close(handle)
    return process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _listen(read_end: int, progress: Progress) -> None:
    """Turn the worker's report lines into progress calls until it closes its end."""
    with os.fdopen(read_end, "r", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if message.get("total"):
                progress.advance(int(message["done"]), int(message["total"]), str(message["text"]))
            elif message.get("note"):
                progress.note(str(message["text"]))
            else:
                progress.step(str(message["text"]))


def _last_words(home: Path) -> str:
    try:
        text = (home / "log.txt").read_text(errors="replace").strip()
    except OSError:
        return "(nothing)"
    return text[-LAST_WORDS:] or "(nothing)"


def _result(home: Path, function: str, code: int, seconds: float, pid: int) -> WorkerResult:
    reply = home / "reply.json"
    if code < 0:
        name = signal.Signals(-code).name
        raise ToolError(
            "worker-crashed",
            f"{function} was killed by {name} after {seconds:.1f} s",
            context={"last words": _last_words(home)},
            hint="a SIGKILL usually means too little memory: free some, or use a smaller dataset"
            if name == "SIGKILL"
            else "this is a bug in the tool itself: try another --recipe, or report it with the last words above",
        )
    try:
        document = json.loads(reply.read_text())
    except (OSError, ValueError):
        raise ToolError(
            "worker-failed",
            f"{function} ended with status {code} and no result",
            context={"last words": _last_words(home)},
        ) from None
    if error := document.get("error"):
        raise EdgeshipError.from_json(error)
    return WorkerResult(
        value=document["value"],
        seconds=seconds,
        peak_rss_mb=float(document["peak_rss_mb"]),
        log=(home / "log.txt").read_text(errors="replace"),
    )
