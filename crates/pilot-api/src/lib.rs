//! Pilot's local HTTP API: types, server, client.
