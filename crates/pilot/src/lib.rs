//! The tokio shell and embedding API of Pilot: Node, Stream, Listener.
