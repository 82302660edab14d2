//! Webhooks: who may make them and where they may lead, and that messages arrive, signed and
//! in order, whatever the receiver does.

use crate::alerts::{QUICK, broken, deploy_web, started};
use crate::certs::Authority;
use crate::harness::{Max, Rig, site, wait_for};
use crate::receiver::{Answer, Receiver};
use serde_json::Value;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

fn create(rig: &Rig, url: &str) -> Value {
    rig.json(&["create", "webhook", url, "-n", "blue"])
}

fn listed(rig: &Rig) -> Vec<Value> {
    rig.json(&["list", "webhooks"])["webhooks"].as_array().unwrap().clone()
}

/// Waits until the only webhook is so.
#[track_caller]
fn wait_until(rig: &Rig, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || Some(listed(rig).remove(0)).filter(&is))
}

#[test]
fn webhooks_are_created_listed_and_deleted() {
    let (max, rig) = started();
    let none = rig.run(&["list", "webhooks"]);
    let said = "no webhooks yet: `rig create webhook URL --network NETWORK`\n";
    assert_eq!((none.code, none.stdout.as_str(), none.stderr.as_str()), (0, "", said));
    let url = "http://127.0.0.1:9/hook";
    let made = rig.run(&["create", "webhook", url, "--network", "blue"]);
    let secret = made.stdout.strip_prefix("created webhook 1 of network blue\nsecret whsec_").unwrap();
    assert_eq!((secret.trim_end().len(), made.code), (48, 0));
    assert_eq!(made.stderr, "keep the secret: it is not shown again\n");
    let again = create(&rig, url);
    assert_eq!((again["id"].as_u64(), again["secret"].as_str().unwrap().len()), (Some(2), 54));

    for webhook in listed(&rig) {
        assert_eq!((&webhook["url"], &webhook["secret"]), (&Value::from(url), &Value::Null));
    }
    let table = rig.ok(&["list", "webhooks", "-n", "blue"]);
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["WEBHOOK", "NETWORK", "URL", "DELIVERED", "WAITING", "DROPPED", "ERROR"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row, ["1", "blue", url, "-", "0", "0", "-"]);

    // Nobody else's.
    let bob = max.rig("bob");
    assert_eq!(listed(&bob), Vec::<Value>::new());
    let missing = "rig: webhook 1 does not exist\n  see `rig list webhooks`\n";
    bob.run(&["delete", "webhook", "1", "--yes"]).fails(3, missing);
    let network = "rig: network 'blue' does not exist\n  see `rig list networks`\n";
    bob.run(&["create", "webhook", url, "-n", "blue"]).fails(3, network);
    bob.run(&["list", "webhooks", "-n", "blue"]).fails(3, network);

    rig.run(&["delete", "webhook", "1"])
        .fails(2, "rig: this needs a yes, and there is no terminal to ask at\n  add --yes\n");
    rig.run(&["delete", "webhook", "x"])
        .fails(2, "rig: 'x' is no webhook's number\n  see `rig list webhooks`\n");
    assert_eq!(rig.ok(&["delete", "webhook", "1", "--yes"]), "deleted webhook 1 of network blue\n");
    rig.run(&["delete", "webhook", "1", "-y"]).fails(3, missing);
    let most = u64::MAX.to_string();
    rig.run(&["delete", "webhook", &most, "-y"]).fails(3, &missing.replace('1', &most));
    assert_eq!(rig.json(&["delete", "webhook", "2", "--yes"])["url"], url);
    assert_eq!(listed(&rig), Vec::<Value>::new());
    let log = rig.json(&["logs", "network", "blue"])["lines"].to_string();
    assert!(log.contains("webhook 2 created by ada") && log.contains("webhook 2 deleted by ada"), "{log}");
}

