//! Variables: as they were set, in everything that runs, without a failed request.

use crate::harness::{Max, Rig, site, wait_for};
use crate::lifecycle::{events, pids, under_load};
use crate::terminal::Terminal;
use crate::visitor::{HOST, deploy, lab_with};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// Ends at once when `BAD` is set; its build notes what it finds.
const SETTINGS: &str = r#"{"build":"cc -O1 -pthread -o server server.c; env > built.txt",
    "run":"test -n \"$BAD\" && exit 5; exec ./server"}"#;

/// A server with such an app on it; and the directory of its release.
fn started() -> (Max, Rig, PathBuf) {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = deploy(&max, &rig, &lab_with("one\n", SETTINGS));
    (max, rig, dir)
}

/// What a command in the app finds under this name; none when it is not set.
fn found(rig: &Rig, name: &str) -> Option<String> {
    let script = format!("test -n \"${{{name}+x}}\" && printf %s \"${name}\"");
    let ran = rig.run(&["command", "lab.blue", "--", "sh", "-c", &script]);
    (ran.code == 0).then_some(ran.stdout)
}

/// What the instances themselves were started with.
fn of_instances(rig: &Rig, name: &str) -> Vec<Option<String>> {
    let of = |pid: u64| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let mut all = environ.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned());
        all.find_map(|one| Some(one.strip_prefix(&format!("{name}="))?.to_owned()))
    };
    pids(rig).into_iter().map(of).collect()
}

fn variables(rig: &Rig, args: &[&str]) -> Vec<(String, String, String)> {
    let list = rig.json(&[&["list", "vars"], args].concat());
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let all = list["variables"].as_array().unwrap().iter();
    all.map(|one| (text(one, "name"), text(one, "value"), text(one, "from"))).collect()
}

fn triple(name: &str, value: &str, from: &str) -> (String, String, String) {
    (name.to_owned(), value.to_owned(), from.to_owned())
}

#[test]
fn a_change_reaches_everything_that_runs_without_a_failed_request() {
    let (max, rig, _) = started();
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    under_load(&max, &["GET", "POST"], |tally| {
        let said =
            rig.ok(&["create", "var", "MODE=fast", "NOTE=two words, $HOME 'n' \"q\"", "-a", "lab.blue"]);
        assert_eq!(said, "set MODE, NOTE of app lab of network blue\nrestarted app lab of network blue\n");
        tally.spread(2);
    });
    assert_eq!(of_instances(&rig, "MODE"), [Some("fast".to_owned()), Some("fast".to_owned())]);
    assert_eq!(found(&rig, "NOTE").unwrap(), "two words, $HOME 'n' \"q\"");
    assert!(events(&rig).contains(&"variables changed by ada: MODE added, NOTE added".to_owned()));
    assert!(!events(&rig).iter().any(|line| line.contains("fast")));
    let before = pids(&rig);
    let said = rig.ok(&["create", "var", "MODE=fast", "-a", "lab.blue"]);
    assert_eq!((said.as_str(), pids(&rig)), ("nothing is different for app lab of network blue\n", before));
    under_load(&max, &["GET", "POST"], |tally| {
        let said = rig.ok(&["delete", "var", "MODE", "-a", "lab.blue"]);
        assert_eq!(said, "deleted MODE of app lab of network blue\nrestarted app lab of network blue\n");
        tally.spread(2);
    });
    assert_eq!(of_instances(&rig, "MODE"), [None, None]);
    assert_eq!(found(&rig, "MODE"), None);
    rig.run(&["delete", "var", "MODE", "-a", "lab.blue"])
        .fails(3, "rig: there is no variable 'MODE'\n  see `rig list vars`\n");
}

