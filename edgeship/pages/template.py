"""Templates of pages to HTML: what is filled in is escaped, and what a terminal would obey is written out."""

from __future__ import annotations

from typing import Any

from edgeship.assets import templates_folder
from edgeship.printable import one_line


def render_page(name: str, values: dict[str, Any]) -> str:
    """Return `templates/pages/NAME` filled with `values`, ending in one newline.

    Only what a template calls `safe` (plots, style rules of our own making) goes in as it is. A value that is missing
    raises jinja2.UndefinedError.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_folder() / "pages"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(values).rstrip("\n") + "\n"


def clean(value: Any) -> Any:
    """Return a JSON document with every text in it made one printable line: XML and HTML know no control characters."""
    if isinstance(value, str):
        return one_line(value.encode("utf-8", "backslashreplace").decode("utf-8"))
    if isinstance(value, dict):
        return {clean(key): clean(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clean(each) for each in value]
    return value
