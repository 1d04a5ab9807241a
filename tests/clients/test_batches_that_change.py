"""What changes while a pair is trained, and what never is: named, where it would go unnoticed."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import pyvae
from pyvae import guides, likelihoods, networks, priors, recipes

ROWS, WIDTH = 24, 6


class Batches(Dataset):
    """Ready batches, as a loader without a batch size gives them."""

    def __init__(self, *batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def loader(*batches):
    return DataLoader(Batches(*batches), batch_size=None)


def x(*shape):
    return torch.rand(*(shape or (8, WIDTH))).round()


def fit(pair, data, **arguments):
    return pyvae.fit(pair, data, **{"epochs": 1, "batch_size": 8, "seed": 0, "progress": False, **arguments})


class Sums(nn.Module):
    """Takes rows of any length, and of any number of dimensions without an error."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.1))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            rate = (self.b * z)[:, None].expand(len(x), x.shape[1])
            pyro.sample("x", dist.Normal(rate, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.a * x.reshape(len(x), -1).mean(-1), 1.0))


class SixColumns(Sums):
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal((self.b * z)[:, None].expand(len(x), WIDTH), 1.0).to_event(1), obs=x)


CHANGES = {
    "a dimension more": (SixColumns, x(8, 1, WIDTH), r"\(8, 1, 6\) float32, where the first is \(8, 6\) float32.*dim"),
    "a dimension less": (SixColumns, x(8), r"\(8,\) float32, where the first is \(8, 6\) float32"),
    "another type": (SixColumns, x().double(), r"\(8, 6\) float64, where the first is \(8, 6\) float32"),
    "one column": (SixColumns, x(8, 1), r"\(8, 1\) float32, where the first is \(8, 6\) float32.*of shape \(8, 1\)"),
    "fewer columns": (lambda: recipes.gaussian((WIDTH,), 2, [4]), x(8, 5), r"\(8, 5\) float32, where the first is"),
    "a tensor more": (
        SixColumns,
        (x(), x()),
        r"\(8, 6\) float32, \(8, 6\) float32, where the first is \(8, 6\) float32",
    ),
}


@pytest.mark.parametrize(("make", "other", "match"), CHANGES.values(), ids=CHANGES)
def test_a_later_batch_of_another_form(make, other, match):
    with pytest.raises(pyvae.DataError, match=f"the batch 3 of epoch 1 is {match}"):
        fit(make(), loader(x(), x(), other))
    with pytest.raises(pyvae.PyvaeError, match=r"float|shape"):
        pyvae.elbo(make(), loader(x(), x(), other))


@pytest.mark.parametrize("lengths", [(6, 6, 6), (6, 4, 9), (3, 1, 6)])
def test_sequences_of_other_lengths(lengths):
    """Taken as they are: the loss is the expectation by hand."""
    batches = [x(8, n) for n in lengths]
    still = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.0)}
    history = fit(Sums(), loader(*batches), epochs=40, **still).history
    by_hand = 0.0
    for b in batches:
        mean = 0.5 * b.mean(-1, keepdim=True)
        squares = ((b - 0.1 * mean).square() + 0.1**2 + math.log(2 * math.pi)).sum(-1)
        by_hand += float((squares + mean[:, 0].square()).sum()) / 2 / 24
    assert sum(row["train_loss"] for row in history) / 40 == pytest.approx(by_hand, abs=0.05)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH, 1), nn.Linear(1, WIDTH)
        self.unused = nn.Linear(3, 3)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.means(z), 1.0).to_event(1), obs=x)

    def means(self, z):
        return self.decoder(z)


class WithoutGradient(Decoder):
    @torch.no_grad()
    def model(self, x):
        super().model(x)


class DecoderWithoutGradient(Decoder):
    def means(self, z):
        with torch.no_grad():
            return self.decoder(z)


class Detached(Decoder):
    def means(self, z):
        return self.decoder(z).detach()


class Frozen(Detached):
    def __init__(self):
        super().__init__()
        self.decoder.requires_grad_(False)


@pytest.mark.parametrize("make", [WithoutGradient, DecoderWithoutGradient, Detached])
def test_what_is_never_trained(make):
    match = r"depend on the parameters \['decoder.weight', 'decoder.bias'\].*no gradient.*no_grad"
    with pytest.warns(UserWarning, match=match) as caught:
        fit(make(), x(ROWS, WIDTH), epochs=2)
    assert len([w for w in caught if "no gradient" in str(w.message)]) == 1


@pytest.mark.parametrize("make", [Decoder, Frozen])
def test_what_is_meant(make):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no gradient")
        fit(make(), x(ROWS, WIDTH))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_buffer_that_is_not_finite(value):
    pair = Decoder()
    pair.register_buffer("spread", torch.tensor([1.0, value]))
    with pytest.raises(pyvae.PairError, match="buffer 'spread' of Decoder is not finite"):
        fit(pair, x(ROWS, WIDTH))


