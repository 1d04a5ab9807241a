"""Bounds, priors and few labels on MNIST. The data's place is the variable PYVAE_DATA_ROOT."""

import time

import torch

import pyvae
from pyvae import datasets, guides, likelihoods, priors, recipes
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


def test_100_labels():
    """M1, a VAE that sees no label, and M2, a semi-supervised one of its latents (Kingma et al., 2014)."""
    data = datasets.dynamic_binarization(datasets.mnist(ROOT))
    torch.manual_seed(0)
    start = time.perf_counter()
    features = recipes.gaussian(data.shape, latent_dim=20, hidden=[512, 512])
    pyvae.fit(features, data.without_labels().train, **annealed(20), batch_size=200, progress=False)
    _, y = data.train[:]
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    few = torch.cat([order[y[order] == k][:10] for k in range(10)]).repeat(100)  # so that every batch has some
    x, transform = data.train.tensors[0], pyvae.encoded(data, features).train.transform
    latents = datasets.InMemory(
        torch.cat([x, x[few]]), torch.cat([torch.full_like(y, -1), y[few]]), transform=transform
    )
    pair = recipes.semi_supervised(
        (20,),
        num_classes=10,
        latent_dim=5,
        classification_weight=5,
        likelihood=likelihoods.HeteroscedasticNormal,
        activation=torch.nn.Softplus,
    )
    pyvae.fit(pair, latents, **annealed(60), batch_size=600, progress=False)
    x, y = data.test.tensors
    z = features.posterior(x.float() / 255).mean.detach()
    right = (pair.classify(z).argmax(-1) == y).float().mean()
    print(f"{time.perf_counter() - start:.0f} s of training; {right:.1%} of the test images from 100 labels")
    assert right >= 0.88


def annealed(epochs):
    """Arguments of fit: Adam, whose rate falls like a cosine."""
    return {
        "optimizer": lambda p: torch.optim.Adam(p, lr=1e-3, fused=True),
        "schedule": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs),
        "epochs": epochs,
        "seed": 0,
    }
