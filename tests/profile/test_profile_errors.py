"""Wrong profiles, and the text that a person reads then."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.errors import InputError
from edgeship.profile import load_profile


def rendered(path: Path | str, *folders: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_profile(str(path), folders=list(folders), machine="x86_64")
    assert caught.value.exit_code == 2
    return caught.value.render()


def test_unknown_key_names_line_and_neighbour(write, shipped: Path) -> None:
    path = write("board", "extends: aarch64\nruntime:\n  engin: litert\nmemory: {ram_mb: 512}\n")
    assert rendered(path, shipped) == (
        "error: invalid-target-profile\n"
        "  targets/board.yaml: runtime.engin: unknown key 'engin'; did you mean 'engine'? (line 6)\n"
        f"hint: edgeship target check {path}"
    )


def test_key_in_the_wrong_section(write, shipped: Path) -> None:
    path = write("board", "extends: aarch64\nram_mb: 512\n")
    text = rendered(path, shipped)
    assert "targets/board.yaml: ram_mb: unknown key 'ram_mb' here; it belongs under 'memory' (line 5)" in text
    assert "targets/board.yaml: memory.ram_mb: this key is required" in text


def test_unknown_key_near_nothing_lists_what_is_known(write, shipped: Path) -> None:
    path = write("board", "extends: aarch64\nmemory: {ram_mb: 512}\nlibc: {zzz: 1}\n")
    assert "libc.zzz: unknown key 'zzz'; known: kind, version, libstdcxx (line 6)" in rendered(path, shipped)


def test_several_problems_at_once_in_the_order_of_lines(write, shipped: Path) -> None:
    path = write(
        "board",
        """\
        extends: aarch64
        python: {versions: [3.10]}
        runtime: {engine: tflight, threads: "2"}
        memory: {ram_mb: -5}
        sensors:
          - {name: heat, kind: temperature, unit: celsius}
        """,
    )
    assert rendered(path, shipped).splitlines() == [
        "error: invalid-target-profile",
        "  5 problems in targets/board.yaml",
        "  targets/board.yaml: python.versions[0]: expected text, found the number 3.1; put it in quotes (line 5)",
        "  targets/board.yaml: runtime.engine: expected 'litert', 'tflite_runtime' or 'tflm', found 'tflight' (line 6)",
        "  targets/board.yaml: runtime.threads: expected a whole number, found '2'; remove the quotes (line 6)",
        "  targets/board.yaml: memory.ram_mb: expected 1 or more, found the number -5 (line 7)",
        "  targets/board.yaml: sensors[0]: a sensor is read from a 'path' or by a 'command': give one of them (line 9)",
        f"hint: edgeship target check {path}",
    ]


def test_a_problem_in_a_base_names_the_base(write, tmp_path: Path) -> None:
    write("ground", "abstract: true\nbatch: {fixed: 0}\n")
    path = write("board", "extends: ground\n")
    text = rendered(path, tmp_path / "targets")
    assert "targets/ground.yaml: batch.fixed: expected 1 or more, found the number 0 (line 5)" in text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "libc: {kind: uclibc}",
            "libc.kind: expected 'glibc', 'musl' or 'none', found 'uclibc'; did you mean 'glibc'?",
        ),
        ("libc: {version: new}", "libc.version: expected a version such as 2.31, in quotes, found 'new'"),
        (
            'python: {versions: ["2.7"]}',
            "python.versions[0]: expected a Python version such as '3.11', in quotes",
        ),
        ("python: {versions: []}", "python.versions: expected a list of 1 or more, found a list of 0"),
        ("runtime: {packages: [num py]}", "expected what pip installs, such as numpy<2, found 'num py'"),
        ("runtime: {preinstalled: yes}", "runtime.preinstalled: expected true or false, found 'yes'"),
        ("runtime: litert", "runtime: expected keys and values, found 'litert'"),
        ("precision: {wants: [int2]}", "precision: wants int2, which accepts does not list"),
        ("tolerances: {min_cosine: 2}", "tolerances.min_cosine: expected 1 or less, found the number 2"),
        ("sensors: [{name: a, kind: load, unit: ratio}]", "a sensor is read from a 'path' or by a 'command'"),
        (
            "sensors: [{name: a, kind: temprature, path: /a, unit: celsius}]",
            "'battery' or 'memory', found 'temprature'; did you mean 'temperature'?",
        ),
        (
            "sensors: [{name: a, kind: power, path: /a, unit: joules}]",
            "sensors[0]: a sensor of kind power is in watts, not in joules",
        ),
        ("sensors: [{name: a, kind: throttle, path: /a, unit: flags}]", "'bits' belong to kind throttle"),
        (
            "sensors: [{name: a, kind: throttle, path: /a, unit: flags, bits: {hot: 32}}]",
            "sensors[0].bits.hot: expected 31 or less, found the number 32",
        ),
        (
            "sensors: [{name: a, kind: power, path: /a, unit: watts, trips: [{at: 1, effect: slower}]}]",
            "'trips' belong to kind temperature, not to power",
        ),
        (
            "sensors: [{name: a, kind: power, command: [x], label: b, unit: watts}]",
            "'times' and 'label' belong to a 'path'",
        ),
        ("sensors: [{name: a, kind: power, path: sys/a, unit: watts}]", "expected a path from the root"),
        (
            'sensors: [{name: a, kind: power, path: "/sys/*/in*_*", unit: watts}]',
            "a name holds one * at most, found 'in*_*'",
        ),
        (
            "sensors: [{name: a, kind: power, command: [x], unit: watts, device: vcio}]",
            "sensors[0].device: expected a device node such as /dev/vcio, found 'vcio'",
        ),
        (
            "sensors: [{name: a, kind: power, path: /a, unit: watts, lable: b}]",
            "sensors[0].lable: unknown key 'lable'; did you mean 'label'?",
        ),
        (
            "power: {idle_watts: 3, busy_watts: 2, basis: b}",
            "power: busy_watts must be more than idle_watts",
        ),
        ("power: {idle_watts: 0, busy_watts: 2, basis: b}", "power.idle_watts: expected more than 0"),
        ("power: {idle_watt: 1}", "power.idle_watt: unknown key 'idle_watt'; did you mean 'idle_watts'?"),
        (
            "sensors: [{name: a, kind: power, path: /a, unit: watts, label: 3}]",
            "sensors[0].label: expected text",
        ),
        ("thermal: {ambient_c: 25, c_per_watt: 2}", "thermal.seconds: this key is required"),
        ("sensors: {name: a}", "sensors: expected a list, found keys and values"),
        ("aliases: [Big]", "aliases[0]: expected lower-case letters, digits and single dashes, found 'Big'"),
        ('service: {groups: ["video,plugdev"]}', "service.groups[0]: expected one name of letters, digits"),
        ("service: {user: 'pi '}", "service.user: expected one name of letters, digits"),
        (
            "runtime: {delegate: ethosu}",
            "runtime: engine litert has no delegate 'ethosu'; it has xnnpack, gpu, none",
        ),
        ("runtime: {engine: tflite_runtime, delegate: gpu}", "engine tflite_runtime has no delegate 'gpu'"),
        ("memory:", "memory: expected keys and values, found nothing"),
    ],
)
def test_wrong_value(write, shipped: Path, text: str, wanted: str) -> None:
    lead = "" if text.startswith("memory") else "memory: {ram_mb: 512}\n"
    path = write("board", f"extends: aarch64\n{lead}{text}\n")
    shown = rendered(path, shipped)
    assert wanted in shown and "targets/board.yaml: " in shown and "(line " in shown


def test_yaml_syntax_error_has_line_and_column(write) -> None:
    path = write("board", "memory: {ram_mb: 512\nlibc: x\n")
    text = rendered(path)
    assert text.startswith("error: target-profile-syntax\n  targets/board.yaml: ")
    assert "(line 5, column" in text


def test_a_key_twice_is_refused(write) -> None:
    text = rendered(write("board", "memory:\n  ram_mb: 512\n  ram_mb: 1024\n"))
    assert "memory.ram_mb: this key stands here twice, first in line 5 (line 6, column 3)" in text


def test_name_must_be_the_files(write, shipped: Path) -> None:
    path = write(
        "board", "name: plank\ntitle: T\nsummary: S\nextends: aarch64\nmemory: {ram_mb: 1}\n", head=False
    )
    assert "name: expected 'board', the file's name, found 'plank' (line 1)" in rendered(path, shipped)


def test_no_such_target_proposes_one(shipped: Path) -> None:
    text = rendered("rasberry-pi-5", shipped)
    assert text.startswith(
        "error: unknown-target\n  unknown target 'rasberry-pi-5'; did you mean 'raspberry-pi-5'?"
    )
    assert "known:     aarch64-linux," in text and "hint: edgeship target show raspberry-pi-5" in text


def test_no_such_file(shipped: Path, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    text = rendered(path, shipped)
    assert text.startswith("error: target-profile-not-readable\n") and "No such file or directory" in text
    assert f"hint: ls -l {path}" in text


def test_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3\xff\xfe")
    assert "this is not UTF-8 text" in rendered(path)


def test_a_base_is_not_a_target(shipped: Path) -> None:
    text = rendered("linux-base", shipped)
    assert text.startswith("error: abstract-target\n  'linux-base' is a base for other targets, not a target")


def test_no_profile_for_this_machine(shipped: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_profile("host", folders=[shipped], machine="riscv64")
    text = caught.value.render()
    assert "extends: nothing is said for this machine, 'riscv64'; known: x86_64, aarch64" in text
