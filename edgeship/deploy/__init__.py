"""Bringing releases to devices: prove, switch on trial, confirm, or go back."""

from edgeship.deploy.deploy import deploy, deploy_many
from edgeship.deploy.options import DeployOptions
from edgeship.deploy.plan import PlannedCommand, PlannedFile, PlannedStep, plan
from edgeship.deploy.verbs import (
    bench,
    history,
    logs,
    pin,
    probe,
    remove,
    rollback,
    rollback_plan,
    rollback_target,
    status,
    verify,
)

__all__ = [
    "DeployOptions",
    "PlannedCommand",
    "PlannedFile",
    "PlannedStep",
    "bench",
    "deploy",
    "deploy_many",
    "history",
    "logs",
    "pin",
    "plan",
    "probe",
    "remove",
    "rollback",
    "rollback_plan",
    "rollback_target",
    "status",
    "verify",
]
