"""A run is assembled in stages, and features are read once, at the end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ctckit import ConfigError, DataError
from ctckit.assemble import assemble, check
from ctckit.cli import main
from ctckit.config import Config, nest, resolve
from ctckit.data import Corpus, CorpusWriter, dataset, open_corpus
from ctckit.engine.evaluate import evaluate
from ctckit.plugin_host import load_plugins
from ctckit_hierarchical.fixed import RECIPE


class Reads:
    """Counts the clips whose features are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clips = 0
        for cls in (dataset.PackedCorpus, dataset.GroupedCorpus):
            monkeypatch.setattr(cls, "features", self._counting(cls.features))

    def _counting(self, read: Any) -> Any:
        def features(corpus: Corpus, index: int) -> Any:
            self.clips += 1
            return read(corpus, index)

        return features


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def laid(tiny: Any) -> Any:
    def lay(settings: dict[str, Any] | None = None) -> Config:
        corpora = {"data.train": tiny.train, "data.dev": tiny.dev, "model.hidden_size": 8}
        return resolve(RECIPE, [("test", nest({**corpora, **(settings or {})}))])

    return lay


def test_a_check_reads_no_feature_and_assembling_reads_each_once(laid: Any, reads: Reads, tmp_path: Path) -> None:
    registry, sources = load_plugins(["hierarchical_fixed"])
    checked = check(laid(), registry)
    assert reads.clips == 0
    assert (len(checked.kept), checked.dropped) == (48, ())
    assemble(laid(), registry, sources, tmp_path, torch.device("cpu"))
    assert reads.clips == 48  # the training corpus, for its statistics


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model.temporal_conv": False, "model.subsampling": 4}, ConfigError, "subsampling 4 happens in the conv"),
        ({"phases.warmup.stage": 7}, ConfigError, "hierarchical_bilstm has stages 1"),
        ({"model.subsampling": 4}, DataError, "has no CTC path"),
        ({"data.test": "absent.h5"}, DataError, "absent.h5: no such file"),
    ],
)
def test_what_needs_a_corpus_to_show_shows_before_a_feature_is_read(
    laid: Any, reads: Reads, tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    registry, sources = load_plugins(["hierarchical_fixed"])
    with pytest.raises(error, match=message):
        assemble(laid(settings), registry, sources, tmp_path, torch.device("cpu"))
    assert reads.clips == 0


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--data=absent.h5", "--dev=absent.h5"],
        ["train", "--data=absent.h5", "--dev=absent.h5", "--dry-run"],
        ["train"],  # the embedded corpus is not made
        ["train", "--print-config"],
        ["audit", "absent.h5"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("setting", ["model.hiden_size=5", "phases.*.schedule.lrr=1"])
def test_no_verb_opens_a_corpus_for_a_misspelt_parameter(
    command: list[str], setting: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(dataset, "open_file", lambda path: pytest.fail(f"{path} was opened"))
    result = CliRunner().invoke(main, [*command, f"--set={setting}"])
    assert result.exit_code == 2, result.output
    wrong = setting.partition("=")[0].rpartition(".")[2]
    assert f"unknown parameter '{wrong}'; did you mean" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_ablate_checks_all_components_and_then_all_corpora_and_reads_no_feature(
    tiny: Any, reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []
    monkeypatch.setattr("ctckit.ablation.runner.run_all", lambda jobs, *_: trained.extend(jobs) or False)
    plan = tmp_path / "plan.toml"
    variants = "[variants.a]\nset = ['model.hidden_size=8']\n[variants.b]\nset = ['phases.*.penalty=none']\n"

    def call(text: str, data: Any) -> Any:
        plan.write_text(text)
        options = [f"--data={data}", f"--dev={tiny.dev}", f"--out={tmp_path / 'out'}"]
        return CliRunner().invoke(main, ["ablate", str(plan), *options])

    call(variants, tiny.train)
    assert [job.variant for job in trained] == ["a", "b"]
    assert reads.clips == 0
    late = call(variants + "[variants.c]\nset = ['phases.*.schedule.lrr=1']\n", "absent.h5")
    assert late.exit_code == 2
    assert "variant 'c': schedule 'warmup': unknown parameter 'lrr'" in late.stderr  # not that of absent.h5
    assert "variant 'a': " in call(variants, "absent.h5").stderr


def test_train_says_at_its_start_where_state_is_shared(tiny: Any) -> None:
    corpora = [f"--data={tiny.train}", f"--dev={tiny.dev}", "--plugin=hierarchical_fixed", "--plugin=cures"]
    small = ["--set=model.hidden_size=8", "--threads=1", "--dry-run", "--verbose"]
    before = torch.get_num_threads()
    result = CliRunner().invoke(main, ["train", *corpora, *small, "--set=phases.*.penalty=blank_mass_controller"])
    torch.set_num_threads(before)
    assert result.exit_code == 0, result.output
    assert "share one penalty 'blank_mass_controller', because it is configured alike" in result.stderr


def test_checking_later_stages_leaves_the_model_as_the_first_phase_has_it(tiny: Any) -> None:
    first, *rest = RECIPE.phases
    phases = {first: RECIPE.phases[first].model_copy(update={"stage": None})}
    phases |= {name: RECIPE.phases[name].model_copy(update={"stage": 1}) for name in rest}
    recipe = RECIPE.model_copy(update={"phases": phases})
    corpora = {"data.train": tiny.train, "data.dev": tiny.dev, "model.hidden_size": 8}
    registry, _ = load_plugins(["hierarchical_fixed"])
    model: Any = check(resolve(recipe, [("test", nest(corpora))]), registry).model
    assert model.stage == 2  # as hierarchical_bilstm is built


def dev_with(folder: Path, tiny: Any, rename: Any) -> Path:
    """The tiny dev corpus with other labels."""
    corpus = open_corpus(tiny.dev)
    with CorpusWriter(folder / "other.h5", corpus.feature_size, dtype="float32") as writer:
        for number, clip in enumerate(corpus.ids):
            writer.add(clip, corpus.features(number), rename(number, corpus.transcript(number)))
    return folder / "other.h5"


def test_a_label_of_dev_that_training_never_sees_is_an_error_and_no_obstacle(
    laid: Any, tiny: Any, tmp_path: Path
) -> None:
    dev = dev_with(tmp_path, tiny, lambda number, labels: [*labels, "NEVER"] if number < 2 else labels)
    registry, sources = load_plugins(["hierarchical_fixed"])
    assembled = assemble(laid({"data.dev": dev}), registry, sources, tmp_path, torch.device("cpu"))
    assert assembled.unseen == {"NEVER": 2}
    references = assembled.run.dev.references
    assert sum("NEVER" in reference for reference in references.values()) == 2
    result = evaluate(
        assembled.run.model, assembled.run.dev, assembled.run.tokens, shift=0.0, device=torch.device("cpu")
    )
    assert result.scores.reference_tokens == sum(map(len, references.values()))
    assert math.isfinite(result.scores.loss)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (
            lambda number, labels: [label.upper() for label in labels],
            "upper and lower case differ; make them agree",
        ),
        (
            lambda number, labels: ["other"] * len(labels),
            "never occur in training, such as 'other'; is it the same",
        ),
    ],
)
def test_a_dev_corpus_in_another_spelling_or_language_is_refused(
    laid: Any, tiny: Any, tmp_path: Path, rename: Any, message: str
) -> None:
    registry, _ = load_plugins(["hierarchical_fixed"])
    with pytest.raises(DataError, match=message):
        check(laid({"data.dev": dev_with(tmp_path, tiny, rename)}), registry)
