//! `rig create secret`, `rig list secrets`, `rig delete secret`, `rig import secrets`,
//! `rig rotate key`. Values are sealed here and leave rig in no other way.

use super::delete::YES;
use super::list;
use super::tell;
use super::variable::{
    FROM_FILE, IF_VERSION, PRUNE, STAGE, agree, flags, if_version, in_file, read, scope, send,
};
use crate::cli::{Arg, Command, Flag, Matches};
use crate::dotenv;
use crate::error::{Error, Kind, Result};
use crate::net::{base64, hpke};
use crate::packed::{packed, word};
use crate::redact::Secret;
use crate::session::{self, Session};
use crate::term::prompt::{hidden, possible, without_line_end};
use crate::term::text::count;
use crate::view::{Field, Show, at, field, number, text};
use crate::wire::secret::{Change, INFO, Sealed, about};
use crate::wire::{network, variable::Select};

const VALUE: Flag = Flag {
    long: word("value"),
    short: None,
    value: word("VALUE"),
    help: packed!("the value; others may see it there"),
};

/// `rig create secret`.
pub const CREATE: Command = Command {
    words: word("create secret"),
    aliases: &[],
    summary: packed!("Set a secret of an app, or of all apps of a network"),
    about: packed!(
        "Asks for the value without showing it; without a terminal it is read from standard \
            input, of which one last line end is dropped. It is sealed to the network's key before it \
            leaves rig, opened only for programs that are started with it, and never shown again. \
            Otherwise a secret is a variable: see `rig create var`."
    ),
    args: &[Arg { name: word("KEY"), help: packed!("its name"), required: true }],
    flags: &[&session::APP, &session::NETWORK, &FROM_SOURCE, &VALUE, &STAGE, &IF_VERSION],
    examples: packed![
        ("Type it in", "rig create secret API_KEY --app web.blue"),
        ("From another program", "pass show api | rig create secret API_KEY --app web.blue"),
        ("A file, as it is", "rig create secret TLS_KEY --from-file key.pem --network blue"),
    ],
    run: create,
};

const FROM_SOURCE: Flag = Flag { help: packed!("a file that holds it; `-` is standard input"), ..FROM_FILE };

/// `rig list secrets`.
pub const LIST: Command = Command {
    words: word("list secrets"),
    aliases: &[],
    summary: packed!("List the secrets of an app or a network, without values"),
    about: packed!(
        "Of an app also those it has from its network. A fingerprint is another one each time a \
            secret is set, also to the same value."
    ),
    args: &[],
    flags: &[&session::APP, &session::NETWORK, &list::WHERE, &list::SORT, &list::PAGE, &list::AFTER],
    examples: packed![("An app's", "rig list secrets --app web.blue")],
    run: show,
};

/// `rig delete secret`.
pub const DELETE: Command = Command {
    words: word("delete secret"),
    aliases: &[],
    summary: packed!("Delete secrets of an app or a network"),
    about: packed!("Running apps are restarted without them, as with `rig create var`."),
    args: &[Arg { name: word("KEY..."), help: packed!("their names"), required: true }],
    flags: &[&session::APP, &session::NETWORK, &STAGE, &IF_VERSION],
    examples: packed![("One of them", "rig delete secret API_KEY --app web.blue")],
    run: delete,
};

/// `rig import secrets`.
pub const IMPORT: Command = Command {
    words: word("import secrets"),
    aliases: &[],
    summary: packed!("Set secrets from a dotenv file, asking first"),
    about: packed!("As `rig import vars`, but rig reads the file itself and seals each value."),
    args: &[Arg { name: word("FILE"), help: packed!("the file; `-` is standard input"), required: true }],
    flags: &[&session::APP, &session::NETWORK, &PRUNE, &STAGE, &IF_VERSION, &YES],
    examples: packed![("Ask first", "rig import secrets .env.secret --app web.blue")],
    run: import,
};

/// `rig rotate key`.
pub const ROTATE: Command = Command {
    words: word("rotate key"),
    aliases: &[],
    summary: packed!("Give a network a new key, and seal its secrets to that"),
    about: packed!(
        "Nothing is restarted, and no secret is lost. What was sealed to the old key opens no more."
    ),
    args: &[],
    flags: &[&session::NETWORK],
    examples: packed![("A network's", "rig rotate key --network blue")],
    run: rotate,
};

/// The columns of secrets.
pub const FIELDS: &[Field] = &[
    field("secret", "name", Show::Plain),
    field("from", "from", Show::Plain),
    field("overrides", "overrides", Show::Plain),
    field("staged", "staged", Show::Plain),
    field("fingerprint", "fingerprint", Show::Plain),
    field("size", "size", Show::Bytes),
    field("set", "updated_at", Show::Ago),
    field("by", "updated_by", Show::Plain),
];

