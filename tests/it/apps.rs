//! Networks and apps: create, list, status, delete.

use crate::harness::{Max, Rig};

#[test]
fn networks_and_apps_are_created_listed_shown_and_deleted() {
    let max = Max::start();
    let rig = max.rig("ada");
    assert_eq!(rig.ok(&["create", "network", "blue"]), "created network blue (blue.localhost)\n");
    let ran = rig.run(&["create", "app", "web", "--network", "blue"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "created app web in network blue\n"));
    let url = max.apps_url.replace("localhost", "web.blue.localhost");
    assert_eq!(ran.stderr, format!("it will answer at {url}/; next: `rig deploy`\n"));

    let networks = rig.json(&["list", "networks"]);
    assert_eq!(networks["networks"][0]["name"], "blue");
    assert_eq!(networks["networks"][0]["apps"], 1);
    let apps = rig.json(&["list", "apps"]);
    assert_eq!(apps["apps"][0]["hostname"], "web.blue.localhost");
    assert_eq!(apps["apps"][0]["state"], "empty");
    let table = rig.ok(&["list", "apps", "-n", "blue"]);
    let mut lines = table.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["APP", "NETWORK", "STATE", "RELEASE", "DEPLOYED", "URL"]
    );
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("web  blue     empty  -        -         http://web.blue.localhost:")
    );

    let status = rig.json(&["status", "app", "web.blue"]);
    assert_eq!(status["app"]["name"], "web");
    assert_eq!(status["instances"].as_array().unwrap().len(), 0);
    assert!(status["deploy"].is_null());
    assert!(
        rig.ok(&["status", "app", "web", "-n", "blue"])
            .starts_with("app        web\nnetwork    blue\nstate      empty\n")
    );
    let status = rig.json(&["status", "network", "blue"]);
    assert_eq!(status["apps"][0]["name"], "web");

    assert!(rig.ok(&["delete", "app", "web.blue", "--yes"]).starts_with("deleted app web of network blue\n"));
    assert_eq!(rig.json(&["list", "apps"])["apps"].as_array().unwrap().len(), 0);
    rig.ok(&["create", "app", "web.blue"]);
    assert!(rig.ok(&["delete", "network", "blue", "-y"]).starts_with("deleted network blue\n"));
    assert_eq!(rig.json(&["list", "networks"])["networks"].as_array().unwrap().len(), 0);
    let ran = rig.run(&["list", "apps"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", "no apps yet: `rig create app APP --network NETWORK`\n")
    );
}

#[test]
fn max_assigns_a_readable_name() {
    let max = Max::start();
    let rig = max.rig("ada");
    let name = rig.json(&["create", "network"])["name"].as_str().unwrap().to_owned();
    assert!(rig::name::Name::parse("network", &name).is_ok(), "{name}");
    assert_eq!(rig.json(&["status", "network", &name])["network"]["name"], name.as_str());
    assert_ne!(rig.json(&["create", "network"])["name"], name.as_str());
}

#[test]
fn deleting_needs_a_yes() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    rig.ok(&["create", "app", "web.blue"]);
    let said = "rig: this needs a yes, and there is no terminal to ask at\n  add --yes\n";
    rig.run(&["delete", "app", "web.blue"]).fails(2, said);
    rig.run(&["delete", "network", "blue"]).fails(2, said);
    assert_eq!(rig.json(&["list", "apps"])["apps"].as_array().unwrap().len(), 1);
}

#[test]
fn the_network_comes_from_rig_json_when_it_is_left_out() {
    let max = Max::start();
    let mut rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let dir = crate::harness::project(&[("rig.json", r#"{"app":"web","network":"blue"}"#)]);
    rig.enter(dir.path());
    rig.ok(&["create", "app", "web"]);
    assert_eq!(rig.json(&["status", "app"])["app"]["hostname"], "web.blue.localhost");
    assert_eq!(rig.json(&["status", "network"])["network"]["name"], "blue");
    let nowhere = Rig::new();
    nowhere.run(&["status", "app"]).fails(
        2,
        "rig: which app?\n  name it as APP.NETWORK, or put \"app\" and \"network\" into 'rig.json'\n",
    );
    nowhere
        .run(&["status", "app", "web"])
        .fails(2, "rig: in which network is app 'web'?\n  write `web.NETWORK`, or add --network NETWORK\n");
    nowhere
        .run(&["status", "network"])
        .fails(2, "rig: which network?\n  add --network NETWORK, or put it into 'rig.json'\n");
    nowhere.run(&["status", "app", "a.b", "-n", "c"]).fails(2, "rig: is the network 'b' or 'c'?\n");
}
