"""Bad input to the Python API: every mistake gives a clear error of pyvae, at once, and costs nothing on disk."""

import hashlib
import json
import math
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import safetensors.torch
import torch
from pyro.infer import Trace_ELBO
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import pyvae
from pyvae import guides, likelihoods, networks, priors, recipes
from pyvae.checkpoint import read_tensors, write_tensors
from pyvae.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    NonFiniteError,
    PairError,
    PyvaeError,
)

WIDTH, CLASSES, ROWS = 6, 3, 32
CHECKPOINT = "checkpoint.safetensors"


def binary(rows=ROWS, width=WIDTH):
    return torch.arange(rows * width).reshape(rows, width).remainder(2).float()


def labels(rows=ROWS):
    return torch.arange(rows) % CLASSES


def changed(tensor, index, value):
    result = tensor.clone()
    result[index] = value
    return result


def unconditional():
    return recipes.gaussian(shape=(WIDTH,), latent_dim=2, hidden=[4])


def conditional():
    return recipes.conditional(shape=(WIDTH,), num_classes=CLASSES, latent_dim=2, hidden=[4])


def fit(pair, data, **arguments):
    return pyvae.fit(pair, data, **{"epochs": 1, "batch_size": 8, "seed": 0, "progress": False, **arguments})


def adam(lr=1e-3):
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in Path(folder).rglob("*")}


def weights(pair):
    return {n: t.clone() for n, t in pair.state_dict().items()} if isinstance(pair, nn.Module) else {}


def assert_refused(error, match, call, *, folder=None, pair=None, same_streams=True):
    """``call`` raises ``error`` with a telling message and leaves files, weights, param store and streams alone."""
    files = None if folder is None else contents(folder)
    before, stream = weights(pair), torch.random.get_rng_state()
    with pytest.raises(PyvaeError, match=f"(?s){match}") as caught:
        call()
    assert isinstance(caught.value, error)
    assert files is None or contents(folder) == files
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(pair).items())
    if pair is not None:
        assert len(pyro.get_param_store()) == 0
        assert not same_streams or torch.equal(torch.random.get_rng_state(), stream)


def assert_fit_refused(error, match, pair, data, folder, **arguments):
    given = {"checkpoint_dir": folder / "run", **arguments}
    own_streams = not isinstance(data, DataLoader | Items)  # of a loader: test_loader_and_the_global_streams
    call = lambda: fit(pair, data, **given)
    assert_refused(error, match, call, folder=folder, pair=pair, same_streams=own_streams)


class DataFrame:
    """What a table of another library looks like."""

    columns = ("a", "b")
    values = np.zeros((4, 2))

    def __len__(self):
        return 4

    def __getitem__(self, name):
        return self.values[:, 0]


