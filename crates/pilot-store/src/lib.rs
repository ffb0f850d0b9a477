//! Identity, state, inbox and registry on disk.
