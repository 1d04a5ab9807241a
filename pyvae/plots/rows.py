"""Some of the data, as plots take them."""

from torch import Tensor, nn

from pyvae.batching.batches import Data, batches_for
from pyvae.core.arguments import check_int
from pyvae.core.random_streams import isolated_rng
from pyvae.core.rows import rows_of

__all__ = ["first_rows"]


def first_rows(pair: nn.Module, data: Data, count: int) -> list[Tensor]:
    """The arguments of both programs for up to ``count`` of the data, where the pair is: the first rows.

    Of a ``DataLoader``, whose batches have a size of their own, they are those of its first batch.
    """
    check_int("count", count)
    with isolated_rng(0):  # of a random transform, the same draw each time
        return rows_of(next(iter(batches_for(pair, data, count).in_order())), slice(count))
