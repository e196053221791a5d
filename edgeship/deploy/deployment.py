"""One bundle (or a release that is kept on the device) brought to one host: the protocol's steps, in order."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from edgeship.deploy import requests
from edgeship.deploy.change import brought, explained
from edgeship.deploy.options import DeployOptions
from edgeship.deploy.preflight import failures, newest_signing, preflight, refusal, service_wanted
from edgeship.deploy.reach import at
from edgeship.deploy.record import Interrupted, Record
from edgeship.deploy.refusals import Refused
from edgeship.deploy.retry import Retries
from edgeship.deploy.session import HelperMissing, Session
from edgeship.deploy.settle import Trial, settle
from edgeship.deploy.spool import Spool
from edgeship.deploy.upload import send_missing
from edgeship.deploy.words import describe_bake, describe_proof, latency_gate, reason_of, too_slow
from edgeship.errors import DeviceError, EdgeshipError
from edgeship.progress import Progress
from edgeship.remote import LinkLost
from edgeship.values import Bundle, DeployReport, Goal, Host, Unavailable

MARGIN = 30.0
"""Seconds a helper call may take beyond the limits it was given."""
MAY_BE_ARMED = ("no-space", "read-only", "input-output", "permission", "system", "helper-bug")
"""What the helper says where it failed on the way, so that the device may be armed all the same."""


class Deployment:
    """The work on one host. `go` returns a report whatever happens; `interrupt` may come from another thread."""

    def __init__(
        self, host: Host, options: DeployOptions, progress: Progress, *, app: str, target: str, release: str
    ) -> None:
        self.host, self.options, self.progress = host, options, progress
        self.app, self.target, self.release = app, target, release
        self.session, self.at = Session(host, options, app, progress.note), at(host, options)
        self.record = Record(host=host.text, app=app, target=target, release=release, progress=progress)
        self.trial: Trial | None = None
        self.fence, self.service, self.kept = 0, "auto", False
        self.change: dict[str, Any] | None = None
        self.tx, self.cancelled = uuid.uuid4().hex[:16], False

    def interrupt(self) -> None:
        """Stop as soon as the device is in a safe state."""
        self.cancelled = True
        self.session.interrupt()

    def go(self, bundle: Bundle | None) -> DeployReport:
        """Deploy `bundle`, or activate the kept release where it is None; return what the device said."""
        try:
            return self._steps(bundle)
        except Interrupted:
            return self._failed("interrupted before anything was switched; nothing was changed", None)
        except EdgeshipError as error:
            if self.trial is not None:
                return self._settle(error)
            if self.cancelled:
                return self._failed("interrupted before anything was switched; nothing was changed", None)
            return self._failed(reason_of(error), error.hint)
        finally:
            self.session.close()

    def _steps(self, bundle: Bundle | None) -> DeployReport:
        """Carry out the protocol up to the goal."""
        self.kept = bundle is None
        found = self._hello(bundle)
        if self._nothing_to_do(found) and bundle is not None:
            self.record.serving = (found.get("serving") or {}).get("url")
            self.record.golden = Unavailable(reason="not run again: the same verified release already serves")
            same = "this very release already serves, and every hash is right"
            return self._report("unchanged", same + self._tune())
        self._lease(bundle)
        if bundle is not None:
            self.service = service_wanted(bundle)
            self._upload(bundle)
            self._stage(bundle)
        if self.options.goal is Goal.STAGE:
            return self._report(
                "staged", f"release {self.release[:12]} is on the device; nothing was switched"
            )
        self._prove()
        if self.options.goal is Goal.TEST:
            return self._report("tested", "golden vectors hold on the device; nothing was switched")
        self._arm()
        outcome = self._activate()
        return outcome or self._confirm()

    def _check(self) -> None:
        """Leave where the user asked to stop."""
        if self.cancelled:
            raise Interrupted

    def _hello(self, bundle: Bundle | None) -> dict[str, Any]:
        """Say hello; a device that was never met is checked against what the bundle requires first."""
        with self.record.step("hello", "connecting") as note:
            try:
                found = self._ask("hello", **requests.hello_fields(self.release, self.options))
            except HelperMissing:
                found = None
            note.detail = "; ".join(["helper is there" if found else "first contact", *self.session.notes])
        if found and self._nothing_to_do(found):
            return found
        if bundle is not None:
            self._preflight(bundle)
        interpreter = requests.interpreter_of(bundle) if bundle is not None else requests.PYTHON
        if (
            found is None or interpreter != requests.PYTHON
        ):  # what ran the helper until now may be another Python
            with self.record.step("helper", "shipping the helper") as note:
                self._check()
                self.session.ship(interpreter)
                found = self._ask("hello", **requests.hello_fields(self.release, self.options))
                note.detail = f"{found['helper']}"
        self.record.from_release = found["record"].get("to")
        if found["record"].get("result") == "went-back":
            self.progress.note(f"{self.host.text}: {found['record']['reason']}")
        return found

    def _nothing_to_do(self, found: dict[str, Any]) -> bool:
        """Return whether the release serves already and the device's record says no more than that.

        After a device went back by itself, deploying what it went back to settles it: the release is proven and
        confirmed once more, and `status` is content again.
        """
        settled = found["record"].get("result") != "went-back"
        return bool(found.get("unchanged")) and settled and not self.options.force

    def _preflight(self, bundle: Bundle) -> None:
        """Refuse a device that could not run the release. Raises DeviceError `preflight-<check>`."""
        with self.record.step("preflight", "checking the device") as note:
            allowed = self.options.allowed_on(self.host, service_wanted(bundle))
            probed = self.session.probe(requests.interpreter_of(bundle))
            findings = preflight(probed, bundle.manifest, allowed, signed_at=newest_signing(bundle))
            open_ends = [f.gate.reason for f in findings if f.gate.verdict == "inconclusive"]
            note.detail = f"{len(findings)} checks" + "".join(f"; {reason}" for reason in open_ends)
            if error := refusal(findings):
                note.detail = "; ".join(f"{f.gate.name}: {f.gate.reason}" for f in failures(findings))
                raise error

    def _lease(self, bundle: Bundle | None) -> None:
        """Take the application over, where the device would take the release: from here on calls carry the fence."""
        with self.record.step("lease", "taking the lease") as note:
            limit = self.options.ready_seconds + 150
            fields = requests.lease_fields(bundle, self.options)
            reply = self._ask("lease", timeout=limit, **fields)
            self.fence = int(reply["fence"])
            self.record.from_release = reply["to"]
            self.change = brought(
                self._ask, self.app, self.options
            )  # refused here rather than after the upload
            note.detail = f"fence {self.fence}"
            if reply.get("told_unsigned") and self.host.kind == "ssh":
                note.detail += "; from now on this device takes unsigned releases"
                self.progress.note(
                    f"{self.host.text} was never told whose releases to take: it now takes unsigned ones, as its "
                    f"trust/policy.json says; for signed ones only: edgeship keys trust {self.at}"
                )

    def _upload(self, bundle: Bundle) -> None:
        """Send what is missing; a cut upload goes on where it stopped, on a fresh connection."""
        with self.record.step("upload", "sending what is missing") as note, Spool(bundle) as spool:
            sent, retries = 0, Retries(self.options.upload_attempts)
            whole = False
            while True:
                retries.begin()
                try:
                    self._check()
                    ask = partial(self._ask, fence=self.fence)
                    sent += send_missing(
                        ask, spool, self.progress, self.session.packs, whole, retries.missing
                    )
                    break
                except LinkLost:
                    pause = retries.pause()
                    if pause is None or self.cancelled:
                        raise
                    self.progress.note(
                        f"{self.host.text}: the link was lost; in {pause:g} s the upload goes on where it stopped"
                    )
                    self.session.reconnect()
                    self.session.interrupted.wait(pause)
                except Refused as refused:
                    if refused.reference != "base-changed" or whole:
                        raise
                    whole = True  # what is on the device is not what it said: build on nothing of it
            note.detail = f"{sent} bytes" + (
                f" in {retries.attempts} attempts" if retries.attempts > 1 else ""
            )

    def _stage(self, bundle: Bundle) -> None:
        """Have the release built from verified blobs; what turns out damaged in the store is sent again, once."""
        with self.record.step("stage", "staging") as note:
            fields = requests.stage_fields(bundle)
            ask = partial(self._ask, "stage", **fields, timeout=240, fence=self.fence, tx=self.tx)
            try:
                reply = ask()
            except Refused as refused:
                if refused.reference != "blob-missing":
                    raise
                self._upload(bundle)
                reply = ask()
                note.detail = "what was damaged there was sent again; "
            note.detail += (
                "already there, hashed again"
                if reply["staged"] == "present"
                else f"{reply.get('files')} files"
            )

    def _prove(self) -> None:
        """Run golden vectors on the staged release while the old one serves."""
        with self.record.step("prove", "running golden vectors on the device") as note:
            limit = self.options.prove_seconds + MARGIN
            fields = requests.prove_fields(self.release, self.options)
            reply = self._ask("prove", **fields, timeout=limit, fence=self.fence)
            self.record.proved(reply["prove"])
            if reply["reason"]:
                raise DeviceError(
                    "golden-failed",
                    f"golden vectors on the device: {reply['reason']}; the release was not switched to",
                    hint=f"edgeship deploy ... {self.at} --goal test, or build again on this data",
                )
            note.detail = describe_proof(reply["prove"])
            self._check_latency(reply["prove"])

    def _check_latency(self, proof: Mapping[str, Any]) -> None:
        """Refuse a release that is slower on this device than it may be. Raises DeviceError `too-slow`."""
        if self.options.device_max_ms is None:
            return
        gate = latency_gate(proof, self.options.device_max_ms)
        self.record.gates.append(gate)
        if gate.stops:
            raise too_slow(gate, self.at)

    def _arm(self) -> None:
        """Have the device record what is coming and start what goes back by itself."""
        with self.record.step("arm", "arming the dead-man") as note:
            self._check()
            self.trial = Trial(tx=self.tx, fence=self.fence, release=self.release)
            fields = requests.arm_fields(
                self.release, self.host, self.options, wanted=self.service, kept=self.kept
            )
            fields |= {"change": self.change} if self.change else {}
            try:
                reply = self._ask("arm", **fields, fence=self.fence, tx=self.tx)
            except Refused as refused:
                if refused.reference not in MAY_BE_ARMED:
                    self.trial = None  # the helper said no: nothing is armed
                raise explained(refused, self.host, self.options) from None
            if not reply["armed"]:
                raise DeviceError(
                    "not-armed", "the dead-man is not there; going back before anything is switched"
                )
            self.record.from_release = reply["record"].get("from")
            hook = reply["boot_hook"] or "none"
            note.detail = f"{reply['manager']}, {self.options.trial_seconds:g} s, after a restart: {hook}"

    def _tune(self) -> str:
        """Where the release serves already: have the device take the settings that came; return what to say of that."""
        fields = brought(self._ask, self.app, self.options)
        if fields is None:
            return ""
        with self.record.step("tune", "changing settings") as note:
            try:
                changed = self._ask("tune", **fields)["changed"]
            except Refused as refused:
                raise explained(refused, self.host, self.options) from None
            note.detail = "changed" if changed else "as they were"
        return f"; settings {note.detail}"

    def _activate(self) -> DeployReport | None:
        """Switch and check through the live endpoint; return a report where the device went back."""
        assert self.trial is not None
        with self.record.step("activate", "switching, and golden vectors through the live service") as note:
            self._check_or_revert()
            self.trial.asked = True
            fields = requests.activate_fields(self.options)
            limit = 2 * sum(fields.values()) + MARGIN
            reply = self._ask("activate", **fields, timeout=limit, fence=self.fence, tx=self.tx)
            note.detail = reply["reason"] or f"serves at {reply['serving']['url']}"
        if reply["reason"]:
            if reply["prove"]:
                self.record.proved_live(reply["prove"])
            return self._ended(reply["record"])
        self.trial.serving = reply["serving"]
        self.record.proved_live(reply["prove"])
        return None

    def _check_or_revert(self) -> None:
        """Where the user asked to stop, have the armed device stand down."""
        if self.cancelled:
            raise DeviceError("interrupted", "interrupted")

    def _confirm(self) -> DeployReport:
        """Look at the device over a fresh connection and make the trial final; then collect garbage."""
        assert self.trial is not None and self.trial.serving is not None
        with self.record.step("confirm", "confirming over a fresh connection") as note:
            self.session.reconnect()
            self._check_or_revert()
            seen = self._ask("status")
            self.trial.compare(seen)
            self._check_or_revert()
            restarts = self.trial.serving["restarts"]
            reply = self._ask("confirm", restarts=restarts, fence=self.fence, tx=self.tx)
            self.trial.serving = seen["serving"]
            note.detail = f"pid {seen['serving']['pid']}, {seen['serving']['restarts']} restarts, same boot; "
            note.detail += describe_bake(reply, self.options.bake_restarts)
        return self._ended(reply["record"])

    def _ended(self, record: Mapping[str, Any]) -> DeployReport:
        """Return the report of a trial that came to its end on the device."""
        if record["state"] == "DEGRADED":
            return self._report(
                "degraded",
                str(record["reason"]),
                hint=f"edgeship logs {self.at} --app {self.app}",
            )
        if record.get("result") == "committed":
            self.record.serving = ((self.trial.serving if self.trial else None) or {}).get("url")
            self._collect()
            return self._report("committed", f"release {self.release[:12]} serves")
        if self.trial is not None and not self.trial.asked:
            return self._failed(f"{record.get('reason')}; nothing was switched", None)
        back = record.get("to")
        whole = (
            f"back on release {back[:12]}"
            if back
            else "the service is stopped: there was nothing to go back to"
        )
        return self._report(
            "reverted",
            f"{record.get('reason')}; {whole}",
            hint=f"edgeship logs {self.at} --app {self.app}",
        )

    def _collect(self) -> None:
        """Delete old releases; where that fails the deployment stands all the same."""
        with self.record.step("collect", "removing old releases") as note:
            try:
                reply = self._ask("collect", keep=self.options.keep, fence=self.fence)
                note.detail = f"{len(reply['removed'])} removed"
            except EdgeshipError as error:
                note.detail = f"left for the next time: {error.message}"

    def _settle(self, error: EdgeshipError) -> DeployReport:
        """Read the truth back after a fault during the trial; unknown where that cannot be had."""
        assert self.trial is not None
        why = "interrupted" if self.cancelled else error.message
        self.session.resume()
        lost = isinstance(error, LinkLost) and not self.cancelled
        with self.record.step("settle", "reading the device's state back") as note:
            ended = settle(self.session, self.trial, self.options, why, may_confirm=lost)
            note.detail = str(ended["state"]) if ended else "not reachable"
        if ended is not None:
            return self._ended(ended)
        back = self.record.from_release
        goes = f"goes back to release {back[:12]}" if back else "stops the service"
        return self._report(
            "unknown",
            f"{why}; the device could not be asked again. Unconfirmed, it {goes} by itself within "
            f"{self.options.trial_seconds:g} s of being armed",
            hint=self._look_hint(),
        )

    def _ask(self, verb: str, **options: Any) -> dict[str, Any]:
        """Ask the helper; leave first where the user asked to stop and nothing is armed."""
        if self.trial is None:
            self._check()
        return self.session.ask(verb, **options)

    def _failed(self, reason: str, hint: str | None) -> DeployReport:
        """Return the report of a host where nothing was changed."""
        return self._report("failed", reason, hint=hint or self._look_hint())

    def crashed(self, error: Exception) -> DeployReport:
        """Return the report of a deployment that a defect of edgeship ended."""
        self.session.close()
        state = "unknown" if self.trial is not None else "failed"
        return self._report(
            state, f"a defect of edgeship: {type(error).__name__}: {error}", hint=self._look_hint()
        )

    def left(self) -> DeployReport:
        """Return the report of a deployment that nobody waits for any longer."""
        on_trial = self.trial is not None
        reason = "left at once; unconfirmed, the device goes back by itself" if on_trial else "left at once"
        return self._report("unknown" if on_trial else "failed", reason, hint=self._look_hint())

    def _look_hint(self) -> str:
        """Return the command that shows the device's state."""
        return f"edgeship status {self.at} --app {self.app}"

    def _report(self, state: Any, reason: str, hint: str | None = None) -> DeployReport:
        """Return the final report."""
        return self.record.report(state, reason, bytes_sent=self.session.bytes_sent, hint=hint)
