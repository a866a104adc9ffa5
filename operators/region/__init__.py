"""`region`: the unchanged detector on crops, where something changed or a track is in doubt."""
