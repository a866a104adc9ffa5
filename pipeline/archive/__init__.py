"""Archives: what `everyframe batch`, `verify`, `query` and `clip` run."""
