//! The root certificates of webpki-roots. `build.rs` packs them into 44 KB: as Rust constants
//! they would take 63.

use rustls_pki_types::{Der, TrustAnchor};
use std::sync::OnceLock;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/roots.bin"));

/// The roots that are trusted without being named.
pub fn roots() -> Vec<TrustAnchor<'static>> {
    static FIELDS: OnceLock<Vec<u8>> = OnceLock::new();
    let mut rest = FIELDS.get_or_init(|| unpack(PACKED)).as_slice();
    let mut roots = Vec::new();
    while let (Some(subject), Some(key), Some(constraints)) =
        (field(&mut rest), field(&mut rest), field(&mut rest))
    {
        roots.push(TrustAnchor {
            subject: Der::from_slice(subject),
            subject_public_key_info: Der::from_slice(key),
            name_constraints: Some(Der::from_slice(constraints)).filter(|der| !der.is_empty()),
        });
    }
    roots
}

fn field(rest: &mut &'static [u8]) -> Option<&'static [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (field, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = after;
    Some(field)
}

/// Undoes `repetitions` of `build.rs`: a byte below 128 stands before so many bytes and one more;
/// any other is 125 more than the length of a repetition, and how far back that is follows
/// in two bytes.
fn unpack(mut packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((&code, rest)) = packed.split_first() {
        let length = usize::from(code);
        let taken = if code < 128 {
            out.extend_from_slice(rest.get(..=length).unwrap_or(rest));
            length + 1
        } else {
            let distance = rest.first_chunk().map_or(0, |bytes| usize::from(u16::from_le_bytes(*bytes)));
            for _ in 0..length - 125 {
                let byte = out.len().checked_sub(distance).and_then(|at| out.get(at));
                out.extend(byte.copied());
            }
            2
        };
        packed = rest.get(taken..).unwrap_or(&[]);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_roots_are_those_of_webpki_roots() {
        assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 100);
        assert!(super::roots() == webpki_roots::TLS_SERVER_ROOTS);
    }
}
