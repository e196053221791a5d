"""Where a sensor is on this machine, and its text: files by pattern and label, commands under a time limit."""

import os

_LARGEST = 65536
# A mailbox call of a Raspberry Pi's firmware takes 1 ms; whoever needs seconds hangs.
COMMAND_SECONDS = 2.0


def below(root, path):
    """Return an absolute path as it lies below `root`."""
    return path if root == "/" else os.path.join(root, path.lstrip("/"))


def read_text(path):
    """Return a small file's text; raises OSError."""
    with open(path, "rb", buffering=0) as stream:
        return stream.read(_LARGEST).decode("utf-8", "replace")


def matches(pattern, root):
    """Return [(path, text that the last `*` stood for)] of the files that fit; one `*` at most in each name."""
    found = [(root, "")]
    for part in pattern.strip("/").split("/"):
        if "*" not in part:
            found = [(os.path.join(path, part), star) for path, star in found]
            continue
        before, _, after = part.partition("*")
        nearer = []
        for path, _ in found:
            try:
                names = os.listdir(path)
            except OSError:
                continue
            for name in names:
                if len(name) > len(part) - 2 and name.startswith(before) and name.endswith(after):
                    nearer.append((os.path.join(path, name), name[len(before) : len(name) - len(after)]))
        found = sorted(nearer, key=_natural)
    return [(path, star) for path, star in found if os.path.exists(path)]


def _natural(pair):
    """hwmon10 comes after hwmon9."""
    return len(pair[0]), pair[0]


def label_of(path):
    """Return what the machine calls the sensor behind a file, "" where it does not: a thermal zone's `type`, a hwmon
    channel's `*_label`, the rail of NVIDIA's older INA3221 driver.
    """
    folder, name = os.path.split(path)
    others = ["type"] if name == "temp" else []
    if name.endswith("_input"):
        others.append(name[:-6] + "_label")
        channel = name[:-6].lstrip("abcdefghijklmnopqrstuvwxyz_")
        others.append("rail_name_" + channel)
    for other in others:
        try:
            return read_text(os.path.join(folder, other)).strip()
        except OSError:
            continue
    return ""


def find(path, labels, times, root):
    """Return [(file, second file or "")] that a row means on this machine, the best first; raises OSError where there
    is none.

    `labels`: the names it may have there, in order of preference; empty: any. `times`: the name of a second file in
    the same folder, `*` standing for what it stood for in the first one.
    """
    found = matches(path, root)
    if not found:
        raise OSError("%s: no such file" % path)
    if labels:
        named = [(label_of(file), file, star) for file, star in found]
        found = [(file, star) for wanted in labels for label, file, star in named if label == wanted]
        if not found:
            raise OSError("%s: none is called %s" % (path, " or ".join(labels)))
    return [
        (file, os.path.join(os.path.dirname(file), times.replace("*", star)) if times else "")
        for file, star in found
    ]


def run(command, seconds=COMMAND_SECONDS):
    """Return what a command prints; raises OSError where it cannot run, fails, or takes longer than `seconds`."""
    import subprocess  # 3 ms and a megabyte, which only a machine with such a sensor pays

    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=True
    )
    try:
        said = process.communicate(timeout=seconds)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        process.kill()
        process.stdout.close()
        raise OSError("%s did not end within %g s" % (command[0], seconds))
    if process.returncode:
        why = " ".join(said.split())[:160] or "exit status %d" % process.returncode
        raise OSError("%s: %s" % (command[0], why))
    return said
