//! `rig login`, `rig logout`, `rig whoami`.

use crate::api::decode;
use crate::auth::{Auth, Kept, Source, exchange, revoke};
use crate::cli::{Command, Flag, Matches};
use crate::error::{Error, Kind, Result};
use crate::net::dial::{Route, dial};
use crate::net::url::Url;
use crate::packed::{packed, word};
use crate::redact::Secret;
use crate::session::Session;
use crate::store::config::{self, Config, Context, Place};
use crate::store::vault::Vault;
use crate::sys::files::GUARD;
use crate::term::prompt;
use crate::view::text;
use miniserde::Serialize;
use miniserde::json::Value;
use std::sync::Arc;
use std::{env, fs};

const TOKEN: Flag = Flag {
    long: word("token"),
    short: None,
    value: word("TOKEN"),
    help: packed!("the API token; others can see it: prefer --token-stdin"),
};
const TOKEN_STDIN: Flag = Flag {
    long: word("token-stdin"),
    short: None,
    value: word(""),
    help: packed!("read the API token from standard input"),
};
const STORE: Flag = Flag {
    long: word("store"),
    short: None,
    value: word("PLACE"),
    help: packed!("keep the session in the `keyring` or in a `file`"),
};

/// `rig login`.
pub const LOGIN: Command = Command {
    words: word("login"),
    aliases: &[],
    summary: packed!("Log in: exchange an API token for a session"),
    about: packed!(
        "The token itself is not kept. The session goes to the system's keyring, or to \
            a file only you can read where there is none. With RIG_URL and RIG_TOKEN no login \
            is needed."
    ),
    args: &[],
    flags: &[&TOKEN_STDIN, &TOKEN, &STORE],
    examples: packed![
        ("Ask for the token without showing it", "rig login --url https://max.example.com"),
        ("Take it from a file", "rig login --url https://max.example.com --token-stdin < token"),
        ("Trust a private authority", "rig login --url https://max.internal --ca ca.pem"),
        ("Trust one certificate", "rig login --url https://max.internal --pin SHA256:…"),
    ],
    run: login,
};

/// `rig logout`.
pub const LOGOUT: Command = Command {
    words: word("logout"),
    aliases: &[],
    summary: packed!("Log out: revoke the session and forget it"),
    about: packed!(""),
    args: &[],
    flags: &[],
    examples: packed![("End the session on this machine", "rig logout")],
    run: logout,
};

/// `rig whoami`.
pub const WHOAMI: Command = Command {
    words: word("whoami"),
    aliases: &[],
    summary: packed!("Show who you are, where, and until when"),
    about: packed!(""),
    args: &[],
    flags: &[],
    examples: packed![("For people", "rig whoami"), ("For scripts", "rig whoami -o json")],
    run: whoami,
};

/// What `rig login` and `rig whoami` answer.
#[derive(Serialize)]
struct Who {
    user: String,
    url: String,
    context: Option<String>,
    url_source: &'static str,
    token_source: &'static str,
    expires_at: String,
}

