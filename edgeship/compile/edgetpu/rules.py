"""The documented limitations of single operations, one function each; `operations.json` says which apply where.

A rule returns None where it has nothing to say, a Judgement where it keeps the operation off the Edge TPU, or one
that lets it through with a doubt. Sources: the table of coral.ai (high confidence), sizes seen on both sides in
public compiler logs and model pairs (low confidence between the two figures).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from edgeship.compile.edgetpu import status
from edgeship.compile.edgetpu.table import limit, seen
from edgeship.compile.edgetpu.view import View
from edgeship.compile.report import Confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one rule says: the status it leads to, why, and how sure that is. `code` names the advice."""

    status: str
    reason: str
    confidence: Confidence
    code: str = ""


Rule = Callable[[View], Judgement | None]


def _no(reason: str, code: str, confidence: Confidence = "high") -> Judgement:
    return Judgement(status=status.UNSPECIFIED, reason=reason, confidence=confidence, code=code)


def _between(value: float, name: str, what: str, code: str) -> Judgement | None:
    """Judge a size by the largest seen mapped and the smallest seen rejected; in between, by the nearer one."""
    mapped, rejected = seen(name)
    if value <= mapped:
        return None
    text = f"{what}: {value:,.10g} (seen mapped up to {mapped:,.10g}, seen rejected from {rejected:,.10g})"
    if value >= rejected:
        return _no(text, code, "medium")
    if value - mapped > rejected - value:
        return _no(text, code, "low")
    return Judgement(status=status.MAPPED, reason=text, confidence="low", code=code)


def no_fused_activation(view: View) -> Judgement | None:
    fused = view.operator.options.get("fused_activation", "NONE")
    return None if fused == "NONE" else _no(f"it has {fused} fused into it", "fused-activation")


def concat_constant(view: View) -> Judgement | None:
    constants = [t for t in view.data if t.has_data]
    if not constants:
        return None
    if len(view.operator.inputs) != 2 or len(constants) != 1:
        return _no("with a constant operand there may be only two inputs", "concat-constant")
    tensor = constants[0]
    zero = tensor.quantization.zero_points[0] if tensor.quantization else 0
    content = view.model.tensor_bytes(tensor.index)
    if any(byte != zero % 256 for byte in set(content)):
        return _no("its constant operand is not all zeros", "concat-constant")
    return None


def equal_dilation(view: View) -> Judgement | None:
    options = view.operator.options
    height, width = options.get("dilation_h_factor", 1), options.get("dilation_w_factor", 1)
    return None if height == width else _no(f"dilation {height} x {width} differs by axis", "dilation")


def dilated_depthwise(view: View) -> Judgement | None:
    dilated = view.operator.options.get("dilation_h_factor", 1) > 1
    if dilated and view.settings.runtime < 13:
        return _no("dilated depthwise kernels need runtime 13", "runtime-version")
    return None


def default_weights_format(view: View) -> Judgement | None:
    form = view.operator.options.get("weights_format", "DEFAULT")
    return None if form == "DEFAULT" else _no(f"weights are in the format {form}", "weights-format")


def one_row(view: View) -> Judgement | None:
    """The table says one-dimensional output; 16.0 has been seen to map rows of a detector's head (public log)."""
    shape = view.outputs[0].shape
    if sum(size > 1 for size in shape) <= 1:
        return None
    if old := _as_the_table_says(view):
        return old
    reason = f"the table promises one-dimensional output only; 16.0 has been seen to map more: {list(shape)}"
    return Judgement(status=status.MAPPED, reason=reason, confidence="low", code="dense-rows")


def _as_the_table_says(view: View) -> Judgement | None:
    """Compilers 1 and 2 keep to the table: one-dimensional output only, for dense layers and softmax."""
    if view.settings.compiler > limit("compiler_of_one_dimension"):
        return None
    reason = f"its output {list(view.outputs[0].shape)} has more than one dimension"
    return Judgement(status=status.ROWS, reason=reason, confidence="medium", code="dense-rows")


