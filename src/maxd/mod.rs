//! maxd, the Max platform for one host.
//!
//! ```text
//! rig ── http, socket ── platform, deploys ── store (SQLite)
//!                          │        └──────── build, detect
//!                          ▼
//! browser ── router ◀── supervisor ── runtime (processes)
//!                          └───────── logs (SQLite)
//! ```

/// Writes a line for the administrator on standard error. Unlike with `eprintln!`, that
/// nobody reads it any more is no reason to end.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "maxd: {}", format_args!($($words)*));
    }};
}

pub mod access;
pub mod alerts;
pub mod args;
mod audit;
pub mod auth;
pub mod build;
mod cache;
mod config;
pub mod console;
pub mod contents;
pub mod control;
pub mod dashboard;
pub mod deploys;
pub mod detect;
mod echo;
pub mod exec;
pub mod http;
mod instance;
mod keeper;
pub mod line;
pub mod logs;
pub mod longpoll;
mod members;
pub mod metrics;
mod near;
pub mod once;
pub mod outlet;
mod page;
pub mod plan;
pub mod platform;
mod pump;
mod queue;
mod ready;
mod releases;
pub mod router;
pub mod runtime;
pub mod secrets;
pub mod serve;
pub mod socket;
pub mod sockets;
pub mod store;
pub mod stream;
pub mod supervisor;
mod sweep;
pub mod tls;
pub mod trial;
pub mod variables;
pub mod webhooks;
pub mod ws;

use crate::error::{Error, Kind, Result};
use args::{Command, Token};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;
use store::{Store, make_private};

/// The server's whole life: arguments in, exit code out.
pub fn main() -> ExitCode {
    crate::sys::signals::unblock();
    match args::parse(std::env::args_os().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = error.hint_text().map(|hint| format!("\n  {hint}"));
            say!("{}{}", error.message(), hint.unwrap_or_default());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Help => put(args::HELP)?,
        Command::Version => put(concat!("maxd ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Command::Serve(args) => {
            let runtime = tokio::runtime::Runtime::new()
                .map_err(|error| Error::new(Kind::Failed, format!("cannot start: {error}")))?;
            let served = runtime.block_on(serve::serve(*args));
            // Whatever still runs is not waited for: its outcome is on the disk or it has none.
            runtime.shutdown_background();
            served?;
        }
        Command::TokenCreate(token) => {
            let made = auth::create_token(&*open(&token)?, &token.user, SystemTime::now())?;
            put(&format!("{made}\n"))?;
        }
        Command::TokenList(token) => {
            let mut table = "ID\tTOKEN\tNAME\tSCOPE\tNETWORK\tCREATED\tUSED\tEXPIRES\tREVOKED\n".to_owned();
            for (listed, revoked) in auth::list_tokens(&*open(&token)?, &token.user)? {
                let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                let (id, prefix, name, scope) = (listed.id, listed.prefix, or(listed.name), listed.scope);
                let (network, created, used) = (or(listed.network), listed.created_at, or(listed.used_at));
                let (expires, revoked) = (or(listed.expires_at), or(revoked));
                table.push_str(&format!(
                    "{id}\t{prefix}…\t{name}\t{scope}\t{network}\t{created}\t{used}\t{expires}\t{revoked}\n"
                ));
            }
            put(&table)?;
        }
        Command::TokenRevoke(token, id) => {
            auth::revoke_token(&*open(&token)?, &token.user, id, SystemTime::now())?;
            say!("revoked token {id} of {} and the sessions it opened", token.user);
        }
    }
    Ok(())
}

/// Writes to standard output.
fn put(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::io("write to", "standard output", &error))
}

fn open(token: &Token) -> Result<Arc<Store>> {
    make_private(&token.data)?;
    Store::open(&token.data.join("state.db"))
}
