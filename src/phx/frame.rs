//! The frames of Phoenix channels 2.0.0 (phoenix.js `serializer.js`, Phoenix
//! `Phoenix.Socket.V2.JSONSerializer`).
//!
//! ```text
//! text    [join_ref, ref, topic, event, payload]
//! binary  00 sizes(join_ref ref topic event) fields payload    push to the server
//!         00 sizes(join_ref topic event)     fields payload    push to the client
//!         01 sizes(join_ref ref topic status) fields payload   reply
//!         02 sizes(topic event)              fields payload    broadcast
//! ```
//!
//! Decoding borrows: a payload stays a slice of the frame until somebody needs it.

use crate::json;
use std::borrow::Cow;

/// The event that joins a topic.
pub const JOIN: &str = "phx_join";
/// The event that leaves a topic.
pub const LEAVE: &str = "phx_leave";
/// The event of every answer.
pub const REPLY: &str = "phx_reply";
/// The server says that the channel ended in order.
pub const CLOSE: &str = "phx_close";
/// The server says that the channel crashed.
pub const ERROR: &str = "phx_error";
/// The event of a heartbeat on [`HEARTBEAT_TOPIC`].
pub const HEARTBEAT: &str = "heartbeat";
/// The topic of heartbeats.
pub const HEARTBEAT_TOPIC: &str = "phoenix";

/// A reference as it stands in the frame: a JSON string with its quotes, or a
/// number, which a server must echo as a number.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub struct Ref(Box<str>);

impl Ref {
    /// The reference `"n"`.
    pub fn number(n: u64) -> Ref {
        Ref(format!("\"{n}\"").into())
    }

    /// A reference whose text is `text`.
    pub fn text(text: &str) -> Ref {
        let mut raw = String::with_capacity(text.len() + 2);
        json::push_string(&mut raw, text);
        Ref(raw.into())
    }

    /// The text between the quotes, or the number's digits.
    pub fn as_text(&self) -> Cow<'_, str> {
        json::string(&self.0).unwrap_or(Cow::Borrowed(&self.0))
    }

    /// The reference as JSON.
    pub fn raw(&self) -> &str {
        &self.0
    }
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub enum Payload<'a> {
    /// One JSON value.
    Json(&'a str),
    /// Bytes, in a binary frame.
    Binary(&'a [u8]),
}

/// A decoded frame.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub struct Frame<'a> {
    /// The join of the channel it belongs to.
    pub join_ref: Option<Ref>,
    /// Ties a reply to its push.
    pub reference: Option<Ref>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The event; in a binary reply always [`REPLY`].
    pub event: Cow<'a, str>,
    /// The payload. In a text reply `{"status":…,"response":…}`; see [`Frame::reply`].
    pub payload: Payload<'a>,
    /// The status of a binary reply, which has no JSON envelope.
    pub status: Option<Cow<'a, str>>,
}

/// What a reply says.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub struct Reply<'a> {
    /// `ok`, `error` or any other word.
    pub status: Cow<'a, str>,
    /// The answer.
    pub response: Payload<'a>,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "server"), derive(Debug))]
pub struct Malformed;

/// Who reads: a push to the server has a reference that a push to the client lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The bytes come from a client.
    Server,
    /// The bytes come from a server.
    Client,
}

