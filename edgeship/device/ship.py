"""The device helper as one file: assembled from `helper/`, named by its own digest, the same bytes on any
day."""

from __future__ import annotations

import ast
import functools
from importlib import resources

from edgeship.digest import sha256_bytes

MODULES = (
    "base", "files", "state", "kept", "figures", "bake", "request", "verifier", "signatures", "trust", "tuning",
    "store", "garbage", "chunks", "intake", "confine", "logbook", "watchdog", "supervise", "supervisor", "openrc",
    "systemd", "absent", "health", "live", "switching", "trial", "boot", "breach", "pins", "removal", "queries", "soak",
    "main",
)  # fmt: skip
HEADER = '''\
#!/usr/bin/env python3
"""The edgeship helper: one request on stdin, one reply on stdout. Python 3.7, standard library only.

Assembled from edgeship/device/helper; its name holds the SHA-256 of this content.
"""
'''
FOOTER = '\n\nif __name__ == "__main__":\n    sys.exit(main(sys.argv[1:]))\n'


@functools.cache
def helper_source() -> bytes:
    """Return the helper's one file. Deterministic: it depends on the sources alone."""
    imports: set[str] = set()
    bodies: list[str] = []
    for name in MODULES:
        found, body = _split((resources.files("edgeship.device.helper") / f"{name}.py").read_text("utf-8"))
        imports |= found
        bodies.append(f"\n\n# --- {name} ---\n\n{body}")
    plain = sorted(imports | {"import sys"})
    return (HEADER + "\n" + "\n".join(plain) + "".join(bodies) + FOOTER).encode()


def _split(source: str) -> tuple[set[str], str]:
    """Return (imports of the standard library, the rest without docstring and imports) of one module's
    source."""
    lines = source.splitlines()
    imports: set[str] = set()
    drop: set[int] = set()
    for index, node in enumerate(ast.parse(source).body):
        is_docstring = index == 0 and isinstance(node, ast.Expr)
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0):
            imports.add(ast.unparse(node))
        elif not is_docstring and not isinstance(node, ast.ImportFrom):
            continue
        drop.update(range(node.lineno - 1, node.end_lineno or node.lineno))
    kept = [line for number, line in enumerate(lines) if number not in drop]
    return imports, "\n".join(kept).strip("\n") + "\n"


def helper_sha256() -> str:
    """Return the digest that names the helper on every device."""
    return sha256_bytes(helper_source())
