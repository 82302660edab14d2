//! Sockets and long polling as such: who may open one, what ends one, and what keeps one
//! from taking more than its share. What is said on them is in `frames`.

use crate::harness::{Max, project, signal, wait_for};
use crate::phx::{Frame, Http, Poll, Ws, access, base64};
use std::fs;
use std::time::{Duration, Instant};

fn revoke(max: &Max, access: &str) {
    let bearer = format!("Bearer {access}");
    let answer =
        Http::connect(max).request("POST", "/api/v1/auth/revoke", &[("authorization", &bearer)], b"");
    assert_eq!(answer.status, 204);
}

fn closed(code: u16, reason: &str) -> Frame {
    Frame::Close(code, reason.to_owned())
}

const HEARTBEAT: &str = r#"[null,"1","phoenix","heartbeat",{}]"#;
const BEAT: &str = r#"[null,"1","phoenix","phx_reply",{"response":{},"status":"ok"}]"#;

#[test]
fn the_upgrade_wants_a_token_and_version_two() {
    let max = Max::start();
    let token = access(&max, "ada");
    let bearer = |token: &str| format!("base64url.bearer.phx.{}", base64(token.as_bytes()));
    let lists = |token: &str| {
        let (padded, bare) = (bearer(token), bearer(token).trim_end_matches('=').to_owned());
        [format!("phoenix, {padded}"), format!("phoenix, {bare}"), format!("{bare}, phoenix")]
    };
    for list in lists(&token) {
        let (mut ws, head) = Ws::try_open(&max, "vsn=2.0.0", &[("sec-websocket-protocol", &list)]);
        assert!(
            head.starts_with("http/1.1 101 ") && head.contains("sec-websocket-protocol: phoenix\r\n"),
            "{head}"
        );
        assert_eq!(ws.ask(HEARTBEAT), BEAT);
    }
    let (mut ws, head) = Ws::try_open(&max, "vsn=2.0.0", &[("x-phoenix-authtoken", &token)]);
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-protocol"), "{head}");
    assert_eq!(ws.ask(HEARTBEAT), BEAT);

    let list = &lists(&token)[0];
    for query in ["", "vsn=1.0.0", "vsn=9.0.0", "vsn=x"] {
        let (_, head) = Ws::try_open(&max, query, &[("sec-websocket-protocol", list)]);
        assert!(head.starts_with("http/1.1 403 ") && head.contains("version 2.0.0"), "{query}: {head}");
    }
    // A token in the URL is none.
    let query = format!("vsn=2.0.0&token={token}");
    for header in ["phoenix", &lists("acc_wrong")[0], "phoenix, base64url.bearer.phx.!!"] {
        let (_, head) = Ws::try_open(&max, &query, &[("sec-websocket-protocol", header)]);
        assert!(head.starts_with("http/1.1 401 ") && head.contains("\"code\":\"unauthenticated\""), "{head}");
    }
    let answer = Http::connect(&max).request("GET", "/socket/websocket?vsn=2.0.0", &[], b"");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("usage")));
    let answer = Http::connect(&max).request("GET", "/socket?vsn=2.0.0", &[], b"");
    assert_eq!(answer.status, 404);
}

