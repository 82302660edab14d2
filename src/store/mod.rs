//! What rig keeps on the machine: one configuration file and one session. Nothing
//! else is ever written.

pub mod atomic;
pub mod config;
pub mod project;
pub mod vault;
