"""Names of classes: numbers that only count them go, others stay; a model's own metadata names them by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.project import load_project
from edgeship.project.labels import name_in, without_numbers


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["0 Flask", "1 Cup"], ["Flask", "Cup"]),
        (["1 Flask", "2 Cup"], ["Flask", "Cup"]),
        (["0  background", "1  tench, Tinca tinca"], ["background", "tench, Tinca tinca"]),
        (["0: person", "1: car"], ["person", "car"]),
        (["0,person", "1,car"], ["person", "car"]),
        (["0\tperson", "1\tcar"], ["person", "car"]),
        (["0) person", "1) car"], ["person", "car"]),
        (["00 zero", "01 one"], ["zero", "one"]),
        ([f"{n} class {n}" for n in range(12)], [f"class {n}" for n in range(12)]),
        (["0 Flask", "2 Cup"], ["0 Flask", "2 Cup"]),
        (["0 Flask", "Cup"], ["0 Flask", "Cup"]),
        (["2 Flask", "3 Cup"], ["2 Flask", "3 Cup"]),
        (["1 euro", "2 euro"], ["1 euro", "2 euro"]),
        (["0", "1", "2"], ["0", "1", "2"]),
        (["0 Flask"], ["0 Flask"]),
        (["3d", "4d"], ["3d", "4d"]),
        ([], []),
    ],
)
def test_numbers_go_where_they_only_count(written: list[str], meant: list[str]) -> None:
    assert without_numbers(written) == tuple(meant)


def test_a_labels_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeff0 Flask\r\n1 Cup\r\n\r\n".encode())
    (tmp_path / "edgeship.yaml").write_text("labels: labels.txt\n")
    assert load_project(directory=tmp_path).read_labels() == ("Flask", "Cup")


def test_folders_are_found_with_and_without_the_number() -> None:
    assert [name_in(f, ["Flask", "Cup"]) for f in ("Flask", "0 Flask", "1 Mug")] == [
        "Flask",
        "Flask",
        "1 Mug",
    ]
