"""Words that the tests on trust share: signatures made by the real ssh-keygen, and a clock for the helper."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgeship.digest import canonical_json

RELEASE = "a" * 64
NOW = 1_800_000_000
DAY = 86_400


def set_clock(module: ModuleType, monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    """Have the helper believe that it is `now`."""
    clock = SimpleNamespace(**{k: getattr(time, k) for k in dir(time) if not k.startswith("__")})
    clock.time = lambda: now
    monkeypatch.setattr(module, "time", clock)


def public(path: Path) -> str:
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def fingerprint(path: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-l", "-f", str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def statement(**changes: Any) -> str:
    said = {
        "schema": "edgeship.statement/1",
        "release": RELEASE,
        "app": "kws",
        "target": "test",
        "version": "1",
        "sequence": 10,
        "signed_at": NOW - DAY,
        "expires": NOW + 30 * DAY,
        **changes,
    }
    return canonical_json(said).decode()


def by(key: Path, text: str | None = None, *, namespace: str = "edgeship", **changes: Any) -> dict[str, str]:
    """Return a signature as it travels, made by the real ssh-keygen."""
    text = statement(**changes) if text is None else text
    argv = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", namespace]
    done = subprocess.run(argv, input=text.encode(), capture_output=True, check=True)
    return {"statement": text, "signature": done.stdout.decode()}


def tell(helper: ModuleType, place: Any, *names: Path, revoke: tuple[str, ...] = (), **changes: Any) -> Any:
    """Tell the device which keys may sign, as the controller does."""
    signers = [{"name": path.name, "key": public(path)} for path in names]
    request = {"signers": signers, "revoke": list(revoke), "changes": {"unsigned": "refuse", **changes}}
    return helper.change_trust(helper.Place(place.root), request)


def refused(helper: ModuleType, work: Callable[[], Any]) -> Any:
    """Return the refusal that `work` ends with."""
    with pytest.raises(helper.Refusal) as caught:
        work()
    return caught.value


def tree(place: Any) -> dict[str, bytes]:
    """Return every file below the device's root, with its content."""
    return {str(p): p.read_bytes() for p in Path(place.root).rglob("*") if p.is_file() and p.name != "lock"}
