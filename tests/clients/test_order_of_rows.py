"""Whether rows come in the order of the data is seen, where something else is told row by row."""

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)

import pyvae
from pyvae.diagnostics import disentanglement, posterior_means
from pyvae.diagnostics.sections import bounds


@pytest.fixture
def pair():
    return pyvae.recipes.gaussian((5,), 2, [8])


@pytest.fixture
def x():
    return torch.rand(100, 5).round()


class OwnLoader(DataLoader):
    """Gives its batches from the last to the first."""

    def __iter__(self):
        return iter(list(super().__iter__())[::-1])


class OwnBatches(BatchSampler):
    """Gives its batches from the last to the first."""

    def __iter__(self):
        return iter(list(super().__iter__())[::-1])


class Told(IterableDataset):
    """A stream of some rows."""

    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return iter(self.x)


OUT_OF_ORDER = {
    "shuffled": lambda x: DataLoader(TensorDataset(x), 10, shuffle=True),
    "random batches": lambda x: DataLoader(x, batch_sampler=BatchSampler(RandomSampler(x), 10, False)),
    "own batches": lambda x: DataLoader(x, batch_sampler=OwnBatches(SequentialSampler(x), 10, False)),
    "own list": lambda x: DataLoader(x, batch_sampler=[list(range(50, 100)), list(range(50))]),
    "own sampler": lambda x: DataLoader(x, 10, sampler=range(99, -1, -1)),
    "random rows": lambda x: DataLoader(x.split(10), batch_size=None, shuffle=True),
    "own loader": lambda x: OwnLoader(x, 10),
}
IN_ORDER = {
    "batches": lambda x: DataLoader(x, 9),
    "torch's own": lambda x: DataLoader(x, batch_sampler=BatchSampler(SequentialSampler(x), 9, False)),
    "whole batches": lambda x: DataLoader(x.split(9), batch_size=None),
}


@pytest.mark.parametrize("kind", OUT_OF_ORDER)
def test_what_is_told_row_by_row_needs_an_order(kind, pair, x):
    loader = OUT_OF_ORDER[kind](x)
    for call in (
        lambda: disentanglement(pair, loader, factors=torch.arange(100)[:, None] % 3),
        lambda: posterior_means(pair, loader),
        lambda: pyvae.to_inference_data(pair, loader, coords={"obs_id": range(100)}),
        lambda: pyvae.to_inference_data(pair, loader),
    ):
        with pytest.raises(pyvae.DataError, match=r"told row by row.*pass the Dataset, or.*shuffle=False"):
            call()
    diagnosis = pyvae.diagnose(pair, loader, 30, sections=[bounds])
    assert diagnosis.sections["bounds"].table.index.name == "arrival"


@pytest.mark.parametrize("kind", IN_ORDER)
def test_torchs_own_samplers_keep_the_order(kind, pair, x):
    loader = IN_ORDER[kind](x)
    torch.testing.assert_close(posterior_means(pair, loader)["z"], posterior_means(pair, x)["z"])
    tree = pyvae.to_inference_data(pair, loader, 3, predictive=None, coords={"obs_id": range(100)})
    assert torch.equal(torch.from_numpy(tree.observed_data["x"].values), x)
    diagnosis = pyvae.diagnose(pair, loader, 30, sections=[bounds])
    assert diagnosis.sections["bounds"].table.index.name == "obs_id"
    information = (disentanglement(pair, data, x.long(), seed=0).mutual_information for data in (loader, x))
    torch.testing.assert_close(*information)


def test_a_stream_has_no_numbers_but_those_of_arrival(pair, x):
    stream = DataLoader(Told(x), 10)
    assert pyvae.to_inference_data(pair, stream, 3, predictive=None).posterior.sizes["obs_id"] == 100
    with pytest.raises(pyvae.DataError, match=r"told row by row"):
        pyvae.to_inference_data(pair, stream, 3, coords={"obs_id": range(100)})
