"""deploy() and deploy_many(): bundles to hosts, side by side, safe against Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

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
    slots = threading.Semaphore(max(1, jobs))

    def run(index: int, each: Deployment) -> None:
        with slots:
            try:
                reports[index] = go(each)
            except Exception as error:  # a defect of ours must not take the other hosts' reports with it
                reports[index] = each.crashed(error)

    threads = [
        threading.Thread(target=run, args=(index, each), daemon=True) for index, each in enumerate(work)
    ]
    for thread in threads:
        thread.start()
    try:
        _wait(threads)
    except KeyboardInterrupt:
        progress.note("stopping: bringing devices to a safe state; Ctrl-C again leaves at once")
        for each in work:
            each.interrupt()
        try:
            _wait(threads)
        except KeyboardInterrupt:
            progress.note("left at once: devices on trial go back by themselves")
    return tuple(reports.get(index) or each.left() for index, each in enumerate(work))


def _wait(threads: Sequence[threading.Thread]) -> None:
    """Wait for all threads, waking up often enough for Ctrl-C."""
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(LOOK_SECONDS)
            if thread.is_alive():
                break
        else:
            time.sleep(0)
