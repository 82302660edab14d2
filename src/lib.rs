//! rig, the command-line client of the Max platform, and maxd, the platform in one
//! server binary (feature `server`).
//!
//! `docs/architecture.md` draws the layers and who may use whom; `docs/protocol.md`
//! is what the two say to each other.

// Words everyone shares, without I/O.
pub mod error;
pub mod json;
pub mod name;
pub mod redact;
pub mod time;

// Pure: bytes and values in, bytes and values out.
pub mod phx;
pub mod wire;

pub mod archive;

#[cfg(feature = "server")]
pub mod maxd;

/// The client's whole life: arguments in, exit code out.
pub fn rig_main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

#[cfg(feature = "server")]
pub use maxd::main as maxd_main;
