//! One agent's whole protocol state, without I/O; a rendezvous is a node with more services.
