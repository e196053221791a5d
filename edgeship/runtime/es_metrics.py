"""Counters and histograms, and their Prometheus text (exposition format 0.0.4)."""

import os
import time
from bisect import bisect_left

_REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_INFERENCE_BUCKETS = (0.0001, 0.00025) + _REQUEST_BUCKETS


def percentile(ordered, share):
    """Return the nearest-rank percentile of rising values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Histogram(object):
    """Counts of observations in seconds by upper bound, with their sum."""

    def __init__(self, bounds):
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds):
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def lines(self, name):
        """Yield the exposition lines of this histogram."""
        total = 0
        for bound, number in zip(self.bounds, self.counts):
            total += number
            yield '%s_bucket{le="%s"} %d' % (name, repr(bound), total)
        total += self.counts[-1]
        yield '%s_bucket{le="+Inf"} %d' % (name, total)
        yield "%s_sum %r" % (name, self.sum)
        yield "%s_count %d" % (name, total)


def resident_bytes():
    """Return the resident memory of this process in bytes, or None where /proc does not tell."""
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _quoted(value):
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Metrics(object):
    """What the service counts. Written by the loop's thread, `inference` by the worker's."""

    def __init__(self, build):
        self.build = build
        self.started = time.time()
        self.requests = {}
        self.latency = Histogram(_REQUEST_BUCKETS)
        self.inference = Histogram(_INFERENCE_BUCKETS)

    def count(self, route, status):
        """Count one answered request."""
        key = (route, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def text(self, gauges, families=()):
        """Return the exposition text; `gauges` is [(name, help, value)] of the moment, None values left
        out; `families` [(name, kind, help, [(labels, value)])].
        """
        lines = []

        def family(name, kind, about):
            lines.append("# HELP %s %s" % (name, about))
            lines.append("# TYPE %s %s" % (name, kind))

        family("edgeship_build_info", "gauge", "What is running; the value is always 1.")
        labels = ",".join('%s="%s"' % (key, _quoted(value)) for key, value in sorted(self.build.items()))
        lines.append("edgeship_build_info{%s} 1" % labels)
        family("edgeship_requests_total", "counter", "Answered requests by route and status code.")
        for (route, status), number in sorted(self.requests.items()):
            lines.append('edgeship_requests_total{route="%s",code="%d"} %d' % (route, status, number))
        family(
            "edgeship_request_seconds",
            "histogram",
            "From the complete request to the answer, inference requests.",
        )
        lines.extend(self.latency.lines("edgeship_request_seconds"))
        family("edgeship_inference_seconds", "histogram", "Time in the engine.")
        lines.extend(self.inference.lines("edgeship_inference_seconds"))
        own = [
            (
                "edgeship_uptime_seconds",
                "Seconds since the process started.",
                round(time.time() - self.started, 3),
            ),
            ("process_resident_memory_bytes", "Resident memory in bytes.", resident_bytes()),
            (
                "process_start_time_seconds",
                "Start of the process, seconds since 1970.",
                round(self.started, 3),
            ),
        ]
        for name, about, value in list(gauges) + own:
            if value is not None:
                family(name, "gauge", about)
                lines.append("%s %s" % (name, value))
        for name, kind, about, rows in families:
            family(name, kind, about)
            for labels, value in rows:
                told = ",".join('%s="%s"' % (key, _quoted(text)) for key, text in sorted(labels.items()))
                lines.append("%s%s %s" % (name, "{%s}" % told if told else "", value))
        return "\n".join(lines) + "\n"
