"""The section of inferred labels."""

from pyvae.cli.report_sections.trained import Section, Trained
from pyvae.pages.plots import draw_confusion

__all__ = ["confusion"]


def confusion(trained: Trained) -> Section | None:
    """The known classes of test data against the inferred ones, of a pair that infers labels."""
    found = trained.evaluation.classification
    if not found:
        return None
    meaning = "Test data by known class, in rows, and by the class that the pair infers from x alone, in columns."
    return Section("confusion", "Inferred labels", meaning, draw_confusion(found.confusion, trained.names))
