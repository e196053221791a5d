"""How commands reach a device: values that say what to run, and transports that run them."""

from edgeship.remote.command import Command, CommandTimeout, Completed, LinkLost, Transport
from edgeship.remote.connect import ConnectOptions, connect
from edgeship.remote.hosts import parse_host

__all__ = [
    "Command",
    "CommandTimeout",
    "Completed",
    "ConnectOptions",
    "LinkLost",
    "Transport",
    "connect",
    "parse_host",
]
