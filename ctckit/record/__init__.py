"""What is recorded of a run: the table of figures, the epoch, the history that is written and read. Torch-free."""
