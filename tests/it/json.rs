//! `-o json`: the members that docs/json.md names, and nothing else on standard output.

use crate::harness::{Max, Rig, project, site};
use crate::receiver::Receiver;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The members of the section `## name` in docs/json.md: the first cell of each row.
fn documented(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with(&format!("{name}\n")));
    let section = section.unwrap_or_else(|| panic!("docs/json.md has no section '{name}'"));
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let names = cells.flat_map(|cell| cell.split(", "));
    let mut members: Vec<String> = names.map(|name| name.trim_matches('`').to_owned()).collect();
    members.sort();
    members
}

/// The document has exactly the members that are described.
#[track_caller]
pub fn check(name: &str, value: &Value) {
    let mut found: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    found.sort();
    assert_eq!(found, documented(name), "{name}: {value}");
}

#[test]
fn documents_have_the_documented_members() {
    let max = Max::with(&["--webhook-private"]);
    let rig = max.rig("ada");
    check("Who", &rig.json(&["whoami"]));
    check("Network", &rig.json(&["create", "network", "blue"]));
    check("App", &rig.json(&["create", "app", "web.blue"]));
    let dir = site("x");
    check("Deploy", &rig.json(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue"]));
    preview(&rig, dir.path().to_str().unwrap());
    let networks = rig.json(&["list", "networks"]);
    check("Networks", &networks);
    check("Network", &networks["networks"][0]);
    let apps = rig.json(&["list", "apps"]);
    check("Apps", &apps);
    check("App", &apps["apps"][0]);
    let status = rig.json(&["status", "app", "web.blue"]);
    check("App status", &status);
    check("App", &status["app"]);
    check("Instance", &status["instances"][0]);
    check("Traffic", &status["traffic"]);
    check("Line", &status["events"][0]);
    let history = rig.json(&["status", "app", "web.blue", "--history", "1h"]);
    check("History", &history);
    check("Deploy", &status["deploy"]);
    check("Deploy", &rig.json(&["status", "deploy", "1"]));
    let releases = rig.json(&["list", "releases", "web.blue"]);
    check("Releases", &releases);
    check("Release", &releases["releases"][0]);
    check("Release difference", &rig.json(&["diff", "release", "web.blue", "1", "1"]));
    let other = site("y");
    rig.ok(&["deploy", other.path().to_str().unwrap(), "-a", "web", "-n", "blue"]);
    let ran = rig.run(&["diff", "release", "web.blue", "-o", "json"]);
    assert_eq!(ran.code, 1);
    check("File", &serde_json::from_str::<Value>(&ran.stdout).unwrap()["files"][0]);
    check("App", &rig.json(&["rollback", "app", "web.blue", "--to", "1"]));
    variables(&rig);
    let status = rig.json(&["status", "network", "blue"]);
    check("Network status", &status);
    check("Usage", &status["usage"]);
    check("Reading", &status["readings"][0]);
    check("Traffic", &status["traffic"]);
    check("App", &status["apps"][0]);
    check("Command", &rig.json(&["command", "web.blue", "true"]));
    check("Sessions", &rig.json(&["list", "sessions"]));
    check("Session", &rig.json(&["command", "web.blue", "--detach", "true"]));
    let audit = rig.json(&["list", "audit"]);
    check("Audit", &audit);
    check("Entry", &audit["entries"][0]);
    let dashboard = rig.json(&["status", "dashboard"]);
    check("Dashboard", &dashboard);
    check("Row", &dashboard["apps"][0]);
    check("Past", &dashboard["past"][0]);
    let logs = rig.json(&["logs", "network", "blue"]);
    check("Logs", &logs);
    check("Line", &logs["lines"][0]);
    trash(&rig);
    alerts_and_webhooks(&rig);
    tokens_and_members(&max, &rig);
    check("Item", &rig.json(&["delete", "network", "blue", "--yes"]));
    check("Network", &rig.json(&["restore", "network", "blue"]));
    check("Network", &rig.json(&["rename", "network", "blue", "green"]));
    check("Item", &rig.json(&["delete", "network", "green", "--purge", "--yes"]));
    let ran = rig.run(&["status", "network", "blue", "-o", "json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
    check("Error", &serde_json::from_str(&ran.stderr).unwrap());
    let home = crate::login::logged_in(&max, "ada");
    check("Logout", &home.json(&["logout"]));
}

fn preview(rig: &Rig, path: &str) {
    fs::write(format!("{path}/.git"), "gitdir: x").unwrap();
    let preview = rig.json(&["deploy", path, "--dry-run"]);
    check("Preview", &preview);
    check("Large file", &preview["largest"][0]);
    check("Left out", &preview["left_out"][0]);
    let preview = rig.json(&["deploy", path, "--dry-run", "-a", "web", "-n", "blue"]);
    check("Lacking", &preview["missing"]);
    check("Verdict", &rig.json(&["deploy", path, "--explain", ".git"]));
}

fn trash(rig: &Rig) {
    let preview = r#"{"network":"blue","app":"web","preview":true}"#;
    let item = rig.json(&["api", "app:delete", preview]);
    check("Item", &item);
    check("Contents", &item["contents"]);
    check("Item", &rig.json(&["delete", "app", "web.blue", "--yes"]));
    let trash = rig.json(&["list", "trash"]);
    check("Trash", &trash);
    check("Item", &trash["items"][0]);
    check("App", &rig.json(&["restore", "app", "web.blue"]));
    check("App", &rig.json(&["rename", "app", "web.blue", "shop"]));
    check("Item", &rig.json(&["delete", "app", "shop.blue", "--yes"]));
}

fn variables(rig: &Rig) {
    let changed = rig.json(&["create", "var", "A=1", "-a", "web.blue"]);
    check("Changed", &changed);
    check("Difference", &changed["changes"][0]);
    check("Rollout", &changed["apps"][0]);
    check("Difference", &changed["apps"][0]["changes"][0]);
    check("Changed", &rig.json(&["create", "var", "A=2", "--stage", "-a", "web.blue"]));
    let list = rig.json(&["list", "vars", "-a", "web.blue"]);
    check("Variables", &list);
    check("Variable", &list["variables"][0]);
    check("Difference", &list["staged"][0]);
    configuration(rig);
    check("Export", &rig.json(&["export", "vars", "-a", "web.blue"]));
    check("Applied", &rig.json(&["apply", "web.blue"]));
    check("Changed", &rig.json(&["create", "secret", "S", "--value", "x", "-a", "web.blue"]));
    let list = rig.json(&["list", "secrets", "-a", "web.blue"]);
    check("Secrets", &list);
    check("Secret", &list["secrets"][0]);
    check("Key", &rig.json(&["rotate", "key", "-n", "blue"]));
    check("Changed", &rig.json(&["delete", "secret", "S", "-a", "web.blue"]));
}

fn configuration(rig: &Rig) {
    let details = rig.json(&["details", "app", "web.blue"]);
    check("App details", &details);
    check("App", &details["app"]);
    check("Version", &details["version"]);
    check("Plan", &details["plan"]);
    let details = rig.json(&["details", "network", "blue"]);
    check("Network details", &details);
    check("Version", &details["version"]);
    let history = rig.json(&["list", "history", "-a", "web.blue"]);
    check("Config history", &history);
    check("Config entry", &history["entries"][0]);
    check("Config change", &history["entries"][0]["changes"][0]);
    let changed = rig.json(&["rollback", "config", "-a", "web.blue", "--to", "2", "--stage", "--yes"]);
    check("Config changed", &changed);
    check("Config change", &changed["changes"][0]);
    let document = rig.ok(&["export", "network", "blue", "-o", "json"]);
    let dir = project(&[("blue.json", &document)]);
    let path = dir.path().join("blue.json").to_str().unwrap().to_owned();
    check("Validation", &rig.json(&["validate", &path]));
    check("Config changed", &rig.json(&["diff", &path]));
    check("Config changed", &rig.json(&["import", &path, "--dry-run"]));
    check("Config changed", &rig.json(&["import", &path, "--yes"]));
}

fn tokens_and_members(max: &Max, rig: &Rig) {
    let token = rig.json(&["create", "token", "-n", "blue"]);
    check("Token", &token);
    let tokens = rig.json(&["list", "tokens"]);
    check("Tokens", &tokens);
    check("Token", &tokens["tokens"][0]);
    check("Token", &rig.json(&["delete", "token", &token["id"].to_string()]));
    max.token("bob");
    check("Member", &rig.json(&["create", "member", "bob", "-n", "blue"]));
    let members = rig.json(&["list", "members", "-n", "blue"]);
    check("Members", &members);
    check("Member", &members["members"][0]);
    check("Member", &rig.json(&["delete", "member", "bob", "-n", "blue"]));
}

fn alerts_and_webhooks(rig: &Rig) {
    let receiver = Receiver::start();
    check("Webhook", &rig.json(&["create", "webhook", &receiver.url(), "-n", "blue"]));
    let webhooks = rig.json(&["list", "webhooks"]);
    check("Webhooks", &webhooks);
    check("Webhook", &webhooks["webhooks"][0]);
    assert_eq!(crate::alerts::deploy_web(rig, &crate::alerts::broken()), 7);
    let post = receiver.wait(1).remove(0).body;
    check("Message", &post);
    check("Alert", &post["alert"]);
    let alerts = rig.json(&["list", "alerts"]);
    check("Alerts", &alerts);
    check("Alert", &alerts["alerts"][0]);
    check("Webhook", &rig.json(&["delete", "webhook", "1", "--yes"]));
}
