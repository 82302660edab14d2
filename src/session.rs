//! What a command gets: the output, and, made when first asked for, the
//! configuration and the connection to Max. The environment is read here alone.

use crate::api::Max;
use crate::auth::{Auth, Source};
use crate::cli::{CA, Flag, Matches, PIN, TIMEOUT, URL};
use crate::error::{Error, Kind, Result};
use crate::name::{Name, split_app};
use crate::net::dial::Route;
use crate::net::http::Http;
use crate::net::tls;
use crate::net::trust::Pin;
use crate::net::url::Url;
use crate::redact::Secret;
use crate::store::config::{self, Config};
use crate::store::project::{self, Project};
use crate::store::vault::Vault;
use crate::term::output::Output;
use crate::time::parse_duration;
use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long an answer may take unless `--timeout` says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// `--network`.
pub const NETWORK: Flag = Flag {
    long: "network",
    short: Some('n'),
    value: "NETWORK",
    help: "the network (else APP.NETWORK, else rig.json)",
};
/// `--app`.
pub const APP: Flag = Flag { long: "app", short: Some('a'), value: "APP", help: "the app (else rig.json)" };

/// One run of rig.
pub struct Session {
    /// Where results and messages go.
    pub output: Output,
    /// `--timeout`, when it is given.
    pub limit: Option<Duration>,
    url: Option<String>,
    ca: Option<String>,
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
    pub fn new(output: Output, matches: &Matches) -> Result<Session> {
        let limit = match matches.value(&TIMEOUT) {
            Some(text) => Some(parse_duration(text).filter(|limit| !limit.is_zero()).ok_or_else(|| {
                Error::usage(format!("'{text}' is no duration"))
                    .hint("write for instance `--timeout 30s` or `2m`")
            })?),
            None => None,
        };
        let own = |flag: &Flag| matches.value(flag).map(str::to_owned);
        Ok(Session { output, limit, url: own(&URL), ca: own(&CA), pin: own(&PIN), max: OnceCell::new() })
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
            Error::usage("there is no home directory to keep a session in")
                .hint("set RIG_CONFIG_DIR, or RIG_URL and RIG_TOKEN to do without a login")
        })
    }

    /// Where the user is logged in; none also without a home directory.
    pub fn config(&self) -> Result<Option<Config>> {
        config::directory(environment).map_or(Ok(None), |directory| config::load(&directory))
    }

    /// The server: `--url`, else `RIG_URL`, else where the user is logged in.
    pub fn target(&self, config: Option<&Config>) -> Result<Option<Target>> {
        let flag = self.url.clone().map(|url| (url, "flag"));
        let chosen = flag
            .or_else(|| Some((environment("RIG_URL")?, "RIG_URL")))
            .or_else(|| Some((config?.url.clone(), "store")));
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
            add(&path).map_err(|error| error.hint("SSL_CERT_FILE names it: correct or unset that"))
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
        let target = self.target(config.as_ref())?.ok_or_else(|| match self.token() {
            Some(_) => {
                Error::usage("RIG_TOKEN is set, but no server is named").hint("set RIG_URL or use --url")
            }
            None => not_logged_in(),
        })?;
        let url = target.url.to_string();
        let same = config.as_ref().filter(|config| config.url == url);
        let ca = self.ca().or_else(|| same?.ca.clone());
        let pin = self.pin().or_else(|| same?.pin.clone());
        let (http, route) = self.http(&target.url, ca.as_deref(), pin.as_deref())?;
        let source = match (self.token(), config) {
            (Some(token), _) => Source::ApiToken(token),
            (None, Some(config)) if config.url == url => {
                Source::Vault(Vault::new(&self.directory()?), config.place)
            }
            (None, Some(config)) => {
                let message = format!("you are logged in to '{}', not to '{url}'", config.url);
                return Err(
                    Error::new(Kind::Unauthenticated, message).hint(format!("run `rig login --url {url}`"))
                );
            }
            (None, None) => return Err(not_logged_in()),
        };
        let auth = Auth::new(Arc::clone(&http), url, source);
        Ok(Max::new(target.url, http, auth, route, self.timeout()))
    }

    /// Ends the connection in order.
    pub fn close(mut self) {
        if let Some(max) = self.max.take() {
            max.close();
        }
    }

    /// The network named by `given` or `--network`, else by `rig.json` here.
    pub fn network(&self, matches: &Matches, given: Option<&str>) -> Result<Name> {
        let named = given.or_else(|| matches.value(&NETWORK)).map(str::to_owned);
        let named = match named {
            Some(name) => Some(name),
            None => project::load(Path::new("."))?.network,
        };
        match named {
            Some(name) => Name::parse("network", &name),
            None => {
                Err(Error::usage("which network?").hint("add --network NETWORK, or put it into 'rig.json'"))
            }
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
        let flag = matches.value(&NETWORK);
        if let (Some(suffix), Some(flag)) = (suffix, flag)
            && suffix != flag
        {
            return Err(Error::usage(format!("is the network '{suffix}' or '{flag}'?")));
        }
        let network = suffix.or(flag);
        let project = match (app, network) {
            (Some(_), Some(_)) => Project::default(),
            _ => project::load(directory)?,
        };
        let app = app.or(project.app.as_deref()).ok_or_else(|| {
            Error::usage("which app?")
                .hint("name it as APP.NETWORK, or put \"app\" and \"network\" into 'rig.json'")
        })?;
        let app = Name::parse("app", app)?;
        let network = network.or(project.network.as_deref()).ok_or_else(|| {
            Error::usage(format!("in which network is app '{app}'?"))
                .hint(format!("write `{app}.NETWORK`, or add --network NETWORK"))
        })?;
        Ok(AppName { network: Name::parse("network", network)?, app })
    }
}

/// An environment variable; an empty one counts as absent.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn not_logged_in() -> Error {
    Error::new(Kind::Unauthenticated, "you are not logged in")
        .hint("run `rig login --url URL`, or set RIG_URL and RIG_TOKEN")
}
