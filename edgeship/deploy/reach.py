"""How a device is reached, in the words that a person types: hints that leave something out do not work."""

from __future__ import annotations

import shlex

from edgeship.deploy.options import DeployOptions
from edgeship.device.layout import DEFAULT_ROOT
from edgeship.values import Host


def at(host: Host, options: DeployOptions) -> str:
    """Return `--host HOST` with every option that it takes to get to that device and its folder."""
    return f"--host {shlex.quote(host.text)}{_ways(host, options)}"


def probe_hint(host: Host, options: DeployOptions) -> str:
    """Return the command that asks a device what it is."""
    return f"edgeship target probe {shlex.quote(host.text)}{_ways(host, options)}"


def ssh(host: Host, options: DeployOptions) -> str:
    """Return what goes before a command that is to run on the device, with a blank behind it; nothing where the device
    is a folder of this machine."""
    if host.kind == "local":
        return ""
    words = ["ssh", *(["-p", str(host.port)] if host.port != 22 else [])]
    words += ["-F", str(options.ssh_config)] if options.ssh_config else []
    words += ["-i", str(options.identity)] if options.identity else []
    return shlex.join([*words, f"{host.user}@{host.hostname}" if host.user else str(host.hostname)]) + " "


def filled(hint: str, host: Host, options: DeployOptions) -> str:
    """Return a hint with its `{at}`, `{ssh}`, `{probe}` and `{root}` filled in."""
    if host.kind == "local":
        hint = hint.replace("{ssh}'", "sh -c '")
    values = {
        "{at}": at(host, options),
        "{ssh}": ssh(host, options),
        "{probe}": probe_hint(host, options),
        "{root}": options.root_on(host),
    }
    for mark, value in values.items():
        hint = hint.replace(mark, value)
    return hint


def _ways(host: Host, options: DeployOptions) -> str:
    """Return the options of a connection that are not the default ones; none matters for a folder of this machine."""
    if host.kind == "local":
        return ""
    root = options.root_on(host)
    words = ["--root", root] if root != DEFAULT_ROOT else []
    words += [] if options.sudo else ["--no-sudo"]
    words += ["--ssh-config", str(options.ssh_config)] if options.ssh_config else []
    words += ["--identity", str(options.identity)] if options.identity else []
    return "".join(f" {shlex.quote(word)}" for word in words)
