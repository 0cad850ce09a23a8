"""The report of a run: one static HTML file, made from ``history.jsonl`` alone.

``summary`` reads the rows into frozen records, ``verdict`` says in words what they amount to, ``plots`` draws
charts as inline SVG, ``html`` puts the page together. Nothing here needs torch, a corpus or a checkpoint.
"""
