//! `tests/data/phoenix-frames.txt`, captured from Phoenix 1.8.12 and 1.7.24 and the
//! official client 1.8.16: every frame is decoded and comes out again as it went in, and
//! maxd answers the client's frames as Phoenix did, byte for byte.

use crate::harness::{Max, wait_for};
use crate::phx::{Frame as Received, Poll, Ws, access, hex};
use rig::phx::frame::{Binary, Frame, Payload, REPLY, Ref, Side, encode_binary, encode_reply, encode_text};

const CAPTURES: &str = include_str!("../data/phoenix-frames.txt");

#[derive(Debug, PartialEq, Eq, Clone, PartialOrd, Ord)]
enum Message {
    Text(String),
    Binary(Vec<u8>),
}

/// One line of a scenario.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Step {
    Open,
    Client(Message),
    Server(Message),
    /// Over long polling: the lines of a post.
    Post(String),
    Closed(u16),
}

struct Scenario {
    name: &'static str,
    steps: Vec<Step>,
}

/// The text between two headings `#####`.
fn section(letter: &str) -> &'static str {
    let start = CAPTURES.find(&format!("##### {letter}. ")).unwrap();
    CAPTURES[start..].split("\n##### ").next().unwrap()
}

fn message(line: &str) -> Option<Message> {
    match line.split_once(' ')? {
        ("TEXT", text) => Some(Message::Text(text.to_owned())),
        ("BIN", bytes) => Some(Message::Binary(hex(bytes))),
        _ => None,
    }
}

fn step(line: &str) -> Vec<Step> {
    if line.starts_with("-- OPEN ") {
        return vec![Step::Open];
    }
    if let Some(code) = line.strip_prefix("-- CLOSE code=") {
        return vec![Step::Closed(code[..4].parse().unwrap())];
    }
    if let Some(body) = line.strip_prefix("   body: ") {
        return vec![Step::Post(serde_json::from_str(body).unwrap())];
    }
    if let Some(json) = line.strip_prefix("<= (GET) HTTP 200 ") {
        // One is cut off in the capture.
        let Ok(value) = serde_json::from_str::<serde_json::Value>(json) else { return Vec::new() };
        let messages: Vec<String> = serde_json::from_value(value["messages"].clone()).unwrap_or_default();
        return messages.into_iter().map(|text| Step::Server(Message::Text(text))).collect();
    }
    let client = line.strip_prefix("-> ").and_then(message).map(Step::Client);
    let server = line.strip_prefix("<- ").and_then(message).map(Step::Server);
    client.or(server).into_iter().collect()
}

/// The scenarios of section C, over `ws` or `lp`.
fn scenarios(transport: &str) -> Vec<Scenario> {
    let parts = section("C").split("\n## ").skip(1);
    let scenario = |part: &'static str| {
        let (name, lines) = part.split_once('\n').unwrap();
        let name = name.strip_prefix(transport)?.strip_prefix(": ")?;
        Some(Scenario { name, steps: lines.lines().flat_map(step).collect() })
    };
    let found: Vec<_> = parts.filter_map(scenario).collect();
    assert!(found.len() > 10);
    found
}

/// The frames of section A: what it is, who sends it, and the bytes on the connection.
fn wire() -> Vec<(&'static str, bool, Vec<u8>)> {
    let mut lines = section("A").lines();
    let mut found = Vec::new();
    let mut said = "";
    for line in lines.by_ref() {
        match line.strip_prefix("   raw: ") {
            Some(raw) => found.push((said, said.starts_with("C> "), hex(raw))),
            None => said = line,
        }
    }
    assert!(found.len() > 30);
    found
}

/// Takes the header and the mask from a frame of less than 126 bytes.
fn unmasked(frame: &[u8]) -> (u8, Vec<u8>) {
    let masked = frame[1] & 0x80 != 0;
    assert_eq!(usize::from(frame[1] & 0x7f), frame.len() - if masked { 6 } else { 2 });
    match masked {
        true => (frame[0], frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(a, b)| a ^ b).collect()),
        false => (frame[0], frame[2..].to_vec()),
    }
}

