"""Networks and priors over codes, small enough to enumerate."""

import math

import pytest
import torch
from torch import nn

from pyvae.networks import CausalTransformer, PixelCNN

GRID, CODES, CLASSES = (3, 3), 3, 2


def grids(shape, codes):
    """Every grid, (codes ** places,) + shape."""
    return torch.cartesian_prod(*[torch.arange(codes)] * math.prod(shape)).reshape(-1, *shape)


def perturbed(network, seed=0):
    """With weights so large that what depends on something shows it, in float64, so that it shows it exactly."""
    network.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.double))
    return network


def pixels(shape=GRID, codes=CODES, **arguments):
    return perturbed(PixelCNN(shape, codes, **{"channels": 6, "layers": 3} | arguments))


def transformer(shape=GRID, codes=CODES, **arguments):
    return perturbed(CausalTransformer(shape, codes, **{"dim": 8, "heads": 2} | arguments))


#: networks of every kind, each with one context for two rows
NETWORKS = {
    "PixelCNN": lambda: (pixels(), ()),
    "PixelCNN of kernel 5": lambda: (pixels((4, 5), kernel_size=5), ()),
    "PixelCNN of a class": lambda: (pixels(context_dim=CLASSES), (torch.eye(2).double(),)),
    "PixelCNN of a level above": lambda: (pixels(context_channels=2), (torch.randn(2, 2, *GRID).double(),)),
    "PixelCNN of both": lambda: (
        pixels((3, 4), context_dim=2, context_channels=1),
        (torch.eye(2).double(), torch.randn(2, 1, 3, 4).double()),
    ),
    "PixelCNN of a row": lambda: (pixels((9,), kernel_size=5), ()),
    "PixelCNN of a row, of both": lambda: (
        pixels((11,), layers=5, context_dim=2, context_channels=3),
        (torch.eye(2).double(), torch.randn(2, 3, 11).double()),
    ),
    "PixelCNN of a column": lambda: (pixels((7, 1), layers=5), ()),
    "CausalTransformer": lambda: (transformer(), ()),
    "CausalTransformer of a class": lambda: (transformer(context_dim=CLASSES), (torch.eye(2).double(),)),
    "CausalTransformer of a row": lambda: (transformer((10,)), ()),
    "CausalTransformer of a block": lambda: (transformer((2, 2, 3), layers=3), ()),
}
of_each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())


class Plain(nn.Module):
    """A network without a sampler: its grids are drawn by whole calls."""

    def __init__(self, network):
        super().__init__()
        self.network, self.context_event_dims = network, network.context_event_dims

    def forward(self, *inputs):
        return self.network(*inputs)
