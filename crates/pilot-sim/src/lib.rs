//! Virtual clock, links and NATs in which Pilot's machines are tested.
