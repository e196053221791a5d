"""The scales under which biases fit, and the bound on what rounding takes off (no files, no runtime)."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeship.quantize.bias_edit import LIMITS, Fitted, notes, warnings
from edgeship.quantize.bias_fit import Layer, fit, limited, loss_bound, rounded


def drawn(seed: int, channels: int, taps: int, faintness: int) -> Layer:
    """Return a layer as the quantizer holds it: weights of any size, biases of any size, a range with 0 in it."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(channels, taps)) * 10.0 ** random.uniform(-faintness, 0, (channels, 1))
    weights[random.random(channels) < 0.1] = 0
    bias = random.normal(size=channels) * 10.0 ** random.uniform(-2, 4, channels)
    zero = int(random.integers(-128, 128))
    entry = 10.0 ** random.uniform(-6, 0)
    low, high = sorted(random.normal(size=2) * 10.0 ** random.uniform(-2, 4))
    low, high = (0.0, high) if random.random() < 0.3 else (min(low, 0.0), max(high, 0.0))
    high = max(high, low + 1e-6)
    scales = np.maximum(np.abs(weights).max(1), 1e-9) / 127
    return Layer(
        weights=weights,
        held=rounded(weights, scales) * scales[:, None],
        bias=bias,
        entry=entry,
        largest=entry * max(127 - zero, zero + 128),
        step=(high - low) / 255,
        low=low,
        high=high,
    )


LAYERS = {
    "seed": st.integers(0, 2**32 - 1),
    "channels": st.integers(1, 6),
    "taps": st.sampled_from([1, 9, 27, 576, 4608]),
    "faintness": st.integers(0, 14),
    "one_scale": st.booleans(),
}


@settings(max_examples=200, deadline=None)
@example(
    seed=119, channels=4, taps=4608, faintness=9, one_scale=True
)  # half of a bias is beyond the range, too
@given(**LAYERS)
def test_every_bias_fits_and_less_than_a_step_is_lost(
    seed: int, channels: int, taps: int, faintness: int, one_scale: bool
) -> None:
    layer = drawn(seed, channels, taps, faintness)
    scales = np.maximum(np.abs(layer.weights).max(1), 1e-9) / 127
    if one_scale:
        scales = scales.max(keepdims=True)
    limit = LIMITS["INT32"][0]
    found = fit([layer], scales, limit)
    assert (found.scales >= scales).all()
    stored = np.rint(limited(layer, found.scales, limit) / (layer.entry * found.scales))
    assert np.abs(stored).max() <= limit
    assert found.steps.max() < 1, "the proof says so for fewer than 16,500 weights a channel"
    # what any input can make of it, in the real values that the integers stand for
    changed = found.scales > scales
    after = np.where(
        changed[:, None], rounded(layer.weights, found.scales) * found.scales[:, None], layer.held
    )
    bias = limited(layer, found.scales, limit)
    bound = loss_bound(layer, after, bias)
    ends = layer.largest * np.sign(np.random.default_rng(seed).normal(size=(20, taps)))
    worst = [layer.largest * np.sign(layer.weights - after), -layer.largest * np.sign(layer.weights - after)]
    for channel in range(channels):
        x = np.concatenate([ends, [w[channel] for w in worst]])
        exact = np.clip(x @ layer.weights[channel] + layer.bias[channel], layer.low, layer.high)
        made = np.clip(x @ after[channel] + bias[channel], layer.low, layer.high)
        assert np.abs(exact - made).max() <= bound[channel] * (1 + 1e-9) + 1e-9 * np.abs(exact).max()


def test_what_is_lost_all_the_same_is_told() -> None:
    """A million weights a channel, all as large as their scale allows, are beyond the proof."""
    taps, entry = 1_000_000, 1.0
    weights = np.full((1, taps), 127.0) * np.where(np.arange(taps) % 2, 1, -1)
    bias = np.array([2.0**31.5])
    layer = Layer(
        weights=weights, held=weights, bias=bias, entry=entry, largest=255.0, step=1.0, low=0.0, high=2.0**33
    )
    found = fit([layer], np.array([1.0]), LIMITS["INT32"][0])
    assert found.raised.all() and found.steps[0] > 1
    told = Fitted(channels=3, layers=2, first="conv", lost=1, worst=float(found.steps[0]), where="dense")
    (note,), (warning,) = notes(told), warnings(told)
    assert "3 channels in 2 layers, the first of them 'conv'," in note and "below a step" not in note
    assert "steps of the output of 1 channel, first in layer 'dense': compare the scores" in warning
