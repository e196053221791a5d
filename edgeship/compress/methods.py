"""The methods as data: one row says how a step is written, what it may be told and which function does it.

Adding a method is adding a module and a row to ROWS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeship.compress.options import BY, GIVEN, MULTIPLE, OF, PERCENT, REPAIR, Option, training
from edgeship.compress.rewriting.rules import WORDS
from edgeship.errors import InputError
from edgeship.registry import did_you_mean
from edgeship.values import Setting, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A method."""

    name: str
    about: str
    """What it does and what it cannot do, in a line."""
    function: str
    """`package.module:function` of a Work that returns an Outcome; runs in a worker."""
    options: tuple[Option, ...] = ()
    """The first one is what stands behind the name in a label."""
    needs: Literal["nothing", "samples"] = "nothing"
    """`samples`: real inputs, of the training data where there is some, else of the calibration; no labels."""
    ranges: bool = False
    """Whether it is told the ranges of activations."""
    tool: str = ""
    """A tool with an environment of its own that its worker imports (`edgeship toolchain list`)."""
    measured: bool = False
    """Whether the pipeline measures first what operations lose (`edgeship/pipeline/sensitivity.py`); such a step is a
    chain's last."""
    structural: bool = False
    """Whether it changes shapes: it cannot follow a step whose zeros or shared values it would take apart."""


ROWS: tuple[Row, ...] = (
    Row(
        name="rewrite",
        about="fewer operations that compute the same, each change proven on samples; nothing is trained",
        function="edgeship.compress.rewrites:apply",
        options=(Option(name="which", default="all", words=WORDS, about="of the rewrites"),),
        needs="samples",
        structural=True,
    ),
    Row(
        name="channels",
        about="the least important channels leave the model: smaller file, less time; train afterwards",
        function="edgeship.compress.channels:apply",
        options=(
            Option(name="percent", default=30.0, least=1, most=95, about="how much goes"),
            OF,
            Option(
                name="layers",
                default="even",
                words=("even", "global"),
                about="the same share of every layer, or from where it costs least",
            ),
            BY,
            Option(
                name="least",
                default=10.0,
                least=0,
                most=100,
                about="percent of a tensor's channels that stay",
            ),
            MULTIPLE,
            REPAIR,
        ),
        structural=True,
    ),
    Row(
        name="student-width",
        about="every layer narrower by the same share; begins with the most important channels; train afterwards",
        function="edgeship.compress.student:width",
        options=(
            Option(name="percent", default=50.0, least=1, most=99, about="how much stays"),
            Option(
                name="of",
                default="width",
                words=("width", "parameters"),
                about="of what: channels of every layer, or parameters of the model",
            ),
            BY,
            MULTIPLE,
            REPAIR,
        ),
        structural=True,
    ),
    Row(
        name="student-depth",
        about="blocks left out whose result has the shape of what goes in; train afterwards",
        function="edgeship.compress.student:depth",
        options=(Option(name="blocks", default=1, least=1, most=1000, about="how many"), REPAIR),
        structural=True,
    ),
    Row(
        name="low-rank",
        about="large layers split into two small ones; smaller file, less time; train afterwards",
        function="edgeship.compress.low_rank:apply",
        options=(
            Option(name="percent", default=40.0, least=1, most=95, about="how much goes"),
            Option(
                name="of",
                default="parameters",
                words=("parameters", "macs"),
                about="of what: parameters or multiply-adds of the model",
            ),
        ),
        structural=True,
    ),
    Row(
        name="student",
        about="a smaller model of your own (.keras, .h5, or module:callable that builds one) learns the answers",
        function="edgeship.compress.own_student:apply",
        options=(
            Option(name="model", default="", about="file, or module:callable"),
            *training(2e-3, epochs=30),
        ),
        needs="samples",
        structural=True,
    ),
    Row(
        name="prune",
        about="smallest weights become zero; a smaller download, the same file size and time",
        function="edgeship.compress.prune:apply",
        options=(PERCENT, *training(0.0), GIVEN),
        needs="samples",
    ),
    Row(
        name="tfmot-prune",
        about="as prune, done by tensorflow-model-optimization on a tf_keras model (.h5) with labels: to compare",
        function="edgeship.compress.tfmot:prune",
        options=(
            PERCENT,
            Option(name="epochs", default=12, least=1, most=10_000, about="passes over the training data"),
            Option(name="batch", default=64, least=1, most=4096, about="samples a step"),
            Option(name="rate", default=5e-4, least=1e-7, most=1.0, about="learning rate of Adam"),
        ),
        needs="samples",
        tool="tfmot",
    ),
    Row(
        name="prune-2x4",
        about="two of every four weights become zero, for hardware that skips them; elsewhere as prune-50",
        function="edgeship.compress.prune:apply",
        options=(*training(0.0), GIVEN),
        needs="samples",
    ),
    Row(
        name="prune-blocks",
        about="runs of four weights become zero together",
        function="edgeship.compress.prune:apply",
        options=(PERCENT, *training(0.0), GIVEN),
        needs="samples",
    ),
    Row(
        name="cluster",
        about="every weight of a tensor is one of so many values; a smaller download, the same file size and time",
        function="edgeship.compress.cluster:apply",
        options=(
            Option(name="count", default=16, least=2, most=256, about="distinct values a tensor"),
            Option(
                name="share",
                default="model",
                words=("model", "tensor"),
                about="one set of values for all tensors, which packs best, or one for each",
            ),
            *training(3e-4),
            GIVEN,
        ),
        needs="samples",
        ranges=True,
    ),
    Row(
        name="qat",
        about="trained with the rounding of the integers that run: int8, int4 (weights), int16x8",
        function="edgeship.compress.qat:apply",
        options=(
            Option(
                name="precision", default="int8", words=("int8", "int4", "int16x8"), about="of the integers"
            ),
            *training(3e-4),
            GIVEN,
        ),
        needs="samples",
        ranges=True,
    ),
    Row(
        name="equalise",
        about="channels of unlike size between two layers made alike; answers stay, one scale fits them all",
        function="edgeship.compress.equalise:apply",
    ),
    Row(
        name="round",
        about="weights on the integers that change what layers compute least, by real inputs; no labels, seconds",
        function="edgeship.compress.rounding:apply",
        options=(
            Option(name="precision", default="int8", words=("int8", "int4"), about="of the weights"),
            Option(name="samples", default=1000, least=8, most=1_000_000, about="inputs that are looked at"),
            GIVEN,
        ),
        needs="samples",
    ),
    Row(
        name="mixed",
        about="operations that lose most (or name them, layers=conv1:conv2) at another precision; costs time and bytes",
        function="edgeship.compress.mixed:apply",
        options=(
            Option(
                name="other",
                default="float",
                words=("float", "int16x8", "int8", "int4"),
                about="the precision: float, int16x8 and int4 in an int8 file, int8 in an int4 file",
            ),
            Option(
                name="layers", default="auto", about="auto, how many, or names as `edgeship explain` tells"
            ),
            Option(
                name="decibels",
                default=6.0,
                least=0.1,
                most=100,
                about="signal over noise that is to come back; of int4: that it may cost",
            ),
        ),
        needs="samples",
        measured=True,
    ),
    Row(
        name="distill",
        about="a smaller model learns the answers of the float model",
        function="edgeship.compress.distill:apply",
        options=(*training(1e-3), GIVEN),
        needs="samples",
    ),
    Row(
        name="finetune",
        about="trained as long, and not compressed: the control",
        function="edgeship.compress.distill:apply",
        options=(*training(5e-4), GIVEN),
        needs="samples",
    ),
)


