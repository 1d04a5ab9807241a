"""The ground-truth factors of data, where they are known."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Factors"]


@dataclass(frozen=True, repr=False)
class Factors:
    """Ground-truth factors of data, one column each.

    Attributes:
        values: (N, F), ints from 0.
        names: of the F factors.
        sizes: how many values each can take.

    Example:
        >>> import torch
        >>> Factors(torch.tensor([[0, 1], [2, 0]]), names=("shape", "scale"), sizes=(3, 2))
        <Factors of 2 rows: shape (3), scale (2)>
    """

    values: Tensor
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def rows(self, index: Tensor | slice) -> "Factors":
        """The factors of the given rows."""
        return Factors(self.values[index], self.names, self.sizes)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        factors = ", ".join(f"{name} ({size})" for name, size in zip(self.names, self.sizes, strict=True))
        return f"<Factors of {len(self)} rows: {factors}>"
