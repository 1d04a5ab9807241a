"""The pictures and the page that a run leaves behind."""

from collections.abc import Sequence
from pathlib import Path

from pyvae.cli.key_figures import key_figures
from pyvae.cli.report_sections import SECTIONS, Section, Trained
from pyvae.cli.settings import readable_settings
from pyvae.core.files import write_atomically
from pyvae.errors import PyvaeError
from pyvae.pages.figure import picture_bytes
from pyvae.pages.page import embedded, render

__all__ = ["write_report"]


def write_report(trained: Trained, noticed: Sequence[str] = ()) -> Path:
    """Write a run's pictures as PNG files and ``report.html``, one page that needs nothing else.

    Args:
        trained: the run at its end.
        noticed: warnings that came up on the way.

    Returns:
        The page's path.
    """
    run, data = trained.run, trained.data
    sections, left_out = _sections(trained)
    shown = []
    for section in sections:
        content = picture_bytes(section.figure)
        write_atomically(run.directory / f"{section.name}.png", content)
        shown.append(
            {**embedded(section.title, section.meaning, content), "live": section.live, "below": section.below}
        )
    page = render(
        "report",
        title=f"{run.recipe} on {Path(data.name).name}",
        subtitle=f"{len(data.train):,} training and {len(data.test):,} test datapoints of shape "
        f"{' × '.join(map(str, data.shape))}, {_counted(len(trained.history), 'epoch')}, "
        f"{_counted(sum(p.numel() for p in trained.pair.parameters()), 'parameter')}",
        warnings=[*noticed, *left_out],
        figures=key_figures(trained.evaluation, run.conditional, trained.diffuses),
        pictures=shown,
        settings=readable_settings(run),
    )
    path = run.directory / "report.html"
    write_atomically(path, page.encode())
    return path


def _sections(trained: Trained) -> tuple[list[Section], list[str]]:
    """The sections that apply; and a sentence on each that could not be made, as a trained run is worth its report."""
    found, left_out = [], []
    for make in SECTIONS:
        try:
            found.append(make(trained))
        except PyvaeError as error:
            left_out.append(f"The section on {make.__name__.replace('_', ' ')} is left out: {error}.")
    return [section for section in found if section], left_out


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
