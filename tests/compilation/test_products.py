"""Products of oneDNN stand in for those of PyTorch where they were measured to be faster, and compute the same."""

import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from safetensors import safe_open
from torch import nn

import pyvae
from pyvae.compilation import products
from pyvae.core.torch_internals import trace_graph
from tests.compilation.comparing import assert_equal_to_eager
from tests.compilation.pairs import WIDTH, ByHand
from tests.compilation.training_runs import assert_trains_alike

available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
needs_onednn = pytest.mark.skipif(not available, reason="this build of torch has no oneDNN")
ONEDNN = torch.ops.pyvae.onednn_product.default


@pytest.fixture(autouse=True)
def _no_choices(monkeypatch):
    monkeypatch.setattr(products, "_choices", {})


def recorded(function, *tensors):
    return trace_graph(function, *tensors)


def targets(graph):
    return [node.target for node in graph.graph.nodes]


@needs_onednn
def test_both_products_are_replaced_and_give_the_same(monkeypatch):
    monkeypatch.setattr(products, "_onednn_wins", lambda a, b: True)
    a, b, bias = torch.randn(7, 5), torch.randn(5, 3), torch.randn(3)

    def function(a, b, bias):
        return torch.mm(a, b), torch.addmm(bias, a, b), torch.nn.functional.linear(a, b.t(), bias)

    graph = recorded(function, a, b, bias)
    products.choose_products(graph)
    assert targets(graph).count(ONEDNN) == 3
    assert not {torch.ops.aten.mm.default, torch.ops.aten.addmm.default} & set(targets(graph))
    for result, expected in zip(graph(a, b, bias), function(a, b, bias), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.randn(6, 4), torch.randn(4, 5)),
        (torch.randn(4, 6).t(), torch.randn(5, 4).t()),
        (torch.randn(1, 1), torch.randn(1, 1)),
        (torch.randn(6, 8)[:, ::2], torch.randn(8, 5)[::2]),
    ],
    ids=["plain", "transposed", "single", "strided"],
)
def test_layouts(a, b):
    torch.testing.assert_close(torch.ops.pyvae.onednn_product(a, b), a @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("wins", "a", "b"),
    [(False, torch.randn(7, 5), torch.randn(5, 3)), (True, torch.zeros(3, 0), torch.zeros(0, 5))],
    ids=["where none wins", "of empty matrices"],
)
def test_none_is_replaced(monkeypatch, wins, a, b):
    monkeypatch.setattr(products, "_onednn_wins", lambda a, b: wins)
    graph = recorded(torch.mm, a, b)
    before = targets(graph)
    products.choose_products(graph)
    assert targets(graph) == before


@pytest.mark.parametrize("case", ["float64", "scaled", "no matrices"])
def test_what_is_no_product_in_single_precision_stays(monkeypatch, case):
    monkeypatch.setattr(products, "_onednn_wins", lambda a, b: True)
    a, b, bias = torch.randn(7, 5), torch.randn(5, 3), torch.randn(3)
    function, tensors = {
        "float64": (torch.mm, (a.double(), b.double())),
        "scaled": (lambda a, b, bias: torch.addmm(bias, a, b, beta=0.5, alpha=2.0), (a, b, bias)),
        "no matrices": (torch.mul, (a, a)),
    }[case]
    graph = recorded(function, *tensors)
    products.choose_products(graph)
    assert ONEDNN not in targets(graph)
    torch.testing.assert_close(graph(*tensors), function(*tensors))


@needs_onednn
def test_pairs_and_training_with_every_product_replaced(interpreted, monkeypatch):
    monkeypatch.setattr(products, "_onednn_wins", lambda a, b: True)
    pair = ByHand()
    pair.encoder = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, WIDTH))
    x = torch.randn(40, WIDTH)
    assert_equal_to_eager(pair, TraceMeanField_ELBO(max_plate_nesting=1), x, tolerance=1e-5)
    assert ONEDNN in interpreted[0]
    assert_trains_alike(ByHand, x, tolerance=1e-4)
    assert ONEDNN in interpreted[1]


@needs_onednn
@pytest.mark.parametrize(
    ("mkl", "onednn", "wins"), [(2.0, 1.0, True), (1.2, 1.0, False), (1.3, 1.0, True), (1.0, 2.0, False)]
)
def test_the_faster_by_a_margin_wins(monkeypatch, mkl, onednn, wins):
    """By the median, so that a single measurement that was disturbed decides nothing."""
    calls = []

    def seconds(way):
        calls.append(way)
        ordinary = (mkl, onednn)[(len(calls) - 1) % 2]
        return 1e-9 * ordinary if len(calls) in (3, 8) else 1e3 if len(calls) == 5 else ordinary

    monkeypatch.setattr(products, "_seconds", seconds)
    assert products._onednn_wins(torch.empty(4, 3), torch.empty(3, 2)) is wins


@needs_onednn
def test_what_is_timed_are_these_two_products(monkeypatch):
    results = []
    monkeypatch.setattr(products, "_seconds", lambda way: results.append(way()) or 1.0)
    products._onednn_wins(torch.empty(3, 4).t(), torch.empty(3, 2))
    assert {r.shape for r in results} == {torch.Size([4, 2])}
    assert all(torch.equal(r, torch.full((4, 2), 3.0)) for r in results)  # of matrices of ones


@needs_onednn
def test_a_product_is_measured_once_per_shape_layout_and_threads(monkeypatch):
    calls = []
    monkeypatch.setattr(products, "_seconds", lambda way: calls.append(1) or 1.0)
    for expected, (a, b) in enumerate(
        [
            (torch.empty(4, 3), torch.empty(3, 2)),
            (torch.empty(4, 3), torch.empty(2, 3).t()),
            (torch.empty(5, 3), torch.empty(3, 2)),
        ],
        1,
    ):
        for _ in range(2):
            products._onednn_wins(a, b)
        assert len(products.choices()) == expected
        assert len(calls) == expected * 2 * products._ROUNDS
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    products._onednn_wins(torch.empty(4, 3), torch.empty(3, 2))
    assert len(products.choices()) == 4


@needs_onednn
def test_choices_are_remembered(monkeypatch):
    a, b = torch.empty(4, 3), torch.empty(3, 2)
    monkeypatch.setattr(products, "_seconds", lambda way: 1.0)
    assert products._onednn_wins(a, b) is False
    (key,) = products.choices()
    products.remember({key: True})
    assert products._onednn_wins(a, b) is True
    kept = products.choices()
    kept.clear()  # a copy
    assert products.choices() == {key: True}


@needs_onednn
def test_a_resumed_run_takes_on_the_choices_of_its_checkpoint(monkeypatch, tmp_path):
    """Else it would measure anew, and round otherwise."""
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, example, options=None: graph)
    monkeypatch.setattr(products, "_seconds", lambda way: 1.0)
    arguments = {"batch_size": 8, "compile": True, "progress": False, "checkpoint_dir": tmp_path}
    x = torch.randn(40, WIDTH)
    pyvae.fit(ByHand(), x, epochs=1, **arguments)
    made = products.choices()
    assert made
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        assert any(next(iter(made)) in value for value in file.metadata().values())
    products._choices.clear()
    monkeypatch.setattr(products, "_seconds", lambda way: pytest.fail("measured again"))
    pyvae.fit(ByHand(), x, epochs=2, resume=True, **arguments)
    assert products.choices() == made
