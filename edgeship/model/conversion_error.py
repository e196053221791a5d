"""What the TFLite converter's refusal means, in the user's words: `conversion_error`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeship.errors import InputError, ToolError
from edgeship.model.keras_load import short


@dataclass(frozen=True)
class Unsuited:
    """Numbers that TFLite's operations do not take, as a converter's message shows them."""

    reference: str
    pattern: str
    said: str
    hint: str


UNSUITED = (
    Unsuited(
        "model-half-precision",
        r"(?:\b|x)b?f16>",
        "the model computes in half precision (float16 or bfloat16)",
        "give the .keras or .h5 file, which is converted in float32; or keras.config.set_dtype_policy("
        "'float32'), build the model again, new.set_weights(old.get_weights()), new.export(FOLDER)",
    ),
    Unsuited(
        "model-double-precision",
        r"(?:\b|x)f64>",
        "the model computes in double precision (float64)",
        "give the .keras or .h5 file, which is converted in float32; or cast inputs and variables to tf.float32 where "
        "it was made, and export it again",
    ),
    Unsuited(
        "unsupported-operation",
        r"complex<f\d+>>",
        "the model computes with complex numbers",
        "take tf.abs or tf.math.real straight behind tf.signal.stft or rfft; a cosine transform (mfccs_from_log_mel_"
        "spectrograms) is a product with its matrix: tf.matmul(log_mel, tf.constant(dct))",
    ),
)


def conversion_error(error: Exception, source: str) -> Exception:
    """Return why a conversion failed: `model-half-precision`, `model-double-precision`, `unsupported-operation` with
    operations and layers, else `converter-failed`."""
    text = str(error)
    operations = {
        name.strip().removeprefix("tf.")
        for line in re.findall(r"(?:TF Select|Flex|Custom) ops:([^\n]*)", text)
        for name in line.split(",")
        if name.strip()
    }
    operations |= set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", text))
    if not operations:
        return ToolError(
            "converter-failed",
            f"the TFLite converter failed: {short(' '.join(text.split()))}",
            context={"model": source},
        )
    for numbers in UNSUITED:
        if operations <= _only_on(numbers.pattern, text):
            return InputError(
                numbers.reference,
                f"{numbers.said}, and TFLite has no {', '.join(sorted(operations))} for that",
                context={"model": source, "operations": ", ".join(sorted(operations))},
                hint=numbers.hint,
            )
    layers: dict[str, None] = {}
    for entry in getattr(error, "errors", ()):
        if entry.operator.name.removeprefix("tf.") in operations and entry.location.call:
            layers[entry.location.call[0].name.partition("@")[0]] = None
    return InputError(
        "unsupported-operation",
        f"TFLite has no operation for {', '.join(sorted(operations))}",
        context={
            "model": source,
            "operations": ", ".join(sorted(operations)),
            "in": ", ".join(list(layers)[:6]) or "not told by the converter",
        },
        hint="use layers that TFLite has (TensorFlow's own kernels are not shipped to devices), "
        "or cut the model before them and compute the rest outside",
    )


def _only_on(pattern: str, text: str) -> set[str]:
    """Return the operations that a converter's message shows with tensors of such numbers only."""
    numbers = re.compile(pattern)
    seen = re.findall(r'see current operation:[^"\n]*"tf\.(\w+)"([^\n]*)', text)
    found = {name for name, line in seen if numbers.search(line)}
    return found - {name for name, line in seen if not numbers.search(line)}
