"""fabric and the paramiko below it, without what they import for tests of other programs.

invoke, below both, imports `unittest.mock` and with it asyncio and ssl, for its MockContext alone: a fifth of what
importing fabric costs. So while they are imported a stand-in is there whose Mock is the real one once it is called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

MOCK = "unittest.mock"


def _mock(*given: Any, **named: Any) -> Any:
    from unittest.mock import Mock

    return Mock(*given, **named)


def _import() -> tuple[Any, Any]:
    stands_in = MOCK not in sys.modules
    if stands_in:
        sys.modules[MOCK] = ModuleType(MOCK)
        sys.modules[MOCK].Mock = _mock  # type: ignore[attr-defined]
    try:
        import fabric
        import paramiko
    finally:
        if stands_in:
            del sys.modules[MOCK]
    return fabric, paramiko


fabric, paramiko = _import()
