//! What belongs to another user looks exactly as if it did not exist.

use crate::harness::{Max, site};

#[test]
fn another_users_things_answer_as_missing_ones() {
    let max = Max::start();
    let ada = max.rig("ada");
    let bob = max.rig("bob");
    ada.ok(&["create", "network", "blue"]);
    ada.ok(&["create", "app", "web.blue"]);
    ada.ok(&["deploy", site("x").path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    let source = site("y");
    let path = source.path().to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["status", "network", "NETWORK"],
        &["status", "app", "web.NETWORK"],
        &["list", "apps", "-n", "NETWORK"],
        &["create", "app", "web.NETWORK"],
        &["delete", "app", "web.NETWORK", "--yes"],
        &["delete", "network", "NETWORK", "--yes"],
        &["delete", "network", "NETWORK", "--purge", "--yes"],
        &["rename", "app", "web.NETWORK", "mine"],
        &["rename", "network", "NETWORK", "mine"],
        &["restore", "app", "web.NETWORK"],
        &["restore", "network", "NETWORK"],
        &["deploy", path, "-a", "web", "-n", "NETWORK", "--create"],
        &["logs", "app", "web.NETWORK"],
        &["logs", "build", "web.NETWORK"],
        &["logs", "network", "NETWORK"],
    ];
    for command in commands {
        let with = |name: &str| command.iter().map(|word| word.replace("NETWORK", name)).collect::<Vec<_>>();
        let theirs = bob.run(&with("blue"));
        let missing = bob.run(&with("none"));
        assert_eq!(theirs.code, 3, "{command:?}: {theirs:?}");
        assert_eq!(theirs.code, missing.code, "{command:?}");
        assert_eq!(theirs.stderr.replace("blue", "none"), missing.stderr, "{command:?}");
        assert_eq!(theirs.stdout, "");
    }
    assert_eq!(bob.json(&["list", "networks"])["networks"].as_array().unwrap().len(), 0);
    assert_eq!(bob.json(&["list", "apps"])["apps"].as_array().unwrap().len(), 0);
    // Network names are unique in the whole system, so this one difference must show.
    bob.run(&["create", "network", "blue"]).fails(
        6,
        "rig: network 'blue' already exists\n  choose another name, or leave it out and Max assigns one\n",
    );
    assert_eq!(ada.json(&["status", "app", "web.blue"])["app"]["state"], "running");
}
