"""The table of figures, and a figure that a plugin brings: measured, written, read, printed, drawn, compared."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctckit import EpochResult, Figure, PluginError, Registry
from ctckit.cli import main
from ctckit.errors import DataError
from ctckit.record.epoch import Epoch
from ctckit.record.figures import FIGURES, RESERVED, described, described_table, epoch_row, table_of
from ctckit.testing import make_epoch
from ctckit.types import DASH, SIGNIFICANT

PLUGIN = """
import ctckit
from ctckit import Figure
from ctckit_hierarchical.fixed import RECIPE
from ctckit_hierarchical.components import register_components
from ctckit_hierarchical.model import HierarchicalBiLSTM

class Gated(HierarchicalBiLSTM):
    FIGURES = (Figure("gate", "Openness of the gate", "%", 1, measure=lambda model: 12.5),)

@ctckit.hookimpl
def ctckit_register(registry):
    register_components(registry)
    registry.model("gated", Gated)
    registry.recipe(RECIPE.model_copy(update={"name": "gated"}))
    registry.figure(Figure(
        "emitted", "Tokens emitted", "tokens", 0, console="tokens", curve=True,
        measure=lambda epoch: epoch.val.hypothesis_tokens,
    ))
"""


def test_every_figure_has_what_its_readers_need() -> None:
    for name, figure in FIGURES.items():
        assert figure.name == name
        assert name.isidentifier()
        assert name not in RESERVED
        assert figure.title
        # exactly one way to be measured, or a way to follow from others
        assert (figure.measure is not None) + (figure.score is not None) <= 1
        assert figure.measure or figure.score or figure.derive
    titles = [figure.title for figure in FIGURES.values()]
    assert len(set(titles)) == len(titles)


def test_whatever_an_epoch_has_by_a_name_is_reserved() -> None:
    public = {name for name in dir(Epoch) if not name.startswith("_")}
    assert public | set(inspect.signature(Epoch.__init__).parameters) - {"figures"} <= RESERVED | FIGURES.keys()
    for name in ("terms", "value", "_hidden", "state_dict", "self"):
        with pytest.raises(ValueError, match=f"figure '{name}'"):
            table_of([Figure(name, "Title")])


def test_an_epoch_written_and_read_has_every_figure_that_was_measured() -> None:
    result = make_epoch(3)
    epoch = Epoch.from_row(json.loads(json.dumps(epoch_row(result))), "line 2")
    assert epoch == Epoch.of(result)
    for name, figure in FIGURES.items():
        measured = figure.of(result)
        if measured is not None and measured == measured:
            assert epoch.value(name) == pytest.approx(measured), name
    assert epoch.auxiliary_losses == {"frame_head": 2.5}


@pytest.mark.parametrize(
    ("digits", "value", "text"),
    [(2, 1.005, "1.00"), (0, 1234.0, "1,234"), (SIGNIFICANT, 0.00012345, "0.000123"), (1, None, DASH)],
)
def test_a_figure_formats_its_own_values(digits: int, value: float | None, text: str) -> None:
    assert Figure("x", "X", "m", digits).text(value) == text
    assert Figure("x", "X", "m", digits).text(value, unit=True) == (text if value is None else f"{text} m")


@pytest.mark.parametrize("name", ["val_wer", "on_plateau", "no identifier", "module_gradients"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"figure '{name}'"):
        table_of([Figure(name, "X")])


@pytest.mark.parametrize("rows", [3, [{"title": "no name"}], [{"name": "val_wer", "title": "taken"}], ["x"]])
def test_a_history_that_describes_no_figures_is_refused(rows: Any) -> None:
    with pytest.raises(DataError, match=r"h, line 1: 'figures' does not describe figures"):
        described_table(rows, "h, line 1")


def test_a_description_read_back_shows_as_the_figure_does() -> None:
    own = Figure("gate", "Gate", "%", 1, note="open", console="gate", curve=True, measure=len)
    read = described_table(json.loads(json.dumps(described([own]))), "h")["gate"]
    assert (read.title, read.unit, read.console, read.curve, read.note) == ("Gate", "%", "gate", True, "open")
    assert read.text(12.34) == own.text(12.34) == "12.3"


def test_a_registered_figure_needs_a_measure() -> None:
    with pytest.raises(PluginError, match="with a measure"):
        Registry().figure(Figure("x", "X"))


def test_a_plugins_figure_is_found_in_console_report_and_json(tmp_path: Path, tiny: Any) -> None:
    plugin = tmp_path / "gated.py"
    plugin.write_text(PLUGIN)
    runs = [tmp_path / "one", tmp_path / "two"]
    options = ["--data", str(tiny.train), "--dev", str(tiny.dev), "--threads", "1", "--plugin", str(plugin)]
    options += ["--plugin", "doctor", "--set", "model.name=gated", "--set", "model.hidden_size=8"]
    for name in ("warmup", "exploration", "consolidation", "fine_tuning"):
        options += ["--set", f"phases.{name}.epochs=1"]
    trained = CliRunner().invoke(main, ["train", *options, "--out", str(runs[0])])
    assert trained.exit_code == 0, trained.output
    runs[1].mkdir()
    (runs[1] / "history.jsonl").write_text((runs[0] / "history.jsonl").read_text())
    rows = [json.loads(line) for line in (runs[0] / "history.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert all(row["gate"] == 12.5 and row["emitted"] >= 0 for row in epochs)
    assert "  tokens" in trained.stderr  # the heading of its column
    # no plugin from here on: the history says how they are shown
    told = CliRunner().invoke(main, ["report", str(runs[0]), "--json"])
    assert json.loads(told.stdout)["last"]["gate"] == 12.5
    page = (runs[0] / "report.html").read_text(encoding="utf-8")
    assert page.count("Openness of the gate") >= 2  # a chart, a measure, a column
    assert "Tokens emitted, tokens" in page
    diagnosed = json.loads(CliRunner().invoke(main, ["diagnose", str(runs[0]), "--json"]).stdout)
    assert diagnosed["last"]["emitted"] == epochs[-1]["emitted"]


def test_a_figure_that_is_no_number_is_refused_by_name(make_epoch_run: Any) -> None:
    run = make_epoch_run(Figure("odd", "Odd", measure=lambda epoch: "much"))
    with pytest.raises(PluginError, match="figure 'odd' is measured as 'much'"):
        run.measured(make_epoch(1))


@pytest.fixture
def make_epoch_run() -> Any:
    from types import SimpleNamespace

    from ctckit.engine.clock import Clock
    from ctckit.engine.run import Run

    def make(*figures: Figure) -> Any:
        fake = SimpleNamespace(figures=figures, model=SimpleNamespace(FIGURES=()), clock=Clock({"main": 1}))
        fake.naming = lambda *given: Run.naming(fake, *given)  # type: ignore[arg-type]
        fake.measured = lambda result: Run.measured(fake, result)  # type: ignore[arg-type]
        return fake

    return make


def test_figures_of_an_epoch_are_numbers_of_its_result() -> None:
    result: EpochResult = make_epoch(2, figures={"gate": 0.5})
    assert epoch_row(result)["gate"] == 0.5
