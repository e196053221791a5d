"""What the helper, sudo or the device's shell refused, as errors with a command to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeship.deploy.options import DeployOptions
from edgeship.deploy.reach import filled
from edgeship.errors import DeviceError
from edgeship.remote import Completed
from edgeship.values import Host

HINTS: dict[str, str] = {
    "no-space": "free some space: {ssh}df -h {root}; older releases go with the next deployment",
    "read-only": "the file system is read-only: {ssh}'dmesg | tail; sudo mount -o remount,rw /'",
    "permission": "use an account with sudo, or --root DIR in a folder that this account may write",
    "input-output": "the storage fails: {ssh}'dmesg | tail', then replace the card or disk",
    "busy": "edgeship status {at}",
    "fenced": "edgeship status {at}",
    "locked": "edgeship status {at}",
    "layout-version": "use the edgeship that made this layout, or another --root",
    "current-not-a-link": "move it away: {ssh}mv {root}/apps/APP/current /tmp",
    "upload-cut": "run the same command again; the upload goes on where it stopped",
    "blob-missing": "run the same command again; if it comes back, the storage damages data",
    "blob-hash": "run the same command again; if it comes back, the network or the storage damages data",
    "release-damaged": "run the same command again; what is damaged is sent again",
    "no-systemd": "have it run as a process of edgeship's own: --manager supervised; {probe} -o my-board.yaml "
    "describes the device as it is",
    "no-openrc": "build the bundle again with this edgeship; or have cron start it: --manager supervised",
    "openrc": "look on the device: {ssh}rc-status",
    "systemd": "look on the device: {ssh}systemctl --failed",
    "listen-taken": "take another address: edgeship deploy BUNDLE {at} --listen 127.0.0.1:8501; who has this one: "
    "{ssh}ss -ltnp",
    "trust-not-set": "run it again with --allow-unsigned; or, for signed releases only: edgeship keys new, then "
    "edgeship keys trust {at}, then run it again with --sign-with",
    "trust-damaged": "move it away and tell it anew: {ssh}sudo mv {root}/trust/policy.json /tmp, then "
    "edgeship keys trust {at}",
    "unsigned": "run it again with --sign-with KEY; or: edgeship keys policy {at} --unsigned allow",
    "too-few-signatures": "have another key's owner sign: edgeship keys sign BUNDLE --sign-with KEY",
    "unknown-signer": "edgeship keys trust KEY.pub {at}, where that key may sign; "
    "edgeship keys show {at} tells which may",
    "wrong-namespace": "edgeship keys sign BUNDLE --sign-with KEY",
    "bad-signature": "edgeship keys sign BUNDLE --sign-with KEY",
    "bad-statement": "edgeship keys sign BUNDLE --sign-with KEY",
    "wrong-release": "edgeship keys sign BUNDLE --sign-with KEY",
    "key-revoked": "sign with another key: edgeship keys sign BUNDLE --sign-with KEY",
    "signature-expired": "edgeship keys sign BUNDLE --sign-with KEY; or look at the device's clock: {ssh}date",
    "signature-stale": "edgeship keys sign BUNDLE --sign-with KEY; or look at the device's clock: {ssh}date",
    "older-release": "edgeship rollback {at} goes back to a kept release; to bring this one again, sign it "
    "again: edgeship keys sign BUNDLE --sign-with KEY",
    "no-verifier": "sign with an Ed25519 key: edgeship keys new, edgeship keys trust {at}; or, on the device: "
    "sudo apt-get install -y openssh-client",
    "too-few-keys": "edgeship keys trust KEY.pub ANOTHER.pub {at} --threshold N",
    "unknown-setting": "edgeship tune {at} shows every setting",
    "wrong-setting": "edgeship tune {at} shows every setting",
    "no-such-rung": "edgeship tune {at} shows what may serve",
    "no-governor": "build it with a ladder: edgeship build MODEL --target T --ladder, then edgeship deploy BUNDLE {at}",
    "no-decision-log": "have it write one: edgeship tune {at} governor.log=true; then ask it something, and wait 2 s",
    "other-settings": "run the same command again: it is signed anew, for this device",
    "tuned-since": "settings were changed meanwhile: edgeship tune {at} shows them; then run the same command again",
    "helper-bug": "this is a defect of edgeship: please report it with the text above",
}


class Refused(DeviceError):
    """The helper said no; `facts` holds what it found."""

    def __init__(self, reference: str, message: str, *, hint: str | None, facts: Mapping[str, Any]) -> None:
        super().__init__(reference, message, hint=hint)
        self.facts = dict(facts)


class Unanswered(DeviceError):
    """The helper could not be started, or ended without an answer."""


def refused(host: Host, options: DeployOptions, reply: Mapping[str, Any]) -> Refused:
    """Return the error for a refusal of the helper."""
    code = str(reply["code"])
    hint = filled(HINTS.get(code, "edgeship status {at}"), host, options)
    return Refused(code, str(reply["reason"]), hint=hint, facts=reply.get("facts") or {})


def nonsense(host: Host, options: DeployOptions, verb: str, why: str) -> DeviceError:
    """Return the error for an answer that the helper never gives."""
    return DeviceError(
        "bad-answer",
        f"{host.text} answered nonsense to {verb}: {why}",
        context={"host": host.text},
        hint=filled(
            "run the same command again; if it comes back, look at the device: {probe}", host, options
        ),
    )


def no_python(host: Host) -> Unanswered:
    """Return the refusal of a device without Python."""
    return Unanswered(
        "no-python",
        f"{host.text} has no python3; the helper and the runtime need Python 3.7 or newer",
        context={"host": host.text},
        hint="on the device: sudo apt-get install -y python3-minimal",
    )


def could_not_run(host: Host, options: DeployOptions, done: Completed) -> Unanswered:
    """Return the error for a helper that could not be started at all."""
    root = options.root_on(host)
    said = done.stderr.strip() or done.stdout.decode("utf-8", "replace").strip()
    tail = said.splitlines()[-1] if said else f"exit status {done.status}"
    context = {"host": host.text, "root": root, "said": tail[-300:]}
    if "sudo" in said and done.status in (1, 126, 127):
        return Unanswered(
            "no-sudo",
            f"{host.user or 'this user'} cannot become root on {host.text} without a password",
            context=context,
            hint='on the device: echo "$USER ALL=(ALL) NOPASSWD: ALL" | sudo tee /etc/sudoers.d/edgeship; or '
            "deploy as that user: --no-sudo --root DIR",
        )
    if "python3" in said and done.status == 127:
        return no_python(host)
    for phrase, code, what in (
        ("Read-only file system", "read-only", "cannot be written: read-only file system"),
        ("No space left", "no-space", "is full"),
        ("Permission denied", "permission", "may not be written by this account"),
        ("Not a directory", "root-not-a-folder", "cannot be made: a part of it is a file"),
        ("File exists", "root-not-a-folder", "cannot be made: a part of it is a file"),
    ):
        if phrase in said:
            hint = HINTS.get(code, "name another folder: --root DIR")
            return Unanswered(
                code,
                f"{root} on {host.text} {what}",
                context=context,
                hint=filled(hint, host, options),
            )
    return Unanswered(
        "helper-failed",
        f"the helper could not run on {host.text}",
        context=context,
        hint=filled("{probe} shows what the device has: python3, memory, room", host, options),
    )
