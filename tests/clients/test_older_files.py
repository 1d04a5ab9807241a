"""Files that earlier versions wrote are read, or refused in a sentence."""

import json

import pytest
import torch

import pyvae
from pyvae.checkpoint import read_tensors, write_tensors
from pyvae.cli.main import main
from pyvae.recipes.loading import build, with_paths_of_today

from .test_resume import assert_same_run

SIZES = {"VectorQuantizer": {"num_codes": 4, "dim": 3}, "SoftmaxQuantizer": {"num_codes": 4, "dim": 3}}
PATHS = {
    "pyvae.guides.VectorQuantizer": "VectorQuantizer",
    "pyvae.guides.vector_quantizer.VectorQuantizer": "VectorQuantizer",
    "pyvae.guides.softmax.SoftmaxQuantizer": "SoftmaxQuantizer",
    "pyvae.quantizers.vector_quantizer.VectorQuantizer": "VectorQuantizer",
    "pyvae.quantizers.VectorQuantizer": "VectorQuantizer",
    "pyvae.quantizers.SoftmaxQuantizer": "SoftmaxQuantizer",
}


def arguments(path):
    quantizer = {"class_path": path, "init_args": SIZES[PATHS[path]]}
    return {"shape": [1, 8, 8], "channels": [4], "quantizer": quantizer}


@pytest.mark.parametrize("path", PATHS)
def test_quantizers_are_found_wherever_their_files_were(path, tmp_path):
    pair = build("vqvae", arguments(path))
    assert type(pair.quantizer) is getattr(pyvae.quantizers, PATHS[path])
    recipe = {"name": "vqvae", "arguments": arguments(path)}
    write_tensors(tmp_path / "pair.safetensors", pair.state_dict(), {"kind": "pair", "recipe": recipe})
    loaded = pyvae.load(tmp_path / "pair.safetensors")
    expected = arguments(f"pyvae.quantizers.{PATHS[path]}")
    assert {name: loaded.recipe["arguments"][name] for name in expected} == expected
    for name, tensor in pair.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize(
    "path",
    ["pyvae.guides.Nothing", "foreign.VectorQuantizer", "pyvae.cli.VectorQuantizer", "pyvae.quantizers.nearest_codes"],
)
def test_what_is_not_ours_stays_refused(path):
    recorded = {"shape": [1, 8, 8], "quantizer": {"class_path": path}}
    assert with_paths_of_today(recorded) == recorded
    with pytest.raises(pyvae.CheckpointError, match=f"{path}.*not ours"):
        build("vqvae", recorded)


def test_a_run_is_resumed_by_the_new_name_of_a_class(tmp_path):
    words = ["fit", "vqvae", "--channels", "4", "--evaluation-particles", "2", "--no-progress"]
    words += ["--run-dir", str(tmp_path / "run"), "--epochs"]

    def quantizer(path):
        return f"--quantizer={json.dumps(arguments(path)['quantizer'])}"

    old, new = "pyvae.guides.vector_quantizer.VectorQuantizer", "pyvae.quantizers.vector_quantizer.VectorQuantizer"
    assert main([*words, "1", quantizer(new)]) == 0
    record = tmp_path / "run" / "run.json"
    record.write_text(record.read_text().replace(new, old))
    assert main([*words, "2", quantizer(new), "--resume"]) == 0
    assert main(["sample", str(tmp_path / "run")]) == 0


def test_a_run_from_before_labels_could_be_hidden_goes_on_with_all_of_them(tmp_path, capsys):
    words = ["fit", "semi_supervised", "--labelled=all", "--epochs=1", f"--run-dir={tmp_path / 'run'}"]
    assert main([*words, "--evaluation-particles=2", "--hidden=8", "--latent-dim=2"]) == 0
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    assert record["data"].pop("labelled") == "all"
    path.write_text(json.dumps(record))
    assert main(["fit", "--resume", str(tmp_path / "run"), "--epochs=2"]) == 0
    assert json.loads(path.read_text())["data"]["labelled"] == "all"
    assert "--labelled" not in capsys.readouterr().err


