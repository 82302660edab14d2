//! A document of an export, read.

use crate::document::check;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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
pub struct Secret {
    /// Tells it apart from other values of its name.
    pub fingerprint: String,
    /// HPKE's encapsulated key and ciphertext, in base64; none where it was left out.
    pub sealed: Option<String>,
}

/// A network's key.
pub struct Key {
    /// The X25519 key, in base64.
    pub public: String,
    /// Who exported it, and alone can import its secrets.
    pub user: String,
    /// The private one, in base64, encrypted by that server for this user.
    pub wrapped: String,
}

impl Document {
    /// Reads a document; an error says where it is wrong.
    pub fn parse(text: &str) -> Result<Document> {
        check(text)?;
        let object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            _ => return Err(Error::usage("this is no JSON").field("document")),
        };
        let mut document = Document { key: object.get("key").map(key), ..Document::default() };
        let (name, part) = (text_of(object.get("name")), part(&object));
        if object.get("kind").is_some_and(|kind| kind == "app") {
            document.network = text_of(object.get("network"));
            document.app = Some(name.clone());
            document.apps.insert(name, part);
            return Ok(document);
        }
        (document.network, document.own) = (name, part);
        if let Some(apps) = object.get("apps").and_then(Value::as_object) {
            document.whole = true;
            let inner = |app: &Value| app.as_object().map(self::part).unwrap_or_default();
            document.apps = apps.iter().map(|(name, app)| (name.clone(), inner(app))).collect();
        }
        Ok(document)
    }

    /// Whether it holds the value of a secret.
    pub fn holds_secrets(&self) -> bool {
        let parts = std::iter::once(&self.own).chain(self.apps.values());
        parts.flat_map(|part| part.secrets.iter().flat_map(BTreeMap::values)).any(|one| one.sealed.is_some())
    }
}

fn text_of(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn key(value: &Value) -> Key {
    let text = |member| text_of(value.get(member));
    Key { public: text("public_key"), user: text("user"), wrapped: text("wrapped") }
}

fn part(object: &Map<String, Value>) -> Part {
    let of = |member: &str| object.get(member).and_then(Value::as_object);
    let secret = |value: &Value| Secret {
        fingerprint: text_of(value.get("fingerprint")),
        sealed: value.get("sealed").and_then(Value::as_str).map(str::to_owned),
    };
    Part {
        instances: object.get("instances").and_then(Value::as_u64),
        variables: of("variables")
            .map(|all| all.iter().map(|(name, value)| (name.clone(), text_of(Some(value)))).collect()),
        secrets: of("secrets")
            .map(|all| all.iter().map(|(name, value)| (name.clone(), secret(value))).collect()),
        webhooks: object
            .get("webhooks")
            .and_then(Value::as_array)
            .map(|all| all.iter().map(|url| text_of(Some(url))).collect()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_network_and_an_app_are_read() {
        let document = Document::parse(
            r#"{"schema":1,"kind":"network","name":"blue",
                "variables":{"A":"1","B":"é\n"},"webhooks":["https://x.test/"],"key":{"public_key":"p","user":"u","wrapped":"w"},
                "apps":{"web":{"instances":3,"secrets":{"S":{"fingerprint":"0123456789abcdef","sealed":null}}},"api":{}}}"#,
        );
        let document = document.unwrap();
        assert_eq!((document.network.as_str(), &document.app, document.whole), ("blue", &None, true));
        assert!(!document.holds_secrets());
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
        assert_eq!((&document.apps["web"].variables, document.whole), (&Some(BTreeMap::new()), false));
    }
}