#[test]
fn builds_and_what_is_started_again_have_them() {
    let (mut max, rig, _) = started();
    rig.ok(&["create", "var", "MODE=fast", "CI=mine", "-a", "lab.blue"]);
    let dir = deploy(&max, &rig, &lab_with("two\n", SETTINGS));
    let built = fs::read_to_string(dir.join("built.txt")).unwrap();
    assert!(built.lines().any(|line| line == "MODE=fast"), "{built}");
    assert!(built.lines().any(|line| line == "CI=mine"), "{built}");
    max.kill();
    max.serve();
    wait_for("it to run again", || (max.get(HOST, "/").0 == 200).then_some(()));
    assert_eq!(of_instances(&rig, "MODE"), [Some("fast".to_owned())]);
    // An app that is stopped, and one that has no release yet.
    rig.ok(&["stop", "app", "lab.blue"]);
    let said = rig.ok(&["create", "var", "MODE=slow", "-a", "lab.blue"]);
    assert_eq!(
        said,
        "set MODE of app lab of network blue\napp lab of network blue has them when it starts\n"
    );
    assert_eq!(found(&rig, "MODE").unwrap(), "slow");
    rig.ok(&["start", "app", "lab.blue"]);
    assert_eq!(of_instances(&rig, "MODE"), [Some("slow".to_owned())]);
    rig.ok(&["create", "app", "new.blue"]);
    let said = rig.ok(&["create", "var", "A=1", "-a", "new.blue"]);
    assert_eq!(said, "set A of app new of network blue\napp new of network blue has them when it starts\n");
    // maxd serves this one itself.
    let site = site("x");
    rig.ok(&["deploy", site.path().to_str().unwrap(), "-a", "new", "-n", "blue"]);
    let said = rig.ok(&["create", "var", "A=2", "-a", "new.blue"]);
    assert_eq!(said, "set A of app new of network blue\napp new of network blue has them when it starts\n");
    assert_eq!(rig.ok(&["command", "new.blue", "--", "printenv", "A"]), "2\n");
}

#[test]
fn what_never_gets_healthy_with_them_leaves_the_old_ones_serving() {
    let (mut max, rig, _) = started();
    let before = pids(&rig);
    let ran = rig.run(&["create", "var", "BAD=yes", "-a", "lab.blue"]);
    let why = "'test -n \"$BAD\" && exit 5; exec ./server' exited with code 5 before it was healthy";
    let hint = "what ran goes on as it was, and they are staged: correct them, or `rig apply lab.blue` \
                tries again; its last lines are in the app's log";
    let error = format!("app 'lab' does not run with its variables: {why}");
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stdout, "set BAD of app lab of network blue\n");
    assert_eq!(ran.stderr, format!("rig: {error}\n  {hint}\n"));
    assert_eq!((pids(&rig), max.get(HOST, "/").0), (before.clone(), 200));
    let staged = &rig.json(&["status", "app", "lab.blue"])["staged"];
    assert_eq!(*staged, json!([{"name": "BAD", "change": "added"}]));
    // A command has what the instances have.
    assert_eq!(found(&rig, "BAD"), None);
    let ran = rig.run(&["apply", "lab.blue", "-o", "json"]);
    let (document, told): (Value, Value) =
        (serde_json::from_str(&ran.stdout).unwrap(), serde_json::from_str(&ran.stderr).unwrap());
    assert_eq!((ran.code, &document["apps"][0]["state"]), (1, &"failed".into()));
    assert_eq!(
        (&document["apps"][0]["error"], &told["message"]),
        (&error.as_str().into(), &error.as_str().into())
    );
    // Also behind a restart of maxd it runs with what it was healthy with.
    max.kill();
    max.serve();
    wait_for("it to run again", || (max.get(HOST, "/").0 == 200).then_some(()));
    assert_eq!(of_instances(&rig, "BAD"), [None]);
    let pids_before = pids(&rig);
    let said = rig.ok(&["delete", "var", "BAD", "-a", "lab.blue"]);
    assert_eq!((said.as_str(), pids(&rig)), ("deleted BAD of app lab of network blue\n", pids_before));
    assert_eq!(rig.json(&["status", "app", "lab.blue"])["staged"], json!([]));
    let said = events(&rig);
    assert!(said.contains(&format!("not restarted with its variables, as ada asked: {why}")), "{said:?}");
}

