//! The server. See [`rig::maxd_main`].

fn main() -> std::process::ExitCode {
    rig::maxd_main()
}
