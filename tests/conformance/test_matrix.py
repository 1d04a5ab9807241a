"""Every prior, likelihood, guide and objective together: it trains, or raises the error that is documented."""

import re
import warnings
from itertools import product

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO

import pyvae
from pyvae import guides, likelihoods, priors

from .matrix import (
    ALL_GUIDES,
    ALL_LIKELIHOODS,
    FAMILIES,
    OBJECTIVES,
    ROWS,
    VECTORS,
    arguments,
    build,
    fits,
    fitted,
    outcome,
    page,
)

PAIRS = [(p, g) for p, g in product(VECTORS, ALL_GUIDES) if fits(p, g)]
by_name = lambda c: getattr(c, "__name__", str(c))
every_pair = pytest.mark.parametrize(("prior", "guide"), PAIRS, ids=by_name)


#: priors that are learned, and not reparametrized
MIXTURES = (priors.NormalMixture, priors.ConditionalNormalMixture, priors.VampPrior)


def expected(prior, guide, objective):
    """What must come of it."""
    if objective == "InfoVAE" and prior in MIXTURES:
        return "is learned, but not reparametrized"
    if objective == "TotalCorrelationELBO" and guide not in (guides.DiagonalNormal, guides.SemiAmortized):
        return "TotalCorrelationELBO expects vectors of independent entries"
    return "trains"


def compare(prior, likelihood, guide):
    pair = build(prior, likelihood, guide)
    for objective in OBJECTIVES:
        result, wanted = outcome(pair, objective), expected(prior, guide, objective)
        assert result == wanted or (wanted != "trains" and wanted in result), (objective, result)


@every_pair
def test_priors_and_guides(prior, guide):
    compare(prior, likelihoods.Normal, guide)


@pytest.mark.parametrize("likelihood", ALL_LIKELIHOODS, ids=by_name)
def test_likelihoods(likelihood):
    for guide in (guides.DiagonalNormal, guides.InverseAutoregressiveFlow):
        compare(priors.StandardNormal, likelihood, guide)


@pytest.mark.slow
@every_pair
def test_all(prior, guide):
    for likelihood in ALL_LIKELIHOODS:
        compare(prior, likelihood, guide)


@pytest.mark.parametrize(("prior", "guide"), [p for p in product(VECTORS, ALL_GUIDES) if not fits(*p)], ids=by_name)
def test_spheres_go_with_spheres_alone(prior, guide):
    with pytest.raises(pyvae.PairError, match="support"):
        build(prior, likelihoods.Normal, guide)


PATHWISE = {"ImportanceWeightedELBO", "MIWAE", "CIWAE", "VariationalRenyiBound", "DReG"}
WEIGHTS = PATHWISE | {"VIMCO", "ReweightedWakeSleep"}
WEIGHTED = {"WeightedELBO", "CapacityELBO", "TotalCorrelationELBO", "InfoVAE"}
LEVELS = {"MarkovVAE", "LadderVAE", "DiffusionVAE", "VQVAE2"}


def expected_of(family, objective):
    """What must come of a pair of another family."""
    drawn = family in ("SemiSupervisedVAE", "VQVAE, codes drawn")
    if family in ("VQVAE", "VQVAE2") and objective in WEIGHTS:
        return "is a Delta, whose density is no importance weight; use Trace_ELBO"
    if drawn and objective in PATHWISE:
        return "is not reparametrized .*use VIMCO or ReweightedWakeSleep"
    if drawn and objective in WEIGHTED | {"TraceMeanField_ELBO"}:
        return "is not reparametrized .*use Trace_ELBO or TraceGraph_ELBO"
    if family == "MarkovVAE" and objective == "TraceMeanField_ELBO":
        return "the guide draws 'z_2' where the model draws 'z_1'.*use Trace_ELBO"
    if family in LEVELS | {"VQVAE"} and objective in ("TotalCorrelationELBO", "InfoVAE"):
        return "no site was named; pass as site= one of the latents"
    return "trains"


@pytest.mark.parametrize("family", FAMILIES)
def test_families(family):
    for objective in OBJECTIVES:
        result = fitted(family, objective)
        assert re.search(expected_of(family, objective), result), (objective, result)


def test_the_page_of_the_documentation():
    text = page([guides.DiagonalNormal, guides.FullRankNormal], ["VQVAE"])
    assert "| VAE, DiagonalNormal |" + " ✓ |" * len(OBJECTIVES) in text
    assert text.count("[1](#notes)") == 1
    assert "is a Delta, whose density is no importance weight; use Trace_ELBO\n" in text


def at_work(pair, path):
    """What plain Pyro and files do with a pair."""
    x, *labels = arguments(pair)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
        assert abs(svi.step(x, *labels)) < 1e6
    generated = (None, *labels) if labels else (None, None, ROWS)
    drawn = Predictive(pair.model, num_samples=2)(*generated)
    assert drawn["x"].shape == (2, *x.shape)
    with torch.no_grad():
        z = drawn["z"][0].reshape(ROWS, -1)
        trace = poutine.trace(poutine.condition(pair.model, {"z": z})).get_trace(x, *labels)
        assert torch.equal(trace.nodes["z"]["value"], z)
        assert trace.log_prob_sum().isfinite()
    pyvae.save(path, pair)
    before = {name: t.clone() for name, t in pair.state_dict().items()}
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.1)
    pyvae.load(path, pair)
    assert all(torch.equal(t, before[name]) for name, t in pair.state_dict().items())
    double = pair.double()
    assert pyvae.elbo(double, arguments(double), seed=0).value > -1e6
    assert double.model(*generated).dtype == torch.float64


@every_pair
def test_plain_pyro_precision_and_files(prior, guide, tmp_path):
    at_work(build(prior, likelihoods.Normal, guide), tmp_path / "pair.safetensors")


@pytest.mark.parametrize("likelihood", ALL_LIKELIHOODS, ids=by_name)
def test_plain_pyro_precision_and_files_of_likelihoods(likelihood, tmp_path):
    at_work(build(priors.StandardNormal, likelihood, guides.DiagonalNormal), tmp_path / "pair.safetensors")


@pytest.mark.slow
@every_pair
def test_plain_pyro_precision_and_files_of_all(prior, guide, tmp_path):
    for likelihood in ALL_LIKELIHOODS:
        at_work(build(prior, likelihood, guide), tmp_path / f"{likelihood.__name__}.safetensors")