fn login(session: &Session, matches: &Matches) -> Result<()> {
    let file_only = match matches.value(&STORE) {
        None | Some("keyring") => false,
        Some("file") => true,
        Some(other) => {
            return Err(Error::usage(format!("'{other}' is no place for a session"))
                .hint(packed!("use `keyring` or `file`")));
        }
    };
    let directory = session.directory()?;
    // A damaged configuration is replaced.
    let config = session.config().unwrap_or_else(|_| Config::empty());
    let named = session.context_name().map(str::to_owned);
    let known = match &named {
        Some(name) => config.find(name),
        None => config.current(),
    };
    let target = match session.target(known)? {
        Some(target) => target.url,
        None if session.output.interactive => Url::parse(&prompt::ask(&session.output, "Max server (URL)")?)?,
        None => return Err(Error::usage("which server?").hint("add --url URL")),
    };
    let url = target.to_string();
    // Without a name it is the context of that server, or a new one named after it.
    let name = named.or_else(|| Some(config.on(&url)?.name.clone())).unwrap_or_else(|| default_name(&target));
    let before = config.find(&name);
    let same = before.filter(|context| context.url == url);
    let ca = match session.ca() {
        Some(path) => Some(absolute(&path)?),
        None => same.and_then(|context| context.ca.clone()),
    };
    let mut pin = match (session.pin(), session.ca()) {
        (None, None) => same.and_then(|context| context.pin.clone()),
        (pin, _) => pin,
    };
    let (mut http, route) = session.http(&target, ca.as_deref(), pin.as_deref())?;
    if let Some(trusted) = meet(session, &target, &route)? {
        (http, _) = session.http(&target, ca.as_deref(), Some(&trusted))?;
        pin = Some(trusted);
    }
    let token = token(session, matches)?;
    let tokens = exchange(&http, &token, false)?;
    let (user, expires_at) = (tokens.user.clone(), tokens.expires_at.clone());
    let access = Secret::new(tokens.access_token.clone());
    if let Some(context) = before {
        end_former(session, context, if same.is_some() { &pin } else { &context.pin });
    }
    let vault = Vault::new(&directory, &name);
    let text = Secret::new(miniserde::json::to_string(&Kept { url: url.clone(), tokens }));
    let kept = vault.store(text.reveal(), file_only).and_then(|place| {
        let context = Context { name: name.clone(), url: url.clone(), user: user.clone(), place, ca, pin };
        config::change(&directory, |config| config.put(context))?;
        Ok(place)
    });
    let place = kept.map_err(|error| {
        // Nobody could use that session: end it. If that fails too it ends by itself.
        let _ = revoke(&http, &access);
        error.hint(packed!("set RIG_URL and RIG_TOKEN to do without a login"))
    })?;
    if place == Place::File && !file_only {
        let file = vault.file();
        session
            .output
            .note(&format!("no keyring here: the session is kept in '{}' ({GUARD})", file.to_string_lossy()));
    }
    if session.output.json {
        return session.output.document(&Who {
            user,
            url,
            context: Some(name),
            url_source: "store",
            token_source: "store",
            expires_at,
        });
    }
    session.output.line(&format!("logged in to {url} as {user}"))
}

/// `max.example.com`, `localhost-7070`.
fn default_name(url: &Url) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = url.authority().chars().map(good).take(63).collect();
    name.trim_start_matches(['.', '-']).to_owned()
}

/// Where somebody can be asked, looks at the server before the token is: whether to trust
/// a certificate nobody known vouches for. Its fingerprint, if yes.
fn meet(session: &Session, url: &Url, route: &Route) -> Result<Option<String>> {
    let output = &session.output;
    if !url.secure() || !output.interactive || output.json {
        return Ok(None);
    }
    let Err(error) = dial(url, route, session.timeout()) else { return Ok(None) };
    let Some((pin, certificate)) = route.trust().stranger() else { return Err(error) };
    output.note(error.message());
    output.note(&format!(
        "It was made for '{}', valid from {} to {}. Its fingerprint is",
        certificate.subject, certificate.since, certificate.until
    ));
    output.note(&pin.to_string());
    match prompt::confirm(output, "Trust this certificate, and no other, for this server?", "--pin")? {
        true => Ok(Some(pin.to_string())),
        false => Err(error),
    }
}

fn token(session: &Session, matches: &Matches) -> Result<Secret> {
    let token = if let Some(token) = matches.value(&TOKEN) {
        session.output.warn("a token on the command line can be seen by other users; use --token-stdin");
        Secret::new(token.to_owned())
    } else if matches.has(&TOKEN_STDIN) {
        Secret::new(prompt::line()?)
    } else if session.output.interactive {
        prompt::hidden(&session.output, "API token (not shown)")?
    } else {
        return Err(Error::usage(packed!("cannot ask for the API token without a terminal"))
            .hint("use --token-stdin"));
    };
    match token.reveal().trim() {
        "" => Err(Error::usage(packed!("the API token is empty"))),
        token => Ok(Secret::new(token.to_owned())),
    }
}

