"""The frozen values that travel through the house, in the order of the story.

target profile + model + datasets -> plan -> artifacts -> scorecards -> variants -> bundle -> release -> report

Each value carries the digests of what it came from. The target profile itself is a pydantic model
(`edgeship.profile`); everything else that crosses from one room to another stands here. This module imports nothing
of edgeship, and everything of edgeship may import it.
"""

from edgeship.values.devices import (
    EXIT_CODE_OF_STATE,
    DeployReport,
    DeployState,
    EngineReport,
    Goal,
    GoldenReport,
    Host,
    HostFacts,
    StepReport,
)
from edgeship.values.figures import (
    Figure,
    Unavailable,
    as_json,
)
from edgeship.values.inputs import (
    ArrayInfo,
    Dataset,
    DatasetInfo,
    FloatModel,
    Goals,
    InputMetadata,
    InputRule,
    ModelKind,
    ModelMetadata,
    ModelSource,
    PreparedSamples,
    Preprocess,
    Quantization,
    Resize,
    Signature,
    TensorSpec,
)
from edgeship.values.results import (
    Agreement,
    Artifact,
    Bundle,
    DropUnit,
    GateResult,
    GoldenTolerance,
    Latency,
    Metric,
    Precision,
    Recipe,
    Scorecard,
    SignedStatement,
    Variant,
    Verdict,
)

__all__ = [
    "EXIT_CODE_OF_STATE",
    "Agreement",
    "ArrayInfo",
    "Artifact",
    "Bundle",
    "Dataset",
    "DatasetInfo",
    "DeployReport",
    "DeployState",
    "DropUnit",
    "EngineReport",
    "Figure",
    "FloatModel",
    "GateResult",
    "Goal",
    "Goals",
    "GoldenReport",
    "GoldenTolerance",
    "Host",
    "HostFacts",
    "InputMetadata",
    "InputRule",
    "Latency",
    "Metric",
    "ModelKind",
    "ModelMetadata",
    "ModelSource",
    "Precision",
    "PreparedSamples",
    "Preprocess",
    "Quantization",
    "Recipe",
    "Resize",
    "Scorecard",
    "Signature",
    "SignedStatement",
    "StepReport",
    "TensorSpec",
    "Unavailable",
    "Variant",
    "Verdict",
    "as_json",
]
