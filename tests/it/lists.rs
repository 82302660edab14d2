//! Lists in pages: filters, orders, cursors; and names that are nearly right.

use crate::harness::{Max, Ran, Rig, site};
use crate::receiver::Receiver;
use serde_json::Value;

/// A server with a network of these apps.
fn with_apps(names: &[&str]) -> (Max, Rig) {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    for name in names {
        rig.ok(&["create", "app", name, "-n", "blue"]);
    }
    (max, rig)
}

/// The names of a list's items.
fn names(document: &Value) -> Vec<&str> {
    let items = document.as_object().unwrap().values().find_map(Value::as_array).unwrap();
    items.iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// The cursor that the note says.
fn cursor(ran: &Ran) -> String {
    let note = ran.stderr.strip_prefix("there are more: add `--after ").unwrap_or_else(|| panic!("{ran:?}"));
    note.strip_suffix("`\n").unwrap().to_owned()
}

#[test]
fn every_list_takes_conditions_an_order_and_a_limit() {
    let max = Max::with(&["--webhook-private"]);
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = site("x");
    rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    rig.ok(&["command", "web.blue", "--detach", "--", "sleep", "60"]);
    rig.ok(&["create", "var", "A=1", "-a", "web.blue"]);
    rig.ok(&["create", "secret", "S", "--value", "x", "-a", "web.blue"]);
    let receiver = Receiver::start();
    rig.ok(&["create", "webhook", &receiver.url(), "-n", "blue"]);
    assert_eq!(crate::alerts::deploy_web(&rig, &crate::alerts::broken()), 7);
    let (apps, members) = (&["-n", "blue"][..], &["-a", "web.blue"][..]);
    // What it is called, what else it takes, a column, its member, and the newest value.
    for (list, args, column, member, value) in [
        ("networks", &[][..], "network", "name", "blue"),
        ("apps", apps, "deployed", "deployed_at", "20*Z"),
        ("vars", members, "variable", "name", "A"),
        ("secrets", members, "secret", "name", "S"),
        ("alerts", apps, "alert", "cause", "deploy_*"),
        ("webhooks", apps, "webhook", "id", "1"),
        ("members", apps, "added", "added_at", "*Z"),
        ("tokens", &[], "prefix", "prefix", "max_*"),
        ("sessions", &[], "terminal", "tty", "false"),
    ] {
        let ask = |more: &[&str]| rig.json(&[&["list", list], args, more].concat());
        assert!(ask(&[]).get("next").is_none(), "{list}");
        for name in [column, member] {
            let (is, isnt) = (format!("{name}={value}"), format!("{name}=no*thing"));
            let found = ask(&["--where", &is, "--sort", &format!("-{name}"), "--limit", "1"]);
            assert_eq!(found[list_of(list)].as_array().unwrap().len(), 1, "{list} {name}");
            assert_eq!(found["next"], Value::Null, "{list} {name}");
            let found = ask(&["--where", &is, "--where", &isnt]);
            assert_eq!(found[list_of(list)].as_array().unwrap().len(), 0, "{list} {name}");
        }
        let ran = rig.run(&[&["list", list], args, &["--where", &format!("{column}=no*thing")]].concat());
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "nothing was found\n"));
        let ran = rig.run(&[&["list", list], args, &["--sort", "nothing"]].concat());
        assert_eq!(ran.code, 2, "{list}");
        assert!(
            ran.stderr.starts_with("rig: --sort takes a member of this list, not 'nothing'\n"),
            "{ran:?}"
        );
    }
}

/// The member of the answer.
fn list_of(command: &str) -> &str {
    if command == "vars" { "variables" } else { command }
}