impl<'a> Frame<'a> {
    /// Decodes a text frame.
    pub fn decode_text(text: &'a str) -> Result<Frame<'a>, Malformed> {
        let frame = Frame::cut_text(text)?;
        match frame.payload {
            Payload::Json(payload) if json::check(payload.as_bytes()).is_err() => Err(Malformed),
            _ => Ok(frame),
        }
    }

    /// Decodes a text frame without a look at its payload, which is whatever stands between
    /// the event and the end: whoever reads it finds out whether it is JSON.
    pub fn cut_text(text: &'a str) -> Result<Frame<'a>, Malformed> {
        let bytes = text.as_bytes();
        let mut at = json::skip_space(bytes, 0);
        if bytes.get(at) != Some(&b'[') {
            return Err(Malformed);
        }
        let mut items = [""; 4];
        for item in &mut items {
            let start = json::skip_space(bytes, at + 1);
            let end = json::skip_value(bytes, start).map_err(|_| Malformed)?;
            *item = text.get(start..end).ok_or(Malformed)?;
            at = json::skip_space(bytes, end);
            if bytes.get(at) != Some(&b',') {
                return Err(Malformed);
            }
        }
        let space = [' ', '\t', '\n', '\r'];
        let rest = text.get(at + 1..).and_then(|rest| rest.trim_end_matches(space).strip_suffix(']'));
        let payload =
            rest.map(|rest| rest.trim_matches(space)).filter(|rest| !rest.is_empty()).ok_or(Malformed)?;
        let [join_ref, reference, topic, event] = items;
        Ok(Frame {
            join_ref: decode_ref(join_ref)?,
            reference: decode_ref(reference)?,
            topic: json::string(topic).ok_or(Malformed)?,
            event: json::string(event).ok_or(Malformed)?,
            payload: Payload::Json(payload),
            status: None,
        })
    }

    /// Decodes a binary frame as `side` reads it.
    pub fn decode_binary(bytes: &'a [u8], side: Side) -> Result<Frame<'a>, Malformed> {
        let (kind, rest) = bytes.split_first().ok_or(Malformed)?;
        let fields = match (kind, side) {
            (0, Side::Server) => 4,
            (0, Side::Client) => 3,
            (1, Side::Client) => 4,
            (2, Side::Client) => 2,
            _ => return Err(Malformed),
        };
        let (sizes, mut rest) = rest.split_at_checked(fields).ok_or(Malformed)?;
        let mut texts = [""; 4];
        for (text, size) in texts.iter_mut().zip(sizes) {
            let (field, tail) = rest.split_at_checked(usize::from(*size)).ok_or(Malformed)?;
            *text = std::str::from_utf8(field).map_err(|_| Malformed)?;
            rest = tail;
        }
        let frame = |join_ref: &str, reference: &str, topic, event, status: Option<&'a str>| Frame {
            join_ref: (!join_ref.is_empty()).then(|| Ref::text(join_ref)),
            reference: (!reference.is_empty()).then(|| Ref::text(reference)),
            topic: Cow::Borrowed(topic),
            event: Cow::Borrowed(event),
            payload: Payload::Binary(rest),
            status: status.map(Cow::Borrowed),
        };
        Ok(match (fields, kind) {
            (4, 0) => frame(texts[0], texts[1], texts[2], texts[3], None),
            (3, _) => frame(texts[0], "", texts[1], texts[2], None),
            (4, _) => frame(texts[0], texts[1], texts[2], REPLY, Some(texts[3])),
            _ => frame("", "", texts[0], texts[1], None),
        })
    }

    /// The status and the answer, when this frame is a well-formed reply.
    pub fn reply(&self) -> Option<Reply<'_>> {
        if self.event != REPLY {
            return None;
        }
        match (self.payload, &self.status) {
            (Payload::Binary(_), Some(status)) => {
                Some(Reply { status: Cow::Borrowed(status), response: self.payload })
            }
            (Payload::Json(raw), _) => Some(Reply {
                status: json::string(json::member(raw, "status")?)?,
                response: Payload::Json(json::member(raw, "response").unwrap_or("{}")),
            }),
            _ => None,
        }
    }
}

fn decode_ref(raw: &str) -> Result<Option<Ref>, Malformed> {
    match raw.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"' | b'-' | b'0'..=b'9') => Ok(Some(Ref(raw.into()))),
        _ => Err(Malformed),
    }
}

/// Encodes a text frame. `payload` is JSON.
pub fn encode_text(
    join_ref: Option<&Ref>,
    reference: Option<&Ref>,
    topic: &str,
    event: &str,
    payload: &str,
) -> String {
    let mut out = String::with_capacity(payload.len() + topic.len() + event.len() + 32);
    out.push('[');
    for item in [join_ref, reference] {
        out.push_str(item.map_or("null", Ref::raw));
        out.push(',');
    }
    json::push_string(&mut out, topic);
    out.push(',');
    json::push_string(&mut out, event);
    out.push(',');
    out.push_str(payload);
    out.push(']');
    out
}

/// Encodes the text reply to `reference` on the channel joined as `join_ref`.
/// `response` is JSON. The members stand in Phoenix's order.
pub fn encode_reply(
    join_ref: Option<&Ref>,
    reference: Option<&Ref>,
    topic: &str,
    status: &str,
    response: &str,
) -> String {
    let mut payload = String::with_capacity(response.len() + 32);
    payload.push_str("{\"response\":");
    payload.push_str(response);
    payload.push_str(",\"status\":");
    json::push_string(&mut payload, status);
    payload.push('}');
    encode_text(join_ref, reference, topic, REPLY, &payload)
}

/// Which binary frame to encode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Binary<'a> {
    /// A push from a client.
    ClientPush {
        /// The channel's join.
        join_ref: &'a Ref,
        /// Ties the reply to it.
        reference: &'a Ref,
        /// The event.
        event: &'a str,
    },
    /// A push from a server to one client.
    ServerPush {
        /// The channel's join.
        join_ref: &'a Ref,
        /// The event.
        event: &'a str,
    },
    /// A server's reply.
    Reply {
        /// The channel's join.
        join_ref: &'a Ref,
        /// The push it answers.
        reference: &'a Ref,
        /// `ok` or `error`.
        status: &'a str,
    },
    /// A server's push to everybody on the topic.
    Broadcast {
        /// The event.
        event: &'a str,
    },
}

