"""One run: sources through an engine into sinks, with progress and a summary."""
