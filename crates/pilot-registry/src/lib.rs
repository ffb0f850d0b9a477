//! Records, names and knocks: messages, client machine and service core, without I/O.
