"""The deterministic pass over the data that a top-down guide needs."""

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["Features"]


class Features(nn.Module):
    r"""A stack of networks that returns the features of every stage, the last one's first.

    .. math:: x \mapsto (d_1, \dots, d_T), \qquad d_T = f_1(x), \quad d_{T-1} = f_2(d_T), \quad \dots, \quad
        d_1 = f_T(d_2)

    The stages go from fine to coarse.

    Args:
        stages: f_1 … f_T, called with the output of the one before and the context.

    References:
        Sønderby et al., *Ladder variational autoencoders*, 2016, equation 8.

    Example:
        >>> import torch
        >>> [tuple(d.shape) for d in Features([nn.Linear(5, 8), nn.Linear(8, 4)])(torch.zeros(7, 5))]
        [(7, 4), (7, 8)]
    """

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor, *context: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the stages, the last one's first."""
        outputs: list[Tensor] = []
        for stage in self.stages:
            x = stage(x, *context)
            outputs.append(x)
        return tuple(reversed(outputs))
