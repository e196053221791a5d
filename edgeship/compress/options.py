"""Settings that several methods have, as data."""

from __future__ import annotations

from dataclasses import dataclass

from edgeship.values import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting of a method, as it stands in a label: `prune-80` gives its first one, `key=value` any other."""

    name: str
    default: Setting
    least: float | None = None
    most: float | None = None
    words: tuple[str, ...] = ()
    """What a text may be; empty: any."""
    silent: bool = False
    """Whether a step holds it only where it is another than `default`: steps keep the identity they had before it."""
    about: str = ""


GIVEN = Option(
    name="given",
    default="keep",
    words=("keep", "free"),
    silent=True,
    about="zeros and shared values that the model came with",
)


def training(rate: float, epochs: int = 12) -> tuple[Option, ...]:
    """Return the settings that every method that trains has."""
    return (
        Option(name="epochs", default=epochs, least=0, most=10_000, about="passes over the training data"),
        Option(
            name="steps", default=2000, least=1, most=1e7, about="steps at least, where there are few samples"
        ),
        Option(name="batch", default=64, least=1, most=4096, about="samples a step"),
        Option(
            name="rate",
            default=rate,
            least=1e-7 if rate else 0.0,
            most=1.0,
            about="learning rate of Adam, falling along a cosine"
            + ("" if rate else "; 0: found by short tries"),
        ),
        Option(
            name="augment",
            default="auto",
            words=("auto", "none", "shift", "flip", "mix"),
            about="more samples from the same: pictures moved, mirrored, blended",
        ),
        Option(
            name="labels",
            default="auto",
            words=("auto",),
            least=0.0,
            most=1.0,
            about="share of the loss that is of labels; auto: some, where there are some",
        ),
        Option(
            name="temperature", default=2.0, least=0.1, most=100.0, about="softens answers that are compared"
        ),
        Option(name="loss", default="auto", about="module:callable of (outputs, teacher, labels)"),
    )


PERCENT = Option(name="percent", default=50, least=1, most=98, about="weights that become zero, percent")

OF = Option(
    name="of",
    default="channels",
    words=("channels", "macs", "parameters"),
    about="of what the percentage is: channels that can go, multiply-adds or parameters of the model",
)
BY = Option(
    name="by",
    default="outputs",
    words=("outputs", "weights"),
    about="what matters: a channel's share in what layers make of samples, or the size of its weights",
)
MULTIPLE = Option(
    name="multiple", default=1, least=1, most=64, about="numbers of channels are multiples of this"
)
REPAIR = Option(
    name="repair", default=True, about="fit what is left to what the whole model computes on samples"
)
