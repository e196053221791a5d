"""An image of Debian whose init is OpenRC, for the lab of simulated devices: run as a program it builds it once.

    LAB_WORK=DIR python3 tests/openrc_image.py

The lab knows images by their folder under LAB_WORK/rootfs; this one is `openrc` there and boots `openrc-init` as pid 1.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

NAME = "openrc"
LAB = Path(__file__).resolve().parents[2] / "shared" / "devlab" / "lab.py"
PACKAGES = "python3,openssh-server,openssh-client,sudo,iproute2,procps,cron,openrc"
INIT = "#!/bin/sh\nexec /sbin/openrc-init\n"
"""Becomes pid 1 of a device in place of the lab's own few lines of shell."""
SSHD = """#!/sbin/openrc-run
command=/usr/sbin/sshd
command_args="-r -f /etc/ssh/sshd_config -E /run/sshd.log"
pidfile=/run/sshd.pid
"""
SETTINGS = """# A device of the lab shares its kernel, its network and its /dev with others.
rc_sys="lxc"
rc_controller_cgroups="NO"
"""


def load_lab() -> Any:
    """Return the lab's module."""
    if "lab" not in sys.modules:
        spec = importlib.util.spec_from_file_location("lab", LAB)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["lab"] = module
        spec.loader.exec_module(module)
    return sys.modules["lab"]


def build(work: Path) -> Path:
    """Return the image's folder; it is made where it is missing."""
    folder = work / "rootfs" / NAME
    if is_built(work):
        return folder
    part = folder.with_name(f"{NAME}.part.tar")
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", '--aptopt=Acquire::Languages "none"',
         "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
         "--dpkgopt=path-exclude=/usr/share/locale/*", "bookworm", str(part)],
        check=True,
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    subprocess.run(["tar", "-C", folder, "--numeric-owner", "--exclude=./dev/*", "-xf", part], check=True)
    part.unlink()
    # Debian's scripts bring up hardware that a device of the lab does not have; a board's own image would too.
    for level in (folder / "etc" / "runlevels").iterdir():
        for entry in level.iterdir():
            entry.unlink()
    script = folder / "etc" / "init.d" / "lab-sshd"
    script.write_text(SSHD)
    script.chmod(0o755)
    (folder / "etc" / "runlevels" / "default" / "lab-sshd").symlink_to("/etc/init.d/lab-sshd")
    with (folder / "etc" / "rc.conf").open("a") as stream:
        stream.write(SETTINGS)
    (folder / ".lab-complete").write_text(PACKAGES)
    return folder


def is_built(work: Path) -> bool:
    """Return whether the image is there, made of these packages."""
    done = work / "rootfs" / NAME / ".lab-complete"
    return done.exists() and done.read_text() == PACKAGES


def up(lab: Any, prefix: str, **options: Any) -> Any:
    """Return a running device of the lab whose pid 1 is openrc-init."""
    module = load_lab()
    plain, module.INIT = module.INIT, INIT
    binfmt, lab.binfmt = lab.binfmt, lambda _arch: None  # the image is of this machine's own processor
    try:
        return lab.up(1, prefix=prefix, base=NAME, **options)[0]
    finally:
        module.INIT, lab.binfmt = plain, binfmt


if __name__ == "__main__":
    print(build(Path(os.environ["LAB_WORK"])))
