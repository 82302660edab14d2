//! Base64 in the standard alphabet (RFC 4648, section 4), with padding.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text that stands for `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let six = bits >> (18 - 6 * index) & 63;
            out.push(if index <= group.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    out
}

/// The bytes that `text` stands for; none when it is no base64 with padding.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
        let mut bits = 0_u32;
        for byte in group {
            let six = match byte {
                b'=' => 0,
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        if group.len() != 4 || padding > 2 {
            return None;
        }
        out.extend((0..3 - padding).map(|index| (bits >> (16 - 8 * index)) as u8));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_vectors_of_rfc_4648() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(super::encode(text.as_bytes()), expected);
            assert_eq!(super::decode(expected).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn every_byte_comes_back_and_what_is_no_base64_does_not() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(super::decode(&super::encode(&bytes)), Some(bytes));
        for text in ["Z", "Zm9", "Zm9v\n", "Zm-v", "====", "Z==="] {
            assert_eq!(super::decode(text), None, "{text}");
        }
    }
}
