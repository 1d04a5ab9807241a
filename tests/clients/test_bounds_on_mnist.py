"""Bounds, priors and few labels on MNIST. The data's place is the variable PYVAE_DATA_ROOT."""

import time

import pytest
import torch

import pyvae
from pyvae import datasets, guides, priors, recipes
from pyvae.objectives import DReG, ImportanceWeightedELBO, WarmUp, WeightedELBO
from tests.clients.real_data import ROOT, on_mnist

pytestmark = on_mnist
EPOCHS, PARTICLES = 30, 10

#: what each differs in from the VAE of Burda, Grosse and Salakhutdinov
VARIANTS = {
    "VAE": ({}, None),
    "IWAE": ({}, ImportanceWeightedELBO(PARTICLES)),
    "DReG": ({}, DReG(PARTICLES)),
    "VampPrior, KL warmed up": ({"prior": priors.VampPrior}, WeightedELBO(WarmUp(epochs=10))),
    "spline flow as prior": ({"prior": priors.NeuralSplineFlow}, None),
    "inverse autoregressive flow as guide": ({"posterior": guides.InverseAutoregressiveFlow}, None),
}


def trained(name, data):
    """The NLL of the first 1,000 test images, by 500 draws each, after training with seed 0."""
    arguments, objective = VARIANTS[name]
    torch.manual_seed(0)
    pair = recipes.burda(data.shape, **arguments)
    start = time.perf_counter()
    pyvae.fit(
        pair,
        data.train,
        objective=objective,
        optimizer=lambda p: torch.optim.Adam(p, lr=2e-3, fused=True),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS),
        batch_size=100,
        epochs=EPOCHS,
        seed=0,
        progress=False,
    )
    seconds = time.perf_counter() - start
    (x,) = data.test.fixed()[torch.arange(1000)]
    evaluation = pyvae.evaluate(pair, x, num_particles=500, seed=0)
    nll = -evaluation.log_likelihood.value
    print(f"{name}: {seconds:.0f} s of training; -ELBO {-evaluation.elbo.value:.2f}, L_500 {nll:.2f} nats")
    return nll


def test_tighter_bounds_and_richer_priors_are_better():
    data = datasets.dynamic_binarization(datasets.mnist(ROOT)).without_labels()
    found = {name: trained(name, data) for name in VARIANTS}
    assert found["IWAE"] < found["VAE"]
    assert min(found["VampPrior, KL warmed up"], found["spline flow as prior"]) < found["VAE"]


@pytest.mark.parametrize("epochs", [30])
def test_100_labels(epochs):
    data = datasets.mnist(ROOT)
    x, y = data.train[:]
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    few = torch.cat([order[y[order] == k][:10] for k in range(10)])
    # so often that every batch has some
    x = torch.cat([x, x[few].repeat(60, 1, 1, 1)])
    y = torch.cat([torch.full_like(y, -1), y[few].repeat(60)])
    torch.manual_seed(0)
    pair = recipes.semi_supervised(data.shape, 10, latent_dim=50, hidden=[256])
    start = time.perf_counter()
    pyvae.fit(pair, (x, y), batch_size=200, epochs=epochs, seed=0, progress=False)
    x, y = data.test[:]
    right = (pair.classify(x).argmax(-1) == y).float().mean()
    print(f"{time.perf_counter() - start:.0f} s of training; {right:.1%} of the test images from 100 labels")
    assert right >= 0.88
