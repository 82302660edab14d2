//! Deploys and rollbacks in a row, while somebody asks all the time.

use crate::harness::{Max, Rig, project};
use crate::lifecycle::under_load;
use crate::visitor::{HOST, lab_with};
use std::fs;
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;

/// The lab, built here, so that a deploy takes no longer than it must.
fn built() -> Vec<u8> {
    let dir = lab_with("", "{}");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-pthread", "-o", "server", "server.c"]).current_dir(dir.path());
    assert!(compiler.status().unwrap().success());
    fs::read(dir.path().join("server")).unwrap()
}

fn version(server: &[u8], message: &str) -> TempDir {
    let dir =
        project(&[("message.txt", message), ("rig.json", r#"{"run":"./server","health":{"path":"/"}}"#)]);
    let path = dir.path().join("server");
    fs::write(&path, server).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

fn deploy(rig: &Rig, dir: &TempDir) {
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "lab", "-n", "blue", "--create"]);
}

/// So many deploys, and behind every so many of them a rollback, without a failed request.
fn many(deploys: usize, every: usize) {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let server = built();
    deploy(&rig, &version(&server, "0\n"));
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    under_load(&max, &["GET", "POST"], |tally| {
        let began = Instant::now();
        let serves = |message: &str| assert_eq!(max.get(HOST, "/"), (200, format!("{message}\n")));
        let mut before = "0".to_owned();
        for number in 1..=deploys {
            let message = number.to_string();
            deploy(&rig, &version(&server, &format!("{message}\n")));
            serves(&message);
            if number % every == 0 {
                rig.ok(&["rollback", "app", "lab.blue"]);
                serves(&before);
            }
            before = message;
        }
        let (answers, seconds) = (tally.answers(), began.elapsed().as_secs_f64());
        println!(
            "{answers} requests in {seconds:.1} s, {:.0} a second, none failed",
            answers as f64 / seconds
        );
    });
}

#[test]
fn five_deploys_and_two_rollbacks_in_a_row_cost_no_request() {
    many(5, 2);
}

#[test]
#[ignore = "takes a minute: make soak"]
fn fifty_deploys_and_ten_rollbacks_in_a_row_cost_no_request() {
    many(50, 5);
}