#[test]
fn a_normal_server_has_no_test_topics() {
    let max = Max::start();
    assert!(!max.log().contains("MAXD_TEST"));
    let mut ws = Ws::open(&max, &access(&max, "ada"));
    let refused =
        r#"[null,"1","echo:a","phx_reply",{"response":{"reason":"unmatched topic"},"status":"error"}]"#;
    assert_eq!(ws.ask(r#"["1","1","echo:a","phx_join",{}]"#), refused);
    let unknown = ws.ask(r#"["2","2","deploy:77","phx_join",{"credit":1}]"#);
    assert!(
        unknown.starts_with(r#"["2","2","deploy:77","phx_reply",{"response":{"code":"not_found""#),
        "{unknown}"
    );
}

#[test]
fn long_polling_refuses_and_forgets_as_phoenix_does() {
    let max = Max::trial("topics,window=300");
    let token = access(&max, "ada");
    let mut http = Http::connect(&max);
    let auth = [("x-phoenix-authtoken", token.as_str())];
    for (path, headers) in [
        ("/socket/longpoll?vsn=2.0.0", &[][..]),
        ("/socket/longpoll?vsn=2.0.0&token=garbage", &[]),
        ("/socket/longpoll?vsn=9.0.0", &auth),
        ("/socket/longpoll", &auth),
    ] {
        let refused = http.request("GET", path, headers, b"");
        assert_eq!((refused.status, refused.json()["status"].as_u64()), (200, Some(403)), "{path}");
        assert!(refused.json()["message"].is_string(), "{}", refused.body);
    }
    let gone = http.request("POST", "/socket/longpoll?vsn=2.0.0&token=garbage", &[], b"[]");
    assert_eq!((gone.status, gone.body.as_str()), (200, r#"{"status":410}"#));
    assert_eq!(http.request("PUT", "/socket/longpoll?vsn=2.0.0", &auth, b"").status, 400);
    let options = http.request("OPTIONS", "/socket/longpoll?vsn=2.0.0", &auth, b"");
    assert_eq!((options.status, options.body.as_str()), (200, ""));
    assert!(!options.head.contains("access-control"), "{}", options.head);

    // An empty poll waits for the window; a session that nobody polls ends.
    let mut poll = Poll::open(&max, &token);
    let started = Instant::now();
    let empty = poll.get();
    assert_eq!(empty.body, format!(r#"{{"messages":[],"status":204,"token":"{}"}}"#, poll.token));
    assert!(started.elapsed() >= Duration::from_millis(300));
    let old = poll.token.clone();
    let reopened = wait_for("the session to end", || {
        std::thread::park_timeout(Duration::from_millis(600));
        let answer = poll.get();
        (answer.json()["status"] == 410).then_some(answer)
    });
    let new = reopened.json()["token"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!(poll.post_as("application/x-ndjson", HEARTBEAT).body, r#"{"status":410}"#);
    // The 410 has opened another session.
    poll.token = new;
    poll.post(HEARTBEAT);
    assert_eq!(poll.messages(1), [BEAT]);
}

#[test]
fn posts_are_read_as_phoenix_reads_them() {
    let max = Max::trial("topics,window=2000");
    let token = access(&max, "ada");
    let beat = |n: u32| format!(r#"[null,"{n}","phoenix","heartbeat",{{}}]"#);
    let answer = |n: u32| format!(r#"[null,"{n}","phoenix","phx_reply",{{"response":{{}},"status":"ok"}}]"#);
    let lines = |range: std::ops::RangeInclusive<u32>| range.map(beat).collect::<Vec<_>>().join("\n");
    let mut poll = Poll::open(&max, &token);
    poll.post(&lines(1..=3));
    assert_eq!(poll.messages(3), [answer(1), answer(2), answer(3)]);
    poll.post(&lines(1..=101));
    poll.post(&beat(102));
    let expected: Vec<_> = (1..=100).chain([102]).map(answer).collect();
    assert_eq!(poll.messages(101), expected);
    poll.post(&lines(1..=2).replace('\n', "\r\n"));
    assert_eq!(poll.messages(2), [answer(1), answer(2)]);
    for content_type in ["application/json", "text/plain", "application/x-ndjson; charset=utf-8"] {
        assert_eq!(poll.post_as(content_type, &beat(7)).body, r#"{"status":200}"#);
        assert_eq!(poll.messages(1), [answer(7)]);
    }
    // The session's token in its header.
    let header = [("x-phoenix-longpoll-token", poll.token.as_str())];
    let mut http = Http::connect(&max);
    let posted = http.request("POST", "/socket/longpoll?vsn=2.0.0", &header, beat(8).as_bytes());
    assert_eq!(posted.body, r#"{"status":200}"#);
    assert!(http.request("GET", "/socket/longpoll?vsn=2.0.0", &header, b"").body.contains(r#"\"8\""#));
    // Bytes go as base64 and come as base64.
    poll.post(r#"["1","1","echo:b","phx_join",{}]"#);
    let binary = b"\x00\x01\x02\x06\x03112echo:bbin\x00\x01\xfe\xff";
    poll.post(&base64(binary));
    let replies = poll.messages(2);
    assert_eq!(
        replies[1],
        r#"["1","12","echo:b","phx_reply",{"response":{"data":"AAH+/w=="},"status":"ok"}]"#
    );

    // What can't be decoded ends the session.
    for (content_type, body) in [
        ("application/x-ndjson", format!("{}\n", beat(1))),
        ("application/x-ndjson; charset=utf-8", lines(1..=2)),
        ("application/x-ndjson", format!("{}\n{{oops", beat(1))),
        ("application/x-ndjson", "!!!".to_owned()),
        ("application/x-ndjson", base64(&[9, 9, 9])),
        ("application/x-ndjson", String::new()),
    ] {
        let mut poll = Poll::open(&max, &token);
        assert_eq!(poll.post_as(content_type, &body).body, r#"{"status":408}"#, "{body}");
        wait_for("the session to be gone", || (poll.get().json()["status"] == 410).then_some(()));
    }
    let mut poll = Poll::open(&max, &token);
    assert_eq!(poll.post_as("application/x-ndjson", &"x".repeat(8_000_001)).status, 413);
}

#[test]
fn a_revoked_session_ends_at_once_on_both_transports() {
    let max = Max::start();
    let token = access(&max, "ada");
    let other = access(&max, "ada");
    let mut ws = Ws::open(&max, &token);
    let mut poll = Poll::open(&max, &token);
    let mut untouched = Ws::open(&max, &other);
    poll.send_get();
    let started = Instant::now();
    revoke(&max, &token);
    assert_eq!(ws.receive(), closed(4001, "session revoked"));
    let refused = poll.receive().json();
    assert_eq!((refused["status"].as_u64(), refused["code"].as_str()), (Some(403), Some("unauthenticated")));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(poll.post_as("application/x-ndjson", HEARTBEAT).body, r#"{"status":410}"#);
    assert_eq!(untouched.ask(HEARTBEAT), BEAT);
}

#[test]
fn a_silent_socket_is_closed() {
    let max = Max::trial("idle=300");
    let token = access(&max, "ada");
    let started = Instant::now();
    let mut ws = Ws::open(&max, &token);
    assert_eq!(ws.receive(), closed(1002, "idle"));
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_user_has_so_many_sockets_and_no_more() {
    let max = Max::trial("sockets=2");
    let token = access(&max, "ada");
    let bearer = format!("phoenix, base64url.bearer.phx.{}", base64(token.as_bytes()).trim_end_matches('='));
    let ws = [Ws::open(&max, &token), Ws::open(&max, &token)];
    let open = || Ws::try_open(&max, "vsn=2.0.0", &[("sec-websocket-protocol", &bearer)]).1;
    let refused = open();
    assert!(refused.starts_with("http/1.1 429 ") && refused.contains(r#""code":"too_large""#), "{refused}");
    let path = "/socket/longpoll?vsn=2.0.0";
    let refused = Http::connect(&max).request("GET", path, &[("x-phoenix-authtoken", &token)], b"").json();
    assert_eq!((refused["status"].as_u64(), refused["code"].as_str()), (Some(403), Some("too_large")));
    // Somebody else is not concerned.
    drop(Ws::open(&max, &access(&max, "bob")));
    drop(ws);
    wait_for("a place", || open().starts_with("http/1.1 101 ").then_some(()));
}

#[test]
fn what_is_too_large_or_no_websocket_closes_with_its_code() {
    let max = Max::start();
    let token = access(&max, "ada");
    let mut ws = Ws::open(&max, &token);
    // The header alone says so.
    ws.raw(&[0x81, 0xff, 0, 0, 0, 0, 0, 0x7a, 0x12, 0x01, 0, 0, 0, 0]);
    assert_eq!(ws.receive(), closed(1009, "frame too large"));
    let mut ws = Ws::open(&max, &token);
    ws.raw(&[0xc1, 0x80, 0, 0, 0, 0]);
    assert_eq!(ws.receive(), closed(1002, "protocol error"));
    let mut ws = Ws::open(&max, &token);
    ws.raw(&[0x81, 0x81, 0, 0, 0, 0, 0xff]);
    assert_eq!(ws.receive(), closed(1002, "protocol error"));
    let mut ws = Ws::open(&max, &token);
    let frame = format!(r#"[null,"1","phoenix","heartbeat",{{"x":"{}"}}]"#, "x".repeat(7_999_900));
    assert_eq!(ws.ask(&frame), BEAT);
}

#[test]
fn a_socket_has_at_most_a_hundred_channels() {
    let max = Max::trial("topics");
    let mut ws = Ws::open(&max, &access(&max, "ada"));
    for n in 1..=100 {
        let joined = ws.ask(&format!(r#"["{n}","{n}","echo:{n}","phx_join",{{}}]"#));
        assert!(joined.contains(r#""status":"ok""#), "{joined}");
    }
    let refused = ws.ask(r#"["101","101","echo:101","phx_join",{}]"#);
    assert!(refused.contains("a socket has at most 100 channels"), "{refused}");
    // One of the hundred may be joined again.
    assert!(ws.ask(r#"["102","102","echo:7","phx_join",{}]"#).contains(r#""status":"ok""#));
    assert_eq!(ws.expect(), r#"["7","7","echo:7","phx_close",{}]"#);
}

/// Two thousand in a row, then one a millisecond: slowed, and none is lost.
#[test]
fn a_client_that_sends_too_fast_is_slowed() {
    let max = Max::start();
    let mut ws = Ws::open(&max, &access(&max, "ada"));
    let started = Instant::now();
    for n in 0..3000 {
        ws.text(&format!(r#"[null,"{n}","phoenix","heartbeat",{{}}]"#));
    }
    for n in 0..3000 {
        let expected = format!(r#"[null,"{n}","phoenix","phx_reply",{{"response":{{}},"status":"ok"}}]"#);
        assert_eq!(ws.expect(), expected);
    }
    assert!(started.elapsed() >= Duration::from_millis(990), "{:?}", started.elapsed());
}

/// The most memory maxd has had, in MiB.
fn peak(max: &Max) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", max.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_client_that_takes_nothing_makes_its_streams_wait() {
    let max = Max::trial("topics,window=2000");
    let token = access(&max, "ada");
    let mut ws = Ws::open(&max, &token);
    let mut poll = Poll::open(&max, &token);
    let join = r#"["1","1","echo:a","phx_join",{}]"#;
    assert!(ws.ask(join).contains(r#""status":"ok""#));
    poll.post(join);
    poll.messages(1);
    // 320 MB of answers, to which nobody listens yet.
    let big = |n: u32| format!(r#"["1","{n}","echo:a","big",{{"n":4000000}}]"#);
    let mut http = Http::connect(&max);
    for n in 0..40 {
        ws.text(&big(n));
    }
    let many = (0..40).map(big).collect::<Vec<_>>().join("\n");
    let headers = [("content-type", "application/x-ndjson")];
    assert_eq!(http.request("POST", &poll.path(), &headers, many.as_bytes()).body, r#"{"status":200}"#);
    for n in 0..40 {
        let start = format!(r#"["1","{n}","echo:a","phx_reply","#);
        let (text, polled) = (ws.expect(), poll.messages(1).remove(0));
        assert!(text.starts_with(&start) && polled.starts_with(&start), "{n}");
        assert!(text.len() > 4_000_000 && text == polled);
    }
    assert!(peak(&max) < 120, "{} MiB", peak(&max));
}

#[test]
fn a_request_that_is_worked_on_is_answered_before_the_server_stops() {
    let mut max = Max::start();
    let token = access(&max, "ada");
    let mut ws = Ws::open(&max, &token);
    let mut poll = Poll::open(&max, &token);
    let join = r#"["1","1","control","phx_join",{}]"#;
    assert!(ws.ask(join).contains(r#""status":"ok""#));
    poll.post(join);
    poll.messages(1);
    // Somebody else has the database.
    let mut blocker = rusqlite::Connection::open(max.data().join("state.db")).unwrap();
    let held = blocker.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    ws.text(r#"["1","2","control","network:create",{"name":"blue"}]"#);
    poll.post(concat!(
        r#"["1","2","control","network:create",{"name":"red"}]"#,
        "\n",
        r#"["1","3","control","network:create",{"name":"green"}]"#
    ));
    poll.send_get();
    // What was sent before it has been taken when this is answered.
    assert_eq!(ws.ask(HEARTBEAT), BEAT);
    signal(max.pid(), "TERM");
    wait_for("maxd to be stopping", || max.log().contains("maxd: stopping").then_some(()));
    drop(held);
    let created = ws.expect();
    assert!(
        created.starts_with(r#"["1","2","control","phx_reply",{"response":{"name":"blue","#),
        "{created}"
    );
    assert_eq!(ws.receive(), closed(1001, "server is stopping"));
    ws.close(1001);
    assert_eq!(ws.receive(), Frame::End);
    let polled = poll.receive().json();
    let texts: Vec<_> =
        polled["messages"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(texts.len(), 2, "{polled}");
    assert!(texts.iter().all(|text| text.contains(r#""status":"ok""#)), "{polled}");
    assert_eq!(max.stop(), Some(0));
}

#[test]
fn a_cursor_behind_everything_finds_nothing() {
    let max = Max::start();
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let mut poll = Poll::open(&max, &access(&max, "ada"));
    let topic = "logs:network:blue";
    for after in [u64::MAX, u64::MAX / 2 + 1, u64::MAX / 2] {
        poll.post(&format!(
            r#"["1","1","{topic}","phx_join",{{"follow":false,"credit":5,"after":{after},"tail":null}}]"#
        ));
        let mut events: Vec<String> = Vec::new();
        while !events.iter().any(|event| event == "phx_close" || event == "phx_error") {
            for message in poll.messages(1) {
                let json: serde_json::Value = serde_json::from_str(&message).unwrap();
                events.push(json[3].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(events, ["phx_reply", "end", "phx_close"], "{after}");
    }
}

#[test]
fn a_log_comes_whole_over_long_polling() {
    let max = Max::trial("window=2000");
    let rig = max.rig("ada");
    rig.ok(&["create", "network", "blue"]);
    let run = "seq -f 'line %g' 1 3000; exit 1";
    let dir = project(&[("rig.json", &format!(r#"{{"run":"{run}"}}"#))]);
    rig.run(&["deploy", dir.path().to_str().unwrap(), "-a", "web", "-n", "blue", "--create"]);
    wait_for("the lines", || {
        rig.ok(&["logs", "app", "web.blue", "--tail", "10000"]).contains("line 3000\n").then_some(())
    });
    let mut poll = Poll::open(&max, &access(&max, "ada"));
    let topic = "logs:app:blue:web";
    poll.post(&format!(
        r#"["1","1","{topic}","phx_join",{{"follow":false,"credit":500,"after":0,"tail":null}}]"#
    ));
    let mut numbers = Vec::new();
    let mut granted = 500;
    let mut seen = 0;
    'all: loop {
        for message in poll.messages(1) {
            let json: serde_json::Value = serde_json::from_str(&message).unwrap();
            match json[3].as_str().unwrap() {
                "lines" => {
                    let lines = json[4]["lines"].as_array().unwrap();
                    seen += lines.len();
                    assert!(seen <= granted, "{seen} lines on a credit of {granted}");
                    let texts = lines.iter().map(|line| line["text"].as_str().unwrap());
                    numbers.extend(texts.filter_map(|text| text.strip_prefix("line ")?.parse::<u32>().ok()));
                    if seen == granted {
                        granted += 500;
                        poll.post(&format!(r#"["1",null,"{topic}","credit",{{"lines":500}}]"#));
                    }
                }
                "end" => assert_eq!(json[4]["reason"], "done"),
                "phx_close" => break 'all,
                other => assert_eq!(other, "phx_reply"),
            }
        }
    }
    let first = numbers.iter().rposition(|n| *n == 1).unwrap();
    assert_eq!(numbers[first..], (1..=3000).collect::<Vec<_>>());
}