/// A name and its value.
type Pair = (String, Secret);

fn create(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let name = matches.arg(0).unwrap_or_default();
    if name.contains('=') {
        return Err(Error::usage(packed!("a secret's value does not stand behind its name"))
            .hint(packed!("leave it out: rig asks for it, or reads it from standard input")));
    }
    let value = match (matches.value(&VALUE), matches.value(&FROM_SOURCE)) {
        (Some(_), Some(_)) => return Err(Error::usage(packed!("is it --value or --from-file?"))),
        (Some(value), None) => {
            session
                .output
                .warn("a value on the command line is seen by other programs and kept by the shell");
            Secret::new(value.to_owned())
        }
        (None, None) if session.output.interactive => hidden(&session.output, &format!("value of {name}"))?,
        (None, file) => {
            let file = file.unwrap_or("-");
            let value = read(file)?;
            match file {
                "-" => without_line_end(&value),
                _ => value,
            }
        }
    };
    if value.reveal().is_empty() {
        return Err(Error::usage(format!("the value of '{name}' is empty"))
            .hint(packed!("delete a secret with `rig delete secret`")));
    }
    change(session, matches, &of, &[(name.to_owned(), value)], Vec::new(), false)
}

fn delete(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    change(session, matches, &of, &[], matches.args.clone(), false)
}

fn import(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let file = matches.arg(0).unwrap_or_default();
    let content = read(file)?;
    let entries = dotenv::parse(content.reveal()).map_err(|error| in_file(error, Some(file)))?;
    let pairs: Vec<Pair> = entries.into_iter().map(|entry| (entry.name, Secret::new(entry.value))).collect();
    if !matches.has(&YES) {
        possible(&session.output, "--yes")?;
    }
    change(session, matches, &of, &pairs, Vec::new(), !matches.has(&YES))
}

/// Seals and asks for the change; after a look at it when `ask` says so.
fn change(
    session: &Session,
    matches: &Matches,
    of: &Select,
    pairs: &[Pair],
    delete: Vec<String>,
    ask: bool,
) -> Result<()> {
    let prune = matches.has(&PRUNE);
    let mut request = Change {
        network: of.network.clone(),
        app: of.app.clone(),
        key: 0,
        set: Vec::new(),
        delete,
        prune,
        version: if_version(matches)?,
        stage: matches.has(&STAGE),
        preview: ask,
    };
    seal(session, of, pairs, &mut request)?;
    if ask {
        let preview = session.max()?.document("secret:change", &request)?;
        agree(session, of, &preview)?;
        (request.version, request.preview) = (at(&preview, "version").and_then(number), false);
    }
    match send(session, of, "secret:change", &request, None) {
        // Somebody has rotated the key meanwhile.
        Err(error) if error.field_name() == Some("key") => {
            seal(session, of, pairs, &mut request)?;
            send(session, of, "secret:change", &request, None)
        }
        sent => sent,
    }
}

/// Puts the values, sealed to the network's present key, into the request.
fn seal(session: &Session, of: &Select, pairs: &[Pair], request: &mut Change) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    let ask = network::Select { network: of.network.clone() };
    // As a tree, which other commands read too: a struct would bring code of its own.
    let key = session.max()?.document("secret:key", &ask)?;
    let public = base64::decode(&text(&key, "public_key")).unwrap_or_default();
    request.key = at(&key, "number").and_then(number).unwrap_or(0);
    request.set.clear();
    for (name, value) in pairs {
        if value.reveal().contains('\0') {
            let message = format!("the value of '{name}' holds a zero byte, which no environment can");
            return Err(Error::new(Kind::Usage, message));
        }
        let about = about(&of.network, of.app.as_deref(), name);
        let sealed = hpke::seal(&public, INFO, about.as_bytes(), value.reveal().as_bytes())?;
        request.set.push(Sealed { name: name.clone(), sealed: base64::encode(&sealed) });
    }
    Ok(())
}

fn show(session: &Session, matches: &Matches) -> Result<()> {
    let of = scope(session, matches, None)?;
    let none = format!("no secrets yet: `rig create secret KEY {}`", flags(&of));
    list::ask(session, matches, &("secret:list", "secrets", FIELDS), &of, &none)
}

fn rotate(session: &Session, matches: &Matches) -> Result<()> {
    let network = session.network(matches, None)?.to_string();
    let answer = session.max()?.document("secret:rotate", &network::Select { network: network.clone() })?;
    let secrets = count(at(&answer, "secrets").and_then(number).unwrap_or(0), "secret");
    tell(session, &answer, &format!("network {network} has key {{number}} now; {secrets} sealed to it"))
}
