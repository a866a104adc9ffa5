"""Traces: what a video told once (packets, motion, detections, costs), kept to be played again without decoding."""
