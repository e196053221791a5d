"""Bundles for machines that this one is not: their real runtimes, fetched, checked and where possible run."""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.bundle.payload import make_payload
from edgeship.bundle.seal import extract
from edgeship.errors import EdgeshipError, InputError, ToolError
from edgeship.progress import Silent
from edgeship.values import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.shared]


def interpreter(version: str) -> str:
    """Return a CPython of that version that runs: this one, the PATH's or pyenv's. Skips where there is none."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for python in (sys.executable, f"python{version}", *map(str, kept)):
        with contextlib.suppress(OSError):
            told = subprocess.run([python, "-I", "-V"], capture_output=True, text=True, check=False)
            if told.stdout.startswith(f"Python {version}."):
                return python
    pytest.skip(f"needs CPython {version}, which the wheels are for")


@pytest.fixture
def made(make: Callable[..., Bundle], profile_of: Callable[[str], Any]) -> Callable[..., Bundle]:
    """Return a function that makes a bundle for a target, or skips where the package index is out of
    reach."""

    def build(target: str | Any, out: Path) -> Bundle:
        profile = profile_of(target) if isinstance(target, str) else target
        try:
            return make(profile, out)
        except ToolError as error:
            if error.reference == "wheel-fetch-failed":
                pytest.skip(f"needs the package index: {error.context['pip said']}")
            raise

    return build


def changed(profile: Any, **sections: dict[str, Any]) -> Any:
    """Return a profile with keys of its sections replaced."""
    parts = {k: getattr(profile, k).model_copy(update=v) for k, v in sections.items()}
    return profile.model_copy(update=parts)


def names(bundle: Bundle, folder: str) -> list[str]:
    return [n for n in bundle.manifest["files"] if n.startswith(folder + "/")]


def test_aarch64_carries_the_library_alone(made: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = made("aarch64-linux", tmp_path / "out")
    requires = bundle.manifest["requires"]
    assert names(bundle, "lib") == ["lib/libLiteRt.so"] and not names(bundle, "site")
    assert requires["libc"] == {"kind": "glibc", "version": "2.34"}  # its wheel's tag says 2.27
    assert requires["libstdcxx"] == "3.4.30"
    assert requires["python"][:3] == ["3.7", "3.8", "3.9"] and requires["packages"] == []
    assert bundle.bytes < 2_700_000
    extract(bundle, tmp_path / "release")
    golden = json.loads((tmp_path / "release" / "golden" / "static_wi8_ai8.json").read_text())
    assert {k: golden["recorded_with"][k] for k in ("engine", "version", "delegate")} == {
        "engine": "litert", "version": "2.3.0", "delegate": "xnnpack",
    }  # fmt: skip


def test_aarch64_is_refused_for_an_older_libc(profile_of: Callable[[str], Any], cache: Path) -> None:
    profile = changed(profile_of("aarch64-linux"), libc={"version": "2.31"})
    with pytest.raises(EdgeshipError) as caught:
        make_payload(profile, cache=cache, progress=Silent())
    if caught.value.reference == "wheel-fetch-failed":
        pytest.skip("needs the package index")
    assert caught.value.render() == (
        "error: elf-needs-newer-libc\n"
        "  lib/libLiteRt.so needs a newer C library than target aarch64-linux has\n"
        "  needs:   GLIBC_2.34\n"
        "  profile: libc.version: 2.31\n"
        "hint: use runtime.engine: tflite_runtime in the target's YAML, or a newer system on the device"
    )


def test_armv7_carries_tflite_runtime_and_takes_numpy_from_the_device(
    made: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle = made("armv7-linux", tmp_path / "out")
    requires = bundle.manifest["requires"]
    assert not names(bundle, "lib")
    assert "site/tflite_runtime/interpreter.py" in names(bundle, "site")
    assert requires["python"] == ["3.11"] and requires["packages"] == ["numpy"]
    assert requires["machine"] == "armv7l" and requires["libc"]["version"] == "2.27"
    assert bundle.manifest["provenance"]["packages"] == {"tflite-runtime": "2.14.0"}
    assert "licences/tflite-runtime-2.14.0/LICENSE" in names(bundle, "licences")
    assert bundle.bytes < 2_200_000


def test_coral_dev_board_brings_its_own_runtime(made: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = made("coral-dev-board", tmp_path / "out")
    assert not names(bundle, "lib") and not names(bundle, "site")
    requires = bundle.manifest["requires"]
    assert requires["packages"] == ["tflite-runtime==2.5.0.post1", "numpy"]
    assert "libedgetpu.so.1" in requires["libraries"]
    assert requires["libc"]["version"] is None and requires["python"] == ["3.7"]
    assert "runtime/es_governor.py" in names(bundle, "runtime"), "loaded where a release has a governor"
    assert "runtime/es_simulated.py" not in names(bundle, "runtime"), "one variant has nothing to simulate"
    assert bundle.bytes < 200_000
    extract(bundle, tmp_path / "release")
    golden = json.loads((tmp_path / "release" / "golden" / "static_wi8_ai8.json").read_text())
    assert golden["recorded_with"]["delegate"] == "xnnpack"  # the truth: no Edge TPU was here
    readme = (tmp_path / "release" / "README.txt").read_text()
    assert "sudo apt-get install -y python3-tflite-runtime python3-numpy libedgetpu1-std\n" in readme
    service = json.loads((tmp_path / "release" / "service.json").read_text())
    assert service["engine"]["delegate"] == "edgetpu"
    assert service["engine"]["delegate_library"] == "libedgetpu.so.1"


def test_gpu_target_carries_its_accelerator(made: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = made("gpu-linux-aarch64", tmp_path / "out")
    assert names(bundle, "lib") == ["lib/libLiteRt.so", "lib/libLiteRtWebGpuAccelerator.so"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs an x86-64 wheel")
def test_tflite_runtime_with_numpy_runs_from_the_release_alone(
    made: Callable[..., Bundle], profile_of: Callable[[str], Any], tmp_path: Path
) -> None:
    """The wheelhouse as unpacked (no tests, no stubs) really imports and agrees within the tolerance."""
    profile = changed(
        profile_of("x86-64-linux"),
        runtime={
            "engine": "tflite_runtime",
            "version": "2.14.0",
            "files": (),
            "packages": ("tflite-runtime==2.14.0", "numpy>=1.21,<2"),
        },
        python={"versions": ("3.99", "3.11")},
        libc={"version": "2.31"},
        tolerances={"max_lsb": 56, "max_abs": 0.05, "min_cosine": 0.99},
    )
    bundle = made(profile, tmp_path / "out")
    assert bundle.manifest["requires"]["python"] == ["3.11"]  # nobody makes wheels for 3.99
    assert not [n for n in names(bundle, "site") if "/tests/" in n or n.endswith(".pyi")]
    assert any(n.startswith("licences/numpy-1.26.4/") for n in names(bundle, "licences"))
    release = tmp_path / "release"
    extract(bundle, release)
    command = [interpreter("3.11"), "-I", "-B", str(release / "runtime" / "main.py"), "prove", "--release"]
    done = subprocess.run([*command, str(release)], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["failed"] == 0 and report["engine"]["version"] == "2.14.0"


def test_packages_nobody_provides_are_named_before_anything_ships(
    profile_of: Callable[[str], Any], cache: Path
) -> None:
    profile = changed(profile_of("armv7-linux"), runtime={"distribution_packages": ()})
    with pytest.raises(EdgeshipError) as caught:
        make_payload(profile, cache=cache, progress=Silent())
    if caught.value.reference == "wheel-fetch-failed":
        pytest.skip("needs the package index")
    assert isinstance(caught.value, InputError)
    assert caught.value.render() == (
        "error: wheelhouse-incomplete\n"
        "  the packages of the target need others that nobody provides\n"
        "  target:  armv7-linux\n"
        "  key:     runtime.packages\n"
        "  missing: numpy>=1.23.2 (for tflite-runtime 2.14.0)\n"
        "  for:     Python 3.11 on armv7l\n"
        "hint: add them to runtime.packages, or to runtime.distribution_packages if the device has them"
    )


def test_musl_and_unknown_files_are_refused(profile_of: Callable[[str], Any], cache: Path) -> None:
    with pytest.raises(InputError, match="no runtime library for musl"):
        make_payload(changed(profile_of("host"), libc={"kind": "musl"}), cache=cache, progress=Silent())
    with pytest.raises(InputError) as caught:
        make_payload(
            changed(profile_of("host"), runtime={"files": ("no.so",)}), cache=cache, progress=Silent()
        )
    assert caught.value.reference == "unknown-engine-file"
    assert "libLiteRt.so" in caught.value.context["libraries in it"]
