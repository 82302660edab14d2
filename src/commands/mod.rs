//! What rig can do. [`COMMANDS`] is the only list.

mod api;
mod carry;
mod command;
mod context;
mod create;
mod dashboard;
mod delete;
mod deploy;
mod escape;
mod lifecycle;
mod list;
mod login;
mod logs;
mod secret;
mod shell;
mod status;
mod variable;

use crate::cli::Command;
use std::ffi::OsString;

pub use carry::OURS;

/// Whether these arguments call a program elsewhere, whose exit code is rig's: then no failure
/// of rig looks like one of its codes, not even that the arguments are wrong.
pub fn runs_elsewhere(args: &[OsString]) -> bool {
    args.first().is_some_and(|word| word == "command" || word == "shell")
}

/// Every command, in the order of help.
pub static COMMANDS: &[Command] = &[
    login::LOGIN,
    login::LOGOUT,
    login::WHOAMI,
    create::NETWORK,
    create::APP,
    create::WEBHOOK,
    create::MEMBER,
    create::TOKEN,
    variable::CREATE,
    secret::CREATE,
    deploy::DEPLOY,
    variable::APPLY,
    lifecycle::START,
    lifecycle::STOP,
    lifecycle::RESTART,
    lifecycle::SCALE,
    status::APP,
    status::NETWORK,
    dashboard::DASHBOARD,
    shell::SHELL,
    command::COMMAND,
    logs::APP,
    logs::BUILD,
    logs::COMMAND,
    logs::NETWORK,
    list::APPS,
    list::NETWORKS,
    variable::LIST,
    secret::LIST,
    list::ALERTS,
    list::WEBHOOKS,
    list::MEMBERS,
    list::TOKENS,
    list::SESSIONS,
    list::AUDIT,
    delete::APP,
    delete::NETWORK,
    delete::WEBHOOK,
    delete::MEMBER,
    delete::TOKEN,
    variable::DELETE,
    secret::DELETE,
    delete::SESSION,
    variable::EXPORT,
    variable::IMPORT,
    secret::IMPORT,
    secret::ROTATE,
    context::LIST,
    context::USE,
    context::DELETE,
    api::API,
];