def test_a_mask_of_attention():
    pair = Decoder()
    pair.register_buffer("mask", torch.full((3, 3), -math.inf).triu(1))
    fit(pair, x(ROWS, WIDTH))


class Counts(Decoder):
    """A running figure that overflows while it is trained."""

    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.ones(()))

    def means(self, z):
        if self.training:
            self.largest.mul_(1e30)
        return self.decoder(z)


def test_a_buffer_that_overflows():
    with pytest.raises(pyvae.NonFiniteError, match="buffer 'largest' is not finite after epoch 1"):
        fit(Counts(), x(ROWS, WIDTH))


class Grows(Decoder):
    def means(self, z):
        if self.training and not hasattr(self, "shift"):
            self.shift = nn.Parameter(torch.zeros(WIDTH))
        return self.decoder(z) + getattr(self, "shift", 0.0)


def test_a_parameter_that_is_made_while_training():
    with pytest.raises(pyvae.PairError, match=r"made the parameters \['shift'\] in epoch 1.*before fit"):
        fit(Grows(), x(ROWS, WIDTH), epochs=3)


def test_a_learning_rate_below_zero():
    falling = lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 - 0.6 * epoch)
    with pytest.raises(pyvae.ArgumentError, match=r"learning rate of epoch 3 is -0.0002; expected a schedule"):
        fit(Decoder(), x(ROWS, WIDTH), epochs=5, schedule=falling)


class Doubles(Decoder):
    def model(self, x):
        torch.set_default_dtype(torch.float64)
        super().model(x)


@pytest.mark.parametrize("call", [fit, pyvae.elbo, pyvae.log_weights])
def test_a_program_that_changes_the_default_dtype(call):
    with pytest.raises(pyvae.PairError, match=r"changes torch's default dtype from torch.float32 to torch.float64"):
        call(Doubles(), x(ROWS, WIDTH))
    assert torch.get_default_dtype() == torch.float32


def test_rows_of_which_nothing_was_observed():
    data = torch.rand(ROWS, WIDTH).round()
    data[5], data[7, 0] = math.nan, math.nan
    with pytest.warns(UserWarning, match="nothing was observed of 1 of 24 rows, first of row 5"):
        fit(recipes.incomplete((WIDTH,), latent_dim=2, hidden=[4]), data)


def with_norm():
    encoder = nn.Sequential(nn.Linear(WIDTH, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    p_x = likelihoods.Bernoulli(networks.MLP(2, WIDTH, [4]), event_shape=WIDTH)
    return pyvae.VAE(priors.StandardNormal(2), p_x, guides.DiagonalNormal(encoder, event_shape=2))


@pytest.mark.parametrize("compile", [None, True])
@pytest.mark.parametrize("as_loader", [False, True])
def test_a_last_batch_of_one_row(compile, as_loader):
    data = x(ROWS + 1, WIDTH)
    given = DataLoader(data, batch_size=8) if as_loader else data
    with pytest.raises(pyvae.DataError, match=r"last batch of an epoch has 1 row, of 25 rows in batches of 8"):
        fit(with_norm(), given, compile=compile)


@pytest.mark.parametrize("make", [lambda: x(ROWS, WIDTH), lambda: DataLoader(x(25, WIDTH), 8, drop_last=True)])
def test_last_batches_of_more_rows(make):
    fit(with_norm(), make())


FORMS = {
    "csr": (lambda: scipy.sparse.csr_matrix(x().numpy()), r"torch.from_numpy\(x.toarray\(\)\).float\(\)"),
    "tuple of csr": (lambda: (scipy.sparse.csr_matrix(x().numpy()),), r"torch.from_numpy\(x.toarray\(\)\).float\(\)"),
    "coo of torch": (lambda: x().to_sparse(), r"x.to_dense\(\)"),
    "csr of torch": (lambda: x().to_sparse_csr(), r"x.to_dense\(\)"),
    "integers": (lambda: x().long(), r"the data are torch.int64, the parameters torch.float32: pass x.float\(\)"),
    "doubles": (lambda: x().double(), r"the data are torch.float64.*pass x.float\(\)"),
    "list of rows": (lambda: list(x(12, WIDTH)), r"12 tensors.*torch.stack\(x\)"),
    "dict": (lambda: {"x": x()}, "tuple of its tensors, in the order of the programs' arguments"),
    "iterator": (lambda: iter([x()]), r"torch.cat\(list\(batches\)\)"),
    "logarithm of nothing": (lambda: (x(), torch.zeros(8).log()), "tensor 1 holds .*row 0.*the logarithm of 0"),
}


@pytest.mark.parametrize(("make", "match"), FORMS.values(), ids=FORMS)
def test_forms_of_data(make, match):
    for call in (fit, pyvae.elbo):
        with pytest.raises(pyvae.PyvaeError, match=match):
            call(recipes.gaussian((WIDTH,), 2, [4]), make())
