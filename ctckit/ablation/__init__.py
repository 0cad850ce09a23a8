"""Ablations: variants with the same seeds, data order and budget, kept in one folder, told in one table."""
