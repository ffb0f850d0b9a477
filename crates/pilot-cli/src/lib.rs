//! Pilot's commands and their rendering.
