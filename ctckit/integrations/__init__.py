"""Callbacks of other trainers around one ``ctckit.watch``; each needs the package that it is for."""
