"""The tools that live in environments of their own, as data: adding one is adding a row."""

from __future__ import annotations

from dataclasses import dataclass

from edgeship.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A Python tool with dependencies that may not be mixed with ours."""

    name: str
    summary: str
    requirements: tuple[str, ...]
    """What pip installs, pinned: the version stands in the provenance of what the tool makes."""
    module: str
    """Module that runs it: `python -m MODULE`."""
    package: str
    """Distribution whose version is the tool's."""
    beside: bool = False
    """Whether it works with our own TensorFlow: only what is listed is installed, and a worker of ours imports it."""


TOOLS: Registry[Tool] = Registry(
    "tool",
    {
        tool.name: tool
        for tool in (
            Tool(
                name="vela",
                summary="Arm's compiler for Ethos-U NPUs (targets ethos-u55-128, ..., imx93-evk)",
                requirements=("ethos-u-vela==5.2.0",),
                module="ethosu.vela",
                package="ethos-u-vela",
            ),
            Tool(
                name="tfmot",
                summary="TensorFlow Model Optimization, for --method tfmot-prune (models it made need nothing)",
                # It wants absl-py 1, which is not ours; mock, which only its tests import, is left out.
                requirements=(
                    "tensorflow-model-optimization==0.8.1",
                    "absl-py==1.4.0",
                    "dm-tree==0.1.10",
                    "attrs==26.1.0",
                ),
                module="tensorflow_model_optimization",
                package="tensorflow-model-optimization",
                beside=True,
            ),
        )
    },
)
