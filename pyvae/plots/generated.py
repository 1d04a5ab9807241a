"""Data, samples and reconstructions."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor, nn

from pyvae.batching.batches import Data
from pyvae.core.arguments import check_int
from pyvae.errors import DataError
from pyvae.latent_space.decoding import generate, reconstruct
from pyvae.pages.generated import draw_reconstructions, draw_samples
from pyvae.pages.plots import draw_grid
from pyvae.plots.rows import first_rows

__all__ = ["data", "reconstructions", "samples"]


def data(x: Tensor, columns: int = 10, row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()) -> Figure:
    """Plot data as they are: images in rows, long signals as spectrograms, vectors as the rows of one picture.

    Args:
        x: (N, …).
        columns: images per row.
        row_labels: names of the rows.
        column_labels: names of the columns.

    Raises:
        DataError: if there are no data.
        ArgumentError: if ``columns`` is not positive.

    Example:
        >>> import torch
        >>> data(torch.rand(20, 1, 8, 8), row_labels=["some", "others"]).axes[0].images[0].get_array().shape
        (20, 100)
    """
    check_int("columns", columns)
    if not isinstance(x, Tensor) or x.dim() < 2 or not x.numel():
        came = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise DataError(f"got {came}; expected a tensor with one row per datapoint")
    return draw_grid(x, columns, row_labels, column_labels)


def samples(
    pair: nn.Module,
    size: int = 100,
    labels: Tensor | None = None,
    seed: int = 0,
    mean: bool = True,
    names: Sequence[str] = (),
) -> Figure:
    """Plot samples x ~ p(x), or x ~ p(x | y) in a row for each class; by default their means E[x | z].

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        size: the number of samples, without labels.
        labels: y, one per sample, in order, of a conditional pair.
        seed: of the samples.
        mean: whether to show the mean of p(x | z), which looks smoother, in place of a draw.
        names: of the classes, in place of their numbers.

    Raises:
        PairError: if the model cannot be run without data.
        ArgumentError: if ``size`` is not positive.

    Example:
        >>> import pyvae
        >>> samples(pyvae.recipes.gaussian(shape=(1, 8, 8), latent_dim=2), size=20).axes[0].images[0].get_array().shape
        (20, 100)
    """
    check_int("size", size)
    return draw_samples(generate(pair, size if labels is None else len(labels), labels, seed, mean), labels, names)


def reconstructions(pair: nn.Module, data: Data, count: int = 10, labels: Tensor | None = None) -> Figure:
    """Plot the first of the data, and below them their reconstructions E[x | z] at the mean z of q(z | x).

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        data: as for :func:`pyvae.fit`; of a ``DataLoader``, its first batch.
        count: how many of them.
        labels: what to decode with in place of the datapoints' own, (count,), of a conditional pair.

    Raises:
        PairError: if the model cannot be run without data.
        DataError: if there are no data, or they do not fit the pair.
        ArgumentError: if ``count`` is not positive.

    Example:
        >>> import torch, pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(1, 8, 8), latent_dim=2)
        >>> reconstructions(vae, torch.rand(30, 1, 8, 8)).axes[0].images[0].get_array().shape
        (20, 100)
    """
    args = first_rows(pair, data, count)
    return draw_reconstructions(reconstruct(pair, args, labels), args[0])
