"""Image resizing with half-pixel centres in double arithmetic, exactly as docs/formats.md writes it.

nearest: source = floor((i + 0.5) * in / out), clamped. bilinear: s = (i + 0.5) * in / out - 0.5 clamped to
[0, in - 1], a and b the neighbours on row y0, c and d on row y1: (a*(1-wx) + b*wx)*(1-wy) + (c*(1-wx) +
d*wx)*wy.
"""


def nearest_index(size_in, size_out):
    """Return for every output position the source position."""
    return [min(int((i + 0.5) * size_in / size_out), size_in - 1) for i in range(size_out)]


def bilinear_weights(size_in, size_out):
    """Return for every output position (first neighbour, second neighbour, weight of the second)."""
    weights = []
    for i in range(size_out):
        source = min(max((i + 0.5) * size_in / size_out - 0.5, 0.0), size_in - 1.0)
        first = int(source)
        weights.append((first, min(first + 1, size_in - 1), source - first))
    return weights


def nearest(pixels, height, width, channels, out_height, out_width):
    """Return `pixels` (a flat sequence, H x W x C) at the new size; the result is of the same type as a slice
    of it.
    """
    columns = nearest_index(width, out_width)
    stride = width * channels
    picks = [column * channels + channel for column in columns for channel in range(channels)]
    rows = {}
    out = pixels[:0]
    for y in nearest_index(height, out_height):
        if y not in rows:
            row = pixels[y * stride : (y + 1) * stride]
            rows[y] = (
                type(out)(map(row.__getitem__, picks))
                if isinstance(out, (bytes, list))
                else _take(row, picks)
            )
        out += rows[y]
    return out


def _take(row, picks):
    taken = row[:0]
    taken.extend(map(row.__getitem__, picks))
    return taken


def bilinear(pixels, height, width, channels, out_height, out_width):
    """Return a flat list of doubles, out_height x out_width x channels.

    A source row is brought to the new width once and shared by the output rows that need it: the same
    products and sums in the same order, fewer of them.
    """
    across = []
    for first, second, weight in bilinear_weights(width, out_width):
        for channel in range(channels):
            across.append((first * channels + channel, second * channels + channel, 1.0 - weight, weight))
    stride = width * channels
    rows = {}
    out = []
    for top, bottom, weight in bilinear_weights(height, out_height):
        for y in (top, bottom):
            if y not in rows:
                row = pixels[y * stride : (y + 1) * stride]
                rows[y] = [row[i] * v + row[j] * w for i, j, v, w in across]
        rest = 1.0 - weight
        out += [t * rest + b * weight for t, b in zip(rows[top], rows[bottom])]
        for y in [known for known in rows if known < top]:
            del rows[y]
    return out
