"""A callback for Hugging Face's ``Trainer``: ``Trainer(..., callbacks=[CtcCallback("runs/mine")])``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctckit.errors import ConfigError
from ctckit.watcher import Watcher

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "ctckit.integrations.huggingface needs transformers; pip install 'ctckit[huggingface]'"
    ) from error


class CtcCallback(TrainerCallback):
    """Watches a CTC model in a ``Trainer``: each evaluation ends an epoch of the history.

    It reads logits and labels where the model itself computes them, by a hook on its forward pass, so that no
    ``compute_metrics`` is needed and no logits are gathered. The training loss is measured from them per token,
    however the model's own is reduced; that costs one more CTC loss a batch. Gradient norms of the parts are those
    after clipping, because the Trainer clips before it calls; the whole norm is the one that it logs.

    What is evaluated without a training step since the last epoch (before training, a second dataset) is not
    recorded. On several processes the first is watched, with its share of the clips.

    Args:
        folder: of the run.
        tokens: name of each class, or a vocabulary; the processing class's where not given and it has one.
        blank: index of the blank; the configuration's ``pad_token_id`` where not given, as CTC models of
            transformers have it.
        lengths: output frames of each clip, from the model's inputs and its logits ``[B, T, C]``; where not given,
            the model's ``_get_feat_extract_output_lengths`` of the attention mask, or the mask itself where it
            has a column a frame; without a mask every frame is real, as the models have it.
        resume: go on with the run in the folder.
        verbose: whether notes are printed too.
        quiet: whether nothing is printed.

    Attributes:
        watcher: from the first step on.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        tokens: Sequence[str] | Mapping[str, int] | None = None,
        blank: int | None = None,
        lengths: Callable[[Mapping[str, Any], Tensor], Tensor] | None = None,
        resume: bool = False,
        verbose: bool = False,
        quiet: bool = False,
    ) -> None:
        self.watcher: Watcher | None = None
        self._folder, self._tokens, self._blank, self._lengths = folder, tokens, blank, lengths
        self._options: dict[str, Any] = {"resume": resume, "verbose": verbose, "quiet": quiet}
        self._hook: Any = None
        self._pending = False
        self._norms: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to watch."""
        if not state.is_world_process_zero:
            return
        model, optimizer = kwargs["model"], kwargs.get("optimizer")
        blank = self._blank if self._blank is not None else getattr(model.config, "pad_token_id", None)
        if blank is None:
            raise ConfigError("CtcCallback: the model's configuration has no pad_token_id; give blank=INDEX")
        tokens = self._tokens if self._tokens is not None else _names(model, kwargs.get("processing_class"))
        self.watcher = Watcher(
            self._folder,
            tokens=tokens,
            blank=blank,
            batch_first=True,
            model=model,
            optimizer=optimizer,
            epochs=_planned(args, state),
            **self._options,
        )
        self._hook = model.register_forward_hook(self._forward, with_kwargs=True)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the gradients."""
        if self.watcher is not None:
            self.watcher.update()
            self._pending = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Take the norm of the gradient before clipping from the Trainer's log."""
        norm = (logs or {}).get("grad_norm")
        if norm is not None:
            self._norms.append(float(norm))

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End an epoch."""
        self._end()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop watching."""
        self._end()
        if self.watcher is not None:
            self.watcher.close()
            self._hook.remove()

    def _end(self) -> None:
        if self.watcher is None:
            return
        if not self._pending:
            self.watcher.forget()
            return
        norms, self._norms, self._pending = self._norms, [], False
        self.watcher.end_epoch(**({"gradient_norm": sum(norms) / len(norms)} if norms else {}))

    def _forward(self, model: nn.Module, args: tuple[Any, ...], inputs: Mapping[str, Any], output: Any) -> None:
        watcher, labels, logits = self.watcher, inputs.get("labels"), _logits(output)
        if watcher is None or labels is None or logits is None:
            return
        lengths = self._frames(model, args, inputs, logits)
        if model.training:
            watcher.train_batch(None, logits, lengths, labels)
        else:
            watcher.evaluate_batch(logits, lengths, labels)

    def _frames(
        self, model: nn.Module, args: tuple[Any, ...], inputs: Mapping[str, Any], logits: Tensor
    ) -> Tensor | None:
        if self._lengths is not None:
            return self._lengths(inputs, logits)
        mask = inputs.get("attention_mask")
        if mask is None:
            return None
        counted = mask.sum(-1).to(torch.int64)
        measure = getattr(model, "_get_feat_extract_output_lengths", None)
        if measure is not None:
            found: Tensor = measure(counted).to(torch.int64)
            return found
        if mask.dim() == 2 and mask.shape[1] == logits.shape[1]:
            return counted
        raise ConfigError(
            f"CtcCallback: an attention mask of shape {tuple(mask.shape)}, logits of {logits.shape[1]} frames; "
            "give lengths=FUNCTION of the model's inputs and its logits"
        )


def _logits(output: Any) -> Tensor | None:
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if found is None and isinstance(output, tuple):  # (loss, logits, ...), as return_dict=False has it
        found = next((one for one in output if isinstance(one, Tensor) and one.dim() == 3), None)
    return found


def _names(model: nn.Module, processing: Any) -> list[str] | None:
    """Names of all classes, where there is a tokenizer; a class beyond its vocabulary has its number."""
    tokenizer = getattr(processing, "tokenizer", processing)
    vocabulary = getattr(tokenizer, "get_vocab", None)
    if vocabulary is None:
        return None
    by_number = {number: name for name, number in vocabulary().items()}
    classes = getattr(getattr(model, "config", None), "vocab_size", None) or len(by_number)
    return [by_number.get(number, f"<{number}>") for number in range(classes)]


def _planned(args: Any, state: Any) -> int | None:
    """Evaluations that are planned, each of which ends an epoch of the history."""
    strategy = str(getattr(args.eval_strategy, "value", args.eval_strategy))
    if strategy == "epoch":
        return -(-int(state.num_train_epochs) // 1) or None
    if strategy == "steps" and state.max_steps and state.eval_steps:
        return -(-state.max_steps // int(state.eval_steps)) or None
    return None
