//! Secrets: the networks' keys, and what opens with them.
//!
//! ```text
//! master key (a file or MAXD_MASTER_KEY) ─▶ a network's private key ─▶ its secrets
//! ```
//!
//! A secret arrives sealed and is stored so. It is opened where a program is started that
//! gets it, for a rotation of the key, and for other names; nowhere else.

use super::config::document;
use super::store::{Store, disk, explain};
use crate::error::{Error, Kind, Result};
use crate::redact::Secret;
use crate::time::rfc3339;
use crate::wire::secret::INFO;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256 as X25519;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The file in the data directory.
const FILE: &str = "master.key";
/// The variable that takes its place.
pub const VARIABLE: &str = "MAXD_MASTER_KEY";
/// What sealing adds: the encapsulated key and the tag.
pub const OVERHEAD: usize = 32 + 16;

type Private = <X25519 as Kem>::PrivateKey;
type Public = <X25519 as Kem>::PublicKey;

/// Holds the master key.
pub struct Vault(LessSafeKey);

/// A network's key pair.
#[derive(Clone)]
pub struct Key {
    network: i64,
    /// Counts from 1.
    pub number: u64,
    /// What secrets are sealed to.
    pub public: Vec<u8>,
    /// Encrypted under the master key.
    private: Vec<u8>,
    /// When it was made.
    pub created_at: String,
}

/// A network's private key.
pub struct PrivateKey(Private);

impl PrivateKey {
    /// Opens what was sealed to its public key.
    pub fn open(&self, sealed: &Sealed) -> Result<Secret> {
        open(&self.0, sealed)
    }
}

/// A sealed value.
#[derive(Clone)]
pub struct Sealed {
    /// Its name.
    pub name: String,
    /// HPKE's `aad`.
    pub about: String,
    /// The encapsulated key and the ciphertext.
    pub bytes: Vec<u8>,
}

impl Vault {
    /// The vault with the key that `given` holds in base64, else with that in the data
    /// directory, where it is made unless a database waits for it.
    pub fn open(data: &Path, given: Option<String>, store: &Store) -> Result<Arc<Vault>> {
        let path = data.join(FILE);
        let key = store.run(any_key)?;
        let (text, place) = match given.filter(|text| !text.is_empty()) {
            Some(text) => (text, VARIABLE.to_owned()),
            None => {
                let text = match fs::read_to_string(&path) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound && key.is_none() => {
                        make(&path)?
                    }
                    read => read.map_err(|error| {
                        disk("read", &path, &error)
                            .hint(format!("the keys of networks need it: bring it back, or set {VARIABLE}"))
                    })?,
                };
                (text, path.display().to_string())
            }
        };
        let text = Secret::new(text);
        let bytes = STANDARD.decode(text.reveal().trim()).ok().filter(|bytes| bytes.len() == 32);
        let unbound = bytes.and_then(|bytes| UnboundKey::new(&AES_256_GCM, &bytes).ok());
        let unbound = unbound.ok_or_else(|| {
            Error::usage(format!("'{place}' holds no master key"))
                .hint("a master key is 32 random bytes in base64: `openssl rand -base64 32`")
        })?;
        let vault = Vault(LessSafeKey::new(unbound));
        if let Some(key) = key {
            vault.private(&key).map_err(|_| {
                let message = format!("the master key in '{place}' is not the one of this database");
                Error::new(Kind::Failed, message).hint("bring back the one that belongs to it")
            })?;
        }
        Ok(Arc::new(vault))
    }

    fn encrypt(&self, private: &Private, about: &str) -> Result<Vec<u8>> {
        let failed = |_| Error::new(Kind::Internal, "a key can't be encrypted");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut bytes = private.to_bytes().to_vec();
        let sealing = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(sealing, Aad::from(about), &mut bytes).map_err(failed)?;
        Ok([&nonce[..], &bytes].concat())
    }

    fn private(&self, key: &Key) -> Result<Private> {
        self.decrypt(&key.private, &about(key.network, key.number))
            .ok_or_else(|| Error::new(Kind::Internal, "the network's key can't be decrypted"))
    }

    fn decrypt(&self, bytes: &[u8], about: &str) -> Option<Private> {
        let (nonce, bytes) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = bytes.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(about), &mut bytes).ok()?;
        let private = Private::from_bytes(plain).ok();
        wipe(&mut bytes);
        private
    }

    /// A network's public key, and its private one encrypted for an export of this user, both in
    /// base64: for nobody else it opens.
    pub fn wrap(&self, key: &Key, user: &str) -> Result<(String, String)> {
        let public = STANDARD.encode(&key.public);
        let wrapped = self.encrypt(&self.private(key)?, &exported(&public, user))?;
        Ok((public, STANDARD.encode(wrapped)))
    }

    /// What [`Vault::wrap`] has encrypted, also on another server with the same master key.
    pub fn unwrap(&self, key: &document::Key, user: &str) -> Result<PrivateKey> {
        let bytes = STANDARD.decode(&key.wrapped).unwrap_or_default();
        let private = self.decrypt(&bytes, &exported(&key.public, user));
        private.map(PrivateKey).ok_or_else(|| {
            let message = match key.user == user {
                true => "its secrets don't open here: this server has another master key".to_owned(),
                false => format!("its secrets open for user '{}' alone, who exported it", key.user),
            };
            Error::new(Kind::Failed, message)
                .hint("leave secrets as they are with --no-secrets")
                .field("document")
        })
    }

    fn fresh(&self, network: i64, number: u64) -> Result<Key> {
        let (private, public) = X25519::gen_keypair();
        let private = self.encrypt(&private, &about(network, number))?;
        let (public, created_at) = (public.to_bytes().to_vec(), rfc3339(SystemTime::now()));
        Ok(Key { network, number, public, private, created_at })
    }

    /// The network's key, which is made when it is asked for first.
    pub fn key(&self, t: &Transaction<'_>, network: i64) -> Result<Key> {
        match find(t, network)? {
            Some(key) => Ok(key),
            None => {
                let key = self.fresh(network, 1)?;
                key.keep(t)?;
                Ok(key)
            }
        }
    }

    /// Makes the network's next key and seals everything again, or changes nothing: `all` are
    /// the rows with what is sealed in them.
    pub fn rotate(&self, t: &Transaction<'_>, network: i64, all: &[(i64, Sealed)]) -> Result<Key> {
        let old = self.key(t, network)?;
        let key = self.fresh(network, old.number + 1)?;
        let private = self.private(&old)?;
        for (row, sealed) in all {
            key.seal(t, *row, &open(&private, sealed)?, &sealed.about)?;
        }
        key.keep(t)?;
        Ok(key)
    }

    /// Seals again what is about something else now: the same rows before and after that. What
    /// did not open before does not open after it, and stays as it is.
    pub fn reseal(
        &self,
        t: &Transaction<'_>,
        network: i64,
        before: &[(i64, Sealed)],
        after: &[(i64, Sealed)],
    ) -> Result<()> {
        if before.is_empty() {
            return Ok(());
        }
        let key = self.key(t, network)?;
        let private = self.private(&key)?;
        let before: HashMap<i64, &Sealed> = before.iter().map(|(row, sealed)| (*row, sealed)).collect();
        for (row, now) in after {
            let Some(then) = before.get(row).filter(|then| then.about != now.about) else { continue };
            if let Ok(value) = open(&private, then) {
                key.seal(t, *row, &value, &now.about)?;
            }
        }
        Ok(())
    }
}

