"""What sensors say, as numbers. Pure: each function takes the text of one reading and raises ValueError where
it holds none. docs/sensors.md lists the forms.
"""

_MICRO = 1e-6


def number(text):
    """Return the first word of a text as a float: the form of sysfs."""
    words = text.split()
    if not words:
        raise ValueError("empty")
    value = float(words[0])
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("not a finite number")
    return value


def answer(text):
    """Return the number after `=` of a firmware's answer (`temp=48.3'C`, `frequency(48)=1500345728`), or the text's
    first number.
    """
    if "=" not in text:
        return number(text)
    digits = ""
    for letter in text.split("=", 1)[1].strip():
        if letter not in "0123456789.-":
            break
        digits += letter
    return number(digits)


def flags(text, bits):
    """Return the names of `bits` (name -> bit number) that are set, in the order of the bits. The text is hexadecimal
    with or without `0x`, and with or without `throttled=`.
    """
    value = int(text.strip().rsplit("=", 1)[-1], 16)
    return tuple(name for name in sorted(bits, key=bits.get) if value >> bits[name] & 1)


def pressure(text):
    """Return the ten-second average of /proc/pressure/*: per cent of the time that some task waited."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["some"]:
            for word in words[1:]:
                if word[:6] == "avg10=":
                    return number(word[6:])
    raise ValueError("no line `some avg10=`")


def memory(text):
    """Return MemAvailable of /proc/meminfo in its kilobytes, or the text's own number."""
    if ":" not in text:
        return number(text)
    for line in text.splitlines():
        if line[:13] == "MemAvailable:":
            return number(line[13:])
    raise ValueError("no line `MemAvailable:`")


def processor_time(text):
    """Return (seconds busy, seconds in all or None) of /proc/stat (all cores together; counts are 1/100 s) or of a
    cgroup's cpu.stat, which has no total.
    """
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["cpu"]:
            ticks = [number(word) for word in words[1:9]]
            if len(ticks) < 5:
                raise ValueError("a `cpu` line of %d counts" % len(ticks))
            total = sum(ticks)
            return (total - ticks[3] - ticks[4]) / 100.0, total / 100.0
        if words[:1] == ["usage_usec"]:
            return number(words[1]) * _MICRO, None
    raise ValueError("neither a `cpu` line nor `usage_usec`")


def supply(text):
    """Return {key: value} of a power supply's uevent, keys without POWER_SUPPLY_. Raises ValueError for what is no
    battery of this machine: mains, or a mouse's.
    """
    found = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        if mark and key[:13] == "POWER_SUPPLY_":
            found[key[13:]] = value.strip()
    if found.get("TYPE", "Battery") != "Battery" or found.get("SCOPE", "System") == "Device":
        raise ValueError("no battery of this machine")
    if found.get("PRESENT") == "0" or not found:
        raise ValueError("no battery is there")
    return found


def charge(text):
    """Return the per cent of a battery's charge, from its uevent or from `capacity`."""
    if "=" not in text:
        return number(text)
    found = supply(text)
    if "CAPACITY" in found:
        return number(found["CAPACITY"])
    for kind in ("ENERGY", "CHARGE"):
        if kind + "_NOW" in found and kind + "_FULL" in found:
            return 100.0 * number(found[kind + "_NOW"]) / number(found[kind + "_FULL"])
    raise ValueError("no charge is told")


def power(text):
    """Return what a reading of power says: a number as it stands, a battery's discharge in watts, or the sum over the
    rails of a Raspberry Pi 5's PMIC in watts.
    """
    if "POWER_SUPPLY_" in text:
        return _discharge(supply(text))
    if "volt(" in text:
        return _rails(text)
    return number(text)


def _discharge(found):
    """Watts out of a battery. While it charges, power_now is what flows in, and says nothing of the use."""
    if found.get("STATUS") != "Discharging":
        raise ValueError("the battery is %s" % found.get("STATUS", "silent about its state").lower())
    if "POWER_NOW" in found:
        return abs(number(found["POWER_NOW"])) * _MICRO
    if "CURRENT_NOW" in found and "VOLTAGE_NOW" in found:
        return abs(number(found["CURRENT_NOW"]) * number(found["VOLTAGE_NOW"])) * _MICRO * _MICRO
    raise ValueError("the battery tells neither power nor current and voltage")


def _rails(text):
    """Watts over all rails of `vcgencmd pmic_read_adc`: `NAME_A current(N)=xA` with its `NAME_V volt(N)=yV`."""
    read = {"A": {}, "V": {}}
    for line in text.splitlines():
        name, _, rest = line.strip().partition(" ")
        if name[-2:] in ("_A", "_V") and "=" in rest:
            read[name[-1]][name[:-2]] = answer(rest)
    both = [name for name in read["A"] if name in read["V"]]
    if not both:
        raise ValueError("no rail has both a voltage and a current")
    return sum(read["A"][name] * read["V"][name] for name in both)
