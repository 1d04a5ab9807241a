"""Counts that are drawn as those of molecules in cells are thought to come about."""

import torch
from torch import Tensor

from pyvae.datasets.data import DataSplits, InMemory

__all__ = ["cells", "expression_of_cells"]

_ROWS, _GENES, _TYPES, _BATCHES = 2000, 200, 5, 2
_TRAINING = 1600


def cells(root: str = "data", download: bool = False) -> DataSplits:
    r"""Drawn counts of 200 genes in 2,000 cells of five types, in two batches, which are the labels.

    .. math:: x_{ij} \sim \operatorname{Poisson}(l_i \rho_{ij} g_{ij}), \qquad g_{ij} \sim \operatorname{Gamma}(4, 4),
        \qquad \log l_i \sim N(\log 4000, 0.4^2)

    The shares ρ of a cell are those of its type, of a place on a way between types, and of its batch, in which each
    gene is found more or less easily. The same counts each time; 1,600 cells are for training.

    Args:
        root: unused: the data are drawn.
        download: unused.

    Example:
        >>> cells().shape, cells().num_classes, round(float(cells().train.tensors[0].sum(-1).mean()), -3)
        ((200,), 2, 4000.0)
    """
    x, y, _ = _drawn()
    train, test = slice(_TRAINING), slice(_TRAINING, None)
    return DataSplits("cells", InMemory(x[train], y[train]), InMemory(x[test], y[test]), _BATCHES, levels=None)


def expression_of_cells() -> tuple[Tensor, Tensor]:
    """The expected shares of the genes, without the noise of :func:`cells`: of the training and of the test data."""
    _, _, shares = _drawn()
    return shares[:_TRAINING], shares[_TRAINING:]


def _drawn() -> tuple[Tensor, Tensor, Tensor]:
    """Counts, batches and shares."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    genes, types, batches = normal(_GENES), normal(_TYPES, _GENES), 0.5 * normal(_BATCHES, _GENES)
    here, there = torch.randint(_TYPES, (2, _ROWS), generator=generator)
    way = torch.rand(_ROWS, 1, generator=generator) * 0.4
    y = torch.randint(_BATCHES, (_ROWS,), generator=generator)
    shares = (genes + (1 - way) * types[here] + way * types[there] + batches[y]).softmax(-1)
    library = (8.3 + 0.4 * normal(_ROWS, 1)).exp()
    # a Gamma(4, 4) variable as the mean of four exponential ones, which take a generator
    noise = torch.empty(4, _ROWS, _GENES).exponential_(generator=generator).mean(0)
    return torch.poisson(library * shares * noise, generator=generator), y, shares
