"""A diagnosis in three sentences and a traffic light."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pyvae.diagnostics.sections import Section

__all__ = ["Answer", "Light", "answers", "overall"]

Light = Literal["green", "amber", "red", "grey"]


@dataclass(frozen=True)
class Answer:
    """One sentence on what some sections have found, and its light.

    Attributes:
        light: green if all is within its thresholds, amber or red if something is beyond them, grey if nothing was
            judged.
        text: the sentence.
    """

    light: Light
    text: str


#: by subject and section: the light of a warning, and what can be said without one, and with one
_SAID: dict[str, dict[str, tuple[Light, str, str]]] = {
    "Posterior": {
        "bounds": (
            "red",
            "the guide's importance weights can be relied on",
            "the guide's importance weights cannot be relied on",
        ),
        "inference_gap": ("amber", "the guide costs little of log p(x)", "the guide costs much of log p(x)"),
        "calibration": ("red", "the guide's intervals are calibrated", "the guide's intervals are not calibrated"),
    },
    "Latents": {
        "latents": ("amber", "most dimensions are used", "most dimensions are unused"),
        "codebooks": ("amber", "most codes are used", "most codes are unused"),
        "aggregated_posterior": ("amber", "the prior matches them", "the prior does not match them"),
    },
    "Model": {
        "predictive": ("amber", "its draws look like the data", "its draws differ from the data"),
    },
}  # fmt: skip


def answers(sections: Mapping[str, Section]) -> list[Answer]:
    """One sentence on the posterior, one on the latents and one on the data that the model draws."""
    return [_answer(subject, {n: s for n, s in sections.items() if n in said}, said) for subject, said in _SAID.items()]


def _answer(subject: str, sections: Mapping[str, Section], said: Mapping[str, tuple[Light, str, str]]) -> Answer:
    good, bad, lights = [], [], []
    for name, section in sections.items():
        light, fine, wrong = said[name]
        warned = [f.name for f in section.figures if f.verdict == "warning"]
        if warned:
            bad.append(f"{wrong} ({', '.join(warned)})")
            lights.append(light)
        elif any(f.verdict for f in section.figures):
            good.append(fine)
            lights.append("green")
    if not lights:
        return Answer("grey", f"{subject}: nothing could be judged.")
    text = f"{subject}: {'; '.join(filter(None, [_listed(bad), _listed(good)]))}."
    return Answer(_worst(lights), text)


def overall(sections: Mapping[str, Section]) -> Light:
    """The worst light of the answers; amber also if a section of one's own has a warning."""
    warned = any(f.verdict == "warning" for section in sections.values() for f in section.figures)
    return _worst([*(answer.light for answer in answers(sections)), *(["amber"] if warned else [])])


def _worst(lights: list[Light]) -> Light:
    return min(lights, key=("red", "amber", "green", "grey").index)


def _listed(clauses: list[str]) -> str:
    return " and ".join([*([", ".join(clauses[:-1])] if clauses[1:] else []), *clauses[-1:]])