def test_a_checkpoint_whose_betas_are_a_list_resumes_with_the_same_bits(tmp_path):
    def run(directory, epochs):
        torch.manual_seed(0)
        vae = pyvae.recipes.gaussian(shape=(6,), latent_dim=2, hidden=[8])
        pyvae.fit(vae, torch.ones(20, 6), epochs=epochs, seed=1, checkpoint_dir=directory, resume=True, progress=False)

    run(tmp_path / "straight", 3)
    run(tmp_path / "old", 1)
    path = tmp_path / "old" / "checkpoint.safetensors"
    tensors, header = read_tensors(path)
    (group,) = header["optimizer"]["param_groups"]
    assert group["betas"] == {"tuple": [0.9, 0.999]}
    group["betas"] = [0.9, 0.999]
    write_tensors(path, tensors, header)
    run(tmp_path / "old", 3)
    resumed, header = read_tensors(path)
    header["optimizer"]["param_groups"][0]["betas"] = {"tuple": [0.9, 0.999]}
    write_tensors(path, resumed, header)
    assert_same_run(tmp_path / "straight", tmp_path / "old")


@pytest.mark.parametrize("name", ["Normal", "Laplace", "StudentT"])
@pytest.mark.parametrize("given", [{}, {"init_args": {"scale": 0.5}}, {"init_args": {"learn_scale": True}}])
def test_a_scale_of_which_a_record_says_nothing_was_fixed(name, given):
    """As earlier versions recorded components without the arguments that were left out, and fixed scales."""
    pair = build("gaussian", {"shape": [5], "likelihood": {"class_path": f"pyvae.likelihoods.{name}", **given}})
    learned = given.get("init_args", {}).get("learn_scale", False)
    assert pair.likelihood.log_scale.requires_grad == learned
    assert build("gaussian", pair.recipe["arguments"]).likelihood.log_scale.requires_grad == learned
    path = f"pyvae.likelihoods.{name.lower()}.{name}"
    inside = {"class_path": "MissingAtRandom", "init_args": {"likelihood": {"class_path": path, **given}}}
    assert with_paths_of_today(inside)["init_args"]["likelihood"]["init_args"]["learn_scale"] == learned


@pytest.mark.parametrize("name", ["Normal", "Laplace", "StudentT"])
def test_scales_are_learned_by_default_and_recorded(name, tmp_path):
    pair = pyvae.recipes.gaussian((5,), likelihood=getattr(pyvae.likelihoods, name))
    assert pair.likelihood.log_scale.requires_grad
    assert pair.recipe["arguments"]["likelihood"]["init_args"]["learn_scale"] is True
    pyvae.save(tmp_path / "pair.safetensors", pair)
    assert pyvae.load(tmp_path / "pair.safetensors").likelihood.log_scale.requires_grad


def test_encoders_of_which_a_record_says_nothing_saw_counts_as_they_are():
    arguments = {"shape": [5], "likelihood": {"class_path": "pyvae.likelihoods.Poisson"}}
    old, new = build("gaussian", arguments), build("gaussian", {**arguments, "log_input": None})
    assert isinstance(old.posterior.network, pyvae.networks.MLP)
    assert isinstance(new.posterior.network, pyvae.networks.LogCounts)
    record = {"recipe": "gaussian", "arguments": arguments, "data": {"data": "x.npy"}}
    assert with_paths_of_today(record)["arguments"]["log_input"] is False


def test_a_run_of_before_resumes_by_its_command(tmp_path):
    """Its record knows no log_input, and a preprocessing and a likelihood that nobody has asked for."""
    words = ["fit", "gaussian", "--hidden", "4", "--evaluation-particles", "2", "--no-progress"]
    words += ["--run-dir", str(tmp_path / "run"), "--epochs"]
    assert main([*words, "1"]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["preprocessing"] == "dynamic_binarization"
    assert record["arguments"]["likelihood"] == {"class_path": "pyvae.likelihoods.Bernoulli"}
    del record["arguments"]["log_input"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert main([*words, "2", "--resume"]) == 0
