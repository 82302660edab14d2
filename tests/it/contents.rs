//! Deploys of which only what is missing travels.

use crate::harness::{Max, wait_for};
use crate::sender::{Files, Is, Sender, numbers, sha, tar};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

/// A page, and something of every kind.
fn site() -> Files {
    let file = |mode, text: &str| Is::File(mode, text.as_bytes().to_vec());
    Files::new(&[
        ("index.html", file(0o644, "one")),
        ("a.txt", file(0o600, "a")),
        ("a/b/c.txt", file(0o644, "deep")),
        ("a/same.html", file(0o755, "one")),
        ("a/locked", Is::Dir(0o700)),
        ("a/empty", file(0o444, "")),
        ("a-link", Is::Link("a/b/c.txt")),
        ("dangling", Is::Link("nowhere")),
    ])
}

/// The directory of a release of the first app.
fn release(max: &Max, app: u64, number: u64) -> PathBuf {
    max.data().join(format!("apps/{app}/{number}"))
}

fn stored(max: &Max, network: u64, content: &[u8]) -> PathBuf {
    let hash = sha(content);
    max.data().join(format!("contents/{network}/{}/{hash}", &hash[..2]))
}

#[test]
fn only_what_is_missing_travels_and_the_release_is_what_the_manifest_says() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let mut files = site();
    let deploy = ann.begin();
    let progress = ann.send(&max, deploy, "manifest", &files.full());
    // By their first paths: a/b/c.txt, a/empty, a/same.html (and index.html), a.txt.
    assert_eq!(files.contents(), [b"deep".as_slice(), b"", b"one", b"a"]);
    assert_eq!(
        (progress["missing"].as_str(), &progress["deploy"]["state"]),
        (Some("0-3"), &"uploading".into())
    );
    assert_eq!(progress["partial"], serde_json::json!([]));
    // Some of them, in any order.
    let some = tar(&[(sha(b"a"), b"a"), (sha(b""), b"")]);
    let progress = ann.send(&max, deploy, "contents", &some);
    assert_eq!(
        (progress["missing"].as_str(), &progress["deploy"]["state"]),
        (Some("0,2"), &"uploading".into())
    );
    let progress = ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!((progress["missing"].as_str(), &progress["deploy"]["release"]), (Some(""), &1.into()));
    assert_eq!(ann.ended(deploy)["state"], "live");
    assert_eq!(max.get("web.blue.localhost", "/").1, "one");
    assert_eq!(Files::read(&release(&max, 1, 1)), files);

    let before = files.clone();
    files.text("index.html", "two");
    files.remove("a/b/c.txt");
    files.remove("a/b");
    files.set("a.txt", Is::File(0o755, b"a".to_vec()));
    files.set("a-link", Is::Link("index.html"));
    let deploy = ann.begin();
    let progress = ann.send(&max, deploy, "manifest", &files.delta(&before));
    assert_eq!(numbers(&progress), [3]);
    ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(deploy)["state"], "live");
    assert_eq!(max.get("web.blue.localhost", "/").1, "two");
    assert_eq!(Files::read(&release(&max, 1, 2)), files);
    assert_eq!(Files::read(&release(&max, 1, 1)), before);

    // Nothing is missing: it is queued by the manifest.
    let deploy = ann.begin();
    let progress = ann.send(&max, deploy, "manifest", &before.delta(&files));
    assert_eq!((progress["missing"].as_str(), &progress["deploy"]["release"]), (Some(""), &3.into()));
    assert_eq!(ann.ended(deploy)["state"], "live");
    assert_eq!(Files::read(&release(&max, 1, 3)), before);
    // The answer was lost: the same again tells the same.
    let again = ann.send(&max, deploy, "manifest", &before.delta(&before));
    assert_eq!((again["missing"].as_str(), &again["deploy"]["state"]), (Some(""), &"live".into()));
    let other = ann.refused(&max, deploy, "manifest", &files.full());
    let sent = format!("the source of deploy {deploy} has been sent already");
    assert_eq!(other, (409, "conflict".into(), sent.clone(), String::new()));
    assert_eq!(ann.refused(&max, deploy, "contents", &tar(&[])).2, sent);
}

