"""Live cameras: what `everyframe watch` runs."""
