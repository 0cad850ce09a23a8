import numpy as np
import pytest

from ctckit.data import (
    SyntheticSpec,
    describe,
    open_corpus,
    simulate,
    simulate_from_labels,
    split_corpus,
)
from ctckit.errors import ConfigError, DataError

# Simulation

SMALL = {"clips": 12, "feature_size": 6, "classes": 5, "frames": (20, 30), "labels": (1, 4), "signers": 2}


def test_simulated_size_and_mark(tmp_path):
    done = []
    simulate(tmp_path / "s.h5", SyntheticSpec(**SMALL), progress=lambda *at: done.append(at))
    corpus = open_corpus(tmp_path / "s.h5")
    assert done[-1] == (12, 12)
    assert corpus.simulated
    assert "simulated" in corpus.notes["source"]
    assert (len(corpus), corpus.feature_size, len(corpus.alphabet())) == (12, 6, 5)
    assert corpus.stored_type == np.float16
    assert set(corpus.frame_counts) <= set(range(20, 31))
    assert describe(corpus).infeasible == ()
    # The mark outlives a split.
    split_corpus(corpus, "signer", tmp_path / "a.h5", tmp_path / "b.h5", count=1)
    assert open_corpus(tmp_path / "b.h5").simulated


def test_simulation_depends_on_seed_and_part_alone(tmp_path):
    def content(**changes):
        simulate(tmp_path / "s.h5", SyntheticSpec(**SMALL, **changes), overwrite=True)
        corpus = open_corpus(tmp_path / "s.h5")
        return b"".join(corpus.features(i).tobytes() for i in range(len(corpus)))

    assert content() == content()
    assert len({content(), content(seed=1), content(part="dev")}) == 3


def test_labels_can_be_told_apart_and_look_alike_in_all_parts(tmp_path):
    means = []
    for part in ("train", "dev"):
        spec = SyntheticSpec(20, 32, 3, (60, 60), (1, 1), noise=0.1, part=part, signers=1)
        simulate(tmp_path / f"{part}.h5", spec)
        corpus = open_corpus(tmp_path / f"{part}.h5")
        means.append(
            {
                label: np.mean(
                    [corpus.features(i).mean(0) for i in range(20) if corpus.transcript(i) == (label,)], 0
                )
                for label in ("G0001", "G0002")
            }
        )
    train, dev = means
    assert np.linalg.norm(train["G0001"] - dev["G0001"]) < 0.5 * np.linalg.norm(train["G0001"] - dev["G0002"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clips": 0}, "clips is 0"),
        ({"classes": 1}, "classes is 1"),
        ({"frames": (9, 5)}, "frames is 9 to 5"),
        ({"frames": (5, 9)}, "4 labels take at least 12 frames"),
        ({"seed": -1}, "seed are at least 0"),
    ],
)
def test_sizes_that_cannot_be_simulated(changes, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticSpec(**{**SMALL, **changes})


def test_real_labels_with_simulated_features(phoenix, tmp_path):
    import h5py

    source = phoenix / "dev.h5"
    simulate_from_labels(tmp_path / "p.h5", source, feature_size=8, max_clips=30)
    corpus = open_corpus(tmp_path / "p.h5")
    with h5py.File(source) as file:
        assert corpus.frame_counts.tolist() == np.diff(file["offsets"][:31]).tolist()
        assert " ".join(corpus.transcript(7)) == file["glosses"][7].decode()
    assert corpus.simulated
    assert corpus.attribute("signer", 0).startswith("Signer")


def test_label_files_that_do_not_fit(packed, tmp_path):
    with pytest.raises(DataError, match="no dataset 'glosses'; there is: alphabet"):
        simulate_from_labels(tmp_path / "p.h5", packed)
    with pytest.raises(DataError, match="no such file"):
        simulate_from_labels(tmp_path / "p.h5", tmp_path / "none.h5")
