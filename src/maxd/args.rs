//! maxd's command line.

use super::auth::ACCESS;
use super::detect::parse_size;
use super::logs::Keep;
use super::releases::{ALWAYS, Retention};
use super::runtime::process::Isolation;
use crate::error::{Error, Result};
use crate::time::parse_duration;
use lexopt::{Arg, Parser, ValueExt};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long what is deleted can be restored unless the operator says otherwise.
const TRASH: Duration = Duration::from_secs(7 * 24 * 3600);

/// What `maxd --help` prints.
pub const HELP: &str = "\
maxd, the Max platform for one host

Usage:
  maxd serve --data DIR [FLAGS]
  maxd token create --data DIR --user NAME
  maxd token list   --data DIR --user NAME
  maxd token revoke --data DIR --user NAME ID

Flags of `maxd serve`:
  --data DIR            where everything is kept
  --listen ADDR         where rig connects (127.0.0.1:7070); port 0 takes a free one
  --apps-listen ADDR    where the apps answer (127.0.0.1:7080)
  --domain D            apps answer as APP.NETWORK.D (localhost)
  --tls-cert F          serve TLS with this certificate chain (PEM) …
  --tls-key F           … and its key
  --tls-self-signed     serve TLS with a private authority of its own (DIR/tls/ca.pem)
  --ready-file F        once ready, write {\"url\":…,\"apps_url\":…} to this file
  --source-limit SIZE   the largest source of a deploy (1GiB)
  --keep-releases N     how many releases of an app are kept, those that served (10) …
  --keep-bytes SIZE     … as long as they take no more than this together (5GiB)
  --cache-bytes SIZE    how much an app's builds may leave for the next ones (2GiB)
  --access-lifetime T   how long an access token is good (15m); rig renews it by itself
  --trash TIME          how long what is deleted can be restored (7d); 0 deletes at once
  --log-keep TIME       how long log lines are kept (7d)
  --log-bytes SIZE      how much of an app's log is kept (256MiB)
  --log-rate N          drop what an app writes above N lines a second, marked (else it
                        waits)
  --isolation HOW       of apps and builds: auto (bubblewrap where it works),
                        bubblewrap (or don't start), none
  --webhook-private     webhooks may lead to addresses that are not public, too
  --webhook-ca F        trust these authorities (PEM) for webhooks, too

Plain HTTP is served on loopback addresses only.

Examples:
  # For oneself
  maxd serve --data ~/max
  # For others, with a certificate
  maxd serve --data /var/lib/max --listen 0.0.0.0:443 --apps-listen 0.0.0.0:8443 \\
    --domain apps.example.com --tls-cert cert.pem --tls-key key.pem
  # A user's API token, for `rig login`
  maxd token create --data ~/max --user ada > token
";

/// What was asked for.
pub enum Command {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// `serve`.
    Serve(Box<Serve>),
    /// `token create`.
    TokenCreate(Token),
    /// `token list`.
    TokenList(Token),
    /// `token revoke ID`.
    TokenRevoke(Token, i64),
}

/// The flags of `serve`.
pub struct Serve {
    /// `--data`.
    pub data: PathBuf,
    /// `--listen`.
    pub listen: SocketAddr,
    /// `--apps-listen`.
    pub apps_listen: SocketAddr,
    /// `--domain`.
    pub domain: String,
    /// `--tls-…`.
    pub tls: Tls,
    /// `--ready-file`.
    pub ready_file: Option<PathBuf>,
    /// `--source-limit`, in bytes.
    pub source_limit: u64,
    /// `--keep-…`.
    pub releases: Retention,
    /// `--cache-bytes`.
    pub cache_bytes: u64,
    /// `--access-lifetime`.
    pub access_lifetime: Duration,
    /// `--trash`.
    pub trash: Duration,
    /// `--log-…`.
    pub keep: Keep,
    /// `--isolation`.
    pub isolation: Isolation,
    /// `--webhook-private`.
    pub webhook_private: bool,
    /// `--webhook-ca`.
    pub webhook_ca: Option<PathBuf>,
}

/// How connections are protected.
pub enum Tls {
    /// Not: loopback only.
    None,
    /// With these files.
    Files(PathBuf, PathBuf),
    /// With an authority of its own.
    Own,
}

/// The flags of `token`.
pub struct Token {
    /// `--data`.
    pub data: PathBuf,
    /// `--user`.
    pub user: String,
}

#[derive(Default)]
struct Given {
    words: Vec<String>,
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    apps_listen: Option<SocketAddr>,
    domain: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    own: bool,
    ready_file: Option<PathBuf>,
    source_limit: Option<u64>,
    keep_releases: Option<u64>,
    keep_bytes: Option<u64>,
    cache_bytes: Option<u64>,
    access_lifetime: Option<Duration>,
    trash: Option<Duration>,
    keep: Keep,
    isolation: Option<Isolation>,
    webhook_private: bool,
    webhook_ca: Option<PathBuf>,
    user: Option<String>,
}

/// Parses the arguments behind the program's name.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command> {
    let mut parser = Parser::from_args(args);
    let mut given = Given::default();
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("version") | Arg::Short('V') => return Ok(Command::Version),
            Arg::Long("data") => given.data = Some(parser.value().map_err(wrong)?.into()),
            Arg::Long("listen") => given.listen = Some(address(&mut parser, "--listen")?),
            Arg::Long("apps-listen") => given.apps_listen = Some(address(&mut parser, "--apps-listen")?),
            Arg::Long("domain") => given.domain = Some(domain(&text(&mut parser)?)?),
            Arg::Long("tls-cert") => given.certificate = Some(parser.value().map_err(wrong)?.into()),
            Arg::Long("tls-key") => given.key = Some(parser.value().map_err(wrong)?.into()),
            Arg::Long("tls-self-signed") => given.own = true,
            Arg::Long("ready-file") => given.ready_file = Some(parser.value().map_err(wrong)?.into()),
            Arg::Long("source-limit") => given.source_limit = Some(size(&text(&mut parser)?)?),
            Arg::Long("keep-releases") => given.keep_releases = Some(releases(&text(&mut parser)?)?),
            Arg::Long("cache-bytes") => given.cache_bytes = Some(size(&text(&mut parser)?)?),
            Arg::Long("keep-bytes") => given.keep_bytes = Some(size(&text(&mut parser)?)?),
            Arg::Long("access-lifetime") => given.access_lifetime = Some(lifetime(&text(&mut parser)?)?),
            Arg::Long("trash") => given.trash = Some(trash(&text(&mut parser)?)?),
            Arg::Long("log-keep") => given.keep.time = keep(&text(&mut parser)?)?,
            Arg::Long("log-bytes") => given.keep.bytes = size(&text(&mut parser)?)?,
            Arg::Long("log-rate") => given.keep.rate = Some(rate(&text(&mut parser)?)?),
            Arg::Long("isolation") => given.isolation = Some(isolation(&text(&mut parser)?)?),
            Arg::Long("webhook-private") => given.webhook_private = true,
            Arg::Long("webhook-ca") => given.webhook_ca = Some(parser.value().map_err(wrong)?.into()),
            Arg::Long("user") => given.user = Some(text(&mut parser)?),
            Arg::Value(word) => given.words.push(word.string().map_err(wrong)?),
            other => return Err(wrong(other.unexpected())),
        }
    }
    command(given)
}

