"""Compression of detectors: each method takes a net and gives a smaller one, with a report of what it did."""
