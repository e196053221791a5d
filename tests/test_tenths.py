"""`--tenth`: a tenth of the tests of every file; the ten tenths are all of them, none twice."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ["tests/test_foundation.py", "tests/test_strictyaml.py"]


def collected(*options: str) -> set[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        *options,
        *FILES,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_a_tenth_is_about_a_tenth_of_every_file_and_always_the_same() -> None:
    whole, third = collected(), collected("--tenth", "3")
    assert third == {name for name in whole if zlib.crc32(name.encode()) % 10 == 3}
    assert len(whole) / 20 < len(third) < len(whole) / 5
    assert {name.split("::")[0] for name in third} == set(FILES)