/// The path of a file that is there, from the root.
fn absolute(path: &str) -> Result<String> {
    let full = fs::metadata(path).and_then(|_| env::current_dir());
    let full = full.map_err(|error| Error::io("read", path, &error))?.join(path);
    Ok(full.to_string_lossy().into_owned())
}

/// Revokes the session of an earlier login, as far as that goes: it is replaced.
fn end_former(session: &Session, context: &Context, pin: &Option<String>) {
    if end(session, context, pin.as_deref()).is_err() {
        session
            .output
            .note(&format!("could not end the former session at {}; it ends by itself", context.url));
    }
}

fn end(session: &Session, context: &Context, pin: Option<&str>) -> Result<()> {
    let url = Url::parse(&context.url)?;
    let vault = Vault::new(&session.directory()?, &context.name);
    let ca = session.ca().or_else(|| context.ca.clone());
    let (http, _) = session.http(&url, ca.as_deref(), pin)?;
    let auth = Auth::new(Arc::clone(&http), context.url.clone(), Source::Vault(vault, context.place));
    let ended = auth.access(None).and_then(|access| match revoke(&http, &access.token) {
        Err(error) if error.kind() == Kind::Unauthenticated => {
            revoke(&http, &auth.access(Some(&access.token))?.token)
        }
        ended => ended,
    });
    match ended {
        // Already over: what was wanted.
        Err(error) if error.kind() == Kind::Unauthenticated => Ok(()),
        ended => ended,
    }
}

fn logout(session: &Session, _: &Matches) -> Result<()> {
    let Some(context) = session.context(&session.config()?)? else {
        return said(session, None, "nobody is logged in");
    };
    forget(session, &context)?;
    let text = format!("logged out of {}", context.url);
    said(session, Some(context), &text)
}

/// Ends a context's session and removes everything that is kept of it, in any case.
pub fn forget(session: &Session, context: &Context) -> Result<()> {
    let directory = session.directory()?;
    let pin = session.pin().or_else(|| context.pin.clone());
    let ended = end(session, context, pin.as_deref());
    Vault::new(&directory, &context.name).forget()?;
    config::change(&directory, |config| config.take(&context.name))?;
    ended.map_err(|error| {
        let message = format!("forgot the session here, but could not revoke it: {}", error.message());
        Error::new(error.kind(), message)
            .hint(packed!("it ends by itself within 30 days; revoking the API token ends it now"))
    })
}

/// What `rig logout` answers.
#[derive(Serialize)]
struct Ended {
    url: Option<String>,
    user: Option<String>,
}

fn said(session: &Session, context: Option<Context>, text: &str) -> Result<()> {
    if session.output.json {
        let (url, user) = context.map_or((None, None), |context| (Some(context.url), Some(context.user)));
        return session.output.document(&Ended { url, user });
    }
    session.output.line(text)
}

fn whoami(session: &Session, _: &Matches) -> Result<()> {
    let config = session.config()?;
    let context = session.context(&config)?;
    let url_source = session.target(context.as_ref())?.map_or("store", |target| target.source);
    let token_source = if session.token().is_some() { "RIG_TOKEN" } else { "store" };
    let max = session.max()?;
    let url = max.url.to_string();
    let info: Value = decode(&max.ask("session:show", "{}".to_owned())?)?;
    let context = match token_source {
        "store" => config.on(&url).filter(|_| session.context_name().is_none()).cloned().or(context),
        _ => None,
    };
    let context = context.map(|context| context.name);
    let who = Who {
        user: text(&info, "user"),
        url,
        context,
        url_source,
        token_source,
        expires_at: text(&info, "expires_at"),
    };
    if session.output.json {
        return session.output.document(&who);
    }
    session.output.line(&format!("{} at {}", who.user, who.url))?;
    session.output.line(&format!(
        "server from {url_source}, token from {token_source}, session until {}",
        who.expires_at
    ))
}
