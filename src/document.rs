//! The document that an export writes and an import reads (JSON): the configuration of an app,
//! or of a network with its apps. rig checks a file with it, maxd reads one.
//!
//! ```json
//! {"schema": 1, "kind": "network", "name": "blue",
//!  "variables": {"REGION": "north"}, "secrets": {"KEY": {"fingerprint": "…", "sealed": "…"}},
//!  "webhooks": ["https://…"], "key": {"public_key": "…", "user": "…", "wrapped": "…"},
//!  "apps": {"web": {"instances": 2, "variables": {}, "secrets": {}}}}
//! ```
//!
//! Of an app it has the members of one of `apps`, with `name` and `network`. What it does not
//! have is left as it is. What it is not known to have is a mistake.

use crate::env::{check_name, check_value};
use crate::error::{Error, Result};
use crate::json;
use crate::name::Name;
use crate::suggest::nearest;
use crate::wire::app::INSTANCES_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// The version of this form.
pub const SCHEMA: u64 = 1;
/// The longest document, in bytes.
pub const BYTES_MAX: usize = 4 << 20;

/// A document.
#[derive(Default)]
pub struct Document {
    /// The network's name; of an app's document that of its network.
    pub network: String,
    /// The app's name; none in a network's document.
    pub app: Option<String>,
    /// What its secrets are sealed to.
    pub key: Option<Key>,
    /// The network's own configuration.
    pub own: Part,
    /// The configuration of apps by name; of one in an app's document.
    pub apps: BTreeMap<String, Part>,
    /// Whether those are all: the document of a network tells of its apps.
    pub whole: bool,
}

/// The configuration of an app, or a network's own. What is none is left as it is.
#[derive(Default)]
pub struct Part {
    /// How many instances an app has.
    pub instances: Option<u64>,
    /// Values by name.
    pub variables: Option<BTreeMap<String, String>>,
    /// Secrets by name.
    pub secrets: Option<BTreeMap<String, Secret>>,
    /// Where a network's webhooks lead.
    pub webhooks: Option<Vec<String>>,
}

/// A secret.
#[derive(Default)]
pub struct Secret {
    /// Tells it apart from other values of its name.
    pub fingerprint: String,
    /// HPKE's encapsulated key and ciphertext, in base64; none where it was left out.
    pub sealed: Option<String>,
}

/// A network's key.
#[derive(Default)]
pub struct Key {
    /// The X25519 key, in base64.
    pub public: String,
    /// Who exported it, and alone can import its secrets.
    pub user: String,
    /// The private one, in base64, encrypted by that server for this user.
    pub wrapped: String,
}

/// The members of a document besides those of its part, of a part, and of a network's part.
const HEAD: &[&str] = &["schema", "kind", "name", "network", "key", "apps"];
const PART: &[&str] = &["instances", "variables", "secrets"];
const OWN: &[&str] = &["variables", "secrets", "webhooks"];

