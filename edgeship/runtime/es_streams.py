"""What a service with a governor remembers of streams and periodic jobs: frames that show nothing new, and how much of
its work a job does.
"""

import es_batch
import es_infer
from es_answers import Answer

_JOBS = 16  # Periodic jobs remembered; the one that was silent longest gives way.


class Streams(object):
    """For whichever thread runs the engine, one at a time."""

    def __init__(self, governor):
        self._governor = governor
        self._still, self._jobs = None, {}

    def before(self, asked, call, now):
        """Return the last Answer of a stream in which nothing moves, else None; cut a periodic job down to the share
        of its samples that the load leaves room for.
        """
        limit = self._governor.profile.settings["still"]
        if limit is not None and asked.stream is not None:
            if self._still is None:
                from es_still import Still  # Here: few services are ever asked for it.

                self._still = Still(limit)
            self._still.limit = limit
            stream = asked.stream, asked.variant  # Whoever names a variant gets no other one's answer.
            if self._still.same(stream, call.samples, now):
                teller, tensors, said = self._still.answer(stream)
                call.said = dict(said, skipped=True)
                self._governor.tally.skipped += 1
                return Answer(200, *es_infer.encode(call, tensors, teller))
        if asked.period is not None:
            self._portion(asked, call, now)
        return None

    def after(self, asked, call, now, answer):
        """Remember what was computed for a stream: `answer` is (what tells it, tensors)."""
        if self._still is not None and asked.period is None:
            stream = asked.stream, asked.variant
            self._still.computed(stream, call.samples, now, answer + (call.said,))

    def _portion(self, asked, call, now):
        from es_duty import duty, share

        items, busy = call.runs, self._governor.tally.busy
        key = asked.stream or ""
        work, at, before = self._jobs.pop(key, (1.0, None, 0.0))
        if at is not None and now > at:
            load = (busy - before) / max(asked.period, now - at)
            work = duty(work, load, self._governor.profile.settings["load"], items=items)
        self._jobs[key] = (work, now, busy)
        while len(self._jobs) > _JOBS:
            del self._jobs[next(iter(self._jobs))]
        wanted = share(work, items)
        shape = call.samples[0][2]
        batch = shape[0] // items if shape else 1
        if wanted < items:
            es_batch.first(call, wanted)
        call.said = {"done": wanted * batch, "work": round(work, 4)}