#[test]
fn a_request_that_comes_again_makes_one_webhook_and_a_network_has_ten() {
    let (_max, rig) = started();
    let keyed =
        ["api", "webhook:create", r#"{"network":"blue","url":"http://127.0.0.1:9/","idempotency_key":"k"}"#];
    let first = rig.ok(&keyed);
    assert_eq!(rig.ok(&keyed), first);
    for _ in 1..10 {
        create(&rig, "http://127.0.0.1:9/");
    }
    rig.run(&["create", "webhook", "http://127.0.0.1:9/", "-n", "blue"]).fails(
        6,
        "rig: network 'blue' has 10 webhooks already\n  delete one: see `rig list webhooks --network blue`\n",
    );
    assert_eq!(listed(&rig).len(), 10);
    rig.ok(&["create", "network", "red"]);
    rig.ok(&["create", "webhook", "http://127.0.0.1:9/", "-n", "red"]);
}

#[test]
fn only_public_addresses_are_taken_unless_it_is_allowed() {
    let max = Max::trial(QUICK);
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let hint = "whoever runs Max can allow it: `maxd serve --webhook-private`";
    for (url, host, way) in [
        ("http://127.0.0.1:9/", "127.0.0.1", ""),
        ("http://10.0.0.1/", "10.0.0.1", ""),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254", ""),
        ("https://[::1]/", "::1", ""),
        ("https://[::ffff:192.168.0.1]/", "::ffff:192.168.0.1", ""),
        ("http://0/", "0", "leads to an address that is not public"),
        ("http://2130706433/", "2130706433", "leads to an address that is not public"),
        ("http://0x7f.1/", "0x7f.1", "leads to an address that is not public"),
    ] {
        let message = match way {
            "" => format!("'{host}' is no public address"),
            way => format!("'{host}' {way}"),
        };
        rig.run(&["create", "webhook", url, "-n", "blue"]).fails(2, &format!("rig: {message}\n  {hint}\n"));
    }
    let local = rig.run(&["create", "webhook", "http://localhost:9/", "-n", "blue"]);
    assert!(local.code == 2 && local.stderr.contains("leads to an address that is not public"), "{local:?}");
    rig.run(&["create", "webhook", "ftp://a.example/", "-n", "blue"]).fails(
        2,
        "rig: 'ftp://a.example/' is no URL for a webhook: it begins with neither https:// nor http://\n  \
         for instance https://hooks.example.com/max\n",
    );
    assert_eq!(listed(&rig), Vec::<Value>::new());
}

#[test]
fn an_address_is_looked_at_again_when_a_message_is_sent() {
    let (mut max, rig) = started();
    let receiver = Receiver::start();
    let secret = create(&rig, &receiver.url())["secret"].clone();
    assert_eq!(deploy_web(&rig, &broken()), 7);
    receiver.wait(1)[0].verify(secret.as_str().unwrap());
    wait_until(&rig, "the delivery", |webhook| webhook["delivered_at"].is_string());
    // As if the name led elsewhere from now on: what was allowed is so no longer.
    max.stop();
    max.reflag(&[]);
    max.serve();
    assert_eq!(deploy_web(&rig, &site("good")), 0);
    let refused = wait_until(&rig, "the refusal", |webhook| !webhook["error"].is_null());
    assert_eq!(refused["error"], "'127.0.0.1' is no public address");
    wait_until(&rig, "the end of it", |webhook| webhook["dropped"] == 1 && webhook["waiting"] == 0);
    assert_eq!(receiver.posts().len(), 1);
}

#[test]
fn messages_are_signed_and_come_in_order_after_failures() {
    let (_max, rig) = started();
    let receiver = Receiver::start();
    let secret = create(&rig, &receiver.url())["secret"].clone();
    receiver.answer(&[Answer::Status(500), Answer::Close, Answer::Status(302), Answer::Status(204)]);
    assert_eq!(deploy_web(&rig, &broken()), 7);
    let posts = receiver.wait(4);
    let taken = wait_until(&rig, "the delivery", |webhook| webhook["delivered_at"].is_string());
    assert_eq!((&taken["error"], &taken["waiting"], &taken["dropped"]), (&Value::Null, &0.into(), &0.into()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for post in &posts {
        assert_eq!(post.head[0], "post /hook?x=1 http/1.1");
        assert_eq!(post.header("host"), receiver.address.to_string());
        assert_eq!(post.header("content-type"), "application/json");
        assert_eq!(post.header("user-agent"), format!("maxd/{}", env!("CARGO_PKG_VERSION")));
        assert_eq!(post.header("x-max-delivery"), post.body["id"].to_string());
        let time = post.verify(secret.as_str().unwrap());
        assert!((now - 60..=now).contains(&time), "{time} at {now}");
        // The same each time.
        assert_eq!(post.body, posts[0].body);
    }
    assert_eq!(posts[0].brief(), "alert.raised deploy_failed web");
    receiver.answer(&[Answer::Status(503)]);
    assert_eq!(deploy_web(&rig, &site("good")), 0);
    let briefs: Vec<String> = receiver.wait(6)[4..].iter().map(|post| post.brief()).collect();
    assert_eq!(briefs, ["alert.resolved deploy_failed web"; 2]);
    assert_ne!(receiver.posts()[4].body["id"], posts[0].body["id"]);
}

#[test]
fn what_is_never_taken_is_given_up_after_six_tries() {
    let max = Max::with_trial(&["--webhook-private"], "alerts=20,disk=0,second=1");
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let receiver = Receiver::start();
    create(&rig, &receiver.url());
    receiver.answer(&[Answer::Status(404); 6]);
    assert_eq!(deploy_web(&rig, &broken()), 7);
    let given_up = wait_until(&rig, "the end of the tries", |webhook| webhook["dropped"] == 1);
    assert_eq!((&given_up["error"], &given_up["waiting"]), (&Value::from("answered 404"), &0.into()));
    assert_eq!(given_up["delivered_at"], Value::Null);
    assert_eq!(receiver.posts().len(), 6);
    // The next one is a new beginning.
    assert_eq!(deploy_web(&rig, &site("good")), 0);
    assert_eq!(receiver.wait(7)[6].brief(), "alert.resolved deploy_failed web");
    wait_until(&rig, "the delivery", |webhook| webhook["error"].is_null());
}

#[test]
fn one_that_does_not_answer_holds_nobody_up() {
    let (_max, rig) = started();
    let (slow, quick) = (Receiver::start(), Receiver::start());
    slow.answer(&[Answer::Hold; 2]);
    create(&rig, &slow.url());
    create(&rig, &quick.url());
    assert_eq!(deploy_web(&rig, &broken()), 7);
    assert_eq!(deploy_web(&rig, &site("good")), 0);
    let briefs: Vec<String> = quick.wait(2).iter().map(|post| post.brief()).collect();
    assert_eq!(briefs, ["alert.raised deploy_failed web", "alert.resolved deploy_failed web"]);
    // Its first message is still under way, so that the second waits behind it.
    assert_eq!(slow.wait(1).len(), 1);
    let listed = listed(&rig);
    assert_eq!((&listed[0]["waiting"], &listed[0]["delivered_at"]), (&2.into(), &Value::Null));
    let told = wait_for("the end of patience", || {
        Some(self::listed(&rig).remove(0)).filter(|webhook| !webhook["error"].is_null())
    });
    assert_eq!(told["error"], "no answer within 10 s");
}

#[test]
fn what_waits_survives_a_crash_of_the_server() {
    let max = Max::with_trial(&["--webhook-private"], "alerts=20,disk=0,second=100");
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    // A port where nobody listens yet.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    create(&rig, &format!("http://{address}/"));
    assert_eq!(deploy_web(&rig, &broken()), 7);
    let refused = wait_until(&rig, "the refusal", |webhook| !webhook["error"].is_null());
    assert_eq!(refused["error"], format!("cannot connect to '{address}': connection refused"));
    assert_eq!(refused["waiting"], 1);
    let mut max = max;
    max.kill();
    let receiver = Receiver::at(address);
    max.serve();
    assert_eq!(receiver.wait(1)[0].brief(), "alert.raised deploy_failed web");
    wait_until(&rig, "the delivery", |webhook| webhook["waiting"] == 0 && webhook["error"].is_null());
    assert_eq!(receiver.posts().len(), 1);
}

#[test]
fn certificates_are_checked() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let flags = ["--webhook-private", "--webhook-ca", &authority.file()];
    let max = Max::with_trial(&flags, QUICK);
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let good = Receiver::secure(&authority.issue(&["localhost"]));
    let strange = Receiver::secure(&other.issue(&["localhost"]));
    for receiver in [&good, &strange] {
        create(&rig, &format!("https://localhost:{}/", receiver.address.port()));
    }
    // The certificate is not for the address.
    create(&rig, &format!("https://127.0.0.1:{}/", good.address.port()));
    assert_eq!(deploy_web(&rig, &broken()), 7);
    assert_eq!(good.wait(1)[0].brief(), "alert.raised deploy_failed web");
    let listed = wait_for("the failures", || {
        Some(listed(&rig)).filter(|list| !list[1]["error"].is_null() && !list[2]["error"].is_null())
    });
    for (webhook, host, reason) in [(1, "localhost", "UnknownIssuer"), (2, "127.0.0.1", "not valid for name")]
    {
        let error = listed[webhook]["error"].as_str().unwrap();
        assert!(
            error.starts_with(&format!("TLS with '{host}' failed: ")) && error.contains(reason),
            "{error}"
        );
    }
    assert!(strange.posts().is_empty());
    assert_eq!(good.posts().len(), 1);
}
