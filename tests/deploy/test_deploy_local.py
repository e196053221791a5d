"""What a device does with good and bad releases; on a local: device, which takes the same way."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeship.deploy import deploy, logs, remove, verify
from edgeship.progress import Silent
from edgeship.values import EXIT_CODE_OF_STATE, Goal


def test_goals_stop_where_they_say(local: Any) -> None:
    one, two = local.bundle("1"), local.bundle("2")
    assert deploy(one, local.host, local.options, Silent()).state == "committed"
    staged = deploy(two, local.host, replace(local.options, goal=Goal.STAGE), Silent())
    assert staged.state == "staged" and "prove" not in {s.name for s in staged.steps}
    tested = deploy(two, local.host, replace(local.options, goal=Goal.TEST), Silent())
    assert tested.state == "tested" and tested.golden.vectors == 2
    assert local.serving_release() == one.release
    assert deploy(two, local.host, local.options, Silent()).bytes_sent < 10_000


def test_wrong_golden_vectors_never_serve(local: Any) -> None:
    one = local.bundle("1")
    deploy(one, local.host, local.options, Silent())
    report = deploy(local.bundle("2", golden="wrong"), local.host, local.options, Silent())
    assert report.state == "failed" and EXIT_CODE_OF_STATE[report.state] == 1
    assert "golden vectors on the device: vector 0: output 0 differs by 9 LSB" in report.reason
    assert report.golden.failed == 1 and report.hint
    seen = local.status()
    assert seen["record"]["to"] == one.release and seen["serving"]["restarts"] == 0
    assert local.serving_release() == one.release


def test_services_that_fail_are_taken_back(local: Any) -> None:
    one = local.bundle("1")
    deploy(one, local.host, local.options, Silent())
    quick = replace(local.options, ready_seconds=2)
    for behaviour, words, options in (
        (
            {"serve": "dies"},
            "the service died at start (exit status 9): cannot map the model",
            local.options,
        ),
        ({"serve": "hangs"}, "the service was not ready after 2 s", quick),
        ({"live": "wrong"}, "golden vectors through the live service: output 0 differs", local.options),
    ):
        report = deploy(local.bundle("2", **behaviour), local.host, options, Silent())
        assert (report.state, report.from_release) == ("reverted", one.release)
        assert words in report.reason and f"back on release {one.release[:12]}" in report.reason
        assert EXIT_CODE_OF_STATE[report.state] == 3 and "edgeship logs --host" in str(report.hint)
        assert local.serving_release() == one.release


def test_a_first_deployment_that_fails_says_there_was_nothing_before(local: Any) -> None:
    report = deploy(local.bundle("1", serve="dies"), local.host, local.options, Silent())
    assert report.state == "reverted" and report.from_release is None
    assert "the service is stopped: there was nothing to go back to" in report.reason
    seen = local.status()
    assert seen["record"]["state"] == "NONE" and seen["current"] is None and seen["serving"] is None


def test_both_releases_bad_is_degraded_and_not_a_loop(local: Any) -> None:
    deploy(local.bundle("1", serve="dies later", after=3600), local.host, local.options, Silent())
    record = local.status()
    main = local.root / "apps/kws/releases" / record["record"]["to"] / "behaviour.json"
    main.chmod(0o644)
    main.write_text(json.dumps({"serve": "dies"}))
    report = deploy(local.bundle("2", serve="dies"), local.host, local.options, Silent())
    assert report.state == "degraded" and EXIT_CODE_OF_STATE[report.state] == 5
    assert "the release before it is not healthy either" in report.reason
    assert local.status()["record"]["state"] == "DEGRADED"
    good = local.bundle("3")
    assert deploy(good, local.host, local.options, Silent()).state == "committed"


def test_two_controllers_the_newer_one_wins(local: Any, tmp_path: Path) -> None:
    from edgeship.deploy.session import Session

    deploy(local.bundle("1"), local.host, local.options, Silent())
    slow, fast = local.bundle("2", prove_seconds=3), local.bundle("3")
    reports: dict[str, Any] = {}
    thread = threading.Thread(
        target=lambda: reports.update(slow=deploy(slow, local.host, local.options, Silent()))
    )
    thread.start()
    local.wait_for(lambda: (local.root / "apps/kws/releases" / slow.release).is_dir())
    reports["fast"] = deploy(fast, local.host, local.options, Silent())
    thread.join()
    assert reports["fast"].state == "committed", reports["fast"].reason
    assert reports["slow"].state == "failed" and "fenced: a newer deployment" in reports["slow"].reason
    assert local.serving_release() == fast.release
    assert local.status()["fence"] == 3
    Session(local.host, local.options, "kws").close()


def test_a_deployment_during_a_trial_is_told_to_wait(local: Any, controller: Any) -> None:
    deploy(local.bundle("1"), local.host, local.options, Silent())
    child = controller(local.bundle("2", prove_seconds=3), local)
    local.wait_for(lambda: local.record()["state"] == "TRIAL")
    report = deploy(local.bundle("3"), local.host, local.options, Silent())
    assert report.state == "failed" and "busy: another deployment" in report.reason
    out, _ = child.communicate(timeout=40)
    assert out.startswith("committed")


def test_an_address_that_is_taken_is_told_before_anything_is_switched(local: Any) -> None:
    one = local.bundle("1")
    with socket.socket() as other:
        other.bind(("127.0.0.1", local.port))
        other.listen()
        report = deploy(one, local.host, local.options, Silent())
        assert report.state == "failed", report.reason
        assert f"listens on 127.0.0.1:{local.port} already" in report.reason
        assert report.hint is not None and "--listen" in report.hint
    assert deploy(one, local.host, local.options, Silent()).state == "committed"
    assert deploy(local.bundle("2"), local.host, local.options, Silent()).state == "committed"


def test_an_address_the_device_cannot_have_is_taken_back_from_the_release_that_serves(local: Any) -> None:
    one = local.bundle("1")
    assert deploy(one, local.host, local.options, Silent()).state == "committed"
    kept = (local.root / f"apps/kws/settings/{one.release}.json").read_bytes()
    nowhere = replace(local.options, listen="192.0.2.9:8123")  # RFC 5737: no machine has it
    report = deploy(one, local.host, nowhere, Silent())
    assert (report.state, report.from_release) == ("reverted", one.release), report.reason
    assert "the service died at start" in report.reason and "Cannot assign" in report.reason
    assert local.serving_release() == one.release and local.record()["before"] is None
    assert (local.root / f"apps/kws/settings/{one.release}.json").read_bytes() == kept
    assert deploy(one, local.host, local.options, Silent()).state == "unchanged"
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    other = replace(local.options, listen=f"127.0.0.1:{port}")
    assert deploy(one, local.host, other, Silent()).state == "committed"
    assert local.serving_release() is None and replace(local, port=port).serving_release() == one.release


def test_a_device_without_the_service_manager_of_its_release_can_still_be_asked(local: Any) -> None:
    """systemd was there when the release was deployed, and is not any more: a container, a reinstalled system."""
    one = local.bundle("1")
    assert deploy(one, local.host, local.options, Silent()).state == "committed"
    settings = local.root / f"apps/kws/settings/{one.release}.json"
    gone = "openrc" if Path("/run/systemd/system").is_dir() else "systemd"
    settings.write_text(json.dumps({"manager": gone, "listen": None}))
    seen = local.status()
    assert seen["serving"]["manager"] == gone and not seen["serving"]["running"]
    (line,) = logs(local.host, "kws", local.options)
    assert f"{gone} was asked for" in line
    found = verify(local.host, "kws", local.options)
    assert found["drift"] == [f"release {one.release[:12]} should serve, nothing does"]
    report = deploy(one, local.host, local.options, Silent())
    assert report.state == "committed", report.reason
    assert (
        local.serving_release() == one.release and json.loads(settings.read_text())["manager"] == "supervised"
    )
    settings.write_text(json.dumps({"manager": gone, "listen": None}))
    bad = deploy(local.bundle("2", serve="dies"), local.host, local.options, Silent())
    assert bad.state == "degraded" and f"{gone} was asked for" in bad.reason
    assert remove(local.host, "kws", local.options)["app"] == "kws"


def test_the_interpreter_that_a_target_names_runs_helper_and_service(local: Any) -> None:
    """As python3.8 does beside a python3 that is too old: on a Jetson Nano."""
    named = local.folder / "python3.beside"
    bundle = local.bundle("1", requires={"interpreter": str(named)})
    report = deploy(bundle, local.host, local.options, Silent())
    assert report.state == "failed" and "the device has no " in report.reason and not local.root.exists()
    named.symlink_to(str(shutil.which("python3", path="/usr/bin:/bin")))
    report = deploy(bundle, local.host, local.options, Silent())
    assert report.state == "committed", report.reason
    assert (local.root / "bin/python").readlink() == named
    pid = local.status()["serving"]["pid"]  # asked by way of the link, with no bundle at hand
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == str(named).encode()
