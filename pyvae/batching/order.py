"""The order in which rows of data come."""

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from pyvae.batching.batches import Data
from pyvae.errors import DataError

__all__ = ["check_order", "keeps_order"]


def keeps_order(data: Data) -> bool:
    """Whether rows can be seen to come in the order of the data: of a DataLoader, by torch's own samplers alone.

    A sampler of another kind, or a DataLoader that iterates in its own way, may have any order; so may a stream.
    """
    if not isinstance(data, DataLoader):
        return True
    if type(data).__iter__ is not DataLoader.__iter__ or (data.num_workers and not getattr(data, "in_order", True)):
        return False
    batches, sampler = data.batch_sampler, data.sampler
    if batches is not None:  # which decides alone: beside one, torch puts a SequentialSampler into ``sampler``
        sampler = batches.sampler if type(batches) is BatchSampler else None
    return type(sampler) is SequentialSampler


def check_order(data: Data, name: str, stream: bool = False) -> None:
    """Refuse data that may come in another order each time, where something else is told row by row.

    Args:
        data: the data.
        name: what is told.
        stream: whether to accept a stream, whose rows have no other numbers than those of their arrival.

    Raises:
        DataError: naming that argument.
    """
    if keeps_order(data) or (stream and isinstance(data.dataset, IterableDataset)):
        return
    raise DataError(
        f"the {name} are told row by row, but the DataLoader gives its rows in an order of its own; pass the "
        "Dataset, or a DataLoader with shuffle=False and without a sampler of your own"
    )
