//! X25519 (RFC 7748) for TLS, by x25519-dalek: ring would bring a table of 24 KB for the
//! public key, which the Montgomery ladder computes without, in constant time as well.

use ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{PublicKey, StaticSecret, X25519_BASEPOINT_BYTES};

/// The key exchange group.
pub static X25519: &dyn SupportedKxGroup = &Group;

#[derive(Debug)]
struct Group;

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut random = [0; 32];
        SystemRandom::new().fill(&mut random).map_err(|_| GetRandomFailed)?;
        Ok(Box::new(Key::new(random)))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// A key for one exchange. It is wiped when dropped.
struct Key {
    secret: StaticSecret,
    public: [u8; 32],
}

impl Key {
    fn new(random: [u8; 32]) -> Key {
        let secret = StaticSecret::from(random);
        // As RFC 7748, section 6.1 has it, and not by way of Edwards points, which would
        // be more code.
        let public = secret.diffie_hellman(&PublicKey::from(X25519_BASEPOINT_BYTES)).to_bytes();
        Key { secret, public }
    }
}

/// A public key that is used once, and what it shares with the peer's; none when the peer's
/// is worthless.
pub fn encapsulate(random: [u8; 32], peer: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let key = Key::new(random);
    let shared = key.secret.diffie_hellman(&PublicKey::from(<[u8; 32]>::try_from(peer).ok()?));
    shared.was_contributory().then(|| (key.public, shared.to_bytes()))
}

impl ActiveKeyExchange for Key {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = || Error::from(PeerMisbehaved::InvalidKeyShare);
        let peer = <[u8; 32]>::try_from(peer).map_err(|_| invalid())?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(peer));
        // RFC 8446, section 7.4.2: all zeros must be refused.
        match shared.was_contributory() {
            true => Ok(SharedSecret::from(&shared.as_bytes()[..])),
            false => Err(invalid()),
        }
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ring::agreement;

    fn agree(key: Key, peer: &[u8]) -> Result<Vec<u8>, Error> {
        Box::new(key).complete(peer).map(|secret| secret.secret_bytes().to_vec())
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn the_vectors_of_the_rfc() {
        let bytes = |hex: &str| -> [u8; 32] {
            std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        };
        let alice = bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let (alice, bob) = (Key::new(alice), Key::new(bob));
        let alice_public = bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let bob_public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!((alice.public, bob.public), (alice_public, bob_public));
        let shared = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(agree(alice, &bob_public).unwrap(), shared);
        assert_eq!(agree(bob, &alice_public).unwrap(), shared);
    }

    #[test]
    fn both_sides_agree_when_ring_is_one() {
        for _ in 0..20 {
            let ours = X25519.start().unwrap();
            let public = ours.pub_key().to_vec();
            let random = SystemRandom::new();
            let theirs = agreement::EphemeralPrivateKey::generate(&agreement::X25519, &random).unwrap();
            let secret = ours.complete(theirs.compute_public_key().unwrap().as_ref()).unwrap();
            let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, public);
            agreement::agree_ephemeral(theirs, &peer, |same| assert_eq!(secret.secret_bytes(), same))
                .unwrap();
        }
    }

    /// A point of small order gives all zeros, whatever the secret.
    #[test]
    fn worthless_and_malformed_shares_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        for share in [&[0; 32][..], &one, &[9; 31], &[9; 33], &[]] {
            let error = agree(Key::new([7; 32]), share).err().unwrap();
            assert_eq!(error, PeerMisbehaved::InvalidKeyShare.into(), "{share:?}");
        }
    }
}
