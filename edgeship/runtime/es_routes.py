"""The paths of the service, answered without the engine: metadata, health, metrics; and which of them is
inference.
"""

import time

from es_answers import Answer, json_answer
from es_errors import Refused

_READ = ("GET", "HEAD")


class Routes(object):
    """Finds the route of a request. `state` is the Server: it tells readiness and the gauges of the
    moment.
    """

    def __init__(self, release, metrics, state):
        self._release, self._metrics, self._state = release, metrics, state
        model = "/v2/models/" + release.app
        versioned = model + "/versions/" + release.version
        self._infer = {model + "/infer", versioned + "/infer"}
        self._plain = {
            "/v2": ("server", self._server),
            "/v2/health/live": ("live", self._live),
            "/v2/health/ready": ("ready", self._ready),
            "/metrics": ("metrics", self._metrics_text),
        }
        for base in (model, versioned):
            self._plain[base] = ("model", self._model)
            self._plain[base + "/ready"] = ("model_ready", self._model_ready)
            if state.governor is not None:
                self._plain[base + "/governor"] = ("governor", self._governor)

    def find(self, request):
        """Return (route's name for the metrics, Answer or None); None means: inference. Raises Refused (404,
        405).
        """
        path = request.path
        if "%" in path:
            path = _decoded(path)
        if path in self._infer or path.rstrip("/") in self._infer:
            if request.method != "POST":
                raise Refused(405, "%s needs POST" % path, [("Allow", "POST")])
            return "infer", None
        found = self._plain.get(path) or self._plain.get(path.rstrip("/"))
        if found is None:
            from es_page import page_part  # Programs never ask for it: it costs no service its start.

            part = page_part(self._release, path, request)
            if part is None:
                raise Refused(404, self._unknown(path))
            return "page", part
        if request.method not in _READ:
            raise Refused(405, "%s needs GET" % path, [("Allow", "GET, HEAD")])
        return found[0], found[1]()

    def _unknown(self, path):
        if path.startswith("/v2/models/"):
            text = "no such model, version or action: %s; this service is /v2/models/%s, version %s"
            return text % (path[:200], self._release.app, self._release.version)
        return "no such path: %s" % path[:200]

    def _server(self):
        extensions = ["binary_tensor_data", "classification"]
        if self._release.variant().get("state"):
            extensions.append("sequence")
        return json_answer(200, {"name": "edgeship", "version": "1", "extensions": extensions})

    def _live(self):
        return json_answer(200, {"live": True})

    def _ready(self):
        reason = self._state.unready_reason()
        if reason is None:
            return json_answer(200, {"ready": True})
        return json_answer(503, {"ready": False, "error": reason}, "Retry-After: 1\r\n")

    def _model_ready(self):
        reason = self._state.unready_reason()
        document = {"name": self._release.app, "ready": reason is None}
        if reason is None:
            return json_answer(200, document)
        document["error"] = reason
        return json_answer(503, document, "Retry-After: 1\r\n")

    def _model(self):
        variant = self._release.variant()
        delegated, how = self._state.delegated()
        told = {"delegate": self._release.engine_triple()["delegate"], "delegated": delegated, "detail": how}

        if variant.get("candidate"):
            told["candidate"] = variant["candidate"]

        if self._state.governor is not None:
            told["variants"] = self._state.governor.names()

        def public(specs):
            return [{key: spec[key] for key in ("name", "datatype", "shape")} for spec in specs]

        if variant.get("state"):
            limits = self._release.limits
            told["state"] = [state["name"] for state in variant["state"]]
            told.update(sessions=limits["sessions"], session_seconds=limits["session_seconds"])
        return json_answer(
            200,
            {
                "name": self._release.app,
                "versions": [self._release.version],
                "platform": "tflite",
                "inputs": public(variant["inputs"]),
                "outputs": public(variant["outputs"]),
                "parameters": dict(told, variant=variant["name"], release=self._release.id),
            },
        )

    def _governor(self):
        return json_answer(200, self._state.governor.document(time.monotonic()))

    def _metrics_text(self):
        text = self._metrics.text(self._state.gauges(), self._state.families())
        return Answer(200, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n", text.encode("utf-8"))


def _decoded(path):
    """Return the path with %XX turned into characters; raises Refused (400) where that is malformed."""
    first, *rest = path.split("%")
    out = bytearray(first.encode("ascii"))
    for part in rest:
        try:
            out += bytes.fromhex(part[:2] if len(part) >= 2 else "x") + part[2:].encode("ascii")
        except ValueError:
            raise Refused(400, "the path holds a malformed %-escape")
    return out.decode("utf-8", "replace")