impl Key {
    /// A value, sealed to it as a secret that is about this.
    pub fn sealed(&self, value: &Secret, about: &str) -> Result<Vec<u8>> {
        let failed = |_| Error::new(Kind::Internal, "a secret can't be sealed");
        let (enc, text) = hpke::single_shot_seal::<AesGcm256, HkdfSha256, X25519>(
            &OpModeS::Base,
            &Public::from_bytes(&self.public).map_err(failed)?,
            INFO,
            value.reveal().as_bytes(),
            about.as_bytes(),
        )
        .map_err(failed)?;
        Ok([&enc.to_bytes()[..], &text].concat())
    }

    /// Seals a value to it, into this row.
    fn seal(&self, t: &Transaction<'_>, row: i64, value: &Secret, about: &str) -> Result<()> {
        let set = "UPDATE variables SET sealed = ?2 WHERE id = ?1";
        t.execute(set, params![row, self.sealed(value, about)?]).map(drop).map_err(explain)
    }

    fn keep(&self, t: &Transaction<'_>) -> Result<()> {
        t.execute(
            "INSERT OR REPLACE INTO network_keys(network, number, public, private, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![self.network, self.number, self.public, self.private, self.created_at],
        )
        .map(drop)
        .map_err(explain)
    }
}

/// What the private key of an export belongs to.
fn exported(public: &str, user: &str) -> String {
    format!("export of {public} for {user}")
}

/// What a private key belongs to.
fn about(network: i64, number: u64) -> String {
    format!("network {network} key {number}")
}

const KEYS: &str = "SELECT network, number, public, private, created_at FROM network_keys";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key {
        network: row.get(0)?,
        number: row.get(1)?,
        public: row.get(2)?,
        private: row.get(3)?,
        created_at: row.get(4)?,
    })
}

fn find(t: &Transaction<'_>, network: i64) -> Result<Option<Key>> {
    t.query_row(&format!("{KEYS} WHERE network = ?1"), [network], read).optional().map_err(explain)
}

