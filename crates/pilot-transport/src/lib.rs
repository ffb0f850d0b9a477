//! Reliable streams and datagrams over any datagram path, without I/O.