class Items(Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Stream(IterableDataset):
    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


BAD_DATA = {
    "none": (lambda: None, DataError, "data is NoneType.*expected a tensor"),
    "path": (lambda: "digits.npy", DataError, "data is str.*expected a tensor"),
    "numpy array": (lambda: binary().numpy(), DataError, "data is ndarray.*expected a tensor.*torch.from_numpy"),
    "tuple of numpy arrays": (lambda: (binary().numpy(),), DataError, "tuple of ndarray.*expected tensors"),
    "list of numbers": (lambda: [0.0, 1.0], DataError, "list of float, float.*expected tensors"),
    "list of lists": (lambda: [[0.0, 1.0]], DataError, "list of list.*expected tensors"),
    "empty tuple": (lambda: (), DataError, "tuple of nothing.*expected tensors"),
    "all of a dataset": (pyvae.datasets.digits, DataError, "data is DataSplits.*expected a tensor"),
    "dict": (lambda: {"x": binary()}, DataError, "data is dict.*expected a tensor"),
    "data frame": (DataFrame, DataError, "data is DataFrame.*expected a tensor"),
    "class of a dataset": (lambda: TensorDataset, DataError, "the class TensorDataset.*expected"),
    "generator": (lambda: (x for x in binary()), DataError, "data is generator.*expected a tensor"),
    "stream without a loader": (lambda: Stream(binary()), DataError, "data is Stream.*map-style.*DataLoader"),
    "no rows": (lambda: torch.zeros(0, WIDTH), DataError, r"shape \(0, 6\).*at least one row"),
    "0-dim": (lambda: torch.tensor(1.0), DataError, r"shape \(\).*at least one row"),
    "empty dataset": (lambda: Items(), DataError, "Dataset is empty.*at least one"),
    "unequal lengths": (lambda: (binary(), labels(ROWS - 1)), DataError, "have 32, 31 rows.*equally many"),
    "nan": (lambda: changed(binary(), (17, 3), math.nan), DataError, "data: tensor 0 holds NaN.*row 17.*clean"),
    "inf": (lambda: changed(binary(), (31, 0), -math.inf), DataError, "NaN or infinity.*row 31"),
    "nan in a dataset": (
        lambda: TensorDataset(changed(binary(), (2, 0), math.nan)),
        DataError,
        "tensor 0 holds NaN or infinity.*row 2",
    ),
    "above 1": (lambda: 255 * binary(), DataError, r"\[0, 255\].*support of site 'x'.*Bernoulli.*rescale or binarize"),
    "below 0": (lambda: binary() - 1, DataError, r"\[-1, 0\].*support of site 'x'.*rescale"),
    "above 1 in the last row": (lambda: changed(binary(), (-1, -1), 1.5), DataError, r"\[0, 1.5\].*support of site"),
    "uint8": (lambda: binary().byte(), (DataError, PairError), "torch.uint8.*(?i:float)"),
    "int64": (lambda: binary().long(), (DataError, PairError), "torch.int64.*(?i:float)"),
    "float64": (lambda: binary().double(), (DataError, PairError), "torch.float64.*(?i:float)"),
    "complex": (lambda: binary() + 0j, (DataError, PairError), "torch.complex64"),
    "sparse": (lambda: binary().to_sparse(), DataError, "(?i)sparse"),
    "too narrow": (lambda: binary(width=5), (DataError, PairError), r"\(8, 5\).*6"),
    "vector": (lambda: torch.ones(WIDTH), (DataError, PairError), r"\(6,\)"),
    "one dimension too many": (
        lambda: torch.ones(8, 8, WIDTH),
        (DataError, PairError),
        r"Expected \[8\], actual \[8, 8\]",
    ),
    "labels without a context": (lambda: (binary(), labels()), DataError, "got labels y.*no context.*x alone"),
    "loader of dicts": (
        lambda: DataLoader(Items(*({"x": x} for x in binary())), 8),
        DataError,
        "batch consists of dict.*expected a tensor",
    ),
    "loader of strings": (
        lambda: DataLoader(Items("a", "b"), 2),
        DataError,
        "batch consists of str.*expected a tensor",
    ),
    "loader of nothing": (lambda: DataLoader(Stream(), 8), DataError, "empty.*at least one datapoint"),
    "loader of empty tuples": (lambda: DataLoader(Items((), ()), 2), DataError, "(?i)batch.*expected a tensor"),
    "dataset of nones": (lambda: Items(None, None), DataError, "NoneType.*(?i:expected|tensor)"),
    "dataset of ragged rows": (lambda: Items(torch.ones(6), torch.ones(5)), DataError, "(?i)size|shape"),
}

BAD_LABELS = {
    "missing": (lambda: binary(), DataError, r"got no labels y.*context.*\(x, y\)"),
    "float": (lambda: (binary(), labels().float()), DataError, r"torch.float32.*integers in \[0, 3\).*y.long"),
    "bool": (lambda: (binary(), labels() > 0), DataError, "torch.bool.*integers"),
    "too large": (lambda: (binary(), labels() + 1), DataError, r"labels lie in \[\d, 3\].*expected \[0, 2\]"),
    "negative": (lambda: (binary(), labels() - 1), DataError, r"labels lie in \[-1, 1\].*expected \[0, 2\]"),
    "too large in the last row": (lambda: (binary(), changed(labels(), -1, 99)), DataError, r"99.*expected \[0, 2\]"),
    "negative in the last row": (lambda: (binary(), changed(labels(), -1, -1)), DataError, r"-1.*expected \[0, 2\]"),
    "column": (lambda: (binary(), labels()[:, None]), (DataError, PairError), r"\(8, 6\).*\(8, 8, 6\)"),
    "one-hot": (lambda: (binary(), torch.eye(CLASSES)[labels()]), DataError, "torch.float32.*integers"),
    "x and y swapped": (lambda: (labels(), binary()), (DataError, PairError), "torch.float32.*integers|int64"),
    "weights as well": (lambda: (binary(), labels(), torch.ones(ROWS)), (DataError, PairError), "3|argument|tensors"),
}

BAD_ARGUMENTS = {
    **{f"batch_size {v!r}": ({"batch_size": v}, f"batch_size is {v!r}.*positive int") for v in (0, -1, True, "8", 8.0)},
    **{f"epochs {v!r}": ({"epochs": v}, f"epochs is {v!r}.*positive int") for v in (0, -1, True, "3", 1.5, None)},
    **{
        f"clip_norm {v!r}": ({"clip_norm": v}, f"clip_norm is {v!r}.*positive number")
        for v in (0, -1.0, math.nan, math.inf, "1")
    },
    **{
        f"patience {v!r}": ({"patience": v, "validation": binary()}, f"patience is {v!r}.*positive int")
        for v in (0, -1, 1.5, True)
    },
    **{f"seed {v!r}": ({"seed": v}, f"seed is {v!r}.*int in") for v in (-1, 2**63, 1.5, "0", True)},
    "patience without validation": ({"patience": 1}, "patience needs validation.*pass validation="),
    "objective class": ({"objective": Trace_ELBO}, r"objective is.*Trace_ELBO.*pass an instance: Trace_ELBO\(\)"),
    "objective string": ({"objective": "Trace_ELBO"}, "objective is 'Trace_ELBO'.*expected a Pyro ELBO"),
    "objective function": ({"objective": lambda *args: 0.0}, "objective is .*expected a Pyro ELBO"),
    "objective without particles": ({"objective": Trace_ELBO(num_particles=0)}, "num_particles.*0"),
    "optimizer none": ({"optimizer": None}, "optimizer is a NoneType.*function from parameters"),
    "optimizer string": ({"optimizer": "adam"}, "optimizer is a str.*function from parameters"),
    "optimizer instance": (
        {"optimizer": torch.optim.Adam([torch.zeros(1, requires_grad=True)])},
        "optimizer is a Adam.*function from parameters",
    ),
    "optimizer of pyro": ({"optimizer": pyro.optim.Adam({"lr": 1e-3})}, "pyro.optim"),
    "optimizer class of pyro": ({"optimizer": pyro.optim.Adam}, "optimizer makes a .*|cannot be built.*pyro.optim"),
    "optimizer making nonsense": ({"optimizer": lambda p: 3}, "optimizer makes a int.*torch.optim.Optimizer"),
    "optimizer making none": ({"optimizer": lambda p: None}, "optimizer makes a NoneType"),
    "optimizer without argument": ({"optimizer": lambda: None}, "optimizer cannot be built.*function from parameters"),
    "optimizer with a negative rate": ({"optimizer": adam(-1.0)}, "optimizer cannot be built.*-1.0"),
    "optimizer that fails": ({"optimizer": lambda p: {}["lr"]}, "optimizer cannot be built.*lr"),
    "optimizer of other parameters": (
        {"optimizer": lambda p: torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)},
        "optimizer.*parameters",
    ),
    "lbfgs": ({"optimizer": torch.optim.LBFGS}, "LBFGS needs a closure.*first-order"),
    "schedule string": ({"schedule": "cosinus"}, "schedule is 'cosinus'; expected one of cosine, linear"),
    "schedule instance": (
        {
            "schedule": torch.optim.lr_scheduler.ConstantLR(
                torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
            )
        },
        "schedule.*ConstantLR.*expected",
    ),
    "schedule making nonsense": ({"schedule": lambda optimizer: 3}, "schedule.*int.*expected"),
    "checkpoint_dir number": ({"checkpoint_dir": 5}, "checkpoint_dir is 5"),
    "resume without checkpoint_dir": ({"resume": True, "checkpoint_dir": None}, "resume.*pass checkpoint_dir="),
    "tensorboard without checkpoint_dir": (
        {"tensorboard": True, "checkpoint_dir": None},
        "tensorboard.*pass checkpoint_dir=",
    ),
}

