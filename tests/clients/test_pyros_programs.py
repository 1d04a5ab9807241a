"""What each tool makes of Pyro's example VAEs: figures as Pyro's own objectives have them, or a refusal that helps."""

import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO

import pyvae
from pyvae.core.modules import evaluation_mode
from tests.clients.pyro_examples_table import TOOLS, outcome
from tests.clients.pyros_programs import DeepMarkov, N, programs

NAMES = [*programs()]
#: the tools that refuse an example, by a part of the reason
REFUSED = {
    "scanvi": {"fit": "self.inverse_dispersion = pyro.nn.PyroParam"},
    "sparse_gamma_def": dict.fromkeys(TOOLS, "rows together, but not") | {"fit": "self.alpha_w = torch.nn.Parameter"},
    "hmm": dict.fromkeys(("diagnose", "to_inference_data"), "sums"),
}
#: where the loss holds more than the ELBO: what the guide observes, a weight on the KL
HIDDEN = {"contrib.cevae": ["t", "y"]}
#: refused, or with a batch norm, which has other statistics in training
NOT_TRAINED_AS_EVALUATED = {"scanvi", "scanvi, own parameter", "sparse_gamma_def", "prodlda"}
REFUSED_BY_ELBO = {"sparse_gamma_def"}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def plain(name, pair):
    """Objective, model and guide of which Pyro's loss is minus the ELBO."""
    guide = poutine.block(pair.guide, hide=HIDDEN.get(name, []))
    summed_out = name in ("hmm", "ss_vae_M2, enumerated")
    objective = TraceEnum_ELBO(max_plate_nesting=2 if name == "hmm" else 1) if summed_out else Trace_ELBO()
    if isinstance(pair, DeepMarkov):
        pair.annealing = 1.0
    return objective, pair.model, guide


def mean_and_error(values):
    values = torch.as_tensor(values, dtype=torch.float64)
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


@pytest.mark.filterwarnings("ignore")
def test_the_elbo_is_that_of_pyro(name):
    pair, args = programs()[name]
    if name in REFUSED_BY_ELBO:
        with pytest.raises(pyvae.PairError, match="rows together, but not"):
            pyvae.elbo(pair, args)
        return
    estimate = pyvae.elbo(pair, args, num_particles=300, seed=0)
    objective, model, guide = plain(name, pair)
    with evaluation_mode(pair):
        expected, error = mean_and_error([-objective.loss(model, guide, *args) / N for _ in range(300)])
    assert estimate.value == pytest.approx(expected, abs=4 * (error**2 + estimate.standard_error**2) ** 0.5 + 1e-5)
    bound = pyvae.log_likelihood(pair, args, num_particles=300, seed=0)
    assert bound.value > estimate.value - 4 * estimate.standard_error - 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in NAMES if n not in NOT_TRAINED_AS_EVALUATED])
def test_what_fit_logs_is_the_elbo(name):
    """Without a step to speak of."""
    pair, args = programs()[name]
    frozen = {"batch_size": N, "optimizer": lambda p: torch.optim.SGD(p, lr=1e-12)}
    history = pyvae.fit(pair, args, validation=args, epochs=100, seed=0, progress=False, **frozen).history
    # where latents are summed out, the loss is minus the ELBO, and its terms are not logged
    logged, error = mean_and_error([row.get("train_elbo", -row["train_loss"]) for row in history])
    estimate = pyvae.elbo(pair, args, num_particles=100, seed=1)
    assert logged == pytest.approx(estimate.value, abs=4 * (error**2 + estimate.standard_error**2) ** 0.5 + 1e-5)
    of_one = estimate.standard_error * 100**0.5  # one sample, the same in each epoch
    assert history[-1]["validation_elbo"] == pytest.approx(estimate.value, abs=4 * of_one + 1e-5)


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_takes_it_or_says_why_not(name, tool):
    found, expected = outcome(name, tool), REFUSED.get(name, {}).get(tool)
    assert found == "✓" if expected is None else expected in found
