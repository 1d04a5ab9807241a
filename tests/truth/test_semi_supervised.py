"""The semi-supervised VAE against its bounds written by hand."""

import math
from functools import partial

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceEnum_ELBO
from torch.nn import functional as F

import pyvae
from pyvae import likelihoods, priors, recipes
from pyvae.inspection.inspection import inspect_pair
from pyvae.latent_space.decoding import reconstruct
from pyvae.objectives import default_objective

PIXELS, CLASSES, LATENTS, ROWS = 6, 3, 2, 12


@pytest.fixture
def pair():
    return recipes.semi_supervised((PIXELS,), CLASSES, latent_dim=LATENTS, hidden=[8], classification_weight=7.0)


@pytest.fixture
def x():
    return torch.rand(ROWS, PIXELS).round()


LABELS = torch.tensor([0, 1, 2, -1] * 3)


def by_hand(pair, x, y, noise):
    """−Σ log-bounds and −Σ α log q(y | x), with the draws z of every class from noise (K, N, D)."""
    normal = torch.distributions.Normal
    bounds = []
    for k in range(CLASSES):
        c = F.one_hot(torch.full((len(x),), k), CLASSES).float()
        loc, log_variance = pair.posterior.network(x, c).chunk(2, -1)
        q = normal(loc, (log_variance / 2).exp())
        z = q.loc + q.scale * noise[k]
        log_x = -F.binary_cross_entropy_with_logits(pair.likelihood.network(z, c), x, reduction="none").sum(-1)
        bounds.append(log_x + normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z).sum(-1) - math.log(CLASSES))
    bounds = torch.stack(bounds, -1)
    log_q = pair.classifier(x).log_softmax(-1)
    known = y >= 0
    labelled = bounds[known, y[known]].sum()
    unlabelled = (log_q[~known].exp() * (bounds[~known] - log_q[~known])).sum()
    return -labelled - unlabelled - pair.classification_weight * log_q[known, y[known]].sum()


@pytest.mark.parametrize("labels", [LABELS, torch.full((ROWS,), -1), LABELS.clamp(min=0)], ids=["some", "none", "all"])
def test_loss_and_gradients_are_those_by_hand(pair, x, labels):
    pyro.set_rng_seed(1)
    noise = torch.randn(CLASSES, ROWS, LATENTS)
    expected = by_hand(pair, x, labels, noise)
    wanted = torch.autograd.grad(expected, list(pair.parameters()), allow_unused=True)
    pyro.set_rng_seed(1)
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss_and_grads(pair.model, pair.guide, x, labels)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for (name, parameter), gradient in zip(pair.named_parameters(), wanted, strict=True):
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        expected = torch.zeros_like(parameter) if gradient is None else gradient
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=name)


def test_draws_of_the_label_have_the_same_mean(x):
    drawn = recipes.semi_supervised((PIXELS,), CLASSES, latent_dim=LATENTS, hidden=[8], enumerated=False)
    loss, exact = Trace_ELBO(), TraceEnum_ELBO(max_plate_nesting=1)
    with torch.no_grad():
        copies = x.repeat(20, 1), LABELS.repeat(20)
        values = torch.tensor([loss.loss(drawn.model, drawn.guide, *copies) for _ in range(60)])
        drawn.enumerated = True
        summed = torch.tensor([exact.loss(drawn.model, drawn.guide, *copies) for _ in range(30)])
    error = (values.var() / len(values) + summed.var() / len(summed)).sqrt()
    assert abs(values.mean() - summed.mean()) < 4 * error
    assert isinstance(default_objective(inspect_pair(drawn, (x, LABELS))), TraceEnum_ELBO)
    drawn.enumerated = False
    assert type(default_objective(inspect_pair(drawn, (x, LABELS)))) is Trace_ELBO


def test_a_label_costs_its_prior_probability(pair, x):
    known = pyvae.elbo(pair, (x, LABELS.clamp(min=0)), seed=0).kl_terms["y"]
    torch.testing.assert_close(known, torch.full_like(known, math.log(CLASSES)))
    unknown = pyvae.elbo(pair, (x, torch.full((ROWS,), -1)), num_particles=4000, seed=0).kl_terms["y"]
    q = pair.classify(x).double()
    torch.testing.assert_close(unknown, math.log(CLASSES) + (q * q.log()).sum(-1), rtol=0, atol=0.02)


def test_the_evidence_of_unlabelled_data_is_that_of_all_classes(pair, x):
    """log p(x) = log Σ_y p(x, y)."""
    classes = [
        pyvae.log_likelihood(pair, (x, torch.full((ROWS,), k)), num_particles=20_000, seed=0).per_datapoint
        for k in range(CLASSES)
    ]
    unknown = pyvae.log_likelihood(pair, (x, torch.full((ROWS,), -1)), num_particles=60_000, seed=0).per_datapoint
    torch.testing.assert_close(unknown, torch.stack(classes).logsumexp(0), rtol=0, atol=0.05)


