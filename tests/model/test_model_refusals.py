"""What a converter's message becomes: the numbers that TFLite does not compute with are named, not its operations."""

from __future__ import annotations

import pytest

from edgeship.errors import EdgeshipError, InputError
from edgeship.model.conversion_error import conversion_error
from edgeship.model.convert_worker import _check_numbers

MESSAGE = """Could not translate MLIR to FlatBuffer.x.py:9:1: error: 'tf.{op}' op is neither a custom op nor a flex op
x.py:9:1: note: see current operation: %1 = "tf.{op}"(%arg0) {{device = ""}} : (tensor<{of}>) -> tensor<{of}>
TF Select ops: {op}
"""


@pytest.mark.parametrize(
    ("op", "of", "reference", "words"),
    [
        (
            "Tanh",
            "1x2xf64",
            "model-double-precision",
            "in double precision (float64), and TFLite has no Tanh for",
        ),
        ("Tanh", "1x2xf16", "model-half-precision", "in half precision (float16 or bfloat16)"),
        (
            "StridedSlice",
            "1x14x21xcomplex<f32>",
            "unsupported-operation",
            "complex numbers, and TFLite has no Strided",
        ),
        ("AsString", "1x2xf32", "unsupported-operation", "TFLite has no operation for AsString"),
    ],
)
def test_the_kind_of_numbers_is_told(op: str, of: str, reference: str, words: str) -> None:
    error = conversion_error(ValueError(MESSAGE.format(op=op, of=of)), "model.keras")
    assert isinstance(error, EdgeshipError)
    assert error.reference == reference and words in error.message


def test_text_is_told_as_text() -> None:
    with pytest.raises(InputError, match=r"takes text \('comment'\)"):
        _check_numbers([("stars", "float32"), ("comment", "string")], {"source": "model.keras"})
    _check_numbers([("ids", "<dtype: 'int64'>")], {"source": "model.keras"})
