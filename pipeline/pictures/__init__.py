"""Labels drawn into pictures, and figures."""
