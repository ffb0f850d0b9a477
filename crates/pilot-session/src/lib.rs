//! Noise handshakes and sealed packets between two agents, without I/O.
