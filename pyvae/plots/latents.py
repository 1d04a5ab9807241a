"""The latent space."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyvae.batching.batches import Data
from pyvae.core.arguments import check_int, check_positive
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import DataError
from pyvae.inspection.inspection import inspect_pair
from pyvae.latent_space.posterior_means import posterior_means
from pyvae.latent_space.traversals import continuous_site, traverse
from pyvae.pages.generated import draw_traversal
from pyvae.pages.plots import draw_latents
from pyvae.plots.rows import first_rows

__all__ = ["latents", "traversal"]


def latents(
    pair: nn.Module,
    data: Data,
    labels: Tensor | None = None,
    site: str | None = None,
    count: int = 2000,
    names: Sequence[str] = (),
) -> Figure:
    """Plot the posterior means E[z | x] of the data in the plane: two dimensions as they are, more by their PCA.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`; of a ``DataLoader``, its first batch.
        labels: the classes 0 … K − 1 to colour by, one per datapoint, −1 for none; the pair need not know them.
        site: the latent site; by default all that are continuous, side by side.
        count: at most so many of the data, the first ones.
        names: of the classes, in place of their numbers.

    Raises:
        PairError: if the pair has no such latent.
        DataError: if there are no data, or fewer labels than are plotted.
        ArgumentError: if ``count`` is not positive.

    Example:
        >>> import torch, pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> latents(vae, torch.rand(30, 5), labels=torch.arange(30) % 3).axes[0].get_xlabel()
        'z₁'
    """
    args = first_rows(pair, data, count)
    rows = len(args[0])
    if labels is not None and len(labels) < rows:
        raise DataError(f"got {len(labels)} labels for {rows} datapoints; expected one for each")
    classes = [] if labels is None else labels[:rows].tolist()
    found = posterior_means(pair, tuple(args), site, seed=0)
    named = names or [str(c) for c in range(max(classes, default=-1) + 1)]
    return draw_latents(torch.cat(list(found.values()), 1), classes, named)


def traversal(
    pair: nn.Module,
    data: Data,
    site: str | None = None,
    index: int = 0,
    count: int = 10,
    steps: int = 7,
    span: float = 2.0,
) -> Figure:
    """Plot one datapoint decoded with one dimension of its latent changed at a time, the most active ones first.

    As :func:`pyvae.traverse`. A dimension is active if its posterior means vary over the data.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        data: as for :func:`pyvae.fit`; the first 2,000, or the first batch of a ``DataLoader``, say which dimensions
            are active.
        site: the latent, of a pair with several, such as ``z_1``.
        index: which of the data is changed, from 0 to 1,999.
        count: at most how many dimensions.
        steps: to how many values each is set.
        span: how far they reach, in standard deviations of the prior to both sides of its mean.

    Raises:
        PairError: if the pair has no such latent, or its model cannot be run without data.
        DataError: if there are no data, or none of this index.
        ArgumentError: if a number is out of range.

    Example:
        >>> import torch, pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(1, 8, 8), latent_dim=3)
        >>> traversal(vae, torch.rand(30, 1, 8, 8)).axes[0].images[0].get_array().shape
        (30, 70)
    """
    check_int("index", index, 0)
    check_int("count", count)
    check_int("steps", steps, 2)
    check_positive("span", span)
    args = first_rows(pair, data, 2000)
    if index >= len(args[0]):
        raise DataError(f"index is {index}; expected 0 to {len(args[0]) - 1}, one of the data")
    datapoint = [a[index : index + 1] for a in args]
    with isolated_rng(0):
        name = continuous_site(inspect_pair(pair, datapoint), site)
    variances = posterior_means(pair, tuple(args), [name], seed=0)[name].var(0)
    dims = variances.argsort(descending=True, stable=True)[:count].tolist()
    values = torch.linspace(-span, span, steps).tolist()
    return draw_traversal(traverse(pair, datapoint, name, dims, values), name, dims, values)
