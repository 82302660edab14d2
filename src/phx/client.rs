//! rig's half of a connection.
