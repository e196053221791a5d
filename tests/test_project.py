"""edgeship.yaml: defaults, the example, the command line over the file, and what is said of a wrong one."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from edgeship.errors import InputError
from edgeship.project import ProjectFile, init_text, load_project
from edgeship.project.__main__ import documents, main
from edgeship.project.loader import OPTIONS
from edgeship.project.text import section_of
from edgeship.values import Goals, Preprocess, Resize

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "edgeship.yaml"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(text: str) -> Path:
        path = tmp_path / "edgeship.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return make


def leaves(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (key path, field) of every setting."""
    for name, field in model.model_fields.items():
        below = section_of(field)
        if below:
            yield from leaves(below, (*path, name))
        else:
            yield (*path, name), field


def at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_project(path)
    assert caught.value.exit_code == 2
    return caught.value.render()


# --- the example ----------------------------------------------------------------------------------------------------


def uncommented(text: str) -> dict[str, Any]:
    """Return the example with every commented-out setting switched on, and only those settings."""
    return yaml.safe_load(re.sub(r"^( *)# (?!#)", r"\1", text, flags=re.MULTILINE)) or {}


def test_example_is_what_the_schema_gives() -> None:
    made = documents()
    for name, text in made.items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, (
            f"{name} is behind the schema: run python -m edgeship.project"
        )


def test_example_loads() -> None:
    project = load_project(EXAMPLE)
    assert project.model == ROOT / "examples" / "keywords.keras"
    assert project.targets == ("raspberry-pi-4", "coral")
    assert project.goals == Goals(max_drop=1.0, max_kb=300, max_ms=20)
    assert project.goals.metric_folder == project.base
    assert project.preprocess == Preprocess(scale=1 / 255, mean=(0.5,), std=(0.25,))
    assert project.read_labels()[3:5] == ("no", "off"), "quoted: words, not booleans"


def test_example_mentions_every_key() -> None:
    everything = uncommented(EXAMPLE.read_text())
    for path, _ in leaves(ProjectFile):
        assert path[-1] in at(everything, path[:-1]), (
            f"examples/edgeship.yaml does not mention {'.'.join(path)}"
        )


def test_commented_settings_are_the_defaults() -> None:
    text = init_text(None)
    everything = uncommented(text)
    for path, field in leaves(ProjectFile):
        if field.is_required():
            continue
        default = field.get_default()
        plain = list(default) if isinstance(default, tuple) else default
        assert at(everything, path) == plain, ".".join(path)


def test_defaults_named_beside_a_value_are_the_defaults() -> None:
    lines = EXAMPLE.read_text().splitlines()
    seen = 0
    for path, field in leaves(ProjectFile):
        for number, line in enumerate(lines):
            if re.match(rf"^ *{path[-1]}: .", line) and len(line) - len(line.lstrip()) == 2 * (len(path) - 1):
                above = " ".join(part.strip(" #") for part in lines[max(0, number - 3) : number])
                stated = re.findall(r"\(default: (.*?)\)", above)
                if not stated:
                    continue
                default = field.get_default()
                wanted = None if stated[-1] == "nothing" else yaml.safe_load(stated[-1])
                assert wanted == (list(default) if isinstance(default, tuple) else default), ".".join(path)
                seen += 1
    assert seen >= 15


def test_switching_everything_on_is_a_valid_project(write: Write) -> None:
    on = uncommented(init_text(Path("m.keras")))
    on["preprocess"].pop("resize")  # its size has no default
    path = write(yaml.safe_dump(on))
    assert load_project(path).file == load_project(write("model: m.keras\n")).file


def test_every_setting_is_explained() -> None:
    assert [p for p, f in leaves(ProjectFile) if not f.description] == []


