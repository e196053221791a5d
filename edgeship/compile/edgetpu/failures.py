"""How edgetpu_compiler fails, what each failure means and what to do: data, matched against what it printed."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way to fail. `retry`: the same file may compile when tried again."""

    reference: str
    pattern: str
    message: str
    hint: str
    retry: bool = False


FAILURES: tuple[Failure, ...] = (
    Failure(
        reference="edgetpu-operation-version",
        pattern=r"Didn't find op for builtin opcode '(?P<op>\w+)' version '(?P<version>\d+)'",
        message="the model uses {op} in version {version}, which is newer than the compiler",
        hint="convert with TensorFlow 2.8 or older, or quantize the float model with edgeship build, which writes the "
        "oldest version that fits",
    ),
    Failure(
        reference="edgetpu-dynamic-shape",
        pattern=r"static-sized tensors",
        message="a tensor of the model has no fixed size",
        hint="export with a fixed batch and input shape; edgeship check MODEL --target coral names the tensor",
    ),
    Failure(
        reference="edgetpu-large-activations",
        pattern=r"large activation tensors",
        message="an operation's input and output are too large for the Edge TPU",
        hint="use a smaller input (sometimes a larger one compiles too), or try -d in the target's compiler.options, "
        "which leaves the last operations to the CPU",
    ),
    Failure(
        reference="edgetpu-flex-operation",
        pattern=r"Regular TensorFlow ops are not supported|Flex delegate",
        message="the model needs TensorFlow operations that TFLite does not have",
        hint="convert with TFLITE_BUILTINS only",
    ),
    Failure(
        reference="edgetpu-unloadable",
        pattern=r"Model failed in Tflite interpreter|failed to prepare",
        message="the compiler's TFLite cannot run the model",
        hint="edgeship inspect MODEL; run it once with tf.lite.Interpreter to see the reason",
    ),
    Failure(
        reference="edgetpu-not-quantized",
        pattern=r"Model not quantized",
        message="the model holds float tensors",
        hint="edgeship check MODEL --target coral lists them; edgeship build quantizes a float model",
    ),
    Failure(
        reference="edgetpu-invalid-model",
        pattern=r"Invalid model",
        message="the compiler does not take the file for a model",
        hint="edgeship inspect MODEL",
    ),
    Failure(
        reference="edgetpu-timeout",
        pattern=r"[Tt]imed out|timeout (was )?reached|exceeded .*timeout",
        message="the compiler gave up after its own time limit",
        hint="raise it: --timeout_sec in the target's compiler.options (180 is its default)",
    ),
    Failure(
        reference="edgetpu-internal-error",
        pattern=r"Internal compiler error",
        message="the compiler crashed, each time it was tried",
        hint="edgeship check MODEL --target coral looks for what is known to cause it (an infinite scale, -a with some "
        "networks); change the input size slightly, or leave out -a",
        retry=True,
    ),
)
UNKNOWN = Failure(
    reference="edgetpu-failed",
    pattern="",
    message="the compiler failed for a reason that edgeship does not know",
    hint="its last words are above; edgeship check MODEL --target coral may say more",
)


def failure_of(output: str) -> tuple[Failure, str]:
    """Return the failure that an output shows, and its message with the details filled in.

    The most telling line wins over the general ones that follow it (`Compilation failed!`).
    """
    for failure in FAILURES:
        if match := re.search(failure.pattern, output):
            return failure, failure.message.format(**match.groupdict())
    return UNKNOWN, UNKNOWN.message
