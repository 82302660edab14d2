//! rig against a server that follows a script of faults: it never hangs, never spins, and
//! says what happened.

use crate::harness::{PATIENCE, Ran, Rig, text};
use crate::terminal::Terminal;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Message, WebSocket};

/// What the server does with the next request for a WebSocket.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Serves as Max does, to the end.
    Serve,
    /// Ends the connection without a word.
    Drop,
    /// Keeps it, silently.
    Stall,
    /// Answers so, one byte after another with a pause before each, for ever.
    Trickle(&'static str),
    /// Answers so, and ends the connection.
    Say(&'static str),
    /// Upgrades, then sends these bytes.
    Bytes(&'static [u8]),
    /// Upgrades, then sends this text frame.
    Text(&'static str),
    /// Upgrades, and refuses the join.
    RefuseJoin,
    /// Upgrades, answers the join, and closes the channel.
    CloseChannel,
    /// Upgrades, answers the join, and says that the channel crashed instead of the first answer.
    Crash,
    /// Upgrades, answers the join, and stalls.
    JoinOnly,
    /// Upgrades, answers the join, and closes with this code.
    Close(u16),
    /// Upgrades, answers the join, and ends its half of the connection.
    HalfClose,
    /// Upgrades, answers the join, and resets the connection.
    Reset,
    /// Upgrades, answers the join, and sends half of the next answer.
    Truncate,
    /// Upgrades, and answers with what drives a terminal.
    Hostile,
}

/// Clears the screen, sets the window's title, goes back to the line's beginning, and turns
/// the direction of the text around.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;gotcha\u{7}\r\u{9b}31m\u{202e}y";

/// An answer with it in every text, or an error of nothing else.
fn hostile(event: &str) -> serde_json::Value {
    let session = serde_json::json!({
        "id": 1, "network": HOSTILE, "app": HOSTILE, "user": HOSTILE, "release": 1, "tty": false,
        "attached": false, "detached": false, "started_at": HOSTILE, "ended_at": HOSTILE, "code": 0,
        "reason": HOSTILE, "name": HOSTILE, "state": HOSTILE, "url": HOSTILE, "deployed_at": HOSTILE,
    });
    let response = match event {
        "app:list" => serde_json::json!({"apps": [session]}),
        "exec:list" => serde_json::json!({"sessions": [session]}),
        "audit:list" => serde_json::json!({"entries": [session], "before": 1}),
        "exec:delete" => session,
        _ => {
            let error =
                serde_json::json!({"code": "failed", "message": HOSTILE, "hint": HOSTILE, "field": null});
            return serde_json::json!({"response": error, "status": "error"});
        }
    };
    serde_json::json!({"response": response, "status": "ok"})
}

/// A scripted server.
struct Server {
    url: String,
    /// Requests for a WebSocket so far.
    upgrades: Arc<Mutex<usize>>,
}

impl Server {
    /// Takes a step with each WebSocket; the last again and again.
    fn start(steps: &[Step]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upgrades = Arc::new(Mutex::new(0));
        let (count, steps) = (Arc::clone(&upgrades), steps.to_vec());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (count, steps) = (Arc::clone(&count), steps.clone());
                std::thread::spawn(move || connection(stream, &count, &steps));
            }
        });
        Server { url, upgrades }
    }

    fn upgrades(&self) -> usize {
        *self.upgrades.lock().unwrap()
    }
}

fn connection(mut stream: TcpStream, count: &Mutex<usize>, steps: &[Step]) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let head = read_head(&mut stream)?;
    if head.starts_with("POST /api/v1/auth/exchange ") {
        let tokens = r#"{"user":"ada","access_token":"a","access_expires_at":"2099-01-01T00:00:00.000Z","access_expires_in":900,"refresh_token":"r","expires_at":"2099-01-01T00:00:00.000Z"}"#;
        return say(&mut stream, &answer("200 OK", tokens));
    }
    if !head.starts_with("GET /socket/websocket") {
        return say(&mut stream, &answer("404 Not Found", "no long polling here"));
    }
    let step = {
        let mut count = count.lock().unwrap();
        *count += 1;
        *steps.get(*count - 1).or(steps.last())?
    };
    match step {
        Step::Drop => None,
        Step::Stall => wait_for_end(&mut stream),
        Step::Say(text) => say(&mut stream, text),
        Step::Trickle(text) => loop {
            for byte in text.bytes() {
                std::thread::park_timeout(Duration::from_millis(20));
                stream.write_all(&[byte]).ok()?;
            }
        },
        step => upgraded(stream, &head, step),
    }
}

fn upgraded(mut stream: TcpStream, head: &str, step: Step) -> Option<()> {
    let key = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("sec-websocket-key: ").map(|_| &line[19..])
    })?;
    let accept = tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
    say(
        &mut stream,
        &format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {accept}\r\nsec-websocket-protocol: phoenix\r\n\r\n"
        ),
    )?;
    match step {
        Step::Bytes(bytes) => {
            stream.write_all(bytes).ok()?;
            return wait_for_end(&mut stream);
        }
        Step::Text(text) => {
            let mut ws = WebSocket::from_raw_socket(stream, Role::Server, None);
            ws.send(Message::text(text)).ok()?;
            return wait_for_end(ws.get_mut());
        }
        _ => {}
    }
    follow(WebSocket::from_raw_socket(stream, Role::Server, None), step)
}

