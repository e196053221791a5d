"""What the helper is asked in each step, and the commands that carry it: the same values to send and to print."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

from edgeship.deploy.options import DeployOptions
from edgeship.device.facts import probe_argv, probe_script
from edgeship.device.layout import helper_path
from edgeship.device.ship import helper_sha256, helper_source
from edgeship.digest import canonical_json
from edgeship.remote import Command
from edgeship.remote.command import OUTPUT_BYTES
from edgeship.values import Bundle, Host, as_json

NO_HELPER = 96
PYTHON = "python3"
"""What runs the helper and the service, where the target names no other interpreter."""
START = f'[ -f "$1" ]||exit {NO_HELPER};p=$(readlink "${{1%/*}}/python")||p={PYTHON};exec "$p" -I -B "$1"'
"""Travels with every call, so it is short. The link `python` beside the helper names another interpreter than python3:
that of a target which says so (`python.command`)."""
RECEIVE = (
    "import hashlib,os,sys,zlib\n"
    "path,wanted,*named=sys.argv[1:]\n"
    "data=zlib.decompress(sys.stdin.buffer.read())\n"
    "if hashlib.sha256(data).hexdigest()!=wanted: sys.exit('the helper arrived damaged')\n"
    "folder=os.path.dirname(path); root=os.path.dirname(folder)\n"
    "os.umask(0o022)\n"
    "new=not os.path.isdir(root); os.makedirs(folder,0o755,exist_ok=True)\n"
    "if new: os.chmod(root,0o750)\n"
    "part=path+'.tmp-%d'%os.getpid()\n"
    "with open(part,'wb') as f: f.write(data); f.flush(); os.fsync(f.fileno())\n"
    "os.chmod(part,0o644); os.rename(part,path)\n"
    "if named: os.symlink(sys.executable,part); os.rename(part,folder+'/python')\n"
    "d=os.open(folder,os.O_RDONLY); os.fsync(d)\n"
)
DIGEST = "import hashlib,sys;print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())"


# --- commands ---


def packs(host: Host) -> bool:
    """Return whether bytes cost something on the way to this host."""
    return host.kind == "ssh"


def packed(request: bytes) -> bytes:
    """Return a request in the helper's packed form: `z`, four bytes of length, and that many of deflated JSON."""
    data = zlib.compress(request, 9)
    return b"z" + len(data).to_bytes(4, "big") + data


def interpreter_of(bundle: Bundle) -> str:
    """Return what is to run the service of a bundle, and the helper, on the device."""
    return str(bundle.manifest.get("requires", {}).get("interpreter", PYTHON))


def probe_command(host: Host, options: DeployOptions, app: str | None, interpreter: str = PYTHON) -> Command:
    """Return the command that tells a device's facts; `app`: what to look for below the root."""
    argv = probe_argv(options.root_on(host), as_root=options.sudo_on(host), app=app, interpreter=interpreter)
    return Command(argv=argv, stdin=probe_script(), timeout=60)


def ship_command(host: Host, options: DeployOptions, interpreter: str = PYTHON) -> Command:
    """Return the command that brings the helper: its name is its digest, checked there before it gets that name.

    Another interpreter than python3 is noted beside it, for every later call. (A local: device has this machine's.)
    """
    digest = helper_sha256()
    named = (interpreter,) if interpreter != PYTHON else ()
    path = helper_path(options.root_on(host), digest)
    argv = (interpreter, "-I", "-c", RECEIVE, path, digest, *named)
    return Command(argv=argv, stdin=zlib.compress(helper_source(), 9), sudo=options.sudo_on(host), timeout=60)


def digest_command(host: Host, options: DeployOptions) -> Command:
    """Return the command that tells the digest of what stands in the helper's place."""
    argv = ("python3", "-I", "-c", DIGEST, helper_path(options.root_on(host), helper_sha256()))
    return Command(argv=argv, sudo=options.sudo_on(host), timeout=60)


def helper_command(
    host: Host,
    options: DeployOptions,
    request: dict[str, Any],
    *,
    timeout: float = 60.0,
    payload: Callable[[], Iterable[bytes]] | None = None,
    most: int = OUTPUT_BYTES,
    live: bool = False,
) -> Command:
    """Return the command that asks the helper: `request` on stdin, then what `payload` yields. `most`: bytes of the
    answer; `live`: it comes line by line, so that nothing is packed."""
    line = canonical_json(request)
    if packs(host) and not live:
        line = packed(line)

    def stream() -> Iterable[bytes]:
        yield line
        yield from payload() if payload else ()

    return Command(
        argv=("sh", "-c", START, "sh", helper_path(options.root_on(host), helper_sha256())),
        stdin=stream if payload else line,
        sudo=options.sudo_on(host),
        timeout=timeout,
        most=most,
    )


def request_of(
    host: Host, options: DeployOptions, app: str | None, verb: str, **fields: Any
) -> dict[str, Any]:
    """Return a request: every one names its verb, the root and the application."""
    return {"verb": verb, "root": options.root_on(host), "app": app, **fields}


# --- the fields of each step's request ---


def hello_fields(release: str, options: DeployOptions) -> dict[str, Any]:
    """Return what `hello` is asked with."""
    return {"release": release, "listen": options.listen}


def lease_fields(bundle: Bundle | None, options: DeployOptions) -> dict[str, Any]:
    """Return what `lease` is asked with; None: a release that is kept on the device."""
    return {
        "ready_seconds": options.ready_seconds,
        "release": bundle.release if bundle else None,
        "signatures": as_json(bundle.signatures) if bundle else [],
        "allow_unsigned": options.allow_unsigned,
    }


def stage_fields(bundle: Bundle) -> dict[str, Any]:
    """Return what `stage` is asked with."""
    return {"release": bundle.release, "signatures": as_json(bundle.signatures)}


def prove_fields(release: str, options: DeployOptions) -> dict[str, Any]:
    """Return what `prove` is asked with."""
    return {"release": release, "seconds": options.prove_seconds}


def arm_fields(
    release: str, host: Host, options: DeployOptions, *, wanted: str, kept: bool
) -> dict[str, Any]:
    """Return what `arm` is asked with, but for settings that come with the release. `wanted`: the service manager that
    the bundle asks for."""
    return {
        "release": release,
        "ttl": options.trial_seconds,
        "service": options.service_on(host, wanted),
        "listen": options.listen,
        "kept": kept,
        "bake": {"seconds": options.bake_seconds, "restarts": options.bake_restarts},
        "hook_boot": options.sudo_on(host),
    }


def activate_fields(options: DeployOptions) -> dict[str, Any]:
    """Return what `activate` is asked with."""
    return {
        "ready_seconds": options.ready_seconds,
        "prove_seconds": min(options.prove_seconds, options.trial_seconds),
    }
