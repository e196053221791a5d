"""Graph rewrites as a step (`rewrite`, `rewrite-layers`): fewer operations that compute the same, proven on samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeship.compress.rewriting.proof import Difference, Proof
from edgeship.compress.rewriting.rules import Rule, rules_of
from edgeship.compress.surgery import counted
from edgeship.compress.work import Outcome, Work
from edgeship.tflite.draft import Draft
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.refit import cannot_be_moved

ROUNDS = 16
"""Passes over all rules at most; one pass makes place for another, and the last one finds nothing."""
NAMED = 3
"""Operations that a note names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a rule did in one pass, or what it was not allowed to do."""

    rule: Rule
    sites: tuple[str, ...]
    """Names of what the operations made that it was about."""
    difference: Difference
    """How far the file is from the one that everything began with, after it."""
    kept: bool
    """Whether the file is as it left it; else it differs by more than rounding, and was undone."""


def apply(work: Work) -> Outcome:
    """Do the rewrites of the setting `which` until none finds anything more.

    Each is compared on samples with the model as it was; where the outputs differ by more than float rounding, the
    operations that are to blame are left as they were, and named in a note.
    """
    file = _read(work.content)
    if cannot_be_moved(file):
        note = "nothing was rewritten: constants stand behind the end of the file, or metadata numbers its operations"
        return Outcome(content=work.content, notes=(note,))
    try:
        proof = Proof(work.content, work.samples, work.step.seed)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        note = f"nothing was rewritten, as nothing can be proven: LiteRT does not run the model ({reason})"
        return Outcome(content=work.content, notes=(note,))
    content, changes = rewritten(work.content, rules_of(work.step.setting("which")), proof)
    return told(file, content, changes)


def rewritten(content: bytes, rules: Sequence[Rule], proof: Proof) -> tuple[bytes, tuple[Change, ...]]:
    """Return the file after all rules, and what they did, in order."""
    changes: list[Change] = []
    skipped: dict[str, set[str]] = {rule.name: set() for rule in rules}
    for _ in range(ROUNDS):
        before = content
        for rule in rules:
            content, done = once(content, rule, proof, skipped[rule.name])
            changes += done
            skipped[rule.name].update(site for c in done if not c.kept for site in c.sites)
        if content == before:
            break
    return content, tuple(changes)


def once(
    content: bytes, rule: Rule, proof: Proof, skipped: Collection[str] = ()
) -> tuple[bytes, list[Change]]:
    """Return the file after one pass of a rule, and what was done and undone."""
    new, sites = _tried(content, rule, skipped=skipped)
    if not sites:
        return content, []
    difference = proof.difference(new)
    if difference.equal:
        return new, [Change(rule=rule, sites=sites, difference=difference, kept=True)]
    changes, blamed = [], set()
    for site in dict.fromkeys(sites):
        alone, done = _tried(content, rule, only={site})
        apart = proof.difference(alone)
        if done and not apart.equal:
            blamed.add(site)
            changes.append(Change(rule=rule, sites=(site,), difference=apart, kept=False))
    new, left = _tried(content, rule, skipped={*skipped, *blamed})
    difference = proof.difference(new)
    if left and not difference.equal:
        return content, [*changes, Change(rule=rule, sites=left, difference=difference, kept=False)]
    return new, [
        *changes,
        *([Change(rule=rule, sites=left, difference=difference, kept=True)] if left else []),
    ]


def _tried(
    content: bytes, rule: Rule, *, skipped: Collection[str] = (), only: Collection[str] | None = None
) -> tuple[bytes, tuple[str, ...]]:
    draft = Draft(content, skipped=skipped, only=only)
    rule.run(draft)
    return draft.packed(), tuple(draft.done)


def told(file: TfliteFile, content: bytes, changes: Sequence[Change]) -> Outcome:
    """Return the outcome: what was counted before and after, and a sentence a rule."""
    before, after = counted(file.content), counted(content)
    kept = [change for change in changes if change.kept]
    counts = Counter({change.rule.name: 0 for change in changes})
    for change in kept:
        counts[change.rule.name] += len(change.sites)
    figures = {f"rewritten_{name}": float(count) for name, count in counts.items()} | {
        "operations_before": float(len(file.main.operators)),
        "operations_after": float(len(_read(content).main.operators)),
        "parameters_before": float(before[0]),
        "parameters_after": float(after[0]),
        "macs_before": float(before[1]),
        "macs_after": float(after[1]),
        "difference": max((change.difference.largest for change in kept), default=0.0),
    }
    notes = [
        _kept(rule, [change for change in kept if change.rule is rule])
        for rule in dict.fromkeys(change.rule for change in kept)
    ]
    notes += [
        f"undone at {_names(c.sites)}: {c.rule.about}; {_apart(c.difference)}" for c in changes if not c.kept
    ]
    return Outcome(content=content, figures=figures, notes=tuple(notes or ["nothing was found to rewrite"]))


def _kept(rule: Rule, changes: Sequence[Change]) -> str:
    sites = [site for change in changes for site in change.sites]
    far = max(change.difference.largest for change in changes)
    equal = "equal to the bit" if far == 0 else f"outputs differ by at most {far:.2g}"
    operations = "operation" if len(sites) == 1 else "operations"
    return f"{len(sites)} {operations} {rule.about} ({_names(sites)}); {equal}"


def _apart(difference: Difference) -> str:
    if math.isinf(difference.largest):
        return "outputs would be no numbers, or other whole ones, or none"
    return f"outputs would differ by {difference.largest:.2g}"


def _names(sites: Sequence[str]) -> str:
    unique = list(dict.fromkeys(sites))
    more = f" and {len(unique) - NAMED} more" if len(unique) > NAMED else ""
    return ", ".join(unique[:NAMED]) + more


def _read(content: bytes) -> TfliteFile:
    return parse(Path("model.tflite"), content, "")
