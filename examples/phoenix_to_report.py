"""From a PHOENIX-style folder to a report: import, audit, train a few epochs, report.

python examples/phoenix_to_report.py                               # on a small folder that it makes itself
python examples/phoenix_to_report.py FOLDER --epochs 20            # on your own

FOLDER holds train.corpus.csv and dev.corpus.csv (id|folder|signer|annotation) and features/, one ID.npy [T, F] a
clip, in which both splits lie together.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

GLOSSES = ["MORGEN", "REGEN", "SONNE", "NORD", "SUED", "WIND", "KALT"]
SIGNERS = ["Signer01", "Signer03", "Signer05", "Signer08"]


def make(folder: Path) -> None:
    """Make a folder as PHOENIX-2014 has it: each gloss a pattern, each signer an offset, all of it in noise."""
    random = np.random.default_rng(0)
    patterns = random.normal(size=(len(GLOSSES) + 1, 16))  # the last is the movement between two glosses
    offsets = random.normal(scale=0.3, size=(len(SIGNERS), 16))
    (folder / "features").mkdir(parents=True)
    for split, count in (("train", 60), ("dev", 12)):
        lines = ["id|folder|signer|annotation"]
        for number in range(count):
            clip = f"{number % 28 + 1:02d}April_{2009 + number // 28}_heute_{split}-{number % 3}"
            signer, labels = random.integers(len(SIGNERS)), random.integers(0, len(GLOSSES), random.integers(2, 6))
            rows = [
                row for label in labels for row in [label] * random.integers(5, 10) + [-1] * random.integers(2, 5)
            ]
            frames = patterns[rows] + offsets[signer] + random.normal(scale=0.3, size=(len(rows), 16))
            np.save(folder / "features" / f"{clip}.npy", frames.astype(np.float32))
            glosses = " ".join(GLOSSES[label] for label in labels)
            lines.append(f"{clip}|{clip}/1/*.png|{SIGNERS[signer]}|{glosses}")
        (folder / f"{split}.corpus.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def ctckit(*arguments: object, accepted: tuple[int, ...] = (0,)) -> None:
    """Run a verb, after showing it."""
    words = [str(argument) for argument in arguments]
    print("$ ctckit", *words, flush=True)
    code = subprocess.run([sys.executable, "-m", "ctckit", *words], check=False).returncode
    if code not in accepted:
        sys.exit(code)


def main() -> None:
    """Go the whole way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/phoenix"))
    parser.add_argument("--epochs", type=int, default=4, help="of each phase")
    parser.add_argument("--set", action="append", default=[], help="for ctckit train")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.folder or options.out / "folder"
    if options.folder is None and not folder.exists():
        make(folder)
    for split in ("train", "dev"):
        table = folder / f"{split}.corpus.csv"
        # the features of both splits lie in one folder, so each table leaves out those of the other
        leave_out = ["--skip-unlisted", "--skip-missing", "--force"]
        ctckit(
            *("data", "import", folder / "features", options.out / f"{split}.h5", "--transcripts", table),
            *leave_out,
        )
    train, dev = options.out / "train.h5", options.out / "dev.h5"
    settings = [f"phases.*.epochs={options.epochs}", *options.set]
    chosen = ["--plugin", "hierarchical_fixed", *(part for one in settings for part in ("--set", one))]
    ctckit("audit", train, "--dev", dev, *chosen, accepted=(0, 10))  # 10: it has something to warn of
    ctckit("train", "--data", train, "--dev", dev, *chosen, "--out", options.out / "run")
    ctckit("report", options.out / "run")


if __name__ == "__main__":
    main()
