"""The files of a bundle on their way to one device: unpacked once, sent while the rest is still being unpacked."""

from __future__ import annotations

import contextlib
import mmap
import os
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from types import TracebackType
from typing import IO

from edgeship.digest import canonical_json
from edgeship.errors import InputError
from edgeship.values import Bundle

MANIFEST = "manifest.json"
PIECE = 1 << 20
READ_BYTES = 1 << 16
"""Read from the archive at a time: 256 KiB or 1 MiB take twice the processor time, in page faults for large pieces."""


def contents(bundle: Bundle) -> dict[str, str]:
    """Return archive name -> SHA-256 of every file, the manifest first: its digest is the release."""
    files = bundle.manifest["files"]
    return {MANIFEST: bundle.release, **{name: files[name]["sha256"] for name in sorted(files)}}


def wanted_blobs(bundle: Bundle) -> list[str]:
    """Return the SHA-256 of every blob of a bundle, each once, in the order in which `have` is asked for them.

    Files of one kind stand together: they deflate better side by side.
    """
    named = contents(bundle)
    return list(
        dict.fromkeys(named[name] for name in sorted(named, key=lambda n: (PurePosixPath(n).suffix, n)))
    )


class Spool:
    """The blobs of a bundle that one device lacks, in one temporary file: unpacked once, sent from any place.

    A thread unpacks; who wants bytes waits until they are there. The file has no name and goes with the process. Every
    blob has its place in it from the beginning, and only those that were asked for take space.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        files = bundle.manifest["files"].values()
        sizes = {bundle.release: len(canonical_json(bundle.manifest))}
        sizes.update((entry["sha256"], int(entry["bytes"])) for entry in files)
        self._where: dict[str, tuple[int, int]] = {}
        end = 0
        for digest, size in sizes.items():
            self._where[digest] = (end, size)
            end += size
        self._file = tempfile.TemporaryFile(prefix="edgeship-", buffering=0)  # noqa: SIM115 - closed by __exit__
        self._file.truncate(end)
        self._map = mmap.mmap(self._file.fileno(), end, access=mmap.ACCESS_READ)
        self._there: dict[str, int] = {}
        self._news = threading.Condition()
        self._failed: InputError | None = None
        self._ended = self._known = False
        self._left: set[str] = set()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._file.close()  # the map goes when the last view of it does

    def size(self, digest: str) -> int:
        """Return a blob's bytes, as the manifest has them."""
        return self._where[digest][1]

    def view(self, digest: str) -> memoryview:
        """Return a blob's content once all of it is there. Raises InputError where the archive does not hold it."""
        begin, size = self._where[digest]
        self._wait(digest, size)
        return memoryview(self._map)[begin : begin + size]

    def pieces(self, digest: str, at: int, length: int) -> Iterator[memoryview]:
        """Yield `length` bytes of a blob from `at` on, as they come out of the archive. Raises as `view` does."""
        whole, begin = memoryview(self._map), self._where[digest][0]
        for first in range(at, at + length, PIECE):
            last = min(first + PIECE, at + length)
            self._wait(digest, last)
            yield whole[begin + first : begin + last]

    def begin(self) -> None:
        """Begin to bring blobs out of the archive, before it is known which: the device is just being asked."""
        if self._thread is None:
            self._unpack(set(self._where))

    def unpack(self, digests: Iterable[str]) -> None:
        """Bring these blobs out of the archive, and none but these, unless they are out already.

        From here on it is known what is missing; a failure before may come from what is not.
        """
        wanted = set(digests)
        with self._news:
            self._left &= wanted
            full = self._failed is not None and not self._known
            self._known = True
        if full:  # what nobody needs may have filled the disk
            self._start_over()
        with self._news:
            under_way = self._left | {digest for digest in wanted if self._whole(digest)}
        if not wanted <= under_way:
            self._stop()
            self._unpack({digest for digest in wanted if not self._whole(digest)})

    def _whole(self, digest: str) -> bool:
        return self._there.get(digest) == self.size(digest)

    def _unpack(self, left: set[str]) -> None:
        """Begin to unpack in a thread of its own."""
        self._left, self._ended = left, False
        self._there.update(dict.fromkeys(left, 0))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _start_over(self) -> None:
        """Give all space back."""
        self._stop()
        self._file.truncate(0)
        self._file.truncate(len(self._map))
        self._there.clear()
        self._left, self._failed = set(), None

    def _stop(self) -> None:
        """End the unpacking; what is whole stays."""
        self._ended = True
        if self._thread is not None:
            self._thread.join()

    def _wait(self, digest: str, count: int) -> None:
        """Return when the first `count` bytes of a blob are there."""
        with self._news:
            while self._there[digest] < count:
                if self._failed is not None:
                    raise self._failed
                self._news.wait()

    def _work(self) -> None:
        """Unpack; what goes wrong is told to who waits."""
        failed: InputError | None = None
        try:
            self._fill()
        except InputError as error:
            failed = error
        except (OSError, tarfile.TarError, EOFError) as error:
            failed = self._unreadable(f"changed or went away while it was being sent: {error}")
        except Exception as error:
            failed = self._unreadable(f"could not be unpacked: {type(error).__name__}: {error}")
        with self._news:
            self._failed = failed
            self._news.notify_all()

    def _fill(self) -> None:
        """Bring blobs out of the archive to their places."""
        for digest, stream in _members(self.bundle):
            if digest in self._left:
                self._take(digest, stream)
            if self._ended or not self._left:
                return
        raise self._unreadable("no longer holds every file of its manifest")

    def _take(self, digest: str, stream: IO[bytes]) -> None:
        """Bring one blob to its place, as long as it is wanted."""
        begin, size = self._where[digest]
        done = 0
        while piece := stream.read(READ_BYTES):
            if done + len(piece) > size:
                return  # not what the manifest says: it stays missing
            self._write(piece, begin + done)
            done += len(piece)
            with self._news:
                self._there[digest] = done
                self._news.notify_all()
            if self._ended or digest not in self._left:
                return
        if done == size:
            with self._news:
                self._left.discard(digest)

    def _write(self, piece: bytes, at: int) -> None:
        """Write to the temporary file."""
        view = memoryview(piece)
        try:
            while view:
                count = os.pwrite(self._file.fileno(), view, at)
                view, at = view[count:], at + count
        except OSError as error:
            raise InputError(
                "no-temporary-space",
                f"{self.bundle.path} could not be unpacked into {tempfile.gettempdir()}: {error.strerror}",
                context={"file": self.bundle.path, "folder": tempfile.gettempdir()},
                hint="TMPDIR=FOLDER-WITH-SPACE edgeship deploy ...",
            ) from error

    def _unreadable(self, what: str) -> InputError:
        return InputError(
            "bundle-unreadable",
            f"{self.bundle.path} {what}",
            context={"file": self.bundle.path},
            hint=f"edgeship inspect {self.bundle.path}",
        )


def _members(bundle: Bundle) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield (SHA-256, content) of each file, in the archive's order."""
    digests = contents(bundle)
    with contextlib.closing(tarfile.open(bundle.path, mode="r|gz", bufsize=READ_BYTES)) as archive:
        for member in archive:
            digest, stream = digests.get(member.name), archive.extractfile(member)
            if digest is not None and stream is not None:
                yield digest, stream
