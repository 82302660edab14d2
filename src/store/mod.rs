//! What rig keeps on the machine: one configuration file, a session for each context,
//! and a note on transports. Nothing else is ever written.

pub mod atomic;
pub mod config;
pub mod project;
pub mod transport;
pub mod vault;
