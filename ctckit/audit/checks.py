"""The audit of corpora, model and schedule before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ctckit.audit.features import Progress, check_features
from ctckit.audit.initial_loss import check_initial_loss
from ctckit.audit.labels import check_labels
from ctckit.audit.lengths import check_lengths
from ctckit.audit.model import check_learning_rates, check_model
from ctckit.audit.overlap import check_overlap
from ctckit.audit.subject import Subject
from ctckit.data import Corpus, encode_targets
from ctckit.types import GRAVITY, Finding, Severity


def cheap_audit(subject: Subject) -> tuple[Finding, ...]:
    """Everything that needs no features: what training runs by itself."""
    return by_gravity(_without_features(subject, losses=False))


def full_audit(
    subject: Subject, *, clips: int | None = None, progress: Progress | None = None
) -> tuple[Finding, ...]:
    """Everything, the features included, which are read once, a clip at a time.

    Args:
        subject: what is audited.
        clips: read the features of at most so many clips of each corpus; None reads all.
        progress: told clips done and clips in all of each corpus.
    """

    def run() -> Iterator[Finding]:
        yield from _without_features(subject, losses=True)
        yield from check_contents(subject.corpora)
        yield from check_features(
            subject.corpora, subject.pipeline.normalize, model=subject.model, clips=clips, progress=progress
        )

    return by_gravity(run())


def readable_audit(
    corpora: Mapping[str, Corpus], *, clips: int | None = None, progress: Progress | None = None
) -> tuple[Finding, ...]:
    """What can be said of corpora where there is none to train on, so that one bad file hides no other.

    Args:
        corpora: those that could be opened.
        clips: as `full_audit` has it.
        progress: as `full_audit` has it.
    """

    def run() -> Iterator[Finding]:
        yield from check_overlap(corpora)
        yield from check_contents(corpora)
        yield from check_features(corpora, "corpus", clips=clips, progress=progress)

    return by_gravity(run())


def check_contents(corpora: Mapping[str, Corpus]) -> Iterator[Finding]:
    """Say what each file holds, and how much of it is used."""
    for name, corpus in corpora.items():
        contents = corpus.contents
        yield Finding(
            "file_contents",
            "info",
            f"{name}: {contents}",
            {
                "groups": contents.groups,
                "datasets": contents.datasets,
                "used_groups": contents.used_groups,
                "used_datasets": contents.used_datasets,
                "aliases": contents.aliases,
                "besides": ", ".join(contents.besides),
            },
            "",
            "docs/founding-document.md C5",
        )


def by_gravity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put findings in order: errors first, otherwise as they were found."""
    return tuple(sorted(findings, key=lambda finding: -GRAVITY.index(finding.severity)))


def _without_features(subject: Subject, *, losses: bool) -> Iterator[Finding]:
    train = subject.corpora["train"]
    fitting = {}
    for name, corpus in subject.corpora.items():
        if corpus.simulated:
            message = f"{name}: the features are simulated; scores say nothing about accuracy"
            yield Finding("simulated", "info", message, {}, "", "")
        if corpus.feature_size == train.feature_size:
            fitting[name] = corpus
            continue
        yield Finding(
            "feature_width",
            "error",
            f"{name}: features are {corpus.feature_size} wide, those of train {train.feature_size}",
            {"width": corpus.feature_size, "train": train.feature_size},
            "use one extractor for all corpora",
            "docs/founding-document.md C5",
        )
    yield from check_labels(subject.corpora, subject.alphabet)
    yield from check_overlap(subject.corpora)
    for name, corpus in fitting.items():
        targets = encode_targets(corpus, subject.alphabet, leave_out_unknown=name != "train")
        grave: Severity = "error" if name == "train" and subject.infeasible == "error" else "warning"
        classes = len(subject.alphabet) if losses and name == "train" else None
        yield from check_lengths(name, corpus, targets, subject.model, infeasible=grave, plateau=classes)
    broken = list(check_model(subject.model, subject.pipeline.output_size, len(subject.alphabet)))
    yield from broken
    if losses and not any(finding.severity == "error" for finding in broken):
        yield from check_initial_loss(train, subject.alphabet, subject.model, subject.pipeline)
    yield from check_learning_rates(subject.learning_rates)
