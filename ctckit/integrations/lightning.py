"""A callback for Lightning: ``Trainer(callbacks=[CtcCallback("runs/mine")])``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctckit.errors import DataError
from ctckit.watcher import Watcher

try:
    from lightning.pytorch import Callback
except ImportError as error:
    raise ImportError("ctckit.integrations.lightning needs lightning; pip install 'ctckit[lightning]'") from error

KEYS = ("logits", "lengths", "targets", "target_lengths")


class CtcCallback(Callback):
    """Watches a CTC module: each validation ends an epoch of the history.

    ``validation_step`` returns a dictionary with ``logits`` (``[T, B, C]``, or batch first), ``lengths``,
    ``targets`` and, where the targets do not tell, ``target_lengths``. ``training_step`` returns its loss, reduced
    as ``reduction`` says, or a dictionary with ``loss`` and the same; then the loss per token is measured.

    Validation before the first step (the sanity check) and by ``trainer.validate`` is not recorded. On several
    processes the first is watched, with its share of the clips.

    Args:
        folder: of the run.
        dataloader: number of the validation loader that is watched.
        **options: those of ``ctckit.watch``: ``tokens``, ``blank``, ``batch_first``, ``reduction`` and others.

    Attributes:
        watcher: from the beginning of ``fit`` on.
    """

    def __init__(self, folder: Any, *, dataloader: int = 0, **options: Any) -> None:
        self.watcher: Watcher | None = None
        self._folder, self._dataloader, self._options = folder, dataloader, options
        self._pending = False

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch."""
        optimizer = trainer.optimizers[0] if trainer.optimizers else None
        given = {"model": pl_module, "optimizer": optimizer, "epochs": _planned(trainer), **self._options}
        self.watcher = Watcher(self._folder, **given)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Measure the gradients, before they are clipped."""
        if self.watcher is not None:
            self.watcher.update()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take in a training batch."""
        if self.watcher is None or outputs is None:
            return
        self._pending = True
        given = outputs if isinstance(outputs, Mapping) else {"loss": outputs}
        if "logits" in given:
            self.watcher.train_batch(None, **{key: given[key] for key in KEYS if key in given})
        elif given.get("loss") is not None:
            # Lightning hands on the share that an accumulated gradient has of it
            loss = given["loss"] * trainer.accumulate_grad_batches
            self.watcher.train_batch(loss, **{key: given[key] for key in KEYS[1:] if key in given})

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Score a validation batch."""
        if not self._counts(trainer) or dataloader_idx != self._dataloader:
            return
        assert self.watcher is not None
        if not isinstance(outputs, Mapping) or not {"logits", "lengths", "targets"} <= outputs.keys():
            found = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise DataError(
                f"validation_step returned {found}; return a dictionary with 'logits', 'lengths' and 'targets'"
            )
        self.watcher.evaluate_batch(**{key: outputs[key] for key in KEYS if key in outputs})

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """End an epoch."""
        if self._counts(trainer):
            self._end()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End an epoch that had no validation."""
        if not trainer.enable_validation:
            self._end()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop watching."""
        self._end()
        if self.watcher is not None:
            self.watcher.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop watching a run that was interrupted; the epoch under way is not recorded."""
        if self.watcher is not None:
            self.watcher.close("interrupted")

    def _counts(self, trainer: Any) -> bool:
        return self.watcher is not None and trainer.state.fn == "fit" and not trainer.sanity_checking

    def _end(self) -> None:
        if self.watcher is None:
            return
        if self._pending:
            self._pending = False
            self.watcher.end_epoch()
        else:
            self.watcher.forget()


def _planned(trainer: Any) -> int | None:
    """Epochs that are planned, where a validation ends each."""
    whole = trainer.val_check_interval in (None, 1.0) and trainer.max_epochs is not None and trainer.max_epochs > 0
    every = trainer.check_val_every_n_epoch
    return -(-trainer.max_epochs // every) if whole and every else None