#[test]
fn pages_follow_each_other_while_apps_come_and_go() {
    let (_max, rig) = with_apps(&["a2", "a4", "a6", "a8", "b1"]);
    let first = rig.run(&["list", "apps", "--where", "name=a*", "--limit", "2"]);
    assert_eq!(first.code, 0);
    let rows: Vec<&str> = first.stdout.lines().skip(1).map(|line| &line[..2]).collect();
    assert_eq!(rows, ["a2", "a4"]);
    // The last one shown goes, and one comes on either side of it.
    rig.ok(&["delete", "app", "a4.blue", "--yes"]);
    rig.ok(&["create", "app", "a1.blue"]);
    rig.ok(&["create", "app", "a5.blue"]);
    let next = cursor(&first);
    let page = rig.json(&["list", "apps", "--where", "name=a*", "--limit", "2", "--after", &next]);
    assert_eq!(names(&page), ["a5", "a6"]);
    let next = page["next"].as_str().unwrap();
    let last = rig.json(&["list", "apps", "--where", "name=a*", "--limit", "2", "--after", next]);
    assert_eq!((names(&last), &last["next"]), (vec!["a8"], &Value::Null));
    let ran = rig.run(&["list", "apps", "--where", "name=a*", "--after", next]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn numbers_and_times_sort_and_what_is_missing_comes_last() {
    let (_max, rig) = with_apps(&["a", "b", "c"]);
    let dir = site("x");
    for app in ["c", "a"] {
        rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", app, "-n", "blue"]);
    }
    rig.ok(&["create", "network", "amber"]);
    let sorted = |list: &str, by: &[&str]| {
        let found = rig.json(&[&["list", list][..], by].concat());
        names(&found).join(" ")
    };
    assert_eq!(sorted("apps", &["--sort", "deployed"]), "c a b");
    assert_eq!(sorted("apps", &["--sort", "-DEPLOYED"]), "a c b");
    assert_eq!(sorted("apps", &["--sort=-deployed_at", "--limit", "1"]), "a");
    assert_eq!(sorted("apps", &["--sort", "release"]), "a c b");
    assert_eq!(sorted("apps", &["--sort", "-app"]), "c b a");
    assert_eq!(sorted("networks", &["--sort", "-apps"]), "blue amber");
    assert_eq!(sorted("apps", &["--where", "release="]), "b");
    assert_eq!(sorted("apps", &["--where", "state=running", "--where", "app=*a*"]), "a");
    let ran = rig.run(&["list", "apps", "--sort", "deployed", "--limit", "2"]);
    let rest = rig.json(&["list", "apps", "--sort", "deployed", "--after", &cursor(&ran)]);
    assert_eq!(names(&rest), ["b"]);
}

#[test]
fn what_is_wrong_with_a_page_is_said() {
    let (_max, rig) = with_apps(&["web", "api"]);
    let first = rig.json(&["list", "apps", "--limit", "1"]);
    let next = first["next"].as_str().unwrap();
    let members =
        "created_at, deployed_at, hostname, instances, name, network, reason, release, running, state, url";
    let table: &[(&[&str], &str)] = &[
        (
            &["--where", "stat=x"],
            &format!(
                "--where takes a member of this list, not 'stat'\n  did you mean 'state'? there are {members}\n"
            ),
        ),
        (
            &["--sort", "-size"],
            &format!("--sort takes a member of this list, not 'size'\n  there are {members}\n"),
        ),
        (
            &["--where", "web"],
            "--where takes MEMBER=VALUE, not 'web'\n  for instance `--where 'name=web*'`\n",
        ),
        (&["--limit", "0"], "--limit takes 1 to 1000, not 0\n  for instance `--limit 200`\n"),
        (&["--limit", "1001"], "--limit takes 1 to 1000, not 1001\n  for instance `--limit 200`\n"),
        (&["--limit", "all"], "--limit takes a number, not 'all'\n  for instance `--limit 200`\n"),
        (
            &["--after", "x"],
            "--after takes what an earlier page of this list, sorted alike, gave as next\n  \
             begin again without `--after`\n",
        ),
        (
            &["--after", next, "--sort", "name"],
            "--after takes what an earlier page of this list, sorted alike, gave as next\n  \
             begin again without `--after`\n",
        ),
        (
            &["--sort", "--limit"],
            "--sort needs a value: --sort [-]MEMBER\n  write --sort=VALUE if it begins so\n",
        ),
    ];
    for (args, said) in table {
        rig.run(&[&["list", "apps"][..], args].concat()).fails(2, &format!("rig: {said}"));
    }
    let ran = rig.run(&["list", "apps", "--sort", "size", "-o", "json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.code, ran.stdout.as_str(), &error["code"]), (2, "", &Value::from("usage")));
    let ran = rig.run(&["api", "app:list", r#"{"page":{"where":"name=web"}}"#]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("page is malformed"), "{ran:?}");
    // Of an empty list nothing is known.
    let none = rig.json(&["list", "webhooks", "--sort", "size", "--where", "x=y"]);
    assert_eq!(none, serde_json::json!({"webhooks": [], "next": null}));
}

#[test]
fn names_that_are_nearly_right_are_told() {
    let (max, rig) = with_apps(&["web", "worker"]);
    max.token("bob");
    rig.ok(&["create", "member", "bob", "-n", "blue"]);
    rig.ok(&["create", "var", "LEVEL=1", "-a", "web.blue"]);
    rig.ok(&["create", "secret", "API_KEY", "--value", "x", "-a", "web.blue"]);
    let table: &[(&[&str], &str)] = &[
        (
            &["status", "network", "blu"],
            "network 'blu' does not exist\n  did you mean 'blue'? see `rig list networks`\n",
        ),
        (&["list", "apps", "-n", "bleu1"], "network 'bleu1' does not exist\n  see `rig list networks`\n"),
        (
            &["status", "app", "webb.blue"],
            "app 'webb' does not exist in network 'blue'\n  \
             did you mean 'web'? see `rig list apps --network blue`\n",
        ),
        (
            &["logs", "app", "wrker.blue"],
            "app 'wrker' does not exist in network 'blue'\n  \
             did you mean 'worker'? see `rig list apps --network blue`\n",
        ),
        (
            &["delete", "var", "LEVL", "-a", "web.blue"],
            "there is no variable 'LEVL'\n  did you mean 'LEVEL'? see `rig list vars`\n",
        ),
        (
            &["delete", "secret", "APIKEY", "-a", "web.blue"],
            "there is no secret 'APIKEY'\n  did you mean 'API_KEY'? see `rig list secrets`\n",
        ),
        (
            &["delete", "var", "API_KE", "-a", "web.blue"],
            "there is no variable 'API_KE'\n  see `rig list vars`\n",
        ),
        (
            &["delete", "member", "bop", "-n", "blue"],
            "user 'bop' is no member of network 'blue'\n  \
             did you mean 'bob'? see `rig list members --network blue`\n",
        ),
    ];
    for (args, said) in table {
        rig.run(args).fails(3, &format!("rig: {said}"));
    }
}

#[test]
fn what_one_does_not_see_is_never_told_as_near() {
    let (max, ada) = with_apps(&["web"]);
    let eve = max.rig("eve");
    let of = |rig: &Rig, name: &str| {
        let ran = rig.run(&["status", "network", name, "-o", "json"]);
        assert_eq!(ran.code, 3, "{ran:?}");
        ran.stderr.replace(name, "NAME")
    };
    // Another's network, a name near to it, and one near to nothing.
    let none = of(&eve, "nothing");
    assert_eq!((of(&eve, "blue"), of(&eve, "blu")), (none.clone(), none.clone()));
    assert!(none.contains("\"see `rig list networks`\""), "{none}");
    eve.run(&["status", "app", "webb.blue"])
        .fails(3, "rig: network 'blue' does not exist\n  see `rig list networks`\n");
    // With one of her own, it is the nearest to both.
    eve.ok(&["create", "network", "blur"]);
    let near = of(&eve, "blux");
    assert!(near.contains("did you mean 'blur'?"), "{near}");
    assert_eq!(of(&eve, "blue"), near);
    // Who is no member is not told by his name, nor is any user.
    ada.run(&["delete", "member", "evi", "-n", "blue"]).fails(
        3,
        "rig: user 'evi' is no member of network 'blue'\n  see `rig list members --network blue`\n",
    );
    let ran = ada.run(&["create", "member", "evi", "-n", "blue"]);
    assert!(ran.code == 3 && !ran.stderr.contains("eve"), "{ran:?}");
    // A token for one network sees that alone.
    ada.ok(&["create", "network", "green"]);
    let token = ada.json(&["create", "token", "-n", "green"]);
    let mut bound = Rig::new();
    bound.set("RIG_URL", &max.url);
    bound.set("RIG_TOKEN", token["token"].as_str().unwrap());
    assert_eq!(of(&bound, "blu"), none);
    assert_eq!(of(&bound, "blue"), none);
    assert!(of(&bound, "gren").contains("did you mean 'green'?"));
}
