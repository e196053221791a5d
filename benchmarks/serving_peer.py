"""The peer of benchmarks/serving.py: the same model behind uvicorn, orjson and NumPy, as one writes it by hand.

Runs in an environment of its own: `python serving_peer.py SPEC PORT plain|standard`. SPEC is JSON: model, threads,
inputs and outputs as service.json has them. `plain` is `pip install uvicorn` (asyncio, h11), `standard` is
`uvicorn[standard]` (uvloop and httptools, both in C). An ASGI application without a framework: a router and a schema
would only make it slower. It checks what a careful author checks (shape, datatype, that values are finite), not more.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import orjson
import uvicorn
from ai_edge_litert.interpreter import Interpreter

KINDS = {"FP32": np.float32, "UINT8": np.uint8, "INT8": np.int8}
JSON = [(b"content-type", b"application/json")]


class Service:
    """The interpreter with what lies before and behind it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.interpreter = Interpreter(model_path=spec["model"], num_threads=spec["threads"])
        self.interpreter.allocate_tensors()
        self.inputs = list(zip(spec["inputs"], self.interpreter.get_input_details(), strict=True))
        self.outputs = list(zip(spec["outputs"], self.interpreter.get_output_details(), strict=True))

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """Return (status, body) for a request's body."""
        try:
            document = orjson.loads(body)
            by_name = {item["name"]: item for item in document["inputs"]}
            for spec, details in self.inputs:
                self.interpreter.set_tensor(details["index"], self.tensor(spec, by_name[spec["name"]]))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            return 400, orjson.dumps({"error": str(error)})
        self.interpreter.invoke()
        outputs = [self.output(spec, details) for spec, details in self.outputs]
        found = {"model_name": "bench", "model_version": "1", "id": document.get("id"), "outputs": outputs}
        return 200, orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)

    @staticmethod
    def tensor(spec: dict[str, Any], item: dict[str, Any]) -> Any:
        """Return the array for the interpreter; raises ValueError for what does not fit."""
        if item["datatype"] != spec["datatype"] or item["shape"] != spec["shape"]:
            raise ValueError("datatype or shape")
        inner = spec["tensor"]
        values = np.asarray(item["data"], KINDS[spec["datatype"]]).reshape(spec["shape"])
        if spec["datatype"] == "FP32" and not np.isfinite(values).all():
            raise ValueError("not finite")
        if inner["scale"] is None:
            return values
        quantized = np.rint(values / inner["scale"]) + inner["zero_point"]
        span = np.iinfo(inner["dtype"])
        return np.clip(quantized, span.min, span.max).astype(inner["dtype"])

    def output(self, spec: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
        """Return one output of the answer, dequantized."""
        inner = spec["tensor"]
        values = self.interpreter.get_tensor(details["index"])
        if inner["scale"] is not None:
            values = (inner["scale"] * (values.astype(np.float64) - inner["zero_point"])).astype(np.float32)
        data = np.ascontiguousarray(values).reshape(-1)
        return {"name": spec["name"], "datatype": "FP32", "shape": spec["shape"], "data": data}


def application(service: Service) -> Any:
    """Return the ASGI application."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        status, body = 404, b"{}"
        if scope["path"] == "/v2/models/bench/infer" and scope["method"] == "POST":
            status, body = service.answer(b"".join(parts))
        length = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": JSON + length})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    app = application(Service(json.loads(sys.argv[1])))
    loop, http = ("asyncio", "h11") if sys.argv[3] == "plain" else ("uvloop", "httptools")
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[2]), loop=loop, http=http, ws="none", lifespan="off",
        log_level="error", access_log=False,
    )  # fmt: skip