impl Document {
    /// Reads a document; an error says where it is wrong.
    pub fn parse(text: &str) -> Result<Document> {
        let reader = Reader(text);
        if text.len() > BYTES_MAX {
            return Err(Error::usage(format!("a document has at most {BYTES_MAX} bytes")).field("document"));
        }
        json::check(text.as_bytes()).map_err(|at| reader.wrong(at, "is no JSON"))?;
        let start = json::skip_space(text.as_bytes(), 0);
        let (mut kind, mut name, mut network, mut schema) = (None, None, None, None);
        reader.object(start, "", &mut |member, at| {
            match member {
                "schema" => schema = Some(reader.number(at, member)?),
                "kind" => kind = Some(reader.text(at, member)?),
                "name" => name = Some(reader.label(at, member)?),
                "network" => network = Some(reader.label(at, member)?),
                _ => {}
            }
            Ok(())
        })?;
        let missing = |member: &str| reader.wrong(start, &format!("the document has no '{member}'"));
        match schema.ok_or_else(|| missing("schema"))? {
            SCHEMA => {}
            other => {
                let message = format!("is schema {other}, and this is for schema {SCHEMA}");
                return Err(reader.wrong(start, &message).hint("use a newer rig and Max"));
            }
        }
        let (kind, name) = (kind.ok_or_else(|| missing("kind"))?, name.ok_or_else(|| missing("name"))?);
        let mut document = Document::default();
        let known = match kind.as_str() {
            "network" => {
                document.network = name;
                OWN
            }
            "app" => {
                document.network = network.ok_or_else(|| missing("network"))?;
                document.app = Some(name);
                PART
            }
            other => {
                let message = format!("'kind' takes 'app' or 'network', not '{other}'");
                return Err(reader.wrong(start, &message));
            }
        };
        let mut part = Part::default();
        reader.object(start, "", &mut |member, at| match member {
            "key" => {
                document.key = Some(reader.key(at)?);
                Ok(())
            }
            "apps" if document.app.is_none() => {
                document.whole = true;
                reader.object(at, member, &mut |name, inner| {
                    Name::parse("app", name).map_err(|error| reader.because(inner, &error))?;
                    let (path, mut part) = (format!("apps.{name}"), Part::default());
                    reader.object(inner, &path, &mut |member, at| {
                        reader.part(at, (&path, member), PART, &mut part)
                    })?;
                    document.apps.insert(name.to_owned(), part);
                    Ok(())
                })
            }
            "schema" | "kind" | "name" => Ok(()),
            "network" if document.app.is_some() => Ok(()),
            _ => reader.part(at, ("", member), known, &mut part),
        })?;
        match &document.app {
            Some(name) => drop(document.apps.insert(name.clone(), part)),
            None => document.own = part,
        }
        Ok(document)
    }
}

impl Document {
    /// Whether it holds the value of a secret.
    #[cfg(feature = "server")]
    pub fn holds_secrets(&self) -> bool {
        let parts = std::iter::once(&self.own).chain(self.apps.values());
        parts.flat_map(|part| part.secrets.iter().flat_map(BTreeMap::values)).any(|one| one.sealed.is_some())
    }
}

