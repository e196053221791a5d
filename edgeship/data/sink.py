"""Where samples go as they are read: an `.npy` file that grows, checked and hashed on the way, never held in
memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgeship.errors import InputError


class Sink:
    """Writes blocks `[k, ...]` of one array one after the other. After `close`, `path` is a plain `.npy`
    file.

    `what` names the array in errors ("x" or "y"), `reference` the dataset as the user wrote it, `role` what
    it is for.
    """

    def __init__(self, path: Path, *, what: str, reference: str, role: str) -> None:
        self.path, self.what, self.reference, self.role = path, what, reference, role
        self.count = 0
        self.shape: tuple[int, ...] | None = None
        self.dtype: np.dtype[Any] | None = None
        self.minimum, self.maximum = float("inf"), float("-inf")
        self._digest = hashlib.sha256()
        self._stream = path.open("wb")

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stream.close()
        self.path.unlink(missing_ok=True)  # a finished file has been renamed by then

    def add(self, block: NDArray[Any]) -> None:
        """Check and append `[k, ...]` samples. Raises InputError `dataset-not-finite`,
        `dataset-shapes-differ`."""
        if len(block) == 0:
            return
        block = np.ascontiguousarray(plain(block, what=self.what, reference=self.reference))
        if self.shape is None or self.dtype is None:
            self.shape, self.dtype = block.shape[1:], block.dtype
            self._write_header()
        if block.shape[1:] != self.shape:
            raise self._error(
                "dataset-shapes-differ",
                f"sample {self.count} of {self.what} has another shape than sample 0",
                {"sample 0": list(self.shape), f"sample {self.count}": list(block.shape[1:])},
                "give samples of one shape (images of several sizes need preprocess.resize in edgeship.yaml)",
            )
        if block.dtype != self.dtype:
            block = self._cast(block, self.dtype)
        if block.size:
            self._check_range(block)
        data = block.tobytes()
        self._digest.update(data)
        self._stream.write(data)
        self.count += len(block)

    def close(self) -> None:
        """Write the final count into the header. Raises InputError `dataset-empty` where nothing was
        added."""
        if self.shape is None or self.count == 0 or 0 in self.shape:
            raise self._error(
                "dataset-empty",
                f"the {self.role} data holds no samples",
                {"samples": self.count, "sample shape": list(self.shape or ())},
                "give a file, folder or callable with at least one sample",
            )
        self._stream.seek(0)
        self._write_header()
        self._stream.close()

    def describe(self) -> dict[str, Any]:
        """Return dtype, shape and digest of the bytes: what a dataset's own digest is made of."""
        return {
            "dtype": str(self.dtype),
            "shape": [self.count, *(self.shape or ())],
            "sha256": self._digest.hexdigest(),
        }

    def _write_header(self) -> None:
        """Write the header; NumPy pads it so that the first axis may grow in place."""
        assert self.dtype is not None and self.shape is not None
        fields = {
            "descr": self.dtype.str,
            "fortran_order": False,
            "shape": (self.count, *self.shape),
        }
        npy.write_array_header_1_0(self._stream, fields)  # type: ignore[no-untyped-call]

    def _cast(self, block: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        if np.can_cast(block.dtype, dtype, casting="safe") or (block.dtype.kind == dtype.kind == "f"):
            return block.astype(dtype)
        raise self._error(
            "dataset-dtypes-differ",
            f"sample {self.count} of {self.what} is {block.dtype}, the samples before it are {dtype}",
            {},
            f"yield one dtype: numpy.asarray(sample, dtype='{dtype}')",
        )

    def _check_range(self, block: NDArray[Any]) -> None:
        if block.dtype.kind == "f":
            finite = np.isfinite(block.reshape(len(block), -1))
            if not finite.all():
                bad = int(np.argmin(finite.all(axis=1)))
                value = block[bad].reshape(-1)[int(np.argmin(finite[bad]))]
                raise self._error(
                    "dataset-not-finite",
                    f"the {self.role} data holds {value} in sample {self.count + bad} of {self.what}",
                    {"sample": self.count + bad, "value": value, "wanted": "finite numbers only"},
                    "list them: numpy.where(~numpy.isfinite(x).reshape(len(x), -1).all(axis=1))",
                )
        self.minimum = min(self.minimum, float(block.min()))
        self.maximum = max(self.maximum, float(block.max()))

    def _error(self, reference: str, message: str, context: dict[str, object], hint: str) -> InputError:
        return InputError(reference, message, context={"dataset": self.reference, **context}, hint=hint)


def plain(array: NDArray[Any], *, what: str, reference: str) -> NDArray[Any]:
    """Return numbers in little-endian form: bool as uint8, double as float32 (what models take).

    Raises InputError `dataset-not-numbers` for objects, text, dates and complex numbers.
    """
    kind = array.dtype.kind
    if kind not in "biuf":
        raise InputError(
            "dataset-not-numbers",
            f"{what} holds {array.dtype} where numbers are wanted",
            context={"dataset": reference, "wanted": "uint8, int8, int16, int32, int64, float16 or float32"},
            hint="class labels are integer indices: y = numpy.unique(names, return_inverse=True)[1]"
            if kind in "US"
            else "save an array of numbers, all samples of one shape: numpy.savez('data.npz', x=x, y=y)",
        )
    if kind == "b":
        return array.astype(np.uint8)
    if kind == "f" and array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
