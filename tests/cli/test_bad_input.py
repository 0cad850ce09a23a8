"""Bad input gives one clear line on standard error, a non-zero exit, and leaves nothing half-written."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest


def grouped(path: Path, clips: dict[str, tuple[Any, str]]) -> Path:
    with h5py.File(path, "w") as file:
        for name, (features, transcript) in clips.items():
            group = file.create_group(name)
            group["features"] = np.asarray(features, np.float32)
            group.attrs["transcript"] = transcript
    return path


def ones(frames: int, width: int = 5) -> Any:
    return np.ones((frames, width), np.float32)


def refused(done: Any, code: int, *parts: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0], lines[0]


@pytest.fixture
def train(cli: Any, tiny: Any, tmp_path: Path) -> Any:
    def run(*arguments: Any, data: Any = None, dev: Any = None, **options: Any) -> Any:
        corpora = ["--data", data or tiny.train, "--dev", dev or tiny.dev]
        sizes = ["--set", "model.hidden_size=8", "--threads=1"]
        return cli("train", *corpora, *sizes, "--out", tmp_path / "run", *arguments, **options)

    return run


def test_missing_and_truncated_files(train: Any, tiny: Any, tmp_path: Path) -> None:
    refused(train(data="absent.h5"), 3, "absent.h5: no such file")
    broken = tmp_path / "broken.h5"
    broken.write_bytes(Path(tiny.train).read_bytes()[:3000])
    refused(train(data=broken), 3, str(broken))
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    refused(train(data=text), 3, str(text))
    assert not (tmp_path / "run").exists()


def test_a_test_corpus_is_opened_before_training(train: Any, tmp_path: Path) -> None:
    refused(train("--test", "absent.h5"), 3, "absent.h5")
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_ends_in_one_line(train: Any, tmp_path: Path) -> None:
    schedule = ["--set", "phases.*.schedule.name=constant", "--set", "phases.*.schedule.lr=1e30"]
    refused(train(*schedule), 6, "not numbers", "lower the learning rate")
    assert (tmp_path / "run" / "checkpoints" / "interrupted.pt").exists()


def test_wrong_feature_width_in_dev(train: Any, tmp_path: Path) -> None:
    dev = grouped(tmp_path / "dev.h5", {"a": (ones(9, 7), "ant")})
    refused(train(dev=dev), 3, str(dev), "7", "5")


def test_not_a_number_is_named_by_clip(train: Any, tmp_path: Path) -> None:
    spoilt = ones(9)
    spoilt[4, 2] = np.nan
    data = grouped(tmp_path / "data.h5", {"good": (ones(9), "ant"), "bad": (spoilt, "bee")})
    refused(train(data=data, dev=data), 3, str(data), "bad")


def test_empty_transcript_is_named_by_clip(train: Any, tmp_path: Path) -> None:
    data = grouped(tmp_path / "data.h5", {"good": (ones(9), "ant"), "empty": (ones(9), "  ")})
    refused(train(data=data, dev=data), 3, str(data), "empty")


def test_unknown_token_in_dev_gets_a_suggestion(train: Any, tmp_path: Path) -> None:
    dev = grouped(tmp_path / "dev.h5", {"clip-3": (ones(9), "ant Bee")})
    refused(train(dev=dev), 3, str(dev), "clip-3", "'Bee'", "'bee'")


def test_blank_in_the_targets(train: Any, tiny: Any, tmp_path: Path) -> None:
    data = grouped(tmp_path / "data.h5", {"good": (ones(9), "ant"), "clip-4": (ones(9), "ant <blank>")})
    refused(train(data=data, dev=data), 3, "<blank>")
    packed = tmp_path / "packed.h5"
    packed.write_bytes(Path(tiny.train).read_bytes())
    with h5py.File(packed, "r+") as file:
        file["targets"][2] = 0
    refused(train(data=packed), 3, str(packed), "blank")


def test_a_target_longer_than_its_clip_allows(train: Any, tmp_path: Path) -> None:
    clips = {"long": (ones(40), "ant"), "short": (ones(7), "ant bee bee")}
    data = grouped(tmp_path / "data.h5", clips)
    done = train("--set", "model.subsampling=4", data=data, dev=data)
    refused(done, 3, str(data), "'short'", "T=2", "U=3", "1 repeats", "data.infeasible=drop")


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--set", "batchsize=4"], 2, ["--set batchsize=4", "unknown key", "did you mean 'batch_size'?"]),
        (["--set", "model.hiden_size=4"], 2, ["unknown parameter 'hiden_size'", "did you mean 'hidden_size'?"]),
        (["--set", "model.name=bilstm"], 2, ["unknown model 'bilstm'"]),
        (["--set", "model.subsampling=3"], 2, ["model 'hierarchical_bilstm'", "subsampling = 3"]),
        (["--set", "phases.warmup.penalty.value=1"], 2, ["penalty 'constant'", "value is 1.0"]),
        (["--plugin", "hierarchical_fixd"], 4, ["unknown plugin", "did you mean 'hierarchical_fixed'?"]),
        (["--recipe", "fixed"], 2, ["unknown recipe 'fixed'"]),
        (["--device", "cuda:7"], 2, ["device cuda:7"]),
        (["--device", "tpu"], 2, ["device tpu"]),
        (["--max-minutes", "nan"], 2, ["--max-minutes nan: give a number of minutes"]),
        (["--config", "absent.toml"], 2, ["absent.toml: cannot be read"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_unknown_names_and_values(
    train: Any, tmp_path: Path, arguments: list[str], code: int, parts: list[str]
) -> None:
    refused(train(*arguments), code, *parts)
    assert not (tmp_path / "run").exists()


def test_missing_dev_says_how_to_make_one(cli: Any, tiny: Any) -> None:
    refused(cli("train", "--data", tiny.train), 2, "--dev", "ctckit data split")


def test_an_output_that_cannot_be_written(train: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file in the way")
    refused(train(), 5, str(tmp_path / "run"), "cannot be written", "--out")


def test_a_disk_that_fills_up_while_training(train: Any, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a write beyond it fails as on a full disk

    done = train("--set", "model.hidden_size=32", "--set", "phases.*.epochs=1", preexec_fn=small_files)
    refused(done, 5, "checkpoints", "cannot be written")
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert not list((tmp_path / "run").rglob("*.pt"))


def test_an_existing_run_is_never_overwritten(cli: Any, trained: Path, tiny: Any) -> None:
    before = (trained / "history.jsonl").read_bytes()
    done = cli("train", "--data", tiny.train, "--dev", tiny.dev, "--out", trained)
    refused(done, 2, "holds a run already", "--resume")
    assert (trained / "history.jsonl").read_bytes() == before


def test_resume_takes_no_other_settings_and_needs_a_run(cli: Any, trained: Path, tmp_path: Path) -> None:
    refused(cli("train", "--resume", trained, "--set", "batch_size=4"), 2, "--resume")
    refused(cli("train", "--resume", tmp_path), 5, "no checkpoint 'last'")


def test_evaluating_what_is_no_run_or_a_broken_checkpoint(cli: Any, trained: Path, tmp_path: Path) -> None:
    refused(cli("evaluate", tmp_path), 5, "no checkpoint 'best'")
    broken = tmp_path / "best.pt"
    broken.write_bytes((trained / "checkpoints" / "best.pt").read_bytes()[:500])
    refused(cli("evaluate", broken), 5, str(broken), "not a readable checkpoint")


def test_integer_features_are_accepted_as_they_stand(train: Any, tmp_path: Path) -> None:
    path = tmp_path / "bytes.h5"
    with h5py.File(path, "w") as file:
        for number in range(4):
            group = file.create_group(str(number))
            group["features"] = np.random.default_rng(number).integers(0, 255, (12, 5), dtype=np.uint8)
            group.attrs["transcript"] = "ant bee"
    done = train("--set", "phases.*.epochs=1", data=path, dev=path)
    assert done.returncode == 0, done.stderr