def logistic_size(view: View) -> Judgement | None:
    """Large ones were seen both ways: mapped in a detector of 320 pixels, unspecified at 80 x 8400 behind a cut."""
    elements, known = view.outputs[0].elements, limit("logistic_elements")
    if elements <= known:
        return None
    reason = f"{elements:,} elements; up to {known:,} are always mapped, larger ones were seen both ways"
    return Judgement(status=status.MAPPED, reason=reason, confidence="low", code="logistic-size")


def not_over_batch(view: View) -> Judgement | None:
    axes, tensor = view.axes(1), view.tensor(0)
    if axes is not None and tensor is not None and 0 in axes and len(tensor.shape) > 1:
        return _no("it reduces over the batch dimension", "batch-axis")
    return None


def mean_depth(view: View) -> Judgement | None:
    axes, tensor = view.axes(1), view.tensor(0)
    if axes is None or tensor is None or len(tensor.shape) - 1 not in axes:
        return None
    if view.settings.runtime < 13:
        return _no("reducing over channels needs runtime 13", "runtime-version")
    multiple, depth = limit("mean_depth_multiple"), tensor.shape[-1]
    return (
        None
        if depth % multiple == 0
        else _no(f"{depth} channels are no multiple of {multiple}", "mean-depth")
    )


def mean_size(view: View) -> Judgement | None:
    axes, tensor = view.axes(1), view.tensor(0)
    if axes is None or tensor is None or len(tensor.shape) < 3:
        return None
    area = 1
    for axis in axes:
        if axis != len(tensor.shape) - 1:
            area *= tensor.shape[axis]
    return _between(area, "mean_area", "positions it takes the mean of", "mean-size")


def axis_not_batch(view: View) -> Judgement | None:
    axis = view.operator.options.get("axis", 0)
    at = axis + len(view.outputs[0].shape) if axis < 0 else axis
    return _no("it packs along the batch dimension", "batch-axis") if at == 0 else None


