"""The recipes, as data: one row says what a file of that recipe holds and how ai-edge-quantizer is asked for
it.

Adding a recipe is adding a row to ROWS; nothing else in this room names a recipe. Choice of ranges and why:
ADR 0005.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeship.registry import Registry
from edgeship.tflite.weights import FOUR_BITS
from edgeship.values import Precision, Recipe

MIN_MAX = "min_max_uniform_quantize"
CAST = "float_casting"
SHRINK = "OCTAV"
"""Clips each channel's weights where the mean squared error is least; what 4 bits need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A recipe and the settings that make it.

    `algorithm` and `compute` are ai-edge-quantizer's words; no algorithm means the float file as it is.
    """

    recipe: Recipe
    algorithm: str | None = None
    weight_bits: int = 32
    activation_bits: int | None = None
    compute: Literal["FLOAT", "INTEGER"] = "FLOAT"
    ranges: Literal["none", "full", "narrowed"] = "none"
    """How activation ranges come from the calibration samples: the smallest and largest value seen, or
    narrowed to where the expected squared error is least.
    """
    only: tuple[str, ...] = ()
    """Operations whose weights have `weight_bits`, where no kernel takes so few of the others: those have 8."""

    @property
    def corrects_biases(self) -> bool:
        """Whether calibration samples, where there are some, make up for what rounding the weights does."""
        return self.algorithm is not None and self.weight_bits < 16

    @property
    def is_int8(self) -> bool:
        """Whether everything is computed in 8-bit integers."""
        return (self.weight_bits, self.activation_bits) == (8, 8)

    @property
    def kind(self) -> Literal["float", "weights", "dynamic", "static"]:
        """What is computed in integers: nothing, nothing (only stored small), products, or everything."""
        if self.activation_bits is not None:
            return "static"
        if self.algorithm is None:
            return "float"
        return "dynamic" if self.compute == "INTEGER" else "weights"


def _recipe(name: str, alias: str, weights: str, activations: str, io: str, summary: str) -> Recipe:
    return Recipe(
        name=name,
        alias=alias,
        precision=Precision(weights=weights, activations=activations, io=io),
        needs_calibration=activations.startswith("int"),
        summary=summary,
    )


ROWS: tuple[Row, ...] = (
    Row(
        recipe=_recipe("float_fp32", "fp32", "float32", "float32", "float32", "the model as trained"),
    ),
    Row(
        recipe=_recipe(
            "weight_fp16",
            "fp16",
            "float16",
            "float32",
            "float32",
            "half-size weights; for GPUs, safe anywhere",
        ),
        algorithm=CAST,
        weight_bits=16,
    ),
    Row(
        recipe=_recipe(
            "dynamic_wi8_afp32",
            "dynamic",
            "int8",
            "float32",
            "float32",
            "8-bit weights, products in integers",
        ),
        algorithm=MIN_MAX,
        weight_bits=8,
        compute="INTEGER",
    ),
    Row(
        recipe=_recipe(
            "static_wi8_ai8",
            "int8",
            "int8",
            "int8",
            "int8",
            "integers only; what accelerators and small CPUs want",
        ),
        algorithm=MIN_MAX,
        weight_bits=8,
        activation_bits=8,
        compute="INTEGER",
        ranges="narrowed",
    ),
    Row(
        recipe=_recipe(
            "static_wi4_ai8",
            "int4",
            "int4",
            "int8",
            "int8",
            "integers only, convolutions and dense layers with 4-bit weights; small, and slow on CPUs",
        ),
        algorithm=SHRINK,
        weight_bits=4,
        activation_bits=8,
        compute="INTEGER",
        ranges="narrowed",
        only=FOUR_BITS,
    ),
    Row(
        recipe=_recipe(
            "static_wi8_ai16",
            "int16x8",
            "int8",
            "int16",
            "int16",
            "near-float accuracy in integers; slow on CPUs, for accelerators that have it",
        ),
        algorithm=MIN_MAX,
        weight_bits=8,
        activation_bits=16,
        compute="INTEGER",
        ranges="full",
    ),
    Row(
        recipe=_recipe(
            "weight_wi8_afp32",
            "weight-int8",
            "int8",
            "float32",
            "float32",
            "8-bit weights, computed in float",
        ),
        algorithm=MIN_MAX,
        weight_bits=8,
    ),
    Row(
        recipe=_recipe(
            "weight_wi4_afp32",
            "weight-int4",
            "int4",
            "float32",
            "float32",
            "4-bit weights, computed in float",
        ),
        algorithm=SHRINK,
        weight_bits=4,
    ),
)


def registry_of(rows: tuple[Row, ...]) -> Registry[Recipe]:
    """Return the registry of rows: canonical names, with the plain aliases beside them."""
    return Registry(
        "recipe",
        {row.recipe.name: row.recipe for row in rows},
        aliases={row.recipe.alias: row.recipe.name for row in rows},
    )


RECIPES: Registry[Recipe] = registry_of(ROWS)


def row_of(name: str, rows: tuple[Row, ...] = ROWS) -> Row:
    """Return the row of a recipe by name or alias. Raises InputError `unknown-recipe`."""
    canonical = registry_of(rows).resolve(name)
    return next(row for row in rows if row.recipe.name == canonical)


def recipe_of(precision: Precision) -> Recipe:
    """Return the recipe whose files hold what `precision` says; for a model that came quantized.

    Where no row fits (old uint8 models, mixed precisions) the name is made from what the file holds, e.g.
    `given_wuint8_auint8`.
    """
    for row in ROWS:
        known = row.recipe.precision
        if (known.weights, known.activations) == (precision.weights, precision.activations):
            return row.recipe
    return Recipe(
        name=f"given_w{precision.weights}_a{precision.activations}",
        alias="as-given",
        precision=precision,
        needs_calibration=False,
        summary="the model as it was handed over, already quantized",
    )


def without_ranges(accepted: Sequence[str]) -> tuple[str, ...]:
    """Return the first two recipes (aliases) of a target (`precision.accepts`) that need no samples."""
    return tuple(RECIPES[name].alias for name in accepted if not RECIPES[name].needs_calibration)[:2]


def io_type(recipe: Recipe, wanted: str) -> str:
    """Return the type that the model's input and output must have: `wanted` is a profile's `precision.io`.

    Float activations mean float tensors at the boundary. Sixteen-bit activations keep int16 there, because
    going through 8 bits would throw away what they are for. An integer model takes float32, int8 or uint8 as
    wanted.
    """
    natural = recipe.precision.io
    if recipe.precision.activations == "float32" or wanted == "as_model" or natural == wanted:
        return natural
    if recipe.precision.activations == "int16" and wanted != "float32":
        return natural
    return wanted
