//! maxd, the Max platform for one host.

pub mod line;

/// The server's whole life: arguments in, exit code out.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
