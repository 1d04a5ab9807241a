"""The section of the training."""

from pyvae.cli.report_sections.trained import Section, Trained, charted
from pyvae.pages.charts import TERMS, training_charts

__all__ = ["curves"]


def curves(trained: Trained) -> Section | None:
    """The terms of the ELBO over the epochs."""
    shown = {"elbo": TERMS["elbo"]} if trained.diffuses else TERMS
    charts = training_charts(trained.history, shown)
    if not charts:  # it ended before the first epoch did
        return None
    parts = "" if trained.diffuses else "ELBO = reconstruction − KL. "
    meaning = (
        f"{parts}Training figures are averages over an epoch in which the parameters move, so they lag behind those of "
        "the validation data. Point at a curve to read it."
    )
    return charted("curves", "Training", meaning, charts)
