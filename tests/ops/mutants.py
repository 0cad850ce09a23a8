"""The mutation check: breaks each kernel in one place and asks whether the suite notices.

`python tests/ops/mutants.py [WORD]` copies the checkout, breaks it, and runs the tests that ought to fail, once for
each mutant whose name holds WORD. It prints the test that caught each, and fails if any survived.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Mutant(NamedTuple):
    name: str
    file: str
    before: str
    after: str


CPU = [
    Mutant("simd: exp one coefficient off", "cpu/simd.h", "0.16666", "0.16766"),
    Mutant("simd: bfloat16 rounds down", "cpu/simd.h", "bits + 0x7fffu + (bits >> 16 & 1u)", "bits"),
    Mutant(
        "rows: blank counts as a label", "cpu/rows.h", "return lanes < 1 ? low : v;", "return lanes < 0 ? low : v;"
    ),
    Mutant(
        "rows: the last vector counts twice", "cpu/rows.h", "lanes < seen ? low : load", "lanes < 0 ? low : load"
    ),
    Mutant("rows: the tail is left out", "cpu/rows.h", "top1 = maximum(load(row + C - W), top1);", ""),
    Mutant(
        "rows: search starts behind class 1",
        "cpu/rows.h",
        "int64_t c = 1;\n  for (; c + W <= C",
        "int64_t c = 2;\n  for (; c + W <= C",
    ),
    Mutant("rows: NaN in the blank passes", "cpu/rows.h", "(blank - blank) + R(1)};", "R(1)};"),
    Mutant("rows: any bad frame instead of the first", "cpu/rows.h", "seen < 0 || position < seen", "seen < 0"),
    Mutant(
        "paths: a tie goes to the label",
        "cpu/paths.h",
        "shift >= static_cast<double>(best_logit)",
        "shift > static_cast<double>(best_logit)",
    ),
    Mutant(
        "paths: the shift is left out of the score",
        "cpu/paths.h",
        "blank ? reduced.blank + row_shift",
        "blank ? reduced.blank",
    ),
    Mutant("paths: a span ends a frame early", "cpu/paths.h", "ends[count - 1] = t;", "ends[count - 1] = t - 1;"),
    Mutant(
        "paths: label blank label merges",
        "cpu/paths.h",
        "      previous = label;\n    }\n    run",
        "      if (label != kBlank) previous = label;\n    }\n    run",
    ),
    Mutant(
        "sweep: label blank label merges",
        "cpu/paths.h",
        "          previous = label;\n        }",
        "          previous = label != kBlank ? label : previous;\n        }",
    ),
    Mutant(
        "log-softmax backward forgets the sum's factor",
        "cpu/paths.h",
        "exp_nonpositive(load(log_p + c)) * sum",
        "exp_nonpositive(load(log_p + c))",
    ),
    Mutant("loss: repeats may be skipped", "cpu/trellis.h", "if (labels[u] != labels[u - 1])", "if (true)"),
    Mutant("loss: a barrier that is only dead", "cpu/trellis.h", "kBarrier = 2 * kDead", "kBarrier = kDead"),
    Mutant("loss: ends only in the blank", "cpu/trellis.h", "if (U_ > 0 && length_ > 0) sum", "if (false) sum"),
    Mutant("plain: what was lost is forgotten", "cpu/trellis.h", "return worst - 1022.0", "return true || worst"),
    Mutant("plain: any gap passes", "cpu/trellis.h", "Max()) < kCoarse", "Max()) < kInfinity<double>"),
    Mutant("plain: lifted frames are not told", "cpu/trellis.h", "lift += 400.0 - exponent;", ""),
    Mutant(
        "entropy: a frame's own cost is left out",
        "cpu/trellis.h",
        "Number::sum(Number::times(costs, emission), Number::times(weights, cost))",
        "Number::times(costs, emission)",
    ),
    Mutant("entropy: the mean is not subtracted", "cpu/trellis.h", "- mean * in_labels", "- 0 * in_labels"),
    Mutant(
        "loss: confident frames cost less than nothing",
        "cpu/ctc.h",
        "clip.probability ? larger(0.0, -log_total) : -log_total",
        "-log_total",
    ),
    Mutant("tiles: rows that fill no vector are left out", "cpu/tiles.h", "if (whole < rows) {", "if (false) {"),
    Mutant(
        "loss: the path domain shifts the normaliser",
        "cpu/ctc.h",
        "path_domain ? R(0) : static_cast<R>(shift)",
        "static_cast<R>(shift)",
    ),
    Mutant(
        "gradient: repeated labels are counted once",
        "cpu/ctc.h",
        "taken[labels[u]] += gamma[u + 1]",
        "taken[labels[u]] = gamma[u + 1]",
    ),
    Mutant("gradient: a row's occupancies stay for the next", "cpu/ctc.h", "taken[labels[u]] = 0;", ";"),
    Mutant(
        "gradient: frames beyond the length are written",
        "cpu/ctc.h",
        "if (t >= lengths[b] || losses[b] == kInfinity<R>)",
        "if (losses[b] == kInfinity<R>)",
    ),
    Mutant("align: ties prefer to move", "cpu/viterbi.h", "steps = step > stay;", "steps = step >= stay;"),
    Mutant(
        "align: ends in the blank on a tie",
        "cpu/viterbi.h",
        "best[kPad + states - 2] >= score",
        "best[kPad + states - 2] > score",
    ),
    Mutant("binding: lengths beyond T pass", "binding/checks.h", "lengths[b] > limit", "false"),
    Mutant(
        "binding: blank among the targets passes", "binding/checks.h", "label <= kBlank ||", "label < kBlank ||"
    ),
]
CUDA = [
    Mutant(
        "cuda: head of a row is skipped",
        "cuda/rows.cuh",
        "if (lane < split.head) one",
        "if (lane < split.head - 1) one",
    ),
    Mutant("cuda: lanes keep their own tie", "cuda/rows.cuh", "other_best < best))", "other_best > best))"),
    Mutant("cuda: no rescaling of a lane's sum", "cuda/rows.cuh", "total *= exp_of(top - most);", ""),
    Mutant("cuda: tokens of a warp start at 0", "cuda/paths.cuh", "if (w < warp) at += of_warp[w];", ""),
    Mutant(
        "cuda: no barrier at the seam",
        "cuda/ctc.cuh",
        "__syncthreads();\n\n  // The total",
        "// The total",
    ),
    Mutant(
        "cuda: repeats may be skipped",
        "cuda/ctc.cuh",
        "get(of + label(i)) != get(of + label(i - 1))",
        "true",
    ),
    Mutant("cuda: the first lane hears of the last", "cuda/ctc.cuh", "if (lane == 0) before.exponent = kDead;", ""),
    Mutant(
        "cuda: pairs without a label live", "cuda/ctc.cuh", "kill[q] = has_label[q] ? 0 : kDead;", "kill[q] = 0;"
    ),
    Mutant(
        "cuda: a seam out of place",
        "cuda/ctc.cuh",
        "there = (one.length - seam + 1) % 2",
        "there = (one.length - seam) % 2",
    ),
    Mutant("cuda: mantissas grow", "cuda/scaled.cuh", "(high & 0xfffff) | 0x3ff00000", "high"),
    Mutant(
        "cuda: repeated labels are counted once",
        "cuda/ctc.cuh",
        "for (int64_t j = i; j < U && get(&mine[j].label) == label; ++j)",
        "for (int64_t j = i; j == i; ++j)",
    ),
    Mutant(
        "cuda: lanes do not wait before labels", "cuda/ctc.cuh", "__syncwarp();  // other lanes", "// other lanes"
    ),
    Mutant(
        "cuda: alignment starts anywhere",
        "cuda/viterbi.cuh",
        "best[q] = {first + q == 0 ? 0.0 : -INFINITY, -INFINITY};",
        "best[q] = {0.0, -INFINITY};",
    ),
    Mutant(
        "cuda: the window is a pair off", "cuda/viterbi.cuh", "p = pair - i % kTrace", "p = pair - i % kTrace - 1"
    ),
    Mutant("cuda: lengths are not clamped", "cuda/device.cuh", "x > most ? most : x", "x"),
    Mutant(
        "cuda: labels are not checked",
        "cuda/ctc.cuh",
        "if (label <= kBlank || label >= shape.C) note",
        "if (false) note",
    ),
]


def try_mutant(mutant: Mutant, tests: list[str], folder: Path) -> str | None:
    """The first test that fails, or None if the mutant survives."""
    copy = folder / "checkout"
    shutil.rmtree(copy, ignore_errors=True)
    ignored = shutil.ignore_patterns(".*", "*.so", "__pycache__", "build")
    for name in ("ctckit", "csrc", "plugins", "tests", "conftest.py", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            copy.mkdir(exist_ok=True)
            shutil.copy(source, copy / name)
    path = copy / "csrc" / mutant.file
    text = path.read_text()
    if mutant.before not in text:
        raise SystemExit(f"{mutant.name}: {mutant.file} no longer holds {mutant.before!r}")
    path.write_text(text.replace(mutant.before, mutant.after))
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "CTCKIT_CACHE": str(folder / "cache"),
        "CTCKIT_CUDA": "0",
        "CTCKIT_OPS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    caught = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if caught:
        return caught[1].rpartition("::")[2]
    return f"the process died ({done.returncode})" if done.returncode else None


def main() -> None:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    survivors = []
    with tempfile.TemporaryDirectory() as name:
        for mutants, tests in (
            (CPU, ["tests/ops/test_kernels.py", "tests/ops/test_contracts.py"]),
            (CUDA, ["tests/ops/test_cuda_shim.py"]),
        ):
            for mutant in mutants:
                if word not in mutant.name:
                    continue
                caught = try_mutant(mutant, tests, Path(name))
                print(f"| {mutant.name} | {caught or 'SURVIVED'} |", flush=True)  # noqa: T201
                if caught is None:
                    survivors.append(mutant.name)
    if survivors:
        raise SystemExit(f"survived: {', '.join(survivors)}")


if __name__ == "__main__":
    main()