#[test]
fn a_release_of_an_archive_is_a_base_too() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let dir = crate::harness::project(&[("index.html", "one"), ("css/x.css", "x")]);
    ann.rig.ok(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    let sent = Files::read(dir.path());
    let mut files = sent.clone();
    files.text("index.html", "two");
    let deploy = ann.begin();
    let progress = ann.send(&max, deploy, "manifest", &files.delta(&sent));
    ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(deploy)["state"], "live");
    assert_eq!(max.get("web.blue.localhost", "/").1, "two");
}

#[test]
fn what_is_not_as_the_manifest_says_is_refused_and_the_rest_stays() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let (mut files, deploy) = (site(), ann.begin());
    let usage = |message: &str| (400, "usage".to_owned(), message.to_owned(), "contents".to_owned());
    let missing = (409, "conflict".into(), format!("deploy {deploy} has no manifest yet"), "manifest".into());
    assert_eq!(ann.refused(&max, deploy, "contents", &tar(&[])), missing);
    let nowhere = format!("this network has no manifest '{}'", sha(b""));
    let unknown = ann.refused(&max, deploy, "manifest", &files.delta(&Files::default()));
    assert_eq!(unknown, (409, "conflict".into(), nowhere, "base".into()));
    ann.send(&max, deploy, "manifest", &files.full());
    let (deep, one) = (sha(b"deep"), sha(b"one"));
    for (entries, message) in [
        (vec![(deep.clone(), b"deeq".as_slice())], "'a/b/c.txt' changed while it was sent".to_owned()),
        (vec![(deep.clone(), b"deeper")], "'a/b/c.txt' changed while it was sent".to_owned()),
        (
            vec![(one.clone(), b"two")],
            "'a/same.html' and 'index.html' changed while they were sent".to_owned(),
        ),
        (
            vec![(sha(b"x"), b"x")],
            format!("the contents are malformed: '{}' is not in the manifest", sha(b"x")),
        ),
        (
            vec![(deep.clone(), b"deep"), (deep.clone(), b"deep")],
            format!("the contents are malformed: '{deep}' comes twice"),
        ),
        (
            vec![("x".to_owned(), b"x")],
            "the contents are malformed: 'x' is neither HASH nor HASH.OFFSET".to_owned(),
        ),
    ] {
        let deploy = ann.begin();
        ann.send(&max, deploy, "manifest", &files.full());
        assert_eq!(ann.refused(&max, deploy, "contents", &tar(&entries)), usage(&message));
        // With that the deploy has failed; cancelling it says nothing else.
        let cancel = serde_json::json!({"id": deploy}).to_string();
        assert_eq!(ann.rig.run(&["api", "deploy:cancel", &cancel]).code, 6);
        let ended = ann.ended(deploy);
        assert_eq!((&ended["phase"], &ended["error"]), (&"uploading".into(), &Value::from(message.clone())));
        let again = ann.refused(&max, deploy, "contents", &tar(&entries));
        assert_eq!(again, (409, "conflict".into(), message, String::new()));
    }
    let progress = ann.send(&max, deploy, "manifest", &files.delta(&files));
    assert_eq!(progress["missing"], "1-3", "what came before an error stays");
    // A beginning that is not there is nobody's fault; it is missing all the same.
    let progress = ann.send(&max, deploy, "contents", &tar(&[(format!("{one}.2"), b"e")]));
    assert_eq!(progress["missing"], "1-3");
    // Another manifest in its place.
    files.text("index.html", "three");
    let progress = ann.send(&max, deploy, "manifest", &files.full());
    assert_eq!(progress["missing"], "1-4");
    ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(deploy)["state"], "live");
    assert_eq!(max.get("web.blue.localhost", "/").1, "three");
}

