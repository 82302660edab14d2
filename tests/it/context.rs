//! Several logins side by side.

use crate::harness::{Max, Rig};

fn log_in(rig: &Rig, max: &Max, user: &str, more: &[&str]) {
    let mut args = vec!["login", "--url", &max.url, "--token-stdin", "--store", "file"];
    args.extend(more);
    let ran = rig.run_with(&args, &max.token(user));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

fn name(max: &Max) -> String {
    max.url.trim_start_matches("http://").replace(':', "-")
}

#[test]
fn two_servers_and_two_users_lie_side_by_side() {
    let (one, two) = (Max::start(), Max::start());
    let mut rig = Rig::new();
    log_in(&rig, &one, "ada", &[]);
    log_in(&rig, &one, "bob", &["--context", "bob"]);
    log_in(&rig, &two, "eve", &[]);
    let contexts = rig.json(&["context", "list"]);
    let mut found: Vec<(&str, &str, bool)> = contexts["contexts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["user"].as_str().unwrap(), c["current"].as_bool().unwrap()))
        .collect();
    found.sort_by_key(|(_, user, _)| *user);
    assert_eq!(
        found,
        [(name(&one).as_str(), "ada", false), ("bob", "bob", false), (name(&two).as_str(), "eve", true)]
    );

    let user = |rig: &Rig, more: &[&str]| {
        let mut args = vec!["whoami"];
        args.extend(more);
        let who = rig.json(&args);
        (who["user"].as_str().unwrap().to_owned(), who["context"].as_str().unwrap().to_owned())
    };
    assert_eq!(user(&rig, &[]), ("eve".to_owned(), name(&two)));
    assert_eq!(user(&rig, &["--context", "bob"]), ("bob".to_owned(), "bob".to_owned()));
    // A server that is named finds its own login.
    assert_eq!(user(&rig, &["--url", &one.url]).0, "ada");
    rig.set("RIG_CONTEXT", "bob");
    assert_eq!(user(&rig, &[]).0, "bob");
    assert_eq!(user(&rig, &["--context", &name(&two)]).0, "eve");
    rig.unset("RIG_CONTEXT");

    assert_eq!(rig.ok(&["context", "use", "bob"]), format!("using bob: bob at {}\n", one.url));
    assert_eq!(user(&rig, &[]).0, "bob");
    assert_eq!(rig.ok(&["context", "delete", "bob"]), "deleted context bob\n");
    rig.run(&["whoami"]).fails(
        4,
        "rig: you are not logged in\n  choose a login with `rig context use NAME`; see `rig context list`\n",
    );
    // The others live on.
    assert_eq!(user(&rig, &["--url", &one.url]).0, "ada");
    assert_eq!(rig.ok(&["logout", "--context", &name(&two)]), format!("logged out of {}\n", two.url));
    assert_eq!(rig.json(&["context", "list"])["contexts"].as_array().unwrap().len(), 1);
}

#[test]
fn logging_in_again_replaces_the_login_to_that_server() {
    let max = Max::start();
    let rig = Rig::new();
    log_in(&rig, &max, "ada", &[]);
    log_in(&rig, &max, "bob", &[]);
    let contexts = rig.json(&["context", "list"]);
    assert_eq!(contexts["contexts"].as_array().unwrap().len(), 1);
    assert_eq!(rig.json(&["whoami"])["user"], "bob");
}

#[test]
fn a_context_that_does_not_exist_is_named() {
    let rig = Rig::new();
    let said = "rig: there is no context 'none'\n  see `rig context list`\n";
    rig.run(&["whoami", "--context", "none"]).fails(3, said);
    rig.run(&["context", "use", "none"]).fails(3, said);
    rig.run(&["context", "delete", "none"]).fails(3, said);
    rig.run(&["whoami", "--context", "../x"])
        .fails(2, "rig: '../x' is no context name\n  a context name has 1 to 63 letters, digits and . _ -\n");
    let ran = rig.run(&["context", "list"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", "no contexts yet: `rig login`\n")
    );
}
