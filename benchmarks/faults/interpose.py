"""Faults where they happen: a `python3` in front of the device's own one that lets a chosen helper call fail for real.

Nothing of the product is replaced. A local device runs `python3 -I -B .../bin/es-<sha256>.py` through PATH; the script
here stands first in PATH, looks at the request's verb (`ship` where the helper itself is brought), and for the one call
that is planned kills it, hangs it, drops its answer, fills or breaks the file system it stands on, or runs it under
`strace -e inject=...`, or under libfiu.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REAL = "/usr/bin/python3"
SCRIPT = r"""#!/bin/sh
F='@FOLDER@'
case "$*" in *"/bin/es-"*) ;; *) exec @REAL@ "$@" ;; esac
if [ "$2" = -c ]; then
    asked=ship
    feed() { exec cat; }
else
    IFS= read -r line || true
    feed() { printf '%s\n' "$line"; exec cat; }
    asked=${line##*\"verb\":\"}; asked=${asked%%\"*}
fi
if [ -f "$F/record" ]; then
    count=$(ls "$F" | grep -c '^trace\.')
    feed | strace -o "$F/trace.$count.$asked" -y -s "$(cat "$F/record")" -e trace=@SHOW@ @REAL@ "$@"; exit
fi
if [ -f "$F/under" ]; then feed | VERB=$asked sh "$F/under" "$@"; exit; fi
verb= kind= rest=
[ ! -f "$F/plan" ] || read -r verb kind rest <"$F/plan" || true
if [ -z "$verb" ] || [ "$verb" != "$asked" ]; then feed | @REAL@ "$@"; exit; fi
tail -n +2 "$F/plan" >"$F/plan.next"; mv "$F/plan.next" "$F/plan"; echo "$verb $kind" >>"$F/spent"
finish() { feed | @REAL@ "$@" >"$F/reply"; }
case "$kind" in
enter-error) echo "the helper was made to fail" >&2; exit 1 ;;
enter-kill) kill -9 $$ ;;
enter-hang) echo $$ >"$F/hung"; exec sleep 600 ;;
enter-*) "$F/${kind#enter-}"; feed | @REAL@ "$@" ;;
leave-error) finish "$@"; echo "the helper was made to fail" >&2; exit 1 ;;
leave-kill) finish "$@"; kill -9 $$ ;;
leave-hang) finish "$@"; echo $$ >"$F/hung"; exec sleep 600 ;;
leave-*) finish "$@"; "$F/${kind#leave-}"; cat "$F/reply" ;;
inject) feed | strace -o "$F/injected" $rest @REAL@ "$@" ;;
stall) feed | setsid strace -o "$F/injected" $rest @REAL@ "$@" ;;
later)
    exec 3<&0
    feed <&3 | @REAL@ "$@" & pid=$!
    sleep "$rest"
    if kill -9 $pid 2>/dev/null; then touch "$F/killed"; kill -9 $$; fi
    wait $pid ;;
esac
"""
MUTATING = (
    "openat,write,pwrite64,ftruncate,fsync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "unlink,unlinkat,rmdir,mkdir,mkdirat,chmod,fchmodat,flock"
)
"""The calls that change files or take a lock. A kill at one that only reads leaves what the next of these finds."""


class Interposer:
    """A folder with the `python3` described above, and the plan of the next fault."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = folder / "tools"
        self.tools.mkdir(parents=True)
        text = SCRIPT.replace("@FOLDER@", str(folder)).replace("@REAL@", REAL)
        self.script("tools/python3", text.replace("@SHOW@", f"{MUTATING},close"))

    def script(self, name: str, text: str) -> None:
        """Write an executable that a plan may name: `fill`, `break`, ..."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def under(self, line: str | None) -> None:
        """Run the helper by a line of shell, with the interpreter's arguments as "$@", and $VERB; None: as usual."""
        if line is None:
            (self.folder / "under").unlink(missing_ok=True)
        else:
            self.script("under", line + "\n")

    def plan(self, *lines: str) -> None:
        """Let calls go wrong, one after the other: lines of "VERB KIND [OPTIONS]"."""
        for name in ("spent", "killed", "injected", "hung", "reply"):
            (self.folder / name).unlink(missing_ok=True)
        part = self.folder / "plan.part"
        part.write_text("".join(f"{line}\n" for line in lines))
        part.rename(self.folder / "plan")

    def clear(self) -> list[str]:
        """Withdraw the plan; return what of it was carried out: "VERB KIND" each."""
        (self.folder / "plan").unlink(missing_ok=True)
        spent = self.folder / "spent"
        return spent.read_text().splitlines() if spent.exists() else []

    @contextmanager
    def recording(self, content: int = 0) -> Iterator[Path]:
        """Record the calls of every helper call into `trace.<number>.<verb>` files of the folder.

        `content`: how many bytes of each string to keep.
        """
        for path in self.folder.glob("trace.*"):
            path.unlink()
        (self.folder / "record").write_text(str(content))
        try:
            yield self.folder
        finally:
            (self.folder / "record").unlink()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Put the script first in PATH."""
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{self.tools}:/usr/bin:/bin:{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before


def names_of(trace: Path) -> Counter[str]:
    """Return how many calls of each name were recorded."""
    return Counter(line.partition("(")[0] for line in trace.read_text("utf-8", "replace").splitlines())


def calls_of(trace: Path, root: Path, *, changing: bool = False) -> list[tuple[str, int]]:
    """Return (system call, its number among calls of that name) of each recorded call that concerns `root`, in order.

    `changing`: only those that change files or wait for a lock.
    """
    counts: dict[str, int] = {}
    found = []
    for line in trace.read_text("utf-8", "replace").splitlines():
        name, bracket, rest = line.partition("(")
        if not bracket or not name.isidentifier():
            continue
        counts[name] = counts.get(name, 0) + 1
        reads = name == "close" or (name == "openat" and "O_CREAT" not in rest)
        if str(root) in rest and not (changing and reads):
            found.append((name, counts[name]))
    return found


if not Path(REAL).exists():
    sys.exit(f"the campaigns need the system's own {REAL}")
