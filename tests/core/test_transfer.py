"""Fine-tuning: what is taken from a trained model, for the same alphabet and for another."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

import ctckit
from ctckit import ConfigError, Emissions
from ctckit.cli import main
from ctckit.config import Config
from ctckit.data import CorpusWriter, open_corpus
from ctckit.engine.checkpoint import load_checkpoint
from ctckit.stored import Stored
from ctckit.transfer import transfer


class Pairs(ctckit.Model):
    """Classes are counted by rows, columns and both."""

    def __init__(self, num_classes: int, hidden: int = 6) -> None:
        super().__init__()
        self.body = nn.Linear(3, hidden)
        self.head = nn.Linear(hidden, num_classes)
        self.back = nn.Linear(num_classes, hidden)
        self.bigrams = nn.Parameter(torch.randn(num_classes, num_classes))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        return Emissions(self.head(self.body(features_BTF)).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return lengths_B

    def blank_bias(self) -> Tensor:
        return self.head.bias[:1]


def stored(model: Pairs, tokens: str, shift: float = 0.0) -> Stored:
    config = Config.model_construct(model=ctckit.Component("pairs"))
    return Stored(config, {}, ("<blank>", *tokens), {}, model.state_dict(), None, 7, shift)


SOURCE = Path("runs/first")


def test_rows_follow_their_labels() -> None:
    old, new = Pairs(4), Pairs(5)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    before = torch.get_rng_state()
    begun = transfer(new, lambda: Pairs(6), stored(old, "abc", -0.5), ["<blank>", *"xcba"], SOURCE)
    assert torch.equal(torch.get_rng_state(), before)
    assert (begun.kept, begun.new, begun.left) == (("<blank>", "c", "b", "a"), ("x",), ())
    here, there = [0, 2, 3, 4], [0, 3, 2, 1]
    assert torch.equal(new.body.weight, old.body.weight)
    assert torch.equal(new.head.weight[here], old.head.weight[there])
    assert torch.equal(new.head.weight[1], fresh["head.weight"][1])
    assert torch.equal(new.head.bias[here[1:]], old.head.bias[there[1:]])
    assert new.head.bias[0].item() == pytest.approx(old.head.bias[0].item() - 0.5)
    assert torch.equal(new.back.weight[:, here], old.back.weight[:, there])
    assert torch.equal(new.bigrams[here][:, here], old.bigrams[there][:, there])
    assert torch.equal(new.bigrams[1], fresh["bigrams"][1])
    assert torch.equal(new.bigrams[:, 1], fresh["bigrams"][:, 1])


def test_alphabets_of_one_size_are_told_apart() -> None:
    old, new = Pairs(3), Pairs(3)
    fresh = new.head.weight.clone()
    begun = transfer(new, lambda: Pairs(4), stored(old, "ab"), ["<blank>", "b", "z"], SOURCE)
    assert (begun.new, begun.left) == (("z",), ("a",))
    assert torch.equal(new.head.weight[1], old.head.weight[2])
    assert torch.equal(new.head.weight[2], fresh[2])


def test_the_same_alphabet_needs_no_second_model() -> None:
    old, new = Pairs(3), Pairs(3)
    begun = transfer(new, lambda: pytest.fail("made for nothing"), stored(old, "ab"), ["<blank>", *"ab"], SOURCE)
    assert not begun.new + begun.left + begun.initialised + begun.unused
    for name, value in new.state_dict().items():
        assert torch.equal(value, old.state_dict()[name])
    assert begun.lines() == ["begins with the weights of runs/first, epoch 7, and its feature statistics"]


def test_parts_that_one_side_lacks_are_said_and_sizes_that_differ_refused() -> None:
    old, new = Pairs(3), Pairs(3)
    given = stored(old, "ab")
    weights = {f"old.{name}" if name.startswith("back") else name: value for name, value in given.weights.items()}
    other = Stored(given.config, {}, given.tokens, {}, weights, None, 7, 0.0)
    begun = transfer(new, lambda: Pairs(4), other, given.tokens, SOURCE)
    assert begun.initialised == ("back.weight", "back.bias")
    assert begun.unused == ("old.back.weight", "old.back.bias")
    with pytest.raises(ConfigError, match=re.escape("body.weight has shape [6, 3] in runs/first")):
        transfer(Pairs(3, 8), lambda: Pairs(4, 8), given, given.tokens, SOURCE)
    nothing = Stored(given.config, {}, given.tokens, {}, {"other": torch.ones(1)}, None, 7, 0.0)
    with pytest.raises(ConfigError, match="holds no weight of this model"):
        transfer(Pairs(3), lambda: Pairs(4), nothing, given.tokens, SOURCE)


def train(folder: Path, tiny: Any, *more: str) -> Result:
    options = ["--data", str(tiny.train), "--dev", str(tiny.dev), "--out", str(folder), "--threads=1", "-v"]
    settings = ["model.hidden_size=24", "batch_size=8", "phases.*.epochs=1", "phases.warmup.schedule.epochs=1"]
    settings += ["phases.exploration.epochs=14", "phases.*.schedule.lr=0.01", "model.auxiliary_weight=0"]
    return CliRunner().invoke(main, ["train", *options, *(f"--set={one}" for one in settings), *more])


@pytest.fixture(scope="module")
def first(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "run"
    done = train(folder, tiny)
    assert done.exit_code == 0, done.output
    return folder


def weights(run: Path, name: str = "last") -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_checkpoint(run / "checkpoints" / f"{name}.pt")["model"]
    return found


def history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


STILL = ["--set=phases.*.schedule={name='constant', lr=1e-30}", "--set=phases.*.weight_decay=0"]


def test_a_run_begins_where_the_other_ended(first: Path, tiny: Any, tmp_path: Path) -> None:
    done = train(tmp_path / "second", tiny, "--init-from", str(first), *STILL, "--set=phases.*.penalty=none",
                 "--max-updates=1")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"begins with the weights of {first}/checkpoints/best.pt" in done.stderr
    expected = CliRunner().invoke(main, ["evaluate", str(first), "--data", str(tiny.dev), "--json"])
    rows = history(tmp_path / "second")
    assert rows[0]["init_from"]["new"] == []
    (epoch,) = (row for row in rows if row["kind"] == "epoch")
    # batch statistics move a little in one epoch, weights do not
    assert epoch["val_wer"] == pytest.approx(json.loads(expected.stdout)["wer"], abs=8.0)
    assert torch.equal(
        weights(first, "best")["projection.weight"], weights(tmp_path / "second")["projection.weight"]
    )


def test_another_alphabet_and_a_resumption(first: Path, tiny: Any, tmp_path: Path) -> None:
    renamed = tmp_path / "train.h5"
    corpus = open_corpus(tiny.train)
    with CorpusWriter(renamed, corpus.feature_size, dtype="float32") as writer:
        for number, clip in enumerate(corpus.ids):
            labels = ["NEW" if label == corpus.transcript(0)[0] else label for label in corpus.transcript(number)]
            writer.add(clip, corpus.features(number), labels)
    done = train(tmp_path / "run", tiny, "--data", str(renamed), "--dev", str(renamed), "--init-from", str(first),
                 "--max-updates=3")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "1 labels are new: NEW" in done.stderr
    assert f"1 labels of it are left out: {corpus.transcript(0)[0]}" in done.stderr
    # what it began with is not needed any more
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    assert state["config"]["init_from"] == str(first)
    moved = first.rename(first.with_name("moved"))
    try:
        again = CliRunner().invoke(main, ["train", "--resume", str(tmp_path / "run"), "--max-updates=6"])
        assert again.exit_code == 0, again.output
        assert "begins with" not in again.stderr
    finally:
        moved.rename(first)


def test_frozen_parts_stand_still_and_rates_are_multiples(first: Path, tiny: Any, tmp_path: Path) -> None:
    frozen = ["convolutions", "frame_lstm"]
    done = train(
        tmp_path / "run", tiny, "--init-from", str(first), f"--set=phases.*.frozen={json.dumps(frozen)}",
        "--set=phases.*.rates={sequence_lstm=1e-30}", "--set=phases.*.weight_decay=0", "--max-updates=6",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    before, after = weights(first, "best"), weights(tmp_path / "run")
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"projection"}
    epoch = next(row for row in history(tmp_path / "run") if row["kind"] == "epoch")
    assert set(epoch["module_gradients"]) == {"sequence_lstm", "projection"}
    assert epoch["learning_rate"] == pytest.approx(0.01, rel=0.5)
    groups = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["optimizer"]["param_groups"]
    rates = {group["part"]: group["lr"] for group in groups}
    assert rates["sequence_lstm"] == pytest.approx(1e-30 * rates["projection"])
    resumed = CliRunner().invoke(main, ["train", "--resume", str(tmp_path / "run"), "--max-updates=12"])
    assert resumed.exit_code == 0, resumed.output
    again = weights(tmp_path / "run")
    assert all(torch.equal(before[name], again[name]) for name in before if name.partition(".")[0] in frozen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set=phases.*.frozen=['projektion']"], "no part 'projektion'; did you mean 'projection'?"),
        (["--set=phases.warmup.rates={nothing=2.0}"], "phases.warmup.rates: the model has no part 'nothing'"),
        (
            ["--set=phases.*.frozen=['convolutions','frame_lstm','sequence_lstm','projection']"],
            "nothing is left to learn",
        ),
        (["--init-from", "nowhere"], "nowhere: no checkpoint 'best'"),
        (["--init-from=FIRST", "--set=data.deltas=1"], "was trained with data.deltas = 0; set that here too"),
        (["--init-from=FIRST", "--set=model.hidden_size=32"], "give the model the settings of that run"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    first: Path, tiny: Any, tmp_path: Path, options: list[str], message: str
) -> None:
    done = train(tmp_path / "run", tiny, *(option.replace("FIRST", str(first)) for option in options))
    assert done.exit_code in (2, 5), done.output
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()


STAGED = """
import ctckit
from torch import nn


