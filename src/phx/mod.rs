//! Phoenix channels, protocol 2.0.0.
//!
//! [`frame`] is the codec both programs share; [`client`] is rig's half of a
//! connection as a state machine without I/O, clock or threads.

pub mod client;
pub mod frame;
