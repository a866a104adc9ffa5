"""The peers that policies are compared with, built from the libraries that users take."""

from everyframe.pipeline.peers.engine import PEER, PEERS, PeerEngine, check_peer, peer_mode

__all__ = ["PEER", "PEERS", "PeerEngine", "check_peer", "peer_mode"]
