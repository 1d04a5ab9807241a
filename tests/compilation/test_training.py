"""fit(compile=True) gives the weights and the history of fit(compile=False), whatever the optimizer and the pair."""

import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader

import pyvae
from pyvae import recipes
from tests.compilation.pairs import PAIRS, WIDTH, ByHand, Chain, Registered
from tests.compilation.training_runs import assert_trains_alike, run

pytestmark = pytest.mark.usefixtures("float64")

ROWS = 40  # 5 batches of 8, for 6 epochs


def groups(parameters):
    first, *others = parameters
    return Adam([{"params": [first], "lr": 1e-3, "weight_decay": 0.0}, {"params": others}], 1e-2, weight_decay=0.1)


OPTIMIZERS = {
    "Adam": lambda p: Adam(p, 1e-2),
    "Adam with other settings": lambda p: Adam(p, 1e-2, betas=(0.5, 0.9), eps=1e-3),
    "fused Adam": lambda p: Adam(p, 1e-2, fused=True),
    "Adam with a tensor as rate": lambda p: Adam(p, torch.tensor(1e-2)),
    "AdamW with decay": lambda p: AdamW(p, 1e-2, weight_decay=0.1),
    "Adam with decay and groups": groups,
    "AMSGrad": lambda p: Adam(p, 1e-2, amsgrad=True),
    "SGD with momentum": lambda p: SGD(p, 1e-3, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: RMSprop(p, 1e-3),
}


@pytest.fixture(autouse=True)
def _compiled_once(interpreted):
    """Every run here that is to be compiled is, and once."""
    yield
    assert len(interpreted) == 1


@pytest.fixture
def x():
    return torch.randn(ROWS, WIDTH)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer, x):
    assert_trains_alike(ByHand, x, optimizer=OPTIMIZERS[optimizer])


@pytest.mark.parametrize("optimizer", ["AdamW with decay", "SGD with momentum"])
@pytest.mark.parametrize("clip_norm", [0.05, 1e6])
def test_clipping(optimizer, clip_norm, x):
    assert_trains_alike(ByHand, x, optimizer=OPTIMIZERS[optimizer], clip_norm=clip_norm)


@pytest.mark.parametrize("optimizer", ["AdamW with decay", "SGD with momentum"])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: ExponentialLR(o, 0.5),
        lambda o: LambdaLR(o, lambda epoch: float(epoch % 2)),
        lambda o: ReduceLROnPlateau(o, patience=0),
    ],
)
def test_schedules(optimizer, schedule, x):
    assert_trains_alike(ByHand, x, optimizer=OPTIMIZERS[optimizer], schedule=schedule)


def test_a_schedule_of_the_betas(x):
    assert_trains_alike(ByHand, x, optimizer=OPTIMIZERS["Adam"], schedule=lambda o: OneCycleLR(o, 1e-2, total_steps=20))


def test_a_schedule_of_the_weight_decay(x):
    def decaying(optimizer):
        def factor(epoch):
            optimizer.param_groups[0]["weight_decay"] = 0.1 * epoch
            return 1.0

        return LambdaLR(optimizer, factor)

    assert_trains_alike(ByHand, x, optimizer=OPTIMIZERS["AdamW with decay"], schedule=decaying)


@pytest.mark.parametrize("make", [m for m in PAIRS if m is not Registered], ids=lambda m: m.__name__)
def test_pairs(make, x):
    assert_trains_alike(make, x)


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW with decay", "SGD with momentum"])
def test_a_last_batch_that_is_smaller_goes_the_eager_way(optimizer, x):
    assert_trains_alike(ByHand, x[:-3], optimizer=OPTIMIZERS[optimizer])


def test_data_that_are_fewer_than_a_batch(x):
    assert_trains_alike(ByHand, x, batch_size=ROWS + 1, epochs=20)


def test_a_loader_brings_its_own_batches(x):
    assert_trains_alike(ByHand, DataLoader(list(x), batch_size=7))


@pytest.mark.parametrize(
    "objective",
    [
        Trace_ELBO(num_particles=2),
        Trace_ELBO(num_particles=2, vectorize_particles=True),
        RenyiELBO(alpha=0, num_particles=2),
    ],
)
def test_particles(objective, x):
    assert_trains_alike(ByHand, x, objective=objective)


def test_double_precision(x):
    """Down to the single precision in which the numbers that change from step to step go in."""
    assert_trains_alike(lambda: Chain().double(), x.double(), objective=Trace_ELBO(), tolerance=1e-6)


def test_validation_between_the_epochs(x):
    assert_trains_alike(ByHand, x, validation=x[:10], patience=3)


def frozen():
    pair = ByHand()
    pair.encoder.bias.requires_grad_(False)
    return pair


def unused():
    pair = ByHand()
    pair.spare = nn.Linear(3, 3)
    return pair


def tied():
    pair = ByHand()
    pair.encoder.weight = nn.Parameter(torch.randn(WIDTH, WIDTH) / 4)
    pair.decoder = nn.Sequential(nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
    pair.decoder[2].weight = pair.encoder.weight
    return pair


@pytest.mark.parametrize("optimizer", ["AdamW with decay", "SGD with momentum"])
@pytest.mark.parametrize("make", [frozen, unused, tied], ids=lambda m: m.__name__)
def test_parameters_that_are_not_like_the_others(make, optimizer, x):
    before = None if make is not frozen else run(frozen, x, False, epochs=1)[0].encoder.bias.detach().clone()
    assert_trains_alike(make, x, optimizer=OPTIMIZERS[optimizer])
    if before is not None:
        assert torch.equal(run(frozen, x, False)[0].encoder.bias, before)


def labelled():
    return pyvae.VAE(
        pyvae.priors.StandardNormal(2),
        pyvae.likelihoods.Bernoulli(pyvae.networks.MLP(2, 4, [8], context_dim=3), WIDTH),
        pyvae.guides.DiagonalNormal(pyvae.networks.MLP(4, 4, [8], context_dim=3), 2),
        nn.Embedding(5, 3),
    )


def test_labels(x):
    assert_trains_alike(labelled, (x.sigmoid().round(), torch.arange(ROWS) % 5))


def test_a_pyro_module(x):
    assert_trains_alike(Registered, x)


def test_the_conditional_recipe(x):
    assert_trains_alike(lambda: recipes.conditional((WIDTH,), 5, 2, [8]), (x.sigmoid().round(), torch.arange(ROWS) % 5))
