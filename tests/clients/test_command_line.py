"""The command line, used as a person would."""

import csv
import inspect
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pyvae
from pyvae.cli import commands
from pyvae.cli.fit import usable_device
from pyvae.cli.main import command_parser, main, recipe_parser
from pyvae.cli.options import FROM_DATA
from pyvae.cli.parser import given_options
from pyvae.cli.shorthands import expanded
from pyvae.cli.words import underscored
from pyvae.training.progress import TrainingProgress

QUICK = ["--epochs=2", "--hidden=[16]", "--latent-dim=3", "--evaluation-particles=5", "--no-progress"]


def quick(recipe, directory, *options):
    arguments = [*QUICK[:1], *[q for q in QUICK[1:] if recipe in ("gaussian", "conditional") or "hidden" not in q]]
    return main(["fit", recipe, *arguments, f"--run-dir={directory}", *options])


@pytest.fixture(scope="module")
def conditional_run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "conditional"
    assert quick("conditional", directory) == 0
    return directory


def test_a_run_leaves_everything_behind(conditional_run):
    names = {p.name for p in conditional_run.iterdir()}
    assert names >= {
        "run.json",
        "checkpoint.safetensors",
        "metrics.csv",
        "model.safetensors",
        "evaluation.json",
        "report.html",
        *(f"{n}.png" for n in ("samples", "reconstructions", "transfer", "latents", "curves")),
    }
    record = json.loads((conditional_run / "run.json").read_text())
    assert record["recipe"] == "conditional"
    assert record["arguments"]["shape"] == [1, 8, 8]
    assert record["preprocessing"] == [{"name": "dynamic_binarization"}]
    assert record["versions"].keys() >= {"python", "pyro-vae", "pyro-ppl", "torch"}
    rows = list(csv.DictReader((conditional_run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["validation_elbo"]) < 0
    figures = json.loads((conditional_run / "evaluation.json").read_text())
    assert figures["elbo"] <= figures["log_likelihood"] < 0


def test_the_report_stands_alone(conditional_run):
    page = (conditional_run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4  # the map has its datapoints on one
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "Style transfer" in page


def test_the_saved_model_loads_in_python(conditional_run):
    vae = pyvae.load(conditional_run / "model.safetensors")
    assert vae.model(y=torch.tensor([1, 2, 3])).shape == (3, 1, 8, 8)
    best = pyvae.load(conditional_run / "checkpoint.safetensors")
    assert all(torch.equal(p, q) for p, q in zip(vae.parameters(), best.parameters(), strict=True))


def test_sample_reconstruct_evaluate(conditional_run, tmp_path, capsys):
    run = str(conditional_run)
    assert main(["sample", run, "--count=20"]) == 0
    assert main(["sample", run, "--count=20"]) == 0
    assert (conditional_run / "samples-1.png").read_bytes() == (conditional_run / "samples-2.png").read_bytes()
    assert main(["sample", run, "--labels=[3,7]", "--count=6", "--draw", f"--output={tmp_path / 'x.npy'}"]) == 0
    drawn = np.load(tmp_path / "x.npy")
    assert drawn.shape == (6, 1, 8, 8)
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    assert main(["reconstruct", run, "--count=4", "--as-label=3"]) == 0
    assert main(["reconstruct", run, "--count=4", f"--output={tmp_path / 'again.npy'}"]) == 0
    assert np.load(tmp_path / "again.npy").shape == (4, 1, 8, 8)
    capsys.readouterr()
    assert main(["evaluate", run, "--num-particles=7"]) == 0
    assert "evaluation-1.json" in capsys.readouterr().out
    assert json.loads((conditional_run / "evaluation-1.json").read_text())["num_particles"] == 7


def test_resuming_extends_a_run_as_if_it_had_never_stopped(tmp_path):
    assert quick("gaussian", tmp_path / "straight", "--epochs=4") == 0
    assert quick("gaussian", tmp_path / "resumed") == 0
    assert quick("gaussian", tmp_path / "resumed", "--epochs=4", "--resume") == 0
    for name in ("metrics.csv", "evaluation.json", "model.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes(), name


def test_a_run_is_all_that_resuming_needs(tmp_path):
    """Recipe, data, options and seed come from the run; what is changed is recorded."""
    np.save(tmp_path / "own.npy", np.random.default_rng(0).normal(size=(60, 5)))
    words = [f"--data={tmp_path / 'own.npy'}", "--preprocessing=standardization", "--likelihood=Normal", "--seed=3"]
    words += ["--batch-size=20", "--objective=WeightedELBO", "--objective.free_bits=0.1", "--schedule=cosine"]
    assert quick("gaussian", tmp_path / "longer", *words) == 0
    first = json.loads((tmp_path / "longer" / "run.json").read_text())
    assert main(["fit", "--resume", str(tmp_path / "longer"), "--epochs=4"]) == 0
    assert main(["fit", "--epochs", "6", f"--resume={tmp_path / 'longer'}", "--optimizer.lr", "0.01"]) == 0
    record = json.loads((tmp_path / "longer" / "run.json").read_text())
    assert record["arguments"] == first["arguments"]
    assert record["data"] == first["data"]
    rate = {"was": 0.001, "now": 0.01}
    assert record["changes"] == [
        {"epoch": 2, "options": {"epochs": {"was": 2, "now": 4}}},
        {"epoch": 4, "options": {"optimizer.lr": rate, "epochs": {"was": 4, "now": 6}}},
    ]
    assert record["training"]["epochs"] == 6
    rows = list(csv.DictReader((tmp_path / "longer" / "metrics.csv").open()))
    assert len(rows) == 6
    assert float(rows[5]["learning_rate"]) == pytest.approx(0.01 * (1 + np.cos(np.pi * 5 / 6)) / 2)


def test_a_run_of_an_older_version_goes_on(tmp_path):
    """Its record lacks options that came later, and has some that are no more."""
    assert quick("gaussian", tmp_path / "run", "--likelihood=Normal", "--preprocessing=dequantization") == 0
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    for name in ("code", "changes"):
        del record[name]
    for name in ("precision", "compile", "tensorboard"):
        del record["training"][name]
    del record["arguments"]["activation"]
    del record["arguments"]["likelihood"]["init_args"]["per_element"]
    record["training"]["warmup_steps"] = 3
    path.write_text(json.dumps(record))
    assert main(["fit", "--resume", str(tmp_path / "run"), "--epochs=3"]) == 0
    changes = json.loads(path.read_text())["changes"]
    assert changes == [{"epoch": 2, "options": {"epochs": {"was": 2, "now": 3}}}]


def test_a_record_names_no_code_that_resuming_would_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "foreign_code.py").write_text("raise SystemExit('foreign code was run')")
    monkeypatch.syspath_prepend(tmp_path)
    assert quick("gaussian", tmp_path / "run") == 0
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    for option in ("objective", "optimizer", "schedule", "likelihood"):
        for value in ("foreign_code.f", {"class_path": "foreign_code.C"}, {"class_path": "torch.hub.load"}):
            part = "arguments" if option == "likelihood" else "training"
            path.write_text(json.dumps({**record, part: {**record[part], option: value}}))
            assert main(["fit", "--resume", str(tmp_path / "run")]) == 2
            assert re.search("names the class|holds the text", capsys.readouterr().err)
    assert "foreign_code" not in sys.modules


def test_components_swap_by_one_argument(tmp_path):
    options = ["--likelihood=Normal", "--preprocessing=dequantization"]
    assert quick("gaussian", tmp_path / "normal", *options, "--prior=NormalMixture", "--prior.num_components=4") == 0
    vae = pyvae.load(tmp_path / "normal" / "model.safetensors")
    assert isinstance(vae.likelihood, pyvae.likelihoods.Normal)
    assert isinstance(vae.likelihood.log_scale, torch.nn.Parameter)
    assert vae.prior.logits.shape == (4,)
    assert quick("convolutional", tmp_path / "conv", "--channels=[4,4]", "--likelihood=HeteroscedasticNormal") == 0


def test_own_arrays_objective_optimizer_and_yaml(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.random.default_rng(0).normal(size=(60, 5)))
    (tmp_path / "own.yaml").write_text("latent_dim: 2\nlikelihood: Normal\nepochs: 3\nhidden: [8]\n")
    options = [
        f"--config={tmp_path / 'own.yaml'}",
        f"--data={tmp_path / 'own.npz'}",
        "--preprocessing=standardization",
        "--objective=Trace_ELBO",
        "--objective.num_particles=2",
        "--optimizer=SGD",
        "--optimizer.lr=0.001",
        "--schedule=ExponentialLR",
        "--schedule.gamma=0.5",
        "--tensorboard",
        "--no-progress",
        f"--run-dir={tmp_path / 'run'}",
    ]
    assert main(["fit", "gaussian", *options]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["training"]["epochs"] == 3
    assert record["training"]["objective"]["init_args"]["num_particles"] == 2
    assert len(record["preprocessing"][0]["mean"]) == 5
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    rates = [float(row["learning_rate"]) for row in csv.DictReader((tmp_path / "run" / "metrics.csv").open())]
    assert rates == pytest.approx([0.001, 0.0005, 0.00025])


def test_grey_values_under_a_bernoulli_are_told(tmp_path, capsys):
    assert quick("gaussian", tmp_path / "grey", "--preprocessing=no_preprocessing", "--likelihood=Bernoulli") == 0
    assert "strictly between 0 and 1" in " ".join(capsys.readouterr().out.split())
    assert "strictly between 0 and 1" in (tmp_path / "grey" / "report.html").read_text()


def test_default_run_directories_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["fit", "gaussian", *QUICK]) == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["gaussian-1", "gaussian-2"]


def test_help_speaks_of_every_argument():
    command = [sys.executable, "-m", "pyvae"]
    text = subprocess.run([*command, "--help"], check=True, capture_output=True, text=True).stdout
    assert all(name in text for name in ("fit", "sample", "reconstruct", "evaluate"))
    text = subprocess.run([*command, "fit", "gaussian", "--help"], check=True, capture_output=True, text=True).stdout
    for option in ("--latent-dim", "--data-root", "--download", "--likelihood", "--objective", "--run-dir", "--seed"):
        assert option in text
    assert "length of z" in text


def shown_help(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("recipe", pyvae.recipes.__all__)
def test_the_help_of_a_recipe_is_two_screens_of_plain_words(recipe, capsys, monkeypatch):
    text = shown_help(["fit", recipe], capsys, monkeypatch)
    lines = text.splitlines()
    assert len(lines) <= 110
    assert max(map(len, lines)) <= 100
    assert not re.search(r"Callable|Literal|Union|class_path|typing|null|<class|``|:\w+:`|subclasses", text)
    own = [name for name in inspect.signature(getattr(pyvae.recipes, recipe)).parameters if name not in FROM_DATA]
    options = re.findall(r"(?m)^  --(?:no-)?([\w.-]+)", text)
    assert [option.replace("-", "_") for option in options[: len(own)]] == own
    titles = [line[:-1] for line in lines if re.fullmatch(r"[\w ]+:", line)]
    assert titles == [f"options of {recipe}", "data", "training", "the run", "other"]


def test_the_help_tells_types_and_defaults(capsys, monkeypatch):
    text = " ".join(shown_help(["fit", "burda"], capsys, monkeypatch).split())
    for part in (
        "--latent-dim length of z (int; default 50)",
        "VampPrior; default StandardNormal)",
        "default Adam with lr 0.002)",
        "(number; default 0.13)",
        "default mnist)",
        "(one of cosine, linear or class; default cosine)",
    ):
        assert part in text
    assert "(list of int; default 8,16,32)" in " ".join(shown_help(["fit", "ladder"], capsys, monkeypatch).split())


def test_the_help_of_commands_and_classes(capsys, monkeypatch):
    text = shown_help(["sample"], capsys, monkeypatch)
    assert text.startswith("usage: pyvae sample RUN [options]\n")
    assert re.search(r"--count +how many \(int; default 100\)", text)
    assert re.search(r"--draw +draw x", text)
    with pytest.raises(SystemExit):
        main(["fit", "gaussian", "--likelihood.help", "Normal"])
    assert "--likelihood.scale" in capsys.readouterr().out


def test_incomplete_data(tmp_path, monkeypatch):
    """Values that are missing, and labels that are."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = np.where(rng.random((60, 5)) < 0.3, np.nan, rng.normal(size=(60, 5)))
    np.savez("gaps.npz", x=x)
    np.savez(
        "labels.npz", x=(rng.random((60, 5)) < 0.5).astype(float), y=np.where(np.arange(60) < 20, np.arange(60) % 3, -1)
    )
    small = ["--hidden=[8]", "--latent-dim=2", "--epochs=1"]
    assert main(["fit", "incomplete", "--data=gaps.npz", "--preprocessing=standardization", *small]) == 0
    assert main(["fit", "semi_supervised", "--data=labels.npz", "--preprocessing=no_preprocessing", *small]) == 0
    assert main(["evaluate", "runs/incomplete-1"]) == 0
    assert json.loads(Path("runs/incomplete-1/evaluation.json").read_text())["log_likelihood"] < 0
    assert main(["fit", "conditional", "--data=labels.npz", "--preprocessing=no_preprocessing", "--epochs=1"]) == 2
    recorded = json.loads(Path("runs/incomplete-1/run.json").read_text())["preprocessing"]
    assert np.isfinite(recorded[-1]["mean"]).all()


LISTS = {
    "widths": (["gaussian", "--hidden", "8,16"], "hidden", [8, 16]),
    "one": (["gaussian", "--hidden=8"], "hidden", [8]),
    "with brackets": (["gaussian", "--hidden=[8,16]"], "hidden", [8, 16]),
    "levels of a hierarchy": (["hierarchical", "--latent-dims", "8,16,32"], "latent_dims", [8, 16, 32]),
    "levels of a ladder": (["ladder", "--latent-dims=8,16"], "latent_dims", [8, 16]),
    "or none": (["vqvae", "--strides", "2,4"], "strides", [2, 4]),
    "of a component": (
        ["gaussian", "--prior", "RealNVP", "--prior.hidden", "8,16"],
        "prior",
        {"class_path": "pyvae.priors.RealNVP", "init_args": {"hidden": [8, 16]}},
    ),
    "of another": (
        ["vqvae", "--quantizer=FiniteScalarQuantizer", "--quantizer.levels=8,5"],
        "quantizer",
        {"class_path": "pyvae.quantizers.FiniteScalarQuantizer", "init_args": {"levels": [8, 5]}},
    ),
}


@pytest.mark.parametrize(("words", "name", "expected"), LISTS.values(), ids=LISTS)
def test_lists_of_numbers_need_no_brackets(words, name, expected):
    recipe, *options = underscored(words)
    parser = recipe_parser(recipe, getattr(pyvae.recipes, recipe))
    value = parser.parse_args(options).as_dict()[name]
    if isinstance(value, dict):
        value["init_args"] = {n: value["init_args"][n] for n in expected["init_args"]}
    assert value == expected


SHORT = {
    "lr": (["gaussian", "--lr", "0.02"], ["gaussian", "--optimizer.lr", "0.02"]),
    "lr of another optimizer": (
        ["gaussian", "--optimizer=SGD", "--lr=1"],
        ["gaussian", "--optimizer=SGD", "--optimizer.lr=1"],
    ),
    "beta": (["gaussian", "--beta=4"], ["gaussian", "--objective=WeightedELBO", "--objective.beta=4"]),
    "beta beside free bits": (["ladder", "--beta=4"], ["ladder", "--objective.beta=4"]),
    "warm-up": (["ladder", "--warm-up=0.5"], ["ladder", "--objective.beta.epochs=0.5"]),
    "epochs of a warm-up": (
        ["gaussian", "--warm-up=20"],
        [
            "gaussian",
            "--objective=WeightedELBO",
            "--objective.beta=pyvae.objectives.WarmUp",
            "--objective.beta.epochs=20",
        ],
    ),
}


@pytest.mark.parametrize(("short", "long"), SHORT.values(), ids=SHORT)
def test_short_options_are_the_long_ones(short, long):
    def parsed(words):
        recipe, *options = underscored(words)
        parser = recipe_parser(recipe, getattr(pyvae.recipes, recipe))
        found = expanded(parser, parser.parse_args(options), given_options(parser, options))
        return {n: found[n] if found[n] is None else found[n].as_dict() for n in ("optimizer", "objective")}

    assert parsed(short) == parsed(long)


def test_classes_go_by_number_or_name(tmp_path, capsys):
    for name in ("cat", "ship"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(20):
            pixels = np.random.default_rng(index).integers(0, 256, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{index}.png")
    run, small = str(tmp_path / "run"), ["--epochs=1", "--evaluation-particles=2", "--hidden=4", "--image-size=8"]
    assert main(["fit", "conditional", f"--data={tmp_path / 'data'}", f"--run-dir={run}", *small]) == 0
    for name, labels in {"names": "ship,cat", "numbers": "1,0", "one": "ship"}.items():
        assert main(["sample", run, "--count=4", "--labels", labels, f"--output={tmp_path / name}.npy"]) == 0
    drawn = {name: np.load(tmp_path / f"{name}.npy") for name in ("names", "numbers", "one")}
    assert np.array_equal(drawn["names"], drawn["numbers"])
    assert np.array_equal(drawn["names"][:2], drawn["one"][:2])
    assert main(["reconstruct", run, "--count=2", "--as-label=cat"]) == 0
    capsys.readouterr()
    assert main(["reconstruct", run, "--count=2", "--as-label=cat,ship"]) == 2
    assert "as_label is cat,ship; expected one class" in capsys.readouterr().err
    assert main(["sample", run, "--labels", "dog,cat"]) == 2
    assert "labels are dog,cat; expected some of 0 to 1, or of the names cat, ship" in capsys.readouterr().err


def test_labels_need_no_brackets():
    words = ["sample", "run", "--labels", "3,7"]
    assert command_parser(words).parse_args(words).sample.labels == [3, 7]


@pytest.mark.parametrize(
    ("words", "slow"),
    [
        ("--version", {"torch", "pyro"}),
        ("--help", {"torch", "pyro"}),
        ("fit --help", {"torch", "pyro"}),
        ("fit gaussian --help", {"matplotlib", "sklearn", "arviz", "scipy"}),
    ],
)
def test_help_does_not_wait_for_what_it_does_not_need(words, slow):
    program = "import sys\nfrom pyvae.cli.main import main\ntry: main(sys.argv[1:])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *words.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not slow & set(done.stdout.split())


@pytest.mark.parametrize(("words", "module"), [(["--help"], commands), (["fit", "--help"], pyvae.recipes)])
def test_the_help_lists_every_recipe_and_command(words, module, capsys):
    with pytest.raises(SystemExit):
        main(words)
    shown = capsys.readouterr().out
    for name, function in vars(module).items():
        if inspect.isfunction(function):
            summary = inspect.getdoc(function).splitlines()[0]
            assert re.search(rf"\b{name}\s+{re.escape(summary[:30])}", shown), name


def test_the_device_is_the_accelerator_if_there_is_one():
    assert usable_device("auto") == (torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu"))


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C is pressed at a batch, once."""

    def at(number, times=1):
        count = 0
        batch = TrainingProgress.batch

        def press(self, *arguments):
            nonlocal count
            count += 1
            batch(self, *arguments)
            for _ in range(times if count == number else 0):
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(TrainingProgress, "batch", press)

    return at


def test_an_interruption_leaves_what_there_is_and_says_how_to_go_on(tmp_path, monkeypatch, interrupted, capsys):
    assert quick("gaussian", tmp_path / "straight", "--epochs=3") == 0
    monkeypatch.chdir(tmp_path)
    interrupted(30)  # of 11 in an epoch
    assert quick("gaussian", "my run", "--epochs=3") == 130
    assert capsys.readouterr().err.endswith("pyvae: interrupted; go on with: pyvae fit --resume 'my run'\n")
    assert {p.name for p in Path("my run").iterdir()} >= {"report.html", "model.safetensors", "samples.png"}
    assert "interrupted in epoch 3 of 3" in Path("my run/report.html").read_text()
    assert main(["fit", "--resume", "my run"]) == 0
    for name in ("metrics.csv", "evaluation.json", "model.safetensors", "checkpoint.safetensors"):
        assert Path("my run", name).read_bytes() == Path("straight", name).read_bytes(), name


@pytest.mark.parametrize(("batch", "times"), [(3, 1), (3, 2), (15, 2)])
def test_an_interruption_at_once_leaves_a_run_to_go_on_with(tmp_path, interrupted, batch, times, capsys):
    interrupted(batch, times)
    assert quick("gaussian", tmp_path / "run") == 130
    assert f"pyvae fit --resume {tmp_path / 'run'}" in capsys.readouterr().err
    assert not (tmp_path / "run" / "report.html").exists()
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 0
    assert len(list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))) == 2
