"""Learning-rate schedules over the whole run, by name."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

__all__ = ["cosine", "linear"]


def cosine(optimizer: Optimizer, epochs: int) -> CosineAnnealingLR:
    """From the optimizer's learning rate to 0 by half a cosine (Loshchilov and Hutter, *SGDR*, 2017, equation 5)."""
    return CosineAnnealingLR(optimizer, T_max=epochs)


def linear(optimizer: Optimizer, epochs: int) -> LinearLR:
    """From the optimizer's learning rate to 0 by a straight line."""
    return LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=epochs)
