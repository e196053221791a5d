"""Bringing releases to devices: prove, switch on trial, confirm, or go back."""

from typing import TYPE_CHECKING

from edgeship import lazy

if TYPE_CHECKING:
    from edgeship.deploy.options import DeployOptions
    from edgeship.deploy.planned import PlannedCommand, PlannedFile, PlannedStep, plan
    from edgeship.deploy.together import deploy, deploy_many
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

__getattr__ = lazy.names(
    __name__,
    {
        **dict.fromkeys(
            (
                "deploy",
                "deploy_many",
            ),
            "edgeship.deploy.together",
        ),
        **dict.fromkeys(("DeployOptions",), "edgeship.deploy.options"),
        **dict.fromkeys(
            (
                "PlannedCommand",
                "PlannedFile",
                "PlannedStep",
                "plan",
            ),
            "edgeship.deploy.planned",
        ),
        **dict.fromkeys(
            (
                "bench",
                "history",
                "logs",
                "pin",
                "probe",
                "remove",
                "rollback",
                "rollback_plan",
                "rollback_target",
                "status",
                "verify",
            ),
            "edgeship.deploy.verbs",
        ),
    },
)
