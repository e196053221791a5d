"""Files of a bundle on their way: sent while they are being unpacked, and whole or refused by name."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy import deploy
from edgeship.deploy.spool import Spool, wanted_blobs
from edgeship.deploy.upload import sending_for
from edgeship.digest import sha256_bytes
from edgeship.errors import InputError
from edgeship.progress import Silent
from edgeship.values import Bundle


def cut(bundle: Bundle, folder: Path, where: float) -> Bundle:
    """Return a bundle whose archive lost its end after it had been read."""
    data = bundle.path.read_bytes()
    path = folder / "cut.edgeship"
    path.write_bytes(data[: int(len(data) * where)])
    return replace(bundle, path=path)


def test_every_blob_comes_out_whole_in_any_order(local: Any) -> None:
    bundle = local.bundle("1", ballast=os.urandom(3 << 20))
    for digests in (wanted_blobs(bundle), wanted_blobs(bundle)[::-1]):
        with Spool(bundle) as spool:
            spool.unpack(digests)
            for digest in digests:
                pieces = b"".join(spool.pieces(digest, 0, spool.size(digest)))
                assert sha256_bytes(pieces) == digest and bytes(spool.view(digest)) == pieces


def test_what_was_begun_before_the_answer_ends_with_it(local: Any) -> None:
    bundle = local.bundle("1", ballast=os.urandom(3 << 20))
    digests = wanted_blobs(bundle)
    with Spool(bundle) as spool:
        spool.begin()
        spool.unpack(digests[:1])
        assert sha256_bytes(spool.view(digests[0])) == digests[0]
        spool.unpack(digests)  # more is missing now: a cut, and a store that was cleaned meanwhile
        assert all(sha256_bytes(spool.view(digest)) == digest for digest in digests)
    with Spool(bundle) as spool:
        spool.begin()  # the device has everything: what was begun ends at once
    assert not [thread for thread in threading.enumerate() if "_work" in thread.name]


@pytest.mark.parametrize("where", [0.0, 0.3, 0.9])
def test_an_archive_that_lost_its_end_is_refused_by_name(local: Any, tmp_path: Path, where: float) -> None:
    bundle = cut(local.bundle("1", ballast=os.urandom(3 << 20)), tmp_path, where)
    missing = [{"blob": number} for number in range(len(wanted_blobs(bundle)))]
    with Spool(bundle) as spool, pytest.raises(InputError) as refused:
        sending = sending_for(spool, {"missing": missing})
        for _ in sending.stream():
            pass
    text = refused.value.render()
    assert "bundle-unreadable" in text and f"edgeship inspect {bundle.path}" in text


def test_an_archive_that_ends_while_it_is_sent_ends_the_deployment(
    local: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = cut(local.bundle("1", ballast=os.urandom(3 << 20)), tmp_path, 0.9)
    report = deploy(bundle, local.host, local.options, Silent())
    assert report.state != "committed" and f"{bundle.path} changed or went away" in (report.reason or "")
    assert "Traceback" not in capfd.readouterr().err


def test_a_full_temporary_folder_is_told_once_it_matters(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = local.bundle("1", ballast=os.urandom(3 << 20))
    digests = wanted_blobs(bundle)
    large = max(digests, key=Spool(bundle).size)
    write = os.pwrite

    def full(descriptor: int, data: Any, at: int) -> int:
        if at > 1 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    with Spool(bundle) as spool:
        spool.unpack([large])
        with pytest.raises(InputError) as refused:
            spool.view(large)
    assert refused.value.reference == "no-temporary-space" and "TMPDIR=" in refused.value.render()
    with Spool(bundle) as spool:
        spool.begin()
        assert spool._thread is not None
        spool._thread.join()  # ahead of the answer the disk fills up with what nobody needs
        monkeypatch.setattr(os, "pwrite", write)
        spool.unpack(digests[:1])
        assert sha256_bytes(spool.view(digests[0])) == digests[0]
