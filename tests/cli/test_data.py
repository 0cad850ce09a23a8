import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from ctckit.cli.data import data
from ctckit.data import open_corpus
from ctckit.errors import ConfigError, DataError


def run(*arguments):
    result = CliRunner().invoke(data, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_importing_the_verbs_is_cheap():
    code = "import sys, ctckit.cli.data; print([m for m in ('torch', 'h5py', 'numpy', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", ["import", "inspect", "split", "demo", "synth"])
def test_help_shows_an_example(verb):
    text = run(verb, "--help")
    assert f"ctckit data {verb}" in text
    assert "\\b" not in text


def test_synth_inspect_split_and_import(tmp_path):
    small = ("--features", 4, "--classes", 5, "--frames", 20, 30, "--labels", 1, 4)
    assert "SIMULATED" in run("synth", tmp_path / "s.h5", "--clips", 9, *small)
    (written,) = json.loads(run("synth", tmp_path / "d.h5", "--clips", 3, "--part", "dev", *small, "--json"))
    assert (written["clips"], written["classes"], written["simulated"]) == (3, 5, True)
    text = run("inspect", tmp_path / "s.h5", "--dev", tmp_path / "d.h5", "--check")
    assert "features are SIMULATED" in text
    found = json.loads(run("inspect", tmp_path / "s.h5", "--dev", tmp_path / "d.h5", "--subsampling", 15, "--json"))
    assert found["train"]["clips"] == 9
    assert found["train"]["infeasible"]
    assert "dev" in found["out_of_vocabulary"]
    split = (
        "split",
        tmp_path / "s.h5",
        "--by",
        "signer",
        "--train-out",
        tmp_path / "a.h5",
        "--dev-out",
        tmp_path / "b.h5",
    )
    done = json.loads(run(*split, "--count", 1, "--json"))
    assert done["train"]["clips"] + done["dev"]["clips"] == 9
    taken = ",".join(done["dev"]["signer"])
    assert taken in run(*split, "--values", taken, "--force")
    run("import", tmp_path / "a.h5", tmp_path / "c.h5", "--unit", "character", "--dtype", "float32")
    assert open_corpus(tmp_path / "c.h5").unit == "character"


def test_import_of_a_folder(tmp_path):
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "a.npy", np.ones((9, 2), np.float32))
    (tmp_path / "t.tsv").write_text("id\ttranscript\na\t[x] YES\n")
    run("import", tmp_path / "f", tmp_path / "o.h5", "--transcripts", tmp_path / "t.tsv")
    # Labels with brackets are shown as they are, not read as colours.
    assert "[x] 1" in run("inspect", tmp_path / "o.h5")


def test_demo(tmp_path):
    pytest.importorskip("sklearn")
    assert "2000 clips" in run("demo", tmp_path / "digits")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("inspect", "none.h5"), DataError, "none.h5: no such file"),
        (("import", ".", "o.h5"), ConfigError, "name its table of transcripts with --transcripts"),
        (("import", "none.h5", "o.h5", "--transcripts", "t.csv"), ConfigError, "goes with a folder"),
        (("synth", "o.h5", "--labels-from", "l.h5", "--classes", "5"), ConfigError, "--classes does not go with"),
        (("synth", "o.h5", "--frames", "9", "3"), ConfigError, "frames is 9 to 3"),
    ],
)
def test_errors_reach_the_caller(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run(*arguments)
    assert list(tmp_path.iterdir()) == []