class Staged(ctckit.Model):
    def __init__(self, input_size: int, num_classes: int):
        super().__init__()
        self.front = nn.Linear(input_size, 8)
        self.mid = nn.Linear(8, 8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, features_BTF, lengths_B):
        hidden_BTH = self.mid(self.front(features_BTF))
        return ctckit.Emissions(self.head(hidden_BTH).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B):
        return lengths_B

    def set_stage(self, stage):
        self.front.requires_grad_(stage == 1)
        self.mid.requires_grad_(stage == 2)


@ctckit.hookimpl
def ctckit_register(registry):
    registry.model("staged", Staged)
"""


@pytest.mark.parametrize("rates", [[], ["--set=phases.*.rates={head=1.0}"]])
def test_what_a_stage_of_the_model_holds_is_the_stages_affair(tiny: Any, tmp_path: Path, rates: list[str]) -> None:
    (tmp_path / "staged.py").write_text(STAGED)
    phase = "schedule={name='constant', lr=0.01}"
    options = [f"--set=phases.*.{phase}", "--set=phases.*.epochs=1", "--set=phases.*.penalty=none"]
    options += ["--set=phases.*.dropout=none", "--set=phases.*.stage=2", "--set=phases.warmup.stage=1"]
    learnt = []
    for updates in ("--max-updates=1", "--max-updates=4"):  # batches of 48: an epoch is an update
        run = tmp_path / updates
        done = CliRunner().invoke(
            main,
            ["train", "--plugin", str(tmp_path / "staged.py"), "--plugin=hierarchical_fixed", "--threads=1",
             "--data", str(tiny.train), "--dev", str(tiny.dev), "--set=model=staged", "--set=batch_size=48",
             "--out", str(run), updates, *options, *rates],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        learnt.append(weights(run))
    first, last = learnt
    assert torch.equal(first["front.weight"], last["front.weight"])
    assert not torch.equal(first["mid.weight"], last["mid.weight"])


def test_the_rate_of_an_epoch_is_the_schedules_whatever_the_first_part_has(tiny: Any, tmp_path: Path) -> None:
    rate = "phases.*.schedule={name='constant', lr=0.01}"
    done = train(
        tmp_path / "run", tiny, f"--set={rate}", "--set=phases.*.rates={convolutions=0.5}", "--max-updates=6"
    )
    assert done.exit_code == 0, done.output
    (epoch,) = (row for row in history(tmp_path / "run") if row["kind"] == "epoch")
    assert epoch["learning_rate"] == pytest.approx(0.01, rel=1e-9)
    groups = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["optimizer"]["param_groups"]
    assert groups[0]["part"] == "convolutions"
    assert [group["lr"] for group in groups[:2]] == pytest.approx([0.005, 0.01], rel=1e-9)


class Unbiased(Pairs):
    """Shows no bias of the blank."""

    def blank_bias(self) -> None:  # type: ignore[override]
        return None


class Odd(Pairs):
    """Keeps something that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}