/// A text that is JSON.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    /// What is wrong at an offset.
    fn wrong(&self, at: usize, what: &str) -> Error {
        let before = self.0.as_bytes().get(..at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::usage(format!("line {line}: {what}")).field("document")
    }

    /// What another error says of something at an offset.
    fn because(&self, at: usize, error: &Error) -> Error {
        let wrong = self.wrong(at, error.message());
        match error.hint_text() {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    }

    /// The members of the object at an offset, each once.
    fn object(&self, at: usize, path: &str, each: &mut dyn FnMut(&str, usize) -> Result<()>) -> Result<()> {
        let (bytes, mut seen, mut failed) = (self.0.as_bytes(), BTreeSet::new(), None);
        let walked = json::members(bytes, at, &mut |key, at| {
            let name = std::str::from_utf8(key).ok().and_then(json::string).unwrap_or_default();
            let done = match seen.insert(name.clone().into_owned()) {
                true => each(&name, at),
                false => Err(self.wrong(at, &format!("'{}' is there twice", joined(path, &name)))),
            };
            match done {
                Ok(()) => json::skip_value(bytes, at),
                Err(error) => {
                    failed = Some(error);
                    Err(at)
                }
            }
        });
        match (failed, walked) {
            (Some(error), _) => Err(error),
            (None, Err(_)) => Err(self.takes(at, path, "an object")),
            (None, Ok(_)) => Ok(()),
        }
    }

    /// That the member at an offset is of another kind than it takes.
    fn takes(&self, at: usize, path: &str, what: &str) -> Error {
        let subject = if path.is_empty() { "the document".to_owned() } else { format!("'{path}'") };
        self.wrong(at, &format!("{subject} takes {what}"))
    }

    fn raw(&self, at: usize) -> &str {
        let end = json::skip_value(self.0.as_bytes(), at).unwrap_or(at);
        self.0.get(at..end).unwrap_or_default()
    }

    fn text(&self, at: usize, path: &str) -> Result<String> {
        let text = json::string(self.raw(at)).ok_or_else(|| self.takes(at, path, "text"))?;
        Ok(text.into_owned())
    }

    fn number(&self, at: usize, path: &str) -> Result<u64> {
        self.raw(at).parse().map_err(|_| self.takes(at, path, "a whole number"))
    }

    fn label(&self, at: usize, path: &str) -> Result<String> {
        let text = self.text(at, path)?;
        Name::parse(path, &text).map_err(|error| self.because(at, &error))?;
        Ok(text)
    }

    fn key(&self, at: usize) -> Result<Key> {
        let mut key = Key::default();
        self.object(at, "key", &mut |member, at| {
            let path = joined("key", member);
            match member {
                "public_key" => key.public = self.text(at, &path)?,
                "user" => key.user = self.text(at, &path)?,
                "wrapped" => key.wrapped = self.text(at, &path)?,
                _ => return Err(self.unknown(at, &path, &["public_key", "user", "wrapped"])),
            }
            Ok(())
        })?;
        Ok(key)
    }

    /// Reads a member of a part that has those that are `known`.
    fn part(&self, at: usize, (path, member): (&str, &str), known: &[&str], part: &mut Part) -> Result<()> {
        let path = joined(path, member);
        if !known.contains(&member) {
            return Err(self.unknown(at, &path, &[known, HEAD].concat()));
        }
        match member {
            "instances" => {
                let count = self.number(at, &path)?;
                if !(1..=INSTANCES_MAX).contains(&count) {
                    return Err(self.takes(at, &path, &format!("1 to {INSTANCES_MAX}")));
                }
                part.instances = Some(count);
            }
            "variables" => {
                let all = part.variables.insert(BTreeMap::new());
                self.object(at, &path, &mut |name, at| {
                    let value = self.text(at, &joined(&path, name))?;
                    let checked = check_name(name).and_then(|()| check_value(name, &value));
                    checked.map_err(|error| self.because(at, &error))?;
                    all.insert(name.to_owned(), value);
                    Ok(())
                })?;
            }
            "secrets" => {
                let all = part.secrets.insert(BTreeMap::new());
                self.object(at, &path, &mut |name, at| {
                    check_name(name).map_err(|error| self.because(at, &error))?;
                    all.insert(name.to_owned(), self.secret(at, &joined(&path, name))?);
                    Ok(())
                })?;
            }
            _ => {
                let (all, mut failed) = (part.webhooks.insert(Vec::new()), None);
                let bytes = self.0.as_bytes();
                let walked = json::list(bytes, at, &mut |at| {
                    match self.text(at, &path) {
                        Ok(url) => all.push(url),
                        Err(error) => failed = Some(error),
                    }
                    json::skip_value(bytes, at)
                });
                if failed.is_some() || walked.is_err() {
                    return Err(self.takes(at, &path, "a list of texts"));
                }
            }
        }
        Ok(())
    }

    fn secret(&self, at: usize, path: &str) -> Result<Secret> {
        let mut secret = Secret::default();
        self.object(at, path, &mut |member, at| {
            let path = joined(path, member);
            match member {
                "fingerprint" => secret.fingerprint = self.text(at, &path)?,
                "sealed" if self.raw(at) == "null" => {}
                "sealed" => secret.sealed = Some(self.text(at, &path)?),
                _ => return Err(self.unknown(at, &path, &["fingerprint", "sealed"])),
            }
            Ok(())
        })?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match secret.fingerprint.len() == 16 && secret.fingerprint.bytes().all(hex) {
            true => Ok(secret),
            false => Err(self.takes(at, &joined(path, "fingerprint"), "16 of 0-9 and a-f")),
        }
    }

    fn unknown(&self, at: usize, path: &str, known: &[&str]) -> Error {
        let error = self.wrong(at, &format!("'{path}' is nothing that is known here"));
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        match nearest(name, known.iter().copied()) {
            Some(name) => error.hint(format!("did you mean '{}'?", joined(parent, name))),
            None => error.hint(format!("there are: {}", known.join(", "))),
        }
    }
}

fn joined(path: &str, member: &str) -> String {
    if path.is_empty() { member.to_owned() } else { format!("{path}.{member}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_network_and_an_app_are_read() {
        let document = Document::parse(
            r#"{"schema":1,"kind":"network","name":"blue",                "variables":{"A":"1","B":"é\n"},"webhooks":["https://x.test/"],"key":{"public_key":"p","user":"u","wrapped":"w"},
                "apps":{"web":{"instances":3,"secrets":{"S":{"fingerprint":"0123456789abcdef","sealed":null}}},"api":{}}}"#,
        );
        let document = document.unwrap();
        assert_eq!((document.network.as_str(), document.app), ("blue", None));
        let variables = [("A", "1"), ("B", "é\n")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(document.own.variables, Some(BTreeMap::from(variables)));
        assert_eq!(document.own.webhooks.unwrap(), ["https://x.test/"]);
        assert!(document.own.secrets.is_none() && document.key.unwrap().wrapped == "w");
        let web = &document.apps["web"];
        assert_eq!((document.apps.len(), web.instances, web.variables.is_none()), (2, Some(3), true));
        assert!(web.secrets.as_ref().unwrap()["S"].sealed.is_none());
        let document =
            Document::parse(r#"{"schema":1,"kind":"app","name":"web","network":"blue","variables":{}}"#)
                .unwrap();
        assert_eq!((document.network.as_str(), document.app.as_deref()), ("blue", Some("web")));
        assert_eq!(document.apps["web"].variables, Some(BTreeMap::new()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let network =
            |rest: &str| format!("{{\"schema\":1,\n\"kind\":\"network\",\"name\":\"blue\",\n{rest}}}");
        for (text, message) in [
            ("", "line 1: is no JSON"),
            ("{\n\"schema\":1,,}", "line 2: is no JSON"),
            ("[]", "line 1: the document takes an object"),
            ("{}", "line 1: the document has no 'schema'"),
            (r#"{"schema":2}"#, "line 1: is schema 2, and this is for schema 1"),
            (r#"{"schema":1,"kind":"x","name":"a"}"#, "line 1: 'kind' takes 'app' or 'network', not 'x'"),
            (r#"{"schema":1,"kind":"app","name":"a"}"#, "line 1: the document has no 'network'"),
            (&network("\"variable\":{}"), "line 3: 'variable' is nothing that is known here"),
            (&network("\"instances\":1"), "line 3: 'instances' is nothing that is known here"),
            (
                &network("\"apps\":{\"Web\":{}}"),
                "line 3: 'Web' is no valid app name: only lower-case letters are allowed",
            ),
            (
                &network("\"apps\":{\"web\":{\n\"instances\":21}}"),
                "line 4: 'apps.web.instances' takes 1 to 20",
            ),
            (
                &network("\"apps\":{\"web\":{\"instances\":-1}}"),
                "line 3: 'apps.web.instances' takes a whole number",
            ),
            (&network("\"apps\":{\"web\":{},\n\"web\":{}}"), "line 4: 'apps.web' is there twice"),
            (&network("\"variables\":{\"A\":\"1\",\n\"A\":\"2\"}"), "line 4: 'variables.A' is there twice"),
            (&network("\"variables\":{\"A\":1}"), "line 3: 'variables.A' takes text"),
            (
                &network("\"variables\":{\"PORT\":\"1\"}"),
                "line 3: 'PORT' is Max's own: it tells an instance where to listen",
            ),
            (&network("\"webhooks\":[1]"), "line 3: 'webhooks' takes a list of texts"),
            (&network("\"webhooks\":{}"), "line 3: 'webhooks' takes a list of texts"),
            (&network("\"secrets\":{\"A\":\"b\"}"), "line 3: 'secrets.A' takes an object"),
            (
                &network("\"secrets\":{\"A\":{\"fingerprint\":\"b\"}}"),
                "line 3: 'secrets.A.fingerprint' takes 16 of 0-9 and a-f",
            ),
            (&network("\"key\":{\"private\":\"x\"}"), "line 3: 'key.private' is nothing that is known here"),
        ] {
            let error = Document::parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!((error.message(), error.field_name()), (message, Some("document")), "{text}");
        }
        let hint = |text: &str| Document::parse(text).err().unwrap().hint_text().unwrap().to_owned();
        assert_eq!(hint(&network("\"variable\":{}")), "did you mean 'variables'?");
        assert_eq!(
            hint(&network("\"apps\":{\"web\":{\"instanses\":1}}")),
            "did you mean 'apps.web.instances'?"
        );
    }
}
