"""All diagnostics of a pair, in one table and on one page: can the posterior be trusted?"""

import inspect
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from pyvae.batching.batches import Data
from pyvae.core.arguments import check_int
from pyvae.core.random_streams import seeded_rng
from pyvae.diagnostics import sections as built_in
from pyvae.diagnostics.sections import Finding, Section, Subject
from pyvae.diagnostics.summary import Answer, Light, answers, overall
from pyvae.errors import RUN_ERRORS, ArgumentError, PyvaeError, first_lines
from pyvae.evaluation.arviz_bridge import FEWEST_DRAWS
from pyvae.evaluation.log_weights import DEFAULT_MEMORY
from pyvae.evaluation.particles import check_weights
from pyvae.pages.page import embedded, render
from pyvae.pages.snippet import snippet

__all__ = ["SECTIONS", "Diagnosis", "diagnose"]

#: the order of the built-in sections; what else the folder exports follows them
_ORDER = ("bounds", "inference_gap", "calibration", "latents", "aggregated_posterior", "predictive", "codebooks")

#: what a diagnosis asks, in order: the functions that the folder exports
SECTIONS: tuple[Callable[[Subject], Section], ...] = tuple(
    getattr(built_in, name)
    for name in dict.fromkeys((*_ORDER, *built_in.__all__))
    if inspect.isfunction(getattr(built_in, name))
)


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The figures of a pair on data, each with its meaning and with advice.

    Attributes:
        sections: the parts, by name: their figures, pictures, and a table per datapoint or per latent dimension.
        settings: the pair, the data and the options.
    """

    sections: dict[str, Section]
    settings: dict[str, object]

    @property
    def advice(self) -> list[str]:
        """The advice, in the order of the sections; empty if all figures are within their thresholds."""
        return [f"{f.name}: {f.text} — {f.advice}" for s in self.sections.values() for f in s.figures if f.advice]

    @property
    def light(self) -> Light:
        """The traffic light: green, amber, or red where the guide cannot be trusted; grey if nothing was judged."""
        return overall(self.sections)

    @property
    def summary(self) -> list[Answer]:
        """Three sentences, each with its light: on the posterior, the latents, and the data that the model draws."""
        return answers(self.sections)

    def __getitem__(self, name: str) -> Finding:
        """The figure of this name."""
        return {f.name: f for s in self.sections.values() for f in s.figures}[name]

    def to_dataframe(self) -> pd.DataFrame:
        """One row per figure: section, value, errors, threshold, verdict, meaning, advice and source."""
        errors = ("standard_error", "error_is_at_least", "dataset_standard_error")
        columns = ("value", "unit", *errors, "threshold", "verdict", "meaning")
        rows = [
            {"section": name, "figure": f.name, **{c: getattr(f, c) for c in (*columns, "advice", "source")}}
            for name, section in self.sections.items()
            for f in section.figures
        ]
        return pd.DataFrame(rows).set_index(["section", "figure"])

    def to_html(self, title: str = "Can this posterior be trusted?", subtitle: str = "") -> str:
        """One self-contained page with all pictures."""
        return render(
            "diagnosis",
            title=title,
            subtitle=subtitle or self._size,
            light=self.light,
            summary=self.summary,
            advices=self.advice,
            sections=[_shown(s) for s in self.sections.values()],
            settings=[(k.replace("_", " "), v) for k, v in self.settings.items()],
        )

    def plot(self, section: str | None = None) -> Figure:
        """The first picture of a section; without a name, of the first that has one.

        Raises:
            ArgumentError: if there is no picture in it.
        """
        found = {name: part.pictures[0] for name, part in self.sections.items() if part.pictures}
        name = section or next(iter(found), None)
        if name not in found:
            raise ArgumentError(f"section {section!r} has no picture; those that have one are {', '.join(found)}")
        return found[name].draw()

    def _repr_html_(self) -> str:
        heads = ("figure", "value", "verdict", "expected", "meaning")
        rows = [(f.name, f.text, f.verdict, f.threshold, f.meaning) for s in self.sections.values() for f in s.figures]
        sentences = [(answer.light, answer.text) for answer in self.summary]
        return snippet(f"Diagnosis of {self.settings['pair']}, {self._size}", heads, rows, sentences)

    @property
    def _size(self) -> str:
        return ", ".join(
            f"{self.settings[key]:,} {text}"
            for key, text in (("data", "datapoints"), ("draws_per_datapoint", "draws of the guide for each"))
            if key in self.settings
        )

    def __str__(self) -> str:
        lines = [f"{self.light}:", *(f"  {answer.light:5}  {answer.text}" for answer in self.summary)]
        for section in self.sections.values():
            lines += ["", section.title]
            for figure in section.figures:
                errors = ", ".join(f"± {error} {kind}" for kind, error in _errors(figure))
                lines.append(f"  {figure.name:34} {figure.text:>14}  {figure.verdict:8}{errors}".rstrip())
            lines += [f"  left out: {section.skipped}"] if section.skipped else []
        return "\n".join([*lines, "", *(f"→ {line}" for line in self.advice)]).strip()

    def __repr__(self) -> str:
        count = len(self.advice)
        beyond = f"{count} figure{'s' * (count != 1)} beyond {'its threshold' if count == 1 else 'their thresholds'}"
        return f"<Diagnosis of {self.settings['pair']}, {self.light}: {beyond}>"


def diagnose(
    pair: nn.Module,
    data: Data,
    num_particles: int = 200,
    seed: int | None = None,
    sections: Sequence[Callable[[Subject], Section]] = SECTIONS,
    max_memory: int = DEFAULT_MEMORY,
    progress: bool = True,
) -> Diagnosis:
    r"""Diagnose whether q(z | x) can be trusted as p(z | x), and p(x) as the distribution of the data.

    The result holds figures with verdicts. Importance weights w = p(x, z) / q(z | x) of all data give the bounds,
    Pareto's k̂ and the effective sample size; up to 64 datapoints the inference gap and its parts; 1,000 datapoints
    from the model itself the calibration of q; up to 1,000 datapoints the use of the latents and the match of prior and
    aggregated posterior; up to 200 datapoints predictive checks. Of large networks these are fewer, at least 8, 100 and
    20. Subsets are chosen at random. Give the test set: the training set is fitted too well.

    Works on any pair whose sites lie in one data plate. Sections that do not apply to a pair are left out, with the
    reason.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`. If a ``DataLoader`` has an order of its own, the table per datapoint of the
            section ``bounds`` has the index ``arrival`` in place of ``obs_id``.
        num_particles: draws per datapoint, at least 25; the threshold of k̂ rises with them, up to 0.7 for 2,200.
        seed: of all draws; without one, as for :func:`pyvae.fit`. The result's ``settings`` hold it.
        sections: what to ask; each is a function from a :class:`pyvae.diagnostics.sections.Subject` to a
            :class:`pyvae.diagnostics.sections.Section`.
        max_memory: about how many bytes intermediate results may take.
        progress: show the current section in the terminal.

    Raises:
        PairError: if a site lies outside the data plate, or the densities are no importance weights.
        DataError: if there are no data, or they do not fit the pair.
        ArgumentError: if a number is out of range, or an entry of ``sections`` is no function.

    References:
        Yao, Vehtari, Simpson and Gelman, *Yes, but did it work? Evaluating variational inference*, 2018. Each figure
        names its own.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> diagnosis = diagnose(vae, torch.rand(50, 5).round(), num_particles=50)
        >>> diagnosis["ELBO"].value < 0
        True
    """
    check_int("num_particles", num_particles, FEWEST_DRAWS)
    check_int("max_memory", max_memory)
    if isinstance(sections, str) or not sections or not all(hasattr(section, "__name__") for section in sections):
        raise ArgumentError(
            f"sections is {sections!r}; expected functions with names, as in pyvae.diagnostics.SECTIONS"
        )
    with seeded_rng(seed) as seed:
        subject = Subject(pair, data, num_particles, seed, max_memory)
        check_weights(subject.inspection)
        _ = subject.dim  # refuses sites outside of the plate
        found = _asked(sections, subject, progress)
    size = len(found["bounds"].table) if "bounds" in found else len(subject.kept[0])
    settings = {"pair": type(pair).__name__, "data": size, "draws_per_datapoint": num_particles, "seed": seed}
    settings["data_sampled_by_the_other_sections"] = len(subject.kept[0])
    return Diagnosis(found, {**settings, "torch": torch.__version__})


def _asked(sections: Sequence[Callable[[Subject], Section]], subject: Subject, progress: bool) -> dict[str, Section]:
    """The sections by name, with a bar that shows the current one."""
    console, found = Console(stderr=True), {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not (progress and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=len(sections))
        for function in sections:
            bar.update(task, description=function.__name__.replace("_", " "))
            try:
                found[function.__name__] = function(subject)
            except RUN_ERRORS as error:
                if isinstance(error, PyvaeError):
                    raise
                name = function.__name__.replace("_", " ")
                found[function.__name__] = Section(name.capitalize(), skipped=f"it failed: {first_lines(error)}")
            bar.advance(task)
    return found


def _shown(section: Section) -> dict[str, object]:
    """A section as the page's template takes it."""
    figures = [
        {"name": f.name, "text": f.text, "meaning": f.meaning, "verdict": f.verdict, "threshold": f.threshold,
         "source": f.source, "errors": _errors(f)}
        for f in section.figures
    ]  # fmt: skip
    pictures = []
    for picture in section.pictures:
        buffer, figure = io.BytesIO(), picture.draw()
        figure.savefig(buffer, format="png", dpi=120)
        wide = figure.get_figwidth() > 7
        pictures.append(embedded(picture.title, picture.meaning, buffer.getvalue(), wide))
    return {"title": section.title, "skipped": section.skipped, "figures": figures, "pictures": pictures}


def _errors(figure: Finding) -> list[tuple[str, str]]:
    least = "at least " if figure.error_is_at_least else ""
    errors = {
        "Monte Carlo error": (least, figure.standard_error),
        "test-set sampling error": ("", figure.dataset_standard_error),
    }
    return [(kind, f"{before}{error:.2g}") for kind, (before, error) in errors.items() if not math.isnan(error)]
