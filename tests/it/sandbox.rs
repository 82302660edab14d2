//! What apps and builds can reach, with bubblewrap and without.

use crate::harness::{Max, project, signal, site, text, wait_for};
use std::process::Command;

/// Whether maxd found bubblewrap to work here.
fn isolated(max: &Max) -> bool {
    max.log().contains("maxd: apps run inside bubblewrap\n")
}

#[test]
fn the_data_directory_is_for_its_owner_alone() {
    let max = Max::start();
    let mode = std::os::unix::fs::MetadataExt::mode(&max.data().metadata().unwrap());
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn a_build_in_the_sandbox_sees_its_own_files_and_no_others() {
    let max = Max::start();
    if !isolated(&max) {
        eprintln!("skipped: bubblewrap does not work on this machine");
        return;
    }
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["deploy", site("secret").path().to_str().unwrap(), "-a", "other", "-n", "blue", "--create"]);
    let data = max.data().canonicalize().unwrap();
    let build = format!(
        "ls {0} {0}/apps/*; cat {0}/state.db {0}/apps/1/1/index.html; touch /usr/x; \
         kill -0 {1}; echo $HOME; ls $HOME; true",
        data.display(),
        max.pid()
    );
    let settings = serde_json::json!({ "build": build }).to_string();
    let dir = project(&[("index.html", "mine"), ("rig.json", &settings)]);
    let ran = rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said: Vec<&str> = ran.stderr.lines().skip_while(|line| !line.starts_with("$ ")).skip(1).collect();
    assert!(!said.iter().any(|line| line.contains("secret") || *line == "logs.db"), "{said:?}");
    for (start, end) in [
        ("cat: ", "/state.db: No such file or directory"),
        ("cat: ", "/apps/1/1/index.html: No such file or directory"),
        ("touch: ", "Read-only file system"),
    ] {
        assert!(said.iter().any(|line| line.starts_with(start) && line.contains(end)), "{end}: {said:?}");
    }
    assert!(said.iter().any(|line| line.to_ascii_lowercase().contains("no such process")), "{said:?}");
    let home = data.join("apps/2/1");
    assert!(said.contains(&home.to_str().unwrap()) && said.contains(&"rig.json"), "{said:?}");
}

#[test]
fn without_isolation_builds_work_and_maxd_says_so() {
    let max = Max::with(&["--isolation", "none"]);
    assert!(!isolated(&max));
    assert!(max.log().contains("maxd: apps run as plain processes: no isolation was asked for\n"));
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = project(&[("rig.json", r#"{"build":"echo built >index.html"}"#), ("index.html", "x")]);
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    assert_eq!(max.get("web.blue.localhost", "/"), (200, "built\n".to_owned()));
}

#[test]
fn maxd_does_not_start_without_the_isolation_it_was_told_to_have() {
    let dir = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maxd"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0"]);
        command.args(["--isolation", "bubblewrap", "--data"]).arg(dir.path().join("data"));
        let out = command.env("PATH", dir.path()).output().unwrap();
        (out.status.code(), text(&out.stderr))
    };
    let hint = "\n  mend that, or let apps run without it: --isolation none\n";
    assert_eq!(serve(), (Some(1), format!("maxd: bubblewrap is not installed{hint}")));
    let broken = project(&[("bwrap", "#!/bin/sh\necho 'bwrap: no permission' >&2\nexit 1\n")]);
    std::fs::copy(broken.path().join("bwrap"), dir.path().join("bwrap")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path().join("bwrap"), executable).unwrap();
    let said = format!("maxd: bubblewrap does not work here: bwrap: no permission{hint}");
    assert_eq!(serve(), (Some(1), said));
}

/// A service that may listen on port 443 is lent a capability, with which bubblewrap
/// refuses to start.
#[test]
fn what_maxd_is_lent_for_a_low_port_is_not_handed_on() {
    let dir = tempfile::tempdir().unwrap();
    let maxd = dir.path().join("maxd");
    std::fs::copy(env!("CARGO_BIN_EXE_maxd"), &maxd).unwrap();
    let open = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(dir.path(), open(0o777)).unwrap();
    let says = |caps: &[&str], data: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(caps).arg(&maxd);
        command.args(["serve", "--listen", "127.0.0.1:0", "--apps-listen", "127.0.0.1:0", "--data"]);
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = command.arg(dir.path().join(data)).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let mut child = child.ok()?;
        let text = || std::fs::read_to_string(dir.path().join("log")).unwrap();
        let ready = wait_for("maxd", || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || text().contains("maxd: listening at ")).then_some(!ended)
        });
        if ready {
            signal(child.id(), "TERM");
            child.wait().unwrap();
        }
        ready.then(|| text().lines().next().unwrap().to_owned())
    };
    let Some(without) = says(&[], "one") else {
        eprintln!("skipped: only root may become another user here, with setpriv");
        return;
    };
    let caps = ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"];
    assert_eq!(says(&caps, "two"), Some(without));
}
