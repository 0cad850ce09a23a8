"""Runs training: clock, step, evaluation, loop, actions, history, checkpoints."""
