"""deploy() and deploy_many(): bundles to hosts, side by side, safe against Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from edgeship.deploy.deployment import Deployment
from edgeship.deploy.options import DeployOptions
from edgeship.progress import Progress
from edgeship.values import Bundle, DeployReport, Host

LOOK_SECONDS = 0.1


def deploy(bundle: Bundle, host: Host, options: DeployOptions, progress: Progress) -> DeployReport:
    """Bring a bundle to one host and return what the host said. A host that fails is a report, not an exception.

    Ctrl-C brings the device to a safe state and is reported as such: `failed` before the switch, `reverted` after it.
    """
    return deploy_many(bundle, (host,), options, progress)[0]


def deploy_many(
    bundle: Bundle, hosts: Sequence[Host], options: DeployOptions, progress: Progress
) -> tuple[DeployReport, ...]:
    """Bring a bundle to several hosts, `options.jobs` at a time; return one report a host, in their order."""
    work = [
        Deployment(host, options, progress, app=bundle.app, target=bundle.target, release=bundle.release)
        for host in hosts
    ]
    return run_all(work, lambda each: each.go(bundle), options.jobs, progress)


def run_all(
    work: Sequence[Deployment], go: Callable[[Deployment], DeployReport], jobs: int, progress: Progress
) -> tuple[DeployReport, ...]:
    """Run deployments in threads; Ctrl-C asks them to stop safely, a second one leaves without them."""
    reports: dict[int, DeployReport] = {}
    slots, ended = threading.Semaphore(max(1, jobs)), threading.Semaphore(0)

    def run(index: int, each: Deployment) -> None:
        with slots:
            try:
                reports[index] = go(each)
            except Exception as error:  # a defect of ours must not take the other hosts' reports with it
                reports[index] = each.crashed(error)
            finally:
                ended.release()

    for index, each in enumerate(work):
        threading.Thread(target=run, args=(index, each), daemon=True).start()
    try:
        _wait(ended, work, reports)
    except KeyboardInterrupt:
        progress.note("stopping: bringing devices to a safe state; Ctrl-C again leaves at once")
        for each in work:
            each.interrupt()
        try:
            _wait(ended, work, reports)
        except KeyboardInterrupt:
            progress.note("left at once: devices on trial go back by themselves")
    return tuple(reports.get(index) or each.left() for index, each in enumerate(work))


def _wait(
    ended: threading.Semaphore, work: Sequence[Deployment], reports: Mapping[int, DeployReport]
) -> None:
    """Wait for all reports. (Not by Thread.join: where Ctrl-C interrupts it, the thread counts as ended.)"""
    while len(reports) < len(work):
        ended.acquire(timeout=LOOK_SECONDS)
