"""What a person may set about the governor: defaults, and the check of what stands in service.json or was
tuned on the device. No clock, no files.
"""

from es_errors import CannotRun

DEFAULTS = {
    "mode": "auto",
    "variant": None,
    "deadline_ms": None,
    "watts": None,
    "joules_per_hour": None,
    "temperature_c": None,
    "battery": [],
    "coalesce": "auto",
    "cascade": "auto",
    "still": None,
    "load": 0.8,
    "log": False,
}
_WORDS = ("auto", "off")
# Key: (least, most); both belong to the range, the least of 0 does not.
_RANGES = {
    "deadline_ms": (0.0, 86400e3),
    "watts": (0.0, 1e4),
    "joules_per_hour": (0.0, 36e6),
    "temperature_c": (0.0, 150.0),
    "still": (0.0, 1.0),
    "load": (0.0, 1.0),
    "below_percent": (0.0, 100.0),
}


def _wrong(key, value, wanted):
    return CannotRun("bad-settings", "governor.%s is %r; it must be %s" % (key, value, wanted))


def _number(key, value, optional=True):
    """Return a number of the range of `key` as float, None where it may be and is left out."""
    if value is None and optional:
        return None
    least, most = _RANGES[key.rpartition(".")[2]]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least < value <= most:
        raise _wrong(key, value, "a number above %g, at most %g" % (least, most))
    return float(value)


def _name(key, value):
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= 200):
        raise _wrong(key, value, "the name of a variant, or null")
    return value


def _bands(value):
    """Return the battery bands, the emptiest first."""
    if not isinstance(value, (list, tuple)):
        raise _wrong("battery", value, "a list of bands, each with below_percent")
    bands = []
    for number, band in enumerate(value):
        at = "battery[%d]" % number
        if not isinstance(band, dict) or set(band) - {"below_percent", "watts", "variant"}:
            raise _wrong(at, band, "a mapping of below_percent, watts and variant")
        bands.append(
            {
                "below_percent": _number(at + ".below_percent", band.get("below_percent"), optional=False),
                "watts": _number(at + ".watts", band.get("watts")),
                "variant": _name(at + ".variant", band.get("variant")),
            }
        )
    return sorted(bands, key=lambda band: band["below_percent"])


def checked(*layers):
    """Return complete settings: the defaults, overridden key by key by each of `layers` (mappings or None).

    Raises CannotRun (bad-settings) for a key that is none or a value out of its range.
    """
    settings = dict(DEFAULTS)
    for layer in layers:
        if layer is None:
            continue
        if not isinstance(layer, dict):
            raise CannotRun("bad-settings", "the governor's settings are %r, not a mapping" % (layer,))
        strange = sorted(set(layer) - set(DEFAULTS))
        if strange:
            text = "governor.%s is no setting; there are: %s"
            raise CannotRun("bad-settings", text % (strange[0], ", ".join(sorted(DEFAULTS))))
        # Nothing (null) where there must be something: the default.
        settings.update({k: DEFAULTS[k] if v is None else v for k, v in layer.items()})
    for key in ("mode", "coalesce", "cascade"):
        if settings[key] not in _WORDS:
            raise _wrong(key, settings[key], "auto or off")
    for key in ("deadline_ms", "watts", "joules_per_hour", "temperature_c", "still"):
        settings[key] = _number(key, settings[key])
    settings["load"] = _number("load", settings["load"], optional=False)
    settings["variant"] = _name("variant", settings["variant"])
    settings["battery"] = _bands(settings["battery"])
    if not isinstance(settings["log"], bool):
        raise _wrong("log", settings["log"], "true or false")
    return settings


def usable(tuned):
    """Return (those of the settings tuned on a device that this runtime can use, {"governor.KEY": why not another}).

    They outlast releases: one may be of a newer runtime, and must take none of the others with it.
    """
    good, strange = {}, {}
    for key in sorted(tuned):
        if key not in DEFAULTS:
            text = (
                "governor.%s is kept on this device, and this release has no such setting: another release may."
                " edgeship tune --reset takes all away that is kept"
            )
            strange["governor." + key] = text % key[:80]
            continue
        try:
            checked({key: tuned[key]})
            good[key] = tuned[key]
        except CannotRun as error:
            text = "%s. Kept on this device, not used by this release: edgeship tune governor.%s=null takes it away"
            strange["governor." + key] = text % (error.reason[:300], key)
    return good, strange
