"""Praat's TextGrid, long form: a file a clip, its tokens as the intervals of one tier."""

from __future__ import annotations

from ctckit.transcripts.transcript import Transcript, refused, text_fault

TIER = "tokens"


def write_textgrid(transcript: Transcript) -> str:
    """Return the clip as a TextGrid; between tokens stand empty intervals, as Praat wants it.

    Spans that overlap by the rounding of frames end where the next begins.

    Raises:
        DataError: names the clip: no times, or a token that Praat could not give back.
    """
    if transcript.spans is None or transcript.seconds is None:
        raise refused(transcript, "TextGrid", "its times in seconds are not known; give --frame-rate")
    starts = [start for start, _ in transcript.spans]
    intervals: list[tuple[float, float, str]] = []
    at = 0.0
    for token, (start, end), following in zip(
        transcript.tokens, transcript.spans, [*starts[1:], transcript.seconds][: len(starts)], strict=True
    ):
        end = min(end, following)
        if fault := text_fault(token) or ("is empty, as a pause is" if not token.strip() else ""):
            raise refused(transcript, "TextGrid", f"the token {token!r} {fault}")
        if token != token.strip() or len(token.splitlines()) > 1:
            raise refused(transcript, "TextGrid", f"the token {token!r} holds white space that readers take away")
        if not at <= start < end:
            raise refused(
                transcript, "TextGrid", f"the token {token!r} from {start:.3f} to {end:.3f} s takes no time"
            )
        if start > at:
            intervals.append((at, start, ""))
        intervals.append((start, end, token))
        at = end
    if at < transcript.seconds or not intervals:
        intervals.append((at, transcript.seconds, ""))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {transcript.seconds!r}",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        f'        name = "{TIER}"',
        "        xmin = 0",
        f"        xmax = {transcript.seconds!r}",
        f"        intervals: size = {len(intervals)}",
    ]
    for number, (start, end, token) in enumerate(intervals, start=1):
        quoted = token.replace('"', '""')
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {start!r}",
            f"            xmax = {end!r}",
            f'            text = "{quoted}"',
        ]
    return "\n".join(lines) + "\n"
