"""Layers trained to be quantized: what is rounded, and on which ranges. Worker side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeship.errors import InputError
from edgeship.model.tfmot.wrapper import (
    FINE,
    Wrapper,
    _Base,
    called,
    load_rest,
    rounded,
    standing_in,
    weight_rounded,
)

PER_CHANNEL = ("Default8BitConvQuantizeConfig", "DefaultNBitConvQuantizeConfig")
PLAIN = ("Default8BitQuantizeConfig", "DefaultNBitQuantizeConfig", "Default8BitConvTransposeQuantizeConfig",
         "DefaultNBitConvTransposeQuantizeConfig")  # fmt: skip
OUTPUT = ("Default8BitOutputQuantizeConfig", "DefaultNBitOutputQuantizeConfig")
ACTIVATION = ("Default8BitActivationQuantizeConfig", "DefaultNBitActivationQuantizeConfig")
NOTHING = ("NoOpQuantizeConfig",)
BEFORE = ("softmax", "sigmoid", "tanh", "gelu")
"""Activations whose input is rounded (tfmot's QuantizeAwareActivation)."""
AFTER = ("linear", "relu", "swish", "silu", "gelu")
"""Activations whose output is rounded."""
NO_ACTIVATION = "NoOpActivation"


class Quantized(Wrapper):
    """Weights, activations and outputs that are rounded on ranges that training found."""

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        self.plan = plan(self.told["quantize_config"], self.layer, self.name)
        self.ranges = {}
        for role, channels in self.plan:
            shape = (channels,) if channels else ()
            self.ranges[role] = tuple(
                self.add_weight(f"{role}_{end}", shape=shape, trainable=False) for end in ("min", "max")
            )

    def call(self, inputs: Any, training: Any = None, **more: Any) -> Any:
        replaced: dict[str, Any] = {}
        for role, _ in self.plan:
            if role not in ("pre_activation", "post_activation", "output"):
                replaced[role] = weight_rounded(
                    getattr(self.layer, role), self.ranges[role], getattr(self, "bits", 8)
                )
        if "pre_activation" in self.ranges or "post_activation" in self.ranges:
            replaced["activation"] = self._activation(self.layer.activation)
        with standing_in(self.layer, replaced):
            made = called(self.layer, inputs, training, more)
        return rounded(made, self.ranges["output"]) if "output" in self.ranges else made

    def mark(self) -> None:
        """Have the weights keep their values and tell their ranges."""
        self.bits = FINE

    def _activation(self, activation: Any) -> Any:
        pre, post = self.ranges.get("pre_activation"), self.ranges.get("post_activation")

        def around(x: Any) -> Any:
            x = activation(rounded(x, pre) if pre else x)
            return rounded(x, post) if post else x

        return around

    def load_own_variables(self, store: Any) -> None:
        """Take the ranges from the end; the layer's weights stand in front where it was built before it was
        wrapped, and then not under the layer."""
        values = [store[str(i)] for i in range(len(store))]
        flat = [variable for role, _ in self.plan for variable in self.ranges[role]]
        for variable, value in zip(flat, values[len(values) - len(flat) :], strict=True):
            variable.assign(value)
        weights = self.layer.trainable_weights
        if len(values) - len(flat) <= len(weights):
            return  # the counter of steps alone
        for variable, value in zip(weights, values, strict=False):
            variable.assign(value)
        load_rest(self.layer, {id(variable) for variable in weights})


class Passed(_Base):  # type: ignore[misc]
    """Rounds what passes through it."""

    def __init__(self, quantizer: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.quantizer = quantizer
        fixed = (quantizer or {}).get("config", {})
        self.ends = (fixed["init_min"], fixed["init_max"]) if "init_min" in fixed else None

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        if self.quantizer and self.ends is None and self.quantizer["class_name"] != "NoQuantizer":
            names = (f"{self.name}_min", f"{self.name}_max")
            self.ends = tuple(self.add_weight(name, shape=(), trainable=False) for name in names)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        return rounded(inputs, self.ends) if self.ends else inputs

    def load_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self._non_trainable_weights):
            variable.assign(store[str(i)])


class QuantizeAwareActivation:
    """What stands in the config of a wrapped layer for its activation."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        import tf_keras

        inner = config["activation"]
        if isinstance(inner, Mapping) and inner.get("class_name") == NO_ACTIVATION:
            return _no_activation
        return tf_keras.activations.deserialize(inner, use_legacy_format=True)


def _no_activation(x: Any) -> Any:
    return x


def plan(config: Mapping[str, Any], layer: Any, name: str) -> list[tuple[str, int]]:
    """Return (what is rounded, number of channels with ranges of their own or 0), in the order of tfmot's variables.

    Raises InputError `model-custom-object` for a QuantizeConfig that is the user's own.
    """
    kind, told = config["class_name"], config.get("config") or {}
    if kind in NOTHING:
        return []
    if kind in OUTPUT:
        return [("output", 0)] if told.get("quantize_output", True) else []
    if kind in ACTIVATION:
        rounded = told.get("quantize_output", True) and _name(layer.activation) in (*AFTER[1:], "relu6")
        return [("output", 0)] if rounded else []
    if kind not in (*PLAIN, *PER_CHANNEL):
        raise InputError(
            "model-custom-object",
            f"'{name}' is quantized by '{kind}', a QuantizeConfig of your own code",
            context={"known": "the default ones of tensorflow-model-optimization, of 8 and of n bits"},
            hint="save it where that code is at hand, as a SavedModel: model.save(FOLDER, save_format='tf'), and give "
            "the folder: its ranges are kept as well",
        )
    found = [
        (weight, int(getattr(layer, weight).shape[-1]) if kind in PER_CHANNEL else 0)
        for weight in told["weight_attrs"]
    ]
    if told["activation_attrs"]:
        activation = _name(layer.activation)
        found += [("pre_activation", 0)] if activation in BEFORE else []
        found += [("post_activation", 0)] if activation in AFTER else []
    return [*found, ("output", 0)] if told["quantize_output"] else found


def _name(activation: Any) -> str:
    return str(getattr(activation, "__name__", type(activation).__name__))
