"""The user's edgetpu_compiler on a build host over SSH."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Sequence
from pathlib import Path

from edgeship.compile.edgetpu.place import PROGRAM, VARIABLE, missing_there
from edgeship.compile.running import Finished, Runner
from edgeship.errors import InputError, ToolError

FIND = 'command -v "$1"'
FOLDER = "edgeship-folder:"
RESULT = b"edgeship-result\n"
"""Marks where our own output begins: a login shell's start-up files may print something before it."""
MAKE = f'd=$(mktemp -d /tmp/edgeship-edgetpu.XXXXXXXX) && mkdir "$d/work" && echo "{FOLDER}$d"'
RECEIVE = 'tar -x -C "$1/work" -f -'
RUN = 'read -r _ _ _ _ group _ < /proc/$$/stat && echo "$group" > "$1/group" && cd "$1/work" && shift && exec "$@" 2>&1'
"""The process group that sshd made for the command is written down, so that it can be stopped whole."""
SEND = 'echo edgeship-result && tar -c -C "$1/work" -f - .'
CLEAR = 'rm -rf -- "$1"'
STOP = 'kill -9 "-$(cat "$1/group")"; rm -rf -- "$1"'
"""sshd lets a command without a terminal live on when its connection goes."""


class SshPlace:
    """The compiler on a build host, through the user's own `ssh` and its configuration. Host keys must be known."""

    OPTIONS = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15",
               "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")  # fmt: skip

    def __init__(self, host: str, runner: Runner) -> None:
        address, _, port = host.rpartition(":")
        if port.isdigit() and address:
            self.host, self.port = address, port
        else:
            self.host, self.port = host, ""
        if self.host.startswith("-") or not self.host:
            raise InputError(
                "bad-compiler-place",
                "this is no host to compile on",
                context={"found": host, "wanted": "user@host[:port]"},
                hint=f"{VARIABLE}=ssh:user@buildhost",
            )
        self.runner = runner
        self.name = f"build host {host}"

    def command(self, *remote: str) -> list[str]:
        """Return the local argument list that runs `remote` there; its words are quoted for the remote shell."""
        port = ["-p", self.port] if self.port else []
        return ["ssh", *self.OPTIONS, *port, "--", self.host, shlex.join(remote)]

    def script(self, text: str, *words: str) -> list[str]:
        """Return the argument list that runs a shell script there with `words` as $1, $2, ..."""
        return self.command("sh", "-c", text, "edgeship", *words)

    def require(self) -> None:
        """Ask the build host for the compiler. Raises ToolError `build-host-failed`, `edgetpu-compiler-missing`."""
        found = self._run(self.script(FIND, PROGRAM), 60)
        if found.code in (None, 255):
            raise self._lost(found, "be asked for the compiler")
        if found.code != 0:
            raise missing_there(f"on the build host {self.host}", found)

    def compile(self, folder: Path, arguments: Sequence[str], timeout: float) -> Finished:
        """Send the folder, compile there, fetch what was written, and remove the folder there again."""
        made = self._do(self.script(MAKE), "make a folder")
        remote = made.output.rpartition(FOLDER)[2].strip().partition("\n")[0]
        if not remote.startswith("/tmp/edgeship-edgetpu."):
            raise self._lost(made, "make a folder")
        ended = True
        try:
            self._do(self.script(RECEIVE, remote), "receive the model", stdin=_packed(folder))
            ended = False
            finished = self._run(self.script(RUN, remote, PROGRAM, *arguments), timeout)
            if finished.code is None:
                return finished
            if finished.code == 255:
                raise self._lost(finished, "run the compiler to its end")
            ended = True
            if finished.code == 127:
                raise missing_there(f"on the build host {self.host}", finished)
            back = self._do(self.script(SEND, remote), "send the result")
            self._unpack(back, folder)
            return finished
        finally:
            self._run(self.script(CLEAR if ended else STOP, remote), 60)

    def _do(self, command: Sequence[str], what: str, *, stdin: bytes | None = None) -> Finished:
        finished = self._run(command, 300, stdin=stdin)
        if finished.code != 0:
            raise self._lost(finished, what)
        return finished

    def _run(self, command: Sequence[str], timeout: float, *, stdin: bytes | None = None) -> Finished:
        try:
            return self.runner.run(command, timeout=timeout, stdin=stdin, apart=True)
        except OSError as error:
            raise ToolError(
                "ssh-missing",
                f"a build host was named, and ssh cannot be started: {error.strerror or error}",
                context={"host": self.host},
                hint="install the OpenSSH client; edgeship toolchain doctor",
            ) from None

    def _lost(self, finished: Finished, what: str) -> ToolError:
        how = "no end within the time" if finished.code is None else finished.code
        port = f" -p {self.port}" if self.port else ""
        return ToolError(
            "build-host-failed",
            f"the build host could not {what}",
            context={"host": self.host, "status": how, "said": finished.last_words},
            hint=f"ssh{port} {shlex.quote(self.host)} true   (its host key must be known and a key must let you in)",
        )

    def _unpack(self, back: Finished, folder: Path) -> None:
        """Take regular files with plain names out of a tar; a build host may be wrong, never write elsewhere."""
        try:
            with tarfile.open(fileobj=io.BytesIO(back.content.partition(RESULT)[2])) as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    source = tar.extractfile(member) if member.isfile() else None
                    if source is not None and name and "/" not in name and name != "..":
                        (folder / name).write_bytes(source.read())
        except tarfile.TarError:
            raise self._lost(back, "send the result: what came is no tar archive") from None


def _packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    return stream.getvalue()
