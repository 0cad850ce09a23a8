"""First-party plugins: the hierarchical BiLSTM with its schedules, penalties, monitors and recipes.

They come in through the same entry points as anybody's and import nothing but ``ctckit``.
"""