#[test]
fn what_is_staged_waits_for_apply_or_the_next_deploy() {
    let (max, rig, _) = started();
    rig.ok(&["create", "var", "A=1", "B=1", "-a", "lab.blue"]);
    let before = pids(&rig);
    let said = rig.ok(&["create", "var", "A=2", "C=3", "--stage", "-a", "lab.blue"]);
    assert_eq!(
        said,
        "set A, C of app lab of network blue\nstaged for app lab: `rig apply lab.blue`, or the next deploy\n"
    );
    rig.ok(&["delete", "var", "B", "--stage", "-a", "lab.blue"]);
    assert_eq!((pids(&rig), found(&rig, "A").unwrap()), (before, "1".to_owned()));
    // What is started meanwhile is like the others.
    rig.ok(&["scale", "app", "lab.blue", "2"]);
    assert_eq!(of_instances(&rig, "A"), [Some("1".to_owned()), Some("1".to_owned())]);
    let status = rig.ok(&["status", "app", "lab.blue"]);
    let rows = "STAGED  CHANGE\nA       changed\nB       removed\nC       added\n";
    assert!(status.contains(rows), "{status}");
    let list = rig.run(&["list", "vars", "-a", "lab.blue"]);
    assert!(
        list.stderr.contains("staged: B removed; `rig apply lab.blue`, or the next deploy\n"),
        "{list:?}"
    );
    under_load(&max, &["GET"], |tally| {
        assert_eq!(rig.ok(&["apply", "lab.blue"]), "restarted app lab of network blue\n");
        tally.spread(2);
    });
    assert_eq!(of_instances(&rig, "A"), [Some("2".to_owned()), Some("2".to_owned())]);
    assert_eq!((found(&rig, "B"), found(&rig, "C").unwrap()), (None, "3".to_owned()));
    assert_eq!(rig.ok(&["apply", "lab.blue"]), "nothing is staged for app lab of network blue\n");
    rig.ok(&["create", "var", "A=3", "--stage", "-a", "lab.blue"]);
    deploy(&max, &rig, &lab_with("two\n", SETTINGS));
    assert_eq!(of_instances(&rig, "A"), [Some("3".to_owned()), Some("3".to_owned())]);
    assert_eq!(rig.json(&["status", "app", "lab.blue"])["staged"], json!([]));
}

#[test]
fn a_network_s_variables_are_inherited_overridden_and_rolled_out_to_all_apps() {
    let (max, rig, _) = started();
    for app in ["api", "sick"] {
        let dir = lab_with("x\n", SETTINGS);
        rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", app, "-n", "blue", "--create"]);
    }
    rig.ok(&["create", "var", "LEVEL=own", "-a", "lab.blue"]);
    let said = rig.ok(&["create", "var", "LEVEL=all", "REGION=north", "--network", "blue"]);
    let mut lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.remove(0), "set LEVEL, REGION of network blue");
    assert_eq!(lines, ["api", "lab", "sick"].map(|app| format!("restarted app {app} of network blue")));
    let own = [triple("LEVEL", "own", "app"), triple("REGION", "north", "network")];
    assert_eq!(variables(&rig, &["-a", "lab.blue"]), own);
    assert_eq!(
        (found(&rig, "LEVEL").unwrap(), found(&rig, "REGION").unwrap()),
        ("own".into(), "north".into())
    );
    assert_eq!(rig.json(&["list", "vars", "-a", "lab.blue"])["variables"][0]["overrides"], true);
    let all = [triple("LEVEL", "all", "network"), triple("REGION", "north", "network")];
    assert_eq!(variables(&rig, &["--network", "blue"]), all);
    assert_eq!(variables(&rig, &["-a", "api.blue"]), all);
    // One that has it already is not restarted; one that fails does not keep the others.
    rig.ok(&["create", "var", "BAD=", "-a", "lab.blue"]);
    rig.ok(&["create", "var", "BAD=", "-a", "api.blue"]);
    let before = pids(&rig);
    let ran = rig.run(&["create", "var", "BAD=yes", "-n", "blue"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "set BAD of network blue\n"));
    assert!(ran.stderr.starts_with("rig: app 'sick' does not run with its variables: "), "{ran:?}");
    assert_eq!(pids(&rig), before);
    rig.run(&["delete", "var", "REGION", "-a", "lab.blue"]).fails(
        3,
        "rig: there is no variable 'REGION'\n  the network has it: delete it there, with --network alone\n",
    );
    // Without its own it has the network's; its own goes first.
    rig.ok(&["delete", "var", "LEVEL", "-a", "lab.blue"]);
    assert_eq!(found(&rig, "LEVEL").unwrap(), "all");
    assert_eq!(rig.ok(&["export", "vars", "-a", "lab.blue"]), "BAD=\nLEVEL=all\nREGION=north\n");
    assert_eq!(rig.ok(&["export", "vars", "-a", "lab.blue", "--own"]), "BAD=\n");
    rig.ok(&["delete", "app", "lab.blue", "--yes"]);
    drop(max);
}