/// Every frame of protocol 2.0.0 in the captures, and whether the client sent it.
fn all_frames() -> Vec<(bool, Message)> {
    let mut frames: Vec<(bool, Message)> = Vec::new();
    for (said, client, raw) in wire() {
        let (first, payload) = unmasked(&raw);
        let text = || String::from_utf8(payload.clone()).unwrap();
        match first {
            0x81 => {
                assert!(said.ends_with(&format!(" {}", text())), "{said}");
                frames.push((client, Message::Text(text())));
            }
            0x82 => frames.push((client, Message::Binary(payload))),
            // Ping, pong, close.
            _ => assert!(first >= 0x88, "{said}"),
        }
    }
    for scenario in ["ws", "lp"].into_iter().flat_map(scenarios) {
        // Sent to see them refused, or in version 1.0.0.
        let foreign = |text: &str| text.starts_with('{') || text == r#"["1","1","phoenix","heartbeat"]"#;
        for step in scenario.steps {
            match step {
                Step::Client(message) => frames.push((true, message)),
                Step::Server(message) => frames.push((false, message)),
                Step::Post(body) => {
                    let texts = body.lines().filter(|line| line.starts_with('['));
                    frames.extend(texts.map(|line| (true, Message::Text(line.to_owned()))));
                }
                Step::Open | Step::Closed(_) => {}
            }
        }
        frames.retain(|(_, message)| match message {
            Message::Text(text) => !foreign(text) && !text.ends_with("..."),
            Message::Binary(bytes) => bytes != &[9, 9, 9],
        });
    }
    frames
}

fn raw(reference: &Option<Ref>) -> serde_json::Value {
    reference.as_ref().map_or(serde_json::Value::Null, |found| serde_json::from_str(found.raw()).unwrap())
}

#[test]
fn every_captured_text_frame_comes_out_as_it_went_in() {
    let mut count = 0;
    for (client, message) in all_frames() {
        let Message::Text(text) = message else { continue };
        let frame = Frame::decode_text(&text).unwrap_or_else(|_| panic!("{text}"));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(raw(&frame.join_ref), json[0], "{text}");
        assert_eq!(raw(&frame.reference), json[1], "{text}");
        assert_eq!(
            (frame.topic.as_ref(), frame.event.as_ref()),
            (json[2].as_str().unwrap(), json[3].as_str().unwrap())
        );
        let Payload::Json(payload) = frame.payload else { panic!("{text}") };
        assert_eq!(serde_json::from_str::<serde_json::Value>(payload).unwrap(), json[4]);
        let (join_ref, reference) = (frame.join_ref.as_ref(), frame.reference.as_ref());
        assert_eq!(encode_text(join_ref, reference, &frame.topic, &frame.event, payload), text);
        assert_eq!(frame.reply().is_some(), !client && frame.event == REPLY, "{text}");
        if let Some(reply) = frame.reply() {
            assert_eq!(reply.status, json[4]["status"].as_str().unwrap());
            let Payload::Json(response) = reply.response else { panic!("{text}") };
            assert_eq!(serde_json::from_str::<serde_json::Value>(response).unwrap(), json[4]["response"]);
            assert_eq!(encode_reply(join_ref, reference, &frame.topic, &reply.status, response), text);
        }
        count += 1;
    }
    assert!(count > 150, "{count}");
}

#[test]
fn every_captured_binary_frame_comes_out_as_it_went_in() {
    let mut kinds = [0; 4];
    for (client, message) in all_frames() {
        let Message::Binary(bytes) = message else { continue };
        let side = if client { Side::Server } else { Side::Client };
        let frame = Frame::decode_binary(&bytes, side).unwrap_or_else(|_| panic!("{bytes:?}"));
        let Payload::Binary(payload) = frame.payload else { panic!("{bytes:?}") };
        assert!(bytes.ends_with(payload) && frame.topic.starts_with("echo:"), "{bytes:?}");
        let empty = Ref::text("");
        let join_ref = frame.join_ref.as_ref().unwrap_or(&empty);
        let reference = frame.reference.as_ref().unwrap_or(&empty);
        let event = frame.event.as_ref();
        let (kind, binary) = match (bytes[0], client) {
            (0, true) => (0, Binary::ClientPush { join_ref, reference, event }),
            (0, false) => (1, Binary::ServerPush { join_ref, event }),
            (1, _) => (2, Binary::Reply { join_ref, reference, status: frame.status.as_ref().unwrap() }),
            _ => (3, Binary::Broadcast { event }),
        };
        assert_eq!(encode_binary(binary, &frame.topic, payload).unwrap(), bytes);
        kinds[kind] += 1;
    }
    assert!(kinds.iter().all(|count| *count >= 2), "{kinds:?}");
}

/// Section A: what maxd writes on the connection is what Phoenix wrote.
#[test]
fn maxd_answers_the_captured_bytes_with_the_captured_bytes() {
    let max = Max::trial("topics");
    let mut ws = Ws::open(&max, &access(&max, "ada"));
    for (said, client, bytes) in wire() {
        if client {
            ws.raw(&bytes);
        } else {
            assert_eq!(ws.read(bytes.len()), bytes, "{said}");
        }
    }
    assert_eq!(ws.receive(), Received::End);
}

/// Receives until there are so many.
fn answers(ws: &mut Ws, count: usize) -> Vec<Message> {
    let next = |_| match ws.receive() {
        Received::Text(text) => Message::Text(text),
        Received::Binary(bytes) => Message::Binary(bytes),
        other => panic!("{other:?}"),
    };
    (0..count).map(next).collect()
}

