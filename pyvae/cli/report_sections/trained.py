"""What the sections of a report take, and what they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyvae.cli.runs import Run
from pyvae.core.random_streams import isolated_rng
from pyvae.datasets import DataSplits
from pyvae.evaluation import Evaluation
from pyvae.models import DiffusionVAE
from pyvae.pages.charts import Chart, draw_charts
from pyvae.pages.generated import PER_ROW
from pyvae.pages.live import live_charts
from pyvae.training.state import Row

__all__ = ["Section", "Trained", "charted"]


@dataclass(frozen=True)
class Section:
    """A picture with its title and how to read it, and what the page shows in its place if that is more.

    Attributes:
        name: of the file of the picture.
        title: of the section.
        meaning: how to read it, in a sentence or two.
        figure: the picture.
        live: HTML that answers to the pointer.
        below: HTML below it, such as players.
    """

    name: str
    title: str
    meaning: str
    figure: Figure
    live: str = ""
    below: str = ""


@dataclass(frozen=True)
class Trained:
    """A run at its end, as the sections of its report take it.

    Attributes:
        run: the run.
        pair: its pair.
        data: its data, as the pair takes them.
        classes: the labels of the test data, if there are any, also for a pair that does not take them.
        history: one row of metrics per epoch.
        evaluation: its figures on test data.
    """

    run: Run
    pair: nn.Module
    data: DataSplits
    classes: Tensor | None
    history: Sequence[Row]
    evaluation: Evaluation

    @cached_property
    def some(self) -> list[Tensor]:
        """The arguments of both programs for the first of the test data."""
        return self.rows(PER_ROW)

    def rows(self, count: int) -> list[Tensor]:
        """The arguments of both programs for so many of the test data, the first ones."""
        device = next(self.pair.parameters()).device
        with isolated_rng(0):
            return [t.to(device) for t in self.data.test[torch.arange(min(count, len(self.data.test)))]]

    @property
    def names(self) -> list[str]:
        """The names of the classes, or their numbers."""
        return list(self.data.class_names) or [str(c) for c in range(self.data.num_classes)]

    @property
    def rate(self) -> int | None:
        """The samples per second of recordings; None for other data."""
        return next((step["rate"] for step in self.run.preprocessing if step["name"] == "recording"), None)

    @property
    def diffuses(self) -> bool:
        """Whether the pair is a diffusion, whose latents are noisy data."""
        return isinstance(self.pair, DiffusionVAE)


def charted(name: str, title: str, meaning: str, charts: Sequence[Chart]) -> Section:
    """A section of charts that can be read at the pointer."""
    return Section(name, title, meaning, draw_charts(charts), live_charts(charts))
