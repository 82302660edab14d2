//! rig's state machine under whatever the program, the server and the clock do: what it
//! sends is well formed and only sent on a connection, every push ends once, and it never
//! asks to be woken at a time that is over.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use rig::phx::client::{Client, Event, PushId, Transmit};
use rig::phx::frame::{Frame, Side};
use std::time::{Duration, Instant};

const TOPICS: [&str; 3] = ["control", "logs:app:a:b", "deploy:1"];
const EVENTS: [&str; 6] = ["phx_reply", "phx_close", "phx_error", "lines", "phx_join", "heartbeat"];

fuzz_target!(|data: &[u8]| {
    let mut world = World {
        client: Client::new(Duration::from_secs(10)),
        now: Instant::now(),
        connected: false,
        open: Vec::new(),
        joins: 0,
    };
    // An end of the input is the end of the story.
    let _ = world.play(&mut Unstructured::new(data));
});

struct World {
    client: Client,
    now: Instant,
    connected: bool,
    /// Pushes without an end.
    open: Vec<(PushId, bool)>,
    joins: usize,
}

impl World {
    fn play(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let mut channels = Vec::new();
        while !input.is_empty() {
            match input.int_in_range(0..=9)? {
                0 if channels.len() < 8 => {
                    let topic = *input.choose(&TOPICS)?;
                    channels.push(self.client.join(self.now, topic, Box::new(|| "{}".to_owned())));
                    self.joins += 1;
                }
                1 if !channels.is_empty() => {
                    let channel = *input.choose(&channels)?;
                    let timeout = input.arbitrary::<bool>()?.then_some(Duration::from_secs(5));
                    let id = self.client.push(self.now, channel, "lines", "{}".to_owned(), timeout);
                    self.open.push((id, timeout.is_some()));
                }
                2 if !channels.is_empty() => {
                    let at = input.choose_index(channels.len())?;
                    self.client.leave(channels.swap_remove(at));
                }
                3 if !channels.is_empty() => {
                    let channel = *input.choose(&channels)?;
                    let _ = self.client.push_binary(channel, "input", input.bytes(2)?);
                }
                4 => {
                    self.connected = true;
                    self.client.handle_connected(self.now);
                }
                5 => {
                    self.connected = false;
                    self.client.handle_disconnected(self.now);
                }
                6 => {
                    let mut text = frame(input)?;
                    if input.ratio(1, 8)? {
                        // Broken somewhere.
                        let at = input.int_in_range(0..=text.len() - 1)?;
                        text.replace_range(at..=at, input.choose(&["", "\"", "]", "{", "x", "\\"])?);
                        let _ = self.client.handle_text(self.now, &text);
                    } else {
                        self.client.handle_text(self.now, &text).expect("a frame");
                    }
                }
                7 => {
                    let length = input.int_in_range(0..=24)?;
                    let _ = self.client.handle_binary(self.now, input.bytes(length)?);
                }
                8 => self.now += Duration::from_millis(input.int_in_range(0..=40_000)?),
                _ => {
                    // As the driver does: to the deadline, if there is one.
                    if let Some(at) = self.client.poll_timeout() {
                        self.now = self.now.max(at);
                    }
                    self.client.handle_timeout(self.now);
                    self.drain();
                    let next = self.client.poll_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "it would spin");
                }
            }
            self.drain();
        }
        self.finish();
        Ok(())
    }

    /// A push that wants an answer ends, whatever happens: at the latest with its time.
    fn finish(&mut self) {
        self.now += Duration::from_secs(3600);
        self.client.handle_timeout(self.now);
        self.drain();
        assert!(self.open.iter().all(|(_, answered)| !answered), "a push without an end");
    }

    fn drain(&mut self) {
        let mut sent = 0;
        while let Some(transmit) = self.client.poll_transmit() {
            sent += 1;
            assert!(self.connected, "sent without a connection");
            match transmit {
                Transmit::Text(text) => drop(Frame::decode_text(&text).expect("a frame")),
                Transmit::Binary(bytes) => {
                    drop(Frame::decode_binary(&bytes, Side::Server).expect("a frame"));
                }
            }
        }
        // A join or a leave for each channel, a heartbeat, and what waited for a join.
        assert!(sent <= 2 * self.joins + 1 + 64 * 8, "{sent} frames at once");
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Replied(id, ..) | Event::TimedOut(id) | Event::Lost(id) => {
                    let at = self.open.iter().position(|(open, _)| *open == id);
                    self.open.swap_remove(at.expect("a push ended twice"));
                }
                _ => {}
            }
        }
    }
}

/// A frame such as a server might send, about the references that are in use.
fn frame(input: &mut Unstructured<'_>) -> Result<String> {
    let mut reference = || {
        Ok(match input.int_in_range(0..=24)? {
            0 => "null".to_owned(),
            n => format!("\"{n}\""),
        })
    };
    let (join_ref, this) = (reference()?, reference()?);
    let topic = match input.int_in_range(0..=3)? {
        0 => "phoenix",
        n => TOPICS[n - 1],
    };
    let event = *input.choose(&EVENTS)?;
    let status = if input.arbitrary()? { "ok" } else { "error" };
    Ok(format!(r#"[{join_ref},{this},"{topic}","{event}",{{"response":{{}},"status":"{status}"}}]"#))
}
