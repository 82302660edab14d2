//! What a command gets: the output, and, made when first asked for, the
//! configuration and the connection to Max. The environment is read here alone.

use crate::api::Max;
use crate::auth::{Auth, Source};
use crate::cli::{CA, CONTEXT, Command, Flag, Matches, PIN, TIMEOUT, TRANSPORT, URL};
use crate::error::{Error, Kind, Result};
use crate::name::{Name, split_app};
use crate::net::dial::Route;
use crate::net::http::Http;
use crate::net::link::{Memory, Transport};
use crate::net::tls;
use crate::net::trust::Pin;
use crate::net::url::Url;
use crate::packed::{packed, word};
use crate::redact::Secret;
use crate::store::config::{self, Config, Context};
use crate::store::project::{self, Project};
use crate::store::transport;
use crate::store::vault::Vault;
use crate::term::output::Output;
use crate::time::parse_duration;
use std::cell::{Cell, OnceCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long an answer may take unless `--timeout` says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// `--network`.
pub const NETWORK: Flag = Flag {
    long: word("network"),
    short: Some('n'),
    value: word("NETWORK"),
    help: packed!("the network (else APP.NETWORK, else rig.json)"),
};
/// `--app`.
pub const APP: Flag = Flag {
    long: word("app"),
    short: Some('a'),
    value: word("APP"),
    help: packed!("the app (else rig.json)"),
};

/// One run of rig.
pub struct Session {
    /// Where results and messages go.
    pub output: Output,
    /// The exit code of a command that succeeds, when it is not 0.
    pub exit_code: Cell<u8>,
    /// `--timeout`, when it is given.
    pub limit: Option<Duration>,
    url: Option<String>,
    ca: Option<String>,
    context: Option<String>,
    transport: Transport,
    pin: Option<String>,
    max: OnceCell<Max>,
}

/// An app as the user named it.
pub struct AppName {
    /// The network.
    pub network: Name,
    /// The app.
    pub app: Name,
}

/// A server and how it was chosen.
pub struct Target {
    /// The server.
    pub url: Url,
    /// `flag`, `RIG_URL` or `store`.
    pub source: &'static str,
}

impl Session {
    /// A session for a command line.
    pub fn new(mut output: Output, command: &Command, matches: &Matches) -> Result<Session> {
        output.unicode = output.terminal && speaks_utf8();
        // A command may mean something else by it.
        let own = command.flags.iter().any(|flag| flag.long == TIMEOUT.long);
        let limit = if own { None } else { limit(matches)? };
        let own = |flag: &Flag| matches.value(flag).map(str::to_owned);
        let context = own(&CONTEXT).or_else(|| environment("RIG_CONTEXT"));
        if let Some(name) = &context {
            config::check_name(name)?;
        }
        let transport = match matches.value(&TRANSPORT) {
            None => Transport::Auto,
            Some("websocket") => Transport::WebSocket,
            Some("longpoll") => Transport::LongPoll,
            Some(other) => {
                return Err(Error::usage(format!("'{other}' is no transport"))
                    .hint(packed!("use `--transport websocket` or `--transport longpoll`")));
            }
        };
        let (url, ca, pin, max) = (own(&URL), own(&CA), own(&PIN), OnceCell::new());
        Ok(Session { exit_code: Cell::new(0), output, limit, url, ca, context, transport, pin, max })
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.limit.unwrap_or(TIMEOUT_DEFAULT)
    }

    /// The time for what is shown.
    pub fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// `RIG_TOKEN`.
    pub fn token(&self) -> Option<Secret> {
        environment("RIG_TOKEN").map(Secret::new)
    }

    /// rig's own directory.
    pub fn directory(&self) -> Result<PathBuf> {
        config::directory(environment).ok_or_else(|| {
            Error::usage(packed!("there is no home directory to keep a session in"))
                .hint(packed!("set RIG_CONFIG_DIR, or RIG_URL and RIG_TOKEN to do without a login"))
        })
    }

    /// Where the user is logged in; nowhere also without a home directory.
    pub fn config(&self) -> Result<Config> {
        config::directory(environment)
            .map_or_else(|| Ok(Config::empty()), |directory| config::load(&directory))
    }

    /// `--context`, else `RIG_CONTEXT`.
    pub fn context_name(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// The context that is named, or the current one. One that is named must exist.
    pub fn context(&self, config: &Config) -> Result<Option<Context>> {
        match &self.context {
            Some(name) => find_context(config, name).map(Some),
            None => Ok(config.current().cloned()),
        }
    }

    /// The server: `--url`, else `RIG_URL`, else that of the context.
    pub fn target(&self, context: Option<&Context>) -> Result<Option<Target>> {
        let flag = self.url.clone().map(|url| (url, "flag"));
        let chosen = flag
            .or_else(|| Some((environment("RIG_URL")?, "RIG_URL")))
            .or_else(|| Some((context?.url.clone(), "store")));
        match chosen {
            Some((url, source)) => Ok(Some(Target { url: Url::parse(&url)?, source })),
            None => Ok(None),
        }
    }

    /// `--ca`, else `RIG_CA`.
    pub fn ca(&self) -> Option<String> {
        self.ca.clone().or_else(|| environment("RIG_CA"))
    }

    /// `--pin`, else `RIG_PIN`.
    pub fn pin(&self) -> Option<String> {
        self.pin.clone().or_else(|| environment("RIG_PIN"))
    }

    /// The HTTP agent for `url` and the way there, which it shares with the socket. `ca`
    /// names a PEM file to trust besides the built-in roots and those of SSL_CERT_FILE;
    /// `pin` the one certificate to trust.
    pub fn http(&self, url: &Url, ca: Option<&str>, pin: Option<&str>) -> Result<(Arc<Http>, Arc<Route>)> {
        let mut roots = tls::roots();
        let mut add = |path: &str| {
            let pem = fs::read(path).map_err(|error| Error::io("read", path, &error))?;
            tls::add(&mut roots, path, &pem)
        };
        ca.map_or(Ok(()), &mut add)?;
        environment("SSL_CERT_FILE").map_or(Ok(()), |path| {
            add(&path).map_err(|error| error.hint(packed!("SSL_CERT_FILE names it: correct or unset that")))
        })?;
        let route = Arc::new(Route::new(url, environment, roots, pin.map(Pin::parse).transpose()?)?);
        Ok((Arc::new(Http::new(url.clone(), Arc::clone(&route), self.timeout())), route))
    }

    /// Max, with a session on it.
    pub fn max(&self) -> Result<&Max> {
        if let Some(max) = self.max.get() {
            return Ok(max);
        }
        let max = self.connect()?;
        Ok(self.max.get_or_init(|| max))
    }

    fn connect(&self) -> Result<Max> {
        let config = self.config()?;
        let context = self.context(&config)?;
        let target = self.target(context.as_ref())?.ok_or_else(|| match self.token() {
            Some(_) => Error::usage(packed!("RIG_TOKEN is set, but no server is named"))
                .hint(packed!("set RIG_URL or use --url")),
            None => not_logged_in(&config),
        })?;
        let url = target.url.to_string();
        // A server that is named finds its own context.
        let context = match (&self.context, context) {
            (None, context) => config.on(&url).cloned().or(context),
            (Some(_), context) => context,
        };
        let there = context.as_ref().filter(|context| context.url == url);
        let ca = self.ca().or_else(|| there?.ca.clone());
        let pin = self.pin().or_else(|| there?.pin.clone());
        let (http, route) = self.http(&target.url, ca.as_deref(), pin.as_deref())?;
        let source = match (self.token(), there, &context) {
            (Some(token), ..) => Source::ApiToken(token),
            (None, Some(there), _) => Source::Vault(Vault::new(&self.directory()?, &there.name), there.place),
            (None, None, Some(context)) => {
                let message = format!("you are logged in to '{}', not to '{url}'", context.url);
                return Err(
                    Error::new(Kind::Unauthenticated, message).hint(format!("run `rig login --url {url}`"))
                );
            }
            (None, None, None) => return Err(not_logged_in(&config)),
        };
        let how = (self.transport, self.memory(&url));
        let auth = Auth::new(Arc::clone(&http), url, source);
        Ok(Max::new(target.url, http, auth, route, how))
    }

    /// What is remembered of the way to `url`.
    fn memory(&self, url: &str) -> Memory {
        let directory = config::directory(environment);
        let longpoll =
            directory.as_ref().is_some_and(|directory| transport::polls(directory, url, self.now()));
        let url = url.to_owned();
        let keep = move |longpoll| {
            if let Some(directory) = &directory {
                transport::remember(directory, &url, longpoll, SystemTime::now());
            }
        };
        Memory { longpoll, keep: Arc::new(keep) }
    }

    /// Ends the connection in order.
    pub fn close(mut self) {
        if let Some(max) = self.max.take() {
            max.close();
        }
    }

    /// The network named by `given` or `--network`, else by `rig.json` here.
    pub fn network(&self, matches: &Matches, given: Option<&str>) -> Result<Name> {
        let named = match agreed(given, matches.value(&NETWORK))? {
            Some(name) => Some(name.to_owned()),
            None => project::load(Path::new("."))?.network,
        };
        match named {
            Some(name) => Name::parse("network", &name),
            None => Err(Error::usage("which network?")
                .hint(packed!("add --network NETWORK, or put it into 'rig.json'"))),
        }
    }

    /// The app named by `given` (`APP` or `APP.NETWORK`) or `--app`, and its network;
    /// what is missing comes from the `rig.json` in `directory`.
    pub fn app(&self, matches: &Matches, given: Option<&str>, directory: &Path) -> Result<AppName> {
        let given = given.or_else(|| matches.value(&APP));
        let (app, suffix) = given.map_or((None, None), |text| {
            let (app, network) = split_app(text);
            (Some(app), network)
        });
        let network = agreed(suffix, matches.value(&NETWORK))?;
        let project = match (app, network) {
            (Some(_), Some(_)) => Project::default(),
            _ => project::load(directory)?,
        };
        let app = app.or(project.app.as_deref()).ok_or_else(|| {
            Error::usage("which app?")
                .hint(packed!("name it as APP.NETWORK, or put \"app\" and \"network\" into 'rig.json'"))
        })?;
        let app = Name::parse("app", app)?;
        let network = network.or(project.network.as_deref()).ok_or_else(|| {
            Error::usage(format!("in which network is app '{app}'?"))
                .hint(format!("write `{app}.NETWORK`, or add --network NETWORK"))
        })?;
        Ok(AppName { network: Name::parse("network", network)?, app })
    }
}

/// `--timeout`.
pub fn limit(matches: &Matches) -> Result<Option<Duration>> {
    let Some(text) = matches.value(&TIMEOUT) else { return Ok(None) };
    match parse_duration(text) {
        Some(limit) if !limit.is_zero() => Ok(Some(limit)),
        _ => Err(Error::usage(format!("'{text}' is no duration"))
            .hint(packed!("write for instance `--timeout 30s` or `2m`"))),
    }
}

/// The network that is named in one place or another, or in both alike.
pub fn agreed<'a>(given: Option<&'a str>, flag: Option<&'a str>) -> Result<Option<&'a str>> {
    match (given, flag) {
        (Some(given), Some(flag)) if given != flag => {
            Err(Error::usage(format!("is the network '{given}' or '{flag}'?")))
        }
        _ => Ok(given.or(flag)),
    }
}

/// An environment variable; an empty one counts as absent.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the locale's characters are UTF-8 (POSIX: the first of these that is set). What
/// is written to a console of Windows has no locale.
fn speaks_utf8() -> bool {
    if cfg!(windows) {
        return true;
    }
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(environment).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

/// The context of this name.
pub fn find_context(config: &Config, name: &str) -> Result<Context> {
    config.find(name).cloned().ok_or_else(|| {
        Error::new(Kind::NotFound, format!("there is no context '{name}'"))
            .hint(packed!("see `rig context list`"))
    })
}

fn not_logged_in(config: &Config) -> Error {
    let error = Error::new(Kind::Unauthenticated, "you are not logged in");
    match config.contexts.is_empty() {
        true => error.hint(packed!("run `rig login --url URL`, or set RIG_URL and RIG_TOKEN")),
        false => error.hint(packed!("choose a login with `rig context use NAME`; see `rig context list`")),
    }
}
