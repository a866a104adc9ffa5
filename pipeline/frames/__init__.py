"""From packets to frames in display order, with a motion field each."""
