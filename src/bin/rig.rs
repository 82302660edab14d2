//! The client. See [`rig::rig_main`].

fn main() -> std::process::ExitCode {
    rig::rig_main()
}
