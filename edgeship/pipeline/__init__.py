"""The whole story: inputs, then build; shipping what was built is `edgeship.deploy`."""

from edgeship.pipeline.build import BuildReport, TargetBuild, build
from edgeship.pipeline.plan import every_recipe, plan_build

__all__ = ["BuildReport", "TargetBuild", "build", "every_recipe", "plan_build"]
