"""Wrong input: every case gets an error that names what is wrong and what to type, exit status 2, and no traceback."""

from __future__ import annotations

import gzip
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Case = Callable[[Path, Path], tuple[list[object], str, list[str]]]
"""(tiny models, scratch folder) -> (words, reference, what the text must hold)."""


def _build(model: object, *more: object) -> list[object]:
    return ["build", model, "--target", "host", *more]


def no_such_target(tiny: Path, here: Path) -> Any:
    return ["build", tiny / "model.tflite", "--target", "corral"], "unknown-target", ["did you mean 'coral'?"]


def no_target(tiny: Path, here: Path) -> Any:
    return ["build", tiny / "model.tflite"], "no-target", ["hint: edgeship target list"]


def no_model(tiny: Path, here: Path) -> Any:
    return ["build", "--target", "host"], "no-model", ["MODEL on the command line"]


def missing_model(tiny: Path, here: Path) -> Any:
    return _build("nothing.keras"), "model-not-found", ["nothing.keras", "hint:"]


def truncated_model(tiny: Path, here: Path) -> Any:
    (here / "cut.tflite").write_bytes((tiny / "model.tflite").read_bytes()[:400])
    return _build("cut.tflite"), "model-corrupt", ["cut.tflite"]


def empty_model(tiny: Path, here: Path) -> Any:
    (here / "empty.tflite").touch()
    return _build("empty.tflite"), "model-empty", ["empty.tflite"]


def text_as_model(tiny: Path, here: Path) -> Any:
    (here / "notes.tflite").write_text("these are my notes about the model\n" * 20)
    return _build("notes.tflite"), "model-unknown", ["text"]


def large_file_pointer(tiny: Path, here: Path) -> Any:
    (here / "big.tflite").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 1234\n"
    )
    return _build("big.tflite"), "model-is-lfs-pointer", ["git lfs pull"]


def folder_that_is_no_model(tiny: Path, here: Path) -> Any:
    (here / "folder").mkdir()
    return _build("folder"), "model-not-saved-model", ["saved_model.pb"]


def model_of_another_framework(tiny: Path, here: Path) -> Any:
    (here / "net.onnx").write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x051.0.0" + bytes(64))
    return _build("net.onnx"), "model-foreign", ["ONNX"]


def unknown_recipe(tiny: Path, here: Path) -> Any:
    return _build(tiny / "model.tflite", "--recipe", "int7"), "unknown-recipe", ["did you mean 'int"]


def recipe_the_target_does_not_run(tiny: Path, here: Path) -> Any:
    words = ["build", tiny / "model.tflite", "--target", "coral", "--recipe", "fp16"]
    return words, "recipe-not-accepted", ["coral-dev-board does not run weight_fp16", "--recipe int8"]