/// Encodes a binary frame; [`Malformed`] when a field is longer than 255 bytes.
pub fn encode_binary(kind: Binary<'_>, topic: &str, payload: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (code, fields): (u8, [Option<Cow<'_, str>>; 4]) = match kind {
        Binary::ClientPush { join_ref, reference, event } => {
            (0, [Some(join_ref.as_text()), Some(reference.as_text()), Some(topic.into()), Some(event.into())])
        }
        Binary::ServerPush { join_ref, event } => {
            (0, [Some(join_ref.as_text()), Some(topic.into()), Some(event.into()), None])
        }
        Binary::Reply { join_ref, reference, status } => (
            1,
            [Some(join_ref.as_text()), Some(reference.as_text()), Some(topic.into()), Some(status.into())],
        ),
        Binary::Broadcast { event } => (2, [Some(topic.into()), Some(event.into()), None, None]),
    };
    let mut out = vec![code];
    for field in fields.iter().flatten() {
        out.push(u8::try_from(field.len()).map_err(|_| Malformed)?);
    }
    for field in fields.iter().flatten() {
        out.extend_from_slice(field.as_bytes());
    }
    out.extend_from_slice(payload);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_frame_is_cut_without_touching_its_payload() {
        let text = r#" [ null , "1","a:b","e\u0041", {"x": [1, 2]} ] "#;
        let frame = Frame::decode_text(text).unwrap();
        assert_eq!(frame.join_ref, None);
        assert_eq!(frame.reference, Some(Ref::number(1)));
        assert_eq!(frame.topic, "a:b");
        assert_eq!(frame.event, "eA");
        assert_eq!(frame.payload, Payload::Json(r#"{"x": [1, 2]}"#));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"["1","1","t","e"]"#,
            r#"["1","1","t","e",{},1]"#,
            r#"["1","1","t","e",{}]x"#,
            r#"["1","1",5,"e",{}]"#,
            r#"[{},"1","t","e",{}]"#,
            r#"["1",true,"t","e",{}]"#,
            r#"["1","1","t","e",{]"#,
        ] {
            assert!(Frame::decode_text(text).is_err(), "{text}");
        }
        for bytes in [&b""[..], b"\x03", b"\x00\x01", b"\x00\x01\x01\x01\x01ab", b"\x00\x01\x00\x00\x00\xff"]
        {
            assert!(Frame::decode_binary(bytes, Side::Server).is_err());
        }
        assert!(Frame::decode_binary(b"\x02\x00\x00", Side::Server).is_err());
    }

    #[test]
    fn a_number_is_echoed_as_a_number() {
        let frame = Frame::decode_text(r#"[1,2,"t","e",{}]"#).unwrap();
        let reply = encode_reply(frame.join_ref.as_ref(), frame.reference.as_ref(), "t", "ok", "{}");
        assert_eq!(reply, r#"[1,2,"t","phx_reply",{"response":{},"status":"ok"}]"#);
    }

    #[test]
    fn a_reply_is_opened() {
        let text = r#"["2","3","t","phx_reply",{"response":{"a":1},"status":"error"}]"#;
        let frame = Frame::decode_text(text).unwrap();
        let reply = frame.reply().unwrap();
        assert_eq!(reply.status, "error");
        assert_eq!(reply.response, Payload::Json(r#"{"a":1}"#));
        let bytes = b"\x01\x01\x01\x01\x0224tok\xde\xad";
        let frame = Frame::decode_binary(bytes, Side::Client).unwrap();
        let reply = frame.reply().unwrap();
        assert_eq!((reply.status.as_ref(), reply.response), ("ok", Payload::Binary(b"\xde\xad")));
    }

    /// The frames captured from Phoenix 1.8.12 (`tests/data/phoenix-frames.txt`, section A).
    #[test]
    fn captured_binary_frames_come_out_as_they_went_in() {
        let two = Ref::number(2);
        let four = Ref::number(4);
        let push = encode_binary(
            Binary::ClientPush { join_ref: &two, reference: &four, event: "bin" },
            "echo:r",
            b"\xde\xad\xbe\xef",
        );
        assert_eq!(push.unwrap(), b"\x00\x01\x01\x06\x0324echo:rbin\xde\xad\xbe\xef");
        let reply = encode_binary(
            Binary::Reply { join_ref: &two, reference: &four, status: "ok" },
            "echo:r",
            b"\xde\xad\xbe\xef",
        );
        assert_eq!(reply.unwrap(), b"\x01\x01\x01\x06\x0224echo:rok\xde\xad\xbe\xef");
        let server =
            encode_binary(Binary::ServerPush { join_ref: &two, event: "blob" }, "echo:r", b"\x00\xff\x10");
        assert_eq!(server.unwrap(), b"\x00\x01\x06\x042echo:rblob\x00\xff\x10");
        let broadcast = encode_binary(Binary::Broadcast { event: "shoutbin" }, "echo:r", b"\x07\x07");
        assert_eq!(broadcast.unwrap(), b"\x02\x06\x08echo:rshoutbin\x07\x07");
        let long = "t".repeat(256);
        assert!(encode_binary(Binary::Broadcast { event: "e" }, &long, b"").is_err());
    }
}
