"""A release on disk: `manifest.json` and `service.json` read, checked and made safe to use."""

import json
import os
import re

from es_errors import CannotRun

SERVICE_SCHEMA = "edgeship.service/1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_COUNTS = ("queue", "connections", "body_bytes", "header_bytes")
_SECONDS = ("request_seconds", "idle_seconds", "drain_seconds")


class Release(object):
    """What a release directory holds. `id` is the SHA-256 of manifest.json, None while the release is not
    sealed.
    """

    def __init__(self, directory, release_id, service):
        self.directory = directory
        self.id = release_id
        self.service = service
        self.app = service["app"]
        self.version = service["version"]
        self.limits = service["limits"]
        self.engine = service["engine"]
        self.labels = service.get("labels") or []
        self.kept = None
        """The device's own folder: what was tuned there, and what its variants cost there (`serve --kept`)."""

    def path(self, relative):
        """Return the absolute path of a file of this release; raises CannotRun where `relative` leads
        outside.
        """
        if not isinstance(relative, str) or not relative or "\0" in relative:
            raise CannotRun(
                "bad-path", "service.json names %r where a relative path must stand" % (relative,)
            )
        parts = relative.split("/")
        if os.path.isabs(relative) or ".." in parts:
            raise CannotRun(
                "path-outside-release", "service.json names %r, which leads out of the release" % relative
            )
        return os.path.join(self.directory, *parts)

    def variant(self, name=None):
        """Return the variant called `name` (by default the chosen one) as service.json describes it."""
        wanted = name or self.service["chosen"]
        for variant in self.service["variants"]:
            if variant["name"] == wanted:
                return variant
        known = ", ".join(v["name"] for v in self.service["variants"])
        raise CannotRun("unknown-variant", "this release has no variant %r; it has: %s" % (wanted, known))

    def choose(self, name):
        """Have the variant called `name` serve, as if it were the chosen one; None: the chosen one as it is."""
        self.service["chosen"] = self.variant(name)["name"]

    @property
    def on_cpu(self):
        """Whether the processor computes: for other delegates threads change nothing."""
        return self.engine_triple()["delegate"] in ("xnnpack", "none")

    def with_threads(self, threads):
        """Return the same release with another number of threads; itself where it has that number."""
        if threads == self.engine["threads"]:
            return self
        service = dict(self.service, engine=dict(self.engine, threads=threads))
        return Release(self.directory, self.id, service)

    def engine_triple(self):
        """Return {"name", "version", "delegate"} of the engine as the release pins it."""
        engine = self.engine
        return {
            "name": engine["name"],
            "version": engine["version"],
            "delegate": engine.get("delegate") or "none",
        }


def sha256(data):
    """Return the hexadecimal SHA-256 of bytes.

    CPython's own module is tried first: `hashlib` loads OpenSSL, 3.7 MB of memory for one digest.
    """
    try:
        from _sha256 import sha256 as digest
    except ImportError:
        from hashlib import sha256 as digest
    return digest(data).hexdigest()


def _read(path, missing):
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise CannotRun(missing, "%s: %s" % (path, error.strerror or error))


def _need(document, key, kinds, check=None, wanted=""):
    """Return `document[a][b]` for key "a.b"; raises CannotRun naming the key path, what stands there and what
    should.
    """
    value = document
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise CannotRun("bad-service-file", "service.json: `%s` is missing" % key)
        value = value[part]
    good = isinstance(value, kinds) and not isinstance(value, bool)
    if not good or (check is not None and not check(value)):
        raise CannotRun("bad-service-file", "service.json: `%s` is %r; wanted %s" % (key, value, wanted))
    return value


def _check_tensor(where, tensor):
    for key, kind in (("name", str), ("datatype", str), ("shape", list), ("tensor", dict)):
        if not isinstance(tensor, dict) or not isinstance(tensor.get(key), kind):
            raise CannotRun(
                "bad-service-file", "service.json: %s: `%s` is missing or of the wrong kind" % (where, key)
            )
    inner = tensor["tensor"]
    if not isinstance(inner.get("dtype"), str) or not isinstance(inner.get("shape"), list):
        raise CannotRun("bad-service-file", "service.json: %s: `tensor` needs dtype and shape" % where)
    for shape in (tensor["shape"], inner["shape"]):
        if not all(isinstance(size, int) and not isinstance(size, bool) for size in shape):
            raise CannotRun("bad-service-file", "service.json: %s: a shape is a list of integers" % where)


def _check_state(where, states):
    good = isinstance(states, list) and all(isinstance(state, dict) for state in states)
    if not good or not all(isinstance(s.get("name"), str) and isinstance(s.get("kind"), str) for s in states):
        raise CannotRun("bad-service-file", "service.json: %s.state is a list of names and kinds" % where)


def check_service(service):
    """Raise CannotRun unless `service` is an edgeship.service/1 document."""
    if not isinstance(service, dict) or service.get("schema") != SERVICE_SCHEMA:
        seen = service.get("schema") if isinstance(service, dict) else type(service).__name__
        raise CannotRun(
            "bad-service-file", "service.json: `schema` is %r; wanted %r" % (seen, SERVICE_SCHEMA)
        )
    for key in ("app", "version"):
        _need(service, key, str, _NAME.match, "letters, digits, dot, dash and underscore")
    _need(service, "chosen", str, None, "the name of a variant")
    for key in _COUNTS:
        _need(service, "limits." + key, int, lambda n: n >= 1, "a whole number from 1")
    if "buffered_bytes" in service["limits"]:
        _need(service, "limits.buffered_bytes", int, lambda n: n >= 1, "a whole number from 1")
    for key in _SECONDS:
        _need(service, "limits." + key, (int, float), lambda n: n > 0, "seconds above 0")
    _need(service, "engine.name", str, None, "an engine's name")
    _need(service, "engine.version", str, None, "a version")
    _need(service, "engine.threads", int, lambda n: n >= 1, "a whole number from 1")
    names = set()
    for number, variant in enumerate(_need(service, "variants", list, len, "one variant at least")):
        where = "variants[%d]" % number
        for key in ("recipe", "file"):
            if not isinstance(variant, dict) or not isinstance(variant.get(key), str):
                raise CannotRun("bad-service-file", "service.json: %s.%s is missing" % (where, key))
        # Before variants had names, each was called by its recipe.
        name = variant.setdefault("name", variant["recipe"])
        if not isinstance(name, str) or name in names:
            raise CannotRun(
                "bad-service-file",
                "service.json: %s.name is %r; wanted a text that names no other" % (where, name),
            )
        names.add(name)
        _check_state(where, variant.get("state") or [])
        for side in ("inputs", "outputs"):
            if not isinstance(variant.get(side), list) or not variant[side]:
                raise CannotRun("bad-service-file", "service.json: %s.%s is missing" % (where, side))
            for index, tensor in enumerate(variant[side]):
                _check_tensor("%s.%s[%d]" % (where, side, index), tensor)


def load_release(directory, sealed=False):
    """Return the Release in `directory`; `sealed` demands a manifest. Symbolic links are resolved once, here.

    A running process must not wander to another release when `current` moves.
    """
    directory = os.path.realpath(directory)
    service_path = os.path.join(directory, "service.json")
    try:
        service = json.loads(_read(service_path, "release-missing").decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CannotRun("bad-service-file", "%s is not JSON: %s" % (service_path, error))
    check_service(service)
    manifest_path = os.path.join(directory, "manifest.json")
    release_id = None
    if sealed or os.path.exists(manifest_path):
        release_id = sha256(_read(manifest_path, "manifest-missing"))
    return Release(directory, release_id, service)
