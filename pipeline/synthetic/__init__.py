"""Synthetic cameras: procedural scenes, really coded, with exact ground truth and a stand-in for the CNN."""
