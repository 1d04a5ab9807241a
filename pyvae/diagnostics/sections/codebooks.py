"""The usage of discrete codes by the data."""

import math

import pandas as pd

from pyvae.diagnostics.sections.section import Finding, Picture, Section
from pyvae.diagnostics.sections.subject import Subject
from pyvae.evaluation.code_usage import CodeUsage, count_codes, sizes_of_codes
from pyvae.evaluation.evaluate import inspected_elbo
from pyvae.pages.results import draw_code_use

__all__ = ["codebooks"]

_TITLE = "Which codes are used, and what do they cost?"
_SOURCE = "van den Oord, Vinyals and Kavukcuoglu, Neural discrete representation learning, 2017"


def codebooks(subject: Subject) -> Section:
    """The perplexity exp(−Σ_k p_k log p_k), usage, dead codes and bits of each site of codes."""
    if not sizes_of_codes(subject.inspection):
        return Section(_TITLE, skipped=f"{type(subject.pair).__name__} has no site of codes")
    codes = count_codes(subject.inspection, subject.batches, subject.seed)
    terms = inspected_elbo(subject.inspection, subject.batches, 1, subject.seed, subject.max_memory).kl_terms
    learned = any(hasattr(module, "num_codes") for module in subject.pair.modules())  # else they are labels
    figures: list[Finding] = []
    for site, usage in codes.items():
        figures += _figures(site, usage, float(terms[site].mean()) / math.log(2), learned)
    columns = {site: pd.Series(usage.counts.numpy()) for site, usage in codes.items()}
    picture = Picture(
        "Use of the codes",
        "The frequencies of the codes, the most frequent first; the line is uniform use.",
        lambda: draw_code_use({site: usage.counts for site, usage in codes.items()}),
    )
    return Section(_TITLE, tuple(figures), (picture,), pd.DataFrame(columns).rename_axis("code"))


def _figures(site: str, usage: CodeUsage, bits: float, learned: bool) -> list[Finding]:
    return [
        Finding(
            f"perplexity of {site}",
            usage.perplexity,
            f"the effective number of codes in use, of {usage.num_codes}",
            source=_SOURCE,
        ),
        Finding(
            f"codes of {site} in use",
            100 * usage.usage,
            f"share of {usage.num_codes} codes that occur; {usage.dead} are dead",
            "%",
            threshold="at least 50 %, as a rule of thumb" if learned else "",
            advice=f"{usage.dead} codes never occur: {usage.advice}" if learned and usage.advice else "",
        ),
        Finding(f"bits of {site}", bits, usage.meaning_of_bits, "bits"),
    ]