fn any_key(t: &Transaction<'_>) -> Result<Option<Key>> {
    t.query_row(&format!("{KEYS} LIMIT 1"), [], read).optional().map_err(explain)
}

fn make(path: &Path) -> Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::new(Kind::Internal, "the system gives no random bytes"))?;
    let (text, new) = (format!("{}\n", STANDARD.encode(bytes)), path.with_extension("new"));
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    file.and_then(|mut file| {
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()
    })
    .and_then(|()| fs::rename(&new, path))
    .map_err(|error| disk("write", path, &error))?;
    Ok(text)
}

fn open(private: &Private, sealed: &Sealed) -> Result<Secret> {
    let opened = || {
        let (enc, text) = sealed.bytes.split_at_checked(32)?;
        let enc = <X25519 as Kem>::EncappedKey::from_bytes(enc).ok()?;
        let about = sealed.about.as_bytes();
        hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519>(
            &OpModeR::Base,
            private,
            &enc,
            INFO,
            text,
            about,
        )
        .ok()
    };
    let name = &sealed.name;
    let bytes = opened().ok_or_else(|| {
        Error::new(
            Kind::Failed,
            format!("the secret '{name}' does not open: it was sealed for something else"),
        )
        .hint(format!("set it again: `rig create secret {name}`"))
    })?;
    let text = String::from_utf8(bytes).map(Secret::new).map_err(|error| {
        wipe(&mut error.into_bytes());
        Error::new(Kind::Failed, format!("the secret '{name}' is not valid UTF-8"))
    })?;
    match text.reveal().contains('\0') {
        true => Err(Error::new(Kind::Failed, format!("the secret '{name}' holds a zero byte"))),
        false => Ok(text),
    }
}

fn wipe(bytes: &mut Vec<u8>) {
    bytes.fill(0);
    // Keeps the compiler from dropping the writes to memory nobody reads.
    std::hint::black_box(&*bytes);
}

/// What the programs of a release find in their environment. Secrets are sealed in it.
#[derive(Clone, Default)]
pub struct Environment {
    /// What is no secret.
    plain: Vec<(String, String)>,
    sealed: Option<Arc<Locked>>,
}

/// Secrets with what opens them: also when the network has another key meanwhile.
struct Locked {
    secrets: Vec<Sealed>,
    key: Key,
    vault: Arc<Vault>,
}

impl Environment {
    /// An environment of the network's app.
    pub fn new(
        t: &Transaction<'_>,
        vault: &Arc<Vault>,
        network: i64,
        plain: Vec<(String, String)>,
        secrets: Vec<Sealed>,
    ) -> Result<Environment> {
        let sealed = match secrets.is_empty() {
            true => None,
            false => {
                Some(Arc::new(Locked { secrets, key: vault.key(t, network)?, vault: Arc::clone(vault) }))
            }
        };
        Ok(Environment { plain, sealed })
    }

    /// An environment of a test's own.
    #[cfg(test)]
    pub fn without_secrets(plain: Vec<(String, String)>) -> Environment {
        Environment { plain, sealed: None }
    }

    /// What tells it from others: names and values, these as they are sealed.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let plain = self.plain.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        let sealed = self.sealed.iter().flat_map(|locked| &locked.secrets);
        plain.chain(sealed.flat_map(|one| [one.name.as_bytes(), one.bytes.as_slice()]))
    }

    /// All of it, for a program that is started now.
    pub fn open(&self) -> Result<Vec<(String, String)>> {
        let mut all = self.plain.clone();
        if let Some(locked) = &self.sealed {
            let private = locked.vault.private(&locked.key)?;
            for sealed in &locked.secrets {
                all.push((sealed.name.clone(), open(&private, sealed)?.reveal().to_owned()));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_master_key_is_made_once_for_maxd_alone_and_belongs_to_its_database() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        let open = |given: Option<&str>| Vault::open(dir.path(), given.map(str::to_owned), &store);
        let vault = open(None).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let made = store.run(|t| {
            t.execute_batch(
                "INSERT INTO users VALUES (1, 'a', ''); INSERT INTO all_networks(id, name, created_at) VALUES (1, 'n', '')",
            )
            .map_err(explain)?;
            vault.key(t, 1)
        });
        let made = made.unwrap();
        let again = store.run(|t| vault.key(t, 1)).unwrap();
        assert_eq!((made.number, &made.public), (again.number, &again.public));
        assert!(open(None).is_ok());
        let other = STANDARD.encode([7; 32]);
        let wrong = format!("the master key in '{VARIABLE}' is not the one of this database");
        assert_eq!(open(Some(&other)).err().unwrap().message(), wrong);
        assert_eq!(open(Some("short")).err().unwrap().kind(), Kind::Usage);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(open(None).is_err() && !path.exists());
        assert!(open(Some(&text)).is_ok());
    }
}