BAD_VALIDATION = {
    "array": (lambda: binary().numpy(), DataError, "validation is ndarray.*torch.from_numpy"),
    "no rows": (lambda: binary()[:0], DataError, "validation has shape.*at least one row"),
    "nan": (lambda: changed(binary(), 3, math.nan), DataError, "validation: tensor 0 holds NaN.*row 3"),
    "too narrow": (lambda: binary(width=5), (DataError, PairError), r"\(7, 5\)|\(8, 5\)|validation"),
    "labels": (lambda: (binary(), labels()), DataError, "got labels y.*no context"),
    "outside the support": (lambda: 2 * binary(), DataError, "validation.*support|support.*site 'x'"),
    "outside the support in the last row": (lambda: changed(binary(), -1, 2.0), DataError, "support"),
}


@pytest.mark.parametrize(("data", "error", "match"), BAD_DATA.values(), ids=BAD_DATA)
def test_data(data, error, match, tmp_path):
    assert_fit_refused(error, match, unconditional(), data(), tmp_path)


@pytest.mark.parametrize(("data", "error", "match"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels(data, error, match, tmp_path):
    assert_fit_refused(error, match, conditional(), data(), tmp_path)


@pytest.mark.parametrize(("arguments", "match"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_arguments(arguments, match, tmp_path):
    assert_fit_refused(ArgumentError, match, unconditional(), binary(), tmp_path, **arguments)


@pytest.mark.parametrize(("data", "error", "match"), BAD_VALIDATION.values(), ids=BAD_VALIDATION)
def test_validation_data(data, error, match, tmp_path):
    assert_fit_refused(error, match, unconditional(), binary(), tmp_path, validation=data())


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    match = "tensorboard is not installed.*pip install"
    assert_fit_refused(ArgumentError, match, unconditional(), binary(), tmp_path, tensorboard=True)


@pytest.mark.parametrize("rows", [ROWS, 0], ids=["fitted", "refused"])
def test_loader_and_the_global_streams(rows):
    loader, pair = DataLoader(Stream(*binary(rows)), 8), unconditional()
    stream = torch.random.get_rng_state()
    try:
        fit(pair, loader)
    except DataError:
        assert not rows
    assert torch.equal(torch.random.get_rng_state(), stream)


def test_loader_that_cannot_start_again():
    once = iter(binary().split(8))
    stream = Stream()
    stream.__class__ = type("Once", (Stream,), {"__iter__": lambda self: once})
    with pytest.raises(PairError, match=r"no batch in this epoch.*DataLoader must be able to start again"):
        fit(unconditional(), DataLoader(stream, batch_size=None), epochs=3)


class Pair(nn.Module):
    """A correct pair of a module of the user's own; the cases replace a part."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH, 1), nn.Linear(1, WIDTH)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))


class WithoutGuide(nn.Module):
    model = Pair.model


class GuideIsNoProgram(Pair):
    guide = "a guide"


class WithoutParameters(Pair):
    def __init__(self):
        nn.Module.__init__(self)
        self.encoder, self.decoder = (lambda x: x[:, :1]), (lambda z: z.expand(-1, WIDTH))


class Frozen(Pair):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)


class ObservesNothing(Pair):
    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))


class OtherNames(Pair):
    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("w", dist.Normal(self.encoder(x), 1.0).to_event(1))


class GuideSamplesNothing(Pair):
    def guide(self, x):
        self.encoder(x)


class GuideSamplesMore(Pair):
    def guide(self, x):
        super().guide(x)
        pyro.sample("extra", dist.Normal(0.0, 1.0))


class BareParameter(Pair):
    def guide(self, x):
        shift = pyro.param("shift", torch.zeros(1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x) + shift, 1.0).to_event(1))


class ProgramFails(Pair):
    def model(self, x):
        raise KeyError("decoder")


class OtherSignature(Pair):
    def guide(self):
        pass


BAD_PAIRS = {
    "no module": (lambda: object(), "got a object.*torch.nn.Module with the methods model and guide"),
    "none": (lambda: None, "got a NoneType.*methods model and guide"),
    "tuple of programs": (lambda: (Pair().model, Pair().guide), "got a tuple.*methods model and guide"),
    "class": (lambda: Pair, "got a .*methods model and guide"),
    "network": (lambda: nn.Linear(WIDTH, 2), "got a Linear.*methods model and guide"),
    "without guide": (WithoutGuide, "got a WithoutGuide.*methods model and guide"),
    "guide is no program": (GuideIsNoProgram, "got a GuideIsNoProgram.*methods model and guide"),
    "without parameters": (WithoutParameters, "WithoutParameters has no parameters.*nothing to train"),
    "frozen": (Frozen, "Frozen has no parameters that require gradients"),
    "observes nothing": (ObservesNothing, "observes nothing.*expected a sample site with obs"),
    "other names": (OtherNames, r"differ.*\['z'\].*in the model alone.*\['w'\].*guide alone.*same names"),
    "guide samples nothing": (GuideSamplesNothing, r"differ.*\['z'\].*in the model alone"),
    "guide samples more": (GuideSamplesMore, r"differ.*\['extra'\].*in the guide alone"),
    "bare parameter": (BareParameter, r"\['shift'\].*param store.*nn.Parameter"),
    "program fails": (ProgramFails, r"ProgramFails.model failed.*\(8, 6\).*decoder"),
    "other signature": (OtherSignature, r"OtherSignature.guide failed.*positional argument"),
}


@pytest.mark.parametrize(("make", "match"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_pair(make, match, tmp_path):
    assert_fit_refused(PairError, match, make(), binary(), tmp_path)


class Gives(nn.Module):
    """A component that gives what it is told to, whatever comes."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, *inputs):
        return self.make(*inputs)


def vae(**components):
    own = {
        "prior": priors.StandardNormal(2),
        "likelihood": likelihoods.Normal(nn.Linear(2, WIDTH), WIDTH),
        "posterior": guides.DiagonalNormal(nn.Linear(WIDTH, 4), 2),
    }
    return pyvae.VAE(**{**own, **components})


def normal(*shape):
    return dist.Normal(torch.zeros(shape), 1.0)


BAD_COMPONENTS = {
    "prior class": (
        lambda: vae(prior=priors.StandardNormal),
        PairError,
        "prior is a .*expected a torch.nn.Module",
    ),
    "prior distribution": (lambda: vae(prior=normal(2)), PairError, "prior is a Normal.*torch.nn.Module"),
    "prior none": (lambda: vae(prior=None), PairError, "prior is a NoneType.*torch.nn.Module"),
    "likelihood function": (lambda: vae(likelihood=lambda z: z), PairError, "likelihood is a function.*nn.Module"),
    "context number": (lambda: vae(context=3), PairError, "context is a int.*torch.nn.Module"),
    "prior gives a tuple": (
        lambda: vae(prior=Gives(lambda: (torch.zeros(2), torch.ones(2)))),
        PairError,
        "prior: Gives returned tuple.*expected a Pyro distribution.*to_event",
    ),
    "likelihood gives a tensor": (
        lambda: vae(likelihood=nn.Linear(2, WIDTH)),
        PairError,
        "likelihood: Linear returned Tensor.*expected a Pyro distribution",
    ),
    "posterior gives a tuple": (
        lambda: vae(posterior=Gives(lambda x: (x, x))),
        PairError,
        "posterior: Gives returned tuple.*expected a Pyro distribution",
    ),
    "prior without to_event": (
        lambda: vae(prior=Gives(lambda: normal(3))),
        PairError,
        r"prior: batch shape \(3,\).*to_event",
    ),
    "prior of two without to_event": (
        lambda: vae(prior=Gives(lambda: normal(2))),
        PairError,
        r"prior|\(\)|event shape|to_event",
    ),
    "likelihood without to_event": (
        lambda: vae(likelihood=Gives(lambda z: normal(len(z), WIDTH))),
        PairError,
        r"likelihood: batch shape \(2, 6\).*expected batch shape \(2,\).*to_event",
    ),
    "posterior without to_event": (
        lambda: vae(posterior=Gives(lambda x: normal(len(x), 2))),
        PairError,
        r"posterior: batch shape \(2, 2\).*to_event",
    ),
    "posterior of another shape": (
        lambda: vae(prior=priors.StandardNormal(3), likelihood=likelihoods.Normal(nn.Linear(3, WIDTH), WIDTH)),
        PairError,
        r"posterior: event shape \(2,\).*prior, \(3,\)",
    ),
    "likelihood for another latent": (
        lambda: vae(likelihood=likelihoods.Normal(nn.Linear(3, WIDTH), WIDTH)),
        PairError,
        r"likelihood: Normal failed on \(2, 2\)",
    ),
    "posterior for other data": (
        lambda: vae(posterior=guides.DiagonalNormal(nn.Linear(WIDTH + 1, 4), 2)),
        PairError,
        r"posterior: DiagonalNormal failed on \(2, 6\)",
    ),
    "encoder with half its outputs": (
        lambda: vae(posterior=guides.DiagonalNormal(nn.Linear(WIDTH, 2), 2)),
        PairError,
        r"posterior: Linear returned shape \(2, 2\).*expected \(..., 4\)",
    ),
    "decoder with too many outputs": (
        lambda: vae(likelihood=likelihoods.Normal(nn.Linear(2, WIDTH + 1), WIDTH)),
        PairError,
        r"likelihood: Linear returned shape \(2, 7\).*expected \(..., 6\)",
    ),
    "network gives a tuple": (
        lambda: vae(posterior=guides.DiagonalNormal(Gives(lambda x: (x, x)), 2)),
        PairError,
        "posterior: Gives returned tuple.*expected one tensor",
    ),
    "scale below zero in a component": (
        lambda: vae(posterior=Gives(lambda x: dist.Normal(torch.zeros(len(x), 2), -1.0).to_event(1))),
        PairError,
        "posterior: Gives failed.*scale",
    ),
    "component fails": (
        lambda: vae(likelihood=Gives(lambda z: {}["scale"])),
        PairError,
        "likelihood: Gives failed.*scale",
    ),
    **{
        f"event_shape {shape!r}": (
            lambda shape=shape: priors.StandardNormal(shape),
            ArgumentError,
            f"event_shape is {re.escape(repr(shape))}.*positive int",
        )
        for shape in [(0,), (), 0, -2, (3, -1), "abc", 2.5, (1.5,), None]
    },
    "shape of a recipe": (lambda: recipes.gaussian(shape=(0,)), ArgumentError, r"shape is \(0,\).*positive int"),
    "latent_dim 0": (lambda: recipes.gaussian(shape=(6,), latent_dim=0), ArgumentError, "is 0.*positive int"),
    "hidden 0": (lambda: recipes.gaussian(shape=(6,), hidden=[4, 0]), ArgumentError, r"hidden is \[.*positive int"),
    "channels 0": (lambda: recipes.convolutional((1, 8, 8), channels=[0]), ArgumentError, r"channels.*0.*positive"),
    "convolution of vectors": (
        lambda: recipes.convolutional(shape=(64,)),
        ArgumentError,
        r"\(64,\).*\(channels, height, width\).*MLP",
    ),
    "no channels": (lambda: networks.ConvEncoder((1, 8, 8), 4, channels=()), ArgumentError, "at least one layer"),
    "likelihood by name": (
        lambda: recipes.gaussian(shape=(6,), likelihood="Bernoulli"),
        ArgumentError,
        "likelihood is 'Bernoulli'",
    ),
    "likelihood instance in a recipe": (
        lambda: recipes.gaussian(shape=(6,), likelihood=likelihoods.Bernoulli(nn.Linear(2, 6), 6)),
        (ArgumentError, PairError),
        "(?i)likelihood.*Bernoulli",
    ),
    **{
        f"scale {scale!r}": (
            lambda scale=scale: likelihoods.Normal(nn.Linear(2, 6), 6, scale=scale),
            ArgumentError,
            f"scale is {scale!r}.*positive number",
        )
        for scale in (0, -1.0, math.nan, math.inf, "1")
    },
    **{
        f"num_components {count!r}": (
            lambda count=count: priors.NormalMixture(2, num_components=count),
            ArgumentError,
            f"num_components is {count!r}.*positive int",
        )
        for count in (0, -1, 1.5)
    },
    "num_classes 0": (lambda: networks.OneHot(0), ArgumentError, "num_classes is 0.*positive int"),
    "0-dim input of a convolution": (
        lambda: networks.ConvEncoder((1, 8, 8), 4)(torch.zeros(8, 8)),
        ArgumentError,
        r"shape \(8, 8\).*at least 3 dimensions",
    ),
}


@pytest.mark.parametrize(("build", "error", "match"), BAD_COMPONENTS.values(), ids=BAD_COMPONENTS)
def test_component(build, error, match):
    assert_refused(error, match, build)


class GlobalLatent(Pair):
    def model(self, x):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.sample("z", dist.Normal(self.encoder(x).mean(0), 1.0).to_event(1))


class BatchInEvent(Pair):
    def model(self, x):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(2))
        pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(2), obs=x)

    def guide(self, x):
        pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(2))


class DeltaGuide(Pair):
    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(self.encoder(x)).to_event(1))


