"""What `policies.train` is made of: the game as a graph, the networks, and the judge."""
