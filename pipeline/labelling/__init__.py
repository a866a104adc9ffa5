"""From frames to labels: the rungs, the tracks, and what is known between two looks."""
