"""The command ``sample``."""

import torch

from pyvae.cli.output import DRAWN, free_output, write_data
from pyvae.cli.runs import open_run
from pyvae.core.arguments import check_int, check_seed
from pyvae.errors import ArgumentError
from pyvae.latent_space.decoding import generate
from pyvae.pages.generated import draw_samples

__all__ = ["sample"]


def sample(
    run: str,
    count: int = 100,
    labels: list[int] | str | None = None,
    draw: bool = False,
    seed: int = 0,
    output: str | None = None,
) -> None:
    """Generate data from the prior of a run's pair.

    Args:
        run: the run directory.
        count: how many.
        labels: the classes to generate, of a conditional pair, by number or name; by default all.
        draw: draw x from p(x | z) instead of taking its mean.
        seed: of the samples.
        output: a .png for a picture or a .npy for the numbers; by default samples-1.png, … in run.
    """
    opened = open_run(run)
    path = free_output(opened, "samples", ".png", output, DRAWN)
    check_int("count", count)
    check_seed(seed)
    if labels is not None and not opened.conditional:
        raise ArgumentError(f"the pair of {run} takes no labels; it is unconditional")
    y = None
    if opened.conditional:
        classes = opened.classes(range(opened.arguments["num_classes"]) if labels is None else labels)
        y = torch.tensor(classes)[torch.arange(count) * len(classes) // count]  # as evenly as can be
    x = opened.original_units(generate(opened.load_pair(), count, y, seed, mean=not draw))
    write_data(path, x, lambda: draw_samples(x, y))
