//! maxd, the Max platform for one host.

pub mod build;
pub mod detect;
mod instance;
mod keeper;
pub mod line;
pub mod plan;
mod pump;
pub mod router;
pub mod runtime;
pub mod supervisor;

/// The server's whole life: arguments in, exit code out.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
