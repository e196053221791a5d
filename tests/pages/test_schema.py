"""The published schema of the document that the page is made of, and the document that the tests show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/compress.schema.json").read_text())


def test_the_sample_is_a_document(document: Callable[[], dict[str, Any]]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document(), SCHEMA)


@pytest.mark.parametrize("key", ["bytes_compressed", "pareto", "metric", "steps"])
def test_a_candidate_without_what_the_page_shows_is_none(
    document: Callable[[], dict[str, Any]], key: str
) -> None:
    made = document()
    del made["variants"][0][key]
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate(made, SCHEMA)
