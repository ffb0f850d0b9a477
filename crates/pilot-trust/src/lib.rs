//! Identity logs, signed statements, grants and the knock machine, without I/O.
