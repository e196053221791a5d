"""The governor of a live service: es_govern's decisions with a clock, sensors, a meter, settings and a log.

The loop's thread asks `admit` and `tick`, whichever thread runs the engine `dispatch` and `done`; a lock keeps the
state whole.
"""

import math
import os
import threading
import time

import es_govern
from es_answers import log
from es_errors import CannotRun, Refused
from es_governor_tally import Tally
from es_kept import Tuned, figures_of, with_rung

TICK_SECONDS = 2.0
_FIRST_TICK = 0.25  # After a rest: as soon as the sensors were read once.
# Without requests and questions for so long the governor rests: no sensor is read, nothing wakes up.
_REST_SECONDS = 30.0
LOG_NAME = "decisions.jsonl"


class Governor(object):
    """Decides for one release. `whole`: the Profile of all its rungs; `profile`: of those that can answer by now;
    `failed`: {variant: why it cannot}; `problems`: {what: why it cannot be used}; `loading`: until every rung is
    loaded that will be; `load`: share of the time that the engine was at work, as of the last tick.
    """

    def __init__(self, release, directory, environ, clock=time.monotonic):
        self._clock, self._lock = clock, threading.Lock()
        self._making = threading.Lock()  # One profile at a time: two would undo each other's.
        self._chosen = release.variant()["name"]
        # The queue's limit is the service's own: with it in the document, decisions that it led to can be replayed.
        document = with_rung(release.service["governor"], self._chosen)
        self._document, self._environ = dict(document, queue=release.limits["queue"]), environ
        self._path = os.path.join(directory, LOG_NAME)
        self.problems, self.failed = {}, {}
        try:
            self._figures = figures_of(release.kept, release.id)
        except CannotRun as error:
            self._figures = None
            self._problem("figures", error.reason)
        self._tuned = Tuned(release.kept)
        self._names, self.loading = {self._chosen}, True
        self.whole = self.profile = self._state = self._log = None
        self._look_at_settings()
        if self.whole is None:
            self._apply(None)
        self.tally = Tally(self._chosen, clock())
        self._sensors = self._meter = None
        self._joules = (0.0, "cpu-seconds")
        self._next_tick, self._touched, self._reads = None, 0.0, False
        self._ticked, self.load = (clock(), 0.0), 0.0

    # --- profile and settings -------------------------------------------------------------------------------

    def _problem(self, what, why):
        if why is None:
            self.problems.pop(what, None)
        elif self.problems.get(what) != why:
            self.problems[what] = why
            log("governor-problem", about=what, reason=why)

    def _look_at_settings(self):
        """Take over what was tuned since the last look; what cannot be used leaves everything as it is."""
        if not self._tuned.changed():
            return
        try:
            with self._making:
                settings = self._tuned.read()
                self._apply(settings)
                self._tuned.settings = settings
        except CannotRun as error:
            return self._problem("settings", error.reason)
        for what in ("settings", *self._tuned.looked):
            self._problem(what, self._tuned.strange.get(what))
        log("governor-settings", tuned=settings or {})

    def _apply(self, tuned):
        """Make the profile of what can answer now under these settings; raises CannotRun and changes nothing."""
        whole = es_govern.profile_of(self._document, tuned, self._figures, self._chosen)
        profile = whole
        rows = [row for row in self._document["rungs"] if self._answers(row)]
        if rows and len(rows) < len(self._document["rungs"]):
            document = dict(self._document, rungs=rows)
            profile = es_govern.profile_of(document, tuned, self._figures, self._chosen)
        with self._lock:
            self.whole, self.profile = whole, profile
            self._settle(tuned)

    def _answers(self, row):
        parts = row.get("cascade")
        names = (parts["little"], parts["big"]) if parts else (row["variant"],)
        return all(name in self._names for name in names)

    def _settle(self, tuned):
        """Begin with a new profile; what was learned stays where only the settings are others."""
        if self.loading:
            self._state = es_govern.begin(self.profile)
            return
        wanted = self.profile.settings["log"]
        if wanted and self._log is None:
            from es_decisions import DecisionLog

            self._log = DecisionLog(self._path)
        elif not wanted and self._log is not None:
            self._log.close()
            self._log = None
        self._decide(("settings", tuned))

    def wanted(self):
        """Return the variants that should be loaded, the chosen one first: all, or where the governor is off only
        that one.
        """
        found = [self._chosen]
        if self.whole.pin_reason == "off":
            return found
        for rung in self.whole.every:
            for name in rung.cascade[:2] if rung.cascade else (rung.name,):
                if name not in found:
                    found.append(name)
        return found

    def available(self, names, failed, complete):
        """From now on these variants can answer; `failed`: {variant: why it cannot}. `complete`: nothing more is to
        come, so decisions begin to be logged.
        """
        with self._making:
            self._names, self.failed = set(names), dict(failed)
            self._apply(self._tuned.settings)
            if complete and self.loading:
                with self._lock:
                    self.loading = False
                    self._settle(self._tuned.settings)

    def prepare(self):
        """Make what the slow loop needs. Once the service is ready: its start does not wait for that."""
        from es_meter import Meter
        from es_sensors import Sensors

        rows = self._document.get("sensors") or []
        sensors = Sensors(rows, self._environ.get("EDGESHIP_SENSOR_ROOT") or "/", self._clock)
        self._meter = Meter(sensors, self._document.get("power"))
        self._sensors = sensors

    # --- a request ------------------------------------------------------------------------------------------

    @property
    def deadline_ms(self):
        """Milliseconds in which a request that says nothing must be answered; None: no limit."""
        return self.profile.settings["deadline_ms"]

    def touch(self, now):
        """Somebody is there: keep looking at sensors and settings for a while."""
        self._touched = now
        if self._next_tick is None:
            self._next_tick = now
            self._look_at_settings()

    def _left(self, now, due, queued):
        return None if due is None else due - now - self.tally.overhead * (queued + 1)

    def can_finish(self, now, due, queued):
        """Return whether a request may be answered in time with `queued` before it, by the cheapest rung."""
        if due is None:
            return True
        sample = ("admit", now, queued, self.tally.crowding(), self._left(now, due, queued), None)
        state, profile = self.seen()
        return not es_govern.decide(state, sample, profile)[1].refuse

    def admit(self, now, due, queued, variant):
        """Raise Refused (503) where a request cannot be answered in time, whatever is done."""
        sample = ("admit", now, queued, self.tally.crowding(), self._left(now, due, queued), variant)
        with self._lock:
            outcome = es_govern.decide(self._state, sample, self.profile)
            if outcome[1].refuse:
                self._note(sample, outcome)
        if outcome[1].refuse:
            self._refuse(outcome[1], outcome[2])

    def dispatch(self, now, asked, queued, runs):
        """Return (rung of the profile, Decision, reason); raises Refused (503) for what comes too late."""
        age, left = max(0.0, now - asked.started), self._left(now, asked.due, queued)
        sample = ("dispatch", now, age, queued, self.tally.crowding(), left, asked.variant, runs)
        with self._lock:
            profile = self.profile
            outcome = es_govern.decide(self._state, sample, profile)
            self._note(sample, outcome)
        _, decision, reason = outcome
        if decision.refuse:
            self._refuse(decision, reason)
        return profile.every[decision.rung], decision, reason

    def _refuse(self, decision, reason):
        self.tally.refuse(reason)
        seconds = max(1, math.ceil(decision.retry_after))
        text = "refused (%s): no variant that may answer it can do so before its deadline"
        raise Refused(503, text % reason, [("Retry-After", "%d" % seconds)])

    def done(self, now, name, seconds, runs, due=None):
        """Note that a variant's engine took `seconds` for `runs` runs, and when their answer was due."""
        late = None if due is None else now + self.tally.overhead > due
        self.tally.busy += seconds
        with self._lock:
            place = self.profile.index(name)
            if place >= 0:
                self._decide(("done", now, place, seconds, runs, None, late))

    def expected(self, name):
        """Return the seconds that one run of a variant is expected to take now."""
        state, profile = self.seen()
        place = profile.index(name)
        return state.xi * es_govern.costs(state, profile)[place] if place >= 0 else 0.0

    def _decide(self, sample):
        outcome = es_govern.decide(self._state, sample, self.profile)
        self._note(sample, outcome)
        self._state = outcome[0]

    def _note(self, sample, outcome):
        if self._log is not None:
            self._log.note(self._state, sample, outcome, self.profile)

    # --- the slow loop --------------------------------------------------------------------------------------

    def due(self):
        """Return when `tick` is to be called (monotonic seconds), None while nobody needs it."""
        return self._next_tick

    def tick(self, now):
        """Read what changed outside, and decide on it; after a rest, have the sensors read first."""
        if not self._reads:
            self._next_tick = now + _FIRST_TICK
            if self._sensors is not None:
                self._reads = True
                if self._document.get("sensors"):
                    self._sensors.start()
            return
        self._next_tick = now + TICK_SECONDS
        try:
            self._look(now)
            self._problem("slow loop", None)
        except Exception as error:  # Whatever it is, requests go on with what is known.
            self._problem("slow loop", "%s: %s" % (type(error).__name__, error))
        if now - self._touched > _REST_SECONDS:
            self._next_tick, self._reads = None, False
            self._sensors.stop()

    def _look(self, now):
        (at, busy), self._ticked = self._ticked, (now, self.tally.busy)
        self.load = min(1.0, max(0.0, self.tally.busy - busy) / (now - at)) if now > at else 0.0
        self._look_at_settings()
        readings = self._sensors.readings(now, swings=True)
        self._joules = self._meter.joules(now, self.tally.busy)
        if self._joules[1] == "measured":
            readings = dict(readings, meter=(self._joules[0], 0.0, "energy"))
        with self._lock:
            self._decide(("tick", now, self.load, readings))
        if self._log is not None and self._log.failure is not None:
            self._problem("log", self._log.failure)

    def close(self):
        """Write what the log holds."""
        if self._log is not None:
            self._log.close()

    # --- what is told ---------------------------------------------------------------------------------------

    def energy(self):
        """Return (joules so far, by what, watts now or None)."""
        return self._joules + (self._meter.watts if self._meter is not None else None,)

    def readings(self, now):
        """Return {sensor: (value, age, kind)} and {sensor: why it is unknown}."""
        return ({}, {}) if self._sensors is None else (self._sensors.readings(now), self._sensors.reasons())

    def seen(self):
        """Return (es_govern's State, what was learned of this device; the Profile that it is one of)."""
        with self._lock:
            return self._state, self.profile

    def names(self):
        """Return the variants that a request may name, cheapest first."""
        return [rung.name for rung in self.whole.every]

    def document(self, now):
        """Return what GET .../governor tells."""
        from es_governor_told import document

        self.touch(now)
        return document(self, now)

    def families(self, now):
        """Return [(metric's name, kind, help, [(labels, value)])] for the metrics."""
        from es_governor_told import families

        self.touch(now)
        return families(self, now)