FIGURES = {
    "elbo": pyvae.elbo,
    "log_likelihood": pyvae.log_likelihood,
    "evaluate": pyvae.evaluate,
    "log_weights": pyvae.log_weights,
}

BAD_FIGURES = {
    **{
        f"num_particles {count!r}": (
            unconditional,
            binary,
            {"num_particles": count},
            ArgumentError,
            f"num_particles.*{count}",
        )
        for count in (0, -1, 1.5, "3")
    },
    "max_memory 0": (unconditional, binary, {"max_memory": 0}, ArgumentError, "max_memory is 0.*positive"),
    "no pair": (lambda: None, binary, {}, PairError, "got a NoneType.*methods model and guide"),
    "site outside of the plate": (
        GlobalLatent,
        binary,
        {},
        PairError,
        "site 'z'.*outside of the data plate.*pyro.plate",
    ),
    "batch in the event": (BatchInEvent, binary, {}, PairError, "site 'z'.*outside of the data plate"),
    "other names": (OtherNames, binary, {}, PairError, r"\['w'\]"),
    "observes nothing": (ObservesNothing, binary, {}, PairError, "observes nothing.*obs=x"),
    "array": (unconditional, lambda: binary().numpy(), {}, DataError, "ndarray|expected.*tensor"),
    "no rows": (unconditional, lambda: binary()[:0], {}, DataError, "at least one row|no data"),
    "0-dim": (unconditional, lambda: torch.tensor(1.0), {}, DataError, "one row per datapoint"),
    "nan": (unconditional, lambda: changed(binary(), 9, math.nan), {}, DataError, "NaN or infinity.*row 9"),
    "outside the support": (unconditional, lambda: 2 * binary(), {}, DataError, "support|Bernoulli"),
    "outside the support in the last row": (
        unconditional,
        lambda: changed(binary(), -1, 2.0),
        {},
        DataError,
        "support|Bernoulli",
    ),
    "too narrow": (unconditional, lambda: binary(width=5), {}, (DataError, PairError), r"\(\d+, 5\)"),
    "labels missing": (conditional, binary, {}, DataError, "got no labels y"),
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize(("make", "data", "arguments", "error", "match"), BAD_FIGURES.values(), ids=BAD_FIGURES)
def test_figure(figure, make, data, arguments, error, match):
    pair, x = make(), data()
    assert_refused(error, match, lambda: FIGURES[figure](pair, x, **arguments), pair=pair)


@pytest.mark.parametrize("figure", ["log_likelihood", "evaluate"])
def test_figure_of_a_delta_guide(figure):
    pair = DeltaGuide()
    match = "site 'z' of the guide is a Delta.*use elbo"
    assert_refused(PairError, match, lambda: FIGURES[figure](pair, binary()), pair=pair)


@pytest.mark.parametrize("figure", ["elbo", "log_likelihood", "evaluate"])
@pytest.mark.parametrize("seed", [-1, "0"])
def test_seed_of_a_figure(figure, seed):
    pair = unconditional()
    assert_refused(ArgumentError, "seed", lambda: FIGURES[figure](pair, binary(), seed=seed), pair=pair)


def test_log_weights_without_data():
    assert_refused(
        DataError, "no data.*expected as first argument a tensor", lambda: pyvae.log_weights(unconditional())
    )


def test_log_weights_of_unequal_lengths():
    pair = conditional()
    call = lambda: pyvae.log_weights(pair, binary(), labels(ROWS - 1))
    assert_refused((DataError, PairError), "32|31", call, pair=pair)


@pytest.fixture
def pair_file(tmp_path):
    path = tmp_path / "pair.safetensors"
    pyvae.save(path, unconditional())
    return path


@pytest.fixture
def run(tmp_path):
    """A finished run of one epoch."""
    fit(unconditional(), binary(), checkpoint_dir=tmp_path / "run")
    return tmp_path / "run"


class Exploit:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def flipped(content):
    """One bit changed in the tensors, which follow the header."""
    return content[:-1] + bytes([content[-1] ^ 1])


def edited_header(content):
    assert content.count(b"gaussian") == 1
    return content.replace(b"gaussian", b"Gaussian")


def other_format(content):
    return sealed('{"format": 99, "pyvae": "9.9", "kind": "pair", "recipe": null}')


def sealed(header):
    """A file without tensors whose checksum is right, whatever its header says."""
    digest = hashlib.sha256(header.encode()).hexdigest()
    return safetensors.torch.save({}, {"pyvae": f"{digest} {header}"})


CORRUPTIONS = {
    "truncated": (lambda content: content[: len(content) // 2], "truncated or foreign"),
    "one byte short": (lambda content: content[:-1], "truncated or foreign"),
    "empty": (lambda content: b"", "truncated or foreign"),
    "random bytes": (lambda content: np.random.default_rng(0).bytes(4096), "truncated or foreign"),
    "text": (lambda content: b"epoch,elbo\n1,-3.0\n", "truncated or foreign"),
    "foreign safetensors": (
        lambda content: safetensors.torch.save({"weight": torch.zeros(2)}),
        "pyvae did not write it.*header is missing",
    ),
    "flipped bit": (flipped, "changed after it was written.*checksum"),
    "edited header": (edited_header, "changed after it was written.*checksum"),
    "trailing bytes": (lambda content: content + b"\0", "truncated or foreign|changed"),
    "other format": (other_format, "format 99.*pyvae 9.9.*reads format 1"),
    "header is no JSON": (lambda content: sealed("{"), "header"),
    "header is a list": (lambda content: sealed("[]"), "header|format"),
    "header is null": (lambda content: sealed("null"), "header|format"),
    "header without a kind": (lambda content: sealed('{"format": 1}'), "header|kind|recipe"),
}


@pytest.mark.parametrize(("corrupt", "match"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_load_of_a_corrupt_file(corrupt, match, pair_file, tmp_path):
    pair_file.write_bytes(corrupt(pair_file.read_bytes()))
    assert_refused(CheckpointError, f"pair.safetensors.*({match})", lambda: pyvae.load(pair_file), folder=tmp_path)


@pytest.mark.parametrize(("corrupt", "match"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_load_of_a_corrupt_file_into_a_pair(corrupt, match, pair_file, tmp_path):
    pair_file.write_bytes(corrupt(pair_file.read_bytes()))
    pair = unconditional()
    call = lambda: pyvae.load(pair_file, pair)
    assert_refused(CheckpointError, f"pair.safetensors.*({match})", call, folder=tmp_path, pair=pair)


@pytest.mark.parametrize(("corrupt", "match"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_resumption_from_a_corrupt_checkpoint(corrupt, match, run):
    checkpoint = run / CHECKPOINT
    checkpoint.write_bytes(corrupt(checkpoint.read_bytes()))
    pair = unconditional()
    call = lambda: fit(pair, binary(), epochs=2, checkpoint_dir=run, resume=True)
    assert_refused(CheckpointError, f"{CHECKPOINT}.*({match})", call, folder=run, pair=pair)


@pytest.mark.parametrize("dump", [pickle.dumps, None], ids=["pickle", "torch.save"])
def test_pickle_is_never_run(dump, tmp_path):
    path, witness = tmp_path / "pair.pt", tmp_path / "witness"
    if dump is None:
        torch.save({"weights": Exploit(witness)}, path)
    else:
        path.write_bytes(dump(Exploit(witness)))
    assert_refused(CheckpointError, "no readable safetensors file", lambda: pyvae.load(path), folder=tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("name", ["missing.safetensors", ".", "pair.safetensors/below"])
def test_load_of_no_file(name, pair_file, tmp_path):
    assert_refused(CheckpointError, "is no file.*expected one", lambda: pyvae.load(tmp_path / name), folder=tmp_path)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: recipes.gaussian(shape=(WIDTH,), latent_dim=3, hidden=[4]), "does not belong.*shape.*in the file"),
        (lambda: recipes.gaussian(shape=(WIDTH,), latent_dim=2, hidden=[4, 4]), "does not belong.*(no tensor|shape)"),
        (lambda: unconditional().double(), "does not belong.*float32.*float64"),
        (Pair, "does not belong.*no tensor"),
    ],
    ids=["other latent", "more layers", "other dtype", "other class"],
)
def test_load_into_another_pair(make, match, pair_file, tmp_path):
    pair = make()
    assert_refused(CheckpointError, match, lambda: pyvae.load(pair_file, pair), folder=tmp_path, pair=pair)


def test_load_without_a_recipe(tmp_path):
    path = tmp_path / "own.safetensors"
    pyvae.save(path, Pair())
    assert_refused(CheckpointError, r"does not say how its pair is built.*load\(path, pair\)", lambda: pyvae.load(path))


BAD_RECIPES = {
    "unknown": ({"name": "shell", "arguments": {}}, "no recipe 'shell'.*expected one of"),
    "private": ({"name": "_likelihood", "arguments": {}}, "no recipe '_likelihood'"),
    "function of the module": ({"name": "load", "arguments": {"path": "x"}}, "no recipe 'load'"),
    "unknown argument": ({"name": "gaussian", "arguments": {"shape": [6], "depth": 3}}, "cannot be built.*depth"),
    "argument missing": ({"name": "gaussian", "arguments": {}}, "(cannot be built.*shape|holds the text .six.)"),
    "argument of another type": (
        {"name": "gaussian", "arguments": {"shape": "six"}},
        "(cannot be built.*shape|holds the text .six.)",
    ),
    "shape out of range": ({"name": "gaussian", "arguments": {"shape": [0]}}, "gaussian.*shape"),
    "without arguments": ({"name": "gaussian"}, "recipe|arguments"),
    "arguments are a list": ({"name": "gaussian", "arguments": [6]}, "gaussian|recipe|arguments"),
    "name is a list": ({"name": ["gaussian"], "arguments": {}}, "recipe"),
    "a string": ("gaussian", "recipe"),
    "class path is a number": (
        {"name": "gaussian", "arguments": {"shape": [6], "prior": {"class_path": 3}}},
        "gaussian|class",
    ),
}


def forged(path, recipe):
    """A whole file of weights that claims to be made by ``recipe``."""
    write_tensors(path, unconditional().state_dict(), {"kind": "pair", "recipe": recipe})
    return path


@pytest.mark.parametrize(("recipe", "match"), BAD_RECIPES.values(), ids=BAD_RECIPES)
def test_load_with_a_bad_recipe(recipe, match, tmp_path):
    path = forged(tmp_path / "forged.safetensors", recipe)
    assert_refused(CheckpointError, match, lambda: pyvae.load(path), folder=tmp_path)


FOREIGN = {
    "class path": {"prior": {"class_path": "foreign_code.Prior"}},
    "class path of the likelihood": {"likelihood": {"class_path": "foreign_code.Prior"}},
    "path as a string": {"prior": "foreign_code.Prior"},
    "function as a string": {"activation": "foreign_code.make"},
    "JSON in a string": {"prior": '{"class_path": "foreign_code.Prior"}'},
    "class path in init_args": {
        "likelihood": {"class_path": "pyvae.likelihoods.Normal", "init_args": {"network": "foreign_code.Prior"}}
    },
    "class path below init_args": {
        "activation": {
            "class_path": "torch.nn.Sequential",
            "init_args": {"arg": {"class_path": "foreign_code.Prior"}},
        }
    },
    "disguised as ours": {"prior": {"class_path": "pyvae_foreign_code.Prior"}},
    "function of the standard library": {"activation": "tempfile.mkdtemp"},
    "through a module that ours imports": {"activation": "pyvae.checkpoint.tempfile.mkdtemp"},
    "class path through a module that ours imports": {
        "activation": {"class_path": "pyvae.checkpoint.tempfile.TemporaryDirectory"}
    },
}


@pytest.mark.parametrize("arguments", FOREIGN.values(), ids=FOREIGN)
def test_foreign_code_named_in_a_file_is_not_imported(arguments, tmp_path, monkeypatch):
    code = (
        "from pathlib import Path\nimport torch\nPath(__file__).with_name('witness').touch()\n"
        "class Prior(torch.nn.Module):\n    pass\n"
        "def make() -> torch.nn.Module:\n    return Prior()\n"
    )
    for module in ("foreign_code", "pyvae_foreign_code"):
        (tmp_path / f"{module}.py").write_text(code)
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    recipe = {"name": "gaussian", "arguments": {"shape": [WIDTH], "latent_dim": 2, "hidden": [4], **arguments}}
    path = forged(tmp_path / "forged.safetensors", recipe)
    assert_refused(
        CheckpointError, "gaussian|not ours|the record holds the text", lambda: pyvae.load(path), folder=tmp_path
    )
    assert {"foreign_code", "pyvae_foreign_code"}.isdisjoint(sys.modules)


def test_directory_that_holds_a_run(run):
    pair = unconditional()
    match = "already holds a run.*resume=True.*another checkpoint_dir"
    call = lambda: fit(pair, binary(), checkpoint_dir=run)
    assert_refused(CheckpointError, match, call, folder=run, pair=pair)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/pyvae-run", "/dev/null"])
@pytest.mark.parametrize("resume", [False, True])
def test_directory_that_cannot_be_made(place, resume, tmp_path):
    (tmp_path / "file").write_text("precious")
    pair, directory = unconditional(), tmp_path / place
    call = lambda: fit(pair, binary(), checkpoint_dir=directory, resume=resume)
    assert_refused(CheckpointError, f"{re.escape(str(directory))}", call, folder=tmp_path, pair=pair)


def test_directory_that_cannot_be_written(tmp_path):
    pair = unconditional()
    call = lambda: fit(pair, binary(), checkpoint_dir="/proc/self")
    assert_refused(CheckpointError, "cannot write /proc/self", call, pair=pair)


OTHER_SETTINGS = {
    "seed": ({"seed": 1}, "seed is 1 now and was 0"),
    "batch size": ({"batch_size": 4}, "batch_size is 4 now and was 8"),
    "clip_norm": ({"clip_norm": 1.0}, "clip_norm is 1.0 now and was None"),
    "optimizer": ({"optimizer": torch.optim.SGD}, "optimizer is .*SGD.* now and was .*Adam"),
    "learning rate": ({"optimizer": adam(0.5)}, r"optimizer\.lr is 0\.5 now and was 0\.0\d"),
    "objective": ({"objective": Trace_ELBO(num_particles=2)}, "objective is .*num_particles=2.* now and was"),
    "schedule": (
        {"schedule": lambda o: torch.optim.lr_scheduler.StepLR(o, 1)},
        "schedule is StepLR now and was None",
    ),
    "data": ({"data": binary(ROWS + 1)}, "data is .*33.* now and was .*32"),
}


@pytest.mark.parametrize(("arguments", "match"), OTHER_SETTINGS.values(), ids=OTHER_SETTINGS)
def test_resumption_with_other_settings(arguments, match, run):
    pair, given = unconditional(), {"data": binary(), **arguments}
    call = lambda: fit(pair, **given, epochs=2, checkpoint_dir=run, resume=True)
    assert_refused(CheckpointError, f"cannot resume.*{match}.*another directory", call, folder=run, pair=pair)


def test_resumption_with_another_pair(run):
    pair = recipes.gaussian(shape=(WIDTH,), latent_dim=3, hidden=[4])
    call = lambda: fit(pair, binary(), epochs=2, checkpoint_dir=run, resume=True)
    assert_refused(CheckpointError, "does not belong to this pair", call, folder=run, pair=pair)


def test_resumption_from_a_file_of_weights(run):
    pyvae.save(run / CHECKPOINT, unconditional())
    pair = unconditional()
    call = lambda: fit(pair, binary(), epochs=2, checkpoint_dir=run, resume=True)
    assert_refused(CheckpointError, "file of weights.*expected the checkpoint", call, folder=run, pair=pair)


def test_resumption_from_a_directory_in_place_of_the_checkpoint(run):
    (run / CHECKPOINT).unlink()
    (run / CHECKPOINT).mkdir()
    pair = unconditional()
    call = lambda: fit(pair, binary(), epochs=2, checkpoint_dir=run, resume=True)
    assert_refused(CheckpointError, "is no file", call, folder=run, pair=pair)


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "checkpoint", "recipe": None},
        {"kind": "checkpoint", "recipe": None, "settings": [], "history": 3, "best_epoch": None, "optimizer": ""},
    ],
    ids=["without settings", "of other types"],
)
def test_resumption_from_a_checkpoint_with_a_bad_header(header, run):
    write_tensors(run / CHECKPOINT, {}, header)
    pair = unconditional()
    call = lambda: fit(pair, binary(), epochs=2, checkpoint_dir=run, resume=True)
    assert_refused(CheckpointError, CHECKPOINT, call, folder=run, pair=pair)


@pytest.mark.parametrize("name", ["missing/pair.safetensors", "folder", "pair.safetensors/below"])
def test_save_to_a_bad_place(name, pair_file, tmp_path):
    (tmp_path / "folder").mkdir()
    pair = unconditional()
    call = lambda: pyvae.save(tmp_path / name, pair)
    assert_refused(CheckpointError, f"cannot write .*{name}", call, folder=tmp_path, pair=pair)


SWAPPED = {
    "save": lambda path: pyvae.save(unconditional(), path),
    "save of no module": lambda path: pyvae.save(path, {"weight": 3}),
    "load": lambda path: pyvae.load(unconditional(), path),
    "load into no module": lambda path: pyvae.load(path, {}),
    "load into a class": lambda path: pyvae.load(path, pyvae.VAE),
}


@pytest.mark.parametrize("call", SWAPPED.values(), ids=SWAPPED)
def test_arguments_of_save_and_load_in_disorder(call, pair_file, tmp_path):
    assert_refused((ArgumentError, PairError), "expected", lambda: call(pair_file), folder=tmp_path)


class LogOfNegative(Pair):
    """NaN at a site of the model as soon as an observation is negative."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z) + x.log(), 1.0).to_event(1), obs=x)


class RootAtZero(Pair):
    """A finite loss with an infinite gradient, in every batch but the first."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            root = (self.decoder(z) * x.abs().sum().sign()).abs().sqrt()
            pyro.sample("x", dist.Normal(root, 1.0).to_event(1), obs=x)


def exploding(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 if epoch == 0 else 1e38)


def poisoned(*items):
    return DataLoader(TensorDataset(torch.cat(items)), 8)


NON_FINITE = {
    "learning rate of the second epoch": (
        unconditional,
        binary,
        {"schedule": exploding, "optimizer": lambda p: torch.optim.SGD(p, lr=1e-3), "epochs": 3},
        r"(parameter|site) '[\w.]+'.* in epoch 2, batch \d.*last checkpoint stands",
        1,
    ),
    "parameter after the last step": (
        unconditional,
        lambda: binary(8),
        {"optimizer": lambda p: torch.optim.SGD(p, lr=math.inf)},
        r"parameter '[\w.]+' is not finite after epoch 1",
        0,
    ),
    "nan from a loader": (
        unconditional,
        lambda: poisoned(binary(16), changed(binary(8), 3, math.nan)),
        {},
        r"input 0 of the batch is not finite in epoch 1, batch 3",
        0,
    ),
    "site of the model": (
        LogOfNegative,
        lambda: poisoned(torch.ones(8, WIDTH), -torch.ones(8, WIDTH)),
        {},
        r"site 'x' of the model is not finite in epoch 1, batch 2(?!.*checkpoint stands)",
        0,
    ),
    "gradient": (
        RootAtZero,
        lambda: poisoned(torch.ones(8, WIDTH), torch.zeros(8, WIDTH)),
        {},
        r"gradient of parameter '[\w.]+' is not finite in epoch 1, batch 2",
        0,
    ),
}


@pytest.mark.parametrize(("make", "data", "arguments", "match", "epochs"), NON_FINITE.values(), ids=NON_FINITE)
def test_training_that_meets_nan(make, data, arguments, match, epochs, tmp_path):
    run, pair = tmp_path / "run", make()
    start = weights(pair)
    with pytest.raises(NonFiniteError, match=f"(?s){match}"):
        fit(pair, data(), checkpoint_dir=run, **arguments)
    tensors, header = read_tensors(run / CHECKPOINT)
    assert len(header["history"]) == epochs
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())
    assert {p.name for p in run.iterdir()} <= {CHECKPOINT, "metrics.csv"}
    restored = pyvae.load(run / CHECKPOINT, make())
    assert epochs or all(torch.equal(t, start[n]) for n, t in weights(restored).items())
    assert len(pyro.get_param_store()) == 0
    assert json.loads(json.dumps(header["settings"]))["seed"] == 0