def batch_not_padded(view: View) -> Judgement | None:
    padding, tensor = view.integers(1), view.tensor(0)
    if padding is None or tensor is None or len(tensor.shape) < 2:
        return None
    if any(padding[:2]):
        return _no("it pads the batch dimension", "batch-axis")
    axes = {i // 2 for i, amount in enumerate(padding) if amount}
    if view.settings.runtime < 13 and len(tensor.shape) == 4 and not axes <= {1, 2}:
        return _no("padding anything but height and width needs runtime 13", "runtime-version")
    return None


def alpha_one_dimension(view: View) -> Judgement | None:
    alpha = view.tensor(1)
    if alpha is not None and any(size != 1 for size in alpha.shape[:-1]):
        return _no(f"its alpha {list(alpha.shape)} has more than one dimension", "prelu-alpha")
    return None


def reshape_size(view: View) -> Judgement | None:
    """Merging the two innermost dimensions under a third one moves every element."""
    tensor = view.tensor(0)
    before = tuple(s for s in tensor.shape if s != 1) if tensor else ()
    after = tuple(s for s in view.outputs[0].shape if s != 1)
    if len(before) < 3 or len(after) < 2 or after[-1] != before[-1] * before[-2] or after[:-1] != before[:-2]:
        return None
    elements = view.outputs[0].elements
    return _between(elements, "reshape_merge_elements", "elements it lays out anew", "reshape-size")


def resize_version(view: View) -> Judgement | None:
    newest = limit("resize_delegate_version_before_16")
    if view.settings.compiler < 16 and view.operator.version > newest:
        reason = f"version {view.operator.version}; compilers before 16.0 take up to {newest}"
        return Judgement(status=status.VERSION, reason=reason, confidence="high", code="operation-version")
    return None


def resize_size(view: View) -> Judgement | None:
    tensor = view.tensor(0)
    if tensor is None or not len(tensor.shape) == len(view.outputs[0].shape) == 4:
        return None
    (height, width), (tall, wide) = tensor.shape[1:3], view.outputs[0].shape[1:3]
    if (height, width) == (1, 1) and (tall, wide) != (1, 1):
        return _no(f"it spreads one pixel over {tall} x {wide}", "resize-size", "medium")
    if (tall, wide) == (height, width):
        return None
    if tall < height or wide < width:
        reason = f"from {height} x {width} down to {tall} x {wide}: nothing is known of shrinking"
        return Judgement(status=status.MAPPED, reason=reason, confidence="low", code="resize-size")
    factor = max(tall / height, wide / width)
    return _between(
        factor, "resize_factor", f"enlarges {height} x {width} to {tall} x {wide}, times", "resize-size"
    )


def softmax_size(view: View) -> Judgement | None:
    shape = view.outputs[0].shape
    most = limit("softmax_elements")
    if shape and shape[-1] > most:
        reason = (
            f"{shape[-1]:,} elements; {most:,} are documented, {limit('softmax_seen'):,} were seen mapped"
        )
        return Judgement(status=status.MAPPED, reason=reason, confidence="low", code="softmax-size")
    if sum(size > 1 for size in shape) > 1:
        if old := _as_the_table_says(view):
            return old
        reason = (
            f"the table promises softmax of one dimension only; 16.0 has been seen to map more: {list(shape)}"
        )
        return Judgement(status=status.MAPPED, reason=reason, confidence="low", code="softmax-size")
    return None


def split_not_batch(view: View) -> Judgement | None:
    axis, tensor = view.integers(0), view.tensor(1)
    if axis is None or tensor is None:
        return None
    at = axis[0] + len(tensor.shape) if axis[0] < 0 else axis[0]
    if at != 0 or len(tensor.shape) < 2:
        return None
    if tensor.shape[0] == 1:  # the table rules out the batch; a public pair has it mapped, cutting nothing
        reason = "it splits a batch of one: against the table, and seen mapped"
        return Judgement(status=status.MAPPED, reason=reason, confidence="low", code="batch-axis")
    return _no("it splits the batch dimension", "batch-axis")


def seen_beyond_the_table(view: View) -> Judgement | None:
    """The table lacks it, and a published model has it on the Edge TPU."""
    reason = "not in the documented table; seen mapped in a published model"
    return Judgement(status=status.MAPPED, reason=reason, confidence="low", code="not-supported")


def unit_strides(view: View) -> Judgement | None:
    strides = view.integers(3)
    if strides is not None and any(stride != 1 for stride in strides):
        return _no(f"its strides are {list(strides)}", "strided-slice")
    for mask in ("ellipsis_mask", "new_axis_mask"):
        if view.operator.options.get(mask, 0):
            return _no(f"it uses an {mask.replace('_', ' ')}", "strided-slice")
    return None


def leading_ones(view: View) -> Judgement | None:
    """Until runtime 12 a SQUEEZE may only drop sizes in front of all others: nothing is laid out anew."""
    tensor = view.tensor(0)
    if tensor is None or view.settings.runtime >= 13:
        return None
    behind = itertools.dropwhile(lambda size: size == 1, tensor.shape)
    if 1 not in behind:
        return None
    return _no(f"{list(tensor.shape)} has a 1 behind larger sizes, which needs runtime 13", "squeeze")


def transpose_size(view: View) -> Judgement | None:
    tensor, order = view.tensor(0), view.integers(1)
    if tensor is None or order is None:
        return None
    moved = [axis for axis in order if tensor.shape[axis] != 1]
    if moved == sorted(moved):
        return None
    return _between(tensor.elements, "transpose_elements", "elements it moves", "transpose-size")


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        no_fused_activation, concat_constant, equal_dilation, dilated_depthwise, default_weights_format, one_row,
        logistic_size,
        not_over_batch, mean_depth, mean_size, axis_not_batch, batch_not_padded, alpha_one_dimension, reshape_size,
        leading_ones, resize_version, resize_size, softmax_size, split_not_batch, seen_beyond_the_table,
        unit_strides, transpose_size,
    )
}  # fmt: skip
