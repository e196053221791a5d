"""The keys of `edgeship.yaml`: meaning, type and default, each said once, here.

The docstring under a key is its documentation: it becomes the comment in what `edgeship init` writes, in
`examples/edgeship.yaml` and in the JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from edgeship import values
from edgeship.project import checks
from edgeship.project.by_input import ONE, SEVERAL, filled, form_of
from edgeship.project.governor import GovernorSection
from edgeship.project.types import (
    AppName,
    Dataset,
    HostText,
    InputShapes,
    Labels,
    Limit,
    Number,
    Positive,
    Ratio,
    Seconds,
    Section,
    Texts,
    in_short,
    metric_name,
)


class Datasets(Section):
    """A dataset is .npz with x and optional y, .npy, a folder of images (a sub-folder a class), or
    package.module:callable yielding samples. For a model of several inputs: .npz or a folder of .npy files with an
    array an input by its name (and y), a .csv table with a column an input (numbers, or names of image or .npy files),
    or a callable yielding dicts."""

    calibration: Dataset | None = None
    """Representative samples for int8: some hundreds, drawn like real requests."""
    evaluation: Dataset | None = None
    """Labelled samples that were never trained on: every accuracy in the report comes from them."""
    train: Dataset | None = None
    """What the model was trained on, for compression that trains again."""


class ResizeTo(Section):
    """Size that images are brought to."""

    height: Positive
    """Pixels."""
    width: Positive
    """Pixels."""
    method: Literal["bilinear", "nearest"] = "bilinear"
    """How pixels in between are made."""


class PreprocessSection(Section):
    """From a raw sample to what the model was trained on: resize, then (x * scale - mean) / std. Hand over
    raw data: edgeship applies this to calibration, evaluation and golden vectors, and on the device. A model of
    several inputs has these keys under the name of each input: preprocess: {camera: {scale: 1/255}, speed: {...}}."""

    resize: ResizeTo | None = None
    """Bring images to this size; nothing: samples have the model's size already."""
    scale: Ratio = 1.0
    """Factor for raw values: 1/255 turns bytes into 0..1."""
    mean: Annotated[tuple[Number, ...], Field(min_length=1)] = (0.0,)
    """One value, or one a channel (last axis), in units of the scaled value."""
    std: Annotated[tuple[Number, ...], Field(min_length=1)] = (1.0,)
    """One value, or one a channel (last axis), in units of the scaled value."""

    @model_validator(mode="after")
    def _usable(self) -> PreprocessSection:
        if self.scale == 0:
            raise ValueError("scale is 0, which would turn every sample into the same one")
        if any(s <= 0 for s in self.std):
            raise ValueError(f"std must be above 0, found {list(self.std)}")
        if 1 not in (len(self.mean), len(self.std)) and len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels, std has {len(self.std)}")
        return self


PreprocessByInput = Annotated[dict[str, PreprocessSection], BeforeValidator(filled)]
Preprocessing = Annotated[
    Annotated[PreprocessSection, Tag(ONE)] | Annotated[PreprocessByInput, Tag(SEVERAL)],
    Discriminator(lambda value: form_of(value, PreprocessSection.model_fields, ResizeTo.model_fields)),
]
"""`preprocess:` for the only input, or `{camera: {...}, speed: {...}}` for a model of several."""


class Accuracy(Section):
    """How much accuracy compression may cost."""

    metric: Annotated[str, AfterValidator(metric_name)] = "auto"
    """top1, top5, auc, map and map50 (percent), mse, mae, a module:callable of your own, or auto: map for boxes (images
    with a COCO annotations file), top1 for class labels (indices or
    one-hot), auc for labels of two classes beside a single output, mse otherwise. Your own is called as
    callable(outputs, labels) with NumPy arrays, returns one number, and says which way is better:
    callable.higher_is_better = True or False. Of a model with several outputs it gets all of them, as a dict by name,
    unless output: names one. Its module is looked for in this file's folder."""
    max_drop: Limit | None = None
    """What the metric may lose against the float model: points of top1, top5, auc, map and map50; percent of
    the float model's value of every other metric."""
    output: str | None = None
    """Of a model with several outputs, the name of the one that the labels are for; nothing: the only one that fits
    them."""


class Size(Section):
    """How large the model file may be."""

    max_kb: Limit | None = None
    """Units of 1,000 bytes."""
    max_download_kb: Limit | None = None
    """The same, compressed as bundles are: what a new device has to fetch."""


class LatencyGoal(Section):
    """How long one inference may take."""

    max_ms: Limit | None = None
    """Milliseconds at the median, on the machine that measures."""


class MemoryGoal(Section):
    """How much memory one process that runs the model may take."""

    max_rss_mb: Limit | None = None
    """Peak resident memory, MiB."""


class GoalsSection(Section):
    """Each goal that is set is a gate: unmet, nothing is bundled, and edgeship exits with 3."""

    accuracy: Accuracy = Accuracy()
    size: Size = Size()
    latency: LatencyGoal = LatencyGoal()
    memory: MemoryGoal = MemoryGoal()