#[test]
fn a_content_of_one_network_is_not_there_for_another() {
    let max = Max::start();
    let (ann, bob) = (Sender::new(&max, "ann", "blue"), Sender::new(&max, "bob", "green"));
    let files = site();
    assert_eq!(ann.deploy(&max, &files)["state"], "live");
    let deploy = bob.begin();
    let unknown = bob.refused(&max, deploy, "manifest", &files.delta(&files));
    assert_eq!((unknown.0, unknown.3.as_str()), (409, "base"));
    let progress = bob.send(&max, deploy, "manifest", &files.full());
    assert_eq!(progress["missing"], "0-3");
    // The owner of both is told no more.
    let both = Sender::new(&max, "ann", "red");
    assert_eq!(both.send(&max, both.begin(), "manifest", &files.full())["missing"], "0-3");
}

#[test]
fn nobody_else_sends_what_belongs_to_a_deploy() {
    let max = Max::start();
    let (ann, bob) = (Sender::new(&max, "ann", "blue"), Sender::new(&max, "bob", "green"));
    let (files, deploy) = (site(), ann.begin());
    for what in ["manifest", "contents"] {
        let missing = format!("deploy {deploy} does not exist");
        assert_eq!(bob.refused(&max, deploy, what, &files.full()).2, missing);
        assert_eq!(bob.refused(&max, 999, what, &files.full()).0, 404);
    }
    ann.rig.ok(&["create", "member", "bob", "-n", "blue", "--role", "owner"]);
    for what in ["manifest", "contents"] {
        let refused = bob.refused(&max, deploy, what, &files.full());
        let message = format!("deploy {deploy} was begun by 'ann', who alone sends its source");
        assert_eq!(refused, (403, "forbidden".into(), message, String::new()));
    }
    ann.send(&max, deploy, "manifest", &files.full());
    let archive = ann.refused(&max, deploy, "source", b"x");
    assert_eq!((archive.0, archive.2), (409, format!("deploy {deploy} has a manifest: send its contents")));
    assert_eq!(ann.send(&max, deploy, "manifest", &files.full())["missing"], "0-3");
}

#[test]
fn uploads_of_the_same_content_do_not_meet() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut files = site();
    files.set("noise", Is::File(0o644, noise.clone()));
    let deploys = [ann.begin_of("web"), ann.begin_of("other"), ann.begin_of("third")];
    let bodies = deploys.map(|deploy| {
        let progress = ann.send(&max, deploy, "manifest", &files.full());
        files.missing(&progress)
    });
    // A piece of each in turn.
    let mut streams = Vec::new();
    for (deploy, body) in deploys.iter().zip(&bodies) {
        streams.push(ann.open(*deploy, "contents", body.len()));
    }
    for at in (0..bodies[0].len()).step_by(20_000) {
        for (stream, body) in streams.iter_mut().zip(&bodies) {
            stream.write_all(&body[at..body.len().min(at + 20_000)]).unwrap();
        }
    }
    for (mut stream, deploy) in streams.into_iter().zip(deploys) {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        assert_eq!(ann.ended(deploy)["state"], "live");
    }
    assert_eq!(fs::read(stored(&max, 1, &noise)).unwrap(), noise);
}

