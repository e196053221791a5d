"""The two ways in which the runtime says no."""


class CannotRun(Exception):
    """The process cannot do its job: `error` is a kebab-case reference, `reason` one sentence for people.
    Exit code 2.
    """

    def __init__(self, error, reason):
        Exception.__init__(self, "%s: %s" % (error, reason))
        self.error = error
        self.reason = reason


class Refused(Exception):
    """One request cannot be served: `status` is the HTTP status, `reason` goes into the JSON body.

    `close` asks for the connection to end after the answer, because the rest of the stream cannot be trusted.
    """

    def __init__(self, status, reason, headers=(), close=False):
        Exception.__init__(self, "%d: %s" % (status, reason))
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)
        self.close = close


class EngineFailed(Exception):
    """The engine could not compute one inference; the request is answered with 500, the process goes on."""
