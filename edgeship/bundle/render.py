"""Templates to text: Jinja2 with StrictUndefined, no escaping, nothing that changes from one day to the
next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeship.assets import templates_folder
from edgeship.errors import EdgeshipError


def render(name: str, values: dict[str, Any], *, folder: Path | None = None) -> str:
    """Return template `name` filled with `values`, ending in one newline.

    Raises EdgeshipError `template-failed` where the template asks for a value that is not there.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder or templates_folder()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=False,
    )
    environment.filters["json"] = to_json
    try:
        return environment.get_template(name).render(values).rstrip("\n") + "\n"
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        raise EdgeshipError(
            "template-failed",
            f"template {name} cannot be filled in: {error.message or type(error).__name__}",
            context={"file": name if line is None else f"{name}, line {line}"},
            hint="compare it with the one that edgeship ships",
        ) from None


def to_json(value: Any) -> str:
    """Return `value` as JSON on one line, keys in order; NaN is refused."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
