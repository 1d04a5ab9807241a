"""The command ``reconstruct``."""

import torch

from pyvae.cli.output import DRAWN, free_output, write_data
from pyvae.cli.runs import open_run
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import ArgumentError
from pyvae.latent_space.decoding import reconstruct as reconstruct_data
from pyvae.pages.generated import draw_reconstructions

__all__ = ["reconstruct"]


def reconstruct(run: str, count: int = 10, as_label: int | str | None = None, output: str | None = None) -> None:
    """Pass test data through the latents of a run's pair and back.

    Args:
        run: the run directory.
        count: how many of the test data.
        as_label: decode with this class, a number or a name, instead of the datapoint's own: its style, another class.
        output: a .png for a picture or a .npy for the numbers; by default reconstructions-1.png, … in run.
    """
    opened = open_run(run)
    path = free_output(opened, "reconstructions", ".png", output, DRAWN)
    data, pair = opened.load_data(), opened.load_pair()
    if not 1 <= count <= len(data.test):
        raise ArgumentError(f"count is {count}; expected 1 to {len(data.test)}, the number of test data")
    with isolated_rng(0):
        args = data.test[torch.arange(count)]
    labels = None
    if as_label is not None:
        if not opened.conditional:
            raise ArgumentError(f"the pair of {run} takes no labels; it is unconditional")
        classes = opened.classes([as_label] if isinstance(as_label, int) else as_label)
        if len(classes) > 1:
            raise ArgumentError(f"as_label is {as_label}; expected one class")
        labels = torch.full_like(args[1], classes[0])
    x, originals = (opened.original_units(t) for t in (reconstruct_data(pair, args, labels), args[0]))
    name = "decoded" if as_label is None else f"as {as_label}"
    write_data(path, x, lambda: draw_reconstructions(x, originals, name))