/// Goes on as Max does.
fn serve(ws: WebSocket<TcpStream>) -> Option<()> {
    follow(ws, Step::Serve)
}

fn follow(mut ws: WebSocket<TcpStream>, step: Step) -> Option<()> {
    loop {
        let Message::Text(frame) = ws.read().ok()? else { continue };
        let frame: Vec<serde_json::Value> = serde_json::from_str(frame.as_str()).unwrap();
        let joins = frame[3] == "phx_join";
        let response = match frame[3].as_str().unwrap() {
            "app:list" => serde_json::json!({"apps": []}),
            _ => serde_json::json!({}),
        };
        let payload = match (step, frame[2].as_str(), frame[3].as_str()) {
            (Step::Hostile, topic, Some(event)) if topic != Some("control") || !joins => hostile(event),
            _ => serde_json::json!({"response": response, "status": "ok"}),
        };
        let reply = serde_json::json!([frame[0], frame[1], frame[2], "phx_reply", payload]);
        let reply = reply.to_string();
        match step {
            Step::JoinOnly if !joins => {}
            Step::RefuseJoin => {
                let reason = serde_json::json!({"code": "forbidden", "message": "not today", "hint": null, "field": null});
                let payload = serde_json::json!({"response": reason, "status": "error"});
                let refusal = serde_json::json!([frame[0], frame[1], frame[2], "phx_reply", payload]);
                ws.send(Message::text(refusal.to_string())).ok()?;
            }
            Step::Crash if !joins => {
                let crash = serde_json::json!([frame[0], frame[0], frame[2], "phx_error", {}]);
                ws.send(Message::text(crash.to_string())).ok()?;
                return serve(ws);
            }
            Step::Truncate if !joins => {
                let mut bytes = vec![0x81, reply.len() as u8];
                bytes.extend_from_slice(&reply.as_bytes()[..reply.len() / 2]);
                ws.get_mut().write_all(&bytes).ok()?;
                return None;
            }
            _ => ws.send(Message::text(reply)).ok()?,
        }
        match step {
            Step::CloseChannel if joins => {
                let close = serde_json::json!([frame[0], frame[0], frame[2], "phx_close", {}]);
                ws.send(Message::text(close.to_string())).ok()?;
            }
            Step::Close(code) if joins => {
                ws.close(Some(CloseFrame { code: CloseCode::from(code), reason: "".into() })).ok()?;
                ws.flush().ok()?;
                return wait_for_end(ws.get_mut());
            }
            Step::HalfClose if joins => {
                ws.get_mut().shutdown(Shutdown::Write).ok()?;
                return wait_for_end(ws.get_mut());
            }
            // With the request unread in its socket the kernel says RST.
            Step::Reset if joins => {
                ws.get_mut().peek(&mut [0]).ok()?;
                return None;
            }
            _ => {}
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = text(&head);
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
    if let Some(length) = length {
        stream.read_exact(&mut vec![0; length]).ok()?;
    }
    Some(head)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn say(stream: &mut TcpStream, text: &str) -> Option<()> {
    stream.write_all(text.as_bytes()).ok()
}

fn wait_for_end(stream: &mut TcpStream) -> Option<()> {
    while stream.read(&mut [0; 4096]).ok()? > 0 {}
    None
}

/// Runs `rig list apps` against the server; how it ended, and its CPU time.
fn list(server: &Server, more: &[&str]) -> (Ran, Duration) {
    let mut rig = Rig::new();
    rig.set("RIG_URL", &server.url);
    rig.set("RIG_TOKEN", "max_x");
    let mut args = vec!["list", "apps"];
    args.extend(more);
    let mut command = rig.command(&args);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A zombie still tells its times.
    let stat = format!("/proc/{}/stat", child.id());
    let deadline = Instant::now() + PATIENCE;
    let ticks = loop {
        let stat = std::fs::read_to_string(&stat).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        if fields[0] == "Z" {
            break fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("rig hangs");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    (Ran::new(child.wait_with_output().unwrap()), Duration::from_millis(ticks * 10))
}

#[test]
fn whatever_the_server_does_a_request_ends_in_time_with_a_reason() {
    let endless = "HTTP/1.1 101 Switching Protocols\r\nx: ";
    let table: &[(&[Step], i32, &str)] = &[
        (&[Step::Drop], 5, "rig: cannot reach Max at 'URL': "),
        (&[Step::Stall], 8, "rig: Max at 'URL' did not answer within 1.0s\n"),
        (&[Step::Trickle(endless)], 8, "rig: Max at 'URL' did not answer within 1.0s\n"),
        (&[Step::Say("SSH-2.0-OpenSSH_9.2\r\n")], 5, "rig: "),
        (
            &[Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")],
            5,
            "rig: 'URL' answered with HTTP status 200",
        ),
        (
            &[Step::Say("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno")],
            5,
            "rig: 'URL' answered with HTTP status 502",
        ),
        (
            &[Step::Say(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: d3Jvbmc=\r\n\r\n",
            )],
            5,
            "rig: 'URL' does not open a WebSocket: ",
        ),
        (
            &[Step::Bytes(&[0xff; 64])],
            5,
            "rig: the connection to Max was lost before 'app:list' was answered",
        ),
        (
            &[Step::Bytes(&[0x81, 127, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])],
            5,
            "rig: the connection to Max was lost before 'app:list' was answered",
        ),
        (&[Step::Text("[nonsense")], 5, "rig: the connection to Max was lost before 'app:list' was answered"),
        (&[Step::Text("\u{0}")], 5, "rig: the connection to Max was lost before 'app:list' was answered"),
        (&[Step::RefuseJoin], 4, "rig: not today\n"),
        (&[Step::CloseChannel], 5, "rig: Max takes no more requests on this connection\n"),
        (&[Step::JoinOnly], 8, "rig: Max at 'URL' did not answer within 1.0s\n"),
        (&[Step::Close(1011)], 5, "rig: the connection to Max was lost before 'app:list' was answered"),
        (&[Step::HalfClose], 5, "rig: the connection to Max was lost before 'app:list' was answered"),
        (&[Step::Reset], 5, "rig: the connection to Max was lost before 'app:list' was answered"),
        (&[Step::Truncate], 5, "rig: the connection to Max was lost before 'app:list' was answered"),
    ];
    for (steps, code, said) in table {
        let server = Server::start(steps);
        let started = Instant::now();
        let (ran, cpu) = list(&server, &["--timeout", "1s", "--transport", "websocket"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (*code, ""), "{steps:?}: {ran:?}");
        assert!(ran.stderr.starts_with(&said.replace("URL", &server.url)), "{steps:?}: {}", ran.stderr);
        assert!(started.elapsed() < Duration::from_secs(20), "{steps:?} took {:?}", started.elapsed());
        assert!(cpu < Duration::from_millis(500), "{steps:?} took {cpu:?} of CPU time");
    }
}

#[test]
fn what_breaks_once_is_done_again_without_a_word() {
    let faults = [
        Step::Bytes(&[0xff; 64]),
        Step::Text("[nonsense"),
        Step::Close(1001),
        Step::Close(1011),
        Step::Close(1012),
        Step::HalfClose,
        Step::Reset,
        Step::Truncate,
        Step::Crash,
    ];
    for fault in faults {
        let server = Server::start(&[fault, Step::Serve]);
        let (ran, _) = list(&server, &["-o", "json"]);
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (0, "{\"apps\":[]}\n", ""),
            "{fault:?}"
        );
        // A channel that crashed is joined again on the same connection.
        let upgrades = if matches!(fault, Step::Crash) { 1 } else { 2 };
        assert_eq!(server.upgrades(), upgrades, "{fault:?}");
    }
}

#[test]
fn a_server_that_never_lets_a_websocket_through_is_asked_by_long_polling() {
    // It offers none either, so that the WebSocket's failure is what is said.
    for step in [Step::Say("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"), Step::Stall] {
        let server = Server::start(&[step]);
        let (ran, _) = list(&server, &["--timeout", "1s"]);
        assert!(matches!(ran.code, 5 | 8), "{ran:?}");
        let said = match step {
            Step::Stall => format!("rig: Max at '{}' did not answer within 1.0s\n", server.url),
            _ => format!("rig: '{}' answered with HTTP status 403, and not as Max does\n", server.url),
        };
        assert!(ran.stderr.starts_with(&said), "{}", ran.stderr);
    }
}

#[test]
fn what_drives_a_terminal_does_not_reach_it() {
    let server = Server::start(&[Step::Hostile]);
    let mut rig = Rig::new();
    rig.set("RIG_URL", &server.url);
    rig.set("RIG_TOKEN", "max_x");
    rig.set("NO_COLOR", "1");
    rig.set("LANG", "C.UTF-8");
    let named = format!("{HOSTILE}.blue");
    let table: &[&[&str]] = &[
        &["list", "apps"],
        &["list", "sessions"],
        &["list", "audit"],
        &["delete", "session", "1"],
        &["logs", "command", "1"],
        &["command", "web.blue", "--", "ls"],
        &["command", "web.blue", "--detach", "--", "ls"],
        &["command", &named, "--", "ls"],
        &["list", "audit", "--app", &named],
    ];
    let harmless =
        |text: &str| text.chars().all(|c| "\r\n\t".contains(c) || !c.is_control() && c != '\u{202e}');
    for args in table {
        let ran = rig.run(args);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(harmless(&all) && !all.contains('\r') && all.contains("x\\u{1b}[2J"), "{args:?}: {all:?}");
        let mut terminal = Terminal::spawn(&rig, args);
        terminal.end();
        terminal.wait("x\\u{1b}[2J");
        assert!(harmless(&terminal.written()), "{args:?}: {:?}", terminal.written());
    }
}
