"""Making detectors smaller: what `everyframe compress` and `everyframe specialize` run."""
