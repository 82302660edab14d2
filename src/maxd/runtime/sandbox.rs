//! Bubblewrap, where it is installed and works: a job sees the system read-only, its
//! own processes only, a `/tmp` of its own, and of maxd's data nothing but its own
//! directories. The network is the host's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where `/etc/resolv.conf` may lead; the rest of `/run` (sockets of the host's
/// services) is hidden.
const RESOLVERS: &[&str] = &["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"];

/// How jobs are wrapped.
pub struct Sandbox {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Sandbox {
    /// The sandbox of this host, or why there is none. `data` and the file `secret` are
    /// hidden in it; `path` is the `PATH` of jobs, which must stay within reach. Blocks.
    pub fn probe(data: &Path, secret: Option<&Path>, path: &str) -> Result<Sandbox, String> {
        let program = find("bwrap", path).ok_or("bubblewrap is not installed")?;
        let sandbox = Sandbox { program, args: args(data, secret, path) };
        let mut command = Command::new(&sandbox.program);
        command.args(sandbox.args(data, &[], false)).args(["true"]);
        let output = command.env_clear().env("PATH", path).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(sandbox),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                Err(format!("bubblewrap does not work here: {}", text.trim().escape_debug()))
            }
            Err(error) => Err(format!("bubblewrap does not work here: {error}")),
        }
    }

    /// The program that runs a job.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its arguments before the job's own, with `dir` as working directory and, like
    /// `writable`, open for writing. A job with a terminal of its own keeps it.
    pub fn args(&self, dir: &Path, writable: &[PathBuf], terminal: bool) -> Vec<OsString> {
        let mut args = self.args.clone();
        if !terminal {
            // A session of its own has no terminal that it could type into.
            args.push("--new-session".into());
        }
        for open in std::iter::once(dir).chain(writable.iter().map(PathBuf::as_path)) {
            args.extend([OsString::from("--bind"), open.into(), open.into()]);
        }
        args.extend([OsString::from("--chdir"), dir.into(), "--".into()]);
        args
    }
}

/// The arguments that are the same for every job.
fn args(data: &Path, secret: Option<&Path>, path: &str) -> Vec<OsString> {
    let mut args = Vec::new();
    let mut push = |words: &[&str]| args.extend(words.iter().map(OsString::from));
    push(&["--die-with-parent", "--unshare-pid", "--unshare-ipc"]);
    if rustix::process::geteuid().is_root() {
        push(&["--cap-drop", "ALL"]);
    }
    push(&["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]);
    for hidden in ["/tmp", "/var/tmp", "/run"] {
        if Path::new(hidden).is_dir() {
            push(&["--tmpfs", hidden]);
        }
    }
    for resolver in RESOLVERS {
        push(&["--ro-bind-try", resolver, resolver]);
    }
    // People's files; unless tools were installed there.
    for home in ["/root", "/home"] {
        let needed = path.split(':').any(|part| Path::new(part).starts_with(home));
        if Path::new(home).is_dir() && !needed {
            push(&["--tmpfs", home]);
        }
    }
    // Jobs run as maxd's user, who can read it.
    if let Some(secret) = secret.filter(|secret| !hidden(&args, secret)) {
        args.extend([OsString::from("--ro-bind"), "/dev/null".into(), secret.into()]);
    }
    args.extend([OsString::from("--tmpfs"), data.into()]);
    args
}

/// Whether the file lies where something else is mounted.
fn hidden(args: &[OsString], file: &Path) -> bool {
    args.windows(2).any(|pair| matches!(pair, [flag, place] if flag == "--tmpfs" && file.starts_with(place)))
}

fn find(name: &str, path: &str) -> Option<PathBuf> {
    path.split(':').map(|part| Path::new(part).join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
