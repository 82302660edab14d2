//! The frame codec: whatever decodes comes out again as it went in, and what serde_json
//! takes for a frame is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rig::phx::frame::{Binary, Frame, Payload, Ref, Side, encode_binary, encode_reply, encode_text};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 3 {
        0 => drop(std::str::from_utf8(bytes).map(text)),
        1 => binary(bytes, Side::Server),
        _ => binary(bytes, Side::Client),
    }
});

fn text(text: &str) {
    let cut = Frame::cut_text(text);
    let Ok(frame) = Frame::decode_text(text) else {
        assert!(!is_frame(text), "serde_json takes it for a frame");
        if let Ok(cut) = cut {
            // All but the payload is sound.
            let Payload::Json(payload) = cut.payload else { panic!("bytes from a text frame") };
            assert!(serde_json::from_str::<Value>(payload).is_err());
            let _ = cut.reply();
        }
        return;
    };
    assert!(cut.as_ref() == Ok(&frame));
    let Payload::Json(payload) = frame.payload else { panic!("bytes from a text frame") };
    let (join_ref, reference) = (frame.join_ref.as_ref(), frame.reference.as_ref());
    let again = encode_text(join_ref, reference, &frame.topic, &frame.event, payload);
    let same = Frame::decode_text(&again).expect("what was encoded decodes");
    assert!(same == frame);
    if let Some(reply) = frame.reply() {
        let Payload::Json(response) = reply.response else { panic!("bytes from a text frame") };
        let again = encode_reply(join_ref, reference, &frame.topic, &reply.status, response);
        let same = Frame::decode_text(&again).expect("what was encoded decodes");
        assert!(same.reply() == Some(reply));
    }
}

fn is_frame(text: &str) -> bool {
    let Ok(Value::Array(items)) = serde_json::from_str(text) else { return false };
    let reference = |value: &Value| value.is_null() || value.is_string() || value.is_number();
    match items.as_slice() {
        [join_ref, this, topic, event, _] => {
            reference(join_ref) && reference(this) && topic.is_string() && event.is_string()
        }
        _ => false,
    }
}

fn binary(bytes: &[u8], side: Side) {
    let Ok(frame) = Frame::decode_binary(bytes, side) else { return };
    let Payload::Binary(payload) = frame.payload else { panic!("text from a binary frame") };
    let empty = Ref::text("");
    let join_ref = frame.join_ref.as_ref().unwrap_or(&empty);
    let reference = frame.reference.as_ref().unwrap_or(&empty);
    let event = frame.event.as_ref();
    let kind = match (bytes.first(), side, &frame.status) {
        (Some(0), Side::Server, _) => Binary::ClientPush { join_ref, reference, event },
        (Some(0), Side::Client, _) => Binary::ServerPush { join_ref, event },
        (Some(1), _, Some(status)) => Binary::Reply { join_ref, reference, status },
        _ => Binary::Broadcast { event },
    };
    let again = encode_binary(kind, &frame.topic, payload).expect("the names were short enough");
    assert!(again == bytes);
    if let Some(reply) = frame.reply() {
        assert!(reply.response == frame.payload);
    }
}