def test_what_cannot_be_taken_over_is_said_or_refused() -> None:
    begun = transfer(Unbiased(3), lambda: Unbiased(4), stored(Pairs(3), "ab", -0.5), ["<blank>", *"ab"], SOURCE)
    assert begun.lost_shift == -0.5
    assert "its shift of the blank, -0.5 nats, is left out" in begun.lines()[-1]
    assert not transfer(
        Pairs(3), lambda: Pairs(4), stored(Pairs(3), "ab", -0.5), ["<blank>", *"ab"], SOURCE
    ).lost_shift
    with pytest.raises(ConfigError, match="keeps '_extra_state', which is no tensor"):
        transfer(Odd(3), lambda: Odd(4), stored(Pairs(3), "ab"), ["<blank>", *"ab"], SOURCE)


NORMED = """
import ctckit
from torch import nn


class Normed(ctckit.Model):
    def __init__(self, input_size: int, num_classes: int, kind: str = "BatchNorm1d"):
        super().__init__()
        self.norm = getattr(nn, kind)(input_size, affine=True, track_running_stats=True)
        self.head = nn.Linear(input_size, num_classes)

    def forward(self, features_BTF, lengths_B):
        hidden_BTF = self.norm(features_BTF.transpose(1, 2)).transpose(1, 2)
        return ctckit.Emissions(self.head(hidden_BTF).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B):
        return lengths_B


@ctckit.hookimpl
def ctckit_register(registry):
    registry.model("normed", Normed)
"""


@pytest.mark.parametrize("kind", ["BatchNorm1d", "InstanceNorm1d"])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_statistics_of_a_frozen_part_stand_still(tiny: Any, tmp_path: Path, kind: str, frozen: bool) -> None:
    (tmp_path / "normed.py").write_text(NORMED)
    settings = ["model=normed", f"model.kind={kind}", "phases.*.stage=none", "phases.*.penalty=none"]
    settings += ["phases.*.dropout=none", "data.normalize=none", *(["phases.*.frozen=['norm']"] if frozen else [])]
    done = CliRunner().invoke(
        main,
        ["train", "--plugin", str(tmp_path / "normed.py"), "--plugin=hierarchical_fixed", "--threads=1",
         "--data", str(tiny.train), "--dev", str(tiny.dev), "--out", str(tmp_path / "run"), "--max-updates=1",
         *(f"--set={one}" for one in settings)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert bool(weights(tmp_path / "run")["norm.running_mean"].any()) is not frozen
