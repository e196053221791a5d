"""The page of a simulation: one HTML file made of the document `edgeship.simulate/1`, and of nothing else."""

from __future__ import annotations

from typing import Any

from edgeship.pages.courses import Course, Strip, courses
from edgeship.pages.figures import number, plain, shown
from edgeship.pages.plots import Bar, Row, rows
from edgeship.pages.template import clean, render_page

WORTH = {
    "accuracy": "accuracy on evaluation data",
    "agreement": "agreement with the float model",
    "order": "not measured, every answer counts as right",
}
ORACLES = {
    "oracle": "the oracle",
    "oracle:budget": "the oracle, within the budget",
    "oracle:cool": "the oracle, never throttled",
}


def simulation_page(document: dict[str, Any]) -> str:
    """Return the page of an `edgeship.simulate/1` document: HTML that asks for nothing from elsewhere and needs no
    scripts. The same document gives the same text, with the same version of matplotlib.
    """
    document = clean(document)
    return render_page(
        "simulation.html.j2",
        {
            "document": document,
            "worth": WORTH.get(document["worth"], document["worth"]),
            "traces": [_shown(document, place, trace) for place, trace in enumerate(document["traces"])],
            "tips": "",
            "plain": plain,
            "shown": shown,
            "number": number,
            "title_of": title_of,
        },
    )


def title_of(trace: dict[str, Any], policy: str) -> str:
    """Return what a policy is called on the page, with what it was best in."""
    best = trace["best_fixed"]
    marked = (("most right", best["answers"]), ("least energy", best["energy"]))
    marks = [word for word, name in marked if name == policy]
    name = ORACLES.get(policy, policy)
    return f"{name} ({', '.join(marks)})" if marks else name


def _shown(document: dict[str, Any], place: int, trace: dict[str, Any]) -> dict[str, Any]:
    """Return a trace with its policies, the one with most right answers first, and its plots."""
    ranked = sorted(trace["policies"], key=lambda row: -row["right_share"])
    own = next((row for row in ranked if row["policy"] == "governor"), None)
    return {
        "trace": trace,
        "ranked": ranked,
        "own": own,
        "best": next((row for row in ranked if row["policy"] == trace["best_fixed"]["answers"]), None),
        "course": _courses(document, place, trace),
        "drawn": [title_of(trace, name) for name in _names(trace)],
        "right": _bars(trace, ranked, f"r{place}", "right_share", 100, "right answers in time, %"),
        "energy": _bars(trace, ranked, f"e{place}", "joules_per_right", 1e3, "energy of a right answer, mJ"),
    }


def _names(trace: dict[str, Any]) -> list[str]:
    """Return the policies whose courses are drawn: the governor, the best fixed rung, the load ladder."""
    wanted = ("governor", trace["best_fixed"]["answers"], "load-ladder")
    return [name for name in wanted if name in trace["curves"]]


def _courses(document: dict[str, Any], place: int, trace: dict[str, Any]) -> str | None:
    them = []
    for name in _names(trace):
        curve = trace["curves"][name]
        values = [curve[part] for part in ("rung", "celsius", "watts", "queue")]
        them.append(Course(name=name, seconds=curve["seconds"], values=values))
    if not them:
        return None
    budget = number(document["settings"].get("watts"))
    strips = (
        Strip(title="rung", steps=True, names=tuple(rung["variant"] for rung in document["rungs"])),
        Strip(title="degrees Celsius", limits=tuple(document["board"]["trips"] or ())),
        Strip(title="watts, mean since the point before", limits=() if budget is None else (budget,)),
        Strip(title="requests waiting, most since the point before", steps=True),
    )
    said = f"{trace['name']}: rung, temperature, power and queue over time"
    return courses(them, strips, name=f"c{place}", title=said)


def _bars(
    trace: dict[str, Any], ranked: list[dict[str, Any]], name: str, figure: str, times: float, unit: str
) -> str | None:
    known = [(row["policy"], row[figure] * times) for row in ranked if number(row[figure]) is not None]
    if not known:
        return None
    # What a policy that hardly ever is right takes for an answer would make every other bar invisible.
    usual = 4 * sorted(value for _, value in known)[len(known) // 2]
    entries = []
    for policy, value in known:
        text = f"{value:.4g}" + (" …" if value > usual else "")
        bar = Bar(value=min(value, usual), text=text)
        entries.append(Row(name=title_of(trace, policy), bars=(bar,), marked=policy == "governor"))
    return rows(entries, name=name, title=f"{trace['name']}: {unit}; the figures are in the table", unit=unit)