#[test]
fn a_newer_upload_of_a_deploy_takes_over_from_one_that_hangs() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
    let mut files = site();
    files.set("a/a", Is::File(0o644, noise));
    let deploy = ann.begin();
    let progress = ann.send(&max, deploy, "manifest", &files.full());
    let body = files.missing(&progress);
    let mut hanging = ann.open(deploy, "contents", body.len());
    hanging.write_all(&body[..body.len() / 2]).unwrap();
    let partial = max.data().join("contents/1/partial");
    wait_for("a part to arrive", || {
        let parts = fs::read_dir(&partial).unwrap();
        parts.flatten().any(|part| part.metadata().is_ok_and(|data| data.len() > 50_000)).then_some(())
    });
    let progress = ann.send(&max, deploy, "manifest", &files.delta(&files));
    assert!(progress["partial"][0]["bytes"].as_u64().unwrap() > 50_000, "{progress}");
    let mut answer = String::new();
    hanging.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    assert!(
        answer.contains(&format!("the upload of deploy {deploy} was ended by another request")),
        "{answer}"
    );
    ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(deploy)["state"], "live");
    assert_eq!(Files::read(&release(&max, 1, 1)), files);
}

#[test]
fn an_upload_of_a_deploy_that_is_cancelled_ends() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let (files, deploy) = (site(), ann.begin());
    let progress = ann.send(&max, deploy, "manifest", &files.full());
    let body = files.missing(&progress);
    let mut hanging = ann.open(deploy, "contents", body.len());
    hanging.write_all(&body[..body.len() / 2]).unwrap();
    let cancelled = ann.rig.ok(&["api", "deploy:cancel", &serde_json::json!({"id": deploy}).to_string()]);
    assert!(cancelled.contains("cancelled by ann"), "{cancelled}");
    let mut answer = String::new();
    hanging.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("cancelled by ann"), "{answer}");
    let refused = ann.refused(&max, deploy, "contents", &body);
    assert_eq!((refused.0, refused.2.as_str()), (409, "cancelled by ann"));
    // Its manifest still says what became of it.
    assert_eq!(ann.send(&max, deploy, "manifest", &files.full())["deploy"]["error"], "cancelled by ann");
}

#[test]
fn an_upload_that_does_not_move_ends_and_what_came_stays() {
    let max = Max::trial("idle=300");
    let ann = Sender::new(&max, "ann", "blue");
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
    let mut files = site();
    files.set("a/a", Is::File(0o644, noise));
    let deploy = ann.begin();
    let progress = ann.send(&max, deploy, "manifest", &files.full());
    let body = files.missing(&progress);
    let mut stuck = ann.open(deploy, "contents", body.len());
    stuck.write_all(&body[..body.len() / 2]).unwrap();
    let mut answer = String::new();
    stuck.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("nothing of the upload came for 0.3s"), "{answer}");
    assert!(answer.contains("what has arrived is kept; send the rest"), "{answer}");
    let progress = ann.send(&max, deploy, "manifest", &files.delta(&files));
    assert!(progress["partial"][0]["bytes"].as_u64().unwrap() > 50_000, "{progress}");
    ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(deploy)["state"], "live");
}

#[test]
fn a_content_that_was_damaged_fails_the_deploy_and_is_sent_anew() {
    let max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let mut files = site();
    assert_eq!(ann.deploy(&max, &files)["state"], "live");
    let path = stored(&max, 1, b"one");
    fs::write(&path, "two").unwrap();
    files.text("new", "new");
    let failed = ann.deploy(&max, &files);
    assert_eq!((&failed["state"], &failed["phase"]), (&"failed".into(), &"unpacking".into()));
    let message = format!("the stored content '{}' was damaged", sha(b"one"));
    assert_eq!(failed["error"], Value::from(message));
    assert!(!path.exists() && !release(&max, 1, 2).exists());
    let deploy = ann.begin();
    let progress = ann.send(&max, deploy, "manifest", &files.delta(&files));
    assert_eq!(numbers(&progress).len(), 1);
    ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(deploy)["state"], "live");
    // So does a part that was damaged: it goes, and the client is not to blame.
    files.text("more", "more and more");
    let deploy = ann.begin();
    ann.send(&max, deploy, "manifest", &files.full());
    let part = max.data().join(format!("contents/1/partial/{}.99", sha(b"more and more")));
    fs::write(&part, "less").unwrap();
    let progress = ann.send(&max, deploy, "manifest", &files.full());
    assert_eq!(progress["partial"][0]["bytes"], 4);
    let progress = ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!((numbers(&progress).len(), &progress["partial"]), (1, &serde_json::json!([])));
    ann.send(&max, deploy, "contents", &files.missing(&progress));
    assert_eq!(ann.ended(deploy)["state"], "live");
}