#[test]
fn files_are_imported_after_a_look_and_pruned_when_asked() {
    let (max, mut rig, _) = started();
    let place = rig.home.path().to_owned();
    rig.enter(&place);
    fs::write(place.join(".env"), "# mine\nexport A='1'\nB=\"x\\ny\" # two lines\nKEEP=1\n").unwrap();
    rig.ok(&["create", "var", "OLD=1", "KEEP=1", "B=0", "-a", "lab.blue"]);
    rig.run(&["import", "vars", ".env", "-a", "lab.blue"])
        .fails(2, "rig: this needs a yes, and there is no terminal to ask at\n  add --yes\n");
    let mut terminal = Terminal::spawn(&rig, &["import", "vars", ".env", "-a", "lab.blue", "--prune"]);
    terminal.wait("make 3 changes for app lab of network blue? [y/N]");
    let screen = terminal.screen();
    assert!(screen.contains("+ A\n~ B\n- OLD\n"), "{screen}");
    terminal.type_in("n\r");
    terminal.wait("rig: nothing was changed");
    assert_eq!(variables(&rig, &["-a", "lab.blue"]).len(), 3);
    let said = rig.ok(&["import", "vars", ".env", "-a", "lab.blue", "--prune", "-y"]);
    assert!(said.starts_with("set A, B of app lab of network blue\ndeleted OLD of app lab"), "{said}");
    assert_eq!(found(&rig, "B").unwrap(), "x\ny");
    let ran = rig.run_with(&["import", "vars", "-", "-a", "lab.blue", "-y"], "A=1\n\nB='x\n");
    ran.fails(
        2,
        "rig: '-': line 3 begins a value of 'B' in ', which does not end\n  put a value that begins with a \
         quote into quotes of another kind\n",
    );
    // What is on the command line wins; `-` is standard input here too.
    let ran = rig.run_with(&["create", "var", "A=2", "-", "-a", "lab.blue"], "A=3\nD=4\n");
    assert_eq!((ran.code, found(&rig, "A").unwrap(), found(&rig, "D").unwrap()), (0, "2".into(), "4".into()));
    fs::write(place.join("rig.json"), r#"{"app":"lab","network":"blue"}"#).unwrap();
    assert_eq!(rig.ok(&["export", "vars"]), "A=2\nB='x\ny'\nD=4\nKEEP=1\n");
    drop(max);
}

#[test]
fn any_value_comes_back_from_an_export_as_it_was() {
    let (_max, mut rig, _) = started();
    let place = rig.home.path().to_owned();
    rig.enter(&place);
    let values = [
        "a\nb\r\nc\r",
        "it's \"so\" `then`",
        "$HOME ${A} \\$ \\n \\",
        " spaces ",
        "é漢🦀",
        "#no comment",
        "\u{1b}[31m",
        "-----BEGIN KEY-----\nMIIB\n-----END KEY-----\n",
        "",
        &"x'\"\\\n".repeat(13_107),
    ];
    let set: Vec<String> = values.iter().enumerate().map(|(n, value)| format!("V{n}={value}")).collect();
    let mut args = vec!["create", "var", "-a", "lab.blue"];
    args.extend(set.iter().map(String::as_str));
    rig.ok(&args);
    let before = variables(&rig, &["-a", "lab.blue"]);
    let text = rig.ok(&["export", "vars", "-a", "lab.blue"]);
    fs::write(place.join("all.env"), text).unwrap();
    let said = rig.ok(&["import", "vars", "all.env", "-a", "lab.blue", "--prune", "-y"]);
    assert_eq!(said, "nothing is different for app lab of network blue\n");
    rig.ok(&["create", "app", "copy.blue"]);
    rig.ok(&["import", "vars", "all.env", "-a", "copy.blue", "--prune", "-y"]);
    assert_eq!(variables(&rig, &["-a", "copy.blue"]), before);
    for (n, value) in values.iter().enumerate() {
        assert_eq!(found(&rig, &format!("V{n}")).unwrap(), *value, "{n}");
    }
}

#[test]
fn names_and_sizes_that_can_t_be_are_refused_with_a_reason() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "lab.blue"]);
    let set = |pairs: &[&str]| rig.run(&[&["create", "var", "-a", "lab.blue"], pairs].concat());
    set(&["PORT=1"])
        .fails(2, "rig: 'PORT' is Max's own: it tells an instance where to listen\n  choose another name\n");
    set(&["LD_PRELOAD=./x.so"]).fails(
        2,
        "rig: 'LD_PRELOAD' would change the programs that start the app\n  set it in the command that runs \
         the app\n",
    );
    rig.run(&["command", "lab.blue", "-e", "LD_PRELOAD=./x.so", "--", "true"]).fails(
        255,
        "rig: 'LD_PRELOAD' would change the programs that start the command\n  set it in the command: `env \
         NAME=VALUE PROG`\n",
    );
    set(&["9=1"]).fails(
        2,
        "rig: '9' is no variable's name\n  a name has 1 to 255 of A-Z, a-z, 0-9 and _, and does not start with \
         a digit\n",
    );
    set(&["A=1", "half of it"]).fails(
        2,
        "rig: argument 2 is not of the form KEY=VALUE\n  quote a value with spaces: 'KEY=two words'\n",
    );
    set(&[])
        .fails(2, "rig: `rig create var` needs KEY=VALUE or --from-file\n  see `rig create var --help`\n");
    let large = format!("A={}", "x".repeat(65_537));
    let ran = set(&[&large]);
    assert_eq!(ran.stderr, "rig: the value of 'A' has 65537 bytes; at most 65536 are taken\n");
    // All of it or nothing.
    let full: Vec<String> = (0..5).map(|n| format!("V{n}={}", "x".repeat(60_000))).collect();
    let mut input: String = full.iter().map(|one| format!("{one}\n")).collect();
    let ran = rig.run_with(&["create", "var", "-", "-a", "lab.blue"], &input);
    assert_eq!(
        ran.stderr,
        "rig: the variables would have 300010 bytes together; at most 262144 are taken\n  keep what is large \
         in a file of the app\n"
    );
    input = (0..501).map(|n| format!("V{n}=1\n")).collect();
    let ran = rig.run_with(&["create", "var", "-", "-a", "lab.blue"], &input);
    assert!(ran.stderr.starts_with("rig: there would be 501 variables; at most 500 are taken\n"), "{ran:?}");
    assert!(variables(&rig, &["-a", "lab.blue"]).is_empty());
    // An app's own and its network's together.
    input = (0..300).map(|n| format!("V{n}=1\n")).collect();
    assert_eq!(rig.run_with(&["create", "var", "-", "-a", "lab.blue"], &input).code, 0);
    input = (0..300).map(|n| format!("W{n}=1\n")).collect();
    let ran = rig.run_with(&["create", "var", "-", "-n", "blue"], &input);
    let told = "rig: there would be 600 variables in app 'lab'; at most 500 are taken\n";
    assert!(ran.stderr.starts_with(told), "{ran:?}");
    // Nothing of somebody else's.
    let eve = max.rig("eve");
    for args in [&["list", "vars"][..], &["export", "vars"], &["create", "var", "A=1"], &["apply"]] {
        let ran = match args {
            ["apply"] => eve.run(&["apply", "lab.blue"]),
            _ => eve.run(&[args, &["-a", "lab.blue"]].concat()),
        };
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:?}");
    }
}

#[test]
fn a_change_that_comes_again_with_its_key_is_made_once() {
    let (_max, rig, _) = started();
    let request = json!({
        "network": "blue", "app": "lab", "set": [{"name": "A", "value": "1"}], "text": null, "delete": [],
        "prune": false, "stage": false, "preview": false, "idempotency_key": "k1",
    })
    .to_string();
    let first = rig.ok(&["api", "var:change", &request]);
    let before = pids(&rig);
    rig.ok(&["create", "var", "A=2", "--stage", "-a", "lab.blue"]);
    assert_eq!(rig.ok(&["api", "var:change", &request]), first);
    assert_eq!((variables(&rig, &["-a", "lab.blue"]), pids(&rig)), (vec![triple("A", "2", "app")], before));
}
