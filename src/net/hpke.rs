//! Sealing to a public key: HPKE (RFC 9180) in base mode, one message, with
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.
//!
//! Only what seals is here; Max opens with the crate `hpke`, which is also what the tests
//! compare this with. HKDF (RFC 5869) of at most one block is one HMAC each way.

use super::x25519;
use crate::error::{Error, Kind, Result};
use crate::packed::packed;
use ring::aead::{AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// DHKEM(X25519, HKDF-SHA256), in RFC 9180's table 2.
const KEM: [u8; 2] = [0x00, 0x20];
/// The length of what HMAC-SHA256 gives, of X25519's keys and of AES-256's.
const SIZE: u8 = 32;

/// How the message itself is encrypted: the number in RFC 9180's table 5.
#[derive(Clone, Copy)]
struct Cipher(u8, &'static Algorithm);

/// Seals `text` for whoever has the private key of `public`: the encapsulated key, then the
/// ciphertext. It opens only with the same `info` and `aad`.
pub fn seal(public: &[u8], info: &[u8], aad: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let mut random = [0; SIZE as usize];
    let filled = SystemRandom::new().fill(&mut random).ok();
    let sealed = filled.and_then(|()| with(Cipher(2, &AES_256_GCM), random, public, info, aad, text));
    sealed.ok_or_else(|| Error::new(Kind::Failed, packed!("this can't be sealed with the key that Max sent")))
}

fn with(
    cipher: Cipher,
    random: [u8; 32],
    public: &[u8],
    info: &[u8],
    aad: &[u8],
    text: &[u8],
) -> Option<Vec<u8>> {
    let Cipher(number, algorithm) = cipher;
    // Section 4.1, Encap.
    let (enc, shared) = x25519::encapsulate(random, public)?;
    let suite: &[u8] = &[&b"KEM"[..], &KEM].concat();
    let prk = extract(&[], suite, "eae_prk", &shared);
    let shared = expand(&prk, suite, "shared_secret", &[&enc, public].concat(), SIZE);
    // Section 5.1, KeySchedule, without a pre-shared key.
    let suite: &[u8] = &[&b"HPKE"[..], &KEM, &[0, 1, 0, number]].concat();
    let id = extract(&[], suite, "psk_id_hash", &[]);
    let info = extract(&[], suite, "info_hash", info);
    let context: &[u8] = &[&[0][..], id.as_ref(), info.as_ref()].concat();
    let secret = extract(shared.as_ref(), suite, "secret", &[]);
    let size = u8::try_from(algorithm.key_len()).ok()?;
    let key = expand(&secret, suite, "key", context, size);
    let nonce = expand(&secret, suite, "base_nonce", context, 12);
    let key = UnboundKey::new(algorithm, key.as_ref().get(..usize::from(size))?).ok()?;
    let nonce = Nonce::try_assume_unique_for_key(nonce.as_ref().get(..12)?).ok()?;
    let mut sealed = text.to_vec();
    LessSafeKey::new(key).seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).ok()?;
    Some([&enc[..], &sealed].concat())
}

/// LabeledExtract.
fn extract(salt: &[u8], suite: &[u8], label: &str, key: &[u8]) -> hmac::Tag {
    mac(salt, &[b"HPKE-v1", suite, label.as_bytes(), key])
}

/// LabeledExpand, to at most one block.
fn expand(key: &hmac::Tag, suite: &[u8], label: &str, info: &[u8], size: u8) -> hmac::Tag {
    mac(key.as_ref(), &[&[0, size], b"HPKE-v1", suite, label.as_bytes(), info, &[1]])
}

fn mac(key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

#[cfg(all(test, feature = "server"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hpke::aead::AesGcm256;
    use hpke::kdf::HkdfSha256;
    use hpke::kem::{Kem as _, X25519HkdfSha256 as X25519};
    use hpke::{Deserializable, OpModeR, Serializable, single_shot_open};
    use ring::aead::AES_128_GCM;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    /// RFC 9180, appendix A.1.1, the first message. Its vectors for X25519 have AES-128, which
    /// differs in the cipher's number and the key's length.
    #[test]
    fn the_vector_of_the_rfc() {
        let random = bytes("52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736");
        let public = bytes("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d");
        let info = bytes("4f6465206f6e2061204772656369616e2055726e");
        let text = b"Beauty is truth, truth beauty";
        let cipher = Cipher(1, &AES_128_GCM);
        let sealed = with(cipher, random.try_into().unwrap(), &public, &info, b"Count-0", text).unwrap();
        let (enc, message) = sealed.split_at(32);
        assert_eq!(enc, bytes("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"));
        assert_eq!(
            message,
            bytes(
                "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
            )
        );
    }

    /// What the crate opens of what we seal.
    fn open(
        private: &<X25519 as hpke::Kem>::PrivateKey,
        info: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let (enc, message) = sealed.split_at_checked(32)?;
        let enc = <X25519 as hpke::Kem>::EncappedKey::from_bytes(enc).ok()?;
        single_shot_open::<AesGcm256, HkdfSha256, X25519>(&OpModeR::Base, private, &enc, info, message, aad)
            .ok()
    }

    #[test]
    fn the_crate_opens_what_is_sealed_here_and_nothing_that_was_changed() {
        for size in [0, 1, 15, 16, 17, 1000, 65_536] {
            let (private, public) = X25519::gen_keypair();
            let public = public.to_bytes();
            let text = vec![b'x'; size];
            let sealed = seal(&public, b"info", b"about", &text).unwrap();
            assert_eq!(sealed.len(), size + 48);
            assert_eq!(open(&private, b"info", b"about", &sealed).unwrap(), text);
            assert!(open(&private, b"info", b"other", &sealed).is_none());
            assert!(open(&private, b"other", b"about", &sealed).is_none());
            let (stranger, _) = X25519::gen_keypair();
            assert!(open(&stranger, b"info", b"about", &sealed).is_none());
            for at in [0, 31, 32, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(open(&private, b"info", b"about", &changed).is_none(), "{at}");
            }
            assert_ne!(seal(&public, b"info", b"about", &text).unwrap(), sealed);
        }
    }

    /// The other direction: with the same ephemeral key both seal to the same bytes.
    #[test]
    fn the_crate_seals_to_the_same_bytes() {
        let (_, public) = X25519::gen_keypair();
        for seed in 0..20 {
            // The crate derives its ephemeral key from what the source gives (section 7.1.3).
            let mut source = Fixed(seed);
            let (enc, theirs) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519>(
                &hpke::OpModeS::Base,
                &public,
                b"info",
                b"text",
                b"about",
                &mut source,
            )
            .unwrap();
            let (ephemeral, _) = X25519::derive_keypair(&[seed; 32]);
            let random = ephemeral.to_bytes().to_vec().try_into().unwrap();
            let ours = with(Cipher(2, &AES_256_GCM), random, &public.to_bytes(), b"info", b"about", b"text");
            assert_eq!(ours.unwrap(), [&enc.to_bytes()[..], &theirs].concat());
        }
    }

    /// A source of the same byte again and again.
    struct Fixed(u8);

    impl hpke::rand_core::TryRng for Fixed {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> std::result::Result<u32, Self::Error> {
            Ok(u32::from_ne_bytes([self.0; 4]))
        }
        fn try_next_u64(&mut self) -> std::result::Result<u64, Self::Error> {
            Ok(u64::from_ne_bytes([self.0; 8]))
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> std::result::Result<(), Self::Error> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    impl hpke::rand_core::TryCryptoRng for Fixed {}

    #[test]
    fn a_key_that_is_none_is_refused() {
        for public in [&[][..], &[9; 31], &[0; 32], &[9; 33]] {
            assert!(seal(public, b"", b"", b"x").is_err());
        }
    }
}
