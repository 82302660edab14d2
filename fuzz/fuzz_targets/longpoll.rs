//! The bodies of posts to `/socket/longpoll`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rig::maxd::longpoll::frames;
use rig::phx::frame::Frame;

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    let linewise = kind % 2 == 0;
    let mut count = 0;
    for (frame, line) in frames(body, linewise).zip(lines(body, linewise)) {
        count += 1;
        // A line of text is what the codec says it is.
        if line.starts_with(b"[") {
            let text = std::str::from_utf8(line).ok();
            assert_eq!(frame.is_some(), text.is_some_and(|text| Frame::decode_text(text).is_ok()));
        }
    }
    assert_eq!(count, lines(body, linewise).take(100).count());
});

fn lines(body: &[u8], linewise: bool) -> impl Iterator<Item = &[u8]> {
    body.split(move |byte| linewise && *byte == b'\n')
}