fn command(given: Given) -> Result<Command> {
    let words: Vec<&str> = given.words.iter().map(String::as_str).collect();
    let data = || given.data.clone().ok_or_else(|| missing("--data DIR"));
    let token = || {
        let user = given.user.clone().ok_or_else(|| missing("--user NAME"))?;
        Ok::<_, Error>(Token { data: data()?, user })
    };
    match words.as_slice() {
        [] => Ok(Command::Help),
        ["serve"] => {
            let tls = match (&given.certificate, &given.key, given.own) {
                (None, None, false) => Tls::None,
                (None, None, true) => Tls::Own,
                (Some(certificate), Some(key), false) => Tls::Files(certificate.clone(), key.clone()),
                _ => return Err(Error::usage("give --tls-cert with --tls-key, or --tls-self-signed alone")),
            };
            let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
            let serve = Serve {
                data: data()?,
                listen: given.listen.unwrap_or(loopback(7070)),
                apps_listen: given.apps_listen.unwrap_or(loopback(7080)),
                domain: given.domain.unwrap_or_else(|| "localhost".to_owned()),
                tls,
                ready_file: given.ready_file,
                source_limit: given.source_limit.unwrap_or(1 << 30),
                releases: Retention {
                    releases: given.keep_releases.unwrap_or(10),
                    bytes: given.keep_bytes.unwrap_or(5 << 30),
                },
                cache_bytes: given.cache_bytes.unwrap_or(2 << 30),
                access_lifetime: given.access_lifetime.unwrap_or(ACCESS),
                trash: given.trash.unwrap_or(TRASH),
                keep: given.keep,
                isolation: given.isolation.unwrap_or(Isolation::Auto),
                webhook_private: given.webhook_private,
                webhook_ca: given.webhook_ca,
            };
            let open =
                [serve.listen, serve.apps_listen].into_iter().find(|address| !address.ip().is_loopback());
            match (&serve.tls, open) {
                (Tls::None, Some(address)) => Err(Error::usage(format!(
                    "plain HTTP is served on loopback addresses only, not on '{address}'"
                ))
                .hint("add --tls-cert and --tls-key, or --tls-self-signed")),
                _ => Ok(Command::Serve(Box::new(serve))),
            }
        }
        ["token", "create"] => Ok(Command::TokenCreate(token()?)),
        ["token", "list"] => Ok(Command::TokenList(token()?)),
        ["token", "revoke", id] => {
            let id = id.parse().map_err(|_| {
                Error::usage(format!("'{id}' is no token's number")).hint("see `maxd token list`")
            })?;
            Ok(Command::TokenRevoke(token()?, id))
        }
        ["token", "revoke"] => Err(missing("the token's number").hint("see `maxd token list`")),
        _ => {
            Err(Error::usage(format!("there is no command `maxd {}`", words.join(" ")))
                .hint("see `maxd --help`"))
        }
    }
}