class CompressSection(Section):
    """How `edgeship compress` searches."""

    methods: Texts = ()
    """Chains of methods to try, as `prune-60+qat-int8` (`edgeship compress --help` lists them); nothing: those that
    usually help."""
    minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    """Time for it; what was made before costs none."""
    jobs: Positive | None = None
    """Candidates made side by side; nothing: as many as cores and memory allow."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything random: the same seed and data give the same candidates."""
    prefer: Literal["download", "file", "latency", "accuracy"] = "download"
    """What the chosen one is best in, among those that meet the goals."""
    max_drop: Limit = 1.0
    """What the metric may lose where goals.accuracy.max_drop says nothing: points, or percent of the float model's;
    without labels points that agreement with the float model lets expect."""


class Metadata(Section):
    """Written into the .tflite file, where TFLite's own tools show it."""

    name: str | None = None
    """Name of the model; nothing: the app's name."""
    description: str = ""
    """What it does, for people."""
    author: str = ""
    """Who made it."""
    licence: str = ""
    """Under which terms."""


LEAST_BODY_BYTES = 8_388_608
"""What `service.limits.body_bytes` is at least where it follows from the model."""


class Limits(Section):
    """What one client, or all of them, can ask of the service."""

    queue: Positive = 32
    """Requests that wait; one more is answered 503 with Retry-After."""
    connections: Positive = 64
    """Open connections."""
    body_bytes: Positive | None = None
    """Largest request body, decompressed; a longer one is answered 413. It also bounds the answer to a request of
    several samples. Nothing: what one request and one answer of the model take as JSON, 8 MiB at least."""
    buffered_bodies: Positive = 2
    """Bodies of the largest size (body_bytes) for which there is memory at a time, of all connections together, and
    for answers in their place; those up to 64 KiB are not counted. What finds no room is answered 503 with
    Retry-After."""
    header_bytes: Positive = 16_384
    """Largest request head; a longer one is answered 431."""
    request_seconds: Seconds = 10.0
    """Time to send a request completely, and a second more a MiB; then to wait for its turn, and to begin the last of
    its samples."""
    idle_seconds: Seconds = 60.0
    """How long a connection may stay silent."""
    drain_seconds: Seconds = 10.0
    """Time for requests under way when the service is told to stop."""
    sessions: Positive = 16
    """Sessions of a model with state that may be open at a time; one more is answered 503."""
    session_seconds: Seconds = 60.0
    """How long a session may stay silent before its state is dropped."""


class ServiceSection(Section):
    """The service on the device."""

    listen: Annotated[str, AfterValidator(checks.listen)] = "127.0.0.1:8500"
    """ADDRESS:PORT or unix:PATH. There is no authentication: think before opening it to a network."""
    threads: Positive | None = None
    """Threads of one inference; nothing: what the target profile says."""
    manager: Literal["auto", "systemd", "openrc", "supervised"] = "auto"
    """What keeps it running on the device; auto: what the target says, else the best that the device has."""
    page: bool = True
    """Whether a browser gets a page at / that shows the model, tries it and tells load and latency; it travels in the
    bundle. It offers nothing that the service's other paths do not."""
    limits: Limits = Limits()


class Device(Section):
    """Where edgeship lives on the device."""

    root: Annotated[str, AfterValidator(checks.device_root)] = "/var/lib/edgeship"
    """Folder for releases and state, on one persistent file system: letters, digits and _ . / + - in its path."""
    allow_volatile_root: bool = False
    """Accept a folder on tmpfs or an overlay, where a restart may lose everything."""
    allow_no_boot_hook: bool = False
    """Accept a device that has nothing to start the service again after a restart (no systemd, OpenRC or cron)."""


class Deploy(Section):
    """How a deployment goes."""

    goal: Literal["stage", "test", "activate"] = "activate"
    """How far: stage (upload and verify), test (and prove with golden vectors), activate (and serve)."""
    connect_seconds: Seconds = 10.0
    """Time for a device to answer at all."""
    health_seconds: Seconds = 30.0
    """Time for the new release to get ready on the device."""
    confirm_seconds: Seconds = 120.0
    """The device returns to the previous release by itself unless it is confirmed within this time."""
    bake_seconds: Annotated[float, Field(ge=0, le=86_400)] = 900.0
    """After the confirmation, and after each of the next 3 starts of the device, a release is watched this long: one
    that crashes again and again goes back by itself to the one before. 0: it is not watched."""
    bake_restarts: Annotated[int, Field(ge=0, le=100)] = 3
    """Crashes within that time that are still no crash loop; one more is."""
    device_max_ms: Limit | None = None
    """Milliseconds at the median (p50) that one inference may take on the device itself, on the staged release; slower:
    nothing is switched, and edgeship exits with 3."""
    parallel: Positive = 8
    """Devices worked on at once."""
    keep_releases: Annotated[int, Field(ge=2)] = 3
    """Releases that stay on a device, the running one and the one before it always."""
    accept_new_host_key: bool = False
    """Trust a host seen for the first time, and record its key. A changed key is always refused."""
    allow_unsigned: bool = True
    """Tell a device that was never told whose releases it may run to take unsigned ones, and say so; false: it
    refuses until `edgeship keys trust` tells it, and nothing unsigned is deployed. What a device was told stays."""


