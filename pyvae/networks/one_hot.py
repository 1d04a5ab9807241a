"""Class labels as vectors."""

import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor, nn
from torch.nn import functional

from pyvae.core.arguments import check_int
from pyvae.errors import DataError

__all__ = ["OneHot"]


class OneHot(nn.Module):
    r"""One-hot vectors of class labels: the usual context of a class-conditional VAE.

    .. math:: e(y)_k = 1 \text{ if } k = y, \text{ and } 0 \text{ otherwise}

    Args:
        num_classes: the number of classes.

    Raises:
        ArgumentError: if ``num_classes`` is not positive.
        DataError: when called with labels that are not integers in ``[0, num_classes)``.

    Example:
        >>> OneHot(3)(torch.tensor([2, 0]))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        check_int("num_classes", num_classes)
        self.num_classes = num_classes
        self.register_buffer("eye", torch.eye(num_classes), persistent=False)

    @property
    def example(self) -> Tensor:
        """Labels of two datapoints, with which a pair checks its shapes at construction."""
        return torch.zeros(2, dtype=torch.long, device=self.eye.device)

    def forward(self, y: Tensor) -> Tensor:
        """Vectors of shape (…, num_classes) for labels of shape (…)."""
        if not isinstance(y, Tensor):
            raise DataError(f"labels are a {type(y).__name__}; expected a tensor of integers: torch.tensor([3, 7])")
        if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise DataError(f"labels have dtype {y.dtype}; expected integers in [0, {self.num_classes}): use y.long()")
        # as all of Pyro's looks at values, this one is made while validation is on
        if is_validation_enabled() and y.numel() and not (int(y.min()) >= 0 and int(y.max()) < self.num_classes):
            raise DataError(
                f"labels lie in [{int(y.min())}, {int(y.max())}]; expected [0, {self.num_classes - 1}], "
                f"for num_classes={self.num_classes}"
            )
        return functional.embedding(y.long(), self.eye)  # refuses what indexing would count from the end
