//! Services of an agent: echo, data exchange and the inbox.
