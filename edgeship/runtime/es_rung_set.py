"""The variants of a ladder that are loaded, each with an engine of its own."""

import os
import time

from es_answers import Answering, log
from es_errors import CannotRun, EngineFailed
from es_room import is_short
from es_worker import WARM_UP_RUNS


class RungSet(object):
    """`models`: {name: Answering}, another dict after each change, for two threads look at it; `chosen`: the one that
    decodes what names no variant; `joins`: names of those whose runs may be joined. `running` is held by whoever runs
    an engine.
    """

    def __init__(self, release, metrics, budget, governor, running):
        self._release, self._governor, self._running = release, governor, running
        self._new = lambda named, name: Answering(named, metrics, budget, name)
        self._name = release.variant()["name"]
        self._threads, self._kept = (
            {},
            {},
        )  # Those that each was loaded with; those it stays with, whatever is wanted.
        self._failed, self.joins, self._tried = {}, frozenset(), False
        self.models = {self._name: self._make(self._name)}

    @property
    def chosen(self):
        """The chosen variant's model."""
        return self.models[self._name]

    def _wanted_threads(self, name):
        """Return the number of threads that a variant should have now."""
        own = self._release.engine["threads"]
        profile = self._governor.profile if self._governor.profile.index(name) >= 0 else self._governor.whole
        place = profile.index(name)
        if not self._release.on_cpu or place < 0:
            return own
        return max(1, min(profile.every[place].threads, self._governor.seen()[0].slow.threads))

    def _make(self, name, threads=None):
        threads = threads or self._wanted_threads(name)
        model = self._new(self._release.with_threads(threads), name)
        self._threads[name] = threads
        return model

    def next(self):
        """Return (name, whether it is loaded with another number of threads) of what to load next, or None."""
        missing = self._missing()
        if missing is not None:
            return missing, False
        if not self._governor.loading:
            for name in self.models:
                threads = self._wanted_threads(name)
                if threads != self._threads[name] and threads != self._kept.get(name):
                    return name, True
        return None

    def load_next(self):
        """Load one variant; one that cannot be loaded is left out, and said so."""
        if not self._tried:
            self._tried = True
            with self._running:
                self._try_joining(self.chosen)
        found = self.next()
        if found is None:
            if self._governor.loading:
                self.tell()
            return
        name, again = found
        threads = self._threads.get(name)
        begun = time.monotonic()
        try:
            self._load(name)
            took = round(time.monotonic() - begun, 4)
            log("rung-loaded", variant=name, seconds=took, threads=self._threads[name])
        except Exception as error:
            why = error.reason if isinstance(error, CannotRun) else "%s: %s" % (type(error).__name__, error)
            if again:
                self._kept[name], self._threads[name] = self._wanted_threads(name), threads
                log("rung-threads", variant=name, reason=why)
            else:
                self._failed[name] = "it cannot be loaded: %s" % why
                log("rung-left-out", variant=name, reason=why)
        self.tell()

    def _load(self, name):
        before = self.models.get(name)
        if before is not None and is_short(self._bytes(name)):
            return self._load_again(name, before)
        model = self._ready(name)
        with self._running:
            self.models = dict(self.models, **{name: model})
            if before is not None:
                before.close()

    def _load_again(self, name, before):
        """Load a variant with another number of threads where there may be no room for its engine twice, which nobody
        counted: the one of before goes first, and nothing is computed meanwhile. What cannot be loaded then is loaded
        as it was.
        """
        threads = self._threads[name]
        with self._running:
            before.close()
            before.engine = _Gone(before.engine.info())
            try:
                model = self._ready(name)
            except Exception:
                try:
                    self.models = dict(self.models, **{name: self._ready(name, threads)})
                except Exception as error:
                    while before.healthy:
                        before.failed(error)
                raise
            self.models = dict(self.models, **{name: model})

    def try_again(self, name):
        """Have a variant that was lost by being loaded anew be loaded once more."""
        if isinstance(self.models[name].engine, _Gone):
            self._threads[name] = self._kept[name] = None

    def _bytes(self, name):
        """Return the bytes that loading a variant takes."""
        whole = self._governor.whole
        place = whole.index(name)
        measured = whole.every[place].memory_bytes if place >= 0 else None
        held = os.path.getsize(self._release.path(self._release.variant(name)["file"]))
        return max(measured or 0, held)

    def _ready(self, name, threads=None):
        """Return a variant's model, loaded and warm."""
        model = self._make(name, threads)
        try:
            model.warm_up(WARM_UP_RUNS)
            self._try_joining(model)
        except Exception:
            model.close()
            raise
        return model

    def _try_joining(self, model):
        """See whether runs of a model can be joined, where that is worth something."""
        whole = self._governor.whole
        place = whole.index(model.name)
        if place < 0 or whole.joins[place] < 2:
            return
        from es_joining import why_not

        reason = why_not(model)
        model.engine.widen(1)
        if reason is None:
            self.joins |= {model.name}
        else:
            log("rung-not-joined", variant=model.name, reason=reason)

    def tell(self):
        """Tell the governor which variants can answer."""
        healthy = [name for name, model in self.models.items() if model.healthy]
        failed = dict(self._failed)
        for name in self.models:
            if name not in healthy:
                failed[name] = "its engine failed several times in a row"
        self._governor.available(healthy or [self._name], failed, self._missing() is None)

    def _missing(self):
        """Return the first variant that should be loaded and is not, None where there is none."""
        wanted = self._governor.wanted()
        return next((n for n in wanted if n not in self.models and n not in self._failed), None)


class _Gone(object):
    """Stands for an engine that was closed, and for which no other could be loaded."""

    def __init__(self, info):
        self.info = lambda: info

    def run(self, inputs):
        """Fail."""
        raise EngineFailed("it could not be loaded again")

    def widen(self, runs):
        """Do nothing."""

    def close(self):
        """Do nothing."""