def a_variant_for_the_governor_that_nothing_makes(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text("governor: {variant: dynamci_wi8_afp32}\n")
    words = _build(tiny / "model.tflite", "--ladder", "--recipe", "dynamic", "--recipe", "fp32")
    return words, "unknown-variant", ["for host", "float_fp32", "governor: {variant: dynamic_wi8_afp32}"]


def the_same_in_a_band_of_the_battery_in_a_dry_run(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text("governor: {battery: [{below_percent: 20, variant: int8}]}\n")
    words = ["compress", tiny / "model.tflite", "--target", "host", "--recipe", "fp32", "--dry-run"]
    return words, "unknown-variant", ["governor.battery", "variant 'int8'", "float_fp32"]


def no_calibration_where_it_is_needed(tiny: Path, here: Path) -> Any:
    words = ["build", tiny / "model.tflite", "--target", "coral"]
    return words, "calibration-missing", ["--calibration DATA.npz"]


def missing_data(tiny: Path, here: Path) -> Any:
    return _build(tiny / "model.tflite", "--calibration", "gone.npz"), "dataset-not-found", ["gone.npz"]


def data_of_unknown_form(tiny: Path, here: Path) -> Any:
    (here / "data.txt").write_text("1,2,3\n")
    return _build(tiny / "model.tflite", "--calibration", "data.txt"), "dataset-unknown-form", [".npz"]


def nan_in_calibration(tiny: Path, here: Path) -> Any:
    x = np.load(tiny / "calibration.npz")["x"].astype(np.float32)
    x[7].flat[3] = np.nan
    np.savez(here / "nan.npz", x=x)
    return _build(tiny / "model.tflite", "--calibration", "nan.npz"), "dataset-not-finite", ["sample 7"]


def zero_samples(tiny: Path, here: Path) -> Any:
    x = np.load(tiny / "calibration.npz")["x"]
    np.savez(here / "none.npz", x=x[:0])
    return _build(tiny / "model.tflite", "--calibration", "none.npz"), "dataset-empty", ["none.npz"]


def samples_that_are_all_zero(tiny: Path, here: Path) -> Any:
    x = np.load(tiny / "calibration.npz")["x"]
    np.savez(here / "zeros.npz", x=np.zeros_like(x))
    return _build(tiny / "model.tflite", "--calibration", "zeros.npz"), "calibration-constant", ["zeros"]


def samples_of_the_wrong_shape(tiny: Path, here: Path) -> Any:
    np.savez(here / "wide.npz", x=np.random.default_rng(1).random((40, 9, 5), dtype=np.float32))
    return _build(tiny / "model.tflite", "--calibration", "wide.npz"), "dataset-wrong-shape", ["[9, 5]"]


def wrong_key_in_data(tiny: Path, here: Path) -> Any:
    np.savez(here / "keys.npz", images=np.zeros((4, 2)), labels=np.zeros(4))
    return _build(tiny / "model.tflite", "--calibration", "keys.npz"), "dataset-keys", ["images, labels"]


def fewer_labels_than_samples(tiny: Path, here: Path) -> Any:
    x = np.load(tiny / "calibration.npz")["x"]
    np.savez(here / "less.npz", x=x, y=np.zeros(3, int))
    return _build(tiny / "model.tflite", "--eval", "less.npz"), "dataset-labels", ["3 labels"]


def pickled_data(tiny: Path, here: Path) -> Any:
    np.save(here / "objects.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    return _build(tiny / "model.tflite", "--calibration", "objects.npy"), "dataset-pickled", ["objects.npy"]


def callable_that_fails(tiny: Path, here: Path) -> Any:
    (here / "mine.py").write_text("def samples():\n    yield 1 / 0\n")
    words = _build(tiny / "model.tflite", "--calibration", "mine:samples")
    return words, "dataset-callable-failed", ["ZeroDivisionError", "mine"]


def more_labels_than_outputs(tiny: Path, here: Path) -> Any:
    (here / "labels.txt").write_text("\n".join("abcdefg"))
    return _build(tiny / "model.tflite", "--labels", "labels.txt"), "labels-count", ["7 labels", "4 outputs"]


def labels_that_are_not_there(tiny: Path, here: Path) -> Any:
    return _build(tiny / "model.tflite", "--labels", "gone.txt"), "labels-not-readable", ["gone.txt"]


def typo_in_settings(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text("targets: [host]\ngoals:\n  acuracy: {max_drop: 1}\n")
    return (
        ["build", tiny / "model.tflite"],
        "invalid-project",
        ["goals.acuracy", "did you mean 'accuracy'?", "line 3"],
    )


def a_body_limit_that_holds_no_request(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text("service: {limits: {body_bytes: 100}}\n")
    return (
        _build(tiny / "model.tflite"),
        "body-limit",
        ["service.limits.body_bytes: 100 is too small", "at least", "hint: remove body_bytes"],
    )


def settings_that_are_no_yaml(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text("targets: [host\napp: x\n")
    return ["build", tiny / "model.tflite"], "project-syntax", ["edgeship.yaml", "line"]


def typo_in_a_target(tiny: Path, here: Path) -> Any:
    (here / "board.yaml").write_text(
        "name: board\ntitle: Board\nsummary: A board.\nextends: aarch64-linux\nruntime: {engin: litert}\n"
    )
    return (
        ["target", "check", "board.yaml"],
        "invalid-target-profile",
        ["runtime.engin", "did you mean 'engine'?"],
    )


def no_such_metric(tiny: Path, here: Path) -> Any:
    words = _build(tiny / "model.tflite", "--metric", "top2")
    return words, "invalid-project", ["top1, top5", "'top2'"]


def a_goal_that_is_no_number(tiny: Path, here: Path) -> Any:
    return (
        _build(tiny / "model.tflite", "--max-drop", "little"),
        "bad-usage",
        ["'little' is not a valid float"],
    )


def listen_that_is_no_address(tiny: Path, here: Path) -> Any:
    words = _build(tiny / "model.tflite", "--listen", "everywhere")
    return words, "invalid-project", ["ADDRESS:PORT or unix:PATH"]


def no_host(tiny: Path, here: Path) -> Any:
    return ["deploy", tiny / "model.tflite", "--target", "host"], "no-host", ["--host user@host"]


def host_that_is_no_host(tiny: Path, here: Path) -> Any:
    words = ["deploy", tiny / "model.tflite", "--target", "host", "--host", "pi@@board"]
    return words, "bad-host", ["pi@@board"]


def root_that_units_and_cron_cannot_hold(tiny: Path, here: Path) -> Any:
    words = ["status", "--host", "pi@board", "--root", "/srv/a b%c"]
    return words, "invalid-project", ["--root: device.root: expected a path of letters", "'/srv/a b%c'"]


def unsigned_where_only_signed_releases_go(tiny: Path, here: Path) -> Any:
    words = ["deploy", tiny / "model.tflite", "--target", "host", "--host", "local:dev", "--signed-only"]
    return words, "unsigned", ["--sign-with KEY", "edgeship keys new"]


def fingerprint_that_is_none(tiny: Path, here: Path) -> Any:
    words = ["keys", "revoke", "SHA256:abc", "--host", "local:dev"]
    return words, "bad-fingerprint", ["SHA256: and 43 letters", "edgeship keys show KEY.pub"]


def bundle_that_is_not_there(tiny: Path, here: Path) -> Any:
    return ["deploy", "gone.edgeship", "--host", "local:dev"], "bundle-missing", ["gone.edgeship"]


def bundle_that_is_damaged(tiny: Path, here: Path) -> Any:
    (here / "bad.edgeship").write_bytes(b"\x1f\x8b" + os.urandom(200))
    return ["deploy", "bad.edgeship", "--host", "local:dev"], "bundle-corrupt", ["bad.edgeship"]


def unknown_verb(tiny: Path, here: Path) -> Any:
    return ["delpoy", "x"], "unknown-command", ["hint: edgeship deploy --help"]


def unknown_option(tiny: Path, here: Path) -> Any:
    return ["build", tiny / "model.tflite", "--taget", "host"], "bad-usage", ["--taget"]


def init_over_a_file(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text("app: mine\n")
    return ["init"], "file-exists", ["edgeship init --force"]


def several_targets_for_one_host(tiny: Path, here: Path) -> Any:
    words = ["deploy", tiny / "model.tflite", "-t", "host", "-t", "pi5", "--host", "local:dev"]
    return words, "several-targets", ["host, raspberry-pi-5"]


def several_targets_for_one_host_in_a_dry_run(tiny: Path, here: Path) -> Any:
    words, reference, parts = several_targets_for_one_host(tiny, here)
    return [*words, "--dry-run"], reference, parts


def labels_the_model_does_not_have(tiny: Path, here: Path) -> Any:
    x = np.load(tiny / "calibration.npz")["x"]
    np.savez(here / "many.npz", x=x, y=np.arange(len(x)))
    words = _build(tiny / "model.tflite", "--recipe", "fp32", "--eval", "many.npz")
    return words, "labels-range", ["sample 4", "4", "0 to 3"]


def an_accuracy_gate_without_labels(tiny: Path, here: Path) -> Any:
    words = _build(tiny / "model.tflite", "--recipe", "fp32", "--max-drop", "1")
    return words, "gate-without-data", ["--eval"]


def an_accuracy_gate_on_unlabelled_data(tiny: Path, here: Path) -> Any:
    words = _build(
        tiny / "model.tflite", "--recipe", "fp32", "--eval", tiny / "calibration.npz", "--max-drop", "1"
    )
    return words, "gate-without-data", ["no labels"]


def a_metric_of_ones_own_that_is_not_there(tiny: Path, here: Path) -> Any:
    words = _build(tiny / "model.tflite", "--eval", tiny / "eval.npz", "--metric", "nowhere:f1")
    return words, "metric-own-not-found", ["No module named 'nowhere'", str(here)]


def a_limit_on_a_metric_that_does_not_say_which_way_is_better(tiny: Path, here: Path) -> Any:
    (here / "errors_of_mine.py").write_text("def rmse(outputs, labels):\n    return 0.5\n")
    words = _build(
        tiny / "model.tflite",
        "--eval",
        tiny / "eval.npz",
        "--metric",
        "errors_of_mine:rmse",
        "--max-drop",
        "1",
    )
    return words, "metric-own-direction", ["errors_of_mine.py:  rmse.higher_is_better = False"]


def an_output_that_is_not_there(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text(
        "targets: [host]\nrecipes: [fp32]\ngoals: {accuracy: {output: probs}}\n"
    )
    return ["build", tiny / "model.tflite"], "output-unknown", ["'probs'", "accuracy: {output: y}"]


def a_limit_where_labels_fit_several_outputs(tiny: Path, here: Path) -> Any:
    words = _build(tiny / "two.tflite", "--recipe", "fp32", "--eval", tiny / "eval.npz", "--max-drop", "1")
    return (
        words,
        "output-unclear",
        ["fit 2 of the model's outputs 'c' [1, 1, 8], 'y' [4]", "accuracy: {output: c}"],
    )


def folders_that_are_not_called_as_the_labels(tiny: Path, here: Path) -> Any:
    _folders(here, "cat", "dog")
    (here / "labels.txt").write_text("Cat\nDog\nEmu\nFox\n")
    words = _build(tiny / "model.tflite", "--eval", "pictures", "--labels", "labels.txt")
    return words, "dataset-classes", ["cat, dog", "Cat, Dog, Emu, Fox"]


def fewer_folders_than_classes(tiny: Path, here: Path) -> Any:
    _folders(here, "cat", "dog")
    return _build(tiny / "model.tflite", "--eval", "pictures"), "labels-missing", ["2 folders", "4 outputs"]


def pictures_of_several_sizes(tiny: Path, here: Path) -> Any:
    _folders(here, "cat", "dog")
    Image.new("RGB", (9, 8)).save(here / "pictures" / "cat" / "wide.png")
    words = _build(tiny / "model.tflite", "--eval", "pictures")
    return words, "dataset-shapes-differ", ["resize: {height: 8, width: 8}"]


def _folders(here: Path, *names: str) -> None:
    for name in names:
        (here / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (1, 2, 3)).save(here / "pictures" / name / "0.png")


def a_scale_of_zero(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text("targets: [host]\npreprocess: {scale: 0}\n")
    return ["build", tiny / "model.tflite"], "invalid-project", ["preprocess", "scale is 0"]


def a_mean_for_other_channels(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text(
        "targets: [host]\nrecipes: [fp32]\npreprocess: {mean: [1, 2, 3, 4, 5]}\n"
    )
    return ["build", tiny / "model.tflite"], "preprocess-channels", ["5 values", "3 channels"]


def several_hosts_for_one_question(tiny: Path, here: Path) -> Any:
    return ["remove", "--host", "local:a", "--host", "local:b"], "several-hosts", ["2 devices are named"]


def a_cache_that_cannot_be_written(tiny: Path, here: Path) -> Any:
    os.environ["EDGESHIP_CACHE"] = "/proc/nowhere/cache"  # the fixture sets it anew for every test
    return _build(tiny / "model.tflite", "--recipe", "fp32"), "cannot-write", ["EDGESHIP_CACHE=DIR"]


def a_packed_model_to_inspect(tiny: Path, here: Path) -> Any:
    (here / "model.tflite.gz").write_bytes(gzip.compress((tiny / "model.tflite").read_bytes()))
    return ["inspect", "model.tflite.gz"], "model-foreign", ["packed with gzip", "gunzip -c"]


def a_packed_model_to_deploy(tiny: Path, here: Path) -> Any:
    with tarfile.open(here / "model.tar.gz", "w:gz") as archive:
        archive.add(tiny / "model.tflite", "model.tflite")
    words = ["deploy", "model.tar.gz", "--host", "local:d", "--target", "host", "--recipe", "fp32"]
    return words, "model-foreign", ["a packed archive", "tar xf"]


def a_version_that_is_no_name(tiny: Path, here: Path) -> Any:
    (here / "edgeship.yaml").write_text("version: '2026/11'\n")
    words = ["deploy", tiny / "model.tflite", "--target", "host", "--host", "local:d"]
    return words, "invalid-project", ["version: expected up to 64 letters, digits", "edgeship.yaml", "line 1"]


def a_key_where_none_can_be(tiny: Path, here: Path) -> Any:
    return ["keys", "new", "--no-passphrase", "-o", "/proc/x/k"], "cannot-write", ["/proc/x", "--out FILE"]


def a_url_to_deploy_to(tiny: Path, here: Path) -> Any:
    words = ["deploy", tiny / "model.tflite", "--target", "host", "--host", "ssh://pi@10.0.0.7/"]
    return words, "bad-host", ["a URL", "hint: --host pi@10.0.0.7"]


def a_path_to_tell_keys(tiny: Path, here: Path) -> Any:
    return ["keys", "show", "--host", "/tmp/device"], "bad-host", ["a path", "hint: --host local:/tmp/device"]


LONG = "x" * 300
"""A name that no file system takes: asking whether there is such a file fails, as below a closed folder."""


def a_model_nobody_can_look_at(tiny: Path, here: Path) -> Any:
    return ["inspect", f"{LONG}.tflite"], "model-unreadable", ["File name too long", "ls -l"]


def a_model_to_deploy_nobody_can_look_at(tiny: Path, here: Path) -> Any:
    words = ["deploy", f"{LONG}.tflite", "--target", "host", "--host", "local:d"]
    return words, "model-unreadable", ["File name too long"]


def a_bundle_nobody_can_look_at(tiny: Path, here: Path) -> Any:
    return ["inspect", f"{LONG}.edgeship"], "bundle-missing", ["cannot be read: File name too long"]


def settings_nobody_can_look_at(tiny: Path, here: Path) -> Any:
    return ["status", "--host", "local:d", "-c", LONG], "project-not-readable", ["File name too long"]


def data_nobody_can_look_at(tiny: Path, here: Path) -> Any:
    words = _build(tiny / "model.tflite", "--calibration", f"{LONG}.npz")
    return words, "dataset-not-found", ["can be read: File name too long"]


def a_key_nobody_can_look_at(tiny: Path, here: Path) -> Any:
    return ["keys", "show", f"{LONG}.pub"], "not-a-key", ["cannot be read: File name too long"]


def a_file_to_write_nobody_can_look_at(tiny: Path, here: Path) -> Any:
    return ["init", "-o", f"{LONG}.yaml"], "cannot-write", ["File name too long"]


def nothing_to_inspect(tiny: Path, here: Path) -> Any:
    return ["inspect", "gone.tflite"], "model-not-found", ["gone.tflite"]


CASES: list[Case] = [
    value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and not name.startswith(("_", "test"))
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_wrong_input(case: Case, tiny: Path, edgeship: Any, tmp_path: Path, valid: Any) -> None:
    words, reference, parts = case(tiny, tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    said = edgeship(*words)
    assert said.err.splitlines(), said
    text = said.err[said.err.index("error: ") :]
    assert text.startswith(f"error: {reference}\n"), said.err
    for part in parts:
        assert part in text, text
    assert "Traceback" not in said.err + said.out
    assert said.status == 2, said
    assert said.out == ""
    after = sorted(p.name for p in tmp_path.iterdir())
    assert after == before, "bad input left something behind"


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 25


def test_an_error_is_one_json_document(edgeship: Any, valid: Any) -> None:
    said = edgeship("build", "gone.keras", "--target", "host", "--json")
    assert said.status == 2
    valid("error", said.document())
    assert said.document()["reference"] == "model-not-found"


def test_output_folder_that_cannot_be_written(edgeship: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file stands where the folder should be")
    said = edgeship("build", tiny / "model.tflite", "--target", "host", "--recipe", "fp32", "-o", "out")
    assert said.status == 2, said
    assert "error: cannot-write" in said.err
    assert (tmp_path / "out").read_text().startswith("a file")


def test_host_that_is_down(edgeship: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    said = edgeship("status", "--host", f"pi@127.0.0.1:{port}")
    assert said.status == 1
    assert "error: connection-refused" in said.err
    assert "hint: " in said.err
