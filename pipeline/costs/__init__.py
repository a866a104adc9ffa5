"""What rungs cost on this machine: measured, kept, looked up."""