/// What is said in one scenario, in rounds: what the client sends in a row, then what the
/// server sends in a row.
fn rounds(steps: &[Step]) -> Vec<(Vec<Step>, Vec<Message>)> {
    let mut rounds: Vec<(Vec<Step>, Vec<Message>)> = Vec::new();
    for step in steps {
        match step {
            // Somebody else said it in the capture.
            Step::Server(Message::Text(text)) if text.contains("\"ext\"") => {}
            Step::Server(message) => rounds.last_mut().unwrap().1.push(message.clone()),
            Step::Open | Step::Closed(_) => {}
            step => match rounds.last_mut() {
                Some((sent, received)) if received.is_empty() => sent.push(step.clone()),
                _ => rounds.push((vec![step.clone()], Vec::new())),
            },
        }
    }
    rounds
}

/// Answers of several channels come in any order; those of one keep theirs.
fn by_topic(messages: &[Message]) -> Vec<(String, Message)> {
    let topic = |message: &Message| match message {
        Message::Text(text) => {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            json[2].as_str().unwrap().to_owned()
        }
        Message::Binary(_) => String::new(),
    };
    let mut sorted: Vec<_> = messages.iter().map(|message| (topic(message), message.clone())).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted
}

/// The scenarios both servers can play: maxd has no presence.
fn played(transport: &str) -> Vec<Scenario> {
    let all = scenarios(transport).into_iter();
    let played: Vec<_> = all.take_while(|scenario| scenario.name != "presence").collect();
    assert_eq!(played.last().unwrap().name.split(',').next(), Some("message with a stale join_ref"));
    played
}

/// Section C over a WebSocket.
#[test]
fn maxd_plays_the_captured_scenarios_over_a_websocket() {
    let max = Max::trial("topics");
    let mut ws = Ws::open(&max, &access(&max, "ada"));
    let mut count = 0;
    for scenario in played("ws") {
        for (sent, expected) in rounds(&scenario.steps) {
            for step in &sent {
                match step {
                    Step::Client(Message::Text(text)) => ws.text(text),
                    Step::Client(Message::Binary(bytes)) => ws.binary(bytes),
                    other => panic!("{other:?}"),
                }
            }
            let received = answers(&mut ws, expected.len());
            assert_eq!(by_topic(&received), by_topic(&expected), "{}: {sent:?}", scenario.name);
            count += expected.len();
        }
    }
    assert!(count > 35, "{count}");
}

/// Section C over long polling.
#[test]
fn maxd_plays_the_captured_scenarios_over_long_polling() {
    let max = Max::trial("topics,window=2000");
    let mut poll = Poll::open(&max, &access(&max, "ada"));
    let mut count = 0;
    for scenario in played("lp") {
        // Phoenix loses the session at this one.
        if scenario.name == "binary client -> server" {
            continue;
        }
        for (sent, expected) in rounds(&scenario.steps) {
            for step in &sent {
                let Step::Post(body) = step else { panic!("{step:?}") };
                poll.post(body);
                // The client of the capture lost its session and began another, in which
                // it joined anew.
                if scenario.name == "broadcast (text), HTTP-triggered broadcast" {
                    assert!(body.starts_with(r#"["4","5","#), "{body}");
                }
            }
            let received: Vec<_> = poll.messages(expected.len()).into_iter().map(Message::Text).collect();
            assert_eq!(by_topic(&received), by_topic(&expected), "{}: {sent:?}", scenario.name);
            count += expected.len();
        }
        if scenario.name == "push from server (tick x3)" {
            poll = Poll::open(&max, &access(&max, "ada"));
            poll.post(r#"["4","4","echo:a","phx_join",{}]"#);
            assert_eq!(poll.messages(1).len(), 1);
        }
    }
    assert!(count > 30, "{count}");
}

/// What can't be decoded closes the connection, as in Phoenix.
#[test]
fn maxd_closes_on_what_it_can_not_decode() {
    let max = Max::trial("topics");
    let access = access(&max, "ada");
    let all = scenarios("ws");
    let abuse = all.iter().find(|scenario| scenario.name.starts_with("protocol abuse")).unwrap();
    let mut ws = Ws::open(&max, &access);
    let mut closed = 0;
    for step in &abuse.steps {
        match step {
            Step::Open => ws = Ws::open(&max, &access),
            Step::Client(Message::Text(text)) => ws.text(text),
            Step::Client(Message::Binary(bytes)) => ws.binary(bytes),
            Step::Server(Message::Text(text)) => assert_eq!(ws.expect(), *text),
            Step::Closed(1000) => ws.close(1000),
            Step::Closed(code) => {
                assert_eq!(ws.receive(), Received::Close(*code, "malformed frame".to_owned()));
                ws.close(*code);
                wait_for("the end", || (ws.receive() == Received::End).then_some(()));
                closed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(closed, 4);
}
