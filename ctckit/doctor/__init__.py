"""Judges a run by its figures: its state, what is noticed, where it is going, what to try. Torch-free."""