#[test]
fn what_was_found_for_a_deploy_is_looked_for_again_when_it_may_be_gone() {
    let mut max = Max::start();
    let ann = Sender::new(&max, "ann", "blue");
    let before = site();
    assert_eq!(ann.deploy(&max, &before)["state"], "live");
    let mut files = before.clone();
    files.text("new", "new");
    files.text("newer", "newer");
    let [first, second, third] = [ann.begin_of("web"), ann.begin_of("other"), ann.begin_of("third")];
    let progress = [first, second, third].map(|id| ann.send(&max, id, "manifest", &files.delta(&before)));
    assert!(progress.iter().all(|progress| progress["missing"] == "4-5"), "{progress:?}");
    let both = files.missing(&progress[0]);
    // Meanwhile another deploy has found one of the others damaged.
    let one = stored(&max, 1, b"one");
    fs::write(&one, "two").unwrap();
    assert_eq!(ann.deploy(&max, &before)["state"], "failed");
    assert!(!one.exists());
    let rest = ann.send(&max, first, "contents", &both);
    assert_eq!(rest["missing"], "2");
    assert_eq!(ann.send(&max, first, "contents", &files.missing(&rest))["missing"], "");
    assert_eq!(ann.ended(first)["state"], "live");
    // What another deploy has brought is taken all the same; some of it first.
    let progress = ann.send(&max, second, "contents", &tar(&[(sha(b"new"), b"new")]));
    assert_eq!((&progress["missing"], &progress["deploy"]["state"]), (&"".into(), &"queued".into()));
    assert_eq!(ann.ended(second)["state"], "live");
    // A maxd that was started again has found nothing yet.
    max.kill();
    max.serve();
    assert_eq!(ann.send(&max, third, "contents", &both)["missing"], "");
    assert_eq!(ann.ended(third)["state"], "live");
    assert_eq!(Files::read(&release(&max, 3, 1)), files);
}

#[test]
fn releases_are_kept_by_number_and_by_size() {
    let max = Max::with_trial(&["--keep-releases", "3", "--keep-bytes", "10KiB"], "grace=1");
    let ann = Sender::new(&max, "ann", "blue");
    let kept = || {
        let items = fs::read_dir(max.data().join("apps/1")).unwrap();
        let mut kept: Vec<u64> =
            items.filter_map(|item| item.unwrap().file_name().to_str().unwrap().parse().ok()).collect();
        kept.sort_unstable();
        kept
    };
    let deploy = |text: &str| {
        let files = Files::new(&[("index.html", Is::File(0o644, text.as_bytes().to_vec()))]);
        assert_eq!(ann.deploy(&max, &files)["state"], "live");
    };
    let settles = |expected: &[u64]| {
        wait_for(&format!("releases {expected:?}"), || (kept() == expected).then_some(()));
    };
    (1..=4).for_each(|number| deploy(&format!("release {number}")));
    settles(&[2, 3, 4]);
    // Of the three only two are within 10 KiB; and of two that are larger both are kept.
    deploy(&"x".repeat(6000));
    settles(&[3, 4, 5]);
    deploy(&"y".repeat(6000));
    settles(&[5, 6]);
    deploy(&"z".repeat(60_000));
    settles(&[6, 7]);
    // With them went what they alone had.
    wait_for("their contents to go", || (!stored(&max, 1, b"release 2").exists()).then_some(()));
    assert!(stored(&max, 1, &[b'y'; 6000]).exists() && stored(&max, 1, &[b'z'; 60_000]).exists());
}
