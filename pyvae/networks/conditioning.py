"""The conditioning of a diffusion's networks besides x: the step t and, if there are classes, the label y."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyvae.core.arguments import check_int
from pyvae.errors import ArgumentError, DataError
from pyvae.networks.time_embedding import TimeEmbedding

__all__ = ["Conditioning", "check_call"]


def check_call(in_shape: torch.Size, x: Tensor, t: Tensor, y: Tensor | None) -> None:
    """Refuse an x that does not end in ``in_shape``, and a t or y that does not broadcast to its leading dimensions.

    Raises:
        ArgumentError: naming the input.
    """
    dims = x.dim() - len(in_shape)
    if dims < 0 or x.shape[dims:] != in_shape:
        expected = ", ".join(map(str, in_shape))
        raise ArgumentError(f"x has shape {tuple(x.shape)}; expected (..., {expected})")
    leading = x.shape[:dims]
    for name, given in (("t", t), ("y", y)):
        # broadcasting x to t as well would turn t[:, None], a slip, into a batch of all pairs
        if isinstance(given, Tensor) and not _broadcasts(given.shape, leading):
            raise ArgumentError(
                f"{name} has shape {tuple(given.shape)}; expected a scalar, or the leading dimensions "
                f"{tuple(leading)} of x"
            )


def _broadcasts(shape: torch.Size, target: torch.Size) -> bool:
    if len(shape) > len(target):
        return False
    return all(s in (1, size) for s, size in zip(shape[::-1], target[::-1], strict=False))


class Conditioning(nn.Module):
    r"""An embedding of a diffusion step and, if there are classes, of a label.

    .. math:: e(t, y) = \mathrm{SiLU}(e(t) + E_y)

    The table E has one row per class and a last one for "no label".

    The nonlinearity follows the sum, so that the layers that read e linearly can treat each label's steps differently.

    Args:
        dim: the length of the vectors.
        num_classes: K, the number of classes; the table has K + 1 rows. None for a network without labels.

    Raises:
        ArgumentError: if ``dim`` is not an even int of at least 4, or ``num_classes`` is not positive.
        DataError: when called with labels that are not integers, or without ``num_classes``.

    Example:
        >>> Conditioning(16, num_classes=3)(torch.tensor(10), torch.tensor([2, 0])).shape
        torch.Size([2, 16])
    """

    def __init__(self, dim: int, num_classes: int | None = None) -> None:
        super().__init__()
        if num_classes is not None:
            check_int("num_classes", num_classes)
        self.num_classes = num_classes
        self.steps = TimeEmbedding(dim)
        self.labels = None if num_classes is None else nn.Embedding(num_classes + 1, dim)

    def forward(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Vectors of shape (dimensions of t and y, broadcast) + (dim,)."""
        embedding = self.steps(t)
        if y is not None:
            embedding = embedding + self._of_labels(y)
        elif self.labels is not None:
            embedding = embedding + self.labels.weight[self.num_classes]
        return functional.silu(embedding)

    def _of_labels(self, y: Tensor) -> Tensor:
        if self.labels is None:
            raise DataError(
                "labels y came to a network without classes; make it with num_classes=, the number of classes, or "
                "call it without y"
            )
        if not isinstance(y, Tensor):
            raise DataError(f"labels are a {type(y).__name__}; expected a tensor of integers: torch.tensor([3, 7])")
        if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise DataError(
                f"labels have dtype {y.dtype}; expected integers in [0, {self.num_classes}], of which "
                f"{self.num_classes} means no label: use y.long()"
            )
        return self.labels(y.long())