def test_example_fits_the_published_schema() -> None:
    schema = json.loads((ROOT / "docs/schemas/project.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(EXAMPLE.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"modle": "x"}, schema)


def test_documents_can_be_written_elsewhere(tmp_path: Path) -> None:
    assert main(tmp_path) == 0
    assert (tmp_path / "examples/edgeship.yaml").read_text() == EXAMPLE.read_text()


# --- reading --------------------------------------------------------------------------------------------------------


def test_no_file_means_defaults(tmp_path: Path) -> None:
    project = load_project(directory=tmp_path)
    assert project.file == ProjectFile() and project.base == tmp_path and project.model is None
    assert project.goals == Goals() and project.preprocess.is_identity()
    assert project.read_labels() == () and project.device.root == "/var/lib/edgeship"


def test_file_in_the_current_folder_is_found(write: Write, tmp_path: Path) -> None:
    write("app: door\n")
    assert load_project(directory=tmp_path).file.app == "door"


def test_initial_file_loads(tmp_path: Path) -> None:
    (tmp_path / "edgeship.yaml").write_text(init_text(Path("net.h5"), targets=("coral",)))
    project = load_project(directory=tmp_path)
    assert project.model == tmp_path / "net.h5" and project.targets == ("coral",)
    assert project.file == ProjectFile(model="net.h5", targets=("coral",))


def test_initial_file_survives_odd_names(tmp_path: Path) -> None:
    name = "my: model #1 'x'.keras"
    (tmp_path / "edgeship.yaml").write_text(init_text(Path(name)))
    assert load_project(directory=tmp_path).model == tmp_path / name


def test_empty_parts_have_their_defaults(write: Write) -> None:
    assert load_project(write("goals:\n  accuracy:\nservice:\n  limits:\n")).file == ProjectFile()


def test_paths_start_at_the_file(write: Write, tmp_path: Path) -> None:
    project = load_project(
        write("model: models/a.keras\nlabels: labels.txt\ndatasets: {calibration: c.npz}\n")
    )
    (tmp_path / "labels.txt").write_text("cat\n\n dog \n")
    assert project.model == tmp_path / "models" / "a.keras"
    assert project.base == tmp_path and project.datasets.calibration == "c.npz"
    assert project.read_labels() == ("cat", "dog")


def test_labels_file_missing(write: Write, tmp_path: Path) -> None:
    project = load_project(write("labels: none.txt\n"))
    with pytest.raises(InputError) as caught:
        project.read_labels()
    text = caught.value.render()
    assert "labels: cannot read 'none.txt': No such file or directory" in text and "hint: ls -l" in text


def test_preprocess(write: Write) -> None:
    text = "preprocess: {resize: {height: 96, width: 64}, scale: 2/255, mean: [1, 2, 3], std: [4, 5, 6]}\n"
    project = load_project(write(text))
    assert project.preprocess == Preprocess(
        resize=Resize(height=96, width=64), scale=2 / 255, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)
    )


@pytest.mark.parametrize(
    ("text", "scale"), [("1/127.5", 1 / 127.5), ("1/255", 1 / 255), ("2", 2.0), ("0.5", 0.5)]
)
def test_scale(write: Write, text: str, scale: float) -> None:
    assert load_project(write(f"preprocess: {{scale: {text}}}\n")).preprocess.scale == scale


@pytest.mark.parametrize(
    ("name", "app"),
    [
        ("My Model.v2.keras", "my-model-v2"),
        ("kws.tflite", "kws"),
        ("___.h5", "model"),
        ("x" * 80 + ".h5", "x" * 63),
    ],
)
def test_app_from_the_models_name(name: str, app: str, tmp_path: Path) -> None:
    assert load_project(directory=tmp_path).app_for(Path(name)) == app


def test_metadata(write: Write) -> None:
    project = load_project(
        write("version: '7'\nlabels: [a, b]\nmetadata: {author: Ann}\npreprocess: {scale: 0.5}\n")
    )
    metadata = project.metadata_for(Path("net.keras"))
    assert (metadata.name, metadata.version, metadata.author) == ("net", "7", "Ann")
    assert metadata.labels == ("a", "b") and metadata.inputs[0].preprocess.scale == 0.5


# --- the command line over the file ---------------------------------------------------------------------------------


def test_command_line_wins(write: Write) -> None:
    project = load_project(write("targets: [coral]\ngoals: {accuracy: {max_drop: 1}, size: {max_kb: 5}}\n"))
    merged = project.merge(targets=("host",), max_drop=0.5, calibration=None, hosts=(), metric="top5")
    assert merged.targets == ("host",) and merged.goals == Goals(metric="top5", max_drop=0.5, max_kb=5)
    assert project.targets == ("coral",), "the project itself stays"


def test_every_option_stands_for_a_key() -> None:
    known = {path for path, _ in leaves(ProjectFile)}
    assert set(OPTIONS.values()) <= known


def test_typed_paths_start_where_they_were_typed(write: Write, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    project = load_project(write("datasets: {evaluation: e.npz}\n"))
    merged = project.merge(directory=elsewhere, model=Path("m.h5"), calibration="c.npz", train="pkg.mod:load")
    assert merged.model == elsewhere / "m.h5"
    assert merged.datasets.calibration == str(elsewhere / "c.npz")
    assert merged.datasets.evaluation == "e.npz" and merged.datasets.train == "pkg.mod:load"


def test_wrong_option_is_named_as_it_was_typed(write: Write) -> None:
    project = load_project(write("hosts: [pi@10.0.0.7]\n"))
    with pytest.raises(InputError) as caught:
        project.merge(max_drop=-1.0, hosts=("a b",))
    assert caught.value.render().splitlines()[1:] == [
        "  2 problems in --host, --max-drop",
        "  --host: hosts[0]: expected user@host, user@host:port or local:DIR, found 'a b': empty, or with blanks in it",
        "  --max-drop: goals.accuracy.max_drop: expected 0 or more, found the number -1.0",
        "hint: edgeship init shows every key with its default",
    ]


def test_option_over_a_broken_part_of_the_file_still_reports_the_file(write: Write) -> None:
    assert "goals: expected keys and values, found 'x' (line 1)" in refused(write("goals: x\n"))


# --- wrong files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("modle: a.h5\n", "modle: unknown key 'modle'; did you mean 'model'? (line 1)"),
        ("max_drop: 1\n", "max_drop: unknown key 'max_drop'"),
        ("queue: 5\n", "queue: unknown key 'queue'"),
        ("listen: 0.0.0.0:1\n", "listen: unknown key 'listen' here; it belongs under 'service' (line 1)"),
        ("version: 3\n", "version: expected text, found the number 3; put it in quotes (line 1)"),
        ("targets: coral\n", "targets: expected a list, found 'coral' (line 1)"),
        (
            "app: My App\n",
            "app: expected up to 63 lower-case letters, digits and dashes, found 'My App' (line 1)",
        ),
        ("preprocess: {std: [0]}\n", "preprocess: std must be above 0, found [0.0] (line 1)"),
        ("preprocess: {mean: [1, 2], std: [1, 2, 3]}\n", "mean has 2 channels, std has 3 (line 1)"),
        ("preprocess: {scale: 1/0}\n", "preprocess.scale: expected a number, found '1/0' (line 1)"),
        ("preprocess: {resize: {height: 3}}\n", "preprocess.resize.width: this key is required (line 1)"),
        ("preprocess: {resize: {height: 3, width: 0}}\n", "width: expected 1 or more, found the number 0"),
        ("preprocess: {mean: []}\n", "preprocess.mean: expected a list of 1 or more, found a list of 0"),
        ("labels: 5\n", "labels: expected text, found the number 5"),
        ("labels: [a, 5]\n", "labels[1]: expected text, found the number 5; put it in quotes (line 1)"),
        (
            "goals: {accuracy: {metric: topp1}}\n",
            "expected auto, top1, top5, mse, mae, auc, map, map50 or package.module:callable",
        ),
        ("goals: {size: {max_kb: lots}}\n", "goals.size.max_kb: expected a number, found 'lots'"),
        ("service: {listen: '8500'}\n", "service.listen: expected ADDRESS:PORT or unix:PATH, found '8500'"),
        ("service: {listen: '127.0.0.1:99999'}\n", "expected ADDRESS:PORT or unix:PATH"),
        (
            "device: {root: edgeship}\n",
            "device.root: expected an absolute path on the device, found 'edgeship'",
        ),
        ("device: {root: /srv/a b}\n", "device.root: expected a path of letters, digits and _ . / + -"),
        ("device: {root: /srv/50%}\n", "device.root: expected a path of letters, digits and _ . / + -"),
        ('device: {root: "/srv/x\\n"}\n', "device.root: expected a path of letters, digits and _ . / + -"),
        ('version: "1\\e[2J"\n', "version: expected up to 64 letters, digits, dots, dashes"),
        ("version: '2026/11'\n", "no sign in front, found '2026/11' (line 1)"),
        ("deploy: {goal: go}\n", "deploy.goal: expected 'stage', 'test' or 'activate', found 'go'"),
        ("deploy: {keep_releases: 1}\n", "deploy.keep_releases: expected 2 or more, found the number 1"),
        ("deploy: {accept_new_host_key: yes}\n", "accept_new_host_key: expected true or false, found 'yes'"),
        ("hosts: ['pi@10.0.0.7; reboot']\n", "hosts[0]: expected user@host, user@host:port or local:DIR"),
        ("golden: {vectors: 0}\n", "golden.vectors: expected 1 or more, found the number 0"),
    ],
)
def test_wrong_value(write: Write, text: str, wanted: str) -> None:
    path = write(text)
    shown = refused(path)
    assert shown.startswith(f"error: invalid-project\n  {path}: ") and wanted in shown
    assert shown.endswith("hint: edgeship init shows every key with its default")