def rows_by_name(rows: Sequence[Row] = ROWS) -> Mapping[str, Row]:
    """Return the rows by the names of their methods."""
    return {row.name: row for row in rows}


def step_of(label: str, *, seed: int = 0, rows: Sequence[Row] = ROWS) -> Step:
    """Return the step that a label says: `METHOD`, `METHOD-VALUE`, and further settings as `,key=value`.

    `prune-80`, `prune-2x4`, `qat-int4,epochs=6,rate=0.0005`. Raises InputError `unknown-method`, `bad-setting`.
    """
    head, *rest = label.split(",")
    named = rows_by_name(rows)
    name = next(
        (n for n in sorted(named, key=len, reverse=True) if head == n or head.startswith(n + "-")), None
    )
    if name is None:
        likely = did_you_mean(head.split("-")[0], named)
        raise InputError(
            "unknown-method",
            f"'{label}' is no method",
            context={"known": ", ".join(named)},
            hint=f"--method {likely}" if likely else "edgeship compress --help lists them",
        )
    row = named[name]
    given: dict[str, str] = {}
    if head != name:
        if not row.options:
            raise _bad(label, row, f"{name} takes no value")
        given[row.options[0].name] = head[len(name) + 1 :]
    for text in rest:
        key, equals, value = text.partition("=")
        if not equals or key not in {option.name for option in row.options}:
            raise _bad(label, row, f"'{text}' is no setting of {name}")
        given[key] = value
    said = {option: _setting(label, row, option, given.get(option.name)) for option in row.options}
    settings = tuple(
        sorted(
            (option.name, value)
            for option, value in said.items()
            if not option.silent or value != option.default
        )
    )
    return Step(label=label, method=name, settings=settings, seed=seed)


def _setting(label: str, row: Row, option: Option, text: str | None) -> Setting:
    if text is None:
        return option.default
    if isinstance(option.default, str) and (text in option.words or option.least is None):
        if option.words and text not in option.words:
            raise _bad(label, row, f"{option.name} is {', '.join(option.words)}, not '{text}'")
        return text
    if isinstance(option.default, bool):
        if text not in ("yes", "no"):
            raise _bad(label, row, f"{option.name} is yes or no, not '{text}'")
        return text == "yes"
    whole = isinstance(option.default, int) and not isinstance(option.default, bool)
    if not re.fullmatch(r"\d+" if whole else r"\d+(\.\d+)?(e-?\d+)?", text):
        raise _bad(label, row, f"{option.name} is a {'whole ' if whole else ''}number, not '{text}'")
    value = int(text) if whole else float(text)
    if (option.least is not None and value < option.least) or (
        option.most is not None and value > option.most
    ):
        raise _bad(label, row, f"{option.name} is {option.least:g} to {option.most:g}, not {text}")
    return value


def _bad(label: str, row: Row, why: str) -> InputError:
    known = ", ".join(f"{option.name}={_said(option.default)}" for option in row.options)
    example = row.name + (f"-{_said(row.options[0].default)}" if row.options else "")
    return InputError(
        "bad-setting",
        f"--method {label}: {why}",
        context={"settings": known or "(none)"},
        hint=f"--method {example}",
    )


def _said(value: Setting) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value}"
