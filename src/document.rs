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
//! have is left as it is. What it is not known to have is a mistake. The forms are data, which
//! [`check`] walks along with the text.

use crate::env::{check_name, check_value};
use crate::error::{Error, Result};
use crate::json;
use crate::name::Name;
use crate::suggest::nearest;
use crate::wire::app::INSTANCES_MAX;

/// The longest document, in bytes.
pub const BYTES_MAX: usize = 4 << 20;

/// What a value has to be.
enum Form {
    /// Any text.
    Text,
    /// A text or null.
    Maybe,
    /// A list of texts.
    Texts,
    /// The value of a variable.
    Variable,
    /// Tells a secret's value apart: 16 digits of hexadecimal.
    Fingerprint,
    /// The name of a network or an app.
    Name,
    /// A whole number from 1 to this.
    Count(u64),
    /// Members of these names, those with `true` in any case.
    Object(&'static [(&'static str, bool, Form)]),
    /// Names of variables, each with a value of this form.
    Variables(&'static Form),
    /// Names of apps, each with a value of this form.
    Apps(&'static Form),
}

const VARIABLES: Form = Form::Variables(&Form::Variable);
const SECRETS: Form = Form::Variables(&Form::Object(&[
    ("fingerprint", true, Form::Fingerprint),
    ("sealed", false, Form::Maybe),
]));
const KEY: Form = Form::Object(&[
    ("public_key", true, Form::Text),
    ("user", true, Form::Text),
    ("wrapped", true, Form::Text),
]);
const INSTANCES: Form = Form::Count(INSTANCES_MAX);
/// There is but one schema yet.
const SCHEMA: Form = Form::Count(1);

/// One of a network's apps.
static PART: Form = Form::Object(&[
    ("instances", false, INSTANCES),
    ("variables", false, VARIABLES),
    ("secrets", false, SECRETS),
]);

/// An app's document.
static APP: Form = Form::Object(&[
    ("schema", true, SCHEMA),
    ("kind", true, Form::Text),
    ("name", true, Form::Name),
    ("network", true, Form::Name),
    ("key", false, KEY),
    ("instances", false, INSTANCES),
    ("variables", false, VARIABLES),
    ("secrets", false, SECRETS),
]);

/// A network's document.
static NETWORK: Form = Form::Object(&[
    ("schema", true, SCHEMA),
    ("kind", true, Form::Text),
    ("name", true, Form::Name),
    ("key", false, KEY),
    ("variables", false, VARIABLES),
    ("secrets", false, SECRETS),
    ("webhooks", false, Form::Texts),
    ("apps", false, Form::Apps(&PART)),
]);

/// Refuses what is no document; the error says where it is wrong.
pub fn check(text: &str) -> Result<()> {
    let reader = Reader(text);
    if text.len() > BYTES_MAX {
        return Err(Error::usage(format!("a document has at most {BYTES_MAX} bytes")).field("document"));
    }
    json::check(text.as_bytes()).map_err(|at| reader.wrong(at, "this is no JSON"))?;
    let start = json::skip_space(text.as_bytes(), 0);
    let form = match json::member(text, "kind") {
        Some("\"app\"") => &APP,
        Some("\"network\"") => &NETWORK,
        _ => return Err(reader.wrong(start, "'kind' has to be 'app' or 'network'")),
    };
    reader.value(start, "", form)
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

    /// Refuses a value that is not of this form.
    fn value(&self, at: usize, path: &str, form: &'static Form) -> Result<()> {
        let end = json::skip_value(self.0.as_bytes(), at).unwrap_or(at);
        let raw = self.0.get(at..end).unwrap_or_default();
        let text = json::string(raw);
        let name = path.rsplit('.').next().unwrap_or_default();
        let wants = match form {
            Form::Text if text.is_some() => return Ok(()),
            Form::Maybe if text.is_some() || raw == "null" => return Ok(()),
            Form::Texts if self.is_texts(at) => return Ok(()),
            Form::Fingerprint if text.as_deref().is_some_and(is_fingerprint) => return Ok(()),
            Form::Count(most) if raw.parse().is_ok_and(|count| (1..=*most).contains(&count)) => return Ok(()),
            Form::Object(_) | Form::Variables(_) | Form::Apps(_) if raw.starts_with('{') => {
                return self.members(at, path, form);
            }
            Form::Variable if text.is_some() => {
                return self.because(at, check_value(name, &text.unwrap_or_default()));
            }
            Form::Name if text.is_some() => {
                return self.because(at, Name::parse(name, &text.unwrap_or_default()).map(drop));
            }
            Form::Text | Form::Maybe | Form::Variable | Form::Name => "a text",
            Form::Texts => "a list of texts",
            Form::Fingerprint => "16 of 0-9 and a-f",
            Form::Object(_) | Form::Variables(_) | Form::Apps(_) => "an object",
            Form::Count(1) => "1",
            Form::Count(most) => return Err(self.wrong(at, &format!("'{path}' takes 1 to {most}"))),
        };
        Err(self.wrong(at, &format!("'{path}' takes {wants}")))
    }

    /// What an error says of something at an offset.
    fn because(&self, at: usize, checked: Result<()>) -> Result<()> {
        checked.map_err(|error| {
            let wrong = self.wrong(at, error.message());
            match error.hint_text() {
                Some(hint) => wrong.hint(hint),
                None => wrong,
            }
        })
    }

    /// The same of the members of an object.
    fn members(&self, start: usize, path: &str, form: &'static Form) -> Result<()> {
        let (bytes, mut failed, mut names) = (self.0.as_bytes(), None, Vec::new());
        let _ = json::members(bytes, start, &mut |key, at| {
            let name = std::str::from_utf8(key).ok().and_then(json::string).unwrap_or_default().into_owned();
            match self.member(at, path, &name, form) {
                Ok(()) => {
                    names.push(name);
                    json::skip_value(bytes, at)
                }
                Err(error) => {
                    failed = Some(error);
                    Err(at)
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        names.sort_unstable();
        if let Some([twice, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(self.wrong(start, &format!("'{}' is there twice", joined(path, twice))));
        }
        if let Form::Object(known) = form
            && let Some(missing) =
                known.iter().find(|known| known.1 && !names.iter().any(|name| name == known.0))
        {
            return Err(self.wrong(start, &format!("'{}' is missing", joined(path, missing.0))));
        }
        Ok(())
    }

    fn member(&self, at: usize, path: &str, name: &str, form: &'static Form) -> Result<()> {
        let inner = match form {
            Form::Object(known) => match known.iter().find(|known| known.0 == name) {
                Some(known) => &known.2,
                None => return Err(self.unknown(at, path, name, known)),
            },
            Form::Apps(inner) => {
                self.because(at, Name::parse("app", name).map(drop))?;
                inner
            }
            Form::Variables(inner) => {
                self.because(at, check_name(name))?;
                inner
            }
            _ => return Ok(()),
        };
        self.value(at, &joined(path, name), inner)
    }

    fn is_texts(&self, at: usize) -> bool {
        let bytes = self.0.as_bytes();
        let walked = json::list(bytes, at, &mut |at| match bytes.get(at) {
            Some(b'"') => json::skip_value(bytes, at),
            _ => Err(at),
        });
        walked.is_ok()
    }

    fn unknown(&self, at: usize, path: &str, name: &str, known: &'static [(&str, bool, Form)]) -> Error {
        let error = self.wrong(at, &format!("'{}' is nothing that is known here", joined(path, name)));
        match nearest(name, known.iter().map(|known| known.0)) {
            Some(name) => error.hint(format!("did you mean '{}'?", joined(path, name))),
            None => error,
        }
    }
}

fn is_fingerprint(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn joined(path: &str, member: &str) -> String {
    if path.is_empty() { member.to_owned() } else { format!("{path}.{member}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let network =
            |rest: &str| format!("{{\"schema\":1,\n\"kind\":\"network\",\"name\":\"blue\",\n{rest}}}");
        let rules = "only lower-case letters are allowed";
        for (text, message) in [
            ("", "line 1: this is no JSON"),
            ("{\n\"schema\":1,,}", "line 2: this is no JSON"),
            ("[]", "line 1: 'kind' has to be 'app' or 'network'"),
            ("\n{}", "line 2: 'kind' has to be 'app' or 'network'"),
            (r#"{"kind":"app","name":"a","network":"b"}"#, "line 1: 'schema' is missing"),
            (r#"{"schema":2,"kind":"app","name":"a","network":"b"}"#, "line 1: 'schema' takes 1"),
            (r#"{"schema":1,"kind":"app","name":"a"}"#, "line 1: 'network' is missing"),
            (&network("\"variable\":{}"), "line 3: 'variable' is nothing that is known here"),
            (&network("\"instances\":1"), "line 3: 'instances' is nothing that is known here"),
            (&network("\"apps\":{\"Web\":{}}"), &format!("line 3: 'Web' is no valid app name: {rules}")),
            (
                &network("\"apps\":{\"web\":{\n\"instances\":21}}"),
                "line 4: 'apps.web.instances' takes 1 to 20",
            ),
            (&network("\"apps\":{\"web\":{\"instances\":-1}}"), "line 3: 'apps.web.instances' takes 1 to 20"),
            (
                &network("\"apps\":{\"web\":{\"instances\":1.5}}"),
                "line 3: 'apps.web.instances' takes 1 to 20",
            ),
            (&network("\"apps\":\n{\"web\":{},\n\"web\":{}}"), "line 4: 'apps.web' is there twice"),
            (&network("\"variables\":{\"A\":\"1\",\n\"A\":\"2\"}"), "line 3: 'variables.A' is there twice"),
            (&network("\"variables\":{\"A\":1}"), "line 3: 'variables.A' takes a text"),
            (&network("\"variables\":[]"), "line 3: 'variables' takes an object"),
            (
                &network("\"variables\":{\"PORT\":\"1\"}"),
                "line 3: 'PORT' is Max's own: it tells an instance where to listen",
            ),
            (&network("\"webhooks\":[1]"), "line 3: 'webhooks' takes a list of texts"),
            (&network("\"webhooks\":{}"), "line 3: 'webhooks' takes a list of texts"),
            (&network("\"secrets\":{\"A\":\"b\"}"), "line 3: 'secrets.A' takes an object"),
            (&network("\"secrets\":{\"A\":{}}"), "line 3: 'secrets.A.fingerprint' is missing"),
            (
                &network("\"secrets\":{\"A\":{\"fingerprint\":\"b\"}}"),
                "line 3: 'secrets.A.fingerprint' takes 16 of 0-9 and a-f",
            ),
            (&network("\"key\":{\"private\":\"x\"}"), "line 3: 'key.private' is nothing that is known here"),
        ] {
            let error = check(text).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!((error.message(), error.field_name()), (message, Some("document")), "{text}");
        }
        let hint = |text: &str| check(text).err().unwrap().hint_text().unwrap().to_owned();
        assert_eq!(hint(&network("\"variable\":{}")), "did you mean 'variables'?");
        assert_eq!(
            hint(&network("\"apps\":{\"web\":{\"instanses\":1}}")),
            "did you mean 'apps.web.instances'?"
        );
    }
}
