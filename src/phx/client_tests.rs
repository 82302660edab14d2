//! Scenarios of [`super::Client`] on a virtual clock.
#![allow(clippy::unwrap_used)]

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A client with a clock that only the test moves.
struct World {
    client: Client,
    start: Instant,
    now: Instant,
}

impl World {
    fn connected() -> World {
        let now = Instant::now();
        let mut world = World { client: Client::new(TIMEOUT), start: now, now };
        world.client.handle_connected(now);
        world
    }

    fn join(&mut self, topic: &str) -> ChannelId {
        self.client.join(self.now, topic, Box::new(|| "{}".to_owned()))
    }

    /// A joined channel; its join had the reference `"2"`.
    fn joined(topic: &str) -> (World, ChannelId) {
        let mut world = World::connected();
        let channel = world.join(topic);
        assert_eq!(world.sent(), [format!(r#"["2","2","{topic}","phx_join",{{}}]"#)]);
        world.hear(&format!(r#"["2","2","{topic}","phx_reply",{{"status":"ok","response":{{"n":1}}}}]"#));
        assert_eq!(world.events(), [Event::Joined(channel, Body::Json("{\"n\":1}".to_owned()))]);
        (world, channel)
    }

    fn push(&mut self, channel: ChannelId, event: &str) -> PushId {
        self.client.push(self.now, channel, event, "{}".to_owned(), Some(TIMEOUT))
    }

    fn hear(&mut self, text: &str) {
        self.client.handle_text(self.now, text).unwrap();
    }

    fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.client.poll_transmit())
            .map(|transmit| match transmit {
                Transmit::Text(text) => text,
                Transmit::Binary(bytes) => format!("{bytes:?}"),
            })
            .collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    /// Moves the clock to the next deadline, which must be `seconds` after the start.
    #[track_caller]
    fn wait_until(&mut self, seconds: u64) {
        let at = self.client.poll_timeout().unwrap();
        assert_eq!((at - self.start).as_secs(), seconds);
        self.now = at;
        self.client.handle_timeout(at);
    }
}

#[test]
fn a_push_before_the_join_waits_for_it_and_is_answered() {
    let mut world = World::connected();
    let channel = world.join("control");
    let push = world.push(channel, "app:list");
    assert_eq!(world.sent(), [r#"["2","2","control","phx_join",{}]"#]);
    world.hear(r#"["2","2","control","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.sent(), [r#"["2","4","control","app:list",{}]"#]);
    world.hear(r#"["2","4","control","phx_reply",{"status":"error","response":{"code":"x"}}]"#);
    let events = world.events();
    assert_eq!(events.get(1), Some(&Event::Replied(push, false, Body::Json(r#"{"code":"x"}"#.to_owned()))));
    assert_eq!(events.len(), 2);
}

#[test]
fn an_unanswered_push_times_out_once() {
    let (mut world, channel) = World::joined("t");
    let push = world.push(channel, "e");
    world.sent();
    world.wait_until(10);
    assert_eq!(world.events(), [Event::TimedOut(push)]);
    world.hear(r#"["2","4","t","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.events(), []);
}

#[test]
fn a_heartbeat_is_sent_every_30_s_and_a_missing_answer_is_death() {
    let mut world = World::connected();
    world.wait_until(30);
    assert_eq!(world.sent(), [r#"[null,"1","phoenix","heartbeat",{}]"#]);
    world.hear(r#"[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]"#);
    world.wait_until(60);
    assert_eq!(world.sent().len(), 1);
    world.wait_until(90);
    assert_eq!(world.sent(), [""; 0]);
    assert_eq!(world.events(), [Event::Dead]);
}

#[test]
fn a_refused_join_is_an_answer_and_is_not_retried() {
    let mut world = World::connected();
    let channel = world.join("t");
    let push = world.push(channel, "e");
    world.sent();
    world.hear(r#"["2","2","t","phx_reply",{"status":"error","response":{"code":"not_found"}}]"#);
    let refused = Event::Refused(channel, Body::Json(r#"{"code":"not_found"}"#.to_owned()));
    assert_eq!(world.events(), [Event::Lost(push), refused]);
    world.wait_until(30);
    assert_eq!(world.sent(), [r#"[null,"4","phoenix","heartbeat",{}]"#]);
}

#[test]
fn join_timeout_sends_leave_and_rejoins_after_a_growing_pause() {
    let mut world = World::connected();
    world.join("t");
    world.sent();
    world.wait_until(10);
    assert_eq!(world.sent(), [r#"["2","3","t","phx_leave",{}]"#]);
    world.wait_until(11);
    assert_eq!(world.sent(), [r#"["4","4","t","phx_join",{}]"#]);
    world.wait_until(21);
    assert_eq!(world.sent(), [r#"["4","5","t","phx_leave",{}]"#]);
    world.wait_until(23);
    assert_eq!(world.sent(), [r#"["6","6","t","phx_join",{}]"#]);
}

#[test]
fn a_crashed_channel_is_joined_again_and_its_old_messages_are_dropped() {
    let (mut world, channel) = World::joined("t");
    let push = world.push(channel, "e");
    world.sent();
    world.hear(r#"["2","2","t","phx_error",{}]"#);
    assert_eq!(world.events(), [Event::Crashed(channel), Event::Lost(push)]);
    world.wait_until(1);
    assert_eq!(world.sent(), [r#"["5","5","t","phx_join",{}]"#]);
    world.hear(r#"["2",null,"t","lines",{"stale":true}]"#);
    assert_eq!(world.events(), []);
    world.hear(r#"["5","5","t","phx_reply",{"status":"ok","response":{}}]"#);
    world.hear(r#"["5",null,"t","lines",{}]"#);
    world.hear(r#"[null,null,"t","shout",{}]"#);
    let json = || Body::Json("{}".to_owned());
    let message = |event: &str| Event::Message(channel, event.to_owned(), json());
    assert_eq!(world.events(), [Event::Joined(channel, json()), message("lines"), message("shout")]);
}

#[test]
fn phx_close_is_the_end() {
    let (mut world, channel) = World::joined("t");
    world.hear(r#"["2","2","t","phx_close",{}]"#);
    assert_eq!(world.events(), [Event::Closed(channel)]);
    let push = world.push(channel, "e");
    assert_eq!(world.events(), [Event::Lost(push)]);
    assert_eq!(world.sent(), [""; 0]);
}

#[test]
fn a_lost_connection_loses_what_was_sent_and_keeps_what_waits() {
    let (mut world, channel) = World::joined("t");
    let sent = world.push(channel, "sent");
    world.sent();
    world.client.handle_disconnected(world.now);
    assert_eq!(world.events(), [Event::Lost(sent)]);
    let waits = world.push(channel, "waits");
    assert_eq!(world.sent(), [""; 0]);
    world.client.handle_connected(world.now);
    assert_eq!(world.sent(), [r#"["6","6","t","phx_join",{}]"#]);
    world.hear(r#"["6","6","t","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.sent(), [r#"["6","7","t","waits",{}]"#]);
    world.hear(r#"["6","7","t","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.events().last(), Some(&Event::Replied(waits, true, Body::Json("{}".to_owned()))));
}

#[test]
fn a_rejoin_asks_for_its_parameters_again() {
    let mut world = World::connected();
    let mut cursor = 0;
    let params = move || {
        cursor += 7;
        format!("{{\"after\":{cursor}}}")
    };
    world.client.join(world.now, "t", Box::new(params));
    assert_eq!(world.sent(), [r#"["2","2","t","phx_join",{"after":7}]"#]);
    world.client.handle_disconnected(world.now);
    world.client.handle_connected(world.now);
    assert_eq!(world.sent(), [r#"["3","3","t","phx_join",{"after":14}]"#]);
}

#[test]
fn leaving_says_so_and_silences_the_channel() {
    let (mut world, channel) = World::joined("t");
    world.client.leave(channel);
    assert_eq!(world.sent(), [r#"["2","3","t","phx_leave",{}]"#]);
    world.hear(r#"["2",null,"t","lines",{}]"#);
    world.hear(r#"["2","3","t","phx_reply",{"status":"ok","response":{}}]"#);
    world.hear(r#"["2","2","t","phx_close",{}]"#);
    assert_eq!(world.events(), []);
}

#[test]
fn an_unmatched_topic_means_join_again() {
    let (mut world, channel) = World::joined("t");
    let push = world.push(channel, "e");
    world.sent();
    world.hear(r#"[null,"4","t","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#);
    assert_eq!(world.events(), [Event::Crashed(channel), Event::Lost(push)]);
    world.wait_until(1);
    assert_eq!(world.sent(), [r#"["5","5","t","phx_join",{}]"#]);
}

#[test]
fn unanswered_pushes_and_bytes_are_sent_and_forgotten() {
    let (mut world, channel) = World::joined("t");
    world.client.push(world.now, channel, "credit", "{\"lines\":5}".to_owned(), None);
    assert_eq!(world.sent(), [r#"["2","4","t","credit",{"lines":5}]"#]);
    assert_eq!(world.client.push_binary(channel, "in", b"\x01"), Some(()));
    assert_eq!(world.sent(), [format!("{:?}", b"\x00\x01\x01\x01\x0225tin\x01")]);
    world.wait_until(30);
    assert_eq!(world.events(), []);
}

#[test]
fn waiting_pushes_are_bounded() {
    let mut world = World::connected();
    let channel = world.join("t");
    for _ in 0..MAX_WAITING {
        world.push(channel, "e");
    }
    assert_eq!(world.events(), []);
    let extra = world.push(channel, "e");
    assert_eq!(world.events(), [Event::Lost(extra)]);
}

#[test]
fn a_join_that_is_answered_late_is_left_and_its_answer_dropped() {
    let mut world = World::connected();
    let channel = world.join("t");
    world.sent();
    world.wait_until(10);
    world.sent();
    // The answer to the join that was given up comes now; the next join counts.
    world.hear(r#"["2","2","t","phx_reply",{"status":"ok","response":{}}]"#);
    world.hear(r#"["2",null,"t","lines",{}]"#);
    world.hear(r#"["2","2","t","phx_close",{}]"#);
    assert_eq!(world.events(), []);
    world.wait_until(11);
    assert_eq!(world.sent(), [r#"["4","4","t","phx_join",{}]"#]);
    world.hear(r#"["4","4","t","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.events(), [Event::Joined(channel, Body::Json("{}".to_owned()))]);
}

#[test]
fn a_connection_that_breaks_during_a_join_joins_at_once_on_the_next() {
    let mut world = World::connected();
    let channel = world.join("t");
    let push = world.push(channel, "e");
    world.sent();
    world.client.handle_disconnected(world.now);
    // Nothing is due without a connection but the push's own time.
    world.wait_until(10);
    assert_eq!(world.events(), [Event::TimedOut(push)]);
    assert_eq!(world.sent(), [""; 0]);
    assert_eq!(world.client.poll_timeout(), None);
    world.client.handle_connected(world.now);
    assert_eq!(world.sent(), [r#"["4","4","t","phx_join",{}]"#]);
    // What the former connection had still to say does not concern this one.
    world.hear(r#"["2","2","t","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.events(), []);
}

#[test]
fn a_push_on_a_crashed_channel_waits_for_the_rejoin() {
    let (mut world, channel) = World::joined("t");
    world.hear(r#"["2","2","t","phx_error",{"reason":"channel_crash"}]"#);
    let push = world.push(channel, "e");
    assert_eq!(world.sent(), [""; 0]);
    world.wait_until(1);
    assert_eq!(world.sent(), [r#"["4","4","t","phx_join",{}]"#]);
    world.hear(r#"["4","4","t","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.sent(), [r#"["4","5","t","e",{}]"#]);
    world.hear(r#"["4","5","t","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.events().last(), Some(&Event::Replied(push, true, Body::Json("{}".to_owned()))));
}

#[test]
fn a_channel_that_crashes_again_and_again_is_joined_ever_more_slowly() {
    let (mut world, _) = World::joined("t");
    let (mut at, mut joined) = (0, 2);
    for (join, pause) in [(3, 1), (4, 2), (5, 5), (6, 10), (7, 10)] {
        world.hear(&format!(r#"["{joined}","{joined}","t","phx_error",{{}}]"#));
        (at, joined) = (at + pause, join);
        world.wait_until(at);
        assert_eq!(world.sent(), [format!(r#"["{join}","{join}","t","phx_join",{{}}]"#)]);
    }
    assert_eq!(at, 28);
}

#[test]
fn a_channel_is_left_while_its_join_is_on_the_way() {
    let mut world = World::connected();
    let channel = world.join("t");
    world.sent();
    world.client.leave(channel);
    assert_eq!(world.sent(), [r#"["2","3","t","phx_leave",{}]"#]);
    world.hear(r#"["2","2","t","phx_reply",{"status":"ok","response":{}}]"#);
    world.hear(r#"["2","3","t","phx_reply",{"status":"ok","response":{}}]"#);
    world.hear(r#"["2","2","t","phx_close",{}]"#);
    assert_eq!(world.events(), []);
    // The same topic again is another channel.
    let again = world.join("t");
    assert_eq!(world.sent(), [r#"["5","5","t","phx_join",{}]"#]);
    world.hear(r#"["5","5","t","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.events(), [Event::Joined(again, Body::Json("{}".to_owned()))]);
}

#[test]
fn two_channels_of_one_topic_are_told_apart_by_their_joins() {
    let (mut world, first) = World::joined("t");
    let second = world.join("t");
    assert_eq!(world.sent(), [r#"["4","4","t","phx_join",{}]"#]);
    // The server closes the first behind its answer to the second (Phoenix).
    world.hear(r#"["4","4","t","phx_reply",{"status":"ok","response":{}}]"#);
    world.hear(r#"["2","2","t","phx_close",{}]"#);
    let joined = Event::Joined(second, Body::Json("{}".to_owned()));
    assert_eq!(world.events(), [joined, Event::Closed(first)]);
    world.hear(r#"["4",null,"t","lines",{}]"#);
    let message = Event::Message(second, "lines".to_owned(), Body::Json("{}".to_owned()));
    assert_eq!(world.events(), [message]);
}

#[test]
fn a_heartbeat_answered_late_counts_for_nothing() {
    let mut world = World::connected();
    world.wait_until(30);
    world.sent();
    world.hear(r#"[null,"999","phoenix","phx_reply",{"status":"ok","response":{}}]"#);
    world.wait_until(60);
    assert_eq!(world.events(), [Event::Dead]);
    world.hear(r#"[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(world.events(), []);
    // The next connection has a heartbeat of its own.
    world.client.handle_disconnected(world.now);
    world.client.handle_connected(world.now);
    world.wait_until(90);
    assert_eq!(world.sent().len(), 1);
}

#[test]
fn a_reply_without_its_members_is_malformed() {
    let (mut world, channel) = World::joined("t");
    world.push(channel, "e");
    world.sent();
    for text in [r#"["2","4","t","phx_reply",{"response":{}}]"#, r#"["2","4","t","phx_reply",{"status":]"#] {
        assert!(world.client.handle_text(world.now, text).is_err(), "{text}");
    }
    // What concerns no channel is nobody's matter, whatever is in it.
    world.hear(r#"[null,null,"other","event",nonsense]"#);
    assert_eq!(world.events(), []);
}
