"""Labels drawn into pictures."""
