"""Recorded traces in the forms that services and people write them down in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from es_errors import CannotRun
from es_traces_read import read_trace

# Each is four requests at 0, 0.25, 1 and 3 seconds.
FORMS = {
    "numbers, one a line": "100.5\n100.75\n101.5\n103.5\n",
    "from 1970, in milliseconds": "1764338400500\n1764338400750\n1764338401500\n1764338403500\n",
    "JSON lines of numbers": "0\n0.25\n1.0\n3.0\n",
    "JSON lines of objects": '{"at": 7, "who": "a"}\n{"at": 7.25}\n\n{"at": 8}\n{"at": 10}\n',
    "objects with dates": '{"timestamp": "2026-11-28T14:00:00Z"}\n{"timestamp": "2026-11-28T14:00:00.250Z"}\n'
    '{"timestamp": "2026-11-28T15:00:01+01:00"}\n{"timestamp": "2026-11-28T14:00:03"}\n',
    "one JSON list": "[0, 0.25,\n 1, 3]",
    "one JSON list of objects": '[\n{"t": 5},\n{"t": 5.25},\n{"t": 6},\n{"t": 8}\n]',
    "CSV with a head": "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46.6805900,374\n2023-11-16 18:15:46.9305900,396\n"
    "2023-11-16 18:15:47.6805900,879\n2023-11-16 18:15:49.6805900,91\n",
    "CSV of another country": '"who";"time"\n"a";"4"\n"b";"4.25"\n"c";"5"\n"d";"7"\n',
    "CSV without a head": "1.0,80\n1.25,80\n2,80\n4,80\n",
    "a web server's access log": '10.0.0.7 - - [28/Nov/2026:14:00:00.00 +0100] "POST /v2/models/k/infer HTTP/1.1" 200\n'
    '10.0.0.8 - - [28/Nov/2026:14:00:00.25 +0100] "POST /v2/models/k/infer HTTP/1.1" 200\n'
    '10.0.0.7 - - [28/Nov/2026:13:00:01.00 +0000] "POST /v2/models/k/infer HTTP/1.1" 200\n'
    '10.0.0.7 - - [28/Nov/2026:14:00:03.00 +0100] "POST /v2/models/k/infer HTTP/1.1" 503\n',
    "a log that begins with times": "# of Monday\n2026-11-28 14:00:00,000 INFO a\n2026-11-28 14:00:00,250 INFO b\n"
    "2026-11-28 14:00:01,000 INFO asked\n2026-11-28 14:00:03,000 INFO asked\n",
    "records of journald": '{"__REALTIME_TIMESTAMP": "1764338400000000", "MESSAGE": "a"}\n'
    '{"__REALTIME_TIMESTAMP": "1764338400250000"}\n{"__REALTIME_TIMESTAMP": "1764338401000000"}\n'
    '{"__REALTIME_TIMESTAMP": "1764338403000000"}\n',
    "the governor's own log": '{"schema": "edgeship.decisions/2", "profile": {}, "state": []}\n'
    '[["admit", 50.0, 0, 1.0, 0.08, null], [-1, false, 0.0, 0, 1], "admitted"]\n'
    '[["dispatch", 50.0, 0.0, 0, 1.0, 0.08, null, 1], [0, false, 0.0, 1, 1], "accurate"]\n'
    '[["admit", 50.25, 0, 1.0, 0.08, null], [-1, false, 0.0, 0, 1], "admitted"]\n{"state": []}\n'
    '[["admit", 51.0, 0, 1.0, 0.08, null], [-1, false, 0.0, 0, 1], "admitted"]\n'
    '[["admit", 53.0, 0, 1.0, 0.08, null], [-1, true, 0.1, 0, 1], "late"]\n',
    "out of order": "3\n0\n1\n0.25\n",
}
OWN = {"CSV without a head", "the governor's own log"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_form_is_read(form: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(FORMS[form].encode()) if packed else FORMS[form].encode())
    trace = read_trace(str(path), "recorded", 0.15)
    assert trace.at == pytest.approx([0.0, 0.25, 1.0, 3.0], abs=1e-3)
    assert trace.seconds == pytest.approx(4.0, abs=1e-3) and len(trace.noise) == len(trace.luck) == 4
    assert trace.deadlines == pytest.approx([0.08 if form in OWN else 0.15] * 4)


def test_each_request_may_have_its_own_deadline(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("at,deadline_ms\n0,50\n1,\n2,80.5\n")
    assert read_trace(str(path), "x", 0.2).deadlines == pytest.approx([0.05, 0.2, 0.0805])
    path.write_text('{"at": 0, "deadline": 2}\n{"at": 1, "deadline_ms": null}\n')
    assert read_trace(str(path), "x").deadlines == [2.0, None]


def test_whole_seconds_are_spread_for_logs_know_no_better(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    line = '- [28/Nov/2026:14:00:0{} +0000] "GET / HTTP/1.1" 200 1\n'
    path.write_text("".join(line.format(second) for second in (0, 0, 0, 1, 1, 5)))
    at = read_trace(str(path), "x").at
    assert len(set(at)) == 6 and at == sorted(at) and at[0] == 0.0 and at[-1] < 6.0
    assert at == read_trace(str(path), "x").at


WRONG = {
    "": "holds 0 requests: a trace needs two",
    "1\n": "holds 1 requests",
    "1\nsoon\n": "line 2: no time: soon",
    '{"at": 1}\n{"who": 2}\n': "line 2: names no time (one of at, time, timestamp, ts)",
    '{"at": 1}\n{"at": \n': "line 2 is not JSON",
    '{"at": 1}\n{"at": true}\n': "line 2: no time",
    '{"at": 1, "deadline_ms": -3}\n{"at": 2}\n': "line 1: the deadline is -0.003 s",
    "at,who\n1,a\nnan,b\n": "line 3: no time",
    "at,who\n1,a\n,b\n": "line 3: could not convert string to float",
    "2026-11-28 14:00:00 a\n2026-13-28 14:00:00 b\n": "line 2: no date",
    "a - - [28/Nov/2026:14:00:00 +0000] x\nnothing\n": "line 2: no time as web servers write it",
    "\x1f\x8bno": "cannot be unpacked",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_its_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CannotRun) as told:
        read_trace(str(path), "x")
    assert (
        told.value.error == "bad-trace"
        and WRONG[text] in told.value.reason
        and str(path) in told.value.reason
    )


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="No such file"):
        read_trace(str(tmp_path / "none"), "x")
    (tmp_path / "picture").write_bytes(bytes(range(128, 255)))
    with pytest.raises(CannotRun, match="is no text"):
        read_trace(str(tmp_path / "picture"), "x")


def test_a_large_trace_is_read_fast_enough(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps({"at": n / 7}) + "\n" for n in range(50_000)))
    trace = read_trace(str(path), "x")
    assert len(trace.at) == 50_000 and trace.mean_rate() == pytest.approx(7.0)