def test_syntax_error(write: Write) -> None:
    text = refused(write("app: door\n  model: x\n"))
    assert text.startswith("error: project-syntax\n") and "(line 2, column 8)" in text


def test_no_such_file(tmp_path: Path) -> None:
    text = refused(tmp_path / "other.yaml")
    assert text.startswith("error: project-not-readable\n") and "No such file or directory" in text


def test_folder_instead_of_file(tmp_path: Path) -> None:
    text = refused(tmp_path)
    assert "this is a folder, not a project file" in text and str(tmp_path / "edgeship.yaml") in text


@pytest.mark.parametrize(
    ("model", "app"),
    [
        ("Keyword Spotter.keras", "keyword-spotter"),
        ("kws/saved_model", "kws"),
        ("kws/saved_model/3", "kws"),
        ("models/resnet_8.h5", "resnet-8"),
    ],
)
def test_the_app_is_named_after_the_model(tmp_path: Path, model: str, app: str) -> None:
    assert load_project(directory=tmp_path).app_for(tmp_path / model) == app


def test_models_compiled_together_are_found_from_where_they_were_named(tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    (home / "edgeship.yaml").write_text("compiler: {co_compile: [a.tflite], allow_uncompiled: true}\n")
    project = load_project(home / "edgeship.yaml")
    assert (project.compiler.co_compile, project.compiler.allow_uncompiled) == (("a.tflite",), True)
    merged = project.merge(directory=here, co_compile=("b.tflite", "../c.tflite"), allow_uncompiled=False)
    assert merged.compiler.co_compile == (str(here / "b.tflite"), str(tmp_path / "c.tflite"))
    assert not merged.compiler.allow_uncompiled