def test_classes_are_generated(pair):
    assert pair.model(size=4).shape == (4, PIXELS)
    labels = torch.tensor([0, 2, -1, 1])
    drawn = Predictive(pair.model, num_samples=50)(y=labels)["y"]
    assert (drawn[:, [0, 1, 3]] == labels[[0, 1, 3]]).all()
    assert len(drawn[:, 2].unique()) == CLASSES


def test_few_labels_are_enough():
    torch.manual_seed(0)
    classes = torch.arange(600) % CLASSES
    patterns = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]).float()
    x = torch.bernoulli(0.1 + 0.8 * patterns[classes])
    y = torch.where(torch.arange(600) < 30, classes, -1)
    pair = recipes.semi_supervised((PIXELS,), CLASSES, latent_dim=1, hidden=[16], classification_weight=5.0)
    fast = lambda p: torch.optim.Adam(p, lr=1e-2)
    pyvae.fit(pair, (x, y), optimizer=fast, epochs=25, batch_size=64, seed=0, progress=False)
    assert (pair.classify(x).argmax(-1) == classes).float().mean() > 0.9


def test_plain_pyro_and_files(pair, x, tmp_path):
    for objective in (Trace_ELBO(), TraceEnum_ELBO(max_plate_nesting=1)):
        assert SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), objective).step(x, LABELS) > 0
    pyvae.save(tmp_path / "pair.safetensors", pair)
    assert torch.equal(pyvae.load(tmp_path / "pair.safetensors").classify(x), pair.classify(x))
    double = pair.double()
    assert double.model(size=2).dtype == torch.float64


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (torch.zeros(ROWS), "labels have dtype torch.float32"),
        (torch.full((ROWS,), CLASSES), r"labels lie in \[3, 3\]; expected -1"),
        (torch.full((ROWS,), -2), r"labels lie in \[-2, -2\]"),
        (torch.zeros(3, dtype=torch.long), "expected as many labels"),
        (torch.zeros(ROWS, 1, dtype=torch.long), r"labels have shape \(12, 1\)"),
    ],
)
def test_labels_that_are_none(pair, x, labels, match):
    with pytest.raises(pyvae.DataError, match=match):
        pair.guide(x, labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_labels_of_other_integers(pair, x, dtype):
    labels = LABELS.clamp(min=0)
    assert pyvae.elbo(pair, (x, labels.to(dtype)), seed=0).value == pyvae.elbo(pair, (x, labels), seed=0).value
    assert pair.model(y=labels.to(dtype)).shape == (ROWS, PIXELS)


def test_the_prior_may_be_made_of_the_guide(x):
    pair = recipes.semi_supervised((PIXELS,), CLASSES, 2, [8], prior=partial(priors.VampPrior, num_components=4))
    result = pyvae.fit(pair, (x, LABELS), epochs=1, seed=0, progress=False)
    assert result.history[0]["train_loss"] > 0


def test_components_that_do_not_fit(pair):
    def build(**changes):
        parts = ("prior", "likelihood", "posterior", "classifier", "context")
        given = {name: getattr(pair, name) for name in parts} | {"num_classes": CLASSES} | changes
        return pyvae.SemiSupervisedVAE(**given)

    with pytest.raises(pyvae.PyvaeError, match=r"classifier returned shape \(2, 5\)"):
        build(classifier=torch.nn.Linear(PIXELS, 5))
    with pytest.raises(pyvae.PairError, match="likelihood"):
        build(likelihood=likelihoods.Bernoulli(torch.nn.Linear(9, PIXELS), PIXELS))
    with pytest.raises(pyvae.ArgumentError, match="num_classes is 1"):
        build(num_classes=1)
    with pytest.raises(pyvae.ArgumentError, match="classification_weight is -1"):
        build(classification_weight=-1)


def test_decoded_with_another_label_the_class_changes_and_the_style_stays(x):
    torch.manual_seed(0)
    pair = recipes.semi_supervised((PIXELS,), CLASSES, latent_dim=LATENTS, hidden=[8])
    known = LABELS.clamp(min=0)

    def one_hot(labels):
        return F.one_hot(labels, CLASSES).float()

    with torch.no_grad():
        z = pair.posterior(x, one_hot(known)).mean
        for label in range(CLASSES):
            labels = torch.full((ROWS,), label)
            expected = pair.likelihood(z, one_hot(labels)).mean
            torch.testing.assert_close(reconstruct(pair, (x, known), labels), expected)
