"""`edgeship explain REFERENCE`: the page of an error, the list of all, and words that are files all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.report.deploys import deploy_text, deploys_table
from edgeship.values import DeployReport, Unavailable


@pytest.fixture
def report_of() -> Callable[..., DeployReport]:
    """Return what a device said of a deployment."""

    def make(host: str, state: Any, reason: str, hint: str | None = None) -> DeployReport:
        not_told = Unavailable(reason="not told")
        return DeployReport(
            host=host, app="a", target="host", release="0" * 64, from_release=None, state=state, bytes_sent=0,
            seconds=1.0, steps=(), golden=not_told, reason=reason, hint=hint, engine=not_told, latency_ms=not_told,
        )  # fmt: skip

    return make


def test_a_reference_is_explained_as_text_and_as_a_document(edgeship: Any, valid: Any) -> None:
    said = edgeship("explain", "bad-usage")
    assert said.status == 0 and said.out.startswith("## bad-usage\n\n") and "\nWhat to do\n" in said.out
    document = edgeship("explain", "bad-usage", "--json", "-q").document()
    valid("reference", document)
    assert (document["reference"], document["room"]) == ("bad-usage", "cli")
    assert document["text"].strip() == said.out.strip() and document["summary"] in document["text"]


def test_the_list_has_every_reference_with_its_first_sentence(edgeship: Any, valid: Any) -> None:
    listed = edgeship("explain", "--list").out.splitlines()
    document = edgeship("explain", "--list", "--json").document()
    valid("references", document)
    assert [line.split(maxsplit=1) for line in listed] == [
        [one["reference"], one["summary"]] for one in document["references"]
    ]
    assert "bad-usage" in {one["reference"] for one in document["references"]}


def test_an_error_says_where_to_read_of_it(edgeship: Any, valid: Any) -> None:
    said = edgeship("biuld", "--json")
    assert (
        said.status == 2
        and "hint: edgeship build --help\nmore: edgeship explain unknown-command\n" in said.err
    )
    valid("error", said.document())


def test_a_file_of_that_name_is_a_model(edgeship: Any) -> None:
    Path("bad-usage").write_bytes(b"no model")
    for word in ("bad-usage", "./bad-usage"):
        said = edgeship("explain", word, "-t", "host")
        assert said.status == 2 and "error: model-unknown" in said.err, said.err
    Path("bad-usage").unlink()
    said = edgeship("explain", "./bad-usage", "-t", "host")
    assert said.status == 2 and "error: model-not-found\n  there is no such model" in said.err


def test_a_word_that_is_neither_is_told_what_is_near(edgeship: Any) -> None:
    Path("model.keras").touch()
    said = edgeship("explain", "bad-usge")
    assert said.status == 2 and "error: model-not-found\n  'bad-usge' is neither" in said.err
    assert "references: bad-usage" in said.err and "hint: edgeship explain bad-usage\n" in said.err
    assert "beside it:  model.keras" in said.err
    said = edgeship("explain", "saved")
    assert said.status == 2 and "hint: edgeship explain --list\n" in said.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["bad-usage", "-t", "host", "--max-kb", "3"], "no file: --target, --max-kb"),
        (["--list", "--minutes", "3"], "--minutes"),
        (["--list", "bad-usage"], "--list lists all"),
    ],
)
def test_what_goes_with_models_does_not_go_with_references(edgeship: Any, words: list[str], why: str) -> None:
    said = edgeship("explain", *words)
    assert said.status == 2 and "error: bad-usage" in said.err and why in said.err


def test_a_device_that_fails_says_where_to_read_of_it(report_of: Callable[..., DeployReport]) -> None:
    full = report_of("a", "failed", "preflight-disk: the device cannot take this release: 1 MB free", "df -h")
    good = report_of("b", "committed", "it serves")
    odd = report_of("c", "failed", "bad-usage\nmore: edgeship explain x: what a device says of itself")
    more = "more: edgeship explain preflight-disk"
    assert deploy_text(full).endswith(f"\nhint: df -h\n{more}")
    assert "more:" not in deploy_text(good) and "\nmore:" not in deploy_text(odd)
    assert deploys_table([good, full, full]).splitlines()[-2:][0].startswith("a")
    assert deploys_table([good, full, full]).splitlines()[-1] == more
    assert "\nmore:" not in deploys_table([good, odd])