class CompilerSection(Section):
    """How the compiler of a target's accelerator is asked; targets without one leave this aside."""

    place: str | None = None
    """Where edgetpu_compiler is: local, ssh:user@host[:port] or container:IMAGE; nothing: what
    EDGESHIP_EDGETPU_COMPILER says, else local."""
    allow_uncompiled: bool = False
    """Without a compiler, ship the int8 model for the CPU of the same device, and say so everywhere."""
    segments: Positive = 1
    """Edge TPU: cut the model into this many files, each for an Edge TPU of its own. Above 1 no bundle is made:
    a service runs one model."""
    co_compile: Texts = ()
    """Edge TPU: other int8 .tflite files that share the chip with the model, most important first."""


GOLDEN_VECTORS, GOLDEN_BYTES = 8, 16_777_216
"""How many are recorded where no number is set, and how much at the most: they travel with every new release."""


class Golden(Section):
    """Recorded inputs and outputs that a device must reproduce before it serves."""

    vectors: Annotated[int, Field(ge=1, le=256)] | None = None
    """How many. Nothing: 8; of a model whose tensors are large as many as fit 16 MiB, 3 at least."""


class ProjectFile(Section):
    """`edgeship.yaml`: every setting of every command. The command line wins over the file."""

    app: AppName | None = None
    """Name of the service on devices; nothing: the model file's name."""
    version: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(checks.version)] = "1"
    """Your own number for this release, in quotes: letters, digits, dots, dashes and underscores."""
    model: str | None = None
    """What you trained: .keras, .h5, a SavedModel folder, or .tflite."""
    signature: str | None = None
    """Of a SavedModel with several signatures, the one to convert; nothing: serving_default, or the only one that takes
    numbers and answers with numbers. Of a .tflite with several, the one to serve; nothing: that of its first graph."""
    input_shape: InputShapes = ()
    """Sizes of inputs that the model leaves open, batch first: [1, 224, 224, 3]; for a model of several inputs by
    name: {left: [1, 64], right: [1, 64]}."""
    accept: tuple[Literal["scale", "zero-point", "bias-overflow", "bias-scale", "agreement"], ...] = ()
    """Flaws that are shipped all the same, as they are called where a model is refused for them: scale, zero-point,
    bias-overflow, bias-scale of a model that came quantized; agreement: a part of a variant's outputs that died."""
    targets: Texts = ()
    """Kinds of device to build for; `edgeship target list` shows them."""
    datasets: Datasets = Datasets()
    preprocess: Preprocessing = PreprocessSection()
    labels: Labels = ()
    """Names of the classes, in the order of the model's output: a list, or a text file with one a line."""
    recipes: Texts = ()
    """Quantization recipes to try; nothing: what each target wants."""
    ladder: bool = False
    """Whether a bundle carries, beside the chosen variant, every admitted one that no other beats in accuracy, file and
    latency: `deploy BUNDLE --variant NAME` serves another one without a new build."""
    goals: GoalsSection = GoalsSection()
    compress: CompressSection = CompressSection()
    compiler: CompilerSection = CompilerSection()
    metadata: Metadata = Metadata()
    golden: Golden = Golden()
    service: ServiceSection = ServiceSection()
    governor: Annotated[GovernorSection, BeforeValidator(in_short)] = GovernorSection()
    device: Device = Device()
    hosts: tuple[HostText, ...] = ()
    """Devices to deploy to: user@host[:port] over SSH, or local:DIR for a folder that behaves as a device."""
    deploy: Deploy = Deploy()

    def as_preprocess(self) -> values.Preprocess | dict[str, values.Preprocess]:
        """Return the preprocessing as the value that travels to datasets and devices: of the only input, or of each
        by its name."""
        part = self.preprocess
        if isinstance(part, PreprocessSection):
            return _preprocess(part)
        return {name: _preprocess(one) for name, one in part.items()}

    def as_goals(self) -> values.Goals:
        """Return the goals as the value that gates are made from."""
        goals = self.goals
        return values.Goals(
            metric=goals.accuracy.metric,
            max_drop=goals.accuracy.max_drop,
            output=goals.accuracy.output,
            max_kb=goals.size.max_kb,
            max_download_kb=goals.size.max_download_kb,
            max_ms=goals.latency.max_ms,
            max_rss_mb=goals.memory.max_rss_mb,
        )


def _preprocess(part: PreprocessSection) -> values.Preprocess:
    resize = values.Resize(**part.resize.model_dump()) if part.resize else None
    return values.Preprocess(resize=resize, scale=part.scale, mean=part.mean, std=part.std)