fn wrong(error: lexopt::Error) -> Error {
    Error::usage(error.to_string()).hint("see `maxd --help`")
}

fn missing(what: &str) -> Error {
    Error::usage(format!("{what} is missing")).hint("see `maxd --help`")
}

fn text(parser: &mut Parser) -> Result<String> {
    parser.value().and_then(ValueExt::string).map_err(wrong)
}

fn address(parser: &mut Parser, flag: &str) -> Result<SocketAddr> {
    let text = text(parser)?;
    text.parse().map_err(|_| {
        Error::usage(format!("{flag} takes an address and a port, not '{text}'"))
            .hint("for instance 127.0.0.1:7070")
    })
}

fn lifetime(text: &str) -> Result<Duration> {
    parse_duration(text).filter(|time| time.as_secs() > 0).ok_or_else(|| {
        Error::usage(format!("'{text}' is no lifetime")).hint("for instance `--access-lifetime 15m`")
    })
}

fn releases(text: &str) -> Result<u64> {
    text.parse().ok().filter(|releases| *releases >= ALWAYS).ok_or_else(|| {
        Error::usage(format!("'{text}' is no number of releases"))
            .hint("at least 2, the one that serves and the one before it; for instance `--keep-releases 10`")
    })
}

fn trash(text: &str) -> Result<Duration> {
    let time = if text == "0" { Some(Duration::ZERO) } else { parse_duration(text) };
    time.ok_or_else(|| {
        Error::usage(format!("'{text}' is no time to keep what is deleted"))
            .hint("for instance `--trash 7d`, or `--trash 0`")
    })
}

fn keep(text: &str) -> Result<Duration> {
    parse_duration(text).filter(|time| time.as_secs() > 0).ok_or_else(|| {
        Error::usage(format!("'{text}' is no time to keep logs")).hint("for instance `--log-keep 7d`")
    })
}

fn rate(text: &str) -> Result<u64> {
    text.parse().ok().filter(|rate| *rate > 0).ok_or_else(|| {
        Error::usage(format!("'{text}' is no number of lines a second"))
            .hint("for instance `--log-rate 10000`")
    })
}

fn domain(text: &str) -> Result<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let domain = text.to_ascii_lowercase();
    match domain.split('.').all(label) {
        true => Ok(domain),
        false => Err(Error::usage(format!("'{text}' is no domain")).hint("for instance apps.example.com")),
    }
}

fn isolation(text: &str) -> Result<Isolation> {
    match text {
        "auto" => Ok(Isolation::Auto),
        "bubblewrap" => Ok(Isolation::Bubblewrap),
        "none" => Ok(Isolation::None),
        _ => Err(Error::usage(format!("'{text}' is no isolation")).hint("say auto, bubblewrap or none")),
    }
}

/// `100KiB`, `512MiB`, `2GiB`, or bytes.
fn size(text: &str) -> Result<u64> {
    parse_size(text).ok_or_else(|| Error::usage(format!("'{text}' is no size")).hint("for instance 512MiB"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(line: &str) -> Result<Command> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_defaults_serve_on_loopback() {
        let Ok(Command::Serve(serve)) = parsed("serve --data d") else { panic!() };
        assert_eq!(serve.listen.to_string(), "127.0.0.1:7070");
        assert_eq!(serve.source_limit, 1 << 30);
        assert!(serve.isolation == Isolation::Auto);
        assert!(!serve.webhook_private);
        assert_eq!(serve.trash.as_secs(), 604_800);
        let Ok(Command::Serve(serve)) = parsed("serve --data d --trash 0") else { panic!() };
        assert!(serve.trash.is_zero());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, message) in [
            ("serve", "--data DIR is missing"),
            ("serve --data d --listen x", "--listen takes an address and a port, not 'x'"),
            ("serve --data d --tls-cert c", "give --tls-cert with --tls-key, or --tls-self-signed alone"),
            (
                "serve --data d --listen 0.0.0.0:1",
                "plain HTTP is served on loopback addresses only, not on '0.0.0.0:1'",
            ),
            ("serve --data d --source-limit 1TB", "'1TB' is no size"),
            ("serve --data d --isolation docker", "'docker' is no isolation"),
            ("serve --data d --trash soon", "'soon' is no time to keep what is deleted"),
            ("serve --data d --domain a..b", "'a..b' is no domain"),
            ("token revoke --data d --user u x", "'x' is no token's number"),
            ("token create --data d", "--user NAME is missing"),
            ("frob", "there is no command `maxd frob`"),
        ] {
            assert_eq!(parsed(line).err().unwrap().message(), message);
        }
    }
}
