"""The continuous Bernoulli distribution against its formulas in many digits."""

import decimal

import pytest
import torch

from pyvae.distributions import ContinuousBernoulli

LOGITS = [0.0, 1e-7, 1e-3, 0.1, 0.499, 0.5, 0.501, 2.0, 15.0, 40.0, 88.0, 700.0, 1e4]


def continuous_bernoulli(logit, x):
    """log p, its derivative by the logit, the mean and the variance, in 60 digits."""
    with decimal.localcontext() as context:
        context.prec = 60
        eta, x = decimal.Decimal(logit), decimal.Decimal(x)
        if not eta:
            return [float(v) for v in (0, x - decimal.Decimal("0.5"), decimal.Decimal("0.5"), 1 / decimal.Decimal(12))]
        shrunk = (-eta).exp()
        mean = 1 / (1 - shrunk) - 1 / eta
        log_norm = eta + ((1 - shrunk) / eta).ln()
        return [float(v) for v in (x * eta - log_norm, x - mean, mean, 1 / eta**2 - shrunk / (1 - shrunk) ** 2)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("x", [0.0, 0.25, 1.0])
def test_continuous_bernoulli_for_any_logit(dtype, tolerance, x):
    logits = torch.tensor([s * value for value in LOGITS for s in (1, -1)], dtype=dtype, requires_grad=True)
    distribution = ContinuousBernoulli(logits)
    log_prob = distribution.log_prob(torch.full_like(logits, x))
    (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
    expected = torch.tensor([continuous_bernoulli(logit, x) for logit in logits.tolist()], dtype=torch.double)
    ours = torch.stack([log_prob, gradient, distribution.mean, distribution.variance], -1).double()
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours[:, 3], expected[:, 3], rtol=20 * tolerance, atol=0)


def test_gradients_of_the_continuous_bernoulli():
    logits, x = torch.tensor([-30.0, -0.7, -0.3, 0.2, 0.6, 4.0]).double().requires_grad_(), torch.rand(5, 6).double()
    assert torch.autograd.gradcheck(lambda a: ContinuousBernoulli(a).log_prob(x), logits)
    assert torch.autograd.gradcheck(lambda a: ContinuousBernoulli(a).mean, logits)


@pytest.mark.parametrize("logit", [0.0, 1e-6, -0.3, 3.0, -50.0, 1e4])
def test_draws_of_the_continuous_bernoulli(logit):
    distribution = ContinuousBernoulli(torch.tensor(logit).double())
    draws = distribution.expand([2, 5]).sample([2000]).flatten()
    assert ((draws >= 0) & (draws <= 1)).all()
    assert abs(draws.mean() - distribution.mean) < 4 * distribution.stddev / 20_000**0.5
    assert draws.std().item() == pytest.approx(distribution.stddev.item(), rel=0.05)
