"""The command that shows the meaning of the latents of a run's pair."""

import torch

from pyvae.cli.output import DRAWN, free_output, write_data
from pyvae.cli.runs import open_run
from pyvae.core.arguments import check_int, check_positive
from pyvae.core.random_streams import isolated_rng
from pyvae.diagnostics import posterior_means
from pyvae.errors import ArgumentError
from pyvae.inspection.inspection import inspect_pair
from pyvae.latent_space.traversals import continuous_site
from pyvae.latent_space.traversals import traverse as traverse_latents
from pyvae.pages.generated import draw_traversal

__all__ = ["traverse"]

_FARTHEST = 1e6  # no prior samples there, and decoders still return numbers


def traverse(
    run: str,
    index: int = 0,
    site: str | None = None,
    count: int = 10,
    steps: int = 7,
    span: float = 2.0,
    output: str | None = None,
) -> None:
    """Decode a test datapoint with one dimension of its latent changed at a time, the most active dimensions first.

    Args:
        run: the run directory.
        index: which of the test data, from 0.
        site: the latent, of a pair with several, such as z_1.
        count: at most how many dimensions; first come those whose posterior means vary most over the test data.
        steps: to how many values each is set.
        span: how far they reach, in standard deviations of the prior to both sides of its mean.
        output: a .png for a picture or a .npy for the numbers; by default traversal-1.png, … in run.
    """
    opened = open_run(run)
    path = free_output(opened, "traversal", ".png", output, DRAWN)
    check_int("count", count)
    check_int("steps", steps, 2)
    check_positive("span", span)
    if span > _FARTHEST:
        raise ArgumentError(f"span is {span}; expected at most {_FARTHEST:g} standard deviations, such as 2")
    data, pair = opened.load_data(), opened.load_pair()
    if not 0 <= index < len(data.test):
        raise ArgumentError(f"index is {index}; expected 0 to {len(data.test) - 1}, one of the test data")
    test = data.test.fixed()
    datapoint = test[index : index + 1]
    with isolated_rng(0):
        name = continuous_site(inspect_pair(pair, datapoint), site)
    variances = posterior_means(pair, test, [name], seed=0)[name].var(0)
    dims = variances.argsort(descending=True, stable=True)[:count].tolist()
    values = torch.linspace(-span, span, steps).tolist()
    x = traverse_latents(pair, datapoint, name, dims, values)
    x = opened.original_units(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    write_data(path, x, lambda: draw_traversal(x, name, dims, values))
