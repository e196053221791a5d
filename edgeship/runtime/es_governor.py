"""The governor of a live service: es_govern's decisions with a clock, sensors, a meter, settings and a log.

The loop's thread asks `admit` and `tick`, whichever thread runs the engine `dispatch` and `done`; a lock keeps the
state whole.
"""

import math
import threading
import time

import es_govern
from es_answers import log
from es_decisions import DecisionLog
from es_errors import CannotRun, Refused
from es_kept import Tuned, figures_of
from es_meter import MEASURED, Meter
from es_sensors import Sensors

TICK_SECONDS = 2.0
# The first tick after a rest: as soon as the sensors were read once.
_FIRST_TICK = 0.25
# Without requests and questions for so long the governor rests: no sensor is read, nothing wakes up.
_REST_SECONDS = 30.0
RATE_SECONDS = 2.0  # Time constant of the arrival rate.
_OVERHEAD_GAIN = 0.1  # Weight of the newest request in the mean time that serving takes beside the engine.
_LEAST_FREE = 0.05  # Share of the time that overhead leaves to the engine, at least: nothing divides by zero.
_LINE_SECONDS = 5.0  # At most one line of the journal in so long tells of another rung.
_RECENT = 512  # Answers whose times make the percentiles.


class Governor(object):
    """Decides for one release. `names`: the variants that can answer by now; `loaded` and `lost` change them."""

    def __init__(self, release, directory, environ, clock=time.monotonic):
        self._clock, self._lock = clock, threading.Lock()
        self._document = release.service["governor"]
        self._chosen = release.variant()["name"]
        self._directory = directory
        self.problems = {}  # What of the device's own files cannot be used, by file: why.
        self._figures = self._figures_of(release)
        self._tuned = Tuned(release.kept)
        self._names, self.failed = {self._chosen}, {}
        self.whole = None  # The profile of all rungs, loaded or not.
        self.profile = None
        self._log = DecisionLog(None)
        self.loading = True
        self._look_at_settings()
        if self.whole is None:
            self._apply(None)
        rows = self._document.get("sensors") or []
        self._sensors = Sensors(rows, environ.get("EDGESHIP_SENSOR_ROOT") or "/", clock)
        self._has_sensors = bool(rows)
        self._meter = Meter(self._sensors, self._document.get("power"))
        self._joules, self._joules_by = 0.0, self._meter.kind
        self.rate, self._arrival, self.overhead = 0.0, None, 0.0
        self.busy = 0.0  # Seconds in which the engine was at work.
        self._next_tick, self._touched = None, 0.0
        self._ticked = (clock(), 0.0)
        self.load, self._readings = 0.0, {}
        self.reasons, self.misses, self.refused, self.skipped = {}, 0, 0, 0
        self._recent, self._place = [], 0
        self.rung, self.reason, self._since = self._chosen, "only-rung", clock()
        self._times, self._said, self._unsaid = {}, -_LINE_SECONDS, 0

    # --- profile and settings -------------------------------------------------------------------------------

    def _figures_of(self, release):
        try:
            return figures_of(release.kept, release.id)
        except CannotRun as error:
            self._problem("figures", error.reason)

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
            settings = self._tuned.read()
            self._apply(settings)
        except CannotRun as error:
            return self._problem("settings", error.reason)
        self._tuned.settings = settings
        self._problem("settings", None)
        log("governor-settings", tuned=settings or {})

    def _apply(self, tuned):
        """Make the profile of what can answer now under these settings; raises CannotRun and changes nothing."""
        whole = es_govern.profile_of(self._document, tuned, self._figures, self._chosen)
        profile = whole
        rows = [row for row in self._document["rungs"] if self._answers(row)]
        if len(rows) != len(self._document["rungs"]):
            document = dict(self._document, rungs=rows or self._document["rungs"])
            profile = es_govern.profile_of(document, tuned, self._figures, self._chosen)
        with self._lock:
            before = self.profile
            self.whole, self.profile = whole, profile
            self._settle(before, tuned)

    def _answers(self, row):
        parts = row.get("cascade")
        names = (parts["little"], parts["big"]) if parts else (row["variant"],)
        return all(name in self._names for name in names)

    def _settle(self, before, tuned):
        """Begin with a new profile; what was learned stays where only the settings are others."""
        if before is None or self.loading:
            self._state = es_govern.begin(self.profile)
        else:
            wanted = self.profile.settings["log"]
            if wanted != (self._log.path is not None):
                self._log.close()
                self._log = DecisionLog(self._directory + "/decisions.jsonl" if wanted else None)
            self._decide(("settings", tuned))

    def wanted(self):
        """Return the variants that should be loaded, those first that serve by themselves: all, or only the one that
        serves where the governor is off.
        """
        whole = self.whole
        if whole.pin_reason == "off":
            return [self._chosen]
        found = [self._chosen]
        for rung in whole.every:
            for name in rung.cascade[:2] if rung.cascade else (rung.name,):
                if name not in found:
                    found.append(name)
        return found

    def available(self, names, failed, complete):
        """From now on these variants can answer; `failed`: {variant: why it cannot}. `complete`: nothing more is to
        come, so decisions begin to be logged.
        """
        self._names, self.failed = set(names), dict(failed)
        self._apply(self._tuned.settings)
        if complete and self.loading:
            self.loading = False
            with self._lock:
                self._settle(self.profile, self._tuned.settings)

    # --- a request ------------------------------------------------------------------------------------------

    @property
    def deadline_ms(self):
        """Milliseconds in which a request that says nothing must be answered; None: no limit."""
        return self.profile.settings["deadline_ms"]

    def arrived(self, now):
        """Count a request that came in; after a rest, wake up."""
        last, self._arrival = self._arrival, now
        if last is not None:
            gap = now - last
            if gap > 0:
                self.rate += (1.0 - math.exp(-gap / RATE_SECONDS)) * (1.0 / gap - self.rate)
        self.touch(now)

    def touch(self, now):
        """Somebody is there: keep looking at sensors and settings for a while."""
        self._touched = now
        if self._next_tick is None:
            self._next_tick = now + _FIRST_TICK
            if self._has_sensors:
                self._sensors.start()
            self._look_at_settings()

    def can_finish(self, now, due, queued):
        """Return whether a request may be answered in time with `queued` before it, by the cheapest rung."""
        if due is None:
            return True
        left = due - now - self.overhead * (queued + 1)
        sample = ("admit", now, queued, self._crowding(), left, None)
        return not es_govern.decide(self._state, sample, self.profile)[1].refuse

    def admit(self, now, due, queued, variant):
        """Raise Refused (503) where a request cannot be answered in time, whatever is done."""
        left = None if due is None else due - now - self.overhead * (queued + 1)
        sample = ("admit", now, queued, self._crowding(), left, variant)
        with self._lock:
            outcome = es_govern.decide(self._state, sample, self.profile)
            if outcome[1].refuse:
                self._note(sample, outcome)
        if outcome[1].refuse:
            self._refuse(outcome[1], outcome[2])

    def dispatch(self, now, asked, queued, runs):
        """Return (rung of the profile, Decision, reason); raises Refused (503) for what comes too late."""
        age = max(0.0, now - asked.started)
        left = None if asked.due is None else asked.due - now - self.overhead * (queued + 1)
        sample = ("dispatch", now, age, queued, self._crowding(), left, asked.variant, runs)
        with self._lock:
            profile = self.profile
            outcome = es_govern.decide(self._state, sample, profile)
            self._note(sample, outcome)
        _, decision, reason = outcome
        if decision.refuse:
            self._refuse(decision, reason)
        return profile.every[decision.rung], decision, reason

    def begins(self, now, rung, reason, asked):
        """Note that a rung begins to answer."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if asked.variant is not None:
            return
        if rung.name != self.rung:
            self._moved(now, rung.name, reason)
        self.reason = reason

    def expected(self, name):
        """Return the seconds that one run of a variant is expected to take now."""
        profile, state = self.profile, self._state
        place = profile.index(name)
        return state.xi * profile.seconds[state.slow.threads][place] if place >= 0 else 0.0

    def _refuse(self, decision, reason):
        self.refused += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        text = (
            "it cannot be answered before its deadline, not by the quickest variant: sent again later it may"
        )
        raise Refused(503, text, [("Retry-After", "%d" % max(1, math.ceil(decision.retry_after)))])

    def done(self, now, name, seconds, runs):
        """Note that a variant's engine took `seconds` for `runs` runs."""
        self.busy += seconds
        with self._lock:
            place = self.profile.index(name)
            if place >= 0:
                self._decide(("done", now, place, seconds, runs, None))

    def served(self, overhead):
        """Note the seconds that an answer took beside the engine."""
        self.overhead += _OVERHEAD_GAIN * (overhead - self.overhead)

    def answered(self, now, asked, status):
        """Note that an answer is on its way."""
        if status != 200:
            return
        if asked.due is not None and now > asked.due:
            self.misses += 1
        seconds = now - asked.started
        if len(self._recent) < _RECENT:
            self._recent.append(seconds)
        else:
            self._recent[self._place] = seconds
            self._place = (self._place + 1) % _RECENT

    def _crowding(self):
        """Return the arrivals a second of the time that what is not the engine leaves to it."""
        return self.rate / max(_LEAST_FREE, 1.0 - self.rate * self.overhead)

    def _decide(self, sample):
        outcome = es_govern.decide(self._state, sample, self.profile)
        self._note(sample, outcome)
        self._state = outcome[0]

    def _note(self, sample, outcome):
        if not self.loading:
            self._log.note(self._state, sample, outcome, self.profile)

    def _moved(self, now, name, reason):
        """Another rung serves from now on: the journal has a line, unless it had one just now."""
        self._times[self.rung] = self._times.get(self.rung, 0.0) + now - self._since
        before, self.rung, self.reason, self._since = self.rung, name, reason, now
        self._unsaid += 1
        if now - self._said >= _LINE_SECONDS:
            log("rung", variant=name, before=before, reason=reason, changes=self._unsaid)
            self._said, self._unsaid = now, 0

    # --- the slow loop --------------------------------------------------------------------------------------

    def due(self):
        """Return when `tick` is to be called (monotonic seconds), None while nobody needs it."""
        return self._next_tick

    def tick(self, now):
        """Read what changed outside, and decide on it."""
        at, busy = self._ticked
        self._ticked = (now, self.busy)
        self.load = min(1.0, (self.busy - busy) / (now - at)) if now > at else 0.0
        self._look_at_settings()
        readings = self._sensors.readings(now)
        self._joules, self._joules_by = self._meter.joules(now, self.busy)
        self._readings = readings
        if self._joules_by == MEASURED:
            readings = dict(readings, meter=(self._joules, 0.0, "energy"))
        with self._lock:
            self._decide(("tick", now, self.load, readings))
        if self._log.failure is not None:
            self._problem("log", self._log.failure)
        if now - self._touched > _REST_SECONDS:
            self._next_tick = None
            self._sensors.stop()
        else:
            self._next_tick = now + TICK_SECONDS

    def close(self):
        """Write what the log holds."""
        self._log.close()

    # --- what is told ---------------------------------------------------------------------------------------

    def rate_now(self, now):
        """Return the arrivals a second, also where none came for a while."""
        if self._arrival is None:
            return 0.0
        gap = now - self._arrival
        weight = 1.0 - math.exp(-gap / RATE_SECONDS)
        return min(self.rate, self.rate + weight * ((1.0 / gap if gap > 0 else self.rate) - self.rate))

    def times(self, now):
        """Return {variant: seconds in which it was the one to answer}."""
        found = dict(self._times)
        found[self.rung] = found.get(self.rung, 0.0) + max(0.0, now - self._since)
        return found

    def percentile(self, share):
        """Return the milliseconds within which that share of the last answers came, None where there are none."""
        seen = sorted(self._recent)
        return round(seen[min(len(seen) - 1, int(share * len(seen)))] * 1e3, 3) if seen else None

    def energy(self):
        """Return (joules so far, by what, watts now or None)."""
        return self._joules, self._joules_by, self._meter.watts

    def readings(self, now):
        """Return {sensor: (value, age, kind)} and {sensor: why it is unknown}."""
        return self._sensors.readings(now), self._sensors.reasons()

    def slow(self):
        """Return what the slow loop holds: es_govern_slow.Slow."""
        return self._state.slow

    def learned(self):
        """Return (xi, d): how much longer runs take than measured beforehand, and how much that varies."""
        return self._state.xi, self._state.d

    def document(self, now):
        """Return what GET .../governor tells."""
        self.touch(now)
        from es_governor_told import document

        return document(self, now)

    def families(self, now):
        """Return [(metric's name, kind, help, [(labels, value)])] for the metrics."""
        self.touch(now)
        from es_governor_told import families

        return families(self, now)
